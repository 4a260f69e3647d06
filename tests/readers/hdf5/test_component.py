"""One dataset asked for by name: described as in the whole file, and without a look at its siblings."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from packstore.errors import MissingFileError
from packstore.readers.hdf5 import attributes, describe, read
from packstore.readers.hdf5.guard.elements import check_fill
from packstore.source import FileSource
from packstore.storage import ManifestArray
from packstore.storage.read import read_box


def plain_things(file: h5py.File) -> None:
    """One of each layout, of several types, some of them unsupported."""
    file["contiguous"] = np.arange(12).reshape(3, 4)
    file.create_dataset("chunked", data=np.arange(40.0), chunks=(7,), compression="gzip", shuffle=True)
    file.create_dataset("growing", data=np.arange(24).reshape(4, 6), maxshape=(4, None), chunks=(2, 3))
    file.create_dataset("unwritten", (5,), "f4", fillvalue=2.5)
    file.create_dataset("text", data=["a", "bc", ""], dtype=h5py.string_dtype())
    file.create_dataset("sequences", (2,), h5py.vlen_dtype("i4"))[:] = [np.arange(3), np.arange(1)]
    file.create_dataset("colours", data=[0, 1], dtype=h5py.enum_dtype({"RED": 0, "BLUE": 1}, "i1"))
    file["struct"] = np.zeros(3, [("a", "i4"), ("b", "f8", (2,))])
    file["scalar"] = 7
    file["null"] = h5py.Empty("f4")
    file.create_dataset("reference", data=file["scalar"].ref, dtype=h5py.ref_dtype)
    file["scalar"].attrs.update({"units": "m", "many": np.arange(5), "é": "ü", "lead": file["text"].ref})
    file["type"] = np.dtype("f4")


def links(file: h5py.File) -> None:
    file["a/b/x"] = np.arange(3)
    file["a/b/x"].attrs["of"] = "x"
    file["hard"] = file["a/b/x"]
    file["soft"] = h5py.SoftLink("/a/b/x")
    file["a/relative"] = h5py.SoftLink("b/./x")
    file["a/twice"] = h5py.SoftLink("/soft")
    file["group"] = h5py.SoftLink("a/b")
    file["again"] = file["a"]
    file["a/up"] = file["/"]
    file["dangling"] = h5py.SoftLink("/not/there")
    file["loop"] = h5py.SoftLink("/loop")
    file["through"] = h5py.SoftLink("/hard/y")
    file["no_file"] = h5py.ExternalLink("none.h5", "/x")
    file["outside"] = h5py.ExternalLink("other.h5", "/g/y")
    file["outside_scaled"] = h5py.ExternalLink("other.h5", "/g/scaled")
    file["outside_group"] = h5py.ExternalLink("other.h5", "/g")
    file["outside_none"] = h5py.ExternalLink("other.h5", "/none")


def scales(file: h5py.File) -> None:
    """Scales in the same group, above, beside and below; with several names; behind links; damaged and refused ones."""
    for name in ("g/time", "depth", "h/beside", "g/below/deep", "two_names", "refused"):
        shape = (3,)
        dtype = h5py.ref_dtype if name == "refused" else "f8"
        file.create_dataset(name, shape, dtype)
        # The scale's own attribute may say another name, or one of another object.
        file[name].make_scale({"depth": "depth", "g/time": "data0", "h/beside": "/h/beside"}.get(name, "another name"))
    # Visited before and after their other names.
    file["aa_first"] = file["two_names"]
    file["g/last"] = file["two_names"]
    file["a_soft"] = h5py.SoftLink("/g/time")
    file["g2"] = file["g/below"]
    for number, name in enumerate(("g/time", "depth", "h/beside", "g/below/deep", "two_names", "refused", "g2/deep")):
        file[f"g/data{number}"] = np.zeros((3, 3))
        file[f"g/data{number}"].dims[0].attach_scale(file[name])
        file[f"g/data{number}"].dims[1].label = "label"
    file["top"] = np.zeros((3, 3, 3))
    file["top"].dims[0].attach_scale(file["g/below/deep"])
    file["top"].dims[2].attach_scale(file["aa_first"])
    file["gone"] = np.zeros(3)
    file["gone"].make_scale()
    file["of_gone"] = np.zeros(3)
    file["of_gone"].dims[0].attach_scale(file["gone"])
    del file["gone"]
    file["nonsense"] = np.arange(3.0)
    file["nonsense"].attrs["DIMENSION_LIST"] = "nonsense"
    file[b"g/caf\xe9"] = np.zeros(3)
    file[b"g/caf\xe9"].make_scale()
    file["g/coffee"] = np.zeros(3)
    file["g/coffee"].dims[0].attach_scale(file[b"g/caf\xe9"])


def netcdf(file: h5py.File) -> None:
    file.attrs["_NCProperties"] = np.bytes_(b"version=2,netcdf=4.9.2,hdf5=1.14")
    for number, (name, n) in enumerate({"lat": 2, "length": 4, "g/inner": 3, "g/h/deepest": 5}.items()):
        file.create_dataset(name, (n,), "f4")
        file[name].make_scale(name if n != 4 else "This is a netCDF dimension but not a netCDF variable.         4")
        file[name].attrs["_Netcdf4Dimid"] = np.int32(number)
        file[name].attrs["one"] = np.array([1.5])
    for number, (name, dims) in enumerate({"station": [4, 1], "g/place": [5, 1], "g/h/point": [6, 2]}.items(), 4):
        file[name] = np.zeros((3, 4), "S1")
        file[name].make_scale(name)
        file[name].attrs["_Netcdf4Dimid"] = np.int32(number)
        file[name].attrs["_Netcdf4Coordinates"] = np.array(dims, "i4")
    file["g/h/value"] = np.zeros((2, 3))
    file["g/h/value"].dims[0].attach_scale(file["lat"])
    file["g/h/value"].dims[1].attach_scale(file["g/h/point"])
    file["g/h/unknown"] = np.zeros((2, 3))
    file["g/h/unknown"].attrs["_Netcdf4Coordinates"] = np.array([0, 99], "i4")


def virtual(file: h5py.File) -> None:
    file["d"] = np.arange(10)
    file["words"] = np.array(["x", "yy"], object)
    for name, source in {"x": ".", "far": "other.h5", "missing": "none.h5"}.items():
        layout = h5py.VirtualLayout((12,), "i8")
        layout[1:5] = h5py.VirtualSource(source, "d", (10,))[2:6]
        file.create_virtual_dataset(name, layout, fillvalue=-1)
    layout = h5py.VirtualLayout((2,), h5py.string_dtype())
    layout[:] = h5py.VirtualSource(file["words"])
    file.create_virtual_dataset("g/words", layout)
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(".", "itself", (3,))
    file.create_virtual_dataset("itself", layout)
    file["x"].make_scale()
    file["of_x"] = np.zeros(12)
    file["of_x"].dims[0].attach_scale(file["x"])


FILES: list[Callable[[h5py.File], None]] = [plain_things, links, scales, netcdf, virtual]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["g/y"] = np.arange(4)
        f["d"] = np.arange(10) * 2
        f["g/scale"] = np.zeros(3)
        f["g/scale"].make_scale()
        f["g/scaled"] = np.zeros(3)
        f["g/scaled"].dims[0].attach_scale(f["g/scale"])
        f["g/back"] = h5py.ExternalLink("x.h5", "/")
    return tmp_path


def facts(array: ManifestArray) -> list[Any]:
    storage = array.storage
    places = getattr(storage, "places", None)
    fields = [getattr(places, name, None) for name in ("offsets", "nbytes", "filter_mask", "offset")]
    return [
        array.shape,
        array.dtype,
        array.chunk_shape,
        array.version,
        array.dimension_names,
        list(array.attributes.items()),
        pickle.dumps(array.fill_value),
        type(places),
        type(getattr(storage, "reader", None)),
        storage.facts(array),
        *(f.tolist() if isinstance(f, np.ndarray) else f for f in fields),
    ]


def outcome(array: ManifestArray, box: tuple[slice, ...]) -> bytes | str:
    """The elements, or the error where a source is missing."""
    try:
        return pickle.dumps(read_box(array, box))
    except MissingFileError as why:
        return str(why)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("make", FILES)
def test_each_name_is_described_as_in_the_whole_file(
    folder: Path, make: Callable[[h5py.File], None], allowed: bool, order: bool, libver: str
) -> None:
    path = folder / "x.h5"
    with h5py.File(path, "w", libver=libver, track_order=order) as f:
        make(f)
    whole = read(FileSource(path), allow_external=allowed)
    assert whole.arrays
    for name, array in whole.arrays.items():
        one = read(FileSource(path), component=name, allow_external=allowed)
        assert list(one.arrays) == [name]
        assert facts(one.arrays[name]) == facts(array)
        assert one.unsupported == {k: v for k, v in whole.unsupported.items() if k.startswith(f"{name}@")}
        box = tuple(slice(0, n, 1) for n in array.shape)
        assert outcome(one.arrays[name], box) == outcome(array, box)
    for name, why in whole.unsupported.items():
        if name in whole.unlisted:
            one = read(FileSource(path), component=name, allow_external=allowed)
            assert facts(one.arrays[name]) == facts(whole.unlisted[name])
        elif "@" not in name and not why.startswith("a link back to the group"):
            one = read(FileSource(path), component=name, allow_external=allowed)
            assert (dict(one.arrays), dict(one.unsupported)) == ({}, {name: why})
    for name, attributes_of_group in whole.groups.items():
        one = read(FileSource(path), component=name, allow_external=allowed)
        assert one.groups == {name: attributes_of_group}


def test_scales_have_the_names_of_their_links(folder: Path) -> None:
    path = folder / "x.h5"
    with h5py.File(path, "w") as f:
        scales(f)
    found = {name: array.dimension_names for name, array in read(FileSource(path)).arrays.items()}
    assert found["g/data0"] == ("time", "label")
    assert found["a_soft"] == found["g/time"] == ("time",)
    assert found["g/data1"] == ("depth", "label")
    assert found["g/data2"] == ("beside", "label")
    assert found["g/data3"] == found["g/data6"] == ("deep", "label")
    assert found["g/data5"] == ("refused", "label")
    assert found["top"] == ("deep", None, "aa_first")
    assert found["two_names"] == found["g/last"] == ("aa_first",)
    assert found["g/data4"] == ("aa_first", "label")
    assert found["g/coffee"] == found["g/caf\udce9"] == ("caf\udce9",)
    assert found["nonsense"] is None


def test_siblings_are_not_described(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "x.h5"
    with h5py.File(path, "w") as f:
        scales(f)
        plain_things(f)
    described: list[str] = []
    original = check_fill

    def note(target: Any) -> None:
        described.append(target.name)
        original(target)

    monkeypatch.setattr(describe, "check_fill", note)
    for name in ("top", "g/data0", "chunked", "reference", "text"):
        read(FileSource(path), component=name)
        assert described == [name]
        described.clear()


def test_the_cost_does_not_grow_with_the_siblings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in reads of the file: whoever looks at a sibling reads its header."""

    def reads(siblings: int) -> int:
        path = folder / f"{siblings}.h5"
        with h5py.File(path, "w", libver="latest") as f:
            f["s"] = np.arange(4)
            f["s"].make_scale()
            f["x"] = np.arange(4)
            f["x"].dims[0].attach_scale(f["s"])
            for i in range(siblings):
                f.create_dataset(f"d{i:04d}", data=np.arange(4), chunks=(2,))
        count = 0
        original = attributes.read_attributes

        def note(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            return original(*args, **options)

        monkeypatch.setattr("packstore.readers.hdf5.walk.read_attributes", note)
        from packstore.readers.hdf5 import files

        plain = files._Bytes.readinto

        def counted(self: Any, buffer: Any) -> int:
            nonlocal count
            count += 1
            return plain(self, buffer)

        monkeypatch.setattr(files._Bytes, "readinto", counted)
        assert read(FileSource(path), component="x").arrays["x"].dimension_names == ("s",)
        monkeypatch.undo()
        return count

    # The links themselves lie in more blocks.
    assert reads(1000) < reads(10) + 100
