"""`GridStorage`: an array as a grid of chunks, each of which has a place, and all of which share one chain of codecs.

This is the one engine of packstore. A read has three steps: it plans (which chunks a box touches, which bytes of them),
fetches those bytes (out of the mapping, by ``pread``, or by one call for many ranges of a remote object), and decodes
them into the result. A file that is one array in one piece (npy, raw) is a grid of one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box, Touched, as_index, box_shape, touched
from packstore.core.scratch import Scratch
from packstore.core.threads import run_all
from packstore.core.typing import Array, Bytes
from packstore.errors import PackstoreError, StaleFileError, message
from packstore.source import ByteSpace, FileSource, InlineBytes
from packstore.source.cache import CHUNKS
from packstore.storage import fetch, plan
from packstore.storage.array import Facts, ManifestArray, Storage, missing_value
from packstore.storage.bits import PackedBits
from packstore.storage.chain import Chain
from packstore.storage.chunk_counts import counts_packed, summed_chunks
from packstore.storage.crops import Crops
from packstore.storage.places import OneRange, Places
from packstore.storage.plain import PlainBytes
from packstore.storage.stored import MemoryBytes, Stored

__all__ = ["GridStorage"]

# Decoded bytes of a chunk without codecs in a file of its own, below which threads are in each other's way: to read,
# and to count bits.
SMALL_NBYTES, SMALL_COUNTED_NBYTES = 512 << 10, 4 << 20
# Larger results of fill values only are one element in their shape.
MAX_FILLED_NBYTES = 64 << 20
# Several small chunks, decoded side by side on their way into the result.
_scratch = Scratch()


class GridStorage(Storage):
    """A grid of chunks.

    Parameters
    ----------
    chunk_shape
        Elements a stored chunk; every stored chunk is whole, also at the edges.
    places
        Where the chunks lie.
    chain
        How their bytes become elements.
    layout
        What `facts` calls it.
    """

    def __init__(
        self,
        chunk_shape: tuple[int, ...],
        places: Places,
        chain: Chain,
        layout: str = "chunked",
    ) -> None:
        self.chunk_shape = chunk_shape
        self.places = places
        self.chain = chain
        self.layout = layout
        self._crops = Crops.of(chunk_shape, places, chain)
        # Chunks that share a file are small; those that are files of their own may be large.
        self.reads_parts = chain.reads_parts and places.space is None
        self.has_chunks = not isinstance(places, OneRange)
        self.has_sum = places.has_sum
        is_reversed = chain.order == tuple(reversed(range(len(chunk_shape)))) and len(chunk_shape) > 1
        self.order: Literal["C", "F"] = "F" if is_reversed and not self.has_chunks else "C"
        # A view needs one chunk with nothing to decode. Whether its bytes are mapped, the source says at each read.
        is_plain = isinstance(chain.serializer, PlainBytes) and chain.decoder is None and chain.convert is None
        self.is_view = not self.has_chunks and is_plain

    @property
    def opened_ns(self) -> int | None:
        # docstring inherited
        return self.places.opened_ns

    def opened(self, ns: int | None = None) -> GridStorage:
        # docstring inherited
        places = self.places.opened(ns)
        return self if places is self.places else GridStorage(self.chunk_shape, places, self.chain, self.layout)

    def stamps(self) -> npt.NDArray[np.uint32] | None:
        # docstring inherited
        return self.places.stamps()

    def compare(self, stamps: npt.NDArray[np.uint32], box: Box) -> None:
        # docstring inherited
        for item in touched(box, self.chunk_shape):
            if self.places.stamp(item.coords) != stamps[item.coords]:
                told = {"expected": "the chunk that was there when the array was opened", "got": "another one"}
                text = message("reading", self.places.name, chunk=item.coords, hint="Open it again", **told)
                raise StaleFileError(text)

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, array: ManifestArray, box: Box) -> Array:
        # docstring inherited
        self.places.check()
        if self.has_sum and box_shape(box) == array.shape:
            self.verify(reading=True)
        if self._crops is not None:
            found = self._crops.read(box, missing_value(array))
            if found is not None:
                return found
        one = plan.one_chunk(box, self.chunk_shape)
        if one is not None:
            kept = self._kept_part(*one)
            if kept is not None:
                return kept
            part = self._part(array, *one, None)
            if part is not None:
                return part if part.dtype == array.dtype else part.astype(array.dtype)
        shape = box_shape(box)
        nbytes = math.prod(shape) * array.dtype.itemsize
        if nbytes > MAX_FILLED_NBYTES and self.places.nothing_stored():
            # One element in the shape of all: no memory is taken that no stored byte justifies.
            return np.broadcast_to(np.asarray(missing_value(array), array.dtype), shape)
        out = np.empty(shape, array.dtype)
        if 0 not in shape:
            self._read_into(array, box, out)
        return out

    def _read_into(self, array: ManifestArray, box: Box, out: Array) -> None:
        """Decode all chunks that `box` touches into `out`."""
        fill_value = missing_value(array)
        if self._crops is not None and self._crops.fill(box, out, fill_value):
            return

        def fill(item: Touched, stored: Stored | None = None, fetched: bool = False) -> None:
            target = out[as_index(item.outer)]
            missing = fetched and stored is None
            if missing or self._part(array, item.coords, item.inner, target, stored) is None:
                target[...] = fill_value

        def fill_run(run: plan.Run) -> None:
            if not self._run_into(run, out):
                for item in run:
                    fill(item)

        items: Iterable[Touched] = touched(box, self.chunk_shape)
        parallel = plan.wants_threads(self.chain, box, self.chunk_shape, out.nbytes, self._key)
        space = self.places.space
        axis = None if space is None else plan.run_axis(self.chain, box)
        batches = fetch.batches(self.places, self.chain, self.chunk_shape, items) if self.has_chunks else None
        if batches is not None:
            for batch in batches:
                run_all(lambda pair: fill(*pair), batch, parallel=parallel)
        elif axis is not None:
            work = plan.runs(self.chain, self.places, box, axis)
            run_all(fill_run, work, parallel=parallel)
        else:
            if parallel and self.chain.serializer.nested:
                items = plan.pieces(self.chain, list(items))
            run_all(fill, items, parallel=parallel, small=self._is_small(SMALL_NBYTES))

    def _part(
        self, array: ManifestArray, coords: tuple[int, ...], inner: Box, out: Array | None, stored: Stored | None = None
    ) -> Array | None:
        """Part of a chunk, in `out` if there is one; None for a chunk that is not stored."""
        if stored is None:
            far = self.places.is_far
            stored = (
                self.places.fetch([fetch.wanted(self.chain, self.chunk_shape, coords, inner)])[0]
                if far
                else self.places.open(coords)
            )
        if stored is None:
            return None
        # A scan uses up the whole chunk at once: it need not be kept.
        cache = self.chain.keeps and not plan.is_whole(array.shape, self.chunk_shape, coords, inner)
        return self._decode(array, coords, stored, inner, out, cache=cache)

    def _decode(
        self,
        array: ManifestArray,
        coords: tuple[int, ...],
        stored: Stored,
        inner: Box,
        out: Array | None = None,
        *,
        cache: bool = False,
    ) -> Array:
        """Part of a chunk that is stored, in `out` if there is one; closes it."""
        try:
            return self.chain.read(stored, inner, out=out, cache=cache)
        except PackstoreError as error:
            least = plan.inside(array.shape, self.chunk_shape, coords)
            part = None if least is None else self.chain.read_short(stored, inner, least, out=out)
            if part is None:
                raise self._at(error, coords) from error
            return part
        finally:
            stored.close()

    def _kept_part(self, coords: tuple[int, ...], inner: Box) -> Array | None:
        """A copy of part of a decoded chunk that was kept; None where there is none."""
        chain, space = self.chain, self.places.space
        if space is None or chain.decoder is None or not chain.is_plain:
            return None
        data = CHUNKS.get(self._key(coords), chain)
        if data is None:
            return None
        # This raises StaleFileError where the file changed since.
        space.view()
        elements: Array = np.ndarray(chain.shape, chain.serializer.dtype, data.data)
        part: Array = elements[as_index(inner)].copy()
        return part

    def _at(self, error: PackstoreError, coords: tuple[int, ...]) -> PackstoreError:
        """The error with the place of the chunk before its text."""
        if not self.has_chunks:
            return error
        where = message(self.places.verb, self.places.name, chunk=coords).rstrip(".")
        return type(error)(f"{where}: {error}")

    def _key(self, coords: tuple[int, ...]) -> object:
        return (id(self.places), coords)

    def _run_into(self, run: plan.Run, out: Array) -> bool:
        """Decode neighbouring chunks side by side and put them into `out` at once, if that is possible.

        Each call to numpy costs as much as a small chunk.
        """
        space = self.places.space
        if len(run) < 2 or space is None or space.view() is None:
            return False
        first, last, axis = run[0], run[-1], run.axis
        places = self.places.run(first.coords, axis, len(run))
        if places is None:
            return False
        shape, serializer = self.chain.shape, self.chain.serializer
        nbytes = serializer.limit.nbytes
        assert isinstance(serializer, PlainBytes)
        along = slice(first.outer[axis].start, last.outer[axis].stop)
        strip = out[(*first.outer[:axis], along, *first.outer[axis + 1 :])]
        # Where nothing but the run's own axis stands before them, chunks lie in the result as they do decoded in a row.
        target = serializer.target(strip) if math.prod(shape[:axis]) == 1 else None
        data = self._decoded_run(run, places, space, nbytes, target)
        if data is None:
            return False
        if target is None or data is not target:
            chunks = np.frombuffer(data, out.dtype).reshape(len(run), *shape)
            strip.reshape(*shape[:axis], len(run), *shape[axis:])[...] = np.moveaxis(chunks, 0, axis)
        return True

    def _decoded_run(
        self, run: plan.Run, places: Any, space: ByteSpace, nbytes: int, out: Bytes | None
    ) -> Bytes | None:
        """The decoded bytes of neighbouring chunks, one behind the other; None: take the chunks one by one.

        They are in `out` where that is given and there is something to decode.
        """
        if any(offset + size > space.nbytes for offset, size, _ in places):
            return None
        raw = space.settled_view()

        def stored(offset: int, size: int) -> Bytes:
            found = space.read_ranges([(offset, size)])[0] if raw is None else raw[offset : offset + size]
            return np.frombuffer(found, np.uint8)

        decoder = self.chain.decoder
        if decoder is None:
            regular = list(range(places[0][0], places[0][0] + len(run) * nbytes, nbytes))
            if [p[0] for p in places] != regular or any(size != nbytes for _, size, _ in places):
                return None
            return stored(regular[0], len(run) * nbytes)
        out = _scratch.take(len(run) * nbytes) if out is None else out
        found = [stored(offset, size) for offset, size, _ in places]
        if not any(mask for _, _, mask in places) and decoder.decode_many(found, out):
            return out
        for number, (item, data, (_, _, mask)) in enumerate(zip(run, found, places, strict=True)):
            try:
                decoder.decode(MemoryBytes(data, None, mask), out[number * nbytes : (number + 1) * nbytes], None)
            except PackstoreError as error:
                raise self._at(error, item.coords) from error
        return out

    def _is_small(self, nbytes: int) -> bool:
        """Whether a chunk is a file of its own that is read as it is, and has fewer decoded bytes."""
        if self.places.space is not None or self.chain.keeps:
            return False
        return math.prod(self.chain.shape) * self.chain.serializer.dtype.itemsize < nbytes

    # -- answers ------------------------------------------------------------------------------------------------------

    def read_chunk(self, array: ManifestArray, coords: tuple[int, ...]) -> Array | None:
        # docstring inherited
        if self.has_chunks and self.chunk_shape == array.chunk_shape:
            self.places.check()
            stored = self.places.open(coords)
            if stored is None:
                return None
            return self._decode(array, coords, stored, tuple([slice(0, n, 1) for n in self.chunk_shape]))
        return super().read_chunk(array, coords)

    @property
    def is_instant(self) -> bool:
        # docstring inherited
        return self.is_view and isinstance(self.places.space, (FileSource, InlineBytes))

    def verify(self, *, reading: bool = False) -> None:
        # docstring inherited
        self.places.verify(reading=reading)

    def view(self, array: ManifestArray) -> Callable[[], Array | None] | None:
        # docstring inherited
        places, serializer = self.places, self.chain.serializer
        if not self.is_view or not isinstance(places, OneRange) or not isinstance(serializer, PlainBytes):
            return None
        if serializer.stored != array.dtype:
            return None
        strides = serializer.strides[::-1] if self.order == "F" else serializer.strides

        def shaped(raw: Bytes) -> Array:
            if array.size == 0 or array.dtype.itemsize == 0:
                empty = np.empty(array.shape, array.dtype)
                empty.flags.writeable = False
                return empty
            return np.ndarray(array.shape, array.dtype, raw.data, places.offset, strides)

        return places.kept_view(array, shaped)

    def has_chunk(self, coords: tuple[int, ...]) -> bool:
        # docstring inherited
        return self.places.has(coords)

    def stored_below(self, fixed: tuple[int, ...], grid_shape: tuple[int, ...]) -> Iterable[int]:
        # docstring inherited
        return self.places.stored_below(fixed, grid_shape)

    def count_nonzero(self, array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Array | None:
        # docstring inherited
        serializer = self.chain.serializer
        if isinstance(serializer, PackedBits) and not self.has_chunks:
            stored = self.places.open(())
            return None if stored is None else serializer.count_axes(stored, box, axes)
        keep = len(box) - len(axes)
        # Counts are made for each index of the leading axes.
        if not counts_packed(self.chain) or any(i < keep for i in axes):
            return None
        self.places.check()
        fills = bool(np.count_nonzero(missing_value(array)))

        def count(coords: tuple[int, ...], inner: Box) -> Array | int:
            stored = self.places.open(coords)
            if stored is None:
                sub = box_shape(inner)
                return np.full(sub[:keep], math.prod(sub[keep:]) if fills else 0, np.int64)
            try:
                return self.chain.count_nonzero(stored, inner, keep)
            except PackstoreError as error:
                raise self._at(error, coords) from error
            finally:
                stored.close()

        small = self._is_small(SMALL_COUNTED_NBYTES)
        return summed_chunks(count, box, self.chunk_shape, keep, small=small, is_far=self.places.is_far)

    def facts(self, array: ManifestArray) -> Facts:
        # docstring inherited
        known = self.places.facts()
        if known is not None:
            return known
        nbytes, missing = self.places.stored_nbytes()
        names = self.chain.serializer.names if self.chain.decoder is None else self.chain.decoder.names
        order = " F" if self.order == "F" else ""
        space = self.places.space
        decoded_from = None if space is None else space.decoded_from()
        if decoded_from is not None:
            return Facts(*decoded_from)
        if self.is_view:
            nbytes = array.nbytes
        return Facts(f"{self.layout}{order}", names, nbytes, missing if self.has_chunks else None)

    def owners(self) -> Iterable[object]:
        # docstring inherited
        chain: Chain | None = self.chain
        while chain is not None:
            yield chain
            yield chain.serializer
            chain = chain.serializer.inner

    def token(self) -> object:
        # docstring inherited
        return self.places.token()
