"""References: a saved file goes in, the JSON by which fsspec and zarr read it where it lies comes out.

Format: kerchunk's version 1 (https://fsspec.github.io/kerchunk/spec.html): keys of a zarr v2 hierarchy, each with its
content or with a path, an offset and a length. Codecs are numcodecs', so whoever has zarr and fsspec reads it, without
packstore; only packed bits need it for their codec.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from packstore.codecs.hdf5.base import FilterSpec
from packstore.errors import OptionError, UnsupportedError, message
from packstore.readers.find import find_array
from packstore.readers.hdf5.types.convert import NamedBool
from packstore.readers.joined import locate_all
from packstore.readers.location import Location
from packstore.source import masked
from packstore.source.remote.urls import is_url
from packstore.storage import Attributes, GridStorage, ManifestArray, missing_value
from packstore.storage.bits import PackedBits
from packstore.storage.chain import Chain
from packstore.storage.filters import FilterDecoder
from packstore.storage.places import MISSING, OneRange, TablePlaces
from packstore.storage.plain import PlainBytes
from packstore.storage.read import read_box
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.fill_values import FILL_VALUE
from packstore.writers.atomic import atomic_target
from packstore.writers.json_attributes import json_attributes

__all__ = ["References", "to_references"]

Json = dict[str, Any]
# Chunks of an array in one piece have about so many bytes, where such pieces divide it evenly.
PIECE_NBYTES = 8 << 20
DIMENSIONS = "_ARRAY_DIMENSIONS"


class References(dict[str, Any]):
    """References as kerchunk has them: ``{"version": 1, "refs": {…}}``.

    Parameters
    ----------
    refs
        Content, or path, offset and length, by key.
    unsupported
        Path of each array that is left out, and why.
    """

    def __init__(self, refs: Json, unsupported: Mapping[str, str]) -> None:
        super().__init__(version=1, refs=refs)
        self.unsupported = dict(unsupported)


class _NotExpressedError(Exception):
    """Why an array cannot be written as references."""


def to_references(  # noqa: PLR0913  # Each is a word of its own that users type.
    path: Any,
    component: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    inline_nbytes: int = 500,
    skip_unsupported: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> References:
    """Say where the chunks of a saved file lie, for fsspec's reference file system; nothing is copied.

    Parameters
    ----------
    path
        A file, as `packstore.open_group` takes it: npy, npz with stored members, raw and packed bits, HDF5, NetCDF.
    component
        The one array that is wanted; None: all.
    out
        Where the JSON goes, too; None: nowhere.
    format
        Of the file that is read; None: told by its content.
    overwrite
        Whether `out` may replace a file.
    inline_nbytes
        Arrays of at most so many bytes are in the references themselves.
    skip_unsupported
        Leave out what cannot be expressed, and list it in the result's `unsupported`.
    storage_options, **reader_options
        As `packstore.open_group`.

    Returns
    -------
    dict
        For ``fsspec.filesystem("reference", fo=…)`` and `kerchunk.combine`; its `unsupported` says what is left out.

    Raises
    ------
    UnsupportedError
        An array whose codecs, type or place have no such form; the text says why.
    OptionError
        The URL holds a password or a signature, which would be in the references.
    TargetExistsError
        `out` is there and `overwrite` is false.
    PackstoreError
        As `packstore.open_group`.

    Notes
    -----
    Reads headers and indexes, and small arrays. Fill values follow xarray: what `_FillValue` says, else none where none
    is needed. Where chunks were never written it is what they hold, if that is not zero; xarray masks it.

    Examples
    --------
    >>> import fsspec, numpy as np, packstore, pathlib, tempfile, zarr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(1000).reshape(10, 100))
    >>> found = packstore.to_references(path)
    >>> found["refs"]["a/0.0"][2]
    8000
    """
    location, left = locate_all(path, component, format=format, storage_options=storage_options, **reader_options)
    if not isinstance(location, Location) or location.format in ("zarr", "zarr_zip"):
        got = "several files" if not isinstance(location, Location) else "zarr"
        hint = "Open it with zarr itself" if got == "zarr" else "Make those of each, and combine them with kerchunk"
        raise UnsupportedError(
            message("referring to", location.path, expected="one file of another format", got=got, hint=hint)
        )
    where = location.fingerprint.path
    if is_url(where) and masked(where) != where:
        expected = "a URL without secrets, which would be in the references"
        raise OptionError(message("referring to", location.path, expected=expected, got=masked(where)))
    manifest = location.manifest()
    if left is None:
        arrays = dict(manifest.arrays)
        # Dimensions without a variable have no elements, and attributes are listed by others.
        refused = {n: why for n, why in manifest.unsupported.items() if n not in manifest.unlisted and "@" not in n}
    else:
        name, array = find_array(location, left)
        arrays, refused = {name: array}, {}
    refs: Json = {}
    if list(arrays) != [""]:
        for group in sorted({"", *(manifest.groups if left is None else ()), *_parents(arrays)}):
            attributes, _ = json_attributes(manifest.groups.get(group, {}), group)
            refs |= _documents(group, ".zgroup", {"zarr_format": 2}, attributes)
    for name, array in arrays.items():
        try:
            refs |= _array(where, name, array, inline_nbytes)
        except _NotExpressedError as why:
            refused[name] = str(why)
    if refused and not skip_unsupported:
        name, reason = next(iter(refused.items()))
        hint = "Leave such arrays out with skip_unsupported=True, or save a copy"
        raise UnsupportedError(
            message("referring to", location.path, name or None, expected="a form that zarr has", got=reason, hint=hint)
        )
    found = References(refs, refused)
    if out is not None:
        with atomic_target(os.fspath(out), overwrite=overwrite, folder=False) as target:
            Path(target).write_text(json.dumps(found), encoding="utf-8")
    return found


def _parents(arrays: Mapping[str, Any]) -> set[str]:
    return {"/".join(name.split("/")[:i]) for name in arrays for i in range(1, name.count("/") + 1)}


def _documents(path: str, name: str, document: Json, attributes: Mapping[str, Any]) -> Json:
    prefix = f"{path}/" if path else ""
    return {prefix + name: json.dumps(document), prefix + ".zattrs": json.dumps(dict(attributes))}


def _array(where: str, name: str, array: ManifestArray, inline_nbytes: int) -> Json:
    """Metadata and chunks of one array."""
    unseen = array.attributes.unseen if isinstance(array.attributes, Attributes) else frozenset()
    seen = {n: value for n, value in array.attributes.items() if n not in unseen}
    attributes, _ = json_attributes(seen, name)
    fill = attributes.pop(FILL_VALUE, None) if array.dtype.kind in "biuf" else None
    given = array.attributes.get(FILL_VALUE) if fill is not None else None
    if array.dimension_names is not None:
        attributes[DIMENSIONS] = [n or f"dim_{i}" for i, n in enumerate(array.dimension_names)]
    elif not names.is_text(array.dtype):
        attributes[DIMENSIONS] = [f"{name.rpartition('/')[2] or 'data'}_dim_{i}" for i in range(len(array.shape))]
    document = _document(array, given)
    prefix = f"{name}/" if name else ""
    if not array.dtype.hasobject and array.nbytes <= inline_nbytes:
        values = np.ascontiguousarray(read_box(array, tuple(slice(0, n, 1) for n in array.shape)))
        document |= {"chunks": [max(n, 1) for n in array.shape], "order": "C", "filters": None, "compressor": None}
        chunks: Json = {}
        if array.size:
            chunks[prefix + _key((0,) * len(array.shape))] = "base64:" + base64.b64encode(values.tobytes()).decode()
    else:
        layout, pieces = _layout(array)
        document |= layout
        chunks = {}
        for coords, offset, nbytes in pieces:
            chunks[prefix + _key(coords)] = [where, int(offset), int(nbytes)]
        grid = math.prod(-(-n // c) for n, c in zip(array.shape, document["chunks"], strict=True))
        if len(chunks) < grid:
            document["fill_value"] = _missing(array, document["fill_value"])
    return _documents(name, ".zarray", document, attributes) | chunks


def _key(coords: tuple[int, ...]) -> str:
    return ".".join(map(str, coords)) or "0"


def _document(array: ManifestArray, fill: Any) -> Json:
    dtype = array.dtype
    if dtype.hasobject or dtype.kind not in "biufcmMSUV" or dtype.names is not None or dtype.itemsize == 0:
        raise _NotExpressedError(f"elements of type {dtype}")
    if dtype.kind in "fc" and dtype.itemsize // (2 if dtype.kind == "c" else 1) > 8:
        raise _NotExpressedError(f"elements of type {dtype}")
    if any(n == 0 for n in array.shape):
        fill = None
    return {
        "zarr_format": 2,
        "shape": list(array.shape),
        "dtype": dtype.str,
        "fill_value": None if fill is None else _fill(array, fill),
        "dimension_separator": ".",
    }


def _fill(array: ManifestArray, value: Any) -> Any:
    while isinstance(value, (list, np.ndarray)) and np.size(value) == 1 and not np.isscalar(value):
        value = np.asarray(value).reshape(-1)[0]
    plain = np.asarray(value).astype(array.dtype)[()] if array.dtype.kind in "biuf" else value
    if array.dtype.kind == "f" and not np.isfinite(plain):
        return "NaN" if np.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
    return plain.item() if isinstance(plain, np.generic) and array.dtype.kind in "biuf" else None


def _missing(array: ManifestArray, masked_value: Any) -> Any:
    """The fill value of an array of which chunks were never written; `masked_value` is what `_FillValue` says."""
    kind = array.dtype.kind
    held = np.asarray(missing_value(array)).astype(array.dtype)
    if masked_value is not None:
        if _fill(array, held) != masked_value:
            raise _NotExpressedError("chunks that were never written, and a _FillValue other than what they hold")
        return masked_value
    if not any(held.tobytes()) and kind not in "mM":
        return None
    if kind not in "biuf":
        raise _NotExpressedError(f"chunks that were never written, of {array.dtype}")
    return _fill(array, held)


def _layout(array: ManifestArray) -> tuple[Json, Iterator[tuple[tuple[int, ...], int, int]]]:
    """Chunks and codecs of an array, and the coordinates, offset and length of each chunk that is stored."""
    storage = array.storage
    if not isinstance(storage, GridStorage):
        raise _NotExpressedError("it is put together when it is read")
    chain, places = storage.chain, storage.places
    order = _order(chain, array)
    if isinstance(places, OneRange):
        return _one_piece(array, chain, places, order)
    if not isinstance(places, TablePlaces):
        raise _NotExpressedError(f"chunks in {type(places).__name__}")
    if places.filter_mask is not None and np.any(places.filter_mask):
        raise _NotExpressedError("chunks of which some filters were not applied")
    compressor, filters = _codecs(chain)
    layout = {"chunks": list(storage.chunk_shape), "order": order, "compressor": compressor, "filters": filters or None}
    offsets, nbytes = places.offsets, places.nbytes

    def pieces() -> Iterator[tuple[tuple[int, ...], int, int]]:
        if places.nothing_stored():
            return
        for cell in np.argwhere(offsets != MISSING).tolist():
            yield tuple(cell), offsets.item(*cell), nbytes.item(*cell)

    return layout, pieces()


def _order(chain: Chain, array: ManifestArray) -> str:
    ndim = len(array.shape)
    if chain.order is None or ndim < 2:
        return "C"
    if chain.order == tuple(reversed(range(ndim))):
        return "F"
    raise _NotExpressedError(f"axes in the order {chain.order}")


def _one_piece(
    array: ManifestArray, chain: Chain, places: Any, order: str
) -> tuple[Json, Iterator[tuple[tuple[int, ...], int, int]]]:
    """An array in one run of bytes, cut along its slowest axis where that leaves no rest."""
    if places.space.decoded_from() is not None:
        raise _NotExpressedError("bytes that are decoded as a whole (a compressed member)")
    _, filters = _codecs(chain)
    shape = list(array.shape)
    chunks = [max(n, 1) for n in shape]
    layout = {"chunks": chunks, "order": order, "compressor": None, "filters": filters or None}
    axis = len(shape) - 1 if order == "F" else 0
    if not filters and shape and shape[axis] > 1:
        row = places.nbytes // shape[axis]
        wanted = max(PIECE_NBYTES // max(row, 1), 1)
        rows = max(n for n in range(1, min(wanted, shape[axis]) + 1) if shape[axis] % n == 0)
        if 8 * rows >= min(wanted, shape[axis]):
            chunks[axis] = rows
            count = shape[axis] // rows
            nbytes = rows * row
            cells = (tuple(i if a == axis else 0 for a in range(len(shape))) for i in range(count))
            return layout, ((cell, places.offset + i * nbytes, nbytes) for i, cell in enumerate(cells))
    return layout, iter([((0,) * len(shape), places.offset, places.nbytes)] if array.size else [])


def _codecs(chain: Chain) -> tuple[Json | None, list[Json]]:
    """The compressor and the filters, in the order of writing, as numcodecs names them."""
    if chain.convert is not None:
        same = isinstance(chain.serializer, PlainBytes) and chain.serializer.dtype.itemsize == 1
        # Bools that HDF5 has as an enumeration of bytes are zarr's bools.
        if not same or not isinstance(chain.convert, NamedBool):
            raise _NotExpressedError(f"elements that are converted ({type(chain.convert).__name__})")
    serializer = chain.serializer
    filters: list[Json] = []
    if isinstance(serializer, PackedBits):
        filters.append(_bitpack(serializer))
    elif not isinstance(serializer, PlainBytes) or serializer.step is not None:
        raise _NotExpressedError("elements that do not lie one behind the other")
    if chain.decoder is None:
        return None, filters
    if not isinstance(chain.decoder, FilterDecoder):
        raise _NotExpressedError(f"the codecs {', '.join(chain.decoder.names)}")
    found = [_numcodec(spec) for spec in chain.decoder.filters]
    return (found[-1], filters + found[:-1]) if found else (None, filters)


def _bitpack(serializer: PackedBits) -> Json:
    packed = serializer.packed
    if packed.bytes_axis not in (None, len(packed.shape) - 1) or not packed.layout.is_bool:
        raise _NotExpressedError("bits that are packed along another axis than the last, or several to an element")
    rest = packed.shape[-1] % 8 if packed.bytes_axis is not None else math.prod(packed.shape) % 8
    if rest or packed.padding_encoding not in (None, "none"):
        raise _NotExpressedError("packed bits that are no whole bytes")
    return {"id": "bitpack", "dtype": "|b1", "padding_encoding": "none", "bitorder": packed.bitorder}


def _numcodec(spec: FilterSpec) -> Json:
    values = spec.client_values
    if spec.id == 1:
        return {"id": "zlib", "level": values[0] if values else 1}
    if spec.id == 2 and values:
        return {"id": "shuffle", "elementsize": values[0]}
    if spec.id == 3:
        return {"id": "fletcher32"}
    if spec.id == 307:
        return {"id": "bz2", "level": max(min(values[0] if values else 9, 9), 1)}
    if spec.id == 32001:
        return {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
    if spec.id == 32015:
        return {"id": "zstd", "level": 3}
    raise _NotExpressedError(f"{spec}, for which numcodecs has no codec")
