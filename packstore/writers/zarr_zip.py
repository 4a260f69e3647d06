"""``.zarr.zip`` and ``.ozx``: a zarr hierarchy in one file, which `zarr.storage.ZipStore` reads.

Members are stored without compression (zarr has its own) and with their metadata first, as OME-Zarr's RFC-9 asks
(https://ngff.openmicroscopy.org/rfc/9/): a reader has all of it after one read of the beginning.
"""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

from packstore.errors import FormatError, PackstoreError, message
from packstore.writers import zarr as directory
from packstore.writers.atomic import spool_beside
from packstore.writers.progress import Progress
from packstore.writers.tree import Tree
from packstore.writers.zarr_addition import check_addition, merge_stores
from packstore.writers.zarr_objects import METADATA

__all__ = ["refusal", "write"]

refusal = directory.refusal


# The options, and what goes wrong, are those of a directory.
@functools.wraps(directory.write)
def write(  # noqa: D103
    target: Path, tree: Tree, progress: Progress, *, base: Path | None = None, replace: bool = False, **options: Any
) -> None:
    spool = spool_beside(target)
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir()
    new = spool / "new"
    try:
        if base is None:
            directory.write(new, tree, progress, **options)
            _pack(new, target)
            return
        old = spool / "old"
        _unpack(base, old)
        try:
            options["zarr_format"] = check_addition(old, tree, replace=replace, zarr_format=options.get("zarr_format"))
        except PackstoreError as error:
            raise type(error)(str(error).replace(str(old), str(base))) from None
        directory.write(new, tree, progress, **options)
        merge_stores(new, old)
        _pack(old, target)
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def _unpack(base: Path, folder: Path) -> None:
    """The members of an archive as files: the nodes that are added are merged with them as with a directory."""
    try:
        with zipfile.ZipFile(base) as archive:
            # It keeps names from leaving the folder.
            archive.extractall(folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as why:
        raise FormatError(message("adding to", base, expected="a zip archive with a zarr group", got=why)) from None


def _pack(folder: Path, target: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    # Documents of the root, those below it, then chunks.
    names.sort(key=lambda name: (not _is_metadata(name), name.count("/") if _is_metadata(name) else 0, name))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in names:
            archive.write(folder / name, name)
        version = _ome_version(folder)
        if version is not None:
            zipped = {"version": version, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
            archive.comment = json.dumps({"ome": zipped}).encode()


def _is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] in METADATA


def _ome_version(folder: Path) -> str | None:
    """The version of OME-Zarr that the root's attributes name."""
    path = folder / "zarr.json"
    attributes = json.loads(path.read_text()).get("attributes", {}) if path.exists() else {}
    found = attributes.get("ome")
    return str(found["version"]) if isinstance(found, dict) and "version" in found else None
