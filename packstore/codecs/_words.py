"""Pure numpy kernels that pack values of 1 to 64 bits into bytes and back.

Nothing here knows of files, zarr or headers; every function takes whole, already checked buffers.

How it works: the values are handled in *packs* of as many neighbours as fit a 64-bit word once they are unpacked (8 of
up to 8 bits, 4 of up to 16, 2 of up to 32, 1 of up to 64). A pack is loaded by one unaligned strided 64-bit read,
shifted down, and spread by halving: the word's two halves move apart, then the halves of each half. So a value costs a
fraction of a vector instruction instead of a loop over its bits. Packs need not start on a byte; the shortest run of
packs that does is a *group*, and each position in the group (a *lane*) has its own constant shift. The work runs in
blocks whose scratch fits the first-level caches, and numpy releases the GIL in each step.

Bit orders: ``"little"`` puts the first value in the least significant bits, ``"big"`` in the most significant ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from packstore.codecs._bits import BLOCK_BYTES, BitOrder, Bytes, group_size, packed_nbytes

Words: TypeAlias = NDArray[np.unsignedinteger[Any]]

# 32 KiB of scratch per array: two of them and the output block stay within the L2 cache of anything current.
_BLOCK_PACKS = 4096
_U64 = np.dtype(np.uint64)


class _Lane(NamedTuple):
    """One pack's place in its group."""

    byte: int  # first byte that holds a bit of the pack
    shift: int  # bits of that byte which belong to the lane before


class _Step(NamedTuple):
    """One halving of the spread (or doubling of the gather); masks are 0-d arrays, which numpy takes fastest."""

    half: np.ndarray[Any, Any]  # width of a half, unpacked
    bits: np.ndarray[Any, Any]  # bits in a half, packed
    gap: np.ndarray[Any, Any]  # half - bits
    low: np.ndarray[Any, Any]  # the low half's bits, in each word
    high_wide: np.ndarray[Any, Any]  # the high half's bits where they sit unpacked
    high_tight: np.ndarray[Any, Any]  # the high half's bits where they sit packed


class _Plan(NamedTuple):
    width: int  # working width: the smallest word that holds a value
    per_pack: int
    pack_bits: int
    lanes: tuple[_Lane, ...]
    group_bytes: int
    group_values: int
    overlong: bool  # some lane reaches past its 64-bit load by a few bits
    steps: tuple[_Step, ...]  # widest first


def _u64(value: int) -> np.ndarray[Any, Any]:
    return np.array(value & 0xFFFF_FFFF_FFFF_FFFF, dtype=np.uint64)


def _repeat(mask: int, period: int) -> int:
    return sum(mask << at for at in range(0, 64, period))


@lru_cache(maxsize=64)
def _plan(nbits: int) -> _Plan:
    width = next(w for w in (8, 16, 32, 64) if nbits <= w)
    per_pack = 64 // width
    pack_bits = per_pack * nbits
    nlanes = 8 // gcd(pack_bits, 8)
    lanes = tuple(_Lane(*divmod(i * pack_bits, 8)) for i in range(nlanes))
    steps = []
    full = 64
    while full > width:
        half = full // 2
        bits = nbits * (half // width)
        low = _repeat((1 << bits) - 1, full)
        steps.append(_Step(*map(_u64, (half, bits, half - bits, low, low << half, low << bits))))
        full = half
    overlong = any(lane.shift + pack_bits > 64 for lane in lanes)
    return _Plan(width, per_pack, pack_bits, lanes, nlanes * pack_bits // 8, nlanes * per_pack, overlong, tuple(steps))


def _word_dtype(bits: int) -> np.dtype[Any]:
    return np.dtype(f"u{bits // 8}")


def _strided(buffer: NDArray[Any], dtype: str | np.dtype[Any], count: int, offset: int, stride: int) -> NDArray[Any]:
    return np.ndarray((count,), dtype, buffer=buffer, offset=offset, strides=(stride,))


def _keeps_order(bitorder: BitOrder) -> bool:
    # Whether the first value of a pack sits at the end of the word that is first in this machine's memory.
    return bitorder == sys.byteorder


def _spread(x: Words, tmp: Words, plan: _Plan, nbits: int, keep: bool) -> None:
    if not plan.steps:
        if nbits < 64:
            np.bitwise_and(x, _u64((1 << nbits) - 1), out=x)
        return
    for step in plan.steps:
        if keep:
            np.left_shift(x, step.gap, out=tmp)
            np.bitwise_and(tmp, step.high_wide, out=tmp)
            np.bitwise_and(x, step.low, out=x)
        else:
            np.right_shift(x, step.bits, out=tmp)
            np.bitwise_and(tmp, step.low, out=tmp)
            np.bitwise_and(x, step.low, out=x)
            np.left_shift(x, step.half, out=x)
        np.bitwise_or(x, tmp, out=x)


def _gather(x: Words, tmp: Words, plan: _Plan, nbits: int, keep: bool) -> None:
    if not plan.steps:
        if nbits < 64:
            np.bitwise_and(x, _u64((1 << nbits) - 1), out=x)
        return
    for step in reversed(plan.steps):
        if keep:
            np.right_shift(x, step.gap, out=tmp)
            np.bitwise_and(tmp, step.high_tight, out=tmp)
            np.bitwise_and(x, step.low, out=x)
        else:
            np.right_shift(x, step.half, out=tmp)
            np.bitwise_and(tmp, step.low, out=tmp)
            np.bitwise_and(x, step.low, out=x)
            np.left_shift(x, step.bits, out=x)
        np.bitwise_or(x, tmp, out=x)


def _load_lane(data: Bytes, at: int, x: Words, plan: _Plan, lane: _Lane, bitorder: BitOrder) -> None:
    """Bring one lane of `x.size` groups, the first of which begins at byte `at`, to the bottom of `x`."""
    order = "<u8" if bitorder == "little" else ">u8"
    x[...] = _strided(data, order, x.size, at + lane.byte, plan.group_bytes)
    over = lane.shift + plan.pack_bits > 64
    if over:
        extra = _strided(data, "u1", x.size, at + lane.byte + 8, plan.group_bytes).astype(np.uint64)
    if bitorder == "little":
        if lane.shift:
            np.right_shift(x, _u64(lane.shift), out=x)
        if over:
            x |= extra << _u64(64 - lane.shift)
    elif over:
        np.left_shift(x, _u64(lane.shift), out=x)
        x |= extra >> _u64(8 - lane.shift)
        np.right_shift(x, _u64(64 - plan.pack_bits), out=x)
    else:
        # What lies above the pack (the lane before) is masked off by the spread.
        np.right_shift(x, _u64(64 - lane.shift - plan.pack_bits), out=x)


_Emit: TypeAlias = Callable[[Words, int, int, int], None]


def _unpack_groups(data: Bytes, ngroups: int, nbits: int, bitorder: BitOrder, emit: _Emit) -> None:
    """Unpack whole groups; `emit(values, first, lane, nlanes)` takes the values of each block and lane.

    `data` must reach 8 bytes (9 for overlong widths) past the start of each lane of the last group.
    """
    plan = _plan(nbits)
    keep = _keeps_order(bitorder)
    block = min(_BLOCK_PACKS, ngroups)
    scratch, tmp = np.empty(block, _U64), np.empty(block, _U64)
    for g in range(0, ngroups, block):
        n = min(block, ngroups - g)
        x, t = scratch[:n], tmp[:n]
        for i, lane in enumerate(plan.lanes):
            _load_lane(data, g * plan.group_bytes, x, plan, lane, bitorder)
            _spread(x, t, plan, nbits, keep)
            emit(x.view(_word_dtype(plan.width)), g * plan.group_values, i, len(plan.lanes))


def _finish(values: Words, dest: Words, nbits: int, first_bit: int, signed: bool) -> None:
    """Sign-extend (or not), widen, and move `values` up to `first_bit`, into `dest`. `values` is overwritten."""
    width = values.dtype.itemsize * 8
    if signed:
        ints = values.view(f"i{values.dtype.itemsize}")
        target = dest.view(f"i{dest.dtype.itemsize}")
        if width > nbits:
            np.left_shift(ints, width - nbits, out=ints)
            np.right_shift(ints, width - nbits, out=ints)
        target[...] = ints
    else:
        dest[...] = values
    if first_bit:
        np.left_shift(dest, first_bit, out=dest)


def unpack_words(
    data: Bytes,
    nbits: int,
    out: Words,
    *,
    start: int = 0,
    first_bit: int = 0,
    signed: bool = False,
    bitorder: BitOrder = "little",
) -> None:
    """Unpack values of `nbits` bits into `out`.

    Parameters
    ----------
    data
        The bytes from the one that holds the first bit of the first wanted value on.
    nbits
        Bits per value, 1 to 64.
    out
        Flat, contiguous, unsigned array in the machine's byte order; its size says how many values are wanted.
    start
        Position of the first wanted value in the whole sequence: says how far into its first byte it begins.
    first_bit
        Where the lowest stored bit goes; the bits below it become zero.
    signed
        Whether to repeat the top stored bit upwards (two's complement) instead of zeros.
    bitorder
        Which end of a byte comes first.

    Notes
    -----
    Takes at most 100 KB of scratch, whatever the size. Safe to call from many threads.
    """
    count = out.size
    group = group_size(nbits)
    # A start inside a group: that one group is unpacked from a padded copy, then everything is byte-aligned.
    lead = start % group
    if lead:
        skip = lead * nbits // 8
        head = np.zeros(packed_nbytes(group, nbits), np.uint8)
        piece = data[: head.size - skip]
        head[skip : skip + piece.size] = piece
        values = np.empty(group, out.dtype)
        unpack_words(head, nbits, values, first_bit=first_bit, signed=signed, bitorder=bitorder)
        n = min(group - lead, count)
        out[:n] = values[lead : lead + n]
        if n == count:
            return
        out, count = out[n:], count - n
        data = data[head.size - skip :]
    if nbits in (8, 16, 32, 64):
        _unpack_whole_words(data, nbits, out, first_bit, signed, bitorder)
        return
    if nbits == 1:
        for i in range(0, count, BLOCK_BYTES * 8):
            n = min(BLOCK_BYTES * 8, count - i)
            bits = np.unpackbits(data[i // 8 : i // 8 + packed_nbytes(n, 1)], count=n, bitorder=bitorder)
            _finish(bits, out[i : i + n], 1, first_bit, signed)
        return
    plan = _plan(nbits)
    reach = plan.lanes[-1].byte + (9 if plan.overlong else 8)
    readable = (data.size - reach) // plan.group_bytes + 1 if data.size >= reach else 0
    ngroups = min(count // plan.group_values, readable)
    done = ngroups * plan.group_values

    def emit(values: Words, first: int, lane: int, nlanes: int) -> None:
        dest = out[first : first + values.size * nlanes]
        if nlanes == 1:
            _finish(values, dest, nbits, first_bit, signed)
        elif values.dtype == out.dtype:
            # Each lane fills every nlanes-th pack; finished in the scratch, so that it moves as whole 64-bit words.
            if signed or first_bit:
                _finish(values, values, nbits, first_bit, signed)
            dest.view(_U64)[lane::nlanes] = values.view(_U64)
        else:
            packs = values.reshape(-1, plan.per_pack)
            _finish(packs, dest.reshape(-1, nlanes, plan.per_pack)[:, lane], nbits, first_bit, signed)

    if ngroups:
        _unpack_groups(data, ngroups, nbits, bitorder, emit)
    if done < count:
        # The last few groups, whose 64-bit loads would leave the buffer, from a padded copy.
        ngroups = -(-(count - done) // plan.group_values)
        rest = np.zeros((ngroups - 1) * plan.group_bytes + reach, np.uint8)
        piece = data[done * nbits // 8 :][: packed_nbytes(count - done, nbits)]
        rest[: piece.size] = piece
        tail = np.empty(ngroups * plan.group_values, out.dtype)
        unpack_words(rest, nbits, tail, first_bit=first_bit, signed=signed, bitorder=bitorder)
        out[done:] = tail[: count - done]


def _unpack_whole_words(data: Bytes, nbits: int, out: Words, first_bit: int, signed: bool, bitorder: BitOrder) -> None:
    order = "<" if bitorder == "little" else ">"
    values = _strided(data, f"{order}{'i' if signed else 'u'}{nbits // 8}", out.size, 0, nbits // 8)
    target = out.view(f"i{out.dtype.itemsize}") if signed else out
    target[...] = values
    if first_bit:
        np.left_shift(out, first_bit, out=out)


def pack_words(values: Words, nbits: int, out: Bytes, *, first_bit: int = 0, bitorder: BitOrder = "little") -> None:
    """Pack the `nbits` bits from `first_bit` on of each value; the other bits are dropped.

    Parameters
    ----------
    values
        Flat, contiguous, unsigned, in the machine's byte order.
    nbits
        Bits to keep per value, 1 to 64.
    out
        `packed_nbytes` bytes to fill; the padding bits become zero.
    first_bit
        The lowest bit that is kept.
    bitorder
        Which end of a byte comes first.

    Notes
    -----
    Takes at most 200 KB of scratch, whatever the size. Safe to call from many threads.
    """
    count = values.size
    if nbits in (8, 16, 32, 64):
        order = "<" if bitorder == "little" else ">"
        dest = _strided(out, f"{order}u{nbits // 8}", count, 0, nbits // 8)
        np.copyto(dest, values >> first_bit if first_bit else values, casting="unsafe")
        return
    if nbits == 1:
        mask = values.dtype.type(1 << first_bit)
        for i in range(0, count, BLOCK_BYTES * 8):
            block = values[i : i + BLOCK_BYTES * 8]
            out[i // 8 : i // 8 + packed_nbytes(block.size, 1)] = np.packbits((block & mask) != 0, bitorder=bitorder)
        return
    plan = _plan(nbits)
    ngroups = count // plan.group_values
    _pack_groups(values[: ngroups * plan.group_values], nbits, out, first_bit, bitorder)
    rest = values[ngroups * plan.group_values :]
    if rest.size:
        padded = np.zeros(plan.group_values, values.dtype)
        padded[: rest.size] = rest
        tail = np.empty(plan.group_bytes, np.uint8)
        _pack_groups(padded, nbits, tail, first_bit, bitorder)
        at = ngroups * plan.group_bytes
        out[at:] = tail[: out.size - at]


def _pack_groups(values: Words, nbits: int, out: Bytes, first_bit: int, bitorder: BitOrder) -> None:
    plan = _plan(nbits)
    keep = _keeps_order(bitorder)
    nlanes = len(plan.lanes)
    ngroups = values.size // plan.group_values
    block = max(1, min(_BLOCK_PACKS // nlanes, ngroups))
    scratch, tmp = np.empty(block * nlanes, _U64), np.empty(block * nlanes, _U64)
    working = _word_dtype(plan.width)
    for g in range(0, ngroups, block):
        n = min(block, ngroups - g)
        x, t = scratch[: n * nlanes], tmp[: n * nlanes]
        source = values[g * plan.group_values : (g + n) * plan.group_values]
        target = x.view(working)
        if first_bit and working == values.dtype:
            np.right_shift(source, first_bit, out=target)
        else:
            # Narrowing drops the high bits, which are not kept anyway.
            np.copyto(target, source >> first_bit if first_bit else source, casting="unsafe")
        _gather(x, t, plan, nbits, keep)
        _store_lanes(x.reshape(n, nlanes), plan, out, g * plan.group_bytes, bitorder)


def _store_lanes(packs: Words, plan: _Plan, out: Bytes, at: int, bitorder: BitOrder) -> None:
    """Write packs of `pack_bits` bits back to back; what does not fill a byte is carried into the next lane."""
    bits = plan.pack_bits
    carry: Words | None = None
    held = 0  # bits in carry
    for i, lane in enumerate(plan.lanes):
        v = packs[:, i]
        total = held + bits
        whole, left = divmod(total, 8)
        if bitorder == "little":
            word = v if carry is None else (v << _u64(held)) | carry
            if left:
                carry = word >> _u64(8 * whole) if total <= 64 else v >> _u64(64 - held)
        elif total <= 64:
            joined = v if carry is None else (carry << _u64(bits)) | v
            word = joined << _u64(64 - total) if total < 64 else joined
            carry = joined & _u64((1 << left) - 1)
        else:
            assert carry is not None
            word = (carry << _u64(64 - held)) | (v >> _u64(total - 64))
            carry = v & _u64((1 << left) - 1)
        if not left:
            carry = None
        held = left
        # The first byte of the lane is the one in which the carried bits began.
        _store_bytes(word, whole, out, at + lane.byte, plan.group_bytes, bitorder)


def _store_bytes(word: Words, nbytes: int, out: Bytes, at: int, stride: int, bitorder: BitOrder) -> None:
    """Write the first `nbytes` bytes of each word, `stride` apart, as power-of-two pieces (numpy's fast copies)."""
    ordered = np.ascontiguousarray(word, dtype="<u8" if bitorder == "little" else ">u8")
    done = 0
    for size in (8, 4, 2, 1):
        if nbytes & size:
            piece = _strided(ordered, f"u{size}", word.size, done, 8)
            _strided(out, f"u{size}", word.size, at + done, stride)[...] = piece
            done += size
