"""Text of variable length that is no UTF-8: an error by name, or decoded as the caller says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import CorruptDataError, OptionError

STORED = [b"gr\xf6n", b"ok"]


@pytest.fixture(params=["utf-8", "ascii"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/s", data=STORED, dtype=h5py.string_dtype(request.param))
        file["n"] = 1
    return tmp_path / "a.h5"


def test_an_error_that_names_the_array_and_the_way_out(path: Path) -> None:
    text = r"reading text of .*a\.h5\[g/s\]: expected text in utf-8, got b'gr\\xf6n'\. Pass encoding="
    with pytest.raises(CorruptDataError, match=text):
        packstore.open_array(path, "g/s")[...]
    group: Any = zarr.open_group(packstore.open_store(path), mode="r")
    with pytest.raises(CorruptDataError, match=text):
        group["g/s"][...]
    assert packstore.open_array(path, "g/s")[1] == "ok"
    assert packstore.from_file(path, "g/s").compute().tolist() == STORED


def test_surrogates_are_no_text_for_zarr(path: Path) -> None:
    options: dict[str, Any] = {"errors": "surrogateescape"}
    text = r"reading text of .*a\.h5\[g/s\]: expected text in utf-8, got b'gr\\xf6n'\. Pass encoding="
    with pytest.raises(CorruptDataError, match=text):
        packstore.open_array(path, "g/s", **options)[...]
    group: Any = zarr.open_group(packstore.open_store(path, **options), mode="r")
    with pytest.raises(CorruptDataError, match=text):
        group["g/s"][...]
    with pytest.raises(packstore.errors.PackstoreError, match="expected text in utf-8"):
        packstore.save(path.with_name("b.zarr"), packstore.open(path, **options))
    assert not path.with_name("b.zarr").exists()


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"encoding": "latin-1"}, "grön"),
        ({"errors": "replace"}, "gr\ufffdn"),
        ({"errors": "ignore"}, "grn"),
    ],
)
def test_decoded_as_the_caller_says(path: Path, options: dict[str, Any], want: str) -> None:
    assert packstore.open_array(path, "g/s", **options)[...].tolist() == [want, "ok"]
    group: Any = zarr.open_group(packstore.open_store(path, **options), mode="r")
    assert group["g/s"][...].tolist() == [want, "ok"]
    packstore.save(path.with_name("b.zarr"), packstore.open(path, **options))
    saved: Any = zarr.open_array(path.with_name("b.zarr"), path="g/s", mode="r")
    assert saved[...].tolist() == [want, "ok"]


def test_h5_to_h5_keeps_the_bytes(path: Path) -> None:
    packstore.save(path.with_name("b.h5"), packstore.open(path))
    with h5py.File(path.with_name("b.h5")) as file:
        assert file["g/s"][...].tolist() == STORED
    with pytest.raises(Exception, match=r"g/s\]: expected text in UTF-8") as caught:
        packstore.save(path.with_name("b.zarr"), packstore.open(path))
    assert isinstance(caught.value, packstore.errors.PackstoreError)
    np.testing.assert_array_equal(packstore.open_array(path, "n")[()], 1)


@pytest.mark.parametrize("options", [{"encoding": "nope"}, {"errors": "nope"}, {"encoding": 5}, {"encoding": "zlib"}])
def test_options_that_python_has_not(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="encoding= and errors= that Python has"):
        packstore.open(path, **options)
