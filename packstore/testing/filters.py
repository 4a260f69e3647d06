"""Conformance suite for one HDF5 filter: packstore must decode to the same bytes that h5py reads.

Subclass `FilterTests` with the filter's number and the options that make h5py write with it (or override `create`);
pytest collects the rest. Needs pytest and h5py.

Examples
--------
>>> class TestDeflate(FilterTests):
...     filter_id = 1
...     options = {"compression": "gzip"}
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from packstore.codecs.hdf5 import FILTERS, FilterSpec, decode_chunk, unavailable
from packstore.errors import CorruptDataError, MissingFilterError, PackstoreError

__all__ = ["Chunk", "FilterTests", "chunks_of", "damaged", "memory_file", "pipeline_of"]


@dataclass(frozen=True)
class Chunk:
    """One stored chunk, and the same chunk read by h5py."""

    data: bytes
    filter_mask: int
    nbytes: int
    shape: tuple[int, ...]
    region: tuple[slice, ...]  # the part of the chunk inside the dataset
    expected: npt.NDArray[Any]


def memory_file() -> h5py.File:
    """Open an HDF5 file in memory, without a chunk cache: that would hand out values as written, not as stored."""
    return h5py.File("filters.h5", "w", driver="core", backing_store=False, rdcc_nbytes=0)


def pipeline_of(dataset: h5py.Dataset) -> list[FilterSpec]:
    """Read a dataset's filters."""
    plist = dataset.id.get_create_plist()
    found = (plist.get_filter(i) for i in range(plist.get_nfilters()))
    return [FilterSpec(f[0], tuple(f[2]), f[3].decode()) for f in found]


def chunks_of(dataset: h5py.Dataset) -> Iterator[Chunk]:
    """Read every stored chunk, raw, and the same region decoded by libhdf5 (in the file's own type: no conversion)."""
    dataset.file.flush()
    kind = dataset.id.get_type()
    size = kind.get_size()
    space = dataset.id.get_space()
    whole = np.empty(dataset.shape, np.dtype((np.void, size)))
    dataset.id.read(space, space, whole, mtype=kind)
    for index in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(index)
        # The mask that read_direct_chunk gives may be that of the chunk before a write_direct_chunk (libhdf5 2.0.0).
        offset, mask = info.chunk_offset, info.filter_mask
        _, data = dataset.id.read_direct_chunk(offset)
        inside = tuple(slice(o, o + c) for o, c in zip(offset, dataset.chunks, strict=True))
        expected = whole[inside]
        region = tuple(slice(0, n) for n in expected.shape)
        nbytes = int(np.prod(dataset.chunks)) * size
        yield Chunk(data, mask, nbytes, dataset.chunks, region, expected)


def damaged(data: bytes, random: random.Random) -> bytes:
    """Damage encoded bytes: change some, cut the end off, insert some, or all three."""
    changed = bytearray(data)
    for _ in range(random.randint(0, 4)):
        if changed:
            changed[random.randrange(len(changed))] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
    if changed and random.random() < 0.3:
        # A changed byte does most harm in a header.
        changed[random.randrange(min(32, len(changed)))] = random.randrange(256)
    if random.random() < 0.3:
        del changed[random.randint(0, len(changed)) :]
    if random.random() < 0.2:
        changed[random.randint(0, len(changed)) :] = random.randbytes(random.randint(0, 40))
    return bytes(changed)


class FilterTests:
    """Subclass this for each filter.

    Attributes
    ----------
    filter_id
        The registered number.
    options
        Arguments of ``h5py.Group.create_dataset`` that turn the filter on.
    dtypes
        Types to test.
    shapes
        (shape of the dataset, chunk shape) to test.
    detects_damage
        Whether a truncated chunk is always found out.
    """

    filter_id: int
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    dtypes: tuple[str, ...] = ("<u1", "<i2", ">i2", "<u4", "<f4", ">f4", "<f8", ">f8", "<c16")
    shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
        ((40, 50), (16, 20)),
        ((1,), (1,)),
        ((1009,), (211,)),
    )
    detects_damage = True

    def create(self, file: h5py.File, name: str, values: npt.NDArray[Any], chunks: tuple[int, ...]) -> h5py.Dataset:
        """Make a dataset that goes through the filter; override this where `options` is not enough."""
        return file.create_dataset(name, data=values, chunks=chunks, **self.options)

    def values(self, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Make data that compresses, but not to nothing."""
        count = int(np.prod(shape))
        noise = np.random.default_rng(count).integers(0, 50, count)
        return np.asarray(noise + np.arange(count) // 7 % 60).astype(dtype).reshape(shape)

    @pytest.fixture
    def file(self) -> Iterator[h5py.File]:
        """An HDF5 file in memory."""
        with memory_file() as file:
            yield file

    @pytest.fixture(params=["imagecodecs", "without imagecodecs"])
    def route(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        """Run each test with imagecodecs and without it."""
        if request.param != "imagecodecs":
            monkeypatch.setattr("packstore.codecs.libraries.imagecodecs_function", lambda *_: None)
        return str(request.param)

    @pytest.fixture
    def decodable(self, route: str) -> bool:
        """Whether this route decodes the filter at all; where not, `check` expects a MissingFilterError."""
        reason = unavailable([FilterSpec(self.filter_id, ())])
        assert reason is None or (route != "imagecodecs" and str(self.filter_id) in reason and "imagecodecs" in reason)
        return reason is None

    def sample(self, file: h5py.File, name: str = "sample") -> tuple[list[FilterSpec], Chunk]:
        """Give one chunk of one type."""
        shape, chunks = self.shapes[0]
        dataset = self.create(file, name, self.values(self.dtypes[-1], shape), chunks)
        return pipeline_of(dataset), next(chunks_of(dataset))

    def check(self, dataset: h5py.Dataset, decodable: bool) -> None:
        """Hold every chunk of a dataset against h5py."""
        filters = pipeline_of(dataset)
        assert self.filter_id in [spec.id for spec in filters]
        count = 0
        for chunk in chunks_of(dataset):
            count += 1
            applied = [s.id for i, s in enumerate(filters) if not chunk.filter_mask >> i & 1]
            if not decodable and self.filter_id in applied:
                with pytest.raises(MissingFilterError, match=str(self.filter_id)):
                    decode_chunk(chunk.data, filters, chunk.filter_mask, chunk.nbytes)
                continue
            decoded = decode_chunk(chunk.data, filters, chunk.filter_mask, chunk.nbytes)
            assert decoded.nbytes == chunk.nbytes
            got = decoded.view(chunk.expected.dtype).reshape(chunk.shape)[chunk.region]
            assert got.tobytes() == chunk.expected.tobytes()
        assert count

    def test_registered(self) -> None:
        """The table knows the filter and its file."""
        assert FILTERS[self.filter_id].id == self.filter_id
        assert not FILTERS[self.filter_id].via_h5py

    def test_values(self, file: h5py.File, decodable: bool) -> None:
        """Types, byte orders and chunk shapes."""
        for dtype in self.dtypes:
            for number, (shape, chunks) in enumerate(self.shapes):
                dataset = self.create(file, f"{dtype}{number}", self.values(dtype, shape), chunks)
                self.check(dataset, decodable)

    def test_out_and_views(self, file: h5py.File, decodable: bool) -> None:
        """`out` is filled and returned; read-only and odd-aligned input is taken."""
        filters, chunk = self.sample(file)
        if not decodable:
            return
        expected = decode_chunk(chunk.data, filters, chunk.filter_mask, chunk.nbytes).tobytes()
        backing = np.full(chunk.nbytes + 9, 0xA5, np.uint8)
        out = backing[3 : 3 + chunk.nbytes]
        shifted = np.frombuffer(b"x" + chunk.data, np.uint8)[1:]
        assert not shifted.flags.writeable
        for data in (chunk.data, memoryview(chunk.data), shifted):
            out[:] = 0
            assert decode_chunk(data, filters, chunk.filter_mask, chunk.nbytes, out) is out
            assert out.tobytes() == expected
        assert set(backing[:3].tolist() + backing[3 + chunk.nbytes :].tolist()) == {0xA5}

    def test_results_do_not_alias(self, file: h5py.File, decodable: bool) -> None:
        """A result stays as it is when the thread decodes on."""
        filters, chunk = self.sample(file)
        if not decodable:
            return
        first = decode_chunk(chunk.data, filters, chunk.filter_mask, chunk.nbytes)
        before = first.tobytes()
        for _ in range(3):
            decode_chunk(chunk.data, filters, chunk.filter_mask, chunk.nbytes)
        assert first.tobytes() == before

    def test_skipped_filter(self, file: h5py.File, decodable: bool) -> None:
        """A chunk whose filter mask skips every filter is stored as it is."""
        filters, chunk = self.sample(file)
        raw = bytes(range(256)) * (chunk.nbytes // 256 + 1)
        mask = (1 << len(filters)) - 1
        assert decode_chunk(raw[: chunk.nbytes], filters, mask, chunk.nbytes).tobytes() == raw[: chunk.nbytes]

    def test_wrong_size(self, file: h5py.File, decodable: bool) -> None:
        """Data of a smaller or larger chunk are an error."""
        filters, chunk = self.sample(file)
        if not decodable:
            return
        for nbytes in (chunk.nbytes - 1, chunk.nbytes // 2, chunk.nbytes + 1, chunk.nbytes * 2, 1):
            with pytest.raises(CorruptDataError, match="expected"):
                decode_chunk(chunk.data, filters, chunk.filter_mask, nbytes)

    def test_truncated(self, file: h5py.File, decodable: bool) -> None:
        """Half the bytes are not taken for all of them."""
        filters, chunk = self.sample(file)
        if not decodable or not self.detects_damage:
            return
        for length in (0, 1, 3, 7, 15, len(chunk.data) // 2):
            with pytest.raises(CorruptDataError, match="expected"):
                decode_chunk(chunk.data[:length], filters, chunk.filter_mask, chunk.nbytes)

    def test_damaged(self, file: h5py.File, decodable: bool) -> None:
        """Damaged bytes give the right number of bytes or a PackstoreError, and nothing else."""
        filters, chunk = self.sample(file)
        if not decodable:
            return
        generator = random.Random(self.filter_id)
        for _ in range(300):
            data = damaged(chunk.data, generator)
            try:
                decoded = decode_chunk(data, filters, chunk.filter_mask, chunk.nbytes)
            except PackstoreError:
                continue
            assert decoded.nbytes == chunk.nbytes

    def test_damaged_parameters(self, file: h5py.File, decodable: bool) -> None:
        """Damaged filter parameters likewise."""
        filters, chunk = self.sample(file)
        if not decodable:
            return
        generator = random.Random(self.filter_id)
        for _ in range(300):
            changed = []
            for spec in filters:
                values = list(spec.client_values)
                if values and generator.random() < 0.7:
                    odd = [0, 1, 2, 3, 5, 8, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
                    values[generator.randrange(len(values))] = generator.choice(odd)
                if generator.random() < 0.2:
                    del values[generator.randint(0, len(values)) :]
                changed.append(FilterSpec(spec.id, tuple(values), spec.name))
            try:
                decoded = decode_chunk(chunk.data, changed, chunk.filter_mask, chunk.nbytes)
            except PackstoreError:
                continue
            assert decoded.nbytes == chunk.nbytes

    def test_threads(self, file: h5py.File, decodable: bool) -> None:
        """Threads do not mix their data."""
        filters, first = self.sample(file)
        dataset = self.create(file, "other", self.values(self.dtypes[-1], self.shapes[0][0])[::-1], self.shapes[0][1])
        other = next(chunks_of(dataset))
        if not decodable:
            return
        # Filters may depend on the values (scale and offset), so each keeps its own parameters.
        work = [(first, filters), (other, pipeline_of(dataset))]
        expected = [decode_chunk(c.data, f, c.filter_mask, c.nbytes).tobytes() for c, f in work]
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(decode_chunk, c.data, f, c.filter_mask, c.nbytes) for c, f in work * 50]
            for number, job in enumerate(jobs):
                assert job.result().tobytes() == expected[number % 2]
