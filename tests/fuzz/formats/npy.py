"""npy: damage in the header's text and length, and in the data; numpy is the reference."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.mutate import cut, number, scramble
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["ARRAYS", "explained", "mutate", "mutate_npy", "reference", "seeds"]

_STRUCT = np.dtype([("a", "<i4"), ("b", "<f8", (2,)), ("c", "S3")])
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "int": np.arange(24, dtype="<i4").reshape(4, 6),
    "big": np.arange(6, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(12, dtype="<u2").reshape(3, 4)),
    "bool": np.arange(9) % 2 == 0,
    "complex": np.arange(4, dtype="<c16"),
    "text": np.array(["one", "zwei"]),
    "bytes": np.array([b"a", b"bcd"]),
    "time": np.array(["2020-01-01", "NaT"], "<M8[s]"),
    "delta": np.array([1, 2], "<m8[10ms]"),
    "struct": np.zeros(3, _STRUCT),
    "scalar": np.array(1.5),
    "empty": np.zeros((0, 3), "<i8"),
    "void": np.zeros(2, "V5"),
}
# What stands in the place of a part of the header's text.
_WORDS = ["'<M8[s/0]'", "'<M8[D/0]'", "'<m8[0s]'", "'|O'", "'<i4'", "'<U1000000000'", "'|S0'", "'|V0'", "None", "True"]
_WORDS += ["()", "(-1,)", "(2**70,)", "(1,)*70", "(4, 6)", "[('a', '<i4')]", "[('a', '|V0', (9,9))]", "'\\ud800'", "{}"]
_WORDS += ["'(3,)<i4'", "'<i4,<i4'", "'i4'", "'<f16'", "1e400", "0x7fffffff", "4294967296", "-1", "L", "(", ")", "'"]


def seeds() -> dict[str, bytes]:
    """One file a data type and order, and the header's second and third versions."""
    out = {}
    for name, array in ARRAYS.items():
        file = io.BytesIO()
        np.save(file, array)
        out[name] = file.getvalue()
    for version in ((2, 0), (3, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, ARRAYS["int"], version=version)
        out[f"version {version[0]}"] = file.getvalue()
    return out


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Damage the one file."""
    return {"": mutate_npy(rng, files[""])}


def mutate_npy(rng: random.Random, data: bytes) -> bytes:
    """Damage the text of the header (its length follows, mostly), its first bytes, or any byte."""
    kind = rng.random()
    start = 10 if data[6] == 1 else 12
    length = int.from_bytes(data[8:start], "little")
    if kind < 0.1:
        # The elements alone: the array is another one, and sound.
        end = start + length
        return data[:end] + scramble(data[end:], rng, same_length=True)
    if kind < 0.65:
        text = _change_text(data[start : start + length].decode("latin-1"), rng).encode("latin-1", "replace")
        if rng.random() < 0.9:
            length = len(text)
        packed = struct.pack("<H", length & 0xFFFF) if start == 10 else struct.pack("<I", length)
        return data[:8] + packed + text + data[start + int.from_bytes(data[8:start], "little") :]
    if kind < 0.9:
        return scramble(data, rng, list(range(start)) + list(range(start, start + length)))
    return cut(data, rng)


def _change_text(text: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        # One of the words and numbers becomes another.
        import re

        found = list(re.finditer(r"'[^']*'|\d+|True|False|\([^()]*\)", text))
        at = rng.choice(found)
        new = str(number(rng)) if at.group().isdigit() and rng.random() < 0.7 else rng.choice(_WORDS)
        return text[: at.start()] + new + text[at.end() :]
    return scramble(text.encode("latin-1"), rng).decode("latin-1")


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """The array by `np.load`, mapped, so that a declared size costs no memory."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "mmap" not in str(error) and "memory" not in str(error):
            return {"*": of_error(error)}
        try:
            array = np.load(path, allow_pickle=False)
        except Exception as other:
            return {"*": of_error(other)}
    except Exception as error:
        return {"*": of_error(error)}
    return {"": summary_of(lambda: array[box_of(array.shape, array.dtype.itemsize)], array.shape)}


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """A line break in the padding says nothing; Python's parser, by which numpy reads the header, trips over it."""
    return "padding" if "Cannot parse header" in str(reference) else None
