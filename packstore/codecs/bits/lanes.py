"""Numpy kernels between packed bytes and 64-bit words of neighbouring values, for values of 2 to 63 bits.

The values are handled in *packs* of as many neighbours as fit a 64-bit word once they are unpacked (8 of up to 8 bits,
4 of up to 16, 2 of up to 32, 1 of up to 64). A pack is loaded by one unaligned strided 64-bit read, shifted down, and
spread by halving: the word's two halves move apart, then the halves of each half. So a value costs a fraction of a
vector instruction instead of a loop over its bits. Packs need not start on a byte; the shortest run of packs that does
is a *group*, and each position in the group (a *lane*) has its own constant shift. The work runs in blocks whose
scratch fits the first-level caches, and numpy releases the GIL in each step.

What becomes of the values: `packstore.codecs.bits.words`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import BitOrder, Bytes

Words: TypeAlias = NDArray[np.unsignedinteger[Any]]
# Masks and shift counts are 0-d arrays, which numpy takes fastest.
_Scalar: TypeAlias = np.ndarray[Any, Any]

# 32 KiB of scratch per array: two of them and the output block stay within the L2 cache of anything current.
BLOCK_PACKS = 4096
U64 = np.dtype(np.uint64)


class Lane(NamedTuple):
    """One pack's place in its group."""

    byte: int  # first byte that holds a bit of the pack
    shift: int  # bits of that byte which belong to the lane before


class _Move(NamedTuple):
    """One halving of the spread, or doubling of the gather: one half is shifted, masked and joined to the other."""

    shift: np.ufunc
    by: _Scalar
    mask: _Scalar  # the shifted half, in each word
    low: _Scalar  # the other half
    up: _Scalar | None  # where that half then goes, if the halves change places


class Plan(NamedTuple):
    """All that depends on the width and the bit order alone."""

    bitorder: BitOrder
    words: np.dtype[Any]  # as packs are loaded and stored
    working: np.dtype[Any]  # the smallest word that holds a value
    per_pack: int
    pack_bits: int
    lanes: tuple[Lane, ...]
    group_bytes: int
    group_values: int
    reach: int  # bytes from a group's start to the end of its last lane's load
    spread: tuple[_Move, ...]  # widest first
    gather: tuple[_Move, ...]  # narrowest first
    mask: _Scalar | None  # a pack of one value does not move


def _u64(value: int) -> _Scalar:
    return np.array(value & 0xFFFF_FFFF_FFFF_FFFF, dtype=np.uint64)


def _repeat(mask: int, period: int) -> int:
    return sum(mask << at for at in range(0, 64, period))


def _moves(nbits: int, width: int, bitorder: BitOrder) -> Iterator[tuple[_Move, _Move]]:
    """The steps of the spread, widest first, each with the one of the gather that undoes it."""
    # Whether the first value of a pack sits at the end of the word that is first in this machine's memory.
    keep = bitorder == sys.byteorder
    full = 64
    while full > width:
        half = full // 2
        bits = nbits * (half // width)
        low = _repeat((1 << bits) - 1, full)
        if keep:
            gap = half - bits
            yield (
                _Move(np.left_shift, _u64(gap), _u64(low << half), _u64(low), None),
                _Move(np.right_shift, _u64(gap), _u64(low << bits), _u64(low), None),
            )
        else:
            yield (
                _Move(np.right_shift, _u64(bits), _u64(low), _u64(low), _u64(half)),
                _Move(np.right_shift, _u64(half), _u64(low), _u64(low), _u64(bits)),
            )
        full = half


@lru_cache(maxsize=128)
def plan_of(nbits: int, bitorder: BitOrder) -> Plan:
    """The plan for values of `nbits` bits."""
    width = next(w for w in (8, 16, 32, 64) if nbits <= w)
    per_pack = 64 // width
    pack_bits = per_pack * nbits
    nlanes = 8 // gcd(pack_bits, 8)
    lanes = tuple(Lane(*divmod(i * pack_bits, 8)) for i in range(nlanes))
    moves = tuple(_moves(nbits, width, bitorder))
    overlong = any(lane.shift + pack_bits > 64 for lane in lanes)
    return Plan(
        bitorder=bitorder,
        words=word_dtype(64, bitorder),
        working=np.dtype(f"u{width // 8}"),
        per_pack=per_pack,
        pack_bits=pack_bits,
        lanes=lanes,
        group_bytes=nlanes * pack_bits // 8,
        group_values=nlanes * per_pack,
        reach=lanes[-1].byte + (9 if overlong else 8),
        spread=tuple(spread for spread, _ in moves),
        gather=tuple(gather for _, gather in reversed(moves)),
        mask=None if moves else _u64((1 << nbits) - 1),
    )


@lru_cache(maxsize=8)
def word_dtype(nbits: int, bitorder: BitOrder) -> np.dtype[Any]:
    """The unsigned integer that is `nbits` bits in that order: 8, 16, 32 or 64."""
    return np.dtype(f"{'<' if bitorder == 'little' else '>'}u{nbits // 8}")


def strided(buffer: NDArray[Any], dtype: str | np.dtype[Any], count: int, offset: int, stride: int) -> NDArray[Any]:
    """View `count` items, `stride` bytes apart, the first at byte `offset`."""
    return np.ndarray((count,), dtype, buffer=buffer, offset=offset, strides=(stride,))


def _move(x: Words, tmp: Words, moves: tuple[_Move, ...], mask: _Scalar | None) -> None:
    if mask is not None:
        np.bitwise_and(x, mask, out=x)
    for move in moves:
        move.shift(x, move.by, out=tmp)
        np.bitwise_and(tmp, move.mask, out=tmp)
        np.bitwise_and(x, move.low, out=x)
        if move.up is not None:
            np.left_shift(x, move.up, out=x)
        np.bitwise_or(x, tmp, out=x)


def load_groups(data: Bytes, ngroups: int, plan: Plan) -> Iterator[tuple[int, int, Words]]:
    """Unpack whole groups: for each block and lane, the block's first value, the lane, and the lane's values.

    `data` must hold `plan.reach` bytes from the start of the last group on. The values are scratch, gone with the next.
    """
    block = min(BLOCK_PACKS, ngroups)
    scratch, tmp = np.empty(block, U64), np.empty(block, U64)
    for g in range(0, ngroups, block):
        n = min(block, ngroups - g)
        x, t = scratch[:n], tmp[:n]
        for i, lane in enumerate(plan.lanes):
            _load_lane(data, g * plan.group_bytes, x, plan, lane)
            _move(x, t, plan.spread, plan.mask)
            yield g * plan.group_values, i, x.view(plan.working)


def _load_lane(data: Bytes, at: int, x: Words, plan: Plan, lane: Lane) -> None:
    """Bring one lane of `x.size` groups, the first of which begins at byte `at`, to the bottom of `x`."""
    x[...] = strided(data, plan.words, x.size, at + lane.byte, plan.group_bytes)
    over = lane.shift + plan.pack_bits > 64
    if over:
        extra = strided(data, "u1", x.size, at + lane.byte + 8, plan.group_bytes).astype(np.uint64)
    if plan.bitorder == "little":
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


def store_groups(x: Words, tmp: Words, plan: Plan, out: Bytes, at: int) -> None:
    """Pack whole groups, one word a pack, to byte `at` on. Both `x` and `tmp`, of its size, are overwritten."""
    _move(x, tmp, plan.gather, plan.mask)
    _store_lanes(x.reshape(-1, len(plan.lanes)), plan, out, at)


def _store_lanes(packs: Words, plan: Plan, out: Bytes, at: int) -> None:
    """Write packs of `pack_bits` bits back to back; what does not fill a byte is carried into the next lane."""
    bits = plan.pack_bits
    carry: Words | None = None
    held = 0  # bits in carry
    for i, lane in enumerate(plan.lanes):
        v = packs[:, i]
        total = held + bits
        whole, left = divmod(total, 8)
        if plan.bitorder == "little":
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
        _store_bytes(np.ascontiguousarray(word, dtype=plan.words), whole, out, at + lane.byte, plan.group_bytes)


def _store_bytes(words: Words, nbytes: int, out: Bytes, at: int, stride: int) -> None:
    """Write the first `nbytes` bytes of each word, `stride` apart, as power-of-two pieces (numpy's fast copies)."""
    done = 0
    for size in (8, 4, 2, 1):
        if nbytes & size:
            piece = strided(words, f"u{size}", words.size, done, 8)
            strided(out, f"u{size}", words.size, at + done, stride)[...] = piece
            done += size
