"""packstore.Group: an opened group goes in, a zarr.Group whose arrays take the direct path comes out."""

from __future__ import annotations

from collections.abc import Callable, Generator, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, cast

import zarr
from zarr.abc.store import Store

from packstore.config import copies_arrays
from packstore.errors import ComponentNotFoundError, OptionError, message
from packstore.readers.find import near_name
from packstore.readers.location import AnyLocation
from packstore.views.lazy import LazyArray
from packstore.views.zarr.array import Array
from packstore.views.zarr.nodes import unsupported_error
from packstore.views.zarr.opened import Closing, Opened
from packstore.views.zarr.store import ManifestStore

__all__ = ["Group", "group_at"]


class Group(Closing, zarr.Group):
    """A read-only zarr group over a saved file; its members are `packstore.Group` and `packstore.Array`.

    It is a mapping, too, as a group of h5py is: ``keys()``, ``values()``, ``items()``, ``in`` and ``len()``.

    Attributes
    ----------
    unsupported : dict of str to str
        Each array of the file that zarr cannot be served, and why.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(3))
    >>> with packstore.open_group(path) as group:
    ...     group["a"][1:]
    array([1, 2])
    """

    _location: AnyLocation | None
    # Of a group that was unpickled: its path and store, which nothing was asked of yet.
    _pickled: tuple[str, Store] | None = None

    def __init__(
        self,
        async_group: Any,
        location: AnyLocation | None = None,
        copy: bool | None = None,
        above: Opened | None = None,
    ) -> None:
        super().__init__(async_group)
        self._location = location
        self._copy = copies_arrays(copy)
        self._opened = Opened(above)

    @property
    def _where(self) -> tuple[AnyLocation | None, str]:
        return self._location, self.path

    @property
    def location(self) -> AnyLocation | None:
        """The file that it was opened from."""
        return self._location

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Each array of the file that is not served, and the reason."""
        found: Mapping[str, str] = getattr(self.store, "unsupported", {})
        return found

    @property
    def files(self) -> list[str]:
        """The names of all arrays of an npz file, as ``numpy.load`` has them; other groups have no such attribute."""
        if self._location is None or self._location.format != "npz":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'files': the file is no npz file")
        self._check_open()
        manifest = self._location.manifest()
        return self._below([*manifest.arrays, *manifest.unsupported])

    def _below(self, names: Iterable[str]) -> list[str]:
        """Those of a file's names that lie below this group, from it on."""
        prefix = f"{self.path}/" if self.path else ""
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def _wrap(self, node: Any) -> Any:
        if self._location is None or isinstance(node, (Array, Group)):
            return node
        if isinstance(node, zarr.Array):
            # As this store knows it: what another file made of it since is for the next group that is opened.
            known = self.store.array_at(node.path) if isinstance(self.store, ManifestStore) else None
            lazy = LazyArray(self._location, node.path, known)
            return Array(node.async_array, lazy, self._copy, self._opened)
        return Group(node._async_group, self._location, self._copy, self._opened)

    def _member(self, path: str) -> Any:
        """The member at `path`; a bare KeyError where there is none."""
        self._check_open()
        if not isinstance(path, str):
            where = None if self._location is None else self._location.path
            raise OptionError(
                message("opening a member of", where, self.path or None, expected="a str", got=repr(path))
            )
        try:
            return self._wrap(super().__getitem__(path))
        except KeyError:
            full = f"{self.path}/{path}".strip("/")
            if self._location is not None and full in self.unsupported:
                raise unsupported_error(self._location, full, self.unsupported[full]) from None
            raise

    def __getitem__(self, path: str) -> Any:
        """The member at `path`.

        Raises
        ------
        ComponentNotFoundError
            Nothing of that name; the text has the nearest one. It is a KeyError.
        UnsupportedError
            It is an array that zarr cannot be served.
        OptionError
            `path` is no str.
        ClosedError
            The group was closed.
        """
        try:
            return self._member(path)
        except KeyError:
            raise self._not_found(path) from None

    def _not_found(self, path: str) -> ComponentNotFoundError:
        names: list[str] = []
        where = str(self.store)
        if self._location is not None:
            where = self._location.path
            manifest = self._location.manifest()
            names = self._below([*manifest.arrays, *manifest.groups])
        text = message(
            "opening",
            where,
            f"{self.path}/{path}".strip("/"),
            expected="an array or group",
            got="nothing of that name",
            hint=near_name(path, names),
        )
        return ComponentNotFoundError(text)

    def get(self, path: str, default: Any = None) -> Any:
        """The member at `path`, or `default`."""
        try:
            return self._member(path)
        except KeyError:
            return default

    def __contains__(self, member: object) -> bool:
        self._check_open()
        return isinstance(member, str) and super().__contains__(member)

    def __iter__(self) -> Iterator[str]:
        self._check_open()
        return iter(super().keys())

    # Views of a mapping, as h5py's groups and dicts have them: zarr's groups have a generator of names only.
    def keys(self) -> KeysView[str]:  # type: ignore[override]  # zarr gives a generator, a mapping a view
        """The names of the members directly below."""
        return KeysView(cast("Mapping[str, Any]", self))

    def values(self) -> ValuesView[Any]:
        """The members directly below."""
        return ValuesView(cast("Mapping[str, Any]", self))

    def items(self) -> ItemsView[str, Any]:
        """The members directly below, as (name, member) pairs."""
        return ItemsView(cast("Mapping[str, Any]", self))

    def visititems(self, function: Callable[[str, Any], Any]) -> Any:
        """Call ``function(name, member)`` for all members, those of groups below too, as h5py does.

        Parameters
        ----------
        function
            Called with the path from this group on and the member, a group before what is in it, names in order. The
            first result that is not None ends the walk.

        Returns
        -------
        object
            That result; None where there was none.

        Examples
        --------
        >>> import numpy as np, packstore, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
        >>> np.savez(path, **{"a/b": np.arange(3), "c": np.arange(4)})
        >>> packstore.open_group(path).visititems(lambda name, member: print(name, getattr(member, "shape", "group")))
        a group
        a/b (3,)
        c (4,)
        """
        for name, node in sorted(self.members(max_depth=None), key=lambda member: member[0].split("/")):
            found = function(name, node)
            if found is not None:
                return found
        return None

    def visit(self, function: Callable[[str], Any]) -> Any:
        """Call ``function(name)`` for all members; otherwise as `visititems`."""
        return self.visititems(lambda name, _: function(name))

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.keys())

    def members(self, max_depth: int | None = 0, **kwargs: Any) -> tuple[tuple[str, Any], ...]:
        """Members as (name, node) pairs, as `zarr.Group.members`."""
        self._check_open()
        return tuple((name, self._wrap(node)) for name, node in super().members(max_depth, **kwargs))

    def groups(self) -> Generator[tuple[str, Any], None]:
        """The groups directly below, as (name, group) pairs."""
        self._check_open()
        for name, node in super().groups():
            yield name, self._wrap(node)

    def arrays(self) -> Generator[tuple[str, Any], None]:
        """The arrays directly below, as (name, array) pairs."""
        self._check_open()
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

    def __repr__(self) -> str:
        return "<Group, closed>" if self.closed else super().__repr__()

    def _repr_html_(self) -> str:
        """What a notebook shows: the tree of members, and what is not served. Nothing is read for it."""
        # Function-level, for import time: only notebooks need it.
        from packstore.views.zarr.html import group_html

        return "<p>Group, closed</p>" if self.closed else group_html(self._location, self.path, dict(self.attrs))

    def __reduce__(self) -> Any:
        self._check_open()
        if self._location is None:
            return super().__reduce__()
        path, store = self._pickled or (self.path, self.store)
        return (_unopened, (self._location, path, store, self._copy))

    def __getattr__(self, name: str) -> Any:
        # After unpickling: the file is opened when a member is asked for.
        if name != "_async_group" or self._pickled is None or self._location is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = group_at(self._location, *self._pickled)._async_group
        object.__setattr__(self, "_async_group", found)
        return found


def _unopened(location: AnyLocation, path: str, store: Store, copy: bool) -> Group:
    """The group that was pickled; nothing is opened before the first read."""
    found = Group.__new__(Group)
    found._location, found._pickled, found._copy, found._opened = location, (path, store), copy, Opened()
    return found


def group_at(location: AnyLocation, path: str, store: Store, copy: bool | None = None) -> Group:
    """The group at `path` of an open store; `copy` as for `packstore.open_group`.

    Raises
    ------
    FileNotFoundError
        No group there.
    """
    opened = zarr.open_group(store=store, path=path, mode="r")
    return Group(opened._async_group, location, copy)
