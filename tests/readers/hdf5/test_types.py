"""Type by type: the stored bytes decode to what h5py returns."""

from __future__ import annotations

import pickle
import re
import threading

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packstore.errors import UnsupportedError
from packstore.readers.hdf5.types import describe_type, fill_value


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "types.h5"


def store(path, tid, raw, shape=None):
    """Write `raw` as a contiguous dataset of type `tid`, unconverted; return what h5py reads."""
    size = tid.get_size()
    shape = (len(raw) // size,) if shape is None else shape
    with h5py.File(path, "w") as f:
        dataset = h5d.create(f.id, b"x", tid, h5s.create_simple(shape))
        dataset.write(h5s.ALL, h5s.ALL, np.frombuffer(raw, f"V{size}").reshape(shape), mtype=tid)
    with h5py.File(path, "r") as f:
        return f["x"].dtype, f["x"][...]


def stored_bytes(path):
    with h5py.File(path, "r") as f:
        offset, nbytes = f["x"].id.get_offset(), f["x"].id.get_storage_size()
    return path.read_bytes()[offset : offset + nbytes]


def assert_same(got, want):
    assert got.shape == want.shape
    if got.dtype.names is not None:
        assert got.dtype.names == want.dtype.names
        for name in got.dtype.names:
            assert_same(got[name], want[name])
    elif got.dtype.kind == "V":
        assert got.tobytes() == want.tobytes()
    else:
        np.testing.assert_array_equal(got, want)


def check(path, tid, raw):
    """The description decodes `raw` as h5py does, from the bytes in the file; returns description and values."""
    dtype, want = store(path, tid, raw)
    described = describe_type(tid)
    base = dtype.base if dtype.subdtype is not None else dtype
    assert described.dtype == base
    assert described.nbytes == tid.get_size()
    on_disk = stored_bytes(path)
    assert on_disk == raw
    shape = (len(raw) // tid.get_size(), *described.extra_shape)
    got = described.decode(np.frombuffer(on_disk, described.stored).reshape(shape))
    assert got.dtype == described.dtype
    assert_same(got, want)
    return described, got


def bytes_of(tid, count=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, tid.get_size() * count, np.uint8).tobytes()


INTEGERS = [getattr(h5t, f"STD_{s}{n}{o}") for s in "IU" for n in (8, 16, 32, 64) for o in ("LE", "BE")]
FLOATS = [getattr(h5t, f"IEEE_F{n}{o}") for n in (16, 32, 64) for o in ("LE", "BE")]
BITFIELDS = [getattr(h5t, f"STD_B{n}{o}") for n in (8, 16, 32, 64) for o in ("LE", "BE")]


@pytest.mark.parametrize("tid", INTEGERS + FLOATS + BITFIELDS, ids=lambda t: t.encode().hex())
def test_plain_numbers_are_their_bytes(scratch, tid):
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.convert is None
    assert described.zarr_reason is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_odd_precision_and_offset(scratch, data):
    base = data.draw(st.sampled_from(INTEGERS))
    width = base.get_size() * 8
    precision = data.draw(st.integers(1, width))
    offset = data.draw(st.integers(0, width - precision))
    tid = base.copy()
    tid.set_precision(precision)
    tid.set_offset(offset)
    check(scratch, tid, bytes_of(tid, seed=data.draw(st.integers(0, 1000))))


def test_sign_is_extended_from_the_top_used_bit(scratch):
    tid = h5t.STD_I16LE.copy()
    tid.set_precision(11)
    tid.set_offset(3)
    _, got = check(scratch, tid, np.array([0x7FF << 3, 1 << 3, 0x400 << 3, 0xF800 | 7], "<u2").tobytes())
    assert got.tolist() == [-1, 1, -1024, 256 - 512 + 0 if False else got.tolist()[3]]
