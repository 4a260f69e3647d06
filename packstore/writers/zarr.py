"""``.zarr``: v3 with bool packed by ``packbits``; v2 on request with ``bitpack``."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, OptionError, message
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.metadata import as_text
from packstore.writers.blocks import write_blocks
from packstore.writers.chunk_shapes import BLOCK_NBYTES, chunk_option, fitting_chunks, grown, square_chunks
from packstore.writers.items import Item
from packstore.writers.progress import Progress
from packstore.writers.tree import Tree

__all__ = ["ZarrSink", "default_chunks", "write"]

CHUNK_ELEMENTS = 1 << 20


def default_chunks(item: Item) -> tuple[int, ...]:
    """About a million elements a chunk; for a dask array lengths that divide its own chunks, where there are any."""
    return fitting_chunks(item, square_chunks(item.shape, CHUNK_ELEMENTS))


@dataclass(frozen=True)
class ZarrSink:
    """Writes boxes of one array of a zarr directory; thread safe, picklable."""

    path: str
    component: str

    def __call__(self, box: Box, values: Array) -> None:
        array = self.array()
        if values.dtype.hasobject:
            values = np.array(self._texts(values), array.dtype).reshape(values.shape)
        # zarr takes the bytes of a struct as they are: give it the byte order it promises.
        array[box if box else ...] = np.asarray(values).astype(array.dtype, copy=False)

    def _texts(self, values: Array) -> list[str]:
        try:
            return [as_text(v) for v in values.ravel().tolist()]
        except UnicodeDecodeError as error:
            name = self.component or None
            raise DtypeError(message("writing", None, name, expected="text in UTF-8", got=repr(error.object))) from None

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
    shards: Any = None,
    pack: bool = True,
    compressor: Any = "zstd",
) -> None:
    """Write arrays into a new zarr directory.

    Parameters
    ----------
    zarr_format
        3, or 2.
    chunks, shards
        One chunk (shard) shape for all arrays, or a dict of them by name; default: `default_chunks`, no shards.
    pack
        Whether bool arrays take one bit an element.
    compressor
        "zstd" (level 3), None, or a zarr codec (v3) or numcodecs codec (v2) to use.

    Raises
    ------
    DtypeError
        A dtype that zarr has no name for.
    OptionError
        Options that do not fit together.
    """
    if zarr_format not in (2, 3):
        raise OptionError(message("writing", target, expected="zarr_format 2 or 3", got=repr(zarr_format)))
    if zarr_format == 2 and shards is not None:
        raise OptionError(message("writing", target, expected="no shards in zarr_format 2", got=repr(shards)))
    for item in tree.items:
        # Not the data types of packstore alone: what is written must open without it.
        reason = names.portable_reason(item.dtype)
        if reason is not None:
            raise DtypeError(message("writing", target, item.name or None, expected="a zarr data type", got=reason))
    sinks: list[tuple[Item, ZarrSink, tuple[int, ...]]] = []
    try:
        if not tree.single:
            _create_groups(target, tree, zarr_format)
        for item in tree.items:
            chunk, shard = _grid(target, item, chunks, shards)
            _create_array(target, item, zarr_format, chunk, shard, _codecs(item, zarr_format, pack, compressor))
            sinks.append((item, ZarrSink(os.fspath(target), item.name), shard or chunk))
        for item, sink, unit in sinks:
            if item.nbytes:
                block = unit if item.is_dask else grown(item.shape, item.dtype.itemsize, unit, BLOCK_NBYTES)
                write_blocks(item, block, sink, progress, whole_chunks=True)
    except BaseException:  # an interrupt included: what zarr still writes must end before the folder is removed
        _drain()
        raise
    finally:
        for _, sink, _ in sinks:
            _open.pop((sink.path, sink.component), None)


def _create_groups(target: Path, tree: Tree, zarr_format: Literal[2, 3]) -> None:
    import zarr

    root = zarr.open_group(
        store=os.fspath(target), mode="w", zarr_format=zarr_format, attributes=_json(tree.groups.get("", {}))
    )
    # Those above come first, as they would be made without their attributes else.
    for path in sorted(tree.groups):
        if path:
            root.create_group(path, attributes=_json(tree.groups[path]))


def _create_array(
    target: Path,
    item: Item,
    zarr_format: Literal[2, 3],
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    codecs: dict[str, Any],
) -> None:
    """Write the metadata of an array without elements."""
    import zarr

    attributes = _json(item.attributes)
    names_of_axes = item.dimension_names
    if zarr_format == 2 and names_of_axes is not None:
        # Where xarray looks for them: version 2 has no place of its own.
        attributes["_ARRAY_DIMENSIONS"], names_of_axes = list(names_of_axes), None
    # What was never written reads as in the source; without one zarr has its own default.
    is_text = names.is_text(item.dtype)
    fill: dict[str, Any] = {}
    if item.fill_value is not None:
        fill["fill_value"] = as_text(item.fill_value) if is_text else item.fill_value
    zarr.create_array(
        store=os.fspath(target),
        name=item.name or None,
        shape=item.shape,
        dtype="string" if is_text else names.packed(item.dtype),
        chunks=chunk,
        shards=shard,
        zarr_format=zarr_format,
        attributes=attributes,
        dimension_names=names_of_axes,
        **fill,
        **codecs,
    )


def _grid(target: Path, item: Item, chunks: Any, shards: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Give the chunk shape and the shard shape (None: no shards) of one array."""
    chunk = chunk_option(target, item, chunks)
    shard = chunk_option(target, item, shards)
    if chunk is None:
        chunk = default_chunks(item)
        if shard is not None:
            # Inner chunks have to divide the shard.
            chunk = tuple(math.gcd(c, s) for c, s in zip(chunk, shard, strict=True))
    elif shard is not None and any(s % c for c, s in zip(chunk, shard, strict=True)):
        raise OptionError(
            message("writing", target, item.name or None, expected=f"shards of whole chunks {chunk}", got=shard)
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


def _codecs(item: Item, zarr_format: int, pack: bool, compressor: Any) -> dict[str, Any]:
    packed = pack and item.dtype == np.bool_
    if zarr_format == 2:
        import numcodecs

        from packstore.codecs.bitpack import BitPack

        chosen = numcodecs.Zstd(level=3) if compressor == "zstd" else compressor
        # zarr itself adds the filter that text of any length needs.
        filters = {} if names.is_text(item.dtype) else {"filters": [BitPack()] if packed else None}
        return {"compressors": chosen, **filters}
    from zarr.codecs import ZstdCodec

    from packstore.codecs.packbits import PackBitsCodec

    chosen = ZstdCodec(level=3) if compressor == "zstd" else compressor
    return {"compressors": chosen, **({"serializer": PackBitsCodec()} if packed else {})}


def _json(attributes: Any) -> dict[str, Any]:
    """The attributes that JSON can hold."""
    import json

    kept = {}
    for key, value in attributes.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            value = value.tolist() if hasattr(value, "tolist") else str(value)
        kept[str(key)] = value
    return kept
