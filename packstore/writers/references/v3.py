"""References in the words of zarr v3: what a file holds goes in, metadata documents and chunks come out.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html; codecs without a specification of their own keep
numcodecs' names, as zarr-python and zarrs know them.
"""

from __future__ import annotations

from typing import Any

from packstore.source.remote.urls import is_url
from packstore.writers.references.described import ONLY, Json, NotExpressedError, Referred, ReferredFile

__all__ = ["documents_of", "url_of"]


def url_of(where: str) -> str:
    """The URL of an absolute path; a URL as it is.

    Examples
    --------
    >>> url_of("/data/x.npy"), url_of("s3://bucket/x.npy")
    ('file:///data/x.npy', 's3://bucket/x.npy')
    """
    return where if is_url(where) else f"file://{where}"


def documents_of(file: ReferredFile) -> dict[str, tuple[Json, Referred]]:
    """The ``zarr.json`` of each array by its path; arrays that v3 cannot have go to `file.refused`."""
    found = {}
    for name, array in file.arrays.items():
        try:
            found[name or ONLY] = _document(array), array
        except NotExpressedError as why:
            file.refused[name] = str(why)
    return found


def _document(found: Referred) -> Json:
    array = found.array
    # Function-level, for import time.
    from zarr.core.dtype import parse_dtype

    try:
        dtype = parse_dtype("string" if array.dtype.hasobject else array.dtype, zarr_format=3)
    except ValueError as why:
        raise NotExpressedError(str(why)) from None
    fill: Any = found.fill_value
    if fill is None:
        fill = dtype.to_json_scalar(dtype.default_scalar(), zarr_format=3)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": dtype.to_json(zarr_format=3),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": found.chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": _codecs(found),
        "attributes": found.attributes,
        "dimension_names": found.dims,
        "storage_transformers": [],
    }


def _codecs(found: Referred) -> list[Json]:
    array = found.array
    if array.dtype.hasobject:
        return [{"name": "vlen-utf8", "configuration": {}}]
    order = "big" if array.dtype.str[0] == ">" else "little"
    if array.dtype.names is not None and ">" in str(array.dtype.descr):
        raise NotExpressedError("fields in big-endian order")
    codecs: list[Json] = []
    if found.order == "F":
        axes = list(range(len(array.shape)))[::-1]
        codecs.append({"name": "transpose", "configuration": {"order": axes}})
    filters = list(found.filters)
    if filters and filters[0]["id"] == "bitpack":
        if filters.pop(0)["bitorder"] != "little":
            raise NotExpressedError("packed bits with the highest first, where zarr's packbits has the lowest first")
        codecs.append({"name": "packbits", "configuration": {"padding_encoding": "none"}})
    else:
        single = array.dtype.itemsize == 1 or array.dtype.kind == "S"
        codecs.append({"name": "bytes"} if single else {"name": "bytes", "configuration": {"endian": order}})
    return codecs + [_named(codec) for codec in (*filters, *([found.compressor] if found.compressor else []))]


def _named(codec: Json) -> Json:
    if codec["id"] == "zstd":
        return {"name": "zstd", "configuration": {"level": codec["level"], "checksum": False}}
    return {"name": f"numcodecs.{codec['id']}", "configuration": {k: v for k, v in codec.items() if k != "id"}}
