"""References: a saved file goes in, where its chunks lie comes out, for kerchunk, VirtualiZarr and Icechunk.

Whoever has those reads the file where it lies, without packstore: codecs are numcodecs' and zarr's. Only packed bits of
which the highest comes first need it for their codec.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from packstore.errors import OptionError, message
from packstore.readers import all_readers
from packstore.readers.joined import locate_all
from packstore.writers.references.described import referred_file

__all__ = ["FORMATS", "References", "to_references"]

FORMATS = ("kerchunk", "parquet", "virtualizarr", "icechunk")


class References(dict[str, Any]):
    """References as kerchunk has them: ``{"version": 1, "refs": {…}}``.

    Parameters
    ----------
    refs
        Content, or path, offset and length, by key.
    unsupported
        Path of each array that is left out, and why.
    """

    def __init__(self, refs: Mapping[str, Any], unsupported: Mapping[str, str]) -> None:
        super().__init__(version=1, refs=dict(refs))
        self.unsupported = dict(unsupported)


def to_references(  # noqa: PLR0913  # Each is a word of its own that users type.
    path: Any,
    component: str | None = None,
    *,
    out: Any = None,
    format: str = "kerchunk",
    source_format: str | None = None,
    overwrite: bool = False,
    inline_nbytes: int = 500,
    skip_unsupported: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> Any:
    """Say where the chunks of a saved file lie, for readers of other packages; nothing is copied.

    Parameters
    ----------
    path
        A file, as `packstore.open_group` takes it: npy, npz with stored members, raw and packed bits, HDF5, NetCDF.
    component
        The one array that is wanted; None: all.
    out
        Where they go: for "kerchunk" a JSON file (None: nowhere), for "parquet" a folder, for "icechunk" a new
        repository or the ``store`` of a writable session.
    format
        "kerchunk" (JSON), "parquet" (the same in tables, for millions of chunks), "virtualizarr", "icechunk".
    source_format
        Of the file that is read; None: told by its content.
    overwrite
        Whether `out` may be replaced.
    inline_nbytes
        Arrays of at most so many bytes are in the references themselves.
    skip_unsupported
        Leave out what cannot be expressed, and list it in the result's `unsupported`.
    storage_options, **reader_options
        As `packstore.open_group`.

    Returns
    -------
    dict, virtualizarr.manifests.ManifestStore, icechunk.Repository or icechunk.IcechunkStore
        For "kerchunk" and "parquet" what ``fsspec.filesystem("reference", fo=…)`` and `kerchunk.combine` take; its
        `unsupported` says what is left out, as that of the others does.

    Raises
    ------
    UnsupportedError
        An array whose codecs, type or place have no such form; the text says why.
    OptionError
        The URL holds a password or a signature, which would be in the references; an `out` that does not fit.
    TargetExistsError
        `out` is there and `overwrite` is false.
    MissingPackageError
        The package of the target is not installed.
    PackstoreError
        As `packstore.open_group`.

    Notes
    -----
    Reads headers and indexes, small arrays and text of variable length. Fill values follow xarray: what `_FillValue`
    says, else none where none is needed. Where chunks were never written it is what they hold, if that is not zero;
    xarray masks it. Icechunk refuses chunks of a file that changed later; the other forms have no place for its state.
    But for "kerchunk" a file that is one array holds "data".

    Examples
    --------
    >>> import fsspec, numpy as np, packstore, pathlib, tempfile, zarr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(1000).reshape(10, 100))
    >>> found = packstore.to_references(path)
    >>> found["refs"]["a/0.0"][2]
    8000
    """
    if format not in FORMATS:
        hint = f"The format of the file is source_format={format!r}" if format in all_readers() else None
        expected = f"format= as one of {', '.join(FORMATS)}"
        raise OptionError(message("referring to", path, expected=expected, got=repr(format), hint=hint))
    if (format in ("parquet", "icechunk")) != (out is not None) and format != "kerchunk":
        expected = f"{'no' if format == 'virtualizarr' else 'an'} out= for {format}"
        raise OptionError(message("referring to", path, expected=expected, got=f"{out!r:.200}"))
    location, left = locate_all(
        path, component, format=source_format, storage_options=storage_options, **reader_options
    )
    skip = skip_unsupported
    file = referred_file(location, left, inline_nbytes, skip=skip)
    # Function-level, for import time: each needs other packages.
    if format == "virtualizarr":
        from packstore.writers.references.virtual import manifest_store

        found = manifest_store(file, skip=skip)
    elif format == "icechunk":
        from packstore.writers.references.icechunk import write_icechunk

        found = write_icechunk(out, file, skip=skip, overwrite=overwrite)
    else:
        from packstore.writers.references.kerchunk import as_refs, fit_tables, write_json, write_parquet

        if format == "parquet":
            fit_tables(file, skip=skip)
        found = References(as_refs(file), file.refused)
        if format == "parquet":
            write_parquet(os.fspath(out), found["refs"], overwrite=overwrite)
        elif out is not None:
            write_json(os.fspath(out), found, overwrite=overwrite)
    found.unsupported = dict(file.refused)
    return found
