"""`save`: one array, several, or a dask array larger than memory, into any of the good formats, atomically."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from packstore.errors import DtypeError, OptionError, UnsupportedError, message
from packstore.source import path_text
from packstore.source.refusals import options_of
from packstore.source.remote.uploads import Uploads
from packstore.source.remote.urls import is_url
from packstore.views.lazy import LazyArray
from packstore.writers.atomic import addition_beside, atomic_target, check_target
from packstore.writers.dask_blocks import distributed_client
from packstore.writers.holds import lost_parts
from packstore.writers.progress import shown_progress
from packstore.writers.remote import check_url, uploaded
from packstore.writers.tree import SaveReport, Tree, tree_of
from packstore.writers.zarr_addition import check_addition, merge_stores

__all__ = ["WRITERS", "SaveReport", "save"]

# Format → module with ``write(target, tree, progress, **options)``, and the suffixes that mean it.
WRITERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "zarr": ("packstore.writers.zarr", (".zarr",)),
    "zarr_zip": ("packstore.writers.zarr_zip", (".zarr.zip", ".ozx")),
    "npy": ("packstore.writers.npy", (".npy",)),
    "npz": ("packstore.writers.npz", (".npz",)),
    "hdf5": ("packstore.writers.hdf5", (".h5", ".hdf5", ".hdf", ".nc")),
    "raw": ("packstore.writers.raw", (".raw", ".bin", ".dat", ".bits")),
}


# Formats of one array without a name.
SINGLE = ("npy", "raw")
# What `save` itself tells a writer.
_OURS = ("base", "replace", "uploads")


def format_of(path: str, format: str | None) -> str:
    """The format to write: as named, or by suffix.

    Raises
    ------
    OptionError
        No such format, or no suffix that means one.
    """
    if format is not None:
        if not isinstance(format, str) or format not in WRITERS:
            raise OptionError(
                message("writing", path, expected=f"format one of {', '.join(WRITERS)}", got=repr(format))
            )
        return format
    for name, (_, suffixes) in WRITERS.items():
        if path.lower().endswith(suffixes):
            return name
    suffix = os.path.splitext(path)[1].lower()
    known = ", ".join(s for _, suffixes in WRITERS.values() for s in suffixes)
    raise OptionError(message("writing", path, expected=f"a suffix of {known}", got=repr(suffix), hint="Pass format="))


def save(  # noqa: PLR0913  # Each is a word of its own that users type.
    path: str | os.PathLike[str],
    data: Any,
    *,
    format: str | None = None,
    mode: Literal["w-", "w", "a"] = "w-",
    progress: bool = False,
    overwrite: bool = False,
    attributes: Mapping[str, Any] | None = None,
    dimension_names: Any = None,
    skip_unsupported: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> SaveReport:
    """Save arrays and trees of arrays, in parallel and atomically, with all that belongs to them.

    Parameters
    ----------
    path : path-like, or URL
        The target; its suffix tells the format (.zarr, .npy, .npz, .h5, .nc, .raw, .bits).
    data : array-like, dict, list of array-like, dask array, or an opened file or object of another package
        One array; a dict of arrays (or of dicts: groups) under their names; a list (``arr_0``, ``arr_1``, … as
        ``np.savez``), each of its own shape. A group, array or store of packstore or zarr, an ``h5py.File``,
        ``Group`` or ``Dataset``, an ``NpzFile``, an ``xarray`` ``Dataset``, ``DataArray`` or ``DataTree``, a
        ``pandas.DataFrame``: each is saved as the tree that it is, with groups, attributes, names of dimensions, fill
        values, chunks and links, as far as the target has them. Anything with shape, dtype and slicing is read block
        by block; a dask array is computed while it is written.
    format : str, optional
        Where the suffix does not tell: "zarr", "zarr_zip", "npy", "npz", "hdf5", "raw".
    mode : {"w-", "w", "a"}
        "w-": the target must not exist. "w": as ``overwrite=True``. "a": add to a zarr group, HDF5 file or npz that
        exists; names that it has already are an error, unless `overwrite` replaces those arrays.
    progress : bool
        Show a progress bar.
    overwrite : bool
        Replace an existing target. It is replaced by a rename when all is written, so a failure leaves it as it was.
    attributes : mapping, optional
        Further attributes of the array, or of the root group.
    dimension_names : sequence of str, or dict of them by array, optional
        Names for the axes.
    skip_unsupported : bool
        Leave out what cannot be read or what the target cannot hold, and say so in the report, instead of refusing.
    storage_options : dict, optional
        For the file system of a URL, as fsspec takes them. They go to the workers of a distributed scheduler as they
        are: profiles and the environment keep secrets out of it.
    **options
        Of the format. zarr: ``chunks=``, ``shards=``, ``compressor=``, ``level=``, ``checksum=``, ``pack=``,
        ``zarr_format=``. npz: ``compressed=``, ``level=``. hdf5: ``chunks=``, ``compressor=`` ("gzip", "lzf", "szip";
        with hdf5plugin "blosc", "blosc2", "zstd", "lz4", "bitshuffle" and its objects), ``level=``, ``shuffle=``,
        ``fletcher32=``, ``pack=``. raw: ``packed_axis=``, ``bitorder=``, ``order=``.

    Returns
    -------
    SaveReport
        Says in ``lost``, a line each, what the target cannot hold.

    Raises
    ------
    TargetExistsError
        The target exists and `overwrite` is false; or it is a folder that must not be replaced: by a file, or one that
        is no zarr store.
    WriteError
        The operating system refused (disk full, size limit, permission); nothing is left behind.
    DtypeError, OptionError, ShapeError
        A path, a dtype, an option or a name that the format does not take, blocks that are not what the array
        declares, or something that is no array.
    UnsupportedError
        Something in an opened file that cannot be read.

    Notes
    -----
    A mask in zarr is packed in chunks of about a million elements, many of them to a file or object (a shard) of up to
    8 MB; ``shards=None`` makes a file of each chunk.

    A URL gets one object, which is made in a local temporary file and uploaded when all is written; in the end it is
    there, or what was there before. In zarr chunks are objects that are uploaded while they are made (by the workers of
    a distributed scheduler, each its own), the metadata come last, and a failure removes what was uploaded. Workers may
    still upload a chunk after it: then a mark stays, by which the next save with `overwrite` knows that it may clear
    the place. Replacing a zarr hierarchy behind a URL removes the old one first. ``mode="a"`` works on local targets.

    Memory: a few blocks of 16 MB a core (64 MB for masks in shards), or a few dask chunks; for a compressed npz from
    dask at most 256 MB of rows besides. Each dask chunk is computed once, on the scheduler that dask would use. The
    workers of a distributed one write themselves, so they must see the same folder; hdf5, compressed npz and files
    behind URLs are written by the caller, who is sent the blocks. ``mode="a"`` copies a zip, npz or HDF5 file before it
    adds to the copy.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mask.zarr"
    >>> packstore.save(path, {"mask": np.eye(64, dtype=bool)}, attributes={"unit": "none"}).lost
    ()
    >>> int(packstore.open_array(path, "mask").count_nonzero())
    64
    """
    text = path_text(path, "writing")
    uploads = Uploads(text, options_of(path, storage_options)) if is_url(text) else None
    text = text if uploads is None else uploads.name
    name = format_of(text, format)
    module = importlib.import_module(WRITERS[name][0])
    _check_options(module, text, options)
    if mode not in ("w-", "w", "a"):
        raise OptionError(message("writing", text, expected='mode "w-", "w" or "a"', got=repr(mode)))
    replaces = overwrite or mode != "w-"
    folder = name == "zarr"
    # Before anything is computed or converted: a target that is in the way.
    if uploads is not None:
        check_url(uploads, overwrite=replaces, folder=folder, mode=mode)
    existing = None if uploads is not None else check_target(text, overwrite=replaces, folder=folder)
    adds = existing is not None and mode == "a" and os.path.lexists(text)
    tree = tree_of(
        data,
        attributes=attributes,
        dimension_names=dimension_names,
        skip_unsupported=skip_unsupported,
        wants_one=name in SINGLE,
        path=text,
    )
    _refuse(module, text, tree, name, skip_unsupported)
    if options.get("pack") and not any(item.dtype == np.bool_ for item in tree.items):
        got = ", ".join(sorted({str(item.dtype) for item in tree.items})) or "no array"
        raise DtypeError(message("writing", text, expected="a bool array for pack=True", got=got))
    for item in tree.items:
        if isinstance(item.data, LazyArray):
            # Block by block nothing would sum up the whole.
            item.data.verify()
    if adds and existing is not None:
        options = {**options, **_addition(name, existing, tree, overwrite, options)}
    title = f"{'adding to' if adds else 'saving'} {os.path.basename(text)}"
    with shown_progress(progress, title, tree.nbytes) as shown:
        if adds and folder and existing is not None:
            with addition_beside(existing) as target:
                module.write(target, tree, shown, **options)
                merge_stores(target, existing)
        elif uploads is not None:
            # A file is made in a temporary folder of this machine.
            tree.items = [replace(item, stays_here=not folder) for item in tree.items]
            late = any(item.is_dask and distributed_client(item.data) is not None for item in tree.items)
            with uploaded(uploads, overwrite=replaces, folder=folder, late=late) as target:
                module.write(target, tree, shown, **options, **({"uploads": uploads} if folder else {}))
        else:
            with atomic_target(text, overwrite=replaces, folder=folder) as target:
                module.write(target, tree, shown, **options)
    for node, what in lost_parts(tree, name):
        tree.lose(node, what)
    return SaveReport(text, name, tuple(i.name for i in tree.items), tuple(tree.lost))


def _refuse(module: Any, path: str, tree: Tree, format: str, skip: bool) -> None:
    """Take out of the tree, or refuse, what the format cannot hold."""
    expected = "a zarr data type" if format in ("zarr", "zarr_zip") else "elements of a fixed size"
    for item in tree.items:
        reason: str | None = module.refusal(item)
        if reason is None:
            continue
        if not skip:
            hint = "Leave it out with skip_unsupported=True, or convert it with astype"
            raise DtypeError(message("writing", path, item.name or None, expected=expected, got=reason, hint=hint))
        tree.lose(item.name, f"the array: {reason}")
        tree.items = [i for i in tree.items if i is not item]
    if skip and tree.lost and not tree.items and not tree.groups:
        raise UnsupportedError(message("writing", path, expected="an array", got="none that can be written"))


def _addition(name: str, existing: Path, tree: Tree, overwrite: bool, options: dict[str, Any]) -> dict[str, Any]:
    """What a writer is told that adds to a target."""
    if name in SINGLE:
        raise OptionError(
            message(
                "adding to", existing, expected="a format that can be added to (zarr, zarr_zip, hdf5, npz)", got=name
            )
        )
    if tree.single:
        hint = 'Pass {"name": array}'
        raise OptionError(message("adding to", existing, expected="a name for the array", got="none", hint=hint))
    if name == "zarr":
        wanted = options.get("zarr_format")
        return {"zarr_format": check_addition(existing, tree, replace=overwrite, zarr_format=wanted)}
    return {"base": existing, "replace": overwrite}


def _check_options(module: Any, path: str, options: dict[str, Any]) -> None:
    import inspect

    parameters = inspect.signature(module.write).parameters.values()
    takes = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _OURS]
    for name in options:
        if name not in takes:
            expected = f"options of this format ({', '.join(takes) or 'none'})"
            raise OptionError(message("writing", path, expected=expected, got=repr(name)))
