"""Arrays of astronomic shape, of which little or nothing is stored: plans are bounded, slices are quick."""

from __future__ import annotations

import asyncio
import itertools
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import OptionError
from packstore.views.dask.chunks import MAX_BLOCKS, auto_chunks

LONG = 2**40


def npy_header(path: Path, shape: tuple[int, ...]) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def write(folder: Path, kind: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> tuple[Path, str | None]:
    path = folder / f"x.{kind}"
    if kind == "npy":
        npy_header(path, shape)
    elif kind == "h5":
        with h5py.File(path, "w") as f:
            f.create_dataset("d", shape, "f8", chunks=chunks, maxshape=(None,) * len(shape), fillvalue=7)
    elif kind == "contiguous.h5":
        with h5py.File(path, "w") as f:
            f.create_dataset("d", shape, "f8", fillvalue=7)
    else:
        zarr.create_array(path, shape=shape, chunks=chunks, dtype="f8", fill_value=7, zarr_format=int(kind[-1]))  # type: ignore[arg-type]
    return path, "d" if kind.endswith("h5") else None


@pytest.mark.parametrize("shape", [(0, LONG), (LONG, 0), (3, 0, LONG), (0,)])
@pytest.mark.parametrize("kind", ["npy", "h5", "zarr2", "zarr3"])
def test_without_elements_the_plan_is_one_block(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    path, component = write(tmp_path, kind, shape, (1,) * (len(shape) - 1) + (100,))
    lazy = packstore.from_file(path, component)
    assert lazy.chunks == tuple((n,) for n in shape)
    assert lazy.compute().shape == shape and packstore.open_array(path, component)[...].shape == shape
    np.testing.assert_array_equal(lazy[..., :5].sum(axis=0).compute(), np.zeros(shape)[..., :5].sum(axis=0))
    assert packstore.from_files([path, path], component, axis=0).compute().shape == (2 * shape[0], *shape[1:])


@pytest.mark.parametrize("kind", ["h5", "contiguous.h5", "zarr2", "zarr3"])
@pytest.mark.parametrize("shape", [(2**31, 2**27), (2**58,), (2, 2**20, 2**35)])
def test_of_nothing_stored_slices_are_quick(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    path, component = write(tmp_path, kind, shape, (64,) * len(shape))
    lazy = packstore.from_file(path, component)
    assert 1 < lazy.npartitions <= MAX_BLOCKS
    ends = tuple(slice(-3, None) for _ in shape)
    want = np.full(tuple(min(n, 3) for n in shape), 7.0)
    np.testing.assert_array_equal(lazy[ends].compute(), want)
    np.testing.assert_array_equal(lazy[(0,) * len(shape)].compute(), 7.0)
    np.testing.assert_array_equal(packstore.open_array(path, component)[ends], want)


@pytest.mark.parametrize("kind", ["h5", "zarr2", "zarr3"])
def test_of_a_few_stored_chunks_slices_are_right(tmp_path: Path, kind: str) -> None:
    path, component = write(tmp_path, kind, (2**40,), (2**16,))
    if kind == "h5":
        with h5py.File(path, "r+") as f:
            f["d"][5] = 1
    else:
        zarr.open_array(path, mode="r+")[5] = 1
    lazy = packstore.from_file(path, component)
    assert lazy.npartitions <= MAX_BLOCKS
    assert lazy[3:8].compute().tolist() == [7, 7, 1, 7, 7]
    assert lazy[-3:].compute().tolist() == [7, 7, 7]


@pytest.mark.parametrize("kind", ["npy", "h5", "contiguous.h5"])
def test_listing_the_store_counts_no_chunks(tmp_path: Path, kind: str) -> None:
    path, component = write(tmp_path, kind, (0 if kind == "npy" else 2**31, 2**27), (64, 64))
    store = packstore.open_store(path)
    name = component or ""

    async def keys(listing: Any) -> list[str]:
        return [key async for key in listing]

    listed = asyncio.run(keys(store.list()))
    assert [key for key in listed if "/c/" in key or key.startswith("c/")] == []
    assert asyncio.run(keys(store.list_dir(name))) == ["zarr.json"]
    assert asyncio.run(keys(store.list_dir(f"{name}/c".strip("/")))) == []
    assert zarr.open(store, mode="r").info_complete() is not None


def test_listing_stored_chunks_is_lazy(tmp_path: Path) -> None:
    """Where the chunks are not known one by one, the first keys come at once."""
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("d", (2**33, 2**28), "i4", chunks=(1024, 1024))[5, 5] = 1
    store = packstore.open_store(tmp_path / "x.h5")

    async def first(listing: Any) -> list[str]:
        out = []
        async for key in listing:
            out.append(key)
            if len(out) == 3:
                break
        return out

    assert asyncio.run(first(store.list_prefix("d/"))) == ["d/zarr.json", "d/c/0/0", "d/c/0/1"]
    assert asyncio.run(first(store.list_dir("d/c"))) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("shape", "unit"), list(itertools.product([(2**33, 2**28), (7, 2**60), (2**60, 7), (2**20,) * 3], [1, 100, 2**10]))
)
def test_auto_chunks_are_bounded_multiples(shape: tuple[int, ...], unit: int) -> None:
    chunks = auto_chunks(shape, 4, (unit,) * len(shape))
    assert math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True)) <= MAX_BLOCKS
    assert all(c % unit == 0 or c == n for n, c in zip(shape, chunks, strict=True))


def test_too_many_blocks_of_a_caller_are_refused(tmp_path: Path) -> None:
    path, component = write(tmp_path, "h5", (2**31, 2**27), (64, 64))
    for chunks in ((1, 1), 64, [64, 64]):
        with pytest.raises(OptionError, match=r"x\.h5\[d\]: expected chunks= .*more than 100000000 blocks"):
            packstore.from_file(path, component, chunks=chunks)
    assert packstore.from_file(path, component, chunks=(2**30, 2**27)).npartitions == 2
