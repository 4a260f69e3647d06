"""The state that one reading of a file shares; in: the caller's options, out: open sessions and described datasets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packstore.errors import FormatError, OptionError, PackstoreError
from packstore.readers.hdf5.external import ExternalPolicy, version_of
from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.links import Linker, Target
from packstore.readers.hdf5.problems import NotServed
from packstore.source import FileSource, Source
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["Chain", "Context", "Functions"]

MAX_SESSIONS = 32

# Virtual datasets whose sources are being read, outermost first: (file, dataset).
Chain = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Functions:
    """The functions above this module that a reading calls.

    Parameters
    ----------
    describe
        ``describe(context, target)`` describes a dataset, or raises.
    read
        ``read(policy, chain, source, component)`` reads one dataset of another file.
    """

    describe: Callable[[Context, Target], ManifestArray]
    read: Callable[[ExternalPolicy, Chain, Source, str], ManifestGroup]


class Context:
    """One call of `read`.

    Parameters
    ----------
    source
        The named file.
    functions
        How datasets are described and other files are read.
    chunks, policy
        The caller's options.
    component
        The one array that is wanted, or None.
    chain
        The virtual datasets that this reading is a part of.
    """

    def __init__(
        self,
        source: Source,
        functions: Functions,
        chunks: Any,
        policy: ExternalPolicy,
        component: str | None = None,
        chain: Chain = (),
    ) -> None:
        self.functions = functions
        self.chunks = chunks
        self.policy = policy
        self.component = component
        self.chain = chain
        self.linker = Linker(self)
        self.main = Session(source)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._known: dict[tuple[str, int], ManifestArray | str] = {}

    def close(self) -> None:
        """Close every file."""
        for session in (*self._sessions.values(), self.main):
            session.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def chunks_for(self, shape: Sequence[int]) -> Any:
        """The caller's chunks; None where they are for a whole file and do not fit this shape."""
        if self.component is None and (
            not shape
            or (
                isinstance(self.chunks, Sequence)
                and not isinstance(self.chunks, str)
                and len(self.chunks) != len(shape)
            )
        ):
            return None
        return self.chunks

    def open_external(self, session: Session, name: str, why: str) -> Session:
        """Open another file that `session` refers to, if the caller allows it.

        Raises
        ------
        NotServed
            There is no such file, or it is not HDF5.
        ExternalFileError
            The file is not allowed.
        """
        found = self.policy.find(session.directory, name, why, self.main.source.name)
        if found is None:
            raise NotServed(f"no file {name!r}")
        return self.main if found.path == self.main.source.name else self.open(FileSource(found.path, found))

    def open(self, source: FileSource) -> Session:
        """Open another file.

        Raises
        ------
        NotServed
            It is not HDF5.
        """
        path = source.path
        found = self._sessions.get(path)
        if found is None:
            try:
                found = Session(source)
            except FormatError as error:
                raise NotServed(str(error)) from None
            self._sessions[path] = found
            for old in [p for p, s in self._sessions.items() if not s.users and s is not found]:
                if len(self._sessions) <= MAX_SESSIONS:
                    break
                self._sessions.pop(old).close()
        self._sessions.move_to_end(path)
        return found

    def describe(self, target: Target) -> ManifestArray:
        """One dataset, described once, however many names it has.

        Raises
        ------
        NotServed
            The text says why; nothing else that is in the file makes this raise.
        """
        found = self._known.get(target.key)
        if found is None:
            target.session.users += 1
            try:
                found = self._describe(target)
            finally:
                target.session.users -= 1
            self._known[target.key] = found
        if isinstance(found, str):
            raise NotServed(found)
        return found

    def _describe(self, target: Target) -> ManifestArray | str:
        try:
            found = self.functions.describe(self, target)
        except OptionError:
            raise
        except PackstoreError as why:
            return str(why)
        except H5_ERRORS as why:
            # One damaged object must not hide its siblings, and damage can surface anywhere in h5py.
            return f"h5py does not read its description: {type(why).__name__}: {why}"
        if target.session is self.main:
            return found
        # Its elements lie in another file, which the fingerprint of the named one does not tell of.
        return replace(found, version=version_of([target.session.source.fingerprint, target.key[1], found.version]))
