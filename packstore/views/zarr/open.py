"""The opening functions: a path and options go in, a zarr store, array or group over the saved file comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from packstore.errors import ComponentNotFoundError, FormatError, OptionError, PackstoreError, message
from packstore.readers.find import component_name, find_array, near_name
from packstore.readers.joined import locate_all
from packstore.views.lazy import LazyArray, open_lazy
from packstore.views.zarr.array import Array, array_of, store_of
from packstore.views.zarr.group import Group, group_at

if TYPE_CHECKING:
    from packstore.readers.zarr.directory import DirectoryStore
    from packstore.views.zarr.store import ManifestStore

__all__ = ["open", "open_array", "open_group", "open_store"]

T = TypeVar("T")
# What open() of h5py, zarr and Python take in second place: where no component is called so, surely modes, and such as
# may be meant for one.
MODES, LETTERS = frozenset({"r", "rb", "r+", "w-", "w+"}), frozenset({"w", "a", "x", "c"})
WRITERS = "packstore.save writes files, and packstore.open_memmap changes packed bits in place"


def open_store(
    path: Any,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mode: str = "r",
    **reader_options: Any,
) -> ManifestStore | DirectoryStore:
    """Open a saved array, or a file of many, as a read-only Zarr v3 store.

    Parameters
    ----------
    path : path-like, str or list of them
        A local file, a zarr directory (v2 or v3), a URL or URL pipeline, a binary file object, or a zarr store. A list
        of files is one array: it takes `component`, `axis` and `new_axis` as `from_files` does.
    format : str, optional
        "npy", "npz", "hdf5", "zarr", "raw", …; recognised by content where None. Raw bytes have no signs: name them.
    chunks : int or tuple of int, optional
        Chunk shape for data that has no chunks of its own; default: pieces of about 8 MB along the slowest axis.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    mode : str, optional
        Only "r": packstore reads. It is here for whoever writes what h5py and zarr take.
    **reader_options
        Options of the format: ``dtype=``, ``shape=``, ``offset=``, ``order=``, ``packed_axis=``, ``bitorder=``
        and ``bits=`` for "raw", ``allow_external=`` for "hdf5", those of `numpy.loadtxt` for "text".

    Returns
    -------
    zarr.abc.store.Store
        With the attribute ``unsupported``: each array that is not served, and the reason.

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    MissingPackageError
        A URL needs a package that is not installed; the text names it.
    FormatError
        No format recognises the content, or the file is damaged.
    OptionError
        An unknown format, an option that the format does not take, or a mode that would write.
    ShapeError, DtypeError
        A file of a list does not fit the first.

    Notes
    -----
    Reads headers and indexes only. Nothing in a file is executed, and no other file is opened unless allowed.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile, zarr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(6).reshape(2, 3))
    >>> zarr.open_group(packstore.open_store(path), mode="r")["a"][1].tolist()
    [3, 4, 5]
    """
    _check_mode(path, mode)
    location, component = locate_all(
        path, None, format=format, chunks=chunks, storage_options=storage_options, **reader_options
    )
    if component:
        hint = "Leave it out of the URL pipeline, and name it where the store is opened"
        expected = "all of a file"
        raise OptionError(message("opening a store over", location.path, expected=expected, got=component, hint=hint))
    return store_of(location)


def open_array(
    path: Any,
    component: str | None = None,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mode: str = "r",
    copy: bool | None = None,
    **reader_options: Any,
) -> Array:
    """Open one saved array like ``zarr.open_array``.

    Parameters
    ----------
    path : path-like, str or list of them
        A local file, a zarr directory (v2 or v3), a URL or URL pipeline, a binary file object, or a zarr store. A list
        of files is one array: it takes `axis` and `new_axis` as `from_files` does.
    component : str, optional
        The array in the file; may be left out where there is only one.
    format : str, optional
        "npy", "npz", "hdf5", "zarr", "raw", …; recognised by content where None. Raw bytes have no signs: name them.
    chunks : int or tuple of int, optional
        Chunk shape for data that has no chunks of its own; default: pieces of about 8 MB along the slowest axis.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    mode : str, optional
        Only "r": packstore reads. It is here for whoever writes what h5py and zarr take.
    copy : bool, optional
        Whether indexing gives arrays of the caller's own, to change at will, as zarr and h5py do. False: read-only
        views of mapped files where nothing is to decode. None: as ``packstore.config`` says ("array.copy", True).
    **reader_options
        Options of the format: ``dtype=``, ``shape=``, ``offset=``, ``order=``, ``packed_axis=``, ``bitorder=``
        and ``bits=`` for "raw", ``allow_external=`` for "hdf5", those of `numpy.loadtxt` for "text".

    Returns
    -------
    packstore.Array
        Read-only; shape and dtype of the saved array (in native byte order, as zarr has it).

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    MissingPackageError
        A URL needs a package that is not installed; the text names it.
    FormatError
        No format recognises the content, or the file is damaged.
    OptionError
        An unknown format, an option that the format does not take, or a mode that would write.
    ComponentNotFoundError
        No such array, or several and none named.
    UnsupportedError
        The array cannot be a zarr array; the text says why.
    ShapeError, DtypeError
        A file of a list does not fit the first.

    Notes
    -----
    Reads headers and indexes only: of the one array where `component` names it, and the format has an index for each.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mask.bits"
    >>> mask = np.eye(16, dtype=bool)
    >>> np.packbits(mask, axis=0).tofile(path)
    >>> packed = packstore.open_array(path, format="raw", shape=(16, 16), packed_axis=0)
    >>> packed[3, 2:5]
    array([False,  True, False])
    """
    options = {"format": format, "chunks": chunks, "storage_options": storage_options, **reader_options}
    lazy = _found(lambda name: open_lazy(path, name, **options), path, component, mode)
    return array_of(lazy, copy)


def open(
    path: Any,
    component: str | None = None,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mode: str = "r",
    copy: bool | None = None,
    **reader_options: Any,
) -> Array | Group:
    """Open what is saved at `path` like ``zarr.open``: an array for a file that is one, else a group.

    Parameters
    ----------
    path : path-like, str or list of them
        A local file, a zarr directory (v2 or v3), a URL or URL pipeline, a binary file object, or a zarr store. A list
        of files is one array: it takes `axis` and `new_axis` as `from_files` does.
    component : str, optional
        The array or group in the file; the root where left out.
    format : str, optional
        "npy", "npz", "hdf5", "zarr", "raw", …; recognised by content where None. Raw bytes have no signs: name them.
    chunks : int or tuple of int, optional
        Chunk shape for data that has no chunks of its own; default: pieces of about 8 MB along the slowest axis.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    mode : str, optional
        Only "r": packstore reads. It is here for whoever writes what h5py and zarr take.
    copy : bool, optional
        Whether indexing gives arrays of the caller's own, to change at will, as zarr and h5py do. False: read-only
        views of mapped files where nothing is to decode. None: as ``packstore.config`` says ("array.copy", True).
    **reader_options
        Options of the format: ``dtype=``, ``shape=``, ``offset=``, ``order=``, ``packed_axis=``, ``bitorder=``
        and ``bits=`` for "raw", ``allow_external=`` for "hdf5", those of `numpy.loadtxt` for "text".

    Returns
    -------
    packstore.Array or packstore.Group
        Read-only.

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    MissingPackageError
        A URL needs a package that is not installed; the text names it.
    FormatError
        No format recognises the content, or the file is damaged.
    OptionError
        An unknown format, an option that the format does not take, or a mode that would write.
    ComponentNotFoundError
        Nothing of that name.
    UnsupportedError
        The array cannot be a zarr array; the text says why.
    ShapeError, DtypeError
        A file of a list does not fit the first.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(3))
    >>> packstore.open(path).shape
    (3,)
    """
    options = {"format": format, "chunks": chunks, "storage_options": storage_options, **reader_options}
    return _found(lambda name: _open(path, name, copy, options), path, component, mode)


def open_group(
    path: Any,
    component: str | None = None,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mode: str = "r",
    copy: bool | None = None,
    **reader_options: Any,
) -> Group:
    """Open a file of several arrays like ``zarr.open_group``.

    Parameters
    ----------
    path : path-like or str
        A local file, a zarr directory (v2 or v3), a URL or URL pipeline, a binary file object, or a zarr store.
    component : str, optional
        The group in the file; the root where left out.
    format : str, optional
        "npz", "hdf5", "zarr", "pickle", …; recognised by content where None.
    chunks : int or tuple of int, optional
        Chunk shape for data that has no chunks of its own; default: pieces of about 8 MB along the slowest axis.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    mode : str, optional
        Only "r": packstore reads. It is here for whoever writes what h5py and zarr take.
    copy : bool, optional
        Whether indexing gives arrays of the caller's own, to change at will, as zarr and h5py do. False: read-only
        views of mapped files where nothing is to decode. None: as ``packstore.config`` says ("array.copy", True).
    **reader_options
        Options of the format, for instance ``allow_external=`` for "hdf5".

    Returns
    -------
    packstore.Group
        Read-only.

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    MissingPackageError
        A URL needs a package that is not installed; the text names it.
    FormatError
        The file, or the component, is one array; no format recognises the content, or the file is damaged.
    OptionError
        An unknown format, an option that the format does not take, or a mode that would write.
    ComponentNotFoundError
        Nothing of that name.
    UnsupportedError
        The component is an array that cannot be a zarr array.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, **{"a/b": np.arange(3)})
    >>> sorted(packstore.open_group(path)["a"].array_keys())
    ['b']
    """
    options = {"format": format, "chunks": chunks, "storage_options": storage_options, **reader_options}
    found = _found(lambda name: _open(path, name, copy, options), path, component, mode)
    if isinstance(found, Array):
        raise FormatError(
            message("opening", path, component, expected="a group", got="one array", hint="Use packstore.open_array")
        )
    return found


def _open(path: Any, component: str | None, copy: bool | None, options: Mapping[str, Any]) -> Array | Group:
    """The array or group at `component`."""
    location, component = locate_all(path, component, **options)
    name = "" if component is None else component_name(component, location.path)
    manifest = location.manifest(None if component is None else name)
    if name in manifest.arrays or name in manifest.unsupported:
        return array_of(LazyArray(location, *find_array(location, name)), copy)
    try:
        return group_at(location, name, store_of(location), copy)
    except PackstoreError:
        raise
    except (OSError, ValueError):
        manifest = location.manifest()
        raise ComponentNotFoundError(
            message(
                "opening",
                location.path,
                name,
                expected="an array or group",
                got="nothing of that name",
                hint=near_name(name, [*manifest.arrays, *manifest.groups]),
            )
        ) from None


def _found(find: Callable[[str | None], T], path: Any, component: str | None, mode: str) -> T:
    """What `find` finds at `component`; where that names nothing but a mode, as in ``open(path, "r")``, at None."""
    _check_mode(path, mode)
    try:
        return find(component)
    except ComponentNotFoundError as error:
        if component in LETTERS:
            raise ComponentNotFoundError(f'{error} If {component!r} is a mode: only "r" is; {WRITERS}.') from None
        if component not in MODES:
            raise
    _check_mode(path, component)
    return find(None)


def _check_mode(path: Any, mode: object) -> None:
    if mode != "r":
        raise OptionError(message("opening", path, expected='mode "r"', got=repr(mode), hint=WRITERS))
