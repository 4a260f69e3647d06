"""Targets behind URLs: the local path where a writer writes, and how what it wrote gets to its URL."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packstore.errors import OptionError, PackstoreError, TargetExistsError, WriteError, message
from packstore.source.remote.uploads import Uploads
from packstore.writers.atomic import name_target
from packstore.writers.zarr_objects import UNFINISHED, check_folder, publish

__all__ = ["check_url", "uploaded"]


def check_url(uploads: Uploads, *, overwrite: bool, folder: bool, mode: str) -> None:
    """Raise where writing would, before it starts.

    Raises
    ------
    TargetExistsError
        There is an object (for zarr: there are some) and `overwrite` is false.
    OptionError
        ``mode="a"`` with a target that exists: objects are never changed in place.
    """
    names = uploads.names() if folder else []
    exists = bool(names) or uploads.exists()
    if mode == "a" and exists:
        hint = "Save to another URL, or add to a local copy and upload that"
        raise OptionError(
            message("adding to", uploads.name, expected="a local target", got="a URL that exists", hint=hint)
        )
    if folder:
        check_folder(uploads, overwrite=overwrite)
    elif exists and not overwrite:
        hint = "Pass overwrite=True"
        raise TargetExistsError(
            message("writing", uploads.name, expected="no object of that name yet", got="an existing one", hint=hint)
        )


@contextlib.contextmanager
def uploaded(uploads: Uploads, *, overwrite: bool, folder: bool, late: bool = False) -> Iterator[Path]:
    """Give a temporary local path; what is written there is uploaded when the block ends well.

    Parameters
    ----------
    folder
        A zarr hierarchy: the block uploads the chunks itself, and leaves the metadata at the path. What it replaces is
        removed before, and what was uploaded is removed when the block fails. Otherwise one file, which becomes one
        object: what it replaces is there until then.
    late
        Other machines upload, too, and may still do so when the block has failed: a mark stays, by which the next save
        knows that their chunks may be removed.

    Raises
    ------
    TargetExistsError
        As `check_url`.
    WriteError
        The server refused, or the disk with the temporary file did.
    """
    check_url(uploads, overwrite=overwrite, folder=folder, mode="w")
    with tempfile.TemporaryDirectory(prefix="packstore-") as place:
        # Libraries show the name of the file that they write.
        temporary = Path(place) / (os.path.basename(uploads.name.rstrip("/")) or "array")
        try:
            if folder:
                with _replaced(uploads, overwrite, late):
                    yield temporary
                    publish(uploads, temporary)
            else:
                yield temporary
                uploads.put_file(os.fspath(temporary))
        except PackstoreError as error:
            name_target(error, temporary, uploads.name)
            raise
        except OSError as error:
            if error.filename is not None and not os.fsdecode(error.filename).startswith(place):
                raise
            hint = f"Files are made in {tempfile.gettempdir()} before they are uploaded; TMPDIR names another place"
            got = error.strerror or str(error)
            raise WriteError(message("writing", uploads.name, got=got, hint=hint)) from error


@contextlib.contextmanager
def _replaced(uploads: Uploads, overwrite: bool, late: bool) -> Iterator[None]:
    """Remove the objects of before, for a block that writes new ones; remove those where it fails."""
    names = check_folder(uploads, overwrite=overwrite)
    # Whoever finds this knows that the chunks beside it may be removed. It comes first and goes last.
    uploads.put(UNFINISHED, b"")
    if names:
        # Readers must not see old metadata with new chunks, nor chunks of a larger array that was there before.
        roots = [name for name in names if "/" not in name and name != UNFINISHED]
        uploads.remove(roots)
        uploads.remove([name for name in names if "/" in name])
    try:
        yield
    except BaseException:  # an interrupt included: half a hierarchy must not stay
        with contextlib.suppress(PackstoreError):
            left = uploads.names()
            uploads.remove([name for name in left if name != UNFINISHED])
            if not late:
                uploads.remove([UNFINISHED])
        raise
