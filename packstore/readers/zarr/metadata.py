"""Array metadata of zarr directories: what the direct path needs to know, and when it must leave the array to zarr.

Sources: the Zarr v3 core specification (https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html) and the v2
storage specification (https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html). Only what is written exactly as they
say is taken; anything else, extensions and slips that zarr forgives included, is zarr's to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from packstore.codecs.bits.layout import check_config
from packstore.errors import CodecConfigError, DtypeError, PackstoreError
from packstore.readers.zarr.byte_codecs import ByteCodec, byte_codec, numcodecs_codec
from packstore.readers.zarr.data_types import data_type_v2, data_type_v3
from packstore.readers.zarr.decoder import ByteCodecs
from packstore.readers.zarr.filtered import Filtered
from packstore.readers.zarr.shards import Sharded
from packstore.storage.bits import PackedBits
from packstore.storage.chain import Chain, Serializer
from packstore.storage.plain import PlainBytes

__all__ = ["Layout", "NotDirectError", "chunk_keys", "parse_v2", "parse_v3"]

Json = Mapping[str, Any]

_V3_KEYS = {
    "zarr_format",
    "node_type",
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "fill_value",
    "codecs",
    "attributes",
    "dimension_names",
    "storage_transformers",
}
# Filters of zarr v2 whose numcodecs implementation takes and gives plain buffers.
_V2_FILTERS = frozenset({"bitpack", "packbits", "shuffle", "delta"})
# What foreign JSON can make the parsing below raise.
_BAD_JSON = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


class NotDirectError(Exception):
    """The direct path does not know this array; zarr may."""


@dataclass(frozen=True, eq=False)
class Layout:
    """An array as the direct path sees it.

    Parameters
    ----------
    grid_chunk_shape
        Elements a stored object (a chunk or a shard).
    chunk_shape
        Elements an inner chunk, where the array is sharded; else the same.
    key
        Prefix, separator and the whole key of the chunk of a 0-d array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grid_chunk_shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    fill_value: Any
    chain: Chain
    key: tuple[str, str, str]
    attributes: Json
    dimension_names: tuple[str | None, ...] | None = None

    def chunk_key(self, coords: tuple[int, ...]) -> str:
        """Path of a chunk below the array's directory."""
        prefix, separator, scalar = self.key
        return prefix + separator.join(map(str, coords)) if coords else scalar


def parse_v3(document: Json) -> Layout:
    """Read a ``zarr.json`` of an array.

    Raises
    ------
    NotDirectError
        Anything out of the ordinary.
    """
    try:
        return _parse_v3(document)
    except _BAD_JSON as error:
        raise NotDirectError(f"{type(error).__name__}: {error}") from error


def _parse_v3(document: Json) -> Layout:
    for key in document.keys() - _V3_KEYS:
        extra = document[key]
        _need(isinstance(extra, Mapping) and extra.get("must_understand") is False, f"the field {key!r}")
    _need(document["zarr_format"] == 3 and document["node_type"] == "array", "the node type")
    _need(document.get("storage_transformers") in (None, []), "storage transformers")
    shape = _lengths(document["shape"], 0)
    name, config = _named(document["chunk_grid"])
    _need(name == "regular" and config.keys() == {"chunk_shape"}, f"the chunk grid {name!r}")
    chunk_shape = _lengths(config["chunk_shape"], 1)
    _need(len(chunk_shape) == len(shape), "the rank of the chunks")
    dtype, fill = data_type_v3(document["data_type"], document["fill_value"])
    dtype = _direct_dtype(dtype)
    chain = _chain(document["codecs"], chunk_shape, dtype, _fill(fill, dtype))
    names = document.get("dimension_names")
    if names is not None:
        _need(len(names) == len(shape) and all(n is None or isinstance(n, str) for n in names), "dimension names")
    attributes = document.get("attributes")
    attributes = {} if attributes is None else attributes
    _need(isinstance(attributes, Mapping), "attributes")
    sharded = chain.serializer if len(document["codecs"]) == 1 else None
    return Layout(
        shape,
        dtype,
        chunk_shape,
        sharded.inner.shape if isinstance(sharded, Sharded) else chunk_shape,
        _fill(fill, dtype),
        chain,
        _v3_key(document["chunk_key_encoding"]),
        attributes,
        None if names is None else tuple(names),
    )


def parse_v2(document: Json, attributes: Json) -> Layout:
    """Read a ``.zarray`` document.

    Raises
    ------
    NotDirectError
        Anything out of the ordinary.
    """
    try:
        return _parse_v2(document, attributes)
    except _BAD_JSON as error:
        raise NotDirectError(f"{type(error).__name__}: {error}") from error


def _parse_v2(document: Json, attributes: Json) -> Layout:
    _need(document["zarr_format"] == 2, "the zarr format")
    shape, chunk_shape = _lengths(document["shape"], 0), _lengths(document["chunks"], 1)
    _need(len(chunk_shape) == len(shape), "the rank of the chunks")
    dtype, fill = data_type_v2(document["dtype"], document["fill_value"])
    dtype = _direct_dtype(dtype)
    separator = document.get("dimension_separator", ".")
    _need(separator in (".", "/"), "the dimension separator")
    order = document["order"]
    _need(order in ("C", "F"), "the order")
    axes = tuple(reversed(range(len(shape)))) if order == "F" and len(shape) > 1 else None
    stored_shape = chunk_shape[::-1] if axes else chunk_shape
    serializer: Serializer = PlainBytes(stored_shape, dtype, dtype)
    filters: Any = document["filters"]
    _need(filters is None or isinstance(filters, list), "filters that are no list")
    filters = filters or ()
    for config in filters:
        _need(config["id"] in _V2_FILTERS, f"the filter {config['id']!r}")
    if len(filters) == 1 and filters[0]["id"] in ("bitpack", "packbits"):
        serializer = _packed_filter(filters[0], stored_shape, dtype)
    elif filters:
        serializer = Filtered(stored_shape, dtype, tuple(numcodecs_codec(c) for c in filters))
    compressor = document["compressor"]
    codecs: tuple[ByteCodec, ...] = ()
    if compressor is not None:
        codecs = (_byte_codec(compressor["id"], compressor, v2=True),)
    chain = Chain(chunk_shape, serializer, _decoder(codecs, serializer), axes)
    key = ("", separator, "0")
    return Layout(shape, dtype, chunk_shape, chunk_shape, _fill(fill, dtype), chain, key, attributes)


def _packed_filter(config: Json, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Serializer:
    if config["id"] == "packbits":
        # numcodecs' own: one padding byte, then np.packbits' bit order.
        _need(config.keys() == {"id"} and dtype.kind == "b", "packbits of another type than bool")
        return PackedBits.of(shape, dtype, "first_byte", None, None, "big")
    codec = numcodecs_codec(config)
    _need(np.dtype(codec.dtype) == dtype, "bitpack of another type than the array's")
    return PackedBits.of(shape, dtype, codec.padding_encoding, codec.first_bit, codec.last_bit, codec.bitorder)


def _chain(codecs: Sequence[Any], shape: tuple[int, ...], dtype: np.dtype[Any], fill: Any) -> Chain:
    """The codecs of a v3 array, or of the inner chunks of a shard."""
    axes = list(range(len(shape)))
    stored_shape = shape
    at = 0
    names = [_named(c) for c in codecs]
    while at < len(names) and names[at][0] == "transpose":
        _need(names[at][1].keys() == {"order"}, "an option of transpose")
        order = _lengths(names[at][1]["order"], 0)
        _need(sorted(order) == list(range(len(shape))), "the order of transpose")
        axes = [axes[i] for i in order]
        stored_shape = tuple(stored_shape[i] for i in order)
        at += 1
    _need(at < len(names), "a chain without serializer")
    name, config = names[at]
    if name == "numcodecs.packbits" and dtype.kind == "b" and not config:
        # An array-to-array codec whose result, a flat uint8 array, passes through `bytes` as it is.
        at += 1
        _need(at < len(names) and names[at][0] == "bytes", "packbits before another serializer than bytes")
        serializer: Serializer = PackedBits.of(stored_shape, dtype, "first_byte", None, None, "big")
    elif name == "bytes":
        serializer = PlainBytes(stored_shape, _stored_dtype(dtype, config), dtype)
    elif name == "packbits":
        serializer = _packed_bits(stored_shape, dtype, config)
    elif name == "sharding_indexed":
        serializer = _sharded(stored_shape, dtype, config, fill)
    else:
        raise NotDirectError(f"the codec {name!r}")
    byte_codecs = [_byte_codec(n, c) for n, c in names[at + 1 :]]
    order_or_none = None if axes == sorted(axes) else tuple(axes)
    return Chain(shape, serializer, _decoder(tuple(reversed(byte_codecs)), serializer), order_or_none)


def _decoder(codecs: tuple[ByteCodec, ...], serializer: Serializer) -> ByteCodecs | None:
    return ByteCodecs(codecs, serializer.limit) if codecs else None


def _stored_dtype(dtype: np.dtype[Any], config: Json) -> np.dtype[Any]:
    _need(config.keys() <= {"endian"}, "an option of bytes")
    endian = config.get("endian")
    _need(endian in (None, "little", "big"), "the byte order")
    little = dtype.newbyteorder("<")
    if little == dtype.newbyteorder(">"):
        return dtype
    if dtype.fields is not None:
        # zarr's releases differ in what they make of a big-endian struct; without byte order it is little for all.
        _need(endian != "big" and dtype == little, "the byte order of a struct")
        return dtype
    _need(endian is not None, "a missing byte order")
    return little if endian == "little" else dtype.newbyteorder(">")


def _packed_bits(shape: tuple[int, ...], dtype: np.dtype[Any], config: Json) -> Serializer:
    _need(config.keys() <= {"padding_encoding", "first_bit", "last_bit"}, "an option of packbits")
    padding, first_bit, last_bit = (
        config.get("padding_encoding", "none"),
        config.get("first_bit"),
        config.get("last_bit"),
    )
    try:
        check_config(padding, first_bit, last_bit)
        return PackedBits.of(shape, dtype, padding, first_bit, last_bit, "little")
    except (CodecConfigError, DtypeError) as error:
        # Opening it through zarr fails with the same text.
        raise NotDirectError(str(error)) from error


def _sharded(shape: tuple[int, ...], dtype: np.dtype[Any], config: Json, fill: Any) -> Sharded:
    _need(config.keys() <= {"chunk_shape", "codecs", "index_codecs", "index_location"}, "an option of sharding")
    inner_shape = _lengths(config["chunk_shape"], 1)
    _need(len(inner_shape) == len(shape), "the rank of the inner chunks")
    _need(all(n % c == 0 for n, c in zip(shape, inner_shape, strict=True)), "inner chunks that do not fill a shard")
    location = config.get("index_location", "end")
    _need(location in ("start", "end"), "the index location")
    index_codecs = [_named(c) for c in config["index_codecs"]]
    _need([n for n, _ in index_codecs] in (["bytes"], ["bytes", "crc32c"]), "the index codecs")
    endian = index_codecs[0][1].get("endian")
    options = [config.keys() for _, config in index_codecs]
    _need(options[0] == {"endian"} and not any(options[1:]), "an option of the index codecs")
    _need(endian in ("little", "big"), "the byte order of the index")
    inner = _chain(config["codecs"], inner_shape, dtype, fill)
    return Sharded(shape, inner, fill, location == "start", endian == "big", len(index_codecs) == 2)


def _byte_codec(name: str, config: Json, *, v2: bool = False) -> ByteCodec:
    try:
        found = byte_codec(name, config, v2=v2)
    except PackstoreError as error:
        raise NotDirectError(str(error)) from error
    if found is None:
        raise NotDirectError(f"the codec {name!r}")
    return found


def _direct_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    fixed = dtype.kind in "biufcmMSUV" and not dtype.hasobject and dtype.subdtype is None and dtype.itemsize > 0
    _need(fixed, f"the data type {dtype}")
    return dtype


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    return np.asarray(value, dtype)[()]


def chunk_keys(document: Json) -> tuple[str, str, str]:
    """Prefix and separator of the keys of an array's chunks, and the whole key of the chunk of a 0-d array."""
    if document.get("zarr_format") == 3:
        return _v3_key(document["chunk_key_encoding"])
    return "", document.get("dimension_separator", "."), "0"


def _v3_key(encoding: Any) -> tuple[str, str, str]:
    name, config = _named(encoding)
    _need(name in ("default", "v2") and config.keys() <= {"separator"}, f"the chunk key encoding {name!r}")
    separator = config.get("separator", "/" if name == "default" else ".")
    _need(separator in ("/", "."), "the separator of chunk keys")
    return (f"c{separator}", separator, "c") if name == "default" else ("", separator, "0")


def _named(value: Any) -> tuple[str, Json]:
    """Name and configuration of an extension point."""
    if isinstance(value, str):
        return value, {}
    _need(value.keys() <= {"name", "configuration", "must_understand"}, "an extension with unknown fields")
    name, config = value["name"], value.get("configuration", {})
    _need(isinstance(name, str) and isinstance(config, Mapping), "an extension without name")
    return name, config


def _lengths(value: Any, least: int) -> tuple[int, ...]:
    _need(isinstance(value, list), "a shape that is no list")
    _need(all(type(n) is int and least <= n < 2**62 for n in value), "a shape of other things than lengths")
    return tuple(value)


def _need(condition: object, what: str) -> None:
    if not condition:
        raise NotDirectError(what)
