"""Dask arrays over the direct path: a lazy array goes in, a dask array comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.views.dask.chunks import chunks_of, normal_chunks
from packstore.views.dask.pinned import pinned
from packstore.views.lazy import LazyArray

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["from_lazy"]


def from_lazy(lazy: LazyArray, chunks: Any = "auto", *, name: str | None = None, inline_array: bool = True) -> da.Array:
    """A dask array over a `LazyArray`; parameters as `from_file`."""
    # Function-level, for import time: dask takes longer to import than most files take to read.
    import dask.array as da
    from dask.base import tokenize
    from dask.blockwise import Blockwise
    from dask.layers import ArraySliceDep

    from packstore.views.dask.slice_dep import RunLengthSliceDep

    lazy = pinned(lazy)
    array = lazy.array
    if isinstance(chunks, str) and chunks == "auto":
        chunks = chunks_of(array, lazy.location.fingerprint.path)
    if name is None:
        name = "packstore-" + tokenize(lazy, chunks)
    chunks = normal_chunks(chunks, lazy.shape, lazy.dtype, lazy.location.path, lazy.component, lazy.chunks)
    meta = np.empty((0,) * lazy.ndim, lazy.dtype)
    # dask would index a 0-d array with (), and numpy's scalars lose the byte order.
    getitem = None if lazy.ndim else _read_0d
    out = da.from_array(
        lazy,
        chunks=chunks,
        name=name,
        meta=meta,
        asarray=True,
        fancy=False,
        inline_array=inline_array,
        getitem=getitem,
    )
    if hasattr(out, "expr"):
        # With "array.query-planning" there is no layer before it is computed, and the expression names it.
        return out
    layer = out.dask.layers.get(name)
    if isinstance(layer, Blockwise):
        # dask's own block slices pickle to 7 bytes a block; all else of the layer is a few hundred bytes.
        for key, dep in layer.io_deps.items():
            if type(dep) is ArraySliceDep:
                layer.io_deps[key] = RunLengthSliceDep(dep.chunks)
    return out


def _read_0d(array: LazyArray, key: Any, asarray: bool = True, lock: Any = False) -> Any:
    return array[...]
