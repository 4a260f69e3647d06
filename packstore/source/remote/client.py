"""`Client`: what each library that makes requests is behind: objects by key, read by byte ranges, listed.

Every error that a client raises is one of packstore's: `StaleFileError` for an object that is no longer the one that
was asked for, `MissingFileError`, `AccessError`, `ReadError` with the server's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from packstore.core.typing import Bytes

__all__ = ["Answer", "Client", "Entry", "State"]


class State(NamedTuple):
    """What identifies one state of one object.

    Parameters
    ----------
    nbytes
        Its size.
    etag
        Its ETag, version, checksum or time of modification: whatever the server has; "" for nothing.
    """

    nbytes: int
    etag: str


class Answer(NamedTuple):
    """Bytes of an object, and the state of the object that they are of."""

    data: bytes | Bytes
    state: State


class Entry(NamedTuple):
    """What a listing says of one name: an object with its state, or (where that is None) a folder."""

    name: str
    state: State | None


class Client(Protocol):
    """Requests for objects. Thread safe; a forked child must ask for another one."""

    def get(self, key: str, start: int | None = None, stop: int | None = None, *, etag: str = "") -> Answer:
        """Bytes `start` to before `stop` of an object, in one request where the server allows it.

        Parameters
        ----------
        key
            The object.
        start, stop
            Both None: all of it. `stop` None: to the end; a negative `start` counts from the end, then. A range that
            reaches beyond the end is cut there: the answer's state says how long the object is.
        etag
            The state that the object must be in; "": any.

        Raises
        ------
        StaleFileError
            The object is in another state.
        MissingFileError, AccessError, ReadError
            There is no such object, it may not be read, or the server does not answer, however often it is asked.
        """

    def head(self, key: str) -> State:
        """The state of an object; errors as `get`."""

    def list(self, prefix: str, *, deep: bool = False) -> Iterator[Entry]:
        """The names directly below the folder `prefix`; with `deep` the keys of all objects below it, from there."""
