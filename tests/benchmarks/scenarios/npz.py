"""npz files: a stored member under dask, a deflated one loaded whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import packstore
from tests.benchmarks.data import Array, floats, mask, smooth
from tests.benchmarks.model import Case, Data, Peer, Scenario

__all__ = ["SCENARIOS"]


def _stored(data: Data) -> Case:
    array = floats(data)

    def write(path: Any) -> None:
        with open(path, "wb") as file:
            np.savez(file, x=array)

    path = data.path("stored.npz", write)

    def peer() -> Any:
        import dask.array as da

        return lambda: da.from_array(np.load(path)["x"], name=False).max().compute()

    return Case(
        array.max(),
        lambda: lambda: packstore.from_file(path, "x").max().compute(),
        (
            Peer("np.load, then numpy", lambda: lambda: np.load(path)["x"].max(), floor=3),
            Peer("np.load, then dask", peer, floor=3),
        ),
    )


def _deflated(make: Callable[[Data], Array]) -> Callable[[Data], Case]:
    def build(data: Data) -> Case:
        array = make(data)[: 1024 if data.quick else 2048]

        def write(path: Any) -> None:
            with open(path, "wb") as file:
                np.savez_compressed(file, x=array)

        path = data.path(f"deflated-{make.__name__}.npz", write)

        def fresh() -> Any:
            # As a new file: what was inflated before is not at hand, since a full load is what is compared.
            os.utime(path)
            return packstore.open_array(path, "x")[...]

        return Case(array, lambda: fresh, (Peer("np.load", lambda: lambda: np.load(path)["x"], floor=2.5),))

    return build


def _stored_whole(nbytes: int) -> Callable[[Data], Case]:
    def build(data: Data) -> Case:
        array = floats(data).reshape(-1)[: nbytes // 4]

        def write(path: Any) -> None:
            with open(path, "wb") as file:
                np.savez(file, x=array)

        path = data.path(f"stored-{nbytes}.npz", write)
        return Case(
            array,
            lambda: lambda: packstore.open_array(path, "x")[...],
            (Peer("np.load", lambda: lambda: np.load(path)["x"], floor=1),),
        )

    return build


SCENARIOS = (
    *(
        Scenario(f"npz-stored-{mb}mb", f"npz stored, {mb} MB, opened and loaded whole", _stored_whole(mb << 20))
        for mb in (1, 4, 33)
    ),
    Scenario("npz-stored", "npz stored member, max() under dask", _stored),
    Scenario("npz-deflated-mask", "npz deflated bool, loaded whole", _deflated(mask)),
    Scenario("npz-deflated-floats", "npz deflated float32 of few digits, loaded whole", _deflated(floats)),
    Scenario("npz-deflated-smooth", "npz deflated float32 of all digits, loaded whole", _deflated(smooth)),
)
