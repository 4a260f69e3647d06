"""Writes that happen whole or not at all: a temporary name in the same folder, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from packstore.errors import TargetExistsError, WriteError, message

__all__ = ["atomic_target", "preallocate", "sync_tree"]


@contextlib.contextmanager
def atomic_target(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    Raises
    ------
    TargetExistsError
        `path` exists and `overwrite` is false.
    WriteError
        The operating system refused: disk full, file size limit, no permission. `path` is as it was.

    Notes
    -----
    A directory in the place of an existing one takes two renames: a crash between them leaves neither under `path`.
    """
    target = Path(os.path.abspath(os.fspath(path)))
    _check_free(target, overwrite)
    if not target.parent.is_dir():
        raise WriteError(
            errno.ENOENT, message("writing", target, expected="an existing folder", got=f"no folder {target.parent}")
        )
    temporary = target.parent / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
        sync_tree(temporary)
        _check_free(target, overwrite)
        _replace(temporary, target)
    except OSError as error:
        if isinstance(error, (TargetExistsError, WriteError)):
            raise
        raise WriteError(
            error.errno or errno.EIO,
            message("writing", target, got=error.strerror or str(error), hint=_hint(error.errno)),
        ) from error
    finally:
        _remove(temporary)


def _check_free(target: Path, overwrite: bool) -> None:
    if not overwrite and os.path.lexists(target):
        raise TargetExistsError(
            message("writing", target, expected="no such file yet", got="an existing one", hint="Pass overwrite=True")
        )


def _hint(code: int | None) -> str | None:
    return {
        errno.ENOSPC: "The disk is full; nothing was changed",
        errno.EFBIG: "The file would pass the allowed size; nothing was changed",
        errno.EDQUOT: "The quota is used up; nothing was changed",
    }.get(code or 0, "Nothing was changed")


def _replace(temporary: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        aside = target.parent / f"{temporary.name}.old"
        os.rename(target, aside)
        try:
            os.rename(temporary, target)
        except OSError:
            os.rename(aside, target)
            raise
        shutil.rmtree(aside)
    else:
        if temporary.is_dir() and target.exists():
            os.unlink(target)
        os.replace(temporary, target)
    _sync_folder(target.parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def sync_tree(path: Path) -> None:
    """Flush a file, or every file below a folder, to the disk."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _sync_file(os.path.join(folder, name))
            _sync_folder(Path(folder))
    elif path.exists():
        _sync_file(os.fspath(path))


def _sync_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(path: Path) -> None:
    # Some file systems cannot flush a folder; the rename itself has happened all the same.
    with contextlib.suppress(OSError):
        _sync_file(os.fspath(path))


def preallocate(path: Path, nbytes: int) -> None:
    """Make a file of `nbytes` zeros whose blocks exist, so that a full disk shows now and not in a later write."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        if nbytes:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, nbytes)
            else:
                os.ftruncate(fd, nbytes)
    finally:
        os.close(fd)
