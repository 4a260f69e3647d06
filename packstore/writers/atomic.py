"""Writes that happen whole or not at all: a temporary name in the same folder, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packstore.errors import PackstoreError, TargetExistsError, WriteError, message

__all__ = [
    "addition_beside",
    "allocate",
    "atomic_target",
    "check_target",
    "name_target",
    "preallocate",
    "spool_beside",
    "sync_tree",
]

# What a save may leave when it is killed: ".<name>.<host>-<pid>-<random>.tmp", with ".old" or ".spool" behind it.
_SPOOL, _ASIDE = ".spool", ".old"
_NAME_NBYTES = 100  # of the target's name in that; file systems take 255 bytes
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")


@contextlib.contextmanager
def atomic_target(path: str | os.PathLike[str], *, overwrite: bool, folder: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    Parameters
    ----------
    folder
        Whether a folder is going to be written. Only a zarr store or an empty folder is ever replaced by one, and a
        folder never by a file.

    Raises
    ------
    TargetExistsError
        `path` exists and `overwrite` is false, or it is a folder that must not be replaced.
    WriteError
        The operating system refused: disk full, file size limit, no permission. `path` is as it was.

    Notes
    -----
    A symbolic link stays one: what it points to is replaced. What earlier saves into the same folder left
    behind when they were killed is removed first. A folder and what it replaces change places in one step where the
    system has one (Linux); elsewhere a crash between two renames leaves the old one under a name that ends in ``.old``.
    """
    target = check_target(path, overwrite=overwrite, folder=folder)
    _remove_debris(target)
    temporary = target.parent / f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
        _keep_mode(temporary, target)
        sync_tree(temporary)
        _check_free(target, overwrite, folder)
        _replace(temporary, target)
    except PackstoreError as error:
        name_target(error, temporary, target)
        raise
    except OSError as error:
        if _elsewhere(error, temporary):
            raise
        raise _refused(target, error) from error
    finally:
        _remove(temporary)
        _remove(spool_beside(temporary))


def name_target(error: PackstoreError, temporary: Path, target: Path | str) -> None:
    """Let an error speak of the target: nobody knows the temporary name, and some code knows of no file."""

    def named(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        # A block, an attribute or an element says which array it is of, not where that is written.
        text = re.sub(r"^(saving|writing)(?=[:\[])", lambda verb: f"{verb[0]} {temporary}", text)
        return text.replace(str(temporary), str(target))

    error.args = tuple(map(named, error.args))
    if isinstance(error, OSError):
        error.strerror = named(error.strerror)


@contextlib.contextmanager
def addition_beside(existing: Path) -> Iterator[Path]:
    """Give a temporary folder beside `existing`, from which nodes are moved into it; remove it afterwards.

    Raises
    ------
    WriteError
        The operating system refused: disk full, file size limit, no permission.
    """
    # Under a name that nothing has, so that only the temporary one is used.
    stand_in = existing.with_name(f"{existing.name}.addition")
    _remove_debris(stand_in)
    temporary = existing.parent / f"{_prefix(stand_in)}{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
    except PackstoreError as error:
        name_target(error, temporary, existing)
        raise
    except OSError as error:
        if _elsewhere(error, temporary):
            raise
        raise _refused(existing, error) from error
    finally:
        _remove(temporary)


def _refused(target: Path, error: OSError) -> WriteError:
    code = _code(error)
    text = os.strerror(code) if code else error.strerror or str(error)
    return WriteError(code or errno.EIO, message("writing", target, got=text, hint=_hint(code)))


def check_target(path: str | os.PathLike[str], *, overwrite: bool, folder: bool = False) -> Path:
    """The file or folder that `path` means; raises where `atomic_target` would before it starts."""
    target = Path(os.path.realpath(os.fspath(path)))
    _check_free(target, overwrite, folder)
    if not target.parent.is_dir():
        raise WriteError(
            errno.ENOENT, message("writing", target, expected="an existing folder", got=f"no folder {target.parent}")
        )
    return target


def spool_beside(temporary: Path) -> Path:
    """Where a writer may keep bytes that it needs again; removed with `temporary`."""
    return temporary.with_name(temporary.name + _SPOOL)


@functools.cache
def _machine() -> str:
    """Where a process id means one process: this machine, and in it this container."""
    where = platform.node()
    # Only Linux says it. Containers may share a machine's name, and a folder.
    with contextlib.suppress(OSError):
        where += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(where.encode()):08x}"


def _prefix(target: Path) -> str:
    """How the temporary names of one target start."""
    return f".{_shortened(target.name)}.{_machine()}-"


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_NAME_NBYTES])


def _remove_debris(target: Path) -> None:
    """Remove what killed processes of this machine left in the target's folder, of this and of other targets."""
    pattern = re.compile(rf"\.(.+)\.{_machine()}-(\d+)-[0-9a-f]{{8}}\.tmp(\.spool|\.old)?", re.DOTALL)
    # A folder that may be written but not listed has no debris that could be found.
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            found = pattern.fullmatch(name)
            if found is None or _alive(int(found[2])):
                continue
            if found[3] != _ASIDE:
                _remove(target.with_name(name))
                continue
            # From a crash between two renames: the only copy there is, unless the target came back.
            owner = target if found[1] == _shortened(target.name) else target.with_name(found[1])
            if os.path.lexists(owner):
                _remove(target.with_name(name))
            elif owner == target or _shortened(found[1] + "x") != found[1]:
                # A name that was cut is that of nobody knows whom.
                os.rename(target.with_name(name), owner)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _check_free(target: Path, overwrite: bool, folder: bool) -> None:
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise TargetExistsError(
            message("writing", target, expected="no such file yet", got="an existing one", hint="Pass overwrite=True")
        )
    if target.is_dir() and not folder:
        raise TargetExistsError(
            message("writing", target, expected="a file to replace", got="a folder", hint="Remove it yourself")
        )
    if target.is_dir() and not any((target / n).exists() for n in _ZARR_FILES) and os.listdir(target):
        raise TargetExistsError(
            message(
                "writing",
                target,
                expected="a zarr store to replace",
                got="a folder of other files",
                hint="Remove it yourself",
            )
        )


def _elsewhere(error: OSError, temporary: Path) -> bool:
    """Whether the error names a file that is not being written: one that the data comes from."""
    named = error.filename
    return isinstance(named, (str, bytes)) and not os.fsdecode(named).startswith(os.fspath(temporary))


def _code(error: OSError) -> int | None:
    """The system's error number; libhdf5 has it only in its text."""
    if error.errno:
        return error.errno
    found = re.search(r"\berrno = (\d+)", str(error))
    return int(found[1]) if found else None


def _hint(code: int | None) -> str:
    return {
        errno.ENOSPC: "The disk is full; nothing was changed",
        errno.EFBIG: "The file would pass the allowed size; nothing was changed",
        errno.EDQUOT: "The quota is used up; nothing was changed",
    }.get(code or 0, "Nothing was changed")


def _keep_mode(temporary: Path, target: Path) -> None:
    """Give a file the permissions of the one that it replaces."""
    with contextlib.suppress(OSError):
        if target.is_file() and temporary.is_file():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))


def _replace(temporary: Path, target: Path) -> None:
    if temporary.is_dir() and os.path.lexists(target):
        if not _exchange(temporary, target):
            aside = target.with_name(temporary.name + _ASIDE)
            os.rename(target, aside)
            try:
                os.rename(temporary, target)
            except OSError:
                os.rename(aside, target)
                raise
            _remove(aside)
        # After an exchange `temporary` is what was replaced; the caller removes it.
    else:
        os.replace(temporary, target)
    _sync_folder(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system cannot."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    at_fdcwd, exchange = -100, 2
    return rename is not None and (rename(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), exchange) == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # A thread or worker that was still writing may add a file while this runs.
        for wait_s in (0, 0.001, 0.01, 0.1, 1):
            time.sleep(wait_s)
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
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


def preallocate(path: Path, nbytes: int, *, exists: bool = False) -> None:
    """Make a file of `nbytes` whose blocks exist, so that a full disk shows now and not in a later write.

    It is new and of zeros, or the longer one of what `exists`.
    """
    create = 0 if exists else os.O_CREAT | os.O_EXCL
    fd = os.open(path, os.O_RDWR | create | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        allocate(fd, nbytes)
    finally:
        os.close(fd)


def allocate(fd: int, nbytes: int) -> None:
    """Extend an open file to `nbytes`, with blocks behind them where the file system can."""
    if not nbytes:
        return
    try:
        os.posix_fallocate(fd, 0, nbytes)
    except (AttributeError, OSError) as error:
        # Not every system or file system has it; then a full disk shows when the bytes are written.
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(fd, nbytes)
