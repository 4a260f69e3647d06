"""text: damaged tables, plain and gzipped; `np.loadtxt` is the reference."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.mutate import cut, scramble
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["OPTIONS", "explained", "mutate", "reference", "seeds"]

OPTIONS = {"format": "text"}


def seeds() -> dict[str, bytes]:
    """Tables of numbers as `np.savetxt` writes them, and as people do."""
    file = io.BytesIO()
    np.savetxt(file, np.arange(60.0).reshape(20, 3) / 7)
    table = file.getvalue()
    return {
        "savetxt": table,
        "ints": b"# head\n" + b"\n".join(b"%d %d" % (i, i * i) for i in range(40)) + b"\n",
        "odd": b"\xef\xbb\xbf1 2\r\n3 4 # five\r\n\r\n 5\t6 \r\n",
        "one": b"1.5",
        "gzip": gzip.compress(table, mtime=0),
        "members": gzip.compress(table[:200], mtime=0) + gzip.compress(table[200:], mtime=0),
    }


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Change the text, or bytes of its compression."""
    data = files[""]
    zipped = data[:2] == b"\x1f\x8b"
    if zipped and rng.random() < 0.5:
        text = gzip.decompress(data)
        return {"": gzip.compress(_change(text, rng), mtime=0)}
    if zipped:
        return {"": scramble(data, rng, [*range(12), *range(len(data) - 8, len(data))])}
    return {"": _change(data, rng)}


def _change(text: bytes, rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.5:
        words = [
            b"nan",
            b"-inf",
            b"1e999",
            b"0x1p3",
            b"1_000",
            b",",
            b"\n",
            b"\r",
            b"\0",
            b"#",
            b"\x1c",
            b"\x85",
            b"\xc2\xa0",
        ]
        words += [
            b"1j",
            b"--1",
            b"+",
            b".",
            b"e5",
            b"99999999999999999999",
            b"\xff\xfe",
            b'"',
            b" ",
            b"\t",
            b"\x0b",
            b"\x0c",
        ]
        at = rng.randrange(len(text) + 1)
        return text[:at] + rng.choice(words) + text[at + rng.choice([0, 1, 3]) :]
    return scramble(text, rng) if kind < 0.9 else cut(text, rng)


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """The table by `np.loadtxt`, gzip by its first bytes."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig", "surrogateescape")
        array = np.loadtxt(io.StringIO(text, newline=None))
    except (Exception, zlib.error) as error:
        return {"*": of_error(error)}
    return {"": summary_of(lambda: array[box_of(array.shape, array.dtype.itemsize)], array.shape)}


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """packstore takes a comma or semicolon in the first row for the delimiter, and rows of one column for a table."""
    if "could not convert" in str(reference) and any(mark in str(reference) for mark in ",;"):
        return "a delimiter that np.loadtxt has to be told"
    return None
