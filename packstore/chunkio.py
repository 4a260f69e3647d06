"""From a manifest to elements: the one place where stored bytes become arrays.

`read_box` serves the direct path, `read_chunk` the zarr store; both decode with the same functions. A box is one slice
an axis with ``0 <= start <= stop <= n`` and ``step >= 1``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.boxes import Box, Touched, box_shape, run_all, touched
from packstore.cache import ByteLRU
from packstore.codecs._axes import unpack_axis
from packstore.errors import CorruptDataError, PackstoreError, TruncatedFileError, message
from packstore.filters import decode_chunk
from packstore.manifests import MISSING, ChunkedManifest, ContiguousManifest, ManifestArray, PackedManifest
from packstore.source import ByteSpace, FileSource

__all__ = ["contiguous_view", "packed_bytes", "read_box", "read_chunk"]

Array = npt.NDArray[Any]

# A box of at least this many decoded bytes over several chunks is decoded by several threads.
PARALLEL_NBYTES = 4 << 20
# Packed bits are unpacked at several GB/s a core, so it takes more of them to be worth other threads; in pieces that fit
# the second-level cache.
PARALLEL_PACKED_NBYTES, _PIECE_NBYTES = 16 << 20, 1 << 20
# Decoded chunks that a crop only partly used, so that neighbouring crops do not decode them again.
CHUNK_CACHE = ByteLRU(max_nbytes=128 << 20)


def read_box(array: ManifestArray, box: Box) -> Array:
    """Read the elements of `box`.

    Parameters
    ----------
    array
        What to read.
    box
        One normalised slice an axis.

    Returns
    -------
    ndarray
        Shape as `box_shape` says, dtype of the array. Where nothing is to decode it is a read-only view of the mapped
        file; otherwise a new array.

    Raises
    ------
    StaleFileError
        The file changed since it was opened.
    TruncatedFileError, CorruptDataError, ChecksumError
        Stored bytes are missing or do not decode.

    Notes
    -----
    Thread safe. Costs the bytes of the chunks (or of the rows, where nothing is compressed) that the box touches.
    """
    storage = array.storage
    if isinstance(storage, ContiguousManifest):
        return _read_contiguous(array, storage, box)
    if isinstance(storage, PackedManifest):
        return _read_packed(array, storage, box)
    if isinstance(storage, ChunkedManifest):
        return _read_chunked(array, storage, box)
    return storage.reader.read(box)


def read_chunk(array: ManifestArray, coords: tuple[int, ...]) -> Array | None:
    """Read chunk `coords` of the array's grid, whole: tail chunks are padded with the fill value.

    Returns
    -------
    ndarray or None
        Shape ``array.chunk_shape``, in C order, or in F order where the data are; None for a chunk that was never
        written.
    """
    storage = array.storage
    if isinstance(storage, ChunkedManifest):
        if storage.offsets[coords] == MISSING:
            return None
        return _decoded_chunk(array, storage, coords, cache=False)
    box = tuple(
        slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(coords, array.chunk_shape, array.shape, strict=True)
    )
    box = tuple(slice(s.start, s.stop, 1) for s in box)
    part = read_box(array, box)
    if part.shape == array.chunk_shape:
        return part
    order = "F" if isinstance(storage, ContiguousManifest) and storage.order == "F" else "C"
    whole: Array = np.zeros(array.chunk_shape, array.dtype, order=order)  # type: ignore[call-overload]  # order is C or F
    if array.fill_value is not None and not isinstance(storage, ContiguousManifest):
        whole[...] = array.fill_value
    whole[tuple(slice(0, n) for n in part.shape)] = part
    return whole


# -- contiguous -------------------------------------------------------------------------------------------------------


def contiguous_view(array: ManifestArray, storage: ContiguousManifest) -> Array | None:
    """The whole array as a read-only view of its bytes, in its stored type; None where the bytes cannot be mapped."""
    space = storage.space
    if isinstance(space, FileSource):
        handle = space.check()
        view = handle.views.get(array)
        return handle.keep_view(array, _shape_view(array, storage, space.view())) if view is None else view
    raw = space.view()
    return None if raw is None else _shape_view(array, storage, raw)


def _shape_view(array: ManifestArray, storage: ContiguousManifest, raw: npt.NDArray[np.uint8]) -> Array:
    _check_extent(array, storage)
    if array.size == 0 or storage.stored.itemsize == 0:
        empty = np.empty(array.shape, storage.stored)
        empty.flags.writeable = False
        return empty
    return np.ndarray(array.shape, storage.stored, buffer=raw.data, offset=storage.offset, order=storage.order)


def _check_extent(array: ManifestArray, storage: ContiguousManifest) -> None:
    end = storage.offset + array.size * storage.stored.itemsize
    if end > storage.space.nbytes:
        raise TruncatedFileError(
            message("reading", storage.space.name, expected=f"at least {end} bytes", got=storage.space.nbytes)
        )


def _read_contiguous(array: ManifestArray, storage: ContiguousManifest, box: Box) -> Array:
    view = contiguous_view(array, storage)
    # The Ellipsis keeps 0-d arrays arrays: numpy's scalars lose the byte order.
    index: tuple[Any, ...] = (*box, ...)
    part = view[index] if view is not None else _pread_box(array, storage, box)
    return part if storage.convert is None else storage.convert(part)


def _pread_box(array: ManifestArray, storage: ContiguousManifest, box: Box) -> Array:
    """A box by ranged reads: the covering range where that is not much more than the box, else row by row."""
    _check_extent(array, storage)
    f_order = storage.order == "F"
    shape = array.shape[::-1] if f_order else array.shape
    slices = box[::-1] if f_order else box
    if 0 in box_shape(box) or storage.stored.itemsize == 0:
        return np.empty(box_shape(box), storage.stored)
    out = _pread_rows(storage.space, storage.offset, storage.stored, shape, slices)
    return out.T if f_order else out


def _pread_rows(space: ByteSpace, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], box: Box) -> Array:
    itemsize = dtype.itemsize
    if not shape:
        return np.frombuffer(space.pread(offset, itemsize), dtype).reshape(())
    strides = [itemsize] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    wanted = box_shape(box)
    last = [s.start + (n - 1) * s.step for s, n in zip(box, wanted, strict=True)]
    lo = sum(s.start * st for s, st in zip(box, strides, strict=True))
    hi = sum(i * st for i, st in zip(last, strides, strict=True)) + itemsize
    need = math.prod(wanted) * itemsize
    gap = getattr(space, "gap_nbytes", 65536)
    if hi - lo <= 2 * need + gap:
        raw = np.frombuffer(space.pread(offset + lo, hi - lo), np.uint8)
        view = np.ndarray(wanted, dtype, raw.data, 0, tuple(s.step * st for s, st in zip(box, strides, strict=True)))
        return view.copy() if need < (hi - lo) // 2 else view
    out = np.empty(wanted, dtype)
    # Far apart rows one by one; elements that lie closer than `gap` as several ranges of bounded size.
    run = max(gap // (box[0].step * strides[0]), 1) if len(shape) == 1 else 1
    for k in range(0, wanted[0], run):
        first = box[0].start + k * box[0].step
        count = min(run, wanted[0] - k)
        part = slice(first, first + (count - 1) * box[0].step + 1, box[0].step)
        if len(shape) == 1:
            out[k : k + count] = _pread_rows(space, offset, dtype, shape, (part,))
        else:
            out[k] = _pread_rows(space, offset + first * strides[0], dtype, shape[1:], box[1:])
    return out


# -- packed bits ------------------------------------------------------------------------------------------------------


def packed_bytes(array: ManifestArray, storage: PackedManifest, box: Box) -> Array:
    """The stored bytes of `box`, which is one of the array of bytes; a read-only view where they can be mapped."""
    packed, bits = _packed_array(array, storage)
    return _read_packed_bytes(packed, bits, box)


def _packed_array(array: ManifestArray, storage: PackedManifest) -> tuple[ManifestArray, ContiguousManifest]:
    """The packed bytes as an array of their own."""
    shape = storage.byte_shape(array.shape)
    bits = ContiguousManifest(storage.space, storage.offset, np.dtype(np.uint8))
    return ManifestArray(shape, np.dtype(np.uint8), tuple([max(n, 1) for n in shape]), bits), bits


def _read_packed(array: ManifestArray, storage: PackedManifest, box: Box) -> Array:
    packed, bits = _packed_array(array, storage)
    if 0 in box_shape(box):
        _check_extent(packed, bits)
        return np.empty(box_shape(box), np.bool_)
    if storage.axis is None:
        return _read_packed_flat(array, storage, packed, box)
    if math.prod(box_shape(box)) < PARALLEL_PACKED_NBYTES:
        return _read_packed_part(packed, storage, storage.axis, box)
    return _read_packed_pieces(packed, storage, storage.axis, box)


def _read_packed_part(packed: ManifestArray, storage: PackedManifest, axis: int, box: Box) -> Array:
    bits = packed.storage
    assert isinstance(bits, ContiguousManifest)
    along = box[axis]
    first, last = along.start // 8, -(-along.stop // 8)
    byte_box = tuple(slice(first, last, 1) if i == axis else s for i, s in enumerate(box))
    raw = _read_packed_bytes(packed, bits, byte_box)
    if along.step >= 8:
        return _pick_bits(raw, np.arange(along.start - 8 * first, along.stop - 8 * first, along.step), axis, storage)
    mask = unpack_axis(raw, axis, storage.bitorder, along.stop - 8 * first)
    return mask[(slice(None),) * axis + (slice(along.start - 8 * first, None, along.step),)]


def _read_packed_pieces(packed: ManifestArray, storage: PackedManifest, axis: int, box: Box) -> Array:
    """A large box by several threads, in pieces along its slowest axis."""
    shape = box_shape(box)
    out = np.empty(shape, np.bool_)
    cut = next(i for i, n in enumerate(shape) if n > 1)
    rows = max(_PIECE_NBYTES // (math.prod(shape) // shape[cut]), 1)
    if cut == axis:
        # Pieces of whole bytes, so that none is unpacked twice.
        rows = -(-rows // 8) * 8
    start, stop, step = box[cut].start, box[cut].stop, box[cut].step

    def fill(at: int) -> None:
        lo, hi = max(at, 0), min(at + rows, shape[cut])
        piece = slice(start + lo * step, min(start + (hi - 1) * step + 1, stop), step)
        part = _read_packed_part(packed, storage, axis, (*box[:cut], piece, *box[cut + 1 :]))
        out[(*(slice(None),) * cut, slice(lo, hi))] = part

    # The first piece is shorter where that makes the others begin at a byte.
    run_all(fill, range(-(start % 8) if step == 1 else 0, shape[cut], rows), parallel=True)
    return out


def _read_packed_bytes(packed: ManifestArray, bits: ContiguousManifest, box: Box) -> Array:
    # `packed` is made for one read, so its view is not kept with the handle.
    raw = bits.space.view()
    return _pread_box(packed, bits, box) if raw is None else _shape_view(packed, bits, raw)[box]


def _pick_bits(raw: Array, index: npt.NDArray[np.intp], axis: int, storage: PackedManifest) -> Array:
    """Single bits along `axis`: far cheaper than unpacking all between them, in memory too."""
    shift = (index % 8 if storage.bitorder == "little" else 7 - index % 8).astype(np.uint8)
    shift = shift.reshape((-1,) + (1,) * (raw.ndim - 1 - axis))
    # Not np.take, which first copies what is not contiguous.
    picked = (raw[(slice(None),) * axis + (index // 8,)] >> shift) & 1
    return picked.view(np.bool_)


def _read_packed_flat(array: ManifestArray, storage: PackedManifest, packed: ManifestArray, box: Box) -> Array:
    """The flattened form: unpack the covering run of bits, a slowest-axis row at a time where the run is sparse."""
    strides = [1] * len(array.shape)
    for i in range(len(array.shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * array.shape[i + 1]
    wanted = box_shape(box)
    bits = packed.storage
    assert isinstance(bits, ContiguousManifest)

    def run(lo: int, hi: int) -> Array:
        raw = _read_packed_bytes(packed, bits, (slice(lo // 8, -(-hi // 8), 1),))
        return np.unpackbits(raw, bitorder=storage.bitorder)[lo % 8 : lo % 8 + hi - lo].view(np.bool_)

    def gather(base: int, level: int) -> Array:
        sub = box[level:]
        sizes = wanted[level:]
        if not sub:
            return run(base, base + 1).reshape(())
        st = strides[level:]
        lo = base + sum(s.start * k for s, k in zip(sub, st, strict=True))
        hi = base + sum((s.start + (n - 1) * s.step) * k for s, n, k in zip(sub, sizes, st, strict=True)) + 1
        if len(sub) == 1 and sub[0].step >= 8:
            raw = _read_packed_bytes(packed, bits, (slice(lo // 8, -(-hi // 8), 1),))
            return _pick_bits(raw, np.arange(lo % 8, lo % 8 + hi - lo, sub[0].step), 0, storage)
        if hi - lo <= 4 * math.prod(sizes) + 65536 or len(sub) == 1:
            flat = run(lo, hi)
            steps = tuple(s.step * k for s, k in zip(sub, st, strict=True))
            return np.ndarray(sizes, np.bool_, np.ascontiguousarray(flat).data, 0, steps)
        return np.stack([gather(base + i * st[0], level + 1) for i in range(sub[0].start, sub[0].stop, sub[0].step)])

    return gather(0, 0)


# -- chunked ----------------------------------------------------------------------------------------------------------


def _read_chunked(array: ManifestArray, storage: ChunkedManifest, box: Box) -> Array:
    shape = box_shape(box)
    if 0 in shape:
        return np.empty(shape, array.dtype)
    items = list(touched(box, array.chunk_shape))
    if len(items) == 1:
        coords, inner, _ = items[0]
        if storage.offsets[coords] != MISSING:
            part = _chunk_part(array, storage, coords, inner)
            if part.dtype == array.dtype:
                # A small view would keep the whole decoded chunk in memory.
                return part.copy() if storage.filters and 2 * part.size < math.prod(array.chunk_shape) else part
    out = np.empty(shape, array.dtype)
    fill_value = missing_value(array)

    def fill(item: Touched) -> None:
        coords, inner, outer = item
        if storage.offsets[coords] == MISSING:
            out[outer] = fill_value
        else:
            out[outer] = _chunk_part(array, storage, coords, inner)

    run_all(fill, items, parallel=out.nbytes >= PARALLEL_NBYTES and bool(storage.filters))
    return out


def missing_value(array: ManifestArray) -> Any:
    """What an element that was never written holds: the fill value, or the zero of the type (b"", 0, None)."""
    if array.fill_value is not None or array.dtype.kind == "O":
        return array.fill_value
    return np.zeros((), array.dtype)[()]


def _chunk_part(array: ManifestArray, storage: ChunkedManifest, coords: tuple[int, ...], inner: Box) -> Array:
    if not storage.filters:
        # Nothing to undo: cut the part out of the mapped bytes before any conversion.
        raw = _stored_chunk(array, storage, coords)
        part = raw[inner]
        return part if storage.convert is None else storage.convert(part)
    whole = all(
        s.start == 0 and s.step == 1 and s.stop == min(c, n - i * c)
        for s, c, n, i in zip(inner, array.chunk_shape, array.shape, coords, strict=True)
    )
    return _decoded_chunk(array, storage, coords, cache=not whole)[inner]


def _stored_chunk(array: ManifestArray, storage: ChunkedManifest, coords: tuple[int, ...]) -> Array:
    """The chunk's elements before conversion; a view of the mapping where no filter applies."""
    offset, stored_nbytes = int(storage.offsets[coords]), int(storage.nbytes[coords])
    nbytes = math.prod(storage.chunk_shape) * storage.stored.itemsize
    raw = storage.space.view()
    if raw is None:
        data: Any = storage.space.pread(offset, stored_nbytes)
    elif offset + stored_nbytes > raw.nbytes:
        raise TruncatedFileError(
            message(
                "reading",
                storage.space.name,
                None,
                coords,
                expected=f"at least {offset + stored_nbytes} bytes in the file",
                got=raw.nbytes,
            )
        )
    else:
        data = raw[offset : offset + stored_nbytes]
    if storage.filters:
        mask = 0 if storage.filter_mask is None else int(storage.filter_mask[coords])
        try:
            data = decode_chunk(data, storage.filters, mask, nbytes)
        except PackstoreError as error:
            where = message(f"decoding {storage.space.name} chunk {coords}").rstrip(".")
            raise type(error)(f"{where}: {error}") from error
    elif stored_nbytes != nbytes:
        raise CorruptDataError(
            message("reading", storage.space.name, None, coords, expected=f"{nbytes} bytes", got=stored_nbytes)
        )
    return np.frombuffer(data, storage.stored).reshape(storage.chunk_shape)


def _decoded_chunk(array: ManifestArray, storage: ChunkedManifest, coords: tuple[int, ...], *, cache: bool) -> Array:
    key = (id(storage), coords)
    if cache:
        found = CHUNK_CACHE.get(key, storage)
        if found is not None:
            if isinstance(storage.space, FileSource):
                storage.space.check()
            return found
    chunk = _stored_chunk(array, storage, coords)
    if storage.convert is not None:
        chunk = storage.convert(chunk)
    if cache:
        CHUNK_CACHE.put(key, storage, chunk)
    return chunk
