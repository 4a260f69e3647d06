"""Storage layouts against h5py: contiguous, compact, chunked, never allocated, external."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from packstore.errors import ExternalFileError, OptionError, StaleFileError
from packstore.readers.hdf5 import read
from packstore.source import FileSource, InlineBytes
from packstore.storage.grid import GridStorage
from packstore.storage.places import OneRange, TablePlaces
from packstore.storage.read import read_box

DATA = np.arange(5 * 7 * 3, dtype="<f4").reshape(5, 7, 3)


def create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, dcpl: h5p.PropDCID, maxshape: Any = None
) -> h5py.Dataset:
    limits = None if maxshape is None else tuple(h5s.UNLIMITED if n is None else n for n in maxshape)
    space = h5s.create_simple(shape, limits)
    return h5py.Dataset(h5d.create(file.id, name.encode(), h5t.py_create(np.dtype(dtype), logical=True), space, dcpl))


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("userblock", [0, 512, 4096])
def test_each_layout_behind_a_user_block(tmp_path: Path, check: Any, libver: str, userblock: int) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as f:
        f["contiguous"] = DATA
        compact = h5p.create(h5p.DATASET_CREATE)
        compact.set_layout(h5d.COMPACT)
        create(f, "compact", DATA.shape, DATA.dtype, compact)[...] = DATA
        f.create_dataset("chunked", data=DATA, chunks=(2, 3, 2))
        f.create_dataset("filtered", data=DATA, chunks=(2, 3, 2), shuffle=True, compression="gzip", fletcher32=True)
        f["scalar"] = np.int16(-3)
        f["empty"] = np.zeros((0, 4))
        f.create_dataset("empty_chunked", shape=(0, 4), maxshape=(None, 4), chunks=(2, 2), dtype="f4")
    found = check(path)
    assert set(found.arrays) == {"contiguous", "compact", "chunked", "filtered", "scalar", "empty", "empty_chunked"}
    assert isinstance(found.arrays["contiguous"].storage.places, OneRange)
    assert isinstance(found.arrays["compact"].storage.places, OneRange)
    assert isinstance(found.arrays["compact"].storage.places.space, InlineBytes)
    assert isinstance(found.arrays["filtered"].storage.places, TablePlaces)
    assert found.arrays["chunked"].chunk_shape == (2, 3, 2)


@pytest.mark.parametrize("sizes", [(4, 4), (4, 8), (8, 8), (2, 4)])
def test_address_widths(tmp_path: Path, check: Any, sizes: tuple[int, int]) -> None:
    path = tmp_path / "x.h5"
    fcpl = h5p.create(h5p.FILE_CREATE)
    fcpl.set_sizes(*sizes)
    with h5py.File(h5py.h5f.create(str(path).encode(), fcpl=fcpl)) as f:
        f["a"] = DATA
        f.create_dataset("b", data=DATA, chunks=(2, 3, 2), compression="gzip")
    assert len(check(path).arrays) == 2


def test_what_was_never_written_is_the_fill_value(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("contiguous", (4, 5), "i4", fillvalue=-7)
        f.create_dataset("zero", (4, 5), "f8")
        f.create_dataset("chunked", (9,), "f4", chunks=(2,), fillvalue=np.nan)
        f.create_dataset("some", (9,), "i2", chunks=(2,), fillvalue=3)[4:6] = 8
        f.create_dataset("never", (9,), "i2", chunks=(2,), fillvalue=3, fill_time="never")[4:6] = 8
        f.create_dataset("bool", (3,), "?", fillvalue=True)
        f.create_dataset("text", (3,), "S4", fillvalue=b"ab", chunks=(2,))
        f.create_dataset("vlen", (3,), h5py.string_dtype(), chunks=(2,))
        f.create_dataset("struct", (3,), [("a", "i4"), ("b", "f8")], fillvalue=np.array((1, 2.0), "i4,f8"))
    check(path)


def test_nothing_is_allocated_for_a_huge_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("contiguous", (1 << 40, 1 << 10), "i8", fillvalue=5)
        f.create_dataset("chunked", (1 << 40,), "i8", chunks=(16,), fillvalue=6)
        f.create_dataset("sparse", (1 << 40,), "i8", chunks=(16,), fillvalue=7)[1 << 39] = 8
    found = read(FileSource(path))
    assert read_box(found.arrays["contiguous"], (slice(0, 1, 1), slice(3, 5, 1))).tolist() == [[5, 5]]
    assert read_box(found.arrays["chunked"], (slice(1 << 39, (1 << 39) + 2, 1),)).tolist() == [6, 6]
    assert read_box(found.arrays["sparse"], (slice((1 << 39) - 1, (1 << 39) + 2, 1),)).tolist() == [7, 8, 7]


def test_how_far_axes_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    pair = np.dtype(("<i2", (2,)))
    with h5py.File(path, "w") as f:
        f["fixed"] = np.zeros((3, 4))
        f["scalar"] = 1.0
        f.create_dataset("chunked", shape=(3, 4), dtype="f4", chunks=(2, 2))
        f.create_dataset("unlimited", shape=(3, 4), maxshape=(None, 4), dtype="f4")
        f.create_dataset("bounded", shape=(3, 4), maxshape=(3, 10), dtype="f4")
        f.create_dataset("full", shape=(3, 4), maxshape=(3, 4), dtype="f4")
        f.create_dataset("pairs", shape=(3,), maxshape=(None,), dtype=pair)
        f.create_dataset("fixed_pairs", shape=(3,), dtype=pair)
        f.create_dataset("words", shape=(3,), maxshape=(7,), dtype=h5py.string_dtype())
    want: dict[str, Any] = dict.fromkeys(["fixed", "scalar", "chunked", "full", "fixed_pairs"])
    want |= {"unlimited": (None, 4), "bounded": (3, 10), "pairs": (None, 2), "words": (7,)}
    found = read(FileSource(path))
    assert {name: array.max_shape for name, array in found.arrays.items()} == want
    for name in want:
        assert read(FileSource(path), component=name).arrays[name].max_shape == want[name]


def test_chunks_larger_than_the_shape(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=DATA, chunks=(16, 8, 4), maxshape=(None, None, None), compression="gzip")
    check(path)


def test_filters_skipped_chunk_by_chunk(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("x", (6,), "<i4", chunks=(2,), shuffle=True, compression="gzip")
        d[...] = np.arange(6)
        d.id.write_direct_chunk((2,), np.array([70, 80], "<i4").tobytes(), filter_mask=3)
    found = check(path)
    assert found.arrays["x"].storage.places.filter_mask.tolist() == [0, 3, 0]
    assert read_box(found.arrays["x"], (slice(0, 6, 1),)).tolist() == [0, 1, 70, 80, 4, 5]


def test_array_types_add_dimensions(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    inner = np.dtype(("<i2", (2, 3)))
    data = np.arange(5 * 6, dtype="<i2").reshape(5, 2, 3)
    with h5py.File(path, "w") as f:
        layouts: dict[str, dict[str, Any]] = {
            "a": {},
            "b": {"chunks": (2,), "compression": "gzip"},
            "c": {"chunks": (4,)},
        }
        for name, options in layouts.items():
            f.create_dataset(name, (5,), inner, **options)[...] = data
        f.create_dataset("unwritten", (5,), inner, chunks=(2,))
    found = check(path)
    assert found.arrays["b"].shape == (5, 2, 3)
    assert found.arrays["b"].chunk_shape == (2, 2, 3)
    assert found.arrays["b"].storage.places.offsets.shape == (3, 1, 1)


def test_variable_length_data(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["scalar"] = "text"
        f["text"] = np.array(["a", "bb", "", "dddd"], object)
        f.create_dataset("chunked", data=np.array([["a", "é"], ["", "d"]], object), chunks=(1, 2), compression="gzip")
        ragged = f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))
        for i in range(3):
            ragged[i] = np.arange(i)
        f.create_dataset("one", (), h5py.vlen_dtype("f8"))[()] = np.arange(3.0)
        f.create_dataset("struct", (2,), [("n", "i4"), ("s", h5py.string_dtype())])[0] = (1, "x")
    check(path)


def test_the_callers_chunks_where_the_file_has_none(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["matrix"] = DATA[0]
        f["line"] = DATA[0, 0]
        f.create_dataset("chunked", data=DATA[0], chunks=(3, 3))
    found = check(path, chunks=(2, 3))
    assert {n: a.chunk_shape for n, a in found.arrays.items()} == {"matrix": (2, 3), "line": (3,), "chunked": (3, 3)}
    with pytest.raises(OptionError, match="expected chunks of 1 lengths"):
        check(path, component="line", chunks=(2, 3))


class TestExternalStorage:
    """Raw bytes in other files."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "data" / "x.h5"
        path.parent.mkdir()
        data = np.arange(12, dtype="<i4")
        (path.parent / "a.bin").write_bytes(b"junk" + data[:5].tobytes())
        (path.parent / "b.bin").write_bytes(data[5:].tobytes())
        with h5py.File(path, "w") as f:
            external = [("a.bin", 4, 20), ("b.bin", 0, h5py.h5f.UNLIMITED)]
            f.create_dataset("x", (12,), "<i4", external=external)
            f.create_dataset("gone", (2,), "<i4", external=[("c.bin", 0, 8)])
            f["beside"] = np.arange(3)
        return path

    def test_refused_without_permission(self, path: Path) -> None:
        found = read(FileSource(path))
        assert list(found.arrays) == ["beside"]
        assert "a.bin" in found.unsupported["x"]
        assert "allow_external" in found.unsupported["x"]

    @pytest.mark.parametrize("allowed", [True, ".", ".."])
    def test_allowed(self, path: Path, allowed: Any) -> None:
        allowed = allowed if allowed is True else path.parent / allowed
        found = read(FileSource(path), allow_external=allowed)
        assert read_box(found.arrays["x"], (slice(3, 12, 2),)).tolist() == [3, 5, 7, 9, 11]
        assert found.unsupported.keys() == {"gone"}
        assert "'c.bin', which does not exist" in found.unsupported["gone"]

    def test_another_root_is_no_permission(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        found = read(FileSource(path), allow_external=tmp_path / "other")
        assert str(tmp_path / "other") in found.unsupported["x"]

    def test_symbolic_links_do_not_lead_out_of_the_root(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.bin").write_bytes(bytes(28))
        (path.parent / "b.bin").unlink()
        (path.parent / "b.bin").symlink_to(tmp_path / "secret.bin")
        assert "secret.bin" in read(FileSource(path), allow_external=path.parent).unsupported["x"]

    def test_a_root_that_is_no_folder(self, path: Path) -> None:
        with pytest.raises(OptionError, match="expected allow_external=False, True or a folder"):
            read(FileSource(path), allow_external=path.parent / "nowhere")


def test_a_changed_file_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["text"] = np.array(["a"], object)
        f["x"] = np.arange(3)
    found = read(FileSource(path))
    with h5py.File(path, "a") as f:
        f["y"] = np.arange(1000)
    for array in found.arrays.values():
        with pytest.raises(StaleFileError, match="The file has changed since"):
            read_box(array, (slice(0, 1, 1),))
    source = FileSource(path)
    with h5py.File(path, "a") as f:
        f["z"] = np.arange(1000)
    with pytest.raises(StaleFileError):
        read(source)


def test_external_file_error_is_a_permission_error() -> None:
    assert issubclass(ExternalFileError, PermissionError)


def test_scaleoffset_of_floats_with_an_odd_sign_parameter(tmp_path: Path) -> None:
    """HDF5 sets the parameter for the sign of integers only; files of older versions hold anything there."""
    path = tmp_path / "x.h5"
    data = np.linspace(-3, 9, 32).reshape(4, 8)
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=data, chunks=(2, 4), scaleoffset=3)
        f.flush()
        want = f["x"][...]
    array = read(FileSource(path)).arrays["x"]
    storage = array.storage
    assert isinstance(storage, GridStorage) and isinstance(storage.places, TablePlaces)
    decoder: Any = storage.chain.decoder
    spec = decoder.filters[0]
    odd = replace(spec, client_values=(*spec.client_values[:5], 148433160, *spec.client_values[6:]))
    chain = replace(storage.chain, decoder=replace(decoder, filters=(odd,)))
    changed = replace(array, storage=GridStorage(storage.chunk_shape, storage.places, chain))
    got = read_box(changed, (slice(0, 4, 1), slice(0, 8, 1)))
    np.testing.assert_array_equal(got, want)
