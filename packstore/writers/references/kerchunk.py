"""Kerchunk's references: what a file holds goes in, a dict for JSON, or a folder of parquet files, comes out.

Formats: https://fsspec.github.io/kerchunk/spec.html, version 1: keys of a zarr v2 hierarchy, each with its content, or
with a path, an offset and a length; and fsspec's table of them in parquet
(https://filesystem-spec.readthedocs.io/en/latest/api.html#fsspec.implementations.reference.LazyReferenceMapper).
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from packstore.errors import MissingPackageError, message
from packstore.writers.atomic import atomic_target
from packstore.writers.references.described import ONLY, Json, Referred, ReferredFile, check_none_refused

__all__ = ["as_refs", "fit_tables", "write_json", "write_parquet"]

DIMENSIONS = "_ARRAY_DIMENSIONS"
# Chunks in one file of the table, which is what a reader loads at a time.
RECORDS = 10_000


def as_refs(file: ReferredFile) -> Json:
    """Content, or path, offset and length, by key."""
    refs: Json = {}
    for group, attributes in file.groups.items():
        refs |= _documents(group, ".zgroup", {"zarr_format": 2}, attributes)
    for name, array in file.arrays.items():
        refs |= _array(file.where, name, array)
    return refs


def fit_tables(file: ReferredFile, *, skip: bool) -> None:
    """Give an array without a name one, and take out arrays whose chunks are not all there.

    fsspec's tables are below arrays' names, and it reads the rows of such chunks as errors.

    Raises
    ------
    UnsupportedError
        There is one, unless such are to be skipped.
    """
    if "" in file.arrays:
        file.arrays[ONLY] = file.arrays.pop("")
        file.groups[""] = {}
    for name in [name for name, array in file.arrays.items() if array.has_holes]:
        del file.arrays[name]
        file.refused[name] = "chunks that were never written, for which fsspec's tables have no place"
    if not skip:
        check_none_refused(file)


def write_json(out: str, refs: Json, *, overwrite: bool) -> None:
    """Write references as one JSON file, which replaces another only as a whole."""
    with atomic_target(out, overwrite=overwrite, folder=False) as target:
        Path(target).write_text(json.dumps(refs), encoding="utf-8")


def write_parquet(out: str, refs: Json, *, overwrite: bool) -> None:
    """Write references as a folder of parquet files.

    Raises
    ------
    MissingPackageError
        kerchunk, pandas, or what writes parquet, is not installed.
    """
    # Function-level, for import time.
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.implementations.reference import LazyReferenceMapper

    with atomic_target(out, overwrite=overwrite, folder=True) as target:
        os.makedirs(target, exist_ok=True)
        try:
            table = LazyReferenceMapper.create(os.fspath(target), fs=LocalFileSystem(), record_size=RECORDS)
            for key in sorted(refs, key=lambda key: not key.rpartition("/")[2].startswith(".z")):
                table[key] = _plain(refs[key])
            table.flush()
        except ImportError as why:
            hint = "pip install kerchunk pandas fastparquet"
            expected = "the packages that write parquet"
            raise MissingPackageError(message("writing", out, expected=expected, got=str(why), hint=hint)) from None


def _plain(value: Any) -> Any:
    """A value as the table takes it: bytes, or a list."""
    if isinstance(value, list):
        return value
    return base64.b64decode(value[len("base64:") :]) if value.startswith("base64:") else value.encode()


def _documents(path: str, name: str, document: Json, attributes: Json) -> Json:
    prefix = f"{path}/" if path else ""
    return {prefix + name: json.dumps(document), prefix + ".zattrs": json.dumps(attributes)}


def _array(where: str, name: str, found: Referred) -> Json:
    """Metadata and chunks of one array."""
    dtype = found.array.dtype
    document = {
        "zarr_format": 2,
        "shape": list(found.array.shape),
        "dtype": "|O" if dtype.hasobject else dtype.str if dtype.names is None else _fields(dtype),
        "fill_value": found.fill_value,
        "dimension_separator": ".",
        "chunks": found.chunks,
        "order": found.order,
        "filters": found.filters or None,
        "compressor": found.compressor,
    }
    prefix = f"{name}/" if name else ""
    refs = _documents(
        name, ".zarray", document, found.attributes | ({} if found.dims is None else {DIMENSIONS: found.dims})
    )
    if found.inline:
        refs[prefix + _key((0,) * len(found.chunks))] = "base64:" + base64.b64encode(found.inline).decode()
    for coords, offset, nbytes in found.pieces:
        refs[prefix + _key(coords)] = [where, int(offset), int(nbytes)]
    return refs


def _fields(dtype: Any) -> list[Any]:
    """A structured dtype as zarr v2 has it in JSON."""
    return [[name, _fields(kind) if isinstance(kind, list) else kind, *shape] for name, kind, *shape in dtype.descr]


def _key(coords: tuple[int, ...]) -> str:
    return ".".join(map(str, coords)) or "0"
