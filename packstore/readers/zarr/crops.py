"""Small boxes of chunks that nothing but bit packing encodes: the bytes that cover them, and as little else as can be.

The same bytes are read as by the general way (`packstore.readers.zarr.chain`), without the objects in between. It
gives up, for that one to tell why, wherever a chunk is not what it should be.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box
from packstore.readers.zarr.bitcrops import BitCropper, runs_of_axis
from packstore.readers.zarr.blobs import read_of_chunk
from packstore.readers.zarr.metadata import Layout
from packstore.storage.serializers import PackedBits, PlainBytes
from packstore.storage.stored import GAP_NBYTES, SMALL_NBYTES

__all__ = ["Cropper"]

Array = npt.NDArray[Any]

# Stored bytes beyond which other costs than those of the calls count.
CROP_NBYTES = 1 << 18


class Cropper:
    """Reads small boxes.

    Parameters
    ----------
    directory
        Of the array.
    layout
        Its metadata.
    rows
        How the bytes of a chunk lie: elements, or bytes of packed bits, of which no one spans two chunks.
    """

    @classmethod
    def of(cls, directory: str, layout: Layout) -> Cropper | BitCropper | None:
        """The reader of small boxes of an array; None where its codecs call for the general way."""
        chain = layout.chain
        serializer = chain.serializer
        if chain.decoder is not None or chain.order is not None or not layout.shape:
            return None
        if isinstance(serializer, PackedBits) and serializer.packed_rows is not None:
            return cls(directory, layout, serializer.packed_rows)
        if isinstance(serializer, PackedBits) and serializer.layout.is_bool:
            return BitCropper(directory, layout, serializer)
        if isinstance(serializer, PlainBytes) and serializer.stored == serializer.dtype:
            return cls(directory, layout, serializer)
        return None

    def __init__(self, directory: str, layout: Layout, rows: PlainBytes) -> None:
        serializer: Any = layout.chain.serializer
        self.chunk_nbytes: int = serializer.nbytes
        self.bitorder = serializer.bitorder if isinstance(serializer, PackedBits) else None
        prefix, self.separator, _ = layout.key
        self.prefix = f"{directory}/{prefix}"
        self.rows = rows
        self.shape = rows.shape
        self.strides = rows.strides
        self.dtype = rows.stored
        self.offset = rows.offset
        self.itemsize = rows.stored.itemsize
        self.fill: Any = layout.fill_value
        if self.bitorder is not None:
            self.fill = 0xFF if layout.fill_value else 0
        # Length of a chunk, bytes from one index to the next, and whether the elements are bits, for each axis.
        ends = [False] * (len(self.shape) - 1) + [self.bitorder is not None]
        self._axes = tuple(zip(self.shape, self.strides, ends, strict=True))

    def read(self, box: Box) -> Array | None:
        """Elements of `box`; None for one that is not for this reader: large, empty or with steps."""
        lead = 0
        offset, span = self.offset, self.itemsize
        nbytes = self.itemsize
        names = []
        sizes = []
        for s, (c, stride, is_packed) in zip(box, self._axes, strict=True):
            if s.step != 1:
                return None
            start, stop = s.start, s.stop
            if is_packed:
                lead = start & 7
                start, stop = start >> 3, (stop + 7) >> 3
            n = stop - start
            nbytes *= n
            if not 0 < nbytes <= CROP_NBYTES:
                return None
            i, first = divmod(start, c)
            if first + n > c:
                part = self._several(box)
                break
            names.append(str(i))
            sizes.append(n)
            offset += first * stride
            span += (n - 1) * stride
        else:
            part = self._part(names, sizes, offset, span, nbytes)
        if part is None:
            return None
        if self.bitorder is None:
            return part if part.flags.writeable else part.copy()
        last = box[-1]
        if self._axes[-1][2]:
            lead = last.start & 7
        bits = np.unpackbits(part, axis=-1, bitorder=self.bitorder)
        mask: Array = bits[..., lead : lead + last.stop - last.start].view(np.bool_)
        return mask

    def _several(self, box: Box) -> Array | None:
        """The stored elements of a box over several chunks, put together."""
        per_axis = []
        wanted = []
        total = self.itemsize
        for s, (c, stride, is_packed) in zip(box, self._axes, strict=True):
            start, stop = s.start, s.stop
            if s.step != 1:
                return None
            if is_packed:
                start, stop = start >> 3, (stop + 7) >> 3
            wanted.append(stop - start)
            total *= stop - start
            if not 0 < total <= CROP_NBYTES:
                return None
            per_axis.append(runs_of_axis(start, stop, c, stride))
        out = np.empty(wanted, self.dtype)
        for combo in itertools.product(*per_axis):
            offset, span = self.offset, self.itemsize
            nbytes = self.itemsize
            for _, n, first, more, _ in combo:
                offset += first
                span += more
                nbytes *= n
            part = self._part([c[0] for c in combo], [c[1] for c in combo], offset, span, nbytes)
            if part is None:
                return None
            out[tuple([slice(at, at + n) for _, n, _, _, at in combo])] = part
        return out

    def _part(self, names: list[str], sizes: list[int], offset: int, span: int, nbytes: int) -> Array | None:
        """The part of one chunk, possibly as a view of bytes."""
        # A gap may lie behind each row.
        if span > SMALL_NBYTES or span > nbytes + nbytes // (sizes[-1] * self.itemsize) * GAP_NBYTES:
            return None
        data = read_of_chunk(self.prefix + self.separator.join(names), self.chunk_nbytes, offset, span)
        if data is None:
            return None
        return np.ndarray(sizes, self.dtype, data, 0, self.strides) if data else np.full(sizes, self.fill, self.dtype)
