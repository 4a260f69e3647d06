"""pickle: damaged opcodes and arguments; numpy by an unpickler that finds nothing but numpy's constructors."""

from __future__ import annotations

import collections
import io
import itertools
import pickle
import pickletools
import random
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.formats.npy import ARRAYS
from tests.fuzz.mutate import cut, scramble
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["explained", "mutate", "reference", "seeds"]

_FOUND = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode"), ("numpy", "float64"), ("numpy", "int64"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _FOUND:
            raise pickle.UnpicklingError(f"{module}.{name} is not for this test")
        return super().find_class(module, name)


def seeds() -> dict[str, bytes]:
    """Each protocol, arrays alone and in containers."""
    out = {}
    few = {name: ARRAYS[name] for name in ("int", "fortran", "text", "time", "struct", "scalar")}
    for protocol in range(6):
        out[f"array {protocol}"] = pickle.dumps(few["int"], protocol)
        out[f"dict {protocol}"] = pickle.dumps(few, protocol)
        out[f"list {protocol}"] = pickle.dumps([few["time"], (few["struct"], 1, "x", None)], protocol)
    out["ordered"] = pickle.dumps(collections.OrderedDict(a=few["int"]), 4)
    return out


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Change an opcode, drop or repeat one, or change any byte."""
    data = files[""]
    kind = rng.random()
    if kind < 0.6:
        marks = [at for _, _, at in pickletools.genops(data) if at is not None] + [len(data)]
        parts = [data[a:b] for a, b in itertools.pairwise(marks)]
        i = rng.randrange(len(parts))
        if kind < 0.15:
            del parts[i]
        elif kind < 0.25:
            parts.insert(i, rng.choice(parts))
        elif kind < 0.4:
            parts[i] = rng.choice(pickletools.opcodes).code.encode("latin-1") + parts[i][1:]
        elif kind < 0.5:
            j = rng.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
        else:
            parts[i] = parts[i][:1] + scramble(parts[i][1:], rng) if len(parts[i]) > 1 else parts[i]
        return {"": b"".join(parts)}
    return {"": scramble(data, rng) if kind < 0.93 else cut(data, rng)}


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """The arrays in what the unpickler gives, by their place in it."""
    try:
        value = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:
        return {"*": of_error(error)}
    out: Summary = {}
    _collect(value, "", out, 0)
    return out


def _collect(value: Any, name: str, out: Summary, depth: int) -> None:
    if isinstance(value, np.ndarray):
        out[name] = summary_of(lambda: value[box_of(value.shape, value.dtype.itemsize)], value.shape)
    elif isinstance(value, dict) and depth < 20:
        for key, item in value.items():
            if isinstance(key, (str, int)):
                _collect(item, f"{name}/{key}".lstrip("/"), out, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 20:
        for i, item in enumerate(value):
            _collect(item, f"{name}/{i}".lstrip("/"), out, depth + 1)


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """packstore serves arrays of a pickle whose other objects it does not look at."""
    if "is not for this test" in str(reference):
        return "a class that the reference's unpickler does not find"
    if "unregistered extension code" in str(reference):
        return "an object of another package, which is not looked at"
    if reference[0] == "error" and any(row[0] == "error" for row in subject.values()):
        return "another object of the pickle is refused, which stops the unpickler for all"
    return None
