"""Large boxes of small packed chunks, a row of chunks at a time: the same elements and errors as chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr

import packstore
from packstore import errors
from packstore.core.boxes import Box
from packstore.storage import crops
from packstore.storage.crops import Crops


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Strips of few chunks; what each call said of whether it took the box."""
    monkeypatch.setattr(crops, "CROP_SIZE", 300)
    monkeypatch.setattr(crops, "SMALL_CHUNK", 300)
    taken: list[bool] = []
    fill = Crops.fill

    def noted(self: Crops, *arguments: Any) -> bool:
        taken.append(fill(self, *arguments))
        return taken[-1]

    monkeypatch.setattr(Crops, "fill", noted)
    yield taken


def made(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], *, fill: bool = False, **codec: Any) -> Any:
    """A packed array of random elements, some chunks of which hold the fill value alone; and its elements."""
    rng = np.random.default_rng(sum(shape))
    values = rng.random(shape) < 0.5
    for i in range(0, shape[0], 2 * chunks[0]):
        values[(slice(i, i + chunks[0]), *[slice(0, c) for c in chunks[1:]])] = fill
    serializer = packstore.PackBitsCodec(**codec)
    path = folder / "a.zarr"
    target = zarr.create_array(
        path, shape=shape, dtype=bool, chunks=chunks, serializer=serializer, compressors=None, fill_value=fill
    )
    target[...] = values
    return path, values


SHAPES = [
    ((3000,), (16,)),
    ((80, 61), (7, 8)),
    ((80, 100), (10, 16)),
    ((9, 20, 50), (2, 5, 24)),
    ((7, 1, 800), (1, 1, 8)),
]


@hypothesis.settings(
    max_examples=20, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(data=st.data())
@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
def test_any_box(
    shape: tuple[int, ...], chunks: tuple[int, ...], fill: bool, data: st.DataObject, tmp_path_factory: Any
) -> None:
    path, values = made(tmp_path_factory.mktemp("strips"), shape, chunks, fill=fill)
    lazy = packstore.open_lazy(path)
    box: Box = ()
    for n in shape:
        start = data.draw(st.integers(0, n - 1))
        box = (*box, slice(start, data.draw(st.integers(start + 1, n)), data.draw(st.sampled_from([1, 1, 1, 3]))))
    np.testing.assert_array_equal(lazy[box], values[box])
    np.testing.assert_array_equal(lazy[...], values)


@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
def test_large_boxes_are_taken(
    shape: tuple[int, ...], chunks: tuple[int, ...], tmp_path: Path, small_strips: list[bool]
) -> None:
    path, values = made(tmp_path, shape, chunks)
    np.testing.assert_array_equal(packstore.open_array(path)[...], values)
    assert small_strips == [True]


@pytest.mark.parametrize(
    ("chunks", "codec"),
    [
        ((7, 9), {}),
        ((20, 16), {}),
        ((7, 8), {"padding_encoding": "last_byte"}),
        ((7, 8), {"padding_encoding": "first_byte"}),
    ],
)
def test_others_are_left_to_the_general_form(
    chunks: tuple[int, ...], codec: dict[str, Any], tmp_path: Path, small_strips: list[bool]
) -> None:
    path, values = made(tmp_path, (64, 80), chunks, **codec)
    np.testing.assert_array_equal(packstore.open_lazy(path)[...], values)
    assert small_strips == [False]


def test_slow_files_are_opened_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, values = made(tmp_path, (40, 61), (7, 8))
    monkeypatch.setattr(crops, "SLOW_S", 0.0)
    lazy = packstore.open_lazy(path)
    np.testing.assert_array_equal(lazy[...], values)
    storage: Any = lazy.array.storage
    assert storage._crops._is_slow
    np.testing.assert_array_equal(lazy[...], values)


def test_a_chunk_of_another_size_is_named(tmp_path: Path) -> None:
    path, _ = made(tmp_path, (40, 61), (7, 8))
    chunk = path / "c" / "3" / "2"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(errors.CorruptDataError, match=r"chunk \(3, 2\).*expected 7 bytes"):
        packstore.open_lazy(path)[...]


def test_under_dask(tmp_path: Path) -> None:
    path, values = made(tmp_path, (200, 100), (7, 8))
    np.testing.assert_array_equal(packstore.from_file(path, chunks=(50, 100)).compute(), values)
