"""What xarray asks of a file: its groups, and of each the variables, which are read where they are indexed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from xarray import Dataset, Variable
from xarray.backends import AbstractDataStore, BackendArray, StoreBackendEntrypoint
from xarray.coding.strings import create_vlen_dtype
from xarray.core import indexing

from packstore.errors import ComponentNotFoundError, OptionError, message
from packstore.readers.find import find_array
from packstore.readers.joined import locate_all
from packstore.readers.location import AnyLocation
from packstore.readers.zarr.xarray_v2 import stored_fill, unfolded
from packstore.source.remote.urls import is_url
from packstore.storage import Attributes, ManifestArray, ManifestGroup
from packstore.storage.attributes import typed_attributes
from packstore.views.dask.chunks import chunks_of
from packstore.views.dask.pinned import pinned
from packstore.views.lazy import LazyArray
from packstore.views.zarr.array import array_of
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.fill_values import FILL_VALUE, decode_fill_value
from packstore.views.zarr.metadata import array_reason
from packstore.views.zarr.text import as_text, decoding

__all__ = ["LazyVariable", "OpenedFile", "PackstoreDataStore"]

# What the variable of a file is called that is one array without a name.
NAMELESS = "data"
# Formats whose attributes follow xarray's conventions for zarr.
ZARR = ("zarr", "zarr_zip")

Dims = Sequence[str] | Mapping[str, Sequence[str]] | None


class OpenedFile:
    """A file whose arrays become variables."""

    def __init__(
        self,
        path: Any,
        format: str | None,
        storage_options: Mapping[str, Any] | None,
        component: str | None,
        dims: Dims,
        options: Mapping[str, Any],
    ) -> None:
        wanted, left = locate_all(path, component, format=format, storage_options=storage_options, **options)
        self.location: AnyLocation = wanted
        if component is not None and left is not None:
            name, array = find_array(wanted, left)
            self.manifest = ManifestGroup({name: array})
        else:
            self.manifest = wanted.manifest()
        self.dims = dims
        self.groups = _group_paths(self.manifest)
        self.unfolded = self._unfolded()
        self._phony = 0
        self._axes: dict[str, dict[str, tuple[str, ...]]] = {}
        self._check_dims({path for path, array in self.manifest.arrays.items() if self._given(path, array) is not None})

    def dataset(self, group: str | None, component: str | None, **decoding: Any) -> Dataset:
        """One group, or one array, decoded by xarray."""
        found: Dataset = StoreBackendEntrypoint().open_dataset(PackstoreDataStore(self, group, component), **decoding)
        # Datasets are pickled with what closes them.
        found.set_close(self.location.close)
        return found

    def missing(self, group: str) -> ComponentNotFoundError:
        """The error for a group that is not there."""
        expected = f"one of {', '.join(map(repr, self.groups[:20]))}"
        return ComponentNotFoundError(
            message("opening a group of", self.location.path, expected=expected, got=repr(group))
        )

    def _unfolded(self) -> dict[str, tuple[dict[str, Any], tuple[str, ...] | None]]:
        """Attributes and names of axes of arrays for which xarray keeps both in attributes: those of zarr v2."""
        if self.location.format not in ZARR:
            return {}
        return {
            path: unfolded(array.attributes, len(array.shape), array.dtype, stored_fill(self.location, path, array))
            for path, array in self.manifest.arrays.items()
            if array.dimension_names is None
        }

    def arrays_of(self, group: str) -> dict[str, str]:
        """The arrays directly in a group, by their names in it."""
        prefix = f"{group}/" if group else ""
        inside = {path.removeprefix(prefix): path for path in self.manifest.arrays if path.startswith(prefix)}
        return {name or NAMELESS: path for name, path in inside.items() if "/" not in name}

    def axes_of(self, group: str) -> dict[str, tuple[str, ...]]:
        """The names of the axes of the arrays of one group, by path.

        Axes without a name are called as h5netcdf calls them: one name for each length, several where an array has
        several axes of that length. Numbers go on from group to group, and those above come first.
        """
        if group in self._axes:
            return self._axes[group]
        if group:
            self.axes_of(group.rpartition("/")[0])
        found = self._axes[group] = self._named(self.arrays_of(group).values())
        return found

    def _named(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
        known = {path: self._known(path) for path in paths}
        most: dict[int, int] = {}
        for path, found in known.items():
            lengths = [n for n, name in zip(self.manifest.arrays[path].shape, found, strict=True) if name is None]
            for n in lengths:
                most[n] = max(most.get(n, 0), lengths.count(n))
        phony: dict[int, list[str]] = {}
        for n, count in most.items():
            phony[n] = [f"phony_dim_{self._phony + i}" for i in range(count)]
            self._phony += count
        out = {}
        for path, found in known.items():
            left = {n: iter(each) for n, each in phony.items()}
            shape = self.manifest.arrays[path].shape
            out[path] = tuple(next(left[n]) if name is None else name for n, name in zip(shape, found, strict=True))
        return out

    def _known(self, path: str) -> Sequence[str | None]:
        """The names of axes that the caller or the file gives."""
        array = self.manifest.arrays[path]
        _, folded = self.unfolded.get(path, (None, None))
        nameless = (None,) * len(array.shape)
        return self._given(path, array) or array.dimension_names or folded or nameless

    def _given(self, path: str, array: ManifestArray) -> Sequence[str] | None:
        """What the caller calls the axes of an array."""
        if isinstance(self.dims, Mapping):
            given = self.dims.get(path, self.dims.get(variable_name(path)))
            if given is not None and len(given) != len(array.shape):
                expected = f"{len(array.shape)} names in dims[{path!r}]"
                raise OptionError(message("opening", self.location.path, path or None, expected=expected, got=given))
            return given
        names = [str(self.dims)] if isinstance(self.dims, str) else self.dims
        fits = names is not None and len(names) == len(array.shape) and array.dimension_names is None
        return names if fits else None

    def _check_dims(self, used: set[str]) -> None:
        if self.dims is None:
            return
        if isinstance(self.dims, Mapping):
            left: list[Any] = [n for n in self.dims if n not in used and n not in map(variable_name, used)]
        else:
            left = [] if used else [self.dims]
        if left:
            expected = "dims for arrays that are there"
            raise OptionError(message("opening", self.location.path, expected=expected, got=f"{left[0]!r}"))


class PackstoreDataStore(AbstractDataStore):  # type: ignore[misc]  # mypy does not follow xarray
    """The arrays of one group, as xarray asks for them.

    Parameters
    ----------
    opened
        The file.
    group, component
        As `PackstoreBackend.open_dataset`.
    """

    def __init__(self, opened: OpenedFile, group: str | None, component: str | None) -> None:
        if group is not None and component is not None:
            expected = "group= or component="
            raise OptionError(message("opening", opened.location.path, expected=expected, got="both"))
        self.opened = opened
        self.group = (group or "").strip("/")
        if component is None:
            if self.group not in opened.groups:
                raise opened.missing(self.group)
            self.paths = opened.arrays_of(self.group)
            self.axes = opened.axes_of(self.group)
            self._warn(f"{self.group}/" if self.group else "")
        else:
            (path,) = opened.manifest.arrays
            self.paths = {variable_name(path): path}
            self.axes = opened.axes_of(path.rpartition("/")[0])

    def _warn(self, prefix: str) -> None:
        manifest = self.opened.manifest
        for path, reason in manifest.unsupported.items():
            name = path.removeprefix(prefix)
            if path.startswith(prefix) and not set("/@") & set(name) and path not in manifest.unlisted:
                warnings.warn(f"{self.opened.location.path}[{path}] is left out: {reason}", UserWarning, stacklevel=5)

    def get_variables(self) -> dict[str, Variable]:
        # docstring inherited
        return {name: self._variable(path) for name, path in self.paths.items()}

    def get_attrs(self) -> dict[str, Any]:
        # docstring inherited
        return _values(self.opened.manifest.groups.get(self.group, {}))

    def get_dimensions(self) -> dict[str, int]:
        # docstring inherited
        found: dict[str, int] = {}
        for path in self.paths.values():
            found.update(zip(self.axes[path], self.opened.manifest.arrays[path].shape, strict=True))
        return found

    def get_encoding(self) -> dict[str, Any]:
        # docstring inherited
        endless = set()
        for path in self.paths.values():
            most = self.opened.manifest.arrays[path].max_shape or ()
            endless |= {dim for dim, n in zip(self.axes[path], most, strict=False) if n is None}
        return {"unlimited_dims": endless} if endless else {}

    def _variable(self, path: str) -> Variable:
        opened = self.opened
        array = opened.manifest.arrays[path]
        lazy = LazyArray(opened.location, path, array)
        if not is_url(opened.location.fingerprint.path):
            lazy = pinned(lazy)
        data = LazyVariable(lazy)
        attributes, _ = opened.unfolded.get(path, (array.attributes, None))
        attributes, dims = _values(attributes), self.axes[path]
        if FILL_VALUE in attributes and opened.location.format in ZARR:
            attributes[FILL_VALUE] = decode_fill_value(attributes[FILL_VALUE], array.dtype)
        encoding: dict[str, Any] = {"source": opened.location.path, "original_shape": array.shape}
        if array.shape:
            encoding["preferred_chunks"] = dict(
                zip(dims, chunks_of(array, opened.location.fingerprint.path), strict=True)
            )
        if names.is_text(array.dtype):
            encoding["dtype"] = str
        return Variable(dims, indexing.LazilyIndexedArray(data), attributes, encoding)


class LazyVariable(BackendArray):  # type: ignore[misc]  # mypy does not follow xarray
    """One array, read where it is indexed; thread safe, pickles as a description.

    Parameters
    ----------
    lazy
        The array.
    """

    def __init__(self, lazy: LazyArray) -> None:
        self.lazy = lazy
        self.shape = lazy.shape
        self.is_text = names.is_text(lazy.dtype)
        self.dtype = create_vlen_dtype(str) if self.is_text else _dtype_of(lazy.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        if isinstance(key, indexing.VectorizedIndexer) and all(isinstance(k, np.ndarray) for k in key.tuple):
            # Points: chunks that hold none of them are not read.
            return self._read(key.tuple)
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        fancy = any(isinstance(k, np.ndarray) for k in key)
        if fancy and not self.lazy.array.storage.is_view and array_reason(self.lazy.array) is None:
            # The zarr array reads only the chunks that hold some of the indices.
            found = array_of(self.lazy)[key]
        else:
            found = self.lazy[key]
        if self.is_text:
            values = np.asarray(found, dtype=object)
            decode = decoding(self.lazy.location, self.lazy.component)
            texts = np.empty(values.shape, dtype=object)
            texts[...] = np.array([as_text(v, decode) for v in values.ravel().tolist()], object).reshape(values.shape)
            return texts
        return np.asarray(found).astype(self.dtype, copy=False)


def variable_name(path: str) -> str:
    """What the variable of an array is called."""
    return path.rpartition("/")[2] or NAMELESS


def _dtype_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype that xarray takes: text as objects, dates in seconds where theirs is no unit of pandas."""
    if dtype.kind == "T":
        return np.dtype(object)
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        if count != 1 or unit not in ("s", "ms", "us", "ns", "generic"):
            coarse = unit in ("Y", "M", "W", "D", "h", "m", "s")
            return np.dtype(f"{dtype.kind}8[{'s' if coarse else 'ns'}]")
    return dtype


def _group_paths(manifest: ManifestGroup) -> list[str]:
    """The groups of a file, those above others first."""
    paths = {"", *manifest.groups}
    for path in [*manifest.arrays, *manifest.groups]:
        parts = path.split("/")[:-1]
        paths |= {"/".join(parts[: i + 1]) for i in range(len(parts))}
    return sorted(paths, key=lambda p: [] if not p else p.split("/"))


def _values(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as NetCDF's libraries give them: numbers in their types, one number of a list as itself."""
    unseen = attributes.unseen if isinstance(attributes, Attributes) else ()
    typed = typed_attributes(attributes)
    return {name: _value(typed[name], plain) for name, plain in attributes.items() if name not in unseen}


def _value(typed: Any, plain: Any) -> Any:
    if isinstance(typed, (np.ndarray, np.generic)) and typed.dtype.kind in "biufc":
        return typed.reshape(-1)[0] if typed.size == 1 else np.asarray(typed)
    if isinstance(plain, list) and plain and all(type(v) in (int, float) for v in plain):
        return np.array(plain) if len(plain) > 1 else plain[0]
    return plain
