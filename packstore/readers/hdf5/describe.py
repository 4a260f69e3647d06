"""One dataset described; in: an open dataset, out: its ManifestArray, or an error that says why it is not served."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from h5py import h5d

from packstore.readers.hdf5.dataset import finish, open_dataset
from packstore.readers.hdf5.external import version_of
from packstore.readers.hdf5.guard import check_fill
from packstore.readers.hdf5.layouts import by_library, external, stored_as_is
from packstore.readers.hdf5.links import Target
from packstore.source import FileSource, Segments
from packstore.storage import GridStorage, ManifestArray

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Context

__all__ = ["describe_dataset"]


def describe_dataset(context: Context, target: Target) -> ManifestArray:
    """Describe one dataset, without its attributes and the names of its dimensions.

    Raises
    ------
    UnsupportedError
        It cannot be served; the text says why.
    ExternalFileError
        Its data lie in a file that is not allowed.
    """
    check_fill(target)
    dcpl = target.oid.get_create_plist()
    layout = dcpl.get_layout()
    if layout == h5d.VIRTUAL:
        # Imported here, as below, for import time: few files need it.
        from packstore.readers.hdf5.virtual.mappings import describe_virtual

        return describe_virtual(context, target, dcpl)
    ds = open_dataset(context, target, dcpl)
    filters = ds.filters
    if layout == h5d.CONTIGUOUS and dcpl.get_external_count():
        return _with_raw_files(finish(ds, *external(ds)))
    elif ds.described.stored is None:
        from packstore.readers.hdf5.variable import describe_variable

        storage, chunk_shape = describe_variable(ds, filters)
    else:
        found = stored_as_is(ds, filters)
        storage, chunk_shape = by_library(ds, filters) if found is None else found
    return finish(ds, storage, chunk_shape)


def _with_raw_files(array: ManifestArray) -> ManifestArray:
    """An array in external storage, whose state is that of the raw files, too."""
    storage = array.storage
    assert isinstance(storage, GridStorage) and isinstance(storage.places.space, Segments)
    pieces = storage.places.space.pieces
    return replace(array, version=version_of([s.fingerprint for s, _, _ in pieces if isinstance(s, FileSource)]))
