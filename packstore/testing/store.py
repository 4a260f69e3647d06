"""The conformance suite for packstore's read-only stores. Needs pytest, pytest-asyncio and ``zarr.testing``.

Subclass :class:`ReadOnlyStoreTests` with a `location` fixture for a file of the format. The suite then is

- zarr's own :class:`zarr.testing.store.StoreTests`, test by test: those that need arbitrary keys put them beside the
  nodes of the file (the suite writes there, the store itself cannot), those that write assert the refusal instead;
- what zarr expects of a store without saying so, checked on the keys of the file:
  `packstore.testing.store_contract.StoreContract`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.testing.store import StoreTests

from packstore.readers.location import Location
from packstore.testing.store_contract import StoreContract, content, listed
from packstore.views.zarr.listing import Listing
from packstore.views.zarr.nodes import Nodes
from packstore.views.zarr.store import ManifestStore

__all__ = ["ReadOnlyStoreTests"]

READ_ONLY = "store was opened in read-only mode and does not support writing"


class PlacedKeys(Listing):
    """The keys that the suite places, in place of those of nodes."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        super().__init__(Nodes())
        self.documents = documents

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`."""
        return (key for key in self.documents if key.startswith(prefix))

    def children(self, path: str) -> Iterable[str]:
        """The names directly below `path`."""
        base = f"{path}/" if path else ""
        return dict.fromkeys(key[len(base) :].split("/")[0] for key in self.keys(base))


@contextmanager
def placing_keys(store: ManifestStore) -> Iterator[None]:
    """Let ``store.set`` and its kin place documents for as long as one of zarr's tests runs."""

    def place(key: str, value: Buffer) -> None:
        store._metadata[key] = value.to_bytes()

    async def place_async(key: str, value: Buffer) -> None:
        place(key, value)

    methods: dict[str, Any] = {"set": place_async, "set_sync": place}
    vars(store).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(store)[name]


class ReadOnlyStoreTests(StoreContract, StoreTests[ManifestStore, cpu.Buffer]):
    """What every packstore store over a single file answers for.

    Fixtures to override
    --------------------
    location
        A `packstore.readers.location.Location` of a file with at least one array of at least two chunks.

    Notes
    -----
    The fixture `store` is a store whose own nodes are hidden, so that zarr's tests start from an empty one; `full` is
    the store as it is.
    """

    store_cls = ManifestStore
    buffer_cls = cpu.Buffer

    # -- fixtures -----------------------------------------------------------------------------------------------------

    @pytest.fixture
    def location(self, tmp_path: Any) -> Location:
        """The file under test; subclasses make one of their format."""
        raise NotImplementedError

    @pytest.fixture
    def store_kwargs(self, location: Location) -> dict[str, Any]:
        return {"location": location}

    @pytest.fixture
    async def store(self, open_kwargs: dict[str, Any]) -> ManifestStore:
        return self.emptied(await self.store_cls.open(**open_kwargs))

    @pytest.fixture
    async def store_not_open(self, store_kwargs: dict[str, Any]) -> ManifestStore:
        return self.emptied(self.store_cls(**store_kwargs))

    @pytest.fixture
    async def full(self, store_kwargs: dict[str, Any]) -> ManifestStore:
        """The store with its own keys."""
        return await self.store_cls.open(**store_kwargs)

    @staticmethod
    def emptied(store: ManifestStore) -> ManifestStore:
        """The store without its nodes, and with a listing of the documents that the suite places."""
        store._see(Nodes())
        store._listing = PlacedKeys(store._metadata)
        return store

    async def set(self, store: ManifestStore, key: str, value: Buffer) -> None:
        store._metadata[key] = value.to_bytes()

    async def get(self, store: ManifestStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(store._metadata[key])

    # -- zarr's tests, on keys placed by the suite --------------------------------------------------------------------

    async def test_serializable_store(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_serializable_store(store)

    async def test_getsize_prefix(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_getsize_prefix(store)

    async def test_exists(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_exists(store)

    async def test_list(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_list(store)

    async def test_list_prefix(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_list_prefix(store)

    async def test_list_empty_path(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_list_empty_path(store)

    async def test_list_dir(self, store: ManifestStore) -> None:
        with placing_keys(store):
            await super().test_list_dir(store)

    @pytest.mark.parametrize("direction", ["set_async_get_sync", "set_sync_get_async"])
    async def test_sync_async_set_get_parity(self, store: ManifestStore, direction: str) -> None:
        key, value = "parity", self.buffer_cls.from_bytes(b"\x01\x02\x03\x04")
        await self.set(store, key, value)
        if direction == "set_async_get_sync":
            found = store.get_sync(key)
        else:
            found = await store.get(key, default_buffer_prototype())
        assert content(found) == b"\x01\x02\x03\x04"

    @pytest.mark.parametrize(
        "byte_range",
        [None, RangeByteRequest(1, 4), OffsetByteRequest(1), SuffixByteRequest(1), RangeByteRequest(10, 20)],
        ids=["none", "range", "offset", "suffix", "range-past-eof"],
    )
    async def test_get_sync_byte_range_parity(self, store: ManifestStore, byte_range: ByteRequest | None) -> None:
        await self.set(store, "parity", self.buffer_cls.from_bytes(b"\x01\x02\x03\x04"))
        found = store.get_sync("parity", byte_range=byte_range)
        again = await store.get("parity", default_buffer_prototype(), byte_range)
        assert content(found) == content(again) is not None

    # -- zarr's tests of writing: refused ------------------------------------------------------------------------------

    def test_store_repr(self, store: ManifestStore) -> None:
        location = store.location
        assert str(store) == f"packstore://{location.fingerprint.path}"
        assert repr(store) == f"ManifestStore('{store}', format='{location.format}')"

    def test_store_supports_writes(self, store: ManifestStore) -> None:
        assert not store.supports_writes
        assert not store.supports_deletes

    def test_store_supports_listing(self, store: ManifestStore) -> None:
        assert store.supports_listing

    def test_store_read_only(self, store: ManifestStore) -> None:
        assert store.read_only
        with pytest.raises(AttributeError):
            store.read_only = False  # type: ignore[misc]  # that it cannot be set is the test

    @pytest.mark.parametrize("read_only", [True, False])
    async def test_store_open_read_only(self, open_kwargs: dict[str, Any], read_only: bool) -> None:
        if read_only:
            await super().test_store_open_read_only(open_kwargs, read_only)
        else:
            with pytest.raises(ValueError, match="read_only=False cannot be served"):
                await self.store_cls.open(**open_kwargs, read_only=False)

    @pytest.mark.parametrize("key", ["zarr.json", "c/0", "foo/c/0.0", "foo/0/0"])
    @pytest.mark.parametrize("data", [b"\x01\x02\x03\x04", b""])
    async def test_set(self, store: ManifestStore, key: str, data: bytes) -> None:
        value = self.buffer_cls.from_bytes(data)
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.set(key, value)
        assert not await store.exists(key)

    async def test_set_not_open(self, store_not_open: ManifestStore) -> None:
        with pytest.raises(ValueError, match=READ_ONLY):
            await store_not_open.set("c/0", self.buffer_cls.from_bytes(b"\x01"))

    async def test_set_many(self, store: ManifestStore) -> None:
        values = [(key, self.buffer_cls.from_bytes(b"\x01")) for key in ("zarr.json", "c/0")]
        with pytest.raises(ValueError, match=READ_ONLY):
            await store._set_many(values)
        assert await listed(store.list()) == []

    async def test_set_if_not_exists(self, store: ManifestStore) -> None:
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.set_if_not_exists("k", self.buffer_cls.from_bytes(b"0000"))

    async def test_delete(self, store: ManifestStore) -> None:
        await self.set(store, "foo/zarr.json", self.buffer_cls.from_bytes(b"bar"))
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.delete("foo/zarr.json")
        assert await store.exists("foo/zarr.json")

    async def test_delete_dir(self, store: ManifestStore) -> None:
        await self.set(store, "foo/zarr.json", self.buffer_cls.from_bytes(b"bar"))
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.delete_dir("foo")
        assert await store.exists("foo/zarr.json")

    async def test_delete_nonexistent_key_does_not_raise(self, store: ManifestStore) -> None:
        """It does: a read-only store refuses before it looks."""
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.delete("nonexistent_key")

    async def test_clear(self, store: ManifestStore) -> None:
        await self.set(store, "key", self.buffer_cls.from_bytes(b"something"))
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.clear()
        assert not await store.is_empty("")

    def test_set_sync(self, store: ManifestStore) -> None:
        with pytest.raises(ValueError, match=READ_ONLY):
            store.set_sync("k", self.buffer_cls.from_bytes(b"0000"))

    def test_delete_sync(self, store: ManifestStore) -> None:
        store._metadata["k"] = b"0000"
        with pytest.raises(ValueError, match=READ_ONLY):
            store.delete_sync("k")
        assert content(store.get_sync("k")) == b"0000"

    def test_delete_sync_missing(self, store: ManifestStore) -> None:
        with pytest.raises(ValueError, match=READ_ONLY):
            store.delete_sync("nonexistent_sync")

    async def test_delete_sync_visible_to_async_get(self, store: ManifestStore) -> None:
        await self.set(store, "k", self.buffer_cls.from_bytes(b"0000"))
        with pytest.raises(ValueError, match=READ_ONLY):
            store.delete_sync("k")
        assert content(await store.get("k", default_buffer_prototype())) == b"0000"
