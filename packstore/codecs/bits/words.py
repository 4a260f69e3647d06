"""Pure numpy kernels that pack values of 1 to 64 bits into bytes and back.

Nothing here knows of files, zarr or headers; every function takes whole, already checked buffers. The widths that need
more than a copy run through `packstore.codecs.bits.lanes`, which also says how.

Bit orders: ``"little"`` puts the first value in the least significant bits, ``"big"`` in the most significant ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import BLOCK_BYTES, BitOrder, Bytes, group_size, packed_nbytes
from packstore.codecs.bits.lanes import (
    BLOCK_PACKS,
    U64,
    Plan,
    Words,
    load_groups,
    plan_of,
    store_groups,
    strided,
    word_dtype,
)

__all__ = ["pack_words", "unpack_words"]

WHOLE_WORDS = (8, 16, 32, 64)


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
    group = group_size(nbits)
    # A start inside a group: that one group is unpacked from a padded copy, then everything is byte-aligned.
    lead = start % group
    if lead:
        skip = lead * nbits // 8
        size = packed_nbytes(group, nbits)
        values = np.empty(group, out.dtype)
        _unpack_aligned(_padded(data[: size - skip], size, skip), nbits, values, first_bit, signed, bitorder)
        n = min(group - lead, out.size)
        out[:n] = values[lead : lead + n]
        if n == out.size:
            return
        out, data = out[n:], data[size - skip :]
    _unpack_aligned(data, nbits, out, first_bit, signed, bitorder)


def _unpack_aligned(data: Bytes, nbits: int, out: Words, first_bit: int, signed: bool, bitorder: BitOrder) -> None:
    """Unpack values of which the first begins on a byte."""
    count = out.size
    if nbits in WHOLE_WORDS:
        words = strided(data, word_dtype(nbits, bitorder), count, 0, nbits // 8)
        _finish(words, out, nbits, first_bit, signed)
        return
    if nbits == 1:
        for i in range(0, count, BLOCK_BYTES * 8):
            n = min(BLOCK_BYTES * 8, count - i)
            bits = np.unpackbits(data[i // 8 : i // 8 + packed_nbytes(n, 1)], count=n, bitorder=bitorder)
            _finish(bits, out[i : i + n], 1, first_bit, signed)
        return
    plan = plan_of(nbits, bitorder)
    readable = (data.size - plan.reach) // plan.group_bytes + 1 if data.size >= plan.reach else 0
    ngroups = min(count // plan.group_values, readable)
    done = ngroups * plan.group_values
    if ngroups:
        _unpack_groups(data, plan, nbits, out[:done], first_bit, signed)
    if done < count:
        # The last few groups, whose 64-bit loads would leave the buffer, from a padded copy.
        ngroups = -(-(count - done) // plan.group_values)
        piece = data[done * nbits // 8 :][: packed_nbytes(count - done, nbits)]
        rest = _padded(piece, (ngroups - 1) * plan.group_bytes + plan.reach)
        tail = np.empty(ngroups * plan.group_values, out.dtype)
        _unpack_groups(rest, plan, nbits, tail, first_bit, signed)
        out[done:] = tail[: count - done]


def _unpack_groups(data: Bytes, plan: Plan, nbits: int, out: Words, first_bit: int, signed: bool) -> None:
    """Fill `out`, of whole groups; `data` must reach as far as `load_groups` wants."""
    nlanes = len(plan.lanes)
    for first, lane, values in load_groups(data, out.size // plan.group_values, plan):
        dest = out[first : first + values.size * nlanes]
        if nlanes == 1:
            _finish(values, dest, nbits, first_bit, signed)
        elif values.dtype == out.dtype:
            # Each lane fills every nlanes-th pack; finished in the scratch, so that it moves as whole 64-bit words.
            if signed or first_bit:
                _finish(values, values, nbits, first_bit, signed)
            dest.view(U64)[lane::nlanes] = values.view(U64)
        else:
            packs = values.reshape(-1, plan.per_pack)
            _finish(packs, dest.reshape(-1, nlanes, plan.per_pack)[:, lane], nbits, first_bit, signed)


def _finish(values: Words, dest: Words, nbits: int, first_bit: int, signed: bool) -> None:
    """Sign-extend (or not), widen, and move `values` up to `first_bit`, into `dest`.

    Values wider than `nbits` are overwritten, and in the machine's byte order.
    """
    if signed:
        ints, target = _signed(values), _signed(dest)
        spare = values.dtype.itemsize * 8 - nbits
        if spare:
            np.left_shift(ints, spare, out=ints)
            np.right_shift(ints, spare, out=ints)
        target[...] = ints
    else:
        dest[...] = values
    if first_bit:
        np.left_shift(dest, first_bit, out=dest)


def _signed(words: Words) -> NDArray[np.signedinteger[Any]]:
    return words.view(words.dtype.str.replace("u", "i"))


def _padded(piece: NDArray[Any], size: int, at: int = 0) -> NDArray[Any]:
    """`piece` from item `at` on, in `size` items that are zero otherwise."""
    padded = np.zeros(size, piece.dtype)
    padded[at : at + piece.size] = piece
    return padded


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
    if nbits in WHOLE_WORDS:
        _narrow(values, strided(out, word_dtype(nbits, bitorder), values.size, 0, nbits // 8), first_bit)
        return
    if nbits == 1:
        mask = values.dtype.type(1 << first_bit)
        for i in range(0, values.size, BLOCK_BYTES * 8):
            block = values[i : i + BLOCK_BYTES * 8]
            out[i // 8 : i // 8 + packed_nbytes(block.size, 1)] = np.packbits((block & mask) != 0, bitorder=bitorder)
        return
    plan = plan_of(nbits, bitorder)
    ngroups = values.size // plan.group_values
    done = ngroups * plan.group_values
    _pack_groups(values[:done], plan, out, first_bit)
    if done < values.size:
        tail = np.empty(plan.group_bytes, np.uint8)
        _pack_groups(_padded(values[done:], plan.group_values), plan, tail, first_bit)
        at = ngroups * plan.group_bytes
        out[at:] = tail[: out.size - at]


def _pack_groups(values: Words, plan: Plan, out: Bytes, first_bit: int) -> None:
    nlanes = len(plan.lanes)
    ngroups = values.size // plan.group_values
    block = max(1, min(BLOCK_PACKS // nlanes, ngroups))
    scratch, tmp = np.empty(block * nlanes, U64), np.empty(block * nlanes, U64)
    for g in range(0, ngroups, block):
        n = min(block, ngroups - g)
        x, t = scratch[: n * nlanes], tmp[: n * nlanes]
        _narrow(values[g * plan.group_values : (g + n) * plan.group_values], x.view(plan.working), first_bit)
        store_groups(x, t, plan, out, g * plan.group_bytes)


def _narrow(values: Words, out: Words, first_bit: int) -> None:
    """Move `values` down by `first_bit` into `out`; narrowing drops the high bits, which are not kept anyway."""
    if first_bit and out.dtype == values.dtype:
        np.right_shift(values, first_bit, out=out)
    else:
        np.copyto(out, values >> first_bit if first_bit else values, casting="unsafe")
