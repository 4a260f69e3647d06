"""VirtualiZarr's manifests: what a file holds goes in, a ``virtualizarr.manifests.ManifestStore`` comes out.

Source: https://virtualizarr.readthedocs.io/en/latest/custom_parsers.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from packstore.errors import MissingPackageError, message
from packstore.readers.find import component_name
from packstore.readers.joined import locate_all
from packstore.writers.references.described import Json, Referred, ReferredFile, check_none_refused, referred_file
from packstore.writers.references.v3 import documents_of, url_of

__all__ = ["Parser", "manifest_store"]


def manifest_store(file: ReferredFile, *, skip: bool, registry: Any = None, group: str = "") -> Any:
    """The arrays and groups of a file as VirtualiZarr has them.

    Parameters
    ----------
    registry
        ``obspec_utils.registry.ObjectStoreRegistry`` by which the chunks are read; None: made for the file's URL.
    group
        The group that becomes the root.

    Raises
    ------
    MissingPackageError
        VirtualiZarr is not installed.
    UnsupportedError
        An array that zarr v3 cannot have, unless such are to be skipped.
    """
    try:
        # Function-level: an optional package.
        from virtualizarr.manifests import ManifestGroup, ManifestStore
    except ImportError as why:
        hint = "pip install virtualizarr obstore (Python 3.12 or later)"
        raise MissingPackageError(
            message("referring to", file.location.path, expected="VirtualiZarr", got=str(why), hint=hint)
        ) from None
    documents = documents_of(file)
    if not skip:
        check_none_refused(file)
    arrays = {name: _manifest_array(url_of(file.where), *found) for name, found in documents.items()}

    def tree(path: str) -> Any:
        prefix = f"{path}/" if path else ""
        return ManifestGroup(
            arrays={name: arrays[prefix + name] for name in _children(arrays, prefix)},
            groups={name: tree(prefix + name) for name in _children(file.groups, prefix)},
            attributes=file.groups.get(path, {}),
        )

    if registry is None:
        registry = _registry_of(url_of(file.where))
    return ManifestStore(tree(group), registry=registry)


def _children(paths: Iterable[str], prefix: str) -> list[str]:
    """The names directly below a group."""
    names = (path[len(prefix) :] for path in paths if path.startswith(prefix))
    return sorted(name for name in names if name and "/" not in name)


def _manifest_array(url: str, document: Json, found: Referred) -> Any:
    from virtualizarr.manifests import ChunkManifest, ManifestArray
    from zarr.core.metadata import ArrayV3Metadata

    metadata = ArrayV3Metadata.from_dict(document)
    shape = tuple(-(-n // c) for n, c in zip(found.array.shape, found.chunks, strict=True))
    entries: dict[str, Any] = {}
    if found.inline:
        first = ".".join("0" * len(shape)) or "0"
        entries[first] = {"path": "", "offset": 0, "length": len(found.inline), "data": found.inline}
    for coords, offset, nbytes in found.pieces:
        key = ".".join(map(str, coords)) or "0"
        entries[key] = {"path": url, "offset": int(offset), "length": int(nbytes)}
    return ManifestArray(metadata=metadata, chunkmanifest=ChunkManifest(entries, shape=shape))


def _registry_of(url: str) -> Any:
    """A registry that knows the place of one file, by obstore's own settings."""
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore, from_url

    scheme, _, rest = url.partition("://")
    root = f"{scheme}://{rest.partition('/')[0]}"
    return ObjectStoreRegistry({root: LocalStore() if scheme == "file" else from_url(root)})


class Parser:
    """A parser for ``virtualizarr.open_virtual_dataset(url, registry, parser=…)``: npy, npz, HDF5, NetCDF, packed bits.

    Parameters
    ----------
    group
        The group of the file that becomes the data set; None: the root.
    skip_variables
        Arrays that are left out.
    skip_unsupported
        Leave out what has no form in zarr v3, too; an error otherwise.
    inline_nbytes
        Arrays of at most so many bytes are kept in the references themselves.
    storage_options, **reader_options
        As `packstore.open_group`: ``format=``, ``dtype=``, ``shape=`` … of raw files. Objects behind URLs are read
        by the registry's store where no options are given.

    Notes
    -----
    A file that is one array has the variable "data". Reads headers and indexes, and small arrays.

    Examples
    --------
    >>> Parser(skip_unsupported=True)
    Parser(group=None, skip_unsupported=True)
    """

    def __init__(
        self,
        group: str | None = None,
        skip_variables: Iterable[str] | None = None,
        *,
        skip_unsupported: bool = False,
        inline_nbytes: int = 500,
        storage_options: Mapping[str, Any] | None = None,
        **reader_options: Any,
    ) -> None:
        self.group = group
        self.skip_variables = frozenset(skip_variables or ())
        self.skip_unsupported = skip_unsupported
        self.inline_nbytes = inline_nbytes
        self.storage_options = storage_options
        self.reader_options = reader_options

    def __call__(self, url: str, registry: Any) -> Any:
        """The file at `url` as a ``ManifestStore`` whose chunks are read by `registry`.

        Raises
        ------
        UnsupportedError
            An array that has no such form.
        PackstoreError
            As `packstore.open_group`.
        """
        options = self.storage_options
        if options is None and not url.startswith("file://") and "://" in url:
            store, key = registry.resolve(url)
            if type(store).__module__.partition(".")[0] == "obstore":
                options = {"store": store, "key": key}
        location, component = locate_all(url, None, storage_options=options, **self.reader_options)
        file = referred_file(location, component, self.inline_nbytes, skip=True)
        group = component_name(self.group or "", location.path)
        for name in {*file.arrays, *file.refused}:
            is_below = not group or name.startswith(f"{group}/")
            if not is_below or self.skip_variables & {name, name.rpartition("/")[2]}:
                file.arrays.pop(name, None)
                file.refused.pop(name, None)
        return manifest_store(file, skip=self.skip_unsupported, registry=registry, group=group)

    def __repr__(self) -> str:
        return f"Parser(group={self.group!r}, skip_unsupported={self.skip_unsupported})"
