"""Places and codecs of a saved file's arrays, as readers of zarr know them: a location goes in, `Referred` come out.

Chunks and codecs are those of zarr v2 (numcodecs' names), from which each target takes or translates what it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numcodecs.vlen import VLenUTF8

from packstore.codecs.hdf5.base import FilterSpec
from packstore.errors import OptionError, UnsupportedError, message
from packstore.readers.find import find_array
from packstore.readers.hdf5.types.convert import NamedBool
from packstore.readers.location import AnyLocation, Location
from packstore.source import masked
from packstore.source.held import HELD
from packstore.source.remote.urls import STORE_SCHEME, is_url
from packstore.storage import Attributes, GridStorage, ManifestArray, missing_value
from packstore.storage.bits import PackedBits
from packstore.storage.chain import Chain
from packstore.storage.filters import FilterDecoder
from packstore.storage.places import MISSING, OneRange, TablePlaces
from packstore.storage.plain import PlainBytes
from packstore.storage.read import read_box
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.fill_values import FILL_VALUE
from packstore.writers.json_attributes import json_attributes

__all__ = ["ONLY", "NotExpressedError", "Pieces", "Referred", "ReferredFile", "check_none_refused", "referred_file"]

Json = dict[str, Any]
Pieces = Iterator[tuple[tuple[int, ...], int, int]]
# Chunks of an array in one piece have about so many bytes, where such pieces divide it evenly.
PIECE_NBYTES = 8 << 20
# What an array is called that has no name of its own, where each must have one.
ONLY = "data"
# Texts of variable length that are written into the references themselves.
MAX_TEXTS = 10_000
TEXT = {"id": "vlen-utf8"}


class NotExpressedError(Exception):
    """Why an array cannot be written as references."""


@dataclass
class Referred:
    """One array, by where its chunks lie.

    Parameters
    ----------
    attributes
        What JSON can hold of them, without dimension names and fill value.
    dims
        A name for each axis; None for text, which has none in zarr v2.
    fill_value
        As zarr's JSON spells it; None: any.
    chunks, order, compressor, filters
        As in zarr v2's ``.zarray``.
    pieces
        Coordinates, offset and length of each chunk that is stored.
    inline
        The elements themselves, in one chunk of C order, without codecs but that of text; None: they lie in `pieces`.
    has_holes
        Whether chunks were never written.
    """

    array: ManifestArray
    attributes: Json
    dims: list[str] | None
    fill_value: Any
    chunks: list[int]
    order: str = "C"
    compressor: Json | None = None
    filters: list[Json] = field(default_factory=list)
    pieces: Pieces = field(default_factory=lambda: iter(()))
    inline: bytes | None = None
    has_holes: bool = False


@dataclass
class ReferredFile:
    """What a file holds, as references have it.

    Parameters
    ----------
    location
        The file.
    where
        Its absolute path, or its URL.
    arrays
        By path; "" for a file that is one array.
    groups
        Attributes of each group, of the root ("") too, unless the file is one array.
    refused
        Path of each array that has no such form, and why.
    """

    location: Location
    where: str
    arrays: dict[str, Referred]
    groups: dict[str, Json]
    refused: dict[str, str]


def referred_file(location: AnyLocation, component: str | None, inline_nbytes: int, *, skip: bool) -> ReferredFile:
    """Describe the arrays of a file, or the one array `component`.

    Raises
    ------
    UnsupportedError
        An array that has no such form, unless such are to be skipped; or a file that is zarr already.
    OptionError
        The URL holds a secret.
    """
    if not isinstance(location, Location) or location.format in ("zarr", "zarr_zip"):
        got = "several files" if not isinstance(location, Location) else "zarr"
        hint = "Open it with zarr itself" if got == "zarr" else "Make those of each, and combine them with kerchunk"
        raise UnsupportedError(
            message("referring to", location.path, expected="one file of another format", got=got, hint=hint)
        )
    where = location.fingerprint.path
    if where.startswith((HELD, STORE_SCHEME)):
        expected = "a file on a disk or behind a URL"
        raise UnsupportedError(message("referring to", location.path, expected=expected, got="one in memory"))
    if is_url(where) and masked(where) != where:
        expected = "a URL without secrets, which would be in the references"
        raise OptionError(message("referring to", location.path, expected=expected, got=masked(where)))
    manifest = location.manifest()
    if component is None:
        arrays = dict(manifest.arrays)
        # Dimensions without a variable have no elements, and attributes are listed by others.
        refused = {n: why for n, why in manifest.unsupported.items() if n not in manifest.unlisted and "@" not in n}
    else:
        name, array = find_array(location, component)
        arrays, refused = {name: array}, {}
    groups: dict[str, Json] = {}
    if list(arrays) != [""]:
        for group in sorted({"", *(manifest.groups if component is None else ()), *_parents(arrays)}):
            groups[group] = dict(json_attributes(manifest.groups.get(group, {}), group)[0])
    found: dict[str, Referred] = {}
    for name, array in arrays.items():
        try:
            found[name] = _referred(name, array, inline_nbytes)
        except NotExpressedError as why:
            refused[name] = str(why)
    whole = ReferredFile(location, where, found, groups, refused)
    if not skip:
        check_none_refused(whole)
    return whole


def check_none_refused(file: ReferredFile) -> None:
    """Raise UnsupportedError for the first array that has no such form."""
    for name, reason in file.refused.items():
        hint = "Leave such arrays out with skip_unsupported=True, or save a copy"
        path = file.location.path
        raise UnsupportedError(
            message("referring to", path, name or None, expected="a form that zarr has", got=reason, hint=hint)
        )


def _parents(arrays: Mapping[str, Any]) -> set[str]:
    return {"/".join(name.split("/")[:i]) for name in arrays for i in range(1, name.count("/") + 1)}


def _referred(name: str, array: ManifestArray, inline_nbytes: int) -> Referred:
    unseen = array.attributes.unseen if isinstance(array.attributes, Attributes) else frozenset()
    seen = {n: value for n, value in array.attributes.items() if n not in unseen}
    attributes = dict(json_attributes(seen, name)[0])
    fill = attributes.pop(FILL_VALUE, None) if array.dtype.kind in "biuf" else None
    given = array.attributes.get(FILL_VALUE) if fill is not None else None
    dims: list[str] | None = None
    if array.dimension_names is not None:
        dims = [n or f"dim_{i}" for i, n in enumerate(array.dimension_names)]
    elif not names.is_text(array.dtype):
        dims = [f"{name.rpartition('/')[2] or 'data'}_dim_{i}" for i in range(len(array.shape))]
    whole = [max(n, 1) for n in array.shape]
    if names.is_text(array.dtype):
        return Referred(array, attributes, dims, "", whole, filters=[dict(TEXT)], inline=_text(array))
    found = Referred(array, attributes, dims, _first_fill(array, given), whole)
    if array.nbytes <= inline_nbytes:
        found.inline = np.ascontiguousarray(_values(array)).tobytes()
        return found
    stored = _lay_out(array, found)
    grid = math.prod(-(-n // c) for n, c in zip(array.shape, found.chunks, strict=True))
    found.has_holes = stored < grid
    if found.has_holes:
        found.fill_value = _missing(array, found.fill_value)
    return found


def _values(array: ManifestArray) -> Any:
    return read_box(array, tuple(slice(0, n, 1) for n in array.shape))


def _text(array: ManifestArray) -> bytes:
    """Text of variable length, as zarr's codec vlen-utf8 has it: there is no other form, so it is always inline."""
    if array.size > MAX_TEXTS:
        raise NotExpressedError(f"more than {MAX_TEXTS} texts of variable length")
    texts = np.array([_one_text(value) for value in np.asarray(_values(array), "O").reshape(-1)] or [""], "O")
    return bytes(VLenUTF8().encode(texts[: array.size])) if array.size else b""


def _one_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value == 0:  # never written
        return ""
    try:
        return bytes(value).decode()
    except (TypeError, UnicodeDecodeError):
        raise NotExpressedError("text that is no UTF-8") from None


def _is_plain_struct(dtype: np.dtype[Any]) -> bool:
    """Whether fields lie one behind the other, and are numbers or text."""
    at, fields = 0, dict(dtype.fields or {})
    for name in dtype.names or ():
        kind, offset = fields[name][:2]
        if offset != at or kind.names is not None or kind.kind not in "biufcSU":
            return False
        at += kind.itemsize
    return at == dtype.itemsize


def _first_fill(array: ManifestArray, given: Any) -> Any:
    """The fill value as `_FillValue` (`given`) has it; raises NotExpressedError for types that zarr does not have."""
    dtype = array.dtype
    if dtype.names is not None:
        if not _is_plain_struct(dtype):
            raise NotExpressedError(f"elements of type {dtype}")
    elif (
        dtype.hasobject
        or dtype.kind not in "biufcmMSUV"
        or dtype.itemsize == 0
        or (dtype.kind in "fc" and dtype.itemsize // (2 if dtype.kind == "c" else 1) > 8)
    ):
        raise NotExpressedError(f"elements of type {dtype}")
    return None if given is None or any(n == 0 for n in array.shape) else _fill(array, given)


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
            raise NotExpressedError("chunks that were never written, and a _FillValue other than what they hold")
        return masked_value
    if not any(held.tobytes()) and kind not in "mM":
        return None
    if kind not in "biuf":
        raise NotExpressedError(f"chunks that were never written, of {array.dtype}")
    return _fill(array, held)


def _lay_out(array: ManifestArray, found: Referred) -> int:
    """Set the chunks, the codecs and the pieces of `found`; returns how many pieces there are."""
    storage = array.storage
    if not isinstance(storage, GridStorage):
        raise NotExpressedError("it is put together when it is read")
    chain, places = storage.chain, storage.places
    found.order = _order(chain, array)
    if isinstance(places, OneRange):
        return _one_piece(array, chain, places, found)
    if not isinstance(places, TablePlaces):
        raise NotExpressedError(f"chunks in {type(places).__name__}")
    if places.filter_mask is not None and np.any(places.filter_mask):
        raise NotExpressedError("chunks of which some filters were not applied")
    found.compressor, found.filters = _codecs(chain)
    found.chunks = list(storage.chunk_shape)
    if places.nothing_stored():
        return 0
    offsets, nbytes = places.offsets, places.nbytes
    cells = np.argwhere(offsets != MISSING).tolist()
    found.pieces = ((tuple(cell), offsets.item(*cell), nbytes.item(*cell)) for cell in cells)
    return len(cells)


def _order(chain: Chain, array: ManifestArray) -> str:
    ndim = len(array.shape)
    if chain.order is None or ndim < 2:
        return "C"
    if chain.order == tuple(reversed(range(ndim))):
        return "F"
    raise NotExpressedError(f"axes in the order {chain.order}")


def _one_piece(array: ManifestArray, chain: Chain, places: Any, found: Referred) -> int:
    """An array in one run of bytes, cut along its slowest axis where that leaves no rest."""
    if places.space.decoded_from() is not None:
        raise NotExpressedError("bytes that are decoded as a whole (a compressed member)")
    _, found.filters = _codecs(chain)
    shape = list(array.shape)
    found.chunks = [max(n, 1) for n in shape]
    axis = len(shape) - 1 if found.order == "F" else 0
    if not found.filters and shape and shape[axis] > 1:
        row = places.nbytes // shape[axis]
        wanted = max(PIECE_NBYTES // max(row, 1), 1)
        rows = max(n for n in range(1, min(wanted, shape[axis]) + 1) if shape[axis] % n == 0)
        if 8 * rows >= min(wanted, shape[axis]):
            found.chunks[axis] = rows
            count = shape[axis] // rows
            nbytes = rows * row
            cells = (tuple(i if a == axis else 0 for a in range(len(shape))) for i in range(count))
            found.pieces = ((cell, places.offset + i * nbytes, nbytes) for i, cell in enumerate(cells))
            return count
    if array.size:
        found.pieces = iter([((0,) * len(shape), places.offset, places.nbytes)])
    return int(array.size > 0)


def _codecs(chain: Chain) -> tuple[Json | None, list[Json]]:
    """The compressor and the filters, in the order of writing, as numcodecs names them."""
    if chain.convert is not None:
        same = isinstance(chain.serializer, PlainBytes) and chain.serializer.dtype.itemsize == 1
        # Bools that HDF5 has as an enumeration of bytes are zarr's bools.
        if not same or not isinstance(chain.convert, NamedBool):
            raise NotExpressedError(f"elements that are converted ({type(chain.convert).__name__})")
    serializer = chain.serializer
    filters: list[Json] = []
    if isinstance(serializer, PackedBits):
        filters.append(_bitpack(serializer))
    elif not isinstance(serializer, PlainBytes) or serializer.step is not None:
        raise NotExpressedError("elements that do not lie one behind the other")
    if chain.decoder is None:
        return None, filters
    if not isinstance(chain.decoder, FilterDecoder):
        raise NotExpressedError(f"the codecs {', '.join(chain.decoder.names)}")
    found = [_numcodec(spec) for spec in chain.decoder.filters]
    return (found[-1], filters + found[:-1]) if found else (None, filters)


def _bitpack(serializer: PackedBits) -> Json:
    packed = serializer.packed
    if packed.bytes_axis not in (None, len(packed.shape) - 1) or not packed.layout.is_bool:
        raise NotExpressedError("bits that are packed along another axis than the last, or several to an element")
    rest = packed.shape[-1] % 8 if packed.bytes_axis is not None else math.prod(packed.shape) % 8
    if rest or packed.padding_encoding not in (None, "none"):
        raise NotExpressedError("packed bits that are no whole bytes")
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
    raise NotExpressedError(f"{spec}, for which numcodecs has no codec")
