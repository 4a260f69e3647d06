"""Settings of packstore: how much memory its caches keep, how many threads read, how many requests run at once.

``packstore.config`` works as ``zarr.config`` does (it is a `donfig <https://donfig.readthedocs.io>`_ configuration):
``packstore.config.set({"threads": 1})`` changes a setting, for a while where it is used as a context manager;
environment variables (``PACKSTORE_THREADS=1``, ``PACKSTORE_CACHE__CHUNKS_NBYTES=1000000``) and YAML files in
``~/.config/packstore`` do so for a whole process.

=============================  =======  =============================================================================
setting                        default  meaning
=============================  =======  =============================================================================
threads                        None     threads of one read or write; None: the CPUs that this process may use, at
                                        most 16
local.check_inode              False    whether a local file that was opened must also keep its inode; else its size
                                        and time of modification tell, and a copy in its place is the same file
local.settled_seconds          10       a local file that changed later than that may be cut short: what is decoded of
                                        it is read, not mapped, since a mapping that ends under a reader ends the
                                        process; 0: all files are mapped
array.copy                     True     indexing a `packstore.Array` gives arrays of the caller's own; False: views of
                                        mapped files where nothing is to decode, which are read-only
cache.chunks_nbytes            96 MiB   decoded chunks (HDF5, zarr) of which a crop used a part
cache.members_nbytes           88 MiB   inflated npz members
cache.text_nbytes              16 MiB   parsed blocks of text files
cache.pickle_nbytes            16 MiB   arrays decoded from pickles
cache.gzip_nbytes              8 MiB    inflated stretches of gzipped text
cache.shards_nbytes            8 MiB    indexes of zarr shards
cache.heaps_nbytes             8 MiB    collections of HDF5's global heap
cache.indexes_nbytes           16 MiB   blocks of headers and indexes of remote objects
cache.worker_fraction          0.0625   of a dask worker's memory limit: all caches together keep at most that much
isolate                        False    whether the index of an HDF5 file is first read by a process of its own, which
                                        may die of it; ``packstore info`` does so
limits.isolate_seconds         60       how long that process may take
limits.isolate_nbytes          4 GiB    how much memory it may take
limits.inflate_ratio           1100     decoded bytes for each stored byte, beyond 128 MiB of them: a chunk or member
                                        that claims more is refused (deflate reaches 1032)
limits.member_nbytes           256 MiB  a deflated npz member up to this size is decoded at once; a crop of a larger one
                                        decodes what lies before it, and keeps little of it
remote.concurrency             16       requests that a process has under way at the same time
remote.gap_nbytes              1 MiB    two byte ranges of a remote object that are closer become one request
remote.inflight_nbytes         64 MiB   stored bytes that one read asks for before it decodes them
remote.retries                 5        further tries for a request that failed for a reason that may pass
remote.retry_seconds           30       no further try of a request begins later than that
remote.timeout_seconds         60       how long a server may be silent
=============================  =======  =============================================================================

One decoded npz member, text block or pickled array is kept even where it is larger than its budget: it cannot be
decoded in parts, and each crop would decode all of it again.

Examples
--------
>>> import packstore
>>> with packstore.config.set({"cache.chunks_nbytes": 0}):
...     packstore.config.get("cache.chunks_nbytes")
0
"""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from packstore.errors import OptionError, message

__all__ = [
    "DEFAULTS",
    "cache_nbytes",
    "checks_inode",
    "copies_arrays",
    "cpu_count",
    "inflate_ratio",
    "isolate_limits",
    "isolates",
    "member_nbytes",
    "settled_seconds",
    "thread_count",
]

MIB = 1 << 20
MAX_THREADS = 16

DEFAULTS: dict[str, Any] = {
    "threads": None,
    "array": {"copy": True},
    "local": {"check_inode": False, "settled_seconds": 10},
    "cache": {
        "chunks_nbytes": 96 * MIB,
        "members_nbytes": 88 * MIB,
        "text_nbytes": 16 * MIB,
        "pickle_nbytes": 16 * MIB,
        "gzip_nbytes": 8 * MIB,
        "shards_nbytes": 8 * MIB,
        "heaps_nbytes": 8 * MIB,
        "indexes_nbytes": 16 * MIB,
        "worker_fraction": 1 / 16,
    },
    "isolate": False,
    "limits": {
        "inflate_ratio": 1100,
        "member_nbytes": 256 * MIB,
        "isolate_seconds": 60,
        "isolate_nbytes": 4096 * MIB,
    },
    "remote": {
        "concurrency": 16,
        "gap_nbytes": MIB,
        "inflight_nbytes": 64 * MIB,
        "retries": 5,
        "retry_seconds": 30,
        "timeout_seconds": 60,
    },
}


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The methods of donfig's configuration, of which `_ConfigModule` makes attributes of this module."""


@functools.cache
def _settings() -> Any:
    """The donfig object; made on first use, since importing donfig takes longer than importing packstore."""
    from donfig import Config

    class PackstoreConfig(Config):  # type: ignore[misc]  # donfig is not typed
        """donfig's configuration, with zarr's `reset`."""

        def reset(self) -> None:
            """Go back to the defaults, the environment and the files."""
            self.refresh()

    return PackstoreConfig("packstore", defaults=[DEFAULTS])


@functools.cache
def _has_defaults() -> bool:
    """Whether neither the environment nor a file that donfig looks at can hold settings."""
    return not any(name.startswith("PACKSTORE") for name in os.environ) and not any(map(os.path.exists, _folders()))


def _folders() -> list[str]:
    """Where donfig looks for files of settings."""
    prefixes = [os.path.join(prefix, "etc", "packstore") for prefix in (sys.prefix, sys.exec_prefix)]
    return ["/etc/packstore", *prefixes, os.path.expanduser("~/.config/packstore")]


def _get(name: str) -> Any:
    """A setting: from `DEFAULTS` as long as nothing can have changed it, since donfig's import takes 15 ms."""
    if _settings.cache_info().currsize or not _has_defaults():
        return _settings().get(name)
    found: Any = DEFAULTS
    for part in name.split("."):
        found = found[part]
    return found


def cache_nbytes(name: str) -> int:
    """Bytes that the cache `name` may keep.

    Within a dask worker all caches together keep at most ``cache.worker_fraction`` of its memory limit.

    Examples
    --------
    >>> cache_nbytes("shards")
    8388608
    """
    nbytes = int(_get(f"cache.{name}_nbytes"))
    limit = _worker_limit_nbytes()
    if limit is None:
        return nbytes
    settings = _get("cache")
    total = sum(int(value) for key, value in settings.items() if key.replace("-", "_").endswith("_nbytes"))
    share = limit * float(_get("cache.worker_fraction"))
    return nbytes if total <= share else int(nbytes * share / total)


def _worker_limit_nbytes() -> int | None:
    """The memory limit of the dask worker that runs this code, or None."""
    worker = sys.modules.get("distributed.worker")
    if worker is None:
        return None
    try:
        limit = worker.get_worker().memory_manager.memory_limit
    except (ValueError, AttributeError):  # no worker here, or a release that keeps its limit elsewhere
        return None
    return int(limit) if limit else None


def thread_count() -> int:
    """Threads that one read or write may use: the setting, or the CPUs that this process may run on.

    Raises
    ------
    OptionError
        The setting is no positive whole number.
    """
    wanted = _get("threads")
    if wanted is None:
        return min(cpu_count(), MAX_THREADS)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise OptionError(message("reading packstore.config", expected="threads to be 1 or more", got=repr(wanted)))
    return wanted


def copies_arrays(wanted: object = None) -> bool:
    """Whether indexing gives the caller arrays of their own: as `wanted`, or as the setting says where that is None.

    Raises
    ------
    OptionError
        Neither True nor False.
    """
    found = _get("array.copy") if wanted is None else wanted
    if not isinstance(found, bool):
        what = "reading packstore.config" if wanted is None else "opening an array"
        raise OptionError(message(what, expected="copy to be True or False", got=repr(found)))
    return found


def inflate_ratio() -> float:
    """The most decoded bytes for a stored one, where there are many of them."""
    return float(_get("limits.inflate_ratio"))


def member_nbytes() -> int:
    """The largest compressed member that is decoded at once."""
    return int(_get("limits.member_nbytes"))


def settled_seconds() -> float:
    """How long ago the last change of a local file must be for it to count as finished."""
    return float(_get("local.settled_seconds"))


def isolates() -> bool:
    """Whether a process of its own tries out what libhdf5 makes of a file."""
    return bool(_get("isolate"))


def isolate_limits() -> tuple[float, int]:
    """The seconds and the bytes that such a process may take."""
    return float(_get("limits.isolate_seconds")), int(_get("limits.isolate_nbytes"))


def checks_inode() -> bool:
    """Whether the inode of a local file belongs to its state."""
    return bool(_get("local.check_inode"))


def cpu_count() -> int:
    """CPUs that this process may run on, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _ConfigModule(ModuleType):
    """The module with the methods of the configuration: ``packstore.config`` is both."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(_settings(), name)

    def __getitem__(self, name: str) -> Any:
        return _settings()[name]

    def __contains__(self, name: str) -> bool:
        return name in _settings()


sys.modules[__name__].__class__ = _ConfigModule
