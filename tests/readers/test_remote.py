"""The same formats behind an fsspec URL, read by byte ranges."""

from __future__ import annotations

import gzip
import io
import pickle
from typing import Any

import fsspec
import numpy as np
import pytest

import packstore
from packstore.testing.readers import assert_same

X = np.arange(60.0).reshape(6, 10)


def saved(write: Any, **kwargs: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, **kwargs)
    return buffer.getvalue()


CASES: list[tuple[str, bytes, str | None, dict[str, Any]]] = [
    ("x.npy", saved(lambda f: np.save(f, X)), None, {}),
    ("f.npy", saved(lambda f: np.save(f, np.asfortranarray(X))), None, {}),
    ("stored.npz", saved(np.savez, x=X), "x", {}),
    ("deflated.npz", saved(np.savez_compressed, x=X), "x", {}),
    ("x.txt", saved(lambda f: np.savetxt(f, X)), None, {}),
    ("x.txt.gz", gzip.compress(saved(lambda f: np.savetxt(f, X))), None, {}),
    ("x.pkl", pickle.dumps({"x": X}, 5), "x", {}),
    ("y.pkl", pickle.dumps({"x": X}, 2), "x", {}),
    ("x.dat", X.tobytes(), None, {"format": "raw", "dtype": "f8", "shape": (6, 10)}),
    ("mask.bin", np.packbits(X > 20, axis=0).tobytes(), None, {"format": "raw", "packed_axis": 0, "shape": (6, 10)}),
]


@pytest.mark.parametrize(("name", "raw", "component", "options"), CASES, ids=[case[0] for case in CASES])
def test_remote(name: str, raw: bytes, component: str | None, options: dict[str, Any]) -> None:
    fsspec.filesystem("memory").pipe(f"/readers/{name}", raw)
    url = f"memory://readers/{name}"
    want = X > 20 if name == "mask.bin" else X
    array = packstore.open_array(url, component, **options)
    for key in np.s_[...], np.s_[1:5, ::3], np.s_[::-1, 2], np.s_[3, 4]:
        assert_same(array[key], want[key])
    lazy = packstore.from_file(url, component, **options)
    assert_same(lazy.compute(scheduler="synchronous"), want)
