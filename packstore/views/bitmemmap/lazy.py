"""A dask array over a bit map: tasks carry a path and a fingerprint, never bits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.errors import MissingFileError, StaleFileError, UnsupportedError, message
from packstore.source import Fingerprint
from packstore.views.bitmemmap.geometry import BitOrder

if TYPE_CHECKING:
    from packstore.views.bitmemmap.core import BitMemmap

__all__ = ["BitSource", "to_dask", "tokenize"]


def _fingerprint(path: str) -> Fingerprint:
    try:
        return Fingerprint.of(path, os.stat(path))
    except FileNotFoundError as error:
        raise MissingFileError(message("reading", path, expected="a file", got="nothing there")) from error


def tokenize(array: BitMemmap, generation: int) -> object:
    """What names the data: where it lies, how, and in which state; changes in memory count too."""
    own = id(array) if array.mode == "c" else None
    layout = (array.shape, array.axis, array.bitorder, array.offset)
    return ("BitMemmap", *_fingerprint(os.path.realpath(array.filename)), layout, generation, own)


class BitSource:
    """What `dask.array.from_array` slices: opens the file on first use in each process, and only in the noted state."""

    dtype = np.dtype(np.bool_)

    def __init__(
        self,
        shape: tuple[int, ...],
        axis: int | None,
        bitorder: BitOrder,
        offset: int,
        fingerprint: Fingerprint,
    ) -> None:
        self.shape = shape
        self.axis = axis
        self.bitorder = bitorder
        self.offset = offset
        self.fingerprint = fingerprint
        self._bits: BitMemmap | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __reduce__(self) -> tuple[type[BitSource], tuple[Any, ...]]:
        return BitSource, (self.shape, self.axis, self.bitorder, self.offset, self.fingerprint)

    def __dask_tokenize__(self) -> object:
        return self.__reduce__()[1]

    def __getitem__(self, key: Any) -> Any:
        path = self.fingerprint.path
        found = _fingerprint(path)
        if found != self.fingerprint:
            raise StaleFileError(
                message(
                    "reading",
                    path,
                    expected=f"(size, mtime_ns, inode) {tuple(self.fingerprint[1:])}",
                    got=tuple(found[1:]),
                    hint="The file changed after to_dask(); call it again",
                )
            )
        if self._bits is None:
            from packstore.views.bitmemmap.core import BitMemmap

            self._bits = BitMemmap(path, "r", self.shape, self.axis, self.bitorder, self.offset)
        return np.asarray(self._bits[key])


def to_dask(array: BitMemmap, chunks: Any) -> Any:
    """See `BitMemmap.to_dask`."""
    import dask.array
    from dask.base import tokenize as dask_token

    # dask ships its types without all its signatures.
    da: Any = dask.array

    if array.mode == "c":
        hint = 'Open it with mode="r", or use da.from_array(np.asarray(m))'
        raise UnsupportedError(message("reading", array.filename, expected="a mode that shares", got="'c'", hint=hint))
    array.flush()
    source = BitSource(
        array.shape, array.axis, array.bitorder, array.offset, _fingerprint(os.path.realpath(array.filename))
    )
    blocks = da.core.normalize_chunks(chunks, shape=array.shape, dtype=source.dtype)
    if chunks == "auto" and array.ndim and array.axis is not None:
        along = list(blocks)
        extent = along[array.axis][0]
        if extent < array.shape[array.axis]:
            along[array.axis] = max(8, extent // 8 * 8)
            blocks = da.core.normalize_chunks(tuple(along), shape=array.shape, dtype=source.dtype)
    return da.from_array(
        source,
        chunks=blocks,
        name=f"bitmemmap-{dask_token(source, blocks)}",
        lock=False,
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * array.ndim, np.bool_),
        inline_array=True,
    )
