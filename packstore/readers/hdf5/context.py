"""What one reading of a file shares: open sessions, the caller's options, and what has been described already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import h5py

from packstore.errors import ExternalFileError, FormatError, OptionError, PackstoreError
from packstore.readers.hdf5.external import ExternalPolicy
from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.links import Linker, LinkFailure, Target
from packstore.source import FileSource, Source
from packstore.storage import ManifestArray

__all__ = ["Context", "Refused"]

MAX_SESSIONS = 32


class Refused(str):
    """Why an object is not served."""


class Context:
    """One call of `read`.

    Parameters
    ----------
    source
        The named file.
    chunks, policy
        The caller's options.
    component
        The one array that is wanted, or None.
    chain
        The virtual datasets whose sources are being read, outermost first: (file, dataset).
    """

    def __init__(
        self,
        source: Source,
        chunks: Any,
        policy: ExternalPolicy,
        component: str | None = None,
        chain: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.chunks = chunks
        self.policy = policy
        self.component = component
        self.chain = chain
        self.linker = Linker(self)
        self.main = Session(source)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._known: dict[tuple[str, int], ManifestArray | Refused] = {}

    def close(self) -> None:
        """Close every file."""
        for session in (*self._sessions.values(), self.main):
            session.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def chunks_for(self, shape: Sequence[int]) -> Any:
        """The caller's chunks; where they are for a whole file, only as far as they fit."""
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
        """Open another file that `session` refers to, if the caller allows it."""
        path = self.policy.find(session.directory, name, why, self.main.source.name)
        if path is None:
            raise LinkFailure(f"no file {name!r}")
        if path == self.main.source.name:
            return self.main
        found = self._sessions.get(path)
        if found is None:
            try:
                found = Session(FileSource(path))
            except FormatError as error:
                raise LinkFailure(str(error)) from None
            self._sessions[path] = found
            for old in [p for p, s in self._sessions.items() if not s.users and s is not found]:
                if len(self._sessions) <= MAX_SESSIONS:
                    break
                self._sessions.pop(old).close()
        self._sessions.move_to_end(path)
        return found

    def describe(self, target: Target) -> ManifestArray | Refused:
        """One dataset, or why not. Described once, however many names it has; never raises for what is in the file."""
        found = self._known.get(target.key)
        if found is None:
            target.session.users += 1
            try:
                found = self._describe(target)
            finally:
                target.session.users -= 1
            self._known[target.key] = found
        return found

    def _describe(self, target: Target) -> ManifestArray | Refused:
        from packstore.readers.hdf5.layouts import describe_dataset

        try:
            return describe_dataset(self, target)
        except OptionError:
            raise
        except (ExternalFileError, PackstoreError) as why:
            return Refused(why)
        except H5_ERRORS as why:
            # One damaged object must not hide its siblings, and damage can surface anywhere in h5py.
            return Refused(f"h5py does not read its description: {type(why).__name__}: {why}")

    def is_dataset(self, target: Target) -> bool:
        """Whether it is an array (and no group or committed type)."""
        return isinstance(target.oid, h5py.h5d.DatasetID)
