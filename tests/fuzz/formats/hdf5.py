"""HDF5: damage in headers, indexes and heaps whose checksums are computed again; h5py is the reference."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.formats.hdf5_seeds import seeds
from tests.fuzz.mutate import cut, scramble
from tests.fuzz.summary import MAX_ELEMENTS, Summary, box_of, of_array, of_error

__all__ = ["explained", "mutate", "reference", "seeds"]

# What starts a piece of metadata that ends with a checksum; the others end nowhere in particular.
_SUMMED = (b"\x89HDF\r\n\x1a\n", b"OHDR", b"OCHK", b"BTHD", b"BTLF", b"BTIN", b"FRHP", b"FHDB", b"FHIB", b"FSHD",
           b"FSSE", b"FAHD", b"FADB", b"EAHD", b"EAIB", b"EASB", b"EADB", b"SMTB", b"SMLI")  # fmt: skip
_PLAIN = (b"TREE", b"SNOD", b"HEAP", b"GCOL")
_MOST_NBYTES = 2048

_blocks_of: dict[bytes, tuple[list[tuple[int, int]], list[int]]] = {}


def _lookup3(data: bytes) -> bytes:
    from numcodecs.checksum32 import jenkins_lookup3

    return int(jenkins_lookup3(data, 0) & 0xFFFFFFFF).to_bytes(4, "little")


def _blocks(data: bytes) -> tuple[list[tuple[int, int]], list[int]]:
    """The checksummed pieces of a sound file, found by trying lengths, and the offsets of all metadata."""
    found = _blocks_of.get(data)
    if found is None:
        summed: list[tuple[int, int]] = []
        spots: list[int] = []
        for sign in _SUMMED + _PLAIN:
            at = -1
            while (at := data.find(sign, at + 1)) >= 0:
                end = next((n for n in range(at + 8, min(at + _MOST_NBYTES, len(data) - 3))
                            if data[n : n + 4] == _lookup3(data[at:n])), None) if sign in _SUMMED else None  # fmt: skip
                if end is not None:
                    summed.append((at, end))
                spots += range(at, min(at + 256, len(data)) if end is None else end)
        # Headers of the first version have no signature; they lie between the other pieces.
        spots += range(min(len(data), 2000))
        found = _blocks_of[data] = (summed, spots)
    return found


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Change metadata and set their checksums right, mostly; or change or cut anything."""
    data = files[""]
    if rng.random() < 0.04:
        return {"": cut(data, rng)}
    summed, spots = _blocks(data)
    out = bytearray(scramble(data, rng, spots if rng.random() < 0.8 else None, same_length=True))
    if rng.random() < 0.9:
        for start, end in summed:
            if out[start:end] != data[start:end]:
                out[end : end + 4] = _lookup3(bytes(out[start:end]))
    return {"": bytes(out)}


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """Every dataset by h5py; soft links are followed, groups through hard links only."""
    out: Summary = {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            if names is not None:
                for name in names:
                    out[name] = _read(file, name.encode("utf-8", "surrogateescape"))
                return out
            _walk(file, "", out, set())
    except Exception as error:
        out["*"] = of_error(error)
    return out


def _walk(group: h5py.Group, prefix: str, out: Summary, seen: set[int]) -> None:
    try:
        keys = list(group)
    except Exception:
        # What packstore finds in it all the same, it is asked for by its name.
        return
    for key in keys[:200]:
        name = f"{prefix}{key}"
        try:
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                continue
            found = group[key]
            if isinstance(found, h5py.Dataset):
                out[name] = _read(group, key)
                continue
            address = h5py.h5o.get_info(found.id).addr
        except Exception as error:
            out[name] = of_error(error)
            continue
        if isinstance(found, h5py.Group) and address not in seen and not isinstance(link, h5py.SoftLink):
            seen.add(address)
            _walk(found, name + "/", out, seen)


def _read(group: h5py.Group, name: str | bytes) -> list[Any]:
    try:
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset):
            return ["none", ""]
        if dataset.shape is None:
            return ["none", "a null dataspace"]
        box = box_of(dataset.shape, dataset.dtype.itemsize)
        if h5py.check_ref_dtype(dataset.dtype) is not None:
            return ["none", "references"]
        if dataset.dtype.itemsize > MAX_ELEMENTS:
            return ["none", "elements that are arrays of which packstore reads a part"]
    except Exception as error:
        return of_error(error)
    try:
        value = dataset[box]
    except Exception as error:
        return of_error(error)
    # The dimensions of an array type are no dimensions of the dataset for h5py.
    inner = np.shape(value)[len(box) :] if h5py.check_vlen_dtype(dataset.dtype) is None else ()
    return of_array(value, (*dataset.shape, *inner))


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """Where the two may differ."""
    if reference[0] == "none":
        return reference[1] or "h5py has something else there"
    if name.startswith("blosc") and "filter returned failure" in str(reference):
        return "damage in the trailer of a frame, or in parameters that the frame has too: neither is needed"
    # A member that numpy holds in a wider type; h5py's struct has the offsets of the file, where it overlaps the next.
    if reference[0] == "ok" and reference[2] == "(f8,f4)":
        return "h5py's members overlap"
    if "cannot override to smaller itemsize" in str(reference):
        return "the same, at the end of the struct"
    if "already open for write" in str(reference) or "Pinned entry count" in str(reference):
        return "flags and a list that say nothing of the arrays: a writer left the file open, or it does not close"
    if "no write intent on file" in str(reference):
        return "libhdf5 follows a reference that leads nowhere, to write"
    return None
