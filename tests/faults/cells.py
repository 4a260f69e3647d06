"""One cell of the table: a fault is made, the array is read in some way, and what came of it is told in a word."""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import multiprocessing
import os
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from packstore.errors import PackstoreError
from packstore.source.local import close_files
from packstore.views.lazy import LazyArray, open_lazy
from tests.faults.files import FILES, values

__all__ = ["CHANGES", "REFUSALS", "WAYS", "outcome", "run"]

RIGHT = "right"


# -- what happens to the file --------------------------------------------------------------------------------------


def _target(path: Path, chunk: str | None) -> Path:
    return path / chunk if chunk else path


def _truncate(path: Path, kind: Any) -> None:
    os.truncate(_target(path, kind.chunk), _target(path, kind.chunk).stat().st_size // 2)


def _rewrite(path: Path, kind: Any) -> None:
    kind.write(path, values(1, kind.dtype))
    _later(path)


def _replace(path: Path, kind: Any) -> None:
    other = path.with_name("other" + kind.suffix)
    kind.write(other, values(1, kind.dtype))
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(other, path)
    _later(path)


def _later(path: Path) -> None:
    """Set the clock forward: what was written within one tick of it is another matter."""
    for each in [path, *path.rglob("*")]:
        stat = each.stat()
        os.utime(each, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def _delete(path: Path, kind: Any) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _lose_chunk(path: Path, kind: Any) -> None:
    _target(path, kind.chunk).unlink()


def _swap_chunk(path: Path, kind: Any) -> None:
    """Another file in the place of one of a directory; the metadata stay as they are."""
    other = path.with_name("other" + kind.suffix)
    kind.write(other, values(1, kind.dtype))
    os.replace(_target(other, kind.chunk), _target(path, kind.chunk))
    shutil.rmtree(other) if other.is_dir() else None


CHANGES: dict[str, Callable[[Path, Any], None]] = {
    "truncated": _truncate,
    "rewritten": _rewrite,
    "replaced": _replace,
    "deleted": _delete,
    "part deleted": _lose_chunk,
    "part replaced": _swap_chunk,
}


# -- what the system says ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _failing(code: int, names: tuple[tuple[Any, str], ...]) -> Iterator[None]:
    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    before = [(owner, name, getattr(owner, name)) for owner, name in names if hasattr(owner, name)]
    for owner, name, _ in before:
        setattr(owner, name, fail)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


@contextlib.contextmanager
def _short() -> Iterator[None]:
    """Reads give a few bytes only, as they may over a network."""
    pread, preadv = os.pread, os.preadv

    def few(fd: int, nbytes: int, offset: int) -> bytes:
        return pread(fd, min(nbytes, 1000), offset)

    def few_into(fd: int, buffers: Any, offset: int) -> int:
        return preadv(fd, [memoryview(buffers[0])[:1000]], offset)

    os.pread, os.preadv = few, few_into  # type: ignore[assignment]
    try:
        yield
    finally:
        os.pread, os.preadv = pread, preadv


def _reads() -> tuple[tuple[Any, str], ...]:
    import mmap

    return ((os, "pread"), (os, "preadv"), (mmap, "mmap"), (os, "read"))


REFUSALS: dict[str, Callable[[], Any]] = {
    "reads fail": lambda: _failing(errno.EIO, _reads()),
    "opening fails": lambda: _failing(errno.EIO, ((os, "open"), (builtins, "open"))),
    "too many files": lambda: _failing(errno.EMFILE, ((os, "open"), (builtins, "open"))),
    "not allowed": lambda: _failing(errno.EACCES, ((os, "open"), (builtins, "open"))),
    "short reads": _short,
}


# -- how it is read ------------------------------------------------------------------------------------------------


def outcome(array: Any, want: np.ndarray[Any, Any]) -> str:
    """`RIGHT`, the name of packstore's error, or what should never be."""
    try:
        found = np.asarray(array() if callable(array) else array[...])
    except PackstoreError as error:
        return type(error).__name__
    except BaseException as error:
        return f"FOREIGN {type(error).__name__}: {error}"
    return RIGHT if found.shape == want.shape and np.array_equal(found, want) else "OTHER VALUES"


Read = Callable[[LazyArray, Any, str | None], str]


def _refusing(refusal: str | None) -> Any:
    """Under what the system says; nothing special where that is None."""
    return contextlib.nullcontext() if refusal is None else REFUSALS[refusal]()


def _in_place(read: Callable[[LazyArray, Any], str]) -> Read:
    def refused(array: LazyArray, want: Any, refusal: str | None) -> str:
        with _refusing(refusal):
            return read(array, want)

    return refused


def _threads(array: LazyArray, want: Any) -> str:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(outcome(array, want))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "/".join(sorted(set(found)))


def _dask(array: LazyArray, want: Any) -> str:
    from packstore.views.dask.from_lazy import from_lazy

    return outcome(lambda: from_lazy(array, chunks=(20, 20)).compute(scheduler="threads"), want)


def _child(connection: Any, pickled: bytes, want: Any, refusal: str | None) -> None:
    with _refusing(refusal):
        found = outcome(lambda: pickle.loads(pickled)[...], want)
    connection.send(found)
    connection.close()


def _process(method: str) -> Read:
    def read(array: LazyArray, want: Any, refusal: str | None) -> str:
        context = multiprocessing.get_context(method)
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(theirs, pickle.dumps(array), want, refusal))  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        try:
            return str(mine.recv())
        except EOFError:
            return "FOREIGN death of the child"
        finally:
            process.join()

    return read


WAYS: dict[str, Read] = {
    "here": _in_place(outcome),
    "threads": _in_place(_threads),
    "dask": _in_place(_dask),
    "fork": _process("fork"),
    "spawn": _process("spawn"),
}


def run(name: str, way: str, folder: Path) -> dict[str, str]:
    """Every fault for one format and one way: what came of each.

    Parameters
    ----------
    name, way
        From `FILES` and `WAYS`.
    folder
        Where the files may be.
    """
    kind, read = FILES[name], WAYS[way]
    want = values(0, kind.dtype)
    found: dict[str, str] = {}
    for fault in [*CHANGES, *REFUSALS]:
        path = folder / f"{fault.replace(' ', '')}{kind.suffix}"
        kind.write(path, want)
        array = open_lazy(path, kind.component, **kind.options)
        if fault in CHANGES:
            # Half of the times it has been read before.
            if len(found) % 2:
                array[:1]
            # A change within the same tick of the system's clock as the opening is another matter.
            time.sleep(0.02)
            CHANGES[fault](path, kind)
            found[fault] = read(array, want, None)
            continue
        close_files(str(folder))
        found[fault] = read(array, want, fault)
        if way == "here":
            other = path.with_name(f"opened{path.name}")
            kind.write(other, want)
            with REFUSALS[fault]():
                opened = functools.partial(open_lazy, other, kind.component, **kind.options)
                found[f"{fault} (while opening)"] = outcome(lambda opened=opened: opened()[...], want)
    return found


if __name__ == "__main__":
    # A process of its own, since a fork of one that has threads may hang.
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(run(sys.argv[1], sys.argv[2], Path(place))))
