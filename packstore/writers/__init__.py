"""`save`: one array, several, or a dask array larger than memory, into any of the good formats, atomically."""

from __future__ import annotations

import importlib
import os
from typing import Any

from packstore.errors import OptionError, message
from packstore.source import path_text
from packstore.writers.atomic import atomic_target, check_target
from packstore.writers.items import items_of
from packstore.writers.progress import shown_progress

__all__ = ["WRITERS", "save"]

# Format → module with ``write(target, items, single, progress, **options)``, and the suffixes that mean it.
WRITERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "zarr": ("packstore.writers.zarr", (".zarr",)),
    "npy": ("packstore.writers.npy", (".npy",)),
    "npz": ("packstore.writers.npz", (".npz",)),
    "hdf5": ("packstore.writers.hdf5", (".h5", ".hdf5", ".hdf", ".nc")),
    "raw": ("packstore.writers.raw", (".raw", ".bin", ".dat", ".bits")),
}


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
    suffix = os.path.splitext(path)[1].lower()
    for name, (_, suffixes) in WRITERS.items():
        if suffix in suffixes:
            return name
    known = ", ".join(s for _, suffixes in WRITERS.values() for s in suffixes)
    raise OptionError(message("writing", path, expected=f"a suffix of {known}", got=repr(suffix), hint="Pass format="))


def save(
    path: str | os.PathLike[str],
    data: Any,
    *,
    format: str | None = None,
    progress: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Save arrays, in parallel and atomically.

    Parameters
    ----------
    path : path-like
        The target; its suffix tells the format (.zarr, .npy, .npz, .h5, .raw).
    data : array-like, dict of str to array-like, list of array-like, or dask array
        One array; several under their names (a list: ``arr_0``, ``arr_1``, … as ``np.savez``), each of its own shape.
        Anything with shape, dtype and slicing is read block by block; a dask array is computed while it is written.
    format : str, optional
        Where the suffix does not tell: "zarr", "npy", "npz", "hdf5", "raw".
    progress : bool
        Show a progress bar.
    overwrite : bool
        Replace an existing target. It is replaced by a rename when all is written, so a failure leaves it as it was.
    **options
        Of the format. zarr: ``chunks=``, ``shards=``, ``compressor=``, ``pack=``, ``zarr_format=``. npz:
        ``compressed=``, ``level=``. hdf5: ``chunks=``, ``level=``, ``shuffle=``, ``pack=``, ``compressor=``. raw:
        ``packed_axis=``, ``bitorder=``, ``order=``.

    Raises
    ------
    TargetExistsError
        The target exists and `overwrite` is false; or it is a folder that must not be replaced: by a file, or one that
        is no zarr store.
    WriteError
        The operating system refused (disk full, size limit, permission); nothing is left behind.
    DtypeError, OptionError, ShapeError
        A path, a dtype, an option or a name that the format does not take, or blocks that are not what the array
        declares.

    Notes
    -----
    Memory: a few blocks of 16 MB a core, or a few dask chunks; for a compressed npz from dask at most 256 MB of rows
    besides. Each dask chunk is computed once, on the scheduler that dask would use; the workers of a distributed one
    write themselves, so they must see the same folder (except for hdf5 and compressed npz, which the caller writes).

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mask.zarr"
    >>> packstore.save(path, np.eye(64, dtype=bool))
    >>> int(packstore.open_array(path).count_nonzero())
    64
    """
    text = path_text(path, "writing")
    name = format_of(text, format)
    module = importlib.import_module(WRITERS[name][0])
    _check_options(module, text, options)
    # Before anything is computed or converted: a target that is in the way.
    check_target(text, overwrite=overwrite, folder=name == "zarr")
    items, single = items_of(data)
    with (
        atomic_target(text, overwrite=overwrite, folder=name == "zarr") as target,
        shown_progress(progress, f"saving {os.path.basename(text)}", sum(i.nbytes for i in items)) as shown,
    ):
        module.write(target, items, single, shown, **options)


def _check_options(module: Any, path: str, options: dict[str, Any]) -> None:
    import inspect

    takes = [p.name for p in inspect.signature(module.write).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in takes:
            raise OptionError(
                message(
                    "writing", path, expected=f"options of this format ({', '.join(takes) or 'none'})", got=repr(name)
                )
            )
