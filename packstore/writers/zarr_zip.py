"""``.zarr.zip`` and ``.ozx``: a zarr hierarchy in one file, which `zarr.storage.ZipStore` reads.

Members are stored without compression (zarr has its own) and with their metadata first, as OME-Zarr's RFC-9 asks
(https://ngff.openmicroscopy.org/rfc/9/): a reader has all of it after one read of the beginning.
"""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from packstore.writers import zarr as directory
from packstore.writers.atomic import spool_beside
from packstore.writers.progress import Progress
from packstore.writers.tree import Tree
from packstore.writers.zarr_objects import METADATA

__all__ = ["refusal", "write"]

refusal = directory.refusal


# The options, and what goes wrong, are those of a directory.
@functools.wraps(directory.write)
def write(target: Path, tree: Tree, progress: Progress, **options: Any) -> None:  # noqa: D103
    folder = spool_beside(target)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        directory.write(folder, tree, progress, **options)
        _pack(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
