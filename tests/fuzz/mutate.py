"""Changes of bytes that know nothing of the format: bits, bytes, numbers at the edges of their type, cuts, copies."""

from __future__ import annotations

import random
import struct

__all__ = ["cut", "number", "scramble"]

# Numbers that break sums and products: near zero, near the ends of each width, with one high bit.
EDGES = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 4096, 32767, 32768, 65535, 65536]
EDGES += [2**k + d for k in (20, 24, 30, 31, 32, 33, 40, 48, 62, 63, 64) for d in (-1, 0, 1) if 2**k + d < 2**64]
WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def number(rng: random.Random) -> int:
    """A whole number that a writer seldom stores."""
    return rng.choice(EDGES) if rng.random() < 0.8 else rng.getrandbits(rng.choice([8, 16, 32, 64]))


def scramble(data: bytes, rng: random.Random, spots: list[int] | None = None, *, same_length: bool = False) -> bytes:
    """Change a few places.

    Parameters
    ----------
    data
        The bytes.
    rng
        Decides what and where.
    spots
        Offsets that are worth a change; None: any.
    same_length
        Whether nothing may move.
    """
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3, 6])):
        if not out:
            break
        at = rng.choice(spots) % len(out) if spots and rng.random() < 0.85 else rng.randrange(len(out))
        kind = rng.random()
        if kind < 0.3:
            out[at] ^= 1 << rng.randrange(8)
        elif kind < 0.5:
            out[at] = rng.choice([0, 1, 2, 3, 4, 8, 16, 127, 128, 254, 255, rng.randrange(256)])
        elif kind < 0.8:
            width = rng.choice(list(WIDTHS))
            if at + width <= len(out):
                order = "<" if rng.random() < 0.8 else ">"
                struct.pack_into(order + WIDTHS[width], out, at, number(rng) & (256**width - 1))
        elif kind < 0.86:
            width = rng.choice([1, 2, 4, 8])
            value = int.from_bytes(out[at : at + width], "little") + rng.choice([-2, -1, 1, 2])
            out[at : at + width] = (value % 256 ** len(out[at : at + width])).to_bytes(
                len(out[at : at + width]), "little"
            )
        elif same_length or kind < 0.93:
            length = min(rng.choice([1, 2, 4, 8, 16, 64]), len(out) - at)
            source = rng.randrange(len(out) - length + 1)
            out[at : at + length] = out[source : source + length]
        elif kind < 0.97:
            del out[at : at + rng.choice([1, 2, 4, 8, 32])]
        else:
            out[at:at] = rng.randbytes(rng.choice([1, 2, 4, 8, 32]))
    return bytes(out)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The beginning of `data`."""
    return data[: rng.randrange(len(data) + 1)]
