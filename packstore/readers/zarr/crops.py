"""Small boxes of chunks that nothing but bit packing encodes: the bytes that cover them, and as little else as can be.

The same bytes are read as by the general way (`packstore.readers.zarr.chain`), without the objects in between. It
gives up, for that one to tell why, wherever a chunk is not what it should be.
"""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.boxes import Box
from packstore.readers.zarr.blobs import GAP_NBYTES, OPEN_FLAGS, SMALL_NBYTES
from packstore.readers.zarr.metadata import Layout
from packstore.readers.zarr.serializers import PackedBits, PlainBytes

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
    def of(cls, directory: str, layout: Layout) -> Cropper | None:
        """The reader of small boxes of an array; None where its codecs call for the general way."""
        chain = layout.chain
        serializer = chain.serializer
        if chain.byte_codecs or chain.order is not None or not layout.shape:
            return None
        if isinstance(serializer, PackedBits) and serializer.packed_rows is not None:
            return cls(directory, layout, serializer.packed_rows)
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

    def read(self, box: Box) -> Array | None:
        """Elements of `box`; None for one that is not for this reader: large, empty or with steps."""
        bitorder = self.bitorder
        per_axis = []
        wanted = []
        last = len(box) - 1
        nbytes = self.itemsize
        for axis, (s, c) in enumerate(zip(box, self.shape, strict=True)):
            start, stop = s.start, s.stop
            if s.step != 1:
                return None
            if bitorder is not None and axis == last:
                lead = start & 7
                start, stop = start >> 3, (stop + 7) >> 3
            n = stop - start
            wanted.append(n)
            nbytes *= n
            if not 0 < nbytes <= CROP_NBYTES:
                return None
            i = start // c
            if stop <= (i + 1) * c:
                per_axis.append([(str(i), start - i * c, n, 0)])
                continue
            runs = []
            at = start
            while at < stop:
                i = at // c
                end = min(stop, (i + 1) * c)
                runs.append((str(i), at - i * c, end - at, at - start))
                at = end
            per_axis.append(runs)
        out: Any = None
        for combo in itertools.product(*per_axis):
            part = self._part(combo)
            if part is None:
                return None
            if part.shape == tuple(wanted):
                out = part
                break
            if out is None:
                out = np.empty(wanted, self.dtype)
            out[tuple([slice(at, at + n) for _, _, n, at in combo])] = part
        if bitorder is None:
            plain: Array = out if out.flags.writeable else out.copy()
            return plain
        bits = np.unpackbits(out, axis=-1, bitorder=bitorder)
        mask: Array = bits[..., lead : lead + box[last].stop - box[last].start].view(np.bool_)
        return mask

    def _part(self, combo: tuple[tuple[str, int, int, int], ...]) -> Array | None:
        """The part of one chunk, possibly as a view of bytes."""
        sizes = tuple([n for _, _, n, _ in combo])
        lo = self.offset
        span = self.itemsize
        for (_, first, n, _), stride in zip(combo, self.strides, strict=True):
            lo += first * stride
            span += (n - 1) * stride
        if span > SMALL_NBYTES or span > math.prod(sizes) * self.itemsize + sizes[0] * GAP_NBYTES:
            return None
        try:
            fd = os.open(self.prefix + self.separator.join([c[0] for c in combo]), OPEN_FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return np.full(sizes, self.fill, self.dtype)
        try:
            if os.fstat(fd).st_size != self.chunk_nbytes:
                return None
            data = os.pread(fd, span, lo)
        except OSError:
            return None
        finally:
            os.close(fd)
        return np.ndarray(sizes, self.dtype, data, 0, self.strides) if len(data) == span else None
