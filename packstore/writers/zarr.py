"""``.zarr``: v3 with bool packed by ``packbits``; v2 on request with ``bitpack``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, OptionError, message
from packstore.readers.zarr.xarray_v2 import DIMENSIONS
from packstore.source.remote.uploads import Uploads
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.fill_values import FILL_VALUE, encode_fill_value
from packstore.writers.blocks import write_blocks
from packstore.writers.chunk_shapes import (
    BLOCK_NBYTES,
    chunk_option,
    fitting_chunks,
    frame_chunks,
    grown,
    source_chunks,
)
from packstore.writers.items import Item
from packstore.writers.json_attributes import json_attributes
from packstore.writers.progress import Progress
from packstore.writers.tree import Tree
from packstore.writers.zarr_objects import ObjectSink, metadata_of

__all__ = ["ZarrSink", "compressor_of", "default_chunks", "default_shards", "refusal", "write"]

CHUNK_ELEMENTS, FRAME_NBYTES = 1 << 20, 8 << 20
# A request to object storage costs as much as some MB; a shard of so many bits has them.
SHARD_ELEMENTS = 64 << 20
# The source's chunks are kept within these, or where they are few: each becomes a file.
LEAST_NBYTES, MOST_NBYTES, FEW = 1 << 20, 128 << 20, 1024


def default_chunks(item: Item) -> tuple[int, ...]:
    """The source's own chunks, or whole frames of up to 8 MiB, or about a million elements.

    For a dask array lengths that divide its own chunks, where there are any.
    """
    own = source_chunks(item, least_nbytes=LEAST_NBYTES, most_nbytes=MOST_NBYTES, few=FEW)
    frame = max(FRAME_NBYTES // max(item.dtype.itemsize, 1), CHUNK_ELEMENTS)
    return own or fitting_chunks(item, frame_chunks(item.shape, CHUNK_ELEMENTS, frame))


def default_shards(item: Item, chunk: tuple[int, ...]) -> tuple[int, ...] | None:
    """Shards of packed chunks: objects of up to 8 MiB, where a chunk has 128 KiB at most; None where one chunk is all.

    For a dask array they divide its own chunks, or are made of whole ones, where that is possible.
    """
    shard = grown(item.shape, 1, chunk, SHARD_ELEMENTS)
    if item.is_dask:
        shard = tuple(map(_fitting, item.data.chunks, chunk, shard))
    return None if shard == chunk else shard


def _fitting(lengths: tuple[int, ...], chunk: int, shard: int) -> int:
    own = math.gcd(*lengths[:-1]) if len(lengths) > 1 else 0
    if not own or own % chunk:
        return shard
    if shard >= own:
        return shard // own * own
    return next(n for n in range(shard // chunk * chunk, 0, -chunk) if own % n == 0)


def refusal(item: Item) -> str | None:
    """Why zarr cannot hold an array; None where it can.

    Not the data types of packstore alone: what is written must open without it.
    """
    return names.portable_reason(item.dtype)


@dataclass(frozen=True)
class ZarrSink:
    """Writes boxes of one array of a zarr directory; thread safe, picklable."""

    path: str
    component: str

    def __call__(self, box: Box, values: Array) -> None:
        array = self.array()
        # zarr takes the bytes of a struct as they are: give it the byte order it promises.
        try:
            array[box if box else ...] = np.asarray(values).astype(array.dtype, copy=False)
        except UnicodeEncodeError as why:
            raise DtypeError(
                message("saving", None, self.component or None, expected="text in UTF-8", got=why)
            ) from None

    def array(self) -> Any:
        """The open array; opened once a process."""
        import zarr

        key = (self.path, self.component)
        array = _open.get(key)
        if array is None:
            array = _open[key] = zarr.open_array(store=self.path, path=self.component, mode="r+")
        return array


_open: dict[tuple[str, str], Any] = {}


def write(
    target: Path,
    tree: Tree,
    progress: Progress,
    *,
    zarr_format: Literal[2, 3] = 3,
    chunks: Any = None,
    shards: Any = "auto",
    pack: bool | None = None,
    compressor: Any = "zstd",
    level: int | None = None,
    checksum: bool = True,
    uploads: Uploads | None = None,
) -> None:
    """Write arrays into a new zarr directory, or into object storage.

    Parameters
    ----------
    zarr_format
        3, or 2.
    chunks, shards
        One chunk (shard) shape for all arrays, or a dict of them by name; default: `default_chunks`, in the
        shards that `default_shards` gives. ``shards=None``: none.
    pack
        Whether bool arrays take one bit an element, which is the default.
    compressor, level
        "zstd" (level 3), "blosc", "gzip", None, or a zarr codec (v3) or numcodecs codec (v2) to use.
    checksum
        Whether chunks without a compressor end with a CRC-32C (v3 only), for which a crop reads its whole chunks.
    uploads
        Where the chunks go; `target` gets the metadata alone, then.

    Raises
    ------
    DtypeError
        A dtype that zarr has no name for.
    OptionError
        Options that do not fit together, or an unknown compressor.
    """
    if zarr_format not in (2, 3):
        raise OptionError(message("writing", tree.path, expected="zarr_format 2 or 3", got=repr(zarr_format)))
    if zarr_format == 2 and not (shards is None or _is_auto(shards)):
        raise OptionError(message("writing", tree.path, expected="no shards in zarr_format 2", got=repr(shards)))
    sinks: list[tuple[Item, ZarrSink | ObjectSink, tuple[int, ...]]] = []
    codec = compressor_of(tree.path, compressor, level, zarr_format)
    notes = _Notes(tree)
    try:
        if not tree.single:
            for path in sorted({"", *tree.groups}):
                _create_group(target, path, zarr_format, notes.json(tree.groups.get(path, {}), path))
        for item in tree.items:
            chunk, shard = _grid(
                tree.path, item, chunks, shards, zarr_format, packs=pack is not False and item.dtype == np.bool_
            )
            codecs = _codecs(item, zarr_format, pack is not False, codec, checksum)
            _create_array(target, item, zarr_format, chunk, shard, codecs, notes)
            sink: ZarrSink | ObjectSink = ZarrSink(os.fspath(target), item.name)
            if uploads is not None:
                sink = ObjectSink(uploads, item.name, metadata_of(target / item.name))
            sinks.append((item, sink, shard or chunk))
        notes.finish()
        for item, sink, unit in sinks:
            if item.nbytes:
                block = unit if item.is_dask else grown(item.shape, item.dtype.itemsize, unit, BLOCK_NBYTES)
                write_blocks(item, block, sink, progress, whole_chunks=True)
    except BaseException:  # an interrupt included: what zarr still writes must end before the folder is removed
        _drain()
        raise
    finally:
        for item in tree.items:
            _open.pop((os.fspath(target), item.name), None)


class _Notes:
    """Turns attributes into JSON, and notes in the tree what zarr does not keep."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.changed = 0

    def json(self, attributes: Mapping[str, Any], name: str) -> dict[str, Any]:
        found, changed = json_attributes(attributes, name)
        self.changed += changed
        return found

    def finish(self) -> None:
        if self.changed:
            count = f"{self.changed} attribute{'' if self.changed == 1 else 's'}"
            self.tree.lose("", f"the types of {count}: JSON keeps their values")


def _create_group(target: Path, path: str, zarr_format: Literal[2, 3], attributes: dict[str, Any]) -> None:
    import zarr

    zarr.create_group(store=os.fspath(target), path=path, zarr_format=zarr_format, attributes=attributes)


def _create_array(
    target: Path,
    item: Item,
    zarr_format: Literal[2, 3],
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    codecs: dict[str, Any],
    notes: _Notes,
) -> None:
    """Write the metadata of an array without elements."""
    import zarr

    attributes = notes.json(item.attributes, item.name)
    fill = _fill_value(item)
    if FILL_VALUE in attributes:
        masked = attributes.pop(FILL_VALUE)
        if zarr_format == 2 and item.dtype.kind in "biuf":
            # There the fill value itself says what xarray masks.
            fill = item.attributes[FILL_VALUE]
        elif (encoded := encode_fill_value(masked, item.dtype)) is not None:
            attributes[FILL_VALUE] = encoded
        else:
            notes.tree.lose(item.name, f"attribute {FILL_VALUE!r}: xarray reads none of {item.dtype} in zarr")
    more: dict[str, Any] = {} if fill is None else {"fill_value": fill}
    if item.dimension_names is not None and zarr_format == 3:
        more["dimension_names"] = item.dimension_names
    elif item.dimension_names is not None:
        # xarray would mask the elements that are like a fill value, so zero is none where nobody named it.
        more.setdefault("fill_value", None)
        attributes[DIMENSIONS] = [n or f"dim_{i}" for i, n in enumerate(item.dimension_names)]
    try:
        zarr.create_array(
            store=os.fspath(target),
            name=item.name or None,
            shape=item.shape,
            dtype=str if item.is_text else names.packed(item.dtype),
            chunks=chunk,
            shards=shard,
            zarr_format=zarr_format,
            attributes=attributes,
            **more,
            **codecs,
        )
    except (OSError, MemoryError):
        raise
    except Exception as why:  # zarr and numcodecs have classes of their own for it
        expected = "options that zarr takes for the array"
        raise OptionError(message("writing", target, item.name or None, expected=expected, got=why)) from why


def _fill_value(item: Item) -> Any:
    """What zarr is told of the fill value; None: nothing."""
    fill = item.fill_value
    if fill is None:
        return None
    if item.is_text:
        return fill.decode("utf-8", "replace") if isinstance(fill, bytes) else str(fill or "")
    packed = names.packed(item.dtype)
    return np.asarray(fill, item.dtype).astype(packed)[()]


def _is_auto(option: Any) -> bool:
    return isinstance(option, str) and option == "auto"


def _divisor(shard: int, wanted: int) -> int:
    """Give the length nearest to `wanted`, by ratio, that divides the length of a shard.

    Examples
    --------
    >>> _divisor(512, 700), _divisor(300, 128), _divisor(257, 100)
    (512, 150, 257)
    """
    small = [n for n in range(1, math.isqrt(shard) + 1) if shard % n == 0]
    return min({*small, *(shard // n for n in small)}, key=lambda n: (max(n, wanted) / max(min(n, wanted), 1), n))


def _grid(
    path: str, item: Item, chunks: Any, shards: Any, zarr_format: int, *, packs: bool
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Give the chunk shape and the shard shape (None: no shards) of one array."""
    chunk = chunk_option(path, item, chunks)
    option = shards.get(item.name, "auto") if isinstance(shards, dict) else shards
    shard = chunk_option(path, item, option)
    chosen = chunk is None and zarr_format == 3 and _is_auto(option)
    if chosen and item.shard_shape and not item.is_dask:
        # A source in shards has chunks that would be too many files.
        return item.chunk_shape or item.shard_shape, item.shard_shape
    if chunk is None:
        chunk = default_chunks(item)
        if chosen and packs:
            shard = default_shards(item, chunk)
        elif shard is not None:
            chunk = tuple(_divisor(s, c) for c, s in zip(chunk, shard, strict=True))
    elif shard is not None and any(s % c for c, s in zip(chunk, shard, strict=True)):
        raise OptionError(
            message("writing", path, item.name or None, expected=f"shards of whole chunks {chunk}", got=shard)
        )
    return chunk, shard


def _drain() -> None:
    """Wait for the writes that zarr still has under way.

    Zarr reports a failed write while others go on; each of those would make its folder anew after it was removed.
    """
    import asyncio

    from zarr.core.sync import sync

    async def others() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=10)

    sync(others())


def compressor_of(path: str, compressor: Any, level: int | None, zarr_format: int) -> Any:
    """The codec that a ``compressor=`` means.

    Raises
    ------
    OptionError
        An unknown name, or a level that it does not take.
    """
    known = {"zstd": 3, "blosc": 5, "gzip": 5}
    if compressor == "none":
        compressor = None
    if not isinstance(compressor, str):
        if level is not None:
            raise OptionError(message("writing", path, expected="level= with a compressor by name", got=level))
        if _is_codec(compressor, zarr_format):
            return compressor
    if not isinstance(compressor, str) or compressor not in known:
        expected = f"compressor {', '.join(map(repr, known))}, None or a codec"
        hint = f"Codecs of zarr_format {zarr_format} are those of {'numcodecs' if zarr_format == 2 else 'zarr'}"
        raise OptionError(message("writing", path, expected=expected, got=repr(compressor), hint=hint))
    level = known[compressor] if level is None else level
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= (22 if compressor == "zstd" else 9):
        raise OptionError(message("writing", path, expected=f"a level that {compressor} has", got=repr(level)))
    if zarr_format == 2:
        import numcodecs

        if compressor == "blosc":
            return numcodecs.Blosc(clevel=level)
        return numcodecs.Zstd(level=level, checksum=True) if compressor == "zstd" else numcodecs.GZip(level=level)
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    if compressor == "blosc":
        return BloscCodec(clevel=level)
    # Its frames have checksums, so that a flipped bit is an error: 4 bytes a chunk, and hardly any time.
    return ZstdCodec(level=level, checksum=True) if compressor == "zstd" else GzipCodec(level=level)


def _is_codec(compressor: Any, zarr_format: int) -> bool:
    """Whether zarr takes it for compressors: a codec or its JSON, or a list of them; or None."""
    if isinstance(compressor, (list, tuple)):
        return all(_is_codec(codec, zarr_format) for codec in compressor)
    if compressor is None or isinstance(compressor, Mapping):
        return True
    if zarr_format == 2:
        from numcodecs.abc import Codec

        return isinstance(compressor, Codec)
    from zarr.abc.codec import BytesBytesCodec

    return isinstance(compressor, BytesBytesCodec)


def _codecs(item: Item, zarr_format: int, pack: bool, codec: Any, checksum: bool) -> dict[str, Any]:
    packed = pack and item.dtype == np.bool_
    if zarr_format == 2:
        from packstore.codecs.bitpack import BitPack

        # The filter of text is zarr's own default.
        filters = {} if item.is_text else {"filters": [BitPack()] if packed else None}
        return {**filters, "compressors": codec}
    from packstore.codecs.packbits import PackBitsCodec

    if codec is None and checksum:
        from zarr.codecs import Crc32cCodec

        codec = Crc32cCodec()
    return {"compressors": codec, **({"serializer": PackBitsCodec()} if packed else {})}
