"""``.h5`` and ``.nc``: a tree as an HDF5 file, which NetCDF-4's tools read too where dimensions have names.

What HDF5 has no word for is noted in the tree's ``lost``; `attributes` and `types` have tables of what becomes what.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from packstore.errors import FormatError, OptionError, TargetExistsError, message
from packstore.writers.hdf5.attributes import put_attributes
from packstore.writers.hdf5.dataset import Plan
from packstore.writers.hdf5.dimensions import Dimensions, attach_again, is_placeholder, unlink
from packstore.writers.hdf5.filters import filters_of
from packstore.writers.progress import Progress
from packstore.writers.tree import Tree

__all__ = ["SINGLE_NAME", "write"]

# What a dataset is called whose array has no name.
SINGLE_NAME = "data"


def write(
    target: Path,
    tree: Tree,
    progress: Progress,
    *,
    base: Path | None = None,
    replace: bool = False,
    chunks: Any = None,
    level: int | None = None,
    shuffle: bool | None = None,
    pack: bool = False,
    compressor: Any = "gzip",
    compressor_options: Any = None,
    compression: Any = None,
    compression_opts: Any = None,
    fletcher32: bool = False,
    scaleoffset: int | None = None,
) -> None:
    """Write a tree into an HDF5 file; one array without a name is called ``data``.

    Parameters
    ----------
    base
        An HDF5 file that `target` starts as a copy of; the tree is added to it.
    replace
        Whether arrays of the tree take the place of those that have their names in `base`.
    chunks
        One chunk shape for all arrays, or a dict of them by name; default: the source's own, else about 1 MiB.
    level
        Of the compressor; gzip: 1 to 9 (default 4), chunks become as small as zlib makes them at that level.
    shuffle
        Whether bytes of equal significance are stored together, which helps with numbers; default: with the
        compressors that do not do that themselves.
    pack
        Whether bool arrays take one bit an element: integers of 1 bit (uint8 for h5py) with the filter nbit, instead
        of h5py's enumeration of 1 byte.
    compressor, compressor_options
        As `packstore.writers.hdf5.filters` has it: "gzip", "lzf", "szip", None; with hdf5plugin "blosc", "blosc2",
        "zstd", "lz4", "bitshuffle", "bzip2", "zfp", or one of its objects; or a filter's number and its values.
        Without compressor and chunks, elements lie in one run, which can be mapped.
    compression, compression_opts
        h5py's words for the same.
    fletcher32, scaleoffset
        Further filters, as h5py has them.

    Raises
    ------
    DtypeError
        A dtype or value that HDF5 cannot hold.
    FormatError
        `base` is no HDF5 file.
    MissingFilterError
        The compressor is not installed.
    OptionError
        Options that do not fit together.
    TargetExistsError
        A name that is in `base` already.

    Notes
    -----
    Text is of variable length and not compressed.
    """
    if compression is not None or compression_opts is not None:
        if compressor != "gzip" or compressor_options is not None:
            raise OptionError(message("writing", target, expected="compressor= or compression=", got="both"))
        compressor, compressor_options = "gzip" if compression is None else compression, compression_opts
    filters = filters_of(
        target,
        compressor,
        compressor_options,
        level=level,
        shuffle=shuffle,
        fletcher32=fletcher32,
        scaleoffset=scaleoffset,
    )
    paths = {item.name: SINGLE_NAME if tree.single else item.name for item in tree.items}
    if base is not None:
        _copy(base, target)
    with _h5py_errors(target), _opened(target, base) as file:
        _make_groups(file, tree, target)
        users = _make_room(file, tree, paths, target, replace)
        dimensions = Dimensions(file, tree, paths)
        plans = [Plan(target, item, paths[item.name], chunks, filters, pack) for item in tree.items]
        # All at once: names and types that do not work show before any data is written.
        for plan in plans:
            named = plan.item.dimension_names is not None
            put_attributes(plan.create(file, tree), plan.attributes, tree, plan.item.name, named=named)
        dimensions.write()
        for path, others in users.items():
            attach_again(file, path, others)
        for link, leads_to in tree.links.items():
            file[link] = h5py.SoftLink(f"/{paths.get(leads_to, leads_to)}")
        for plan in plans:
            if plan.item.nbytes and not plan.contiguous:
                plan.fill(file, progress)
        offsets = [plan.offset(file) for plan in plans]
    for plan, offset in zip(plans, offsets, strict=True):
        if offset is not None:
            plan.fill_run(target, offset, progress)


@contextlib.contextmanager
def _h5py_errors(target: Path) -> Iterator[None]:
    """Turn libhdf5's failed writes, which h5py raises as RuntimeError or OSError, into OSError with its number."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        found = re.search(r"errno = (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _copy(base: Path, target: Path) -> None:
    """Copy a file; on file systems that can, its blocks are shared."""
    try:
        with open(base, "rb") as source, open(target, "xb") as copy:
            left = os.fstat(source.fileno()).st_size
            while left:
                done = os.copy_file_range(source.fileno(), copy.fileno(), left)
                if not done:
                    raise OSError
                left -= done
    except (AttributeError, OSError):
        shutil.copyfile(base, target)


def _opened(target: Path, base: Path | None) -> Any:
    """The file, which keeps the order of its members, as NetCDF wants it."""
    if base is None:
        return h5py.File(target, "x", locking=False, track_order=True)
    try:
        if not h5py.is_hdf5(target):  # an empty file opens
            raise OSError("no signature of one")
        return h5py.File(target, "r+", locking=False)
    except OSError as error:
        raise FormatError(message("adding to", base, expected="an HDF5 file", got=error)) from error


def _make_groups(file: h5py.File, tree: Tree, target: Path) -> None:
    """Make the groups of the tree, with their attributes."""
    paths = [*tree.groups, *(name.rpartition("/")[0] for name in (*(i.name for i in tree.items), *tree.links))]
    for path in paths:
        parts = path.split("/") if path else []
        for i in range(1, len(parts) + 1):
            part = "/".join(parts[:i])
            if file.get(part, getlink=True) is None:
                file.create_group(part, track_order=True)
                continue
            node = file.get(part)
            if not isinstance(node, h5py.Group):
                raise _exists(target, part, "a link that leads nowhere" if node is None else "an array")
    for path, attributes in tree.groups.items():
        put_attributes(file[path or "/"], attributes, tree, path)


def _make_room(
    file: h5py.File, tree: Tree, paths: dict[str, str], target: Path, replace: bool
) -> dict[str, list[tuple[str, int]]]:
    """Remove what the tree replaces; gives the datasets that each of those was the scale of."""
    users = {}
    for path in (*paths.values(), *tree.links):
        if file.get(path, getlink=True) is None:
            continue
        node = file.get(path)
        if isinstance(node, h5py.Group) or not (replace or is_placeholder(node)):
            raise _exists(target, path, "a group" if isinstance(node, h5py.Group) else "an array")
        if isinstance(node, h5py.Dataset) and isinstance(file.get(path, getlink=True), h5py.HardLink):
            users[path] = unlink(file, path)
        else:
            del file[path]
    return users


def _exists(target: Path, path: str, what: str) -> TargetExistsError:
    hint = "Choose another name, or pass replace=True" if what == "an array" else "Choose another name"
    return TargetExistsError(message("adding to", target, path, expected="a name that is free", got=what, hint=hint))
