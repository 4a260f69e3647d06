"""``compressor=`` for HDF5 targets, read back by h5py: by name, by number, as hdf5plugin's objects, in h5py's words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import MissingFilterError, OptionError

hdf5plugin = pytest.importorskip("hdf5plugin")

ARRAY = (np.arange(6000).reshape(60, 100) // 7).astype("f4")
MASK = ARRAY % 3 == 0


def pipeline(path: Path, name: str = "data") -> list[tuple[int, tuple[int, ...]]]:
    with h5py.File(path) as file:
        plist = file[name].id.get_create_plist()
        return [plist.get_filter(i)[0:3:2] for i in range(plist.get_nfilters())]


def shown(value: Any) -> str:
    """A test's name for a value: the same in each process, also for objects of old hdf5plugins."""
    return re.sub(r" object at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"compressor": "gzip"}, [2, 1]),
        ({"compressor": "GZIP", "level": 9}, [2, 1]),
        ({"compressor": 5}, [2, 1]),
        ({"compressor": True, "shuffle": False}, [1]),
        ({"compressor": 1, "compressor_options": (7,)}, [2, 1]),
        ({"compressor": "none"}, []),
        ({"compressor": False}, []),
        ({"compressor": "none", "fletcher32": True}, [3]),
        ({"compressor": "lzf"}, [2, 32000]),
        ({"compressor": "szip"}, [4]),
        ({"compressor": "szip", "compressor_options": ("ec", 16)}, [4]),
        ({"compressor": "blosc"}, [32001]),
        ({"compressor": "blosc", "level": 9, "compressor_options": {"cname": "zstd", "shuffle": 2}}, [32001]),
        ({"compressor": "blosc2"}, [32026]),
        ({"compressor": "zstd"}, [2, 32015]),
        ({"compressor": "zstd", "level": 19, "shuffle": False}, [32015]),
        ({"compressor": "lz4"}, [2, 32004]),
        ({"compressor": "bitshuffle"}, [32008]),
        ({"compressor": "bitshuffle", "compressor_options": {"cname": "zstd"}}, [32008]),
        ({"compressor": "bzip2"}, [2, 307]),
        ({"compressor": "zfp", "compressor_options": {"reversible": True}}, [32013]),
        ({"compressor": hdf5plugin.Blosc(cname="zstd", clevel=5)}, [32001]),
        ({"compressor": hdf5plugin.Zstd(), "shuffle": True}, [2, 32015]),
        ({"compressor": 32015, "compressor_options": (3,)}, [32015]),
        ({"compression": "gzip", "compression_opts": 9, "shuffle": True, "fletcher32": True}, [2, 1, 3]),
        ({"compression": "lzf"}, [2, 32000]),
        ({"compression_opts": 2}, [2, 1]),
        ({"compression": 32015, "compression_opts": (5,)}, [32015]),
        ({"scaleoffset": 0, "compressor": None}, [6]),
    ],
    ids=shown,
)
def test_read_back_by_h5py(tmp_path: Path, options: dict[str, Any], numbers: list[int], lazy: bool) -> None:
    source = da.from_array(ARRAY, chunks=(17, 33)) if lazy else ARRAY
    packstore.save(tmp_path / "x.h5", source, chunks=(16, 32), **options)
    assert [number for number, _ in pipeline(tmp_path / "x.h5")] == numbers
    with h5py.File(tmp_path / "x.h5") as file:
        assert np.array_equal(file["data"][()], ARRAY)
    assert np.array_equal(packstore.open_array(tmp_path / "x.h5", "data")[...], ARRAY)


def test_values_are_those_of_the_options(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({"compressor": "gzip", "level": 7}, (7,)),
        ({"compressor": 8}, (8,)),
        ({"compression_opts": 2}, (2,)),
        ({"compressor": "zstd", "level": 19}, (19,)),
        ({"compressor": hdf5plugin.Zstd(clevel=11)}, (11,)),
        ({"compressor": 307, "compressor_options": [2]}, (2,)),
    ]
    for options, values in cases:
        packstore.save(tmp_path / "x.h5", ARRAY, overwrite=True, **options)
        assert pipeline(tmp_path / "x.h5")[-1][1] == values


@pytest.mark.parametrize("compressor", ["lzf", "blosc", "zstd", "gzip", "szip"])
def test_other_types(tmp_path: Path, compressor: str) -> None:
    """Packed bits, opaque times and what cannot be filtered at all."""
    times = np.arange(100).astype("M8[s]")
    arrays = {"b": MASK, "s": np.array(["a", "b"]), "e": np.zeros((0, 3)), "z": np.array(1.5)}
    if compressor != "szip":
        arrays |= {"t": times, "c": ARRAY * 1j, "r": np.zeros(50, "i4,f8")}
    packstore.save(tmp_path / "x.h5", arrays, compressor=compressor)
    with h5py.File(tmp_path / "x.h5") as file:
        for name, array in arrays.items():
            got = file[name].asstr()[()] if name == "s" else file[name][()]
            assert np.array_equal(got, array)
    if compressor != "szip":
        packstore.save(tmp_path / "y.h5", MASK, compressor=compressor, pack=True)
        with h5py.File(tmp_path / "y.h5") as file:
            assert np.array_equal(file["data"][()], MASK)
        assert pipeline(tmp_path / "y.h5")[0][0] == 5


def test_scaleoffset_as_h5py_has_it(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 1000)
    packstore.save(tmp_path / "x.h5", {"f": values}, scaleoffset=2)
    packstore.save(tmp_path / "y.h5", {"i": np.arange(1000)}, scaleoffset=True)
    with h5py.File(tmp_path / "z.h5", "w") as other:
        other.create_dataset("f", data=values, scaleoffset=2, chunks=(1000,))
    with h5py.File(tmp_path / "x.h5") as file, h5py.File(tmp_path / "z.h5") as other:
        assert file["f"].scaleoffset == 2
        assert np.array_equal(file["f"][()], other["f"][()])
    with h5py.File(tmp_path / "y.h5") as file:
        assert np.array_equal(file["i"][()], np.arange(1000))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"compressor": "zip"}, "compressor one of gzip, lzf, szip, blosc, .*, got 'zip'"),
        ({"compressor": 3.5}, "compressor one of gzip.*, got 3.5"),
        ({"compressor": "lzf", "level": 3}, "no level= for lzf, got 3"),
        ({"compressor": "lz4", "level": 3}, "no level= for lz4, got 3"),
        ({"compressor": "lzf", "compressor_options": 3}, "no compressor_options= for lzf"),
        ({"compressor": "zstd", "level": 23}, "level 1 to 22 for zstd, got 23"),
        ({"compressor": "gzip", "compressor_options": 10}, "level 1 to 9, got 10"),
        ({"compressor": "gzip", "compressor_options": 3, "level": 3}, "level= or compressor_options=, got both"),
        ({"compressor": "blosc", "compressor_options": 3}, "a dict of hdf5plugin.Blosc's arguments, got 3"),
        ({"compressor": "blosc", "compressor_options": {"what": 3}}, "arguments of hdf5plugin.Blosc, got .*what"),
        ({"compressor": "szip", "compressor_options": ("nn", 33)}, "an even number of pixels up to 32"),
        ({"compressor": 32015, "compressor_options": "a"}, "a tuple of integers for filter 32015, got 'a'"),
        ({"compressor": "lzf", "compression": "gzip"}, "compressor= or compression=, got both"),
        ({"scaleoffset": 1, "fletcher32": True}, "fletcher32 or scaleoffset, got both"),
        ({"scaleoffset": -1}, "scaleoffset a number of digits or bits, got -1"),
    ],
)
def test_refused(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        packstore.save(tmp_path / "x.h5", ARRAY, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"compressor": "szip"}, {"scaleoffset": 2}, {"compressor": "zfp"}])
def test_a_type_that_the_filter_does_not_take(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"writing .*x\.h5\[a\]: expected a type and chunks that the filters take"):
        packstore.save(tmp_path / "x.h5", {"a": np.zeros(1000, "c16")}, **options)


def test_a_filter_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    with pytest.raises(
        MissingFilterError, match=r"expected the package of blosc, got none installed\. pip install hdf5plugin"
    ):
        packstore.save(tmp_path / "x.h5", ARRAY, compressor="blosc")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda _: False)
    with pytest.raises(MissingFilterError, match="the package of filter 32015"):
        packstore.save(tmp_path / "x.h5", ARRAY, compressor=32015)
    assert list(tmp_path.iterdir()) == []
