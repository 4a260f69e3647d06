"""One deflate stream decoded by two threads.

While one thread decodes the first half, the other starts at a block in the middle, whose window (the 32 KiB before it)
nobody knows yet. It decodes twice, with two made-up windows that differ in every byte: where the results agree, a byte
is right whatever the window holds; where they differ, the pair tells which byte of the window it was copied from. Once
a whole window agrees, or the first thread has arrived and the pairs can be looked up, it goes on with the true window,
decoding once. What was decoded twice the first thread decodes again, by then with the true window.

Where blocks start is written nowhere: it is guessed from the header of a dynamic block. A wrong guess, as any damage,
ends the attempt without a result; the caller then decodes in one go, and compares the checksum either way.

Sources: RFC 1951, https://www.rfc-editor.org/rfc/rfc1951; for unknown windows, M. Kerbiriou and R. Chikhi, "Parallel
decompression of gzip-compressed files and random access to DNA sequences", 2019,
https://doi.org/10.1109/IPDPSW.2019.00042.
"""

from __future__ import annotations

import functools
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["MIN_STORED_NBYTES", "find_block", "inflate_split"]

U8 = npt.NDArray[np.uint8]
# Decodes one whole stream into an array that may be longer, and returns how many bytes came out.
Decode = Callable[[U8, U8], int]

WINDOW_NBYTES = 1 << 15
# Below, finding blocks costs more than a second thread gains.
MIN_STORED_NBYTES = 8 << 20
# Of the stream, for both threads together: the more, the fewer blocks to find; the less, the less memory.
ROUND_NBYTES = 32 << 20
# What is decoded twice: the first stretch, the longest, and what it may decode to before it is too fast to be worth it.
FIRST_STEP_NBYTES, MAX_STEP_NBYTES, MAX_EXPANDED_NBYTES = 1 << 17, 1 << 20, 1 << 25
# A block is looked for this far, in parts: zlib's hold 16,383 symbols, libdeflate's 300,000 bytes.
SEARCH_NBYTES, PART_NBYTES = 1 << 19, 1 << 13
# Of a block that is tried: its header for certain, and far enough for the next block if the first was a wrong guess.
TRIAL_NBYTES = (320, 1 << 13)
# Empty blocks with the fixed codes, of 10 bits each: one that others follow, and the last one.
EMPTY, END, EMPTY_NBITS = 0b010, 0b011, 10


def inflate_split(data: U8, nbytes: int, decode: Decode, may_go_on: Callable[[], bool] = lambda: True) -> U8 | None:
    """Decode a raw deflate stream with the help of a second thread.

    Parameters
    ----------
    data
        The stream.
    nbytes
        How many bytes it decodes to.
    decode
        The decoder, best one that leaves the GIL. RuntimeError or ValueError mean: no stream, or more than fits.
    may_go_on
        Asked when a block is found, just before the thread starts.

    Returns
    -------
    array or None
        The decoded bytes; None where the stream cannot be split, or does not decode to `nbytes` bytes. Only a checksum
        of the result tells that the blocks were guessed right.

    Notes
    -----
    Takes 60 % of the time where the window settles soon (noise, smooth numbers, counters), and as long as one thread
    where it does not (numbers of few digits). Works on some 32 MiB of the stream at a time; besides the result it needs
    memory for those and for half of what they decode to.
    """
    half = len(data) // (2 * max(1, round(len(data) / ROUND_NBYTES))) + 1
    middle = find_block(data, half)
    if middle is None or not may_go_on():
        return None
    out = np.empty(nbytes, np.uint8)
    at: int | None = 0
    start: int | None = 0
    try:
        with ThreadPoolExecutor(1) as pool:
            while at is not None and start is not None:
                ahead = None if middle is None else _Ahead(data, middle, half, nbytes - at, decode)
                at = _round(pool, data, start, ahead, out, at, decode)
                start = None if ahead is None else ahead.end
                middle = None if start is None else find_block(data, (start >> 3) + half)
    except (RuntimeError, ValueError, MemoryError):
        return None
    return out if at == nbytes else None


def _round(
    pool: ThreadPoolExecutor, data: U8, start: int, ahead: _Ahead | None, out: U8, at: int, decode: Decode
) -> int | None:
    """Decode from bit `start` on to place `at` of `out`, with `ahead` in `pool` if there is one; gives the next place.

    None means that the window before the middle is not all known, or that what comes out does not fit.
    """

    def go_on(at: int, start: int, stop: int | None) -> int:
        base = max(at - WINDOW_NBYTES, 0)
        return base + decode(_stream(data, start, stop, out[base:at] if at else None), out[base:])

    if ahead is None:
        return go_on(at, start, None)
    middle = ahead.stop
    rest = pool.submit(ahead.run)
    try:
        at = go_on(at, start, middle)
        if at < WINDOW_NBYTES:
            return None
        stop = ahead.meet(out[at - WINDOW_NBYTES : at].copy())
        if stop > middle:
            at = go_on(at, middle, stop)
        tail = rest.result()
    finally:
        ahead.meet(None)
    if tail is None or at + len(tail) > len(out):
        return None
    out[at : at + len(tail)] = tail
    return at + len(tail)


class _Ahead:
    """What the second thread does, from the block at bit `middle` on for about `half` bytes of the stream.

    Attributes
    ----------
    stop
        The bit up to which it has decoded twice, or is about to.
    end
        Where it ends, once it has run: at a block, or None for the end of the stream.
    """

    end: int | None = None

    def __init__(self, data: U8, middle: int, half: int, nbytes: int, decode: Decode) -> None:
        self.data = data
        self.stop = middle
        self.half = half
        self.nbytes = nbytes
        self.decode = decode
        self._step_nbytes = FIRST_STEP_NBYTES
        self._lock = threading.Lock()
        self._met = threading.Event()
        self._window: U8 | None = None
        # Byte w of the unknown window is w % 256 in one made-up window, and 1 + w // 256 more than that in the other.
        origin = np.arange(WINDOW_NBYTES)
        self._windows = (origin.astype(np.uint8), (origin + 1 + (origin >> 8)).astype(np.uint8))

    def meet(self, window: U8 | None) -> int:
        """Tell the window before the middle, or None to give up; returns `stop`, which does not change after."""
        with self._lock:
            if not self._met.is_set():
                self._window = window
                self._met.set()
            return self.stop

    def run(self) -> U8 | None:
        """All from `stop` to `end`; None where that cannot be known."""
        self.end = find_block(self.data, (self.stop >> 3) + self.half)
        while not (settled := np.array_equal(*self._windows)) and self._decode_twice():
            pass
        window = self._windows[0] if settled else self._looked_up()
        if window is None:
            return None
        # Nobody knows yet how much it will be; memory is taken as it is written to.
        out = np.empty(WINDOW_NBYTES + self.nbytes, np.uint8)
        return out[WINDOW_NBYTES : self.decode(_stream(self.data, self.stop, self.end, window), out)]

    def _decode_twice(self) -> bool:
        """Move `stop` on by a stretch; False where the window is known by now, or no block is found to stop at."""
        stop = find_block(self.data, (self.stop >> 3) + self._step_nbytes)
        with self._lock:
            if stop is None or (self.end is not None and stop >= self.end) or self._met.is_set():
                return False
            start, self.stop = self.stop, stop
        out = np.empty(WINDOW_NBYTES + MAX_EXPANDED_NBYTES, np.uint8)
        for window in self._windows:
            end = self.decode(_stream(self.data, start, stop, window), out)
            window[:] = out[end - WINDOW_NBYTES : end]
        self._step_nbytes = min(2 * self._step_nbytes, MAX_STEP_NBYTES)
        return True

    def _looked_up(self) -> U8 | None:
        """The true window before `stop`, from the one before the middle; waits until that is known."""
        self._met.wait()
        if self._window is None:
            return None
        low, high = self._windows
        more = high - low
        origin = low | (more - 1).astype(np.uint16) << 8
        return np.where(more == 0, low, self._window[origin % WINDOW_NBYTES])


def find_block(data: U8, start: int) -> int | None:
    """Find what looks like the start of a dynamic block that others follow.

    Parameters
    ----------
    data
        A raw deflate stream.
    start
        The byte to begin at.

    Returns
    -------
    int or None
        Its bit offset; None where 512 KiB have no such thing. It may be a wrong guess.
    """
    heads, weights = _tables()
    # A header has 17 bits, then up to 19 lengths of 3 bits.
    end = min(start + SEARCH_NBYTES, len(data) - 16)
    for low in range(start, end, PART_NBYTES):
        part = data[low : min(low + PART_NBYTES, end) + 16]
        pairs = np.ascontiguousarray(sliding_window_view(part[:-15], 2)).view("<u2")[:, 0]
        words = sliding_window_view(part, 8)
        at = np.flatnonzero(np.unpackbits(heads[pairs], bitorder="little"))
        # The lengths that the header announces are those of a complete code.
        counts = ((_bits(words, at + 13) & np.uint64(15)) + np.uint64(4)) * np.uint64(3)
        lengths = _bits(words, at + 17) & ((np.uint64(1) << counts) - np.uint64(1))
        total = sum(weights[lengths >> np.uint64(shift) & np.uint64(4095)] for shift in range(0, 57, 12))
        for found in at[total == 128].tolist():
            if _decodes(data, 8 * low + found):
                return 8 * low + int(found)
    return None


def _bits(words: U8, offset: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """At least 57 bits from each bit offset on."""
    found: npt.NDArray[np.uint64] = words[offset >> 3].view("<u8")[:, 0] >> (offset & 7).astype(np.uint64)
    return found


@functools.cache
def _tables() -> tuple[U8, npt.NDArray[np.uint16]]:
    """For 16 bits: at which of the first 8 a header may start; for 12: what four lengths take up of a code, of 128."""
    bits = np.arange(1 << 16)
    heads = np.zeros(1 << 16, np.uint8)
    for shift in range(8):
        rest = bits >> shift
        # 0 for not the last block, 2 for dynamic codes, up to 286 codes for literals and lengths.
        heads |= ((rest & 7 == 4) & (rest >> 3 & 31 < 30)).astype(np.uint8) << shift
    weight = np.array([0, 64, 32, 16, 8, 4, 2, 1], np.uint16)
    return heads, sum(weight[bits[:4096] >> shift & 7] for shift in (0, 3, 6, 9))


def _decodes(data: U8, bit: int) -> bool:
    """Whether zlib takes what starts there for a block, and goes on well."""
    window = bytes(WINDOW_NBYTES)
    for nbytes in TRIAL_NBYTES:
        decoder = zlib.decompressobj(-15, zdict=window)
        try:
            decoder.decompress(_stream(data[: (bit >> 3) + nbytes], bit, None), 1 << 16)
        except zlib.error:
            return False
    return True


def _stream(data: U8, start: int, stop: int | None, window: U8 | None = None) -> U8:
    """A stream that decodes to `window` and what the blocks in the bits from `start` to `stop` decode to.

    Parameters
    ----------
    stop
        None for the end of the stream; else beyond the byte of `start`.
    """
    head = b""
    if window is not None:
        size = len(window)
        head = b"\0" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + window.tobytes()
    first, shift = divmod(start, 8)
    if shift:
        # Empty blocks first, until the next bit has the place in its byte that it has in the data.
        filler, nbits = _filler(shift)
        filler |= (int(data[first]) >> shift << shift) << (nbits - shift)
        head += filler.to_bytes(nbits // 8 + 1, "little")
        first += 1
    last, tail = len(data), b""
    if stop is not None:
        last, shift = divmod(stop, 8)
        end = int(data[last]) & ((1 << shift) - 1) | END << shift
        tail = end.to_bytes((shift + EMPTY_NBITS + 7) // 8, "little")
    # An array, since numpy asks for large pages: bytes of this size would cost more than they hold.
    return np.concatenate([np.frombuffer(head, np.uint8), data[first:last], np.frombuffer(tail, np.uint8)])


@functools.cache
def _filler(shift: int) -> tuple[int, int]:
    """Blocks without content that are `shift` bits longer than whole bytes, and their number of bits."""
    bits = nbits = 0

    def put(value: int, count: int) -> None:
        nonlocal bits, nbits
        bits |= value << nbits
        nbits += count

    if shift % 2:
        # A dynamic block of 91 bits: codes of 1 bit for the literal 255 and the end, and one unused distance.
        put(0b100, 3)
        put(0, 5)
        put(0, 5)
        put(18 - 4, 4)
        # Lengths, in the order that the format gives them: 1 for "length 1" and "11 to 138 zeros" (18), 0 for others.
        for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            put(symbol in (1, 18), 3)
        for zeros in (138, 117):
            put(1, 1)
            put(zeros - 11, 7)
        put(0, 3)
        put(1, 1)
    while nbits % 8 != shift:
        put(EMPTY, EMPTY_NBITS)
    return bits, nbits
