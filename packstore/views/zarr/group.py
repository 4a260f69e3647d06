"""packstore.Group: an opened group goes in, a zarr.Group whose arrays take the direct path comes out."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import zarr
from zarr.abc.store import Store

from packstore.readers.location import AnyLocation
from packstore.views.lazy import LazyArray
from packstore.views.zarr.array import Array, store_of
from packstore.views.zarr.nodes import unsupported_error
from packstore.views.zarr.store import ManifestStore

__all__ = ["Group", "group_at"]


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

    _location: AnyLocation | None

    def __init__(self, async_group: Any, location: AnyLocation | None = None) -> None:
        super().__init__(async_group)
        self._location = location

    @property
    def location(self) -> AnyLocation | None:
        """The file that it was opened from."""
        return self._location

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Each array of the file that is not served, and the reason."""
        found: Mapping[str, str] = getattr(self.store, "unsupported", {})
        return found

    def _wrap(self, node: Any) -> Any:
        if self._location is None or isinstance(node, (Array, Group)):
            return node
        if isinstance(node, zarr.Array):
            # As this store knows it: what another file made of it since is for the next group that is opened.
            known = self.store.array_at(node.path) if isinstance(self.store, ManifestStore) else None
            return Array(node.async_array, LazyArray(self._location, node.path, known))
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
        return (_reopen, (self._location, self.path))


def _reopen(location: AnyLocation, path: str) -> Group:
    return group_at(location, path, store_of(location))


def group_at(location: AnyLocation, path: str, store: Store) -> Group:
    """The group at `path` of an open store.

    Raises
    ------
    FileNotFoundError
        No group there.
    """
    opened = zarr.open_group(store=store, path=path, mode="r")
    return Group(opened._async_group, location)
