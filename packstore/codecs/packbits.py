"""`PackBitsCodec`: the registered Zarr v3 codec ``packbits``, for bool masks, N-bit integers and the rest of its types.

Format: zarr-extensions, ``codecs/packbits/README.md``. The bit order is little: the first element is in the least
significant bit. (numcodecs' older codec of the same name is big; see `packstore.codecs.bitpack.BitPack` for that.)

The functions `decode_array`, `decode_box`, `encode_array` and `encoded_nbytes`, re-exported here, do the same work on
plain buffers; the codec only adds what zarr wants around them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import RangeByteRequest

from packstore.codecs.bits.arrays import decode_array, decode_box, encode_array, packed_array
from packstore.codecs.bits.boxes import BoxPlan, PackedArray, unpack_box
from packstore.codecs.bits.counts import count_nonzero_packed
from packstore.codecs.bits.frame import encode_flat
from packstore.codecs.bits.layout import (
    BitLayout,
    PaddingEncoding,
    bit_layout,
    check_config,
    encoded_nbytes,
    frame_nbytes,
)
from packstore.codecs.local_reads import check_file, local_reads
from packstore.core.box_selection import box_selection
from packstore.errors import CodecConfigError, DtypeError, message

if TYPE_CHECKING:
    from typing import Self

    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON

__all__ = [
    "PackBitsCodec",
    "count_nonzero_packed",
    "decode_array",
    "decode_box",
    "encode_array",
    "encoded_nbytes",
]

_NAME = "packbits"
_FIELDS = ("padding_encoding", "first_bit", "last_bit")
_SCHEMA_FIELDS = {"start_bit": "first_bit", "end_bit": "last_bit"}

# A handoff to a thread costs about 50 us; unpacking this much takes at least ten times that.
_THREAD_NBYTES = 4 << 20


@dataclass(frozen=True)
class PackBitsCodec(ArrayBytesCodecPartialDecodeMixin, ArrayBytesCodec):
    """Store each element in just the bits that it needs.

    Parameters
    ----------
    padding_encoding
        Where to store how many padding bits there are: ``"none"``, ``"first_byte"`` or ``"last_byte"``. zarr does not
        need it.
    first_bit, last_bit
        Inclusive range of bits to store, counted from the least significant; all by default. For complex numbers it
        applies to each component. Bits outside it are dropped when writing: 10-bit camera data in uint16 loses nothing
        with ``last_bit=9``. Reading repeats the top stored bit upwards for signed integers and fills with zeros else.

    Raises
    ------
    CodecConfigError
        If the configuration cannot work.

    Notes
    -----
    Takes bool, (u)int8 to (u)int64, float16 to float64, complex64, complex128, and, where zarr knows them, int2, uint2,
    int4, uint4, bfloat16, float4_e2m1fn, float6_e2m3fn and float6_e3m2fn of ml_dtypes. Anything else is refused when
    the array is created or opened. The specification does not list float16; zarrs reads and writes it alike.

    As the array's only codec, reads of part of a chunk fetch and unpack only the byte range that covers it. zarr turns
    that off where another codec follows (zstd, crc32c) or precedes (transpose). Safe to use from many threads.

    Examples
    --------
    >>> import zarr
    >>> z = zarr.create_array({}, shape=(100, 100), dtype="bool", serializer=PackBitsCodec(), compressors=None)
    >>> z[10:20, 10:20] = True
    >>> int(z[:].sum())
    100
    """

    is_fixed_size = True

    padding_encoding: PaddingEncoding = "none"
    first_bit: int | None = None
    last_bit: int | None = None

    def __post_init__(self) -> None:
        check_config(self.padding_encoding, self.first_bit, self.last_bit)
        for name in ("first_bit", "last_bit"):
            bit = getattr(self, name)
            if bit is not None:
                object.__setattr__(self, name, int(bit))  # numpy integers are no JSON

    # ------------------------------------------------------------------------------------------------- metadata

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Build the codec from its metadata; the configuration and each of its fields may be missing."""
        if not isinstance(data, Mapping) or data.get("name") != _NAME:
            raise CodecConfigError(
                message("reading the packbits codec", expected='an object with the name "packbits"', got=repr(data))
            )
        configuration = data.get("configuration", {})
        unknown = set(data) - {"name", "configuration", "must_understand"}
        if not isinstance(configuration, Mapping) or unknown:
            raise CodecConfigError(
                message("reading the packbits codec", expected='"name" and a "configuration" object', got=repr(data))
            )
        for key in configuration:
            if key not in _FIELDS:
                better = _SCHEMA_FIELDS.get(key)
                raise CodecConfigError(
                    message(
                        "reading the configuration of packbits",
                        expected=", ".join(_FIELDS),
                        got=repr(key),
                        hint=f"Write {better}: the codec's specification uses that name" if better else None,
                    )
                )
        return cls(**cast("dict[str, Any]", configuration))

    def to_dict(self) -> dict[str, JSON]:
        """Give the metadata; bits that were not chosen are left out."""
        configuration: dict[str, JSON] = {"padding_encoding": self.padding_encoding}
        if self.first_bit is not None:
            configuration["first_bit"] = self.first_bit
        if self.last_bit is not None:
            configuration["last_bit"] = self.last_bit
        return {"name": _NAME, "configuration": configuration}

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Refuse data types and bit ranges that do not fit.

        Notes
        -----
        Done here and not in ``validate``, which zarr also calls with the array's own type where a codec before this
        one changes it.
        """
        self._layout(array_spec)
        return self

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Give the exact encoded size of a chunk."""
        return frame_nbytes(self._layout(chunk_spec), math.prod(chunk_spec.shape), self.padding_encoding)

    def _layout(self, spec: ArraySpec) -> BitLayout:
        return bit_layout(spec.dtype.to_native_dtype(), self.first_bit, self.last_bit)

    def _packed(self, spec: ArraySpec) -> PackedArray:
        dtype = spec.dtype.to_native_dtype()
        return packed_array(spec.shape, dtype, self.padding_encoding, self.first_bit, self.last_bit)

    # --------------------------------------------------------------------------------------------- whole chunks

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        array = self._packed(chunk_spec).decode(chunk_bytes.as_numpy_array())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array)

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        array = chunk_array.as_numpy_array()
        layout = self._layout(chunk_spec)
        if array.dtype != layout.dtype:
            if array.dtype.newbyteorder("=") != layout.dtype.newbyteorder("="):
                raise DtypeError(message("encoding a chunk", expected=f"dtype {layout.dtype}", got=f"{array.dtype}"))
            layout = bit_layout(array.dtype, self.first_bit, self.last_bit)
        encoded = encode_flat(array, layout, self.padding_encoding, "little")
        return chunk_spec.prototype.buffer.from_array_like(encoded)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        if _nbytes(chunk_spec) < _THREAD_NBYTES:
            return self._decode_sync(chunk_data, chunk_spec)
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        if _nbytes(chunk_spec) < _THREAD_NBYTES:
            return self._encode_sync(chunk_data, chunk_spec)
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    # ------------------------------------------------------------------------------------------ parts of chunks

    async def decode_partial(
        self, batch_info: Iterable[tuple[ByteGetter, Any, ArraySpec]]
    ) -> Iterable[NDBuffer | None]:
        # docstring inherited
        batch = list(batch_info)
        if len(batch) == 1:  # what zarr's default pipeline sends; no need of a task of its own
            return [await self._decode_partial_single(*batch[0])]
        return await super().decode_partial(batch)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        part = self._part(selection, chunk_spec)
        if part.plan is not None and part.is_small and local_reads.are_quick(byte_getter):
            plan, chunk_nbytes = part.plan, part.chunk_nbytes
            data = local_reads.read(byte_getter, plan.offset, plan.nbytes, chunk_spec.prototype, chunk_nbytes)
        else:
            part.check(byte_getter)
            data = await byte_getter.get(prototype=chunk_spec.prototype, byte_range=part.byte_range)
        if data is None:
            return None
        if part.is_small:
            return self._decode_part(data, part, chunk_spec)
        return await asyncio.to_thread(self._decode_part, data, part, chunk_spec)

    def _decode_partial_sync(self, byte_getter: Any, selection: Any, chunk_spec: ArraySpec) -> NDBuffer | None:
        # The hook of zarr >= 3.3's synchronous pipeline.
        part = self._part(selection, chunk_spec)
        if part.plan is not None and part.is_small and local_reads.are_quick(byte_getter):
            plan, chunk_nbytes = part.plan, part.chunk_nbytes
            data = local_reads.read(byte_getter, plan.offset, plan.nbytes, chunk_spec.prototype, chunk_nbytes)
        else:
            part.check(byte_getter)
            data = byte_getter.get_sync(prototype=chunk_spec.prototype, byte_range=part.byte_range)
        return None if data is None else self._decode_part(data, part, chunk_spec)

    def _part(self, selection: Any, spec: ArraySpec) -> _Part:
        packed = self._packed(spec)
        box, rest = box_selection(selection, spec.shape)
        whole = all(s.start == 0 and s.stop == n and s.step == 1 for s, n in zip(box, spec.shape, strict=True))
        plan = packed.plan(box)
        if whole or not plan.nbytes:
            return _Part(packed, None, None if whole and rest is None else selection, _nbytes(spec))
        return _Part(packed, plan, rest, plan.scratch_nbytes)

    def _decode_part(self, data: Buffer, part: _Part, spec: ArraySpec) -> NDBuffer:
        stored = data.as_numpy_array()
        array = part.packed.decode(stored) if part.plan is None else unpack_box(stored, part.plan)
        if part.rest is not None:
            array = np.asarray(array[part.rest])
        return spec.prototype.nd_buffer.from_numpy_array(array)


class _Part(NamedTuple):  # made for every chunk of every read; a frozen dataclass would take three times as long
    packed: PackedArray
    plan: BoxPlan | None  # None: the whole chunk
    rest: Any  # what is left to select within the plan's box, or within the whole chunk; None: nothing
    nbytes: int  # unpacked, before `rest`

    @property
    def is_small(self) -> bool:
        return self.nbytes < _THREAD_NBYTES

    @property
    def chunk_nbytes(self) -> int:
        """The stored bytes of the whole chunk."""
        return self.packed.nbytes

    def check(self, byte_getter: ByteGetter) -> None:
        """Hold the size of a file against that of the chunk, where only a part of it is read."""
        if self.plan is not None:
            check_file(byte_getter, self.chunk_nbytes)

    @property
    def byte_range(self) -> RangeByteRequest | None:
        return None if self.plan is None else RangeByteRequest(self.plan.offset, self.plan.offset + self.plan.nbytes)


def _nbytes(spec: ArraySpec) -> int:
    return math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize
