"""packstore.Group: a zarr.Group whose arrays take the direct path."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import zarr
from zarr.abc.store import Store

from packstore.errors import FormatError, message
from packstore.readers import Location, component_name, locate
from packstore.views.zarr.array import Array, array_at, component_error, store_of, unsupported_error

__all__ = ["Group", "open", "open_group"]


class Group(zarr.Group):
    """A read-only zarr group over a saved file; its members are `packstore.Group` and `packstore.Array`.

    Attributes
    ----------
    unsupported : dict of str to str
        Each array of the file that zarr cannot be served, and why.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(3))
    >>> packstore.open_group(path)["a"][1:]
    array([1, 2])
    """

    _location: Location | None

    def __init__(self, async_group: Any, location: Location | None = None) -> None:
        super().__init__(async_group)
        self._location = location

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Each array of the file that is not served, and the reason."""
        found: Mapping[str, str] = getattr(self.store, "unsupported", {})
        return found

    def _wrap(self, node: Any) -> Any:
        if self._location is None or isinstance(node, (Array, Group)):
            return node
        if isinstance(node, zarr.Array):
            return array_at(self._location, node.path, self.store)
        return Group(node._async_group, self._location)

    def __getitem__(self, path: str) -> Any:
        try:
            return self._wrap(super().__getitem__(path))
        except KeyError:
            full = f"{self.path}/{path}".strip("/")
            if self._location is not None and full in self.unsupported:
                raise unsupported_error(self._location, full, self.unsupported[full]) from None
            raise

    def get(self, path: str, default: Any = None) -> Any:
        """The member at `path`, or `default`."""
        try:
            return self[path]
        except KeyError:
            return default

    def members(self, max_depth: int | None = 0, **kwargs: Any) -> tuple[tuple[str, Any], ...]:
        """Members as (name, node) pairs, as `zarr.Group.members`."""
        return tuple((name, self._wrap(node)) for name, node in super().members(max_depth, **kwargs))

    def groups(self) -> Generator[tuple[str, Any], None]:
        """The groups directly below, as (name, group) pairs."""
        for name, node in super().groups():
            yield name, self._wrap(node)

    def arrays(self) -> Generator[tuple[str, Any], None]:
        """The arrays directly below, as (name, array) pairs."""
        for name, node in super().arrays():
            yield name, self._wrap(node)

    def group_values(self) -> Generator[Any, None]:
        """The groups directly below."""
        for _, node in self.groups():
            yield node

    def array_values(self) -> Generator[Any, None]:
        """The arrays directly below."""
        for _, node in self.arrays():
            yield node

    def __reduce__(self) -> Any:
        if self._location is None:
            return super().__reduce__()
        return (_group_at, (self._location, self.path))


def _group_at(location: Location, path: str, store: Store | None = None) -> Group:
    store = store_of(location) if store is None else store
    opened = zarr.open_group(store=store, path=path, mode="r")
    return Group(opened._async_group, location)


def open(
    path: Any,
    component: str | None = None,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> Array | Group:
    """Open what is saved at `path` like ``zarr.open``: an array for a file that is one, else a group.

    Parameters
    ----------
    path, component, format, chunks, storage_options, **reader_options
        As for `open_array`; `component` may also name a group.

    Returns
    -------
    packstore.Array or packstore.Group

    Raises
    ------
    MissingFileError, FormatError, OptionError, UnsupportedError
        As for `open_array`.
    ComponentNotFoundError
        Nothing of that name.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(3))
    >>> packstore.open(path).shape
    (3,)
    """
    location = locate(path, format=format, chunks=chunks, storage_options=storage_options, **reader_options)
    name = component_name("" if component is None else component)
    manifest = location.manifest()
    if name in manifest.arrays or name in manifest.unsupported:
        return array_at(location, name)
    store = store_of(location)
    try:
        return _group_at(location, name, store)
    except FileNotFoundError:
        raise component_error(location, name) from None


def open_group(
    path: Any,
    component: str | None = None,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> Group:
    """Open a file of several arrays like ``zarr.open_group``.

    Parameters
    ----------
    path, component, format, chunks, storage_options, **reader_options
        As for `open`.

    Returns
    -------
    packstore.Group

    Raises
    ------
    FormatError
        The file, or the component, is one array.
    MissingFileError, OptionError, ComponentNotFoundError
        As for `open`.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, **{"a/b": np.arange(3)})
    >>> sorted(packstore.open_group(path)["a"].array_keys())
    ['b']
    """
    found = open(path, component, format=format, chunks=chunks, storage_options=storage_options, **reader_options)
    if isinstance(found, Array):
        raise FormatError(
            message("opening", path, component, expected="a group", got="one array", hint="Use packstore.open_array")
        )
    return found
