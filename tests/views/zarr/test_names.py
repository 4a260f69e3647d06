"""numpy dtypes in zarr's terms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from zarr.storage import MemoryStore

import packstore
from packstore.errors import DtypeError
from packstore.views.zarr.dtypes import names

PADDED = np.dtype({"names": ["a", "b"], "formats": [">i2", "<f8"], "offsets": [8, 0], "itemsize": 24})
NESTED = np.dtype([("x", [("a", ">i4"), ("s", "S3")]), ("y", "?"), ("z", "<c8")])

HELD = [
    *("?", "i1", ">i2", "<u8", "f2", ">f4", "<f8", "F", ">D"),
    *("S5", "U3", ">U3", "V7", "<M8[ns]", ">M8[s]", "<m8[10us]"),
    np.dtype([("a", "<i4"), ("b", ">f8")]),
    np.dtype([("s", "S4"), ("v", "V3")]),
    np.dtype([("u", "U4"), ("t", "M8[ns]")]),
    np.dtype([("a b", "i4"), ("é", "i4")]),
    PADDED,
    NESTED,
    *("g", "G", ">g", ">G"),
    np.dtype([("a", "<i4", (3,)), ("b", "f4")]),
    np.dtype([("x", [("f", ">f4", (2, 2))])]),
    np.dtype([("n", "i2"), ("g", "g")]),
]
NOT_HELD = {
    "S0": "zero bytes",
    "V0": "zero bytes",
    "M8": "without a unit",
    "m8": "without a unit",
    "O": "Python objects",
    np.dtype([]): "at least one field",
    np.dtype([("o", "O")]): "Python objects",
    np.dtype([("a", "i4", (0,))]): "zero bytes",
    np.dtype([("a", "f4", (3,)), ("b", ml_dtypes.bfloat16)]): "no data type for bfloat16",
    np.dtype([("t", "M8")]): "without a unit",
    np.dtype(ml_dtypes.bfloat16): "no data type for bfloat16",
    np.dtype(ml_dtypes.float8_e4m3fn): "no data type for float8_e4m3fn",
    np.dtype(ml_dtypes.int4): "no data type for int4",
}


@pytest.mark.filterwarnings("ignore:The data type")
@pytest.mark.parametrize("dtype", HELD, ids=str)
def test_values_survive_zarr(dtype: npt.DTypeLike) -> None:
    dtype = np.dtype(dtype)
    assert names.reason(dtype) is None
    name, zdtype = names.metadata(dtype)
    assert json.loads(json.dumps(name)) == name
    letters = np.random.default_rng(0).integers(97, 123, 5 * max(1, dtype.itemsize), np.uint8)
    kept = names.packed(dtype)
    if dtype.kind in "US":
        values = np.array(["ab", "", "c", "abc", "b"]).astype(dtype)
    elif dtype.kind == "b":
        values = np.array([True, False, True, False, True])
    elif dtype.char in "gG" or "g" in (dtype.names or ()):
        # Not any bits: what x87 does with invalid ones is its own affair.
        values = np.zeros(5, dtype)
        (values["g"] if dtype.names else values)[:] = np.array([0, 1, np.pi, 1e300, -2], "g") ** 3
    elif dtype.names is not None and "u" in dtype.names:
        values = np.zeros(5, dtype)
        values["u"], values["t"] = "é", np.datetime64(7, "ns")
    else:
        values = letters[: 5 * dtype.itemsize].view(dtype)
    if dtype == NESTED:
        values = values.copy()
        values["y"] = [True, False, True, False, True]
    store = MemoryStore()
    zarr.create_array(store, shape=(5,), chunks=(2,), dtype=zdtype, compressors=None, fill_value=values[0])[:] = (
        values.astype(kept)
    )
    got = np.asarray(zarr.open_array(store, mode="r")[:])
    want = values.astype(kept)
    if dtype.names is None:
        np.testing.assert_array_equal(got, want)
    else:
        assert got.dtype == kept.newbyteorder("<") or got.dtype == dtype
        assert str(got.tolist()) == str(want.tolist()) == str(values.tolist())


@pytest.mark.parametrize("dtype", NOT_HELD, ids=str)
def test_reasons(dtype: npt.DTypeLike) -> None:
    why = names.reason(np.dtype(dtype))
    assert why is not None
    with pytest.raises(DtypeError, match=NOT_HELD[dtype]):
        names.metadata(np.dtype(dtype))


@pytest.mark.parametrize("dtype", [np.dtypes.StringDType(), h5py.string_dtype(), h5py.string_dtype("ascii")], ids=str)
def test_variable_strings(dtype: np.dtype[Any]) -> None:
    assert names.reason(dtype) is None
    assert names.metadata(dtype)[0] == "string"


def test_objects_are_told_apart_by_what_they_hold() -> None:
    hint = "packstore.from_file reads them"
    for dtype in (h5py.vlen_dtype("i4"), h5py.vlen_dtype(h5py.vlen_dtype("i4")), h5py.vlen_dtype(h5py.string_dtype())):
        assert names.reason(dtype) == f"zarr has no data type for variable-length sequences; {hint}"
    for struct in ([("s", h5py.string_dtype())], [("a", "f4", (3,)), ("v", h5py.vlen_dtype("i4"), (2,))]):
        why = f"zarr has no data type for structs with variable-length members; {hint}"
        assert names.reason(np.dtype(struct)) == why
        with pytest.raises(DtypeError, match="structs with variable-length members"):
            names.metadata(np.dtype(struct))
    assert (
        names.reason(np.dtype([("s", h5py.string_dtype()), ("o", "O")])) == "zarr has no data type for Python objects"
    )
    assert names.reason(h5py.string_dtype()) is None
    assert names.reason(h5py.vlen_dtype(h5py.ref_dtype)) == "zarr has no data type for Python objects"
    assert names.reason(h5py.ref_dtype) is not None


@pytest.mark.parametrize(
    ("dtype", "why"),
    [
        ("g", "zarr has no"),
        ([("a", "<i4", (3,))], r"no array members \('a' has shape \(3,\)\)"),
        (h5py.vlen_dtype("i4"), "no data type for variable-length sequences"),
        ([("s", h5py.string_dtype())], "no data type for structs with variable-length members"),
    ],
    ids=str,
)
def test_what_is_written_must_open_without_packstore(tmp_path: Path, dtype: npt.DTypeLike, why: str) -> None:
    dtype = np.dtype(dtype)
    assert re.search(why, names.portable_reason(dtype) or "")
    if not dtype.hasobject:
        with pytest.raises(DtypeError, match=why):
            packstore.save(tmp_path / "x.zarr", np.zeros(3, dtype))


def test_packed() -> None:
    assert names.packed(PADDED) == np.dtype([("a", "<i2"), ("b", "<f8")])
    assert names.packed(NESTED) == np.dtype([("x", [("a", "<i4"), ("s", "S3")]), ("y", "?"), ("z", "<c8")])
    assert names.packed(np.dtype(">f4")) == np.dtype(">f4")
    inner = np.dtype({"names": ["p"], "formats": [">u2"], "offsets": [2], "itemsize": 8})
    # packstore's own data types say how elements lie in memory.
    assert names.packed(np.dtype([("a", inner, (2,))])) == np.dtype([("a", inner, (2,))])
    values = np.array([(1, 2.5)], PADDED)
    assert values.astype(names.packed(PADDED)).tobytes() == b"\1\0" + np.float64(2.5).tobytes()


def test_core_numbers_need_no_zarr() -> None:
    code = (
        "import sys, numpy as np; from packstore.views.zarr.dtypes import names; "
        "assert names.reason(np.dtype('>f4')) is None; assert 'zarr' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.filterwarnings("error")
def test_asking_does_not_warn() -> None:
    assert names.reason(np.dtype([("never", "S11"), ("asked", "V3")])) is None


def test_a_huge_declared_length_is_not_tried_out() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        assert names.reason(np.dtype("V1000000000")) is None
        assert names.reason(np.dtype([("a", "S1000000000"), ("b", "i4")])) is None
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
