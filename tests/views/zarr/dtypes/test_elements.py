"""dtypes as JSON, and arrays of them as bytes."""

from __future__ import annotations

import itertools
import json
import struct
import tracemalloc
from typing import Any

import h5py
import numpy as np
import pytest

from packstore.codecs import elements
from packstore.errors import CorruptDataError, DtypeError
from packstore.views.zarr.dtypes import is_described, reason

TEXT = h5py.string_dtype()
PADDED = np.dtype({"names": ["a", "b"], "formats": [">i2", ("<f8", (2,))], "offsets": [20, 2], "itemsize": 30})
FIXED: list[Any] = [
    *("g", "G", ">g", ">G"),
    [("a", "f4", (3,)), ("b", ">i2")],
    [("n", "?"), ("t", "M8[10us]", (2,)), ("s", "S3"), ("u", ">U2"), ("v", "V3"), ("c", ">c8")],
    [("in", [("x", "u1", (2, 2))], (2,)), ("g", ">G")],
    PADDED,
]
VARIABLE = [
    h5py.vlen_dtype(np.dtype(">i2")),
    h5py.vlen_dtype(np.dtype("g")),
    h5py.vlen_dtype(PADDED),
    h5py.vlen_dtype(np.dtype(("f4", (3,)))),
    h5py.vlen_dtype(TEXT),
    h5py.vlen_dtype(h5py.vlen_dtype(np.dtype("i4"))),
    np.dtype([("s", TEXT), ("n", "i4")]),
    np.dtype([("v", h5py.vlen_dtype(np.dtype("f8")), (2,)), ("b", h5py.string_dtype("ascii")), ("p", PADDED)]),
    h5py.vlen_dtype(np.dtype([("s", TEXT), ("n", "u1")])),
]


def example(dtype: np.dtype[Any], count: int, rng: np.random.Generator) -> Any:
    """`count` elements; sequences of 0 to 3 items."""
    out = np.zeros(count, dtype)
    if dtype.names is not None:
        for name in dtype.names:
            member = dtype[name]
            column = example(member.base, count * int(np.prod(member.shape)), rng)
            out[name] = column.reshape(count, *member.shape)
    elif dtype.kind == "O":
        item = elements.item_dtype(dtype)
        for i in range(count):
            n = int(rng.integers(4))
            if isinstance(item, np.dtype):
                flat = example(item.base, n * int(np.prod(item.shape)), rng)
                out[i] = flat.reshape(n, *item.shape)
            else:
                out[i] = ["", "a", "é\0", "xyz"][n].encode()
    elif dtype.kind in "US":
        out[:] = rng.choice(np.array(["", "a", "xy"]), count).astype(dtype)
    elif dtype.kind == "V":
        out = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()
    elif dtype.kind in "mM":
        out[:] = rng.integers(-9, 9, count)
    else:
        out[:] = rng.integers(0, 2 if dtype.kind == "b" else 100, count)
    return out


def same(x: Any, y: Any) -> None:
    """Equal, element by element, with their dtypes."""
    if isinstance(x, np.generic) or isinstance(y, np.generic):
        x, y = np.asarray(x), np.asarray(y)
    assert type(x) is type(y)
    if not isinstance(x, np.ndarray):
        assert x == y
        return
    assert x.shape == y.shape and x.dtype == y.dtype
    if x.dtype.names is not None:
        for name in x.dtype.names:
            same(x[name], y[name])
    elif x.dtype.kind == "O":
        for a, b in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [*FIXED, *VARIABLE], ids=str)
def test_json_says_all(dtype: Any) -> None:
    dtype = np.dtype(dtype)
    assert is_described(dtype) and reason(dtype) is None
    described = json.loads(json.dumps(elements.to_json(dtype)))
    again = elements.from_json(described)
    assert again == dtype
    assert elements.to_json(again) == described
    assert again.itemsize == dtype.itemsize


def test_json_of_a_struct() -> None:
    dtype = np.dtype([("xyz", ">f4", (3,)), ("names", h5py.vlen_dtype(TEXT))])
    assert elements.to_json(dtype) == {
        "name": "packstore.struct",
        "configuration": {
            "item_size": 20,
            "fields": [
                {"name": "xyz", "data_type": ">f4", "offset": 0, "shape": [3]},
                {
                    "name": "names",
                    "data_type": {"name": "packstore.vlen_sequence", "configuration": {"data_type": "string"}},
                    "offset": 12,
                },
            ],
        },
    }


@pytest.mark.parametrize("dtype", [*FIXED, *VARIABLE], ids=str)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_bytes_round_trip(dtype: Any, count: int) -> None:
    dtype = np.dtype(dtype)
    data = example(dtype, count, np.random.default_rng(count))
    encoded = elements.encode(data, dtype).tobytes()
    same(elements.decode(encoded, count, dtype), data)
    if not dtype.hasobject:
        assert encoded == data.tobytes()


def test_frame() -> None:
    dtype = np.dtype([("n", ">i2"), ("v", h5py.vlen_dtype(np.dtype("<u2")))])
    data = np.zeros(3, dtype)
    data["n"] = [1, 2, 3]
    data["v"][0] = np.array([5, 6], "<u2")
    data["v"][2] = np.array([7], "<u2")  # the second was never written
    encoded = elements.encode(data, dtype).tobytes()
    assert encoded == struct.pack(">3h", 1, 2, 3) + struct.pack("<3Q", 2, 0, 1) + struct.pack("<3H", 5, 6, 7)


def test_any_order_of_elements_is_encoded_in_c_order() -> None:
    dtype = VARIABLE[0]
    data = example(dtype, 6, np.random.default_rng(3)).reshape(2, 3)
    fortran = np.asfortranarray(data)
    assert elements.encode(fortran, dtype).tobytes() == elements.encode(data, dtype).tobytes()
    same(elements.decode(elements.encode(data[:, ::-1], dtype), 6, dtype).reshape(2, 3), data[:, ::-1].copy())


def test_a_kept_element_does_not_hold_its_chunk() -> None:
    dtype = h5py.vlen_dtype(np.dtype("u1"))
    data = np.empty(2, dtype)
    data[0], data[1] = np.zeros(1, "u1"), np.zeros(10_000, "u1")
    first = elements.decode(elements.encode(data, dtype), 2, dtype)[0]
    assert first.flags.owndata and first.flags.writeable


def test_nothing_stored_is_empty() -> None:
    zeros = elements.zeros((2, 2), np.dtype([("s", TEXT), ("v", h5py.vlen_dtype(np.dtype("i4"))), ("n", "i2")]))
    assert zeros["s"].tolist() == [[b"", b""], [b"", b""]]
    assert all(v.dtype == np.int32 and v.shape == (0,) for v in zeros["v"].ravel())
    assert zeros["n"].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", VARIABLE, ids=str)
def test_every_cut_is_noticed(dtype: Any) -> None:
    encoded = elements.encode(example(dtype, 5, np.random.default_rng(1)), dtype).tobytes()
    for end in range(len(encoded)):
        with pytest.raises(CorruptDataError, match="decoding elements"):
            elements.decode(encoded[:end], 5, dtype)
    with pytest.raises(CorruptDataError, match="got 1 bytes more"):
        elements.decode(encoded + b"\0", 5, dtype)


@pytest.mark.parametrize("dtype", VARIABLE, ids=str)
def test_lengths_that_lie_take_no_memory(dtype: Any) -> None:
    encoded = bytearray(elements.encode(example(dtype, 5, np.random.default_rng(2)), dtype).tobytes())
    tracemalloc.start()
    try:
        for at, value in itertools.product(range(0, min(len(encoded) - 8, 200), 4), [2**63, 2**40, 2**64 - 1]):
            bad = bytearray(encoded)
            bad[at : at + 8] = struct.pack("<Q", value)
            try:
                elements.decode(bytes(bad), 5, dtype)
            except CorruptDataError:
                continue
        with pytest.raises(CorruptDataError):
            elements.decode(bytes(encoded), 2**50, dtype)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def deep(levels: int) -> Any:
    data: Any = "<i4"
    for _ in range(levels):
        data = {"name": "packstore.vlen_sequence", "configuration": {"data_type": data}}
    return data


LONG: dict[str, Any] = {
    "name": "packstore.longdouble",
    "configuration": {"format": "x87", "item_size": 16, "endian": "little"},
}


def in_struct(**field: Any) -> Any:
    return {"name": "packstore.struct", "configuration": {"item_size": 8, "fields": [field]}}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("O", "a type string"),
        ("|O8", "a type string"),
        ("<f16", "a type string"),
        ("<i4,<i4", "a type string"),
        ("<U99999999999", "a type string"),
        ("|S9999999999", "numpy can hold"),
        (None, "a type string or an object"),
        ({"name": "packstore.struct"}, "name and configuration"),
        ({"name": "other", "configuration": {}}, "got 'other'"),
        ({"name": "packstore.struct", "configuration": {"item_size": 4, "fields": []}}, "a list of fields"),
        (in_struct(name=1, data_type="<i4", offset=0), "names that are text"),
        (in_struct(name="a", data_type="<i4", offset=-1), "0 or more"),
        (in_struct(name="a", data_type="<i4", offset=True), "0 or more"),
        (in_struct(name="a", data_type="<i4", offset=5), "numpy can hold"),
        (in_struct(name="a", data_type="<i4", offset=0, shape=[3]), "numpy can hold"),
        (in_struct(name="a", data_type="<i4", offset=0, shape=[2**40, 2**40]), "numpy can hold"),
        (in_struct(name="a", data_type="<i4", offset=0, shape="3"), "0 or more"),
        ({**LONG, "configuration": {**LONG["configuration"], "format": "posit"}}, "this machine's"),
        ({**LONG, "configuration": {**LONG["configuration"], "item_size": 10}}, "this machine's"),
        (deep(40), "at most 32 levels"),
    ],
    ids=str,
)
def test_descriptions_that_are_none(data: Any, why: str) -> None:
    with pytest.raises(DtypeError, match=why):
        elements.from_json(data)


def test_too_deep_to_describe() -> None:
    dtype = np.dtype("i4")
    for _ in range(40):
        dtype = h5py.vlen_dtype(dtype)
    assert reason(dtype) == "zarr has no data types nested more than 32 deep"


def test_padding_is_not_part_of_a_value() -> None:
    used = elements.significant(PADDED)
    assert np.flatnonzero(used).tolist() == [*range(2, 18), 20, 21]
    if np.finfo(np.longdouble).nmant == 63:
        assert np.flatnonzero(elements.significant(np.dtype("<G"))).tolist() == [*range(10), *range(16, 26)]
        assert np.flatnonzero(elements.significant(np.dtype(">g"))).tolist() == list(range(6, 16))
