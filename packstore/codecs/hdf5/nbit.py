"""Filter 5, nbit: only the significant bits of every number, most significant first, without padding.

The filter's parameters hold the data type as a tree: atomic (size, byte order, precision, offset), array, compound, and
"no-op" for members that are stored whole. Layout and checks follow H5Znbit.c of libhdf5. The tree is flattened into
fields, each a bit position with its repetitions; `bit_fields` then unpacks a field of all elements at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from packstore.codecs.decompress import Limit, corrupt
from packstore.codecs.hdf5.base import FilterSpec, always_available
from packstore.codecs.hdf5.bit_fields import PADDING, unpack_fields
from packstore.core.typing import Bytes

__all__ = ["decode", "encoded", "unavailable"]

_ATOMIC, _ARRAY, _COMPOUND, _NOOP = 1, 2, 3, 4
_DEPTH = 32  # nesting that a parameter list can hold but no type has
_SIZE = 1024  # bytes of the widest number that is taken for one
_STEPS = 1 << 16  # numpy calls that a data type may cost per chunk
_BLOCK = 1 << 18  # elements per step, a multiple of 8

unavailable = always_available


@dataclass(frozen=True)
class _Field:
    """One number (or run of whole bytes) inside an element, with the arrays around it."""

    bit: int  # where its bits start in an encoded element
    byte: int  # where its bytes start in a decoded element
    size: int
    big_endian: bool
    precision: int
    offset: int
    loops: tuple[tuple[int, int, int], ...] = ()  # (count, bits, bytes) of each array around it, outermost first


def encoded(spec: FilterSpec, limit: Limit) -> Limit:
    """Allow at most the same size; libhdf5 writes one byte more when the bits end on a byte."""
    return Limit(limit.nbytes + 1, False)


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Put every field's bits back in place; all other bits are zero, as libhdf5 leaves them."""
    values = spec.client_values
    if len(values) < 3 or values[0] != len(values):
        corrupt(spec, f"{values[0] if values else 'some'} parameters", len(values))
    if values[1]:
        return data  # every bit of the type is significant: the filter does nothing
    if len(values) < 5:
        corrupt(spec, "a data type in the parameters", values)
    count, size = values[2], values[4]
    nbytes = count * size
    limit.check(nbytes, spec)
    fields: list[_Field] = []
    bits = _Tree(spec, fields).parse()
    needed = (count * bits + 7) // 8
    if data.size < needed:
        corrupt(spec, f"at least {needed} bytes", data.size)
    stream = np.empty(needed + PADDING, np.uint8)
    stream[:needed] = data[:needed]
    stream[needed:] = 0
    result = out[:nbytes]
    if _covers(fields, size):
        _Unpacker(stream, result, count, bits, size).plain(fields[0])
        return result
    result[:] = 0
    unpacker = _Unpacker(stream, result, count, bits, size)
    for field in fields:
        unpacker.field(field)
    return result


def _covers(fields: list[_Field], size: int) -> bool:
    """Whether an element is one native-width number, or an array of them: the common case."""
    if len(fields) != 1 or fields[0].size not in (1, 2, 4, 8) or fields[0].precision > 64:
        return False
    loops = fields[0].loops
    if not loops:
        return size == fields[0].size
    count, _, step = loops[0]
    return len(loops) == 1 and step == fields[0].size and count * step == size


class _Tree:
    """Parse the parameter list; every read is checked against its length."""

    def __init__(self, spec: FilterSpec, fields: list[_Field]) -> None:
        self.spec = spec
        self.values = spec.client_values
        self.at = 3
        self.fields = fields

    def take(self) -> int:
        if self.at >= len(self.values):
            corrupt(self.spec, "parameters for the whole data type", f"only {len(self.values)}")
        self.at += 1
        return self.values[self.at - 1]

    def parse(self) -> int:
        """Fill `fields`; return the bits of one encoded element."""
        bits = self.node(self.take(), 0, 0, (), 0)
        steps = sum(f.size * math.prod(min(8, loop[0]) for loop in f.loops if loop[1] % 8) for f in self.fields)
        if steps > _STEPS:
            corrupt(self.spec, "a data type of sensible complexity", f"one of {len(self.fields)} nested fields")
        return bits

    def node(self, kind: int, bit: int, byte: int, loops: tuple[tuple[int, int, int], ...], depth: int) -> int:
        """Parse one type at a position; return its bits."""
        if depth > _DEPTH:
            corrupt(self.spec, f"a data type nested at most {_DEPTH} deep", "a deeper one")
        size = self.take()
        if size == 0:
            corrupt(self.spec, "a data type size above 0", 0)
        if kind == _ATOMIC:
            order, precision, offset = self.take(), self.take(), self.take()
            if order > 1 or precision == 0 or precision + offset > 8 * size or size > _SIZE:
                corrupt(self.spec, f"precision and offset within {8 * size} bits", f"{precision} at {offset}")
            self.fields.append(_Field(bit, byte, size, order == 1, precision, offset, loops))
            return precision
        if kind == _NOOP:
            return self.whole(size, bit, byte, loops)
        if kind == _ARRAY:
            return self.array(size, bit, byte, loops, depth)
        if kind == _COMPOUND:
            return self.compound(size, bit, byte, loops, depth)
        return corrupt(self.spec, "type class 1 to 4", kind)

    def whole(self, size: int, bit: int, byte: int, loops: tuple[tuple[int, int, int], ...]) -> int:
        """Bytes that are stored as they are."""
        self.fields.append(_Field(bit, byte, 1, True, 8, 0, (*loops, (size, 8, 1))))
        return 8 * size

    def array(self, total: int, bit: int, byte: int, loops: tuple[tuple[int, int, int], ...], depth: int) -> int:
        """An array: its base type, repeated."""
        kind = self.take()
        if kind == _NOOP:
            self.take()  # the base type's size; the array is copied at once
            return self.whole(total, bit, byte, loops)
        begin = self.at
        base = self.take()
        count = total // base if base else 0
        first = len(self.fields)
        width = 0
        if count or kind == _ATOMIC:
            self.at = begin
            # The loop's distance in bits is the base type's, known once that is parsed.
            width = self.node(kind, bit, byte, (*loops, (count, 0, base)), depth + 1)
        if kind != _ATOMIC:
            # libhdf5 goes back to the base type even after the last element. A member after such an array is thus
            # encoded and decoded with the wrong parameters: what h5py reads is what was written that way.
            self.at = begin
        if not count:
            del self.fields[first:]
            return 0
        level = len(loops)
        for index in range(first, len(self.fields)):
            field = self.fields[index]
            outer, inner = field.loops[:level], field.loops[level + 1 :]
            merged = (*outer, (count, width, base), *inner)
            if inner and inner[0][0] * inner[0][1] == width and inner[0][0] * inner[0][2] == base:
                # An array of arrays is one longer array.
                merged = (*outer, (count * inner[0][0], inner[0][1], inner[0][2]), *inner[1:])
            self.fields[index] = replace(field, loops=merged)
        return count * width

    def compound(self, size: int, bit: int, byte: int, loops: tuple[tuple[int, int, int], ...], depth: int) -> int:
        """A compound: its members one after the other, each at its own byte."""
        members, bits, used = self.take(), 0, 0
        for _ in range(members):
            offset, kind = self.take(), self.take()
            member = self.values[self.at] if self.at < len(self.values) else 0
            used += member
            if member == 0 or used > size or offset + member > size:
                corrupt(self.spec, f"members within {size} bytes", f"{member} bytes at {offset}")
            bits += self.node(kind, bit + bits, byte + offset, loops, depth + 1)
        return bits


class _Unpacker:
    """Write the fields of all elements into the decoded chunk."""

    def __init__(self, stream: Bytes, out: Bytes, count: int, bits: int, size: int) -> None:
        self.stream = stream
        self.out = out
        self.count = count
        self.bits = bits
        self.size = size

    def plain(self, field: _Field) -> None:
        """The chunk is nothing but one kind of number."""
        numbers = self.out.view(f"{'>' if field.big_endian else '<'}u{field.size}")
        native = np.dtype(f"u{field.size}")
        for start in range(0, numbers.size, _BLOCK):
            part = numbers[start : start + _BLOCK]
            block = part.view(native) if part.dtype == native else np.empty(part.size, native)
            dims = [(part.size, field.precision)]
            unpack_fields(self.stream, start * field.precision, dims, field.precision, block)
            if field.offset:
                block <<= native.type(field.offset)
            if block.base is not part.base:
                part[:] = block

    def field(self, field: _Field) -> None:
        """One field of every element: whole where a native integer holds it, else byte by byte of the field."""
        counts = (self.count, *(loop[0] for loop in field.loops))
        dims = list(zip(counts, (self.bits, *(loop[1] for loop in field.loops)), strict=True))
        strides = (self.size, *(loop[2] for loop in field.loops))
        if field.size in (1, 2, 4, 8):
            dtype = np.dtype(f"{'>' if field.big_endian else '<'}u{field.size}")
            target = np.ndarray(counts, dtype, self.out.data, field.byte, strides)
            numbers = np.empty(counts, f"u{field.size}")
            unpack_fields(self.stream, field.bit, dims, field.precision, numbers)
            target[...] = numbers << numbers.dtype.type(field.offset)
            return
        # Bits are stored from the most significant byte down: `place` counts bytes from the least significant one.
        top = field.offset + field.precision
        for place in range((top - 1) // 8, field.offset // 8 - 1, -1):
            high, low = min(top, 8 * place + 8), max(field.offset, 8 * place)
            at = field.byte + (field.size - 1 - place if field.big_endian else place)
            whole = np.ndarray(counts, np.uint8, self.out.data, at, strides)
            octets = np.empty(counts, np.uint8)
            unpack_fields(self.stream, field.bit + top - high, dims, high - low, octets)
            whole[...] = octets << np.uint8(low - 8 * place)
