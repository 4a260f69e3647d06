"""`StoreClient`: the objects of a zarr store, asked for through the store itself, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np

from packstore.errors import MissingFileError, UnsupportedError, message
from packstore.source.refusals import refusal
from packstore.source.remote.client import Answer, Entry, State

__all__ = ["StoreClient"]


class StoreClient:
    """Requests to a ``zarr.abc.store.Store``, each a turn through zarr's event loop.

    Parameters
    ----------
    store
        Any zarr store: in memory, a wrapper, or one of another package.

    Notes
    -----
    Thread safe. A store tells no state of its objects: what is written to it later is read as it is then.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.name = f"<{type(store).__name__}>"

    def _ask(self, make: Callable[[], Coroutine[Any, Any, Any]], key: str) -> Any:
        # Function-level, for import time: whoever has a store has imported zarr.
        from zarr.core.sync import sync

        try:
            return sync(make())
        except Exception as error:  # whatever a store of another package raises
            raise refusal(error, f"{self.name} {key}", "reading") from error

    def get(self, key: str, start: int | None = None, stop: int | None = None, *, etag: str = "") -> Answer:
        # As `packstore.source.remote.client.Client.get`.
        async def ask() -> tuple[Any, int]:
            from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
            from zarr.core.buffer import default_buffer_prototype

            part: Any = None
            if start is not None:
                nbytes = await self.store.getsize(key)
                if stop is not None:
                    part = RangeByteRequest(min(start, nbytes), min(stop, nbytes))
                else:
                    part = OffsetByteRequest(start) if start >= 0 else SuffixByteRequest(min(-start, nbytes))
            found = await self.store.get(key, default_buffer_prototype(), byte_range=part)
            return found, nbytes if start is not None else 0 if found is None else len(found)

        found, nbytes = self._ask(ask, key)
        if found is None:
            raise MissingFileError(message("reading", f"{self.name} {key}", expected="an object", got="none"))
        return Answer(np.frombuffer(found.to_bytes(), np.uint8), State(nbytes, ""))

    def head(self, key: str) -> State:
        # As `packstore.source.remote.client.Client.head`.
        return State(self._ask(lambda: self.store.getsize(key), key), "")

    def list(self, prefix: str, *, deep: bool = False) -> Iterator[Entry]:
        # As `packstore.source.remote.client.Client.list`.
        if deep:
            # Sizes alone would not tell one content from another.
            raise UnsupportedError(
                message("listing", self.name, expected="the states of objects", got="a store that tells none")
            )

        async def ask() -> list[tuple[str, int | None]]:
            names = [name async for name in self.store.list_dir(prefix.rstrip("/"))]
            found = []
            for each in dict.fromkeys(name.rstrip("/").rpartition("/")[2] for name in names):
                is_object = await self.store.exists(prefix + each)
                found.append((each, await self.store.getsize(prefix + each) if is_object else None))
            return found

        for name, nbytes in self._ask(ask, prefix):
            yield Entry(name, None if nbytes is None else State(nbytes, ""))
