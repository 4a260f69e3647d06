"""npz: damaged members with right sums, and damaged zip records; numpy is the reference."""

from __future__ import annotations

import io
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from packstore.writers import save
from tests.fuzz.formats.npy import ARRAYS, mutate_npy
from tests.fuzz.mutate import cut, scramble
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["explained", "mutate", "reference", "seeds"]

_METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}
_METHODS["lzma"] = zipfile.ZIP_LZMA


def seeds() -> dict[str, bytes]:
    """One archive a method, one in zip64 records, one in blocks."""
    out = {}
    members = {name: ARRAYS[name] for name in ("int", "text", "struct")}
    for name, method in _METHODS.items():
        out[name] = _zip({key: _npy(array) for key, array in members.items()}, method)
    file = io.BytesIO()
    np.savez(file, **members)  # type: ignore[arg-type]
    out["numpy"] = file.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        save(path, {"a": np.arange(30000, dtype="i4") % 7, "b": np.arange(5.0)})
        out["blocks"] = path.read_bytes()
    return out


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(members: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data, method)
    return file.getvalue()


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Damage a member and zip it again, or the records of the archive, or any byte."""
    data = files[""]
    kind = rng.random()
    if kind < 0.3:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): archive.read(info) for info in archive.infolist()}
            method = archive.infolist()[0].compress_type
        name = rng.choice(list(members))
        members[name] = mutate_npy(rng, members[name])
        return {"": _zip(members, method)}
    if kind < 0.85:
        records = ((b"PK\3\4", 46), (b"PK\1\2", 56), (b"PK\5\6", 22), (b"PK\6\6", 56), (b"PK\6\7", 20))
        spots = [at + i for sign, size in records for at in _all(data, sign) for i in range(size)]
        return {"": scramble(data, rng, spots)}
    return {"": scramble(data, rng) if kind < 0.95 else cut(data, rng)}


def _all(data: bytes, sign: bytes) -> list[int]:
    found, at = [], -1
    while (at := data.find(sign, at + 1)) >= 0:
        found.append(at)
    return found


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """Every member by `np.load`."""
    out: Summary = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                return {"*": ["error", "no archive"]}
            for key in archive.files:
                try:
                    array = archive[key]
                    if not isinstance(array, np.ndarray):
                        out[key] = ["error", "no array"]
                        continue
                    out[key] = summary_of(
                        lambda array=array: array[box_of(array.shape, array.dtype.itemsize)],  # type: ignore[misc]
                        array.shape,
                    )
                except Exception as error:
                    out[key] = of_error(error)
    except Exception as error:
        return {"*": of_error(error)}
    return out


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """Where the two may differ."""
    return None
