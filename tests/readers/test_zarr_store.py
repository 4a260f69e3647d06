"""DirectoryStore: zarr's own store tests, as far as they apply to a store that cannot be written."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.testing.store import StoreTests

import packstore
from packstore.readers.zarr.changes import Opening
from packstore.readers.zarr.directory import DirectoryStore

READ_ONLY = "store was opened in read-only mode and does not support writing"


class TestDirectoryStore(StoreTests[DirectoryStore, cpu.Buffer]):
    store_cls = DirectoryStore
    buffer_cls = cpu.Buffer

    async def set(self, store: DirectoryStore, key: str, value: Buffer) -> None:
        path = store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())
        # What is put into the directory after a store of it was made is another matter.
        store._opening = Opening()

    async def get(self, store: DirectoryStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes((store.root / key).read_bytes())

    @pytest.fixture
    def store_kwargs(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": tmp_path}

    @pytest.fixture
    def open_kwargs(self, store_kwargs: dict[str, Any]) -> dict[str, Any]:
        return store_kwargs

    @pytest.fixture
    def placing(self, store: DirectoryStore) -> Any:
        """Lets the tests that call ``store.set`` place their keys."""

        async def place(key: str, value: Buffer) -> None:
            await self.set(store, key, value)

        vars(store)["set"] = place
        yield store
        del vars(store)["set"]

    # -- reads whose tests write through the store -------------------------------------------------------------------

    async def test_serializable_store(self, placing: DirectoryStore) -> None:
        del vars(placing)["set"]
        again = pickle.loads(pickle.dumps(placing))
        vars(placing)["set"] = None
        assert again == placing and again.read_only
        await self.set(again, "k", self.buffer_cls.from_bytes(b"\x01"))
        placing._opening = Opening()
        found = await placing.get("k", default_buffer_prototype())
        assert found is not None and found.to_bytes() == b"\x01"

    async def test_getsize_prefix(self, placing: DirectoryStore) -> None:
        await super().test_getsize_prefix(placing)

    async def test_exists(self, placing: DirectoryStore) -> None:
        await super().test_exists(placing)

    async def test_is_empty(self, placing: DirectoryStore) -> None:
        assert await placing.is_empty("")
        await self.set(placing, "foo/bar", self.buffer_cls.from_bytes(b"\0"))
        assert not await placing.is_empty("") and await placing.is_empty("fo") and not await placing.is_empty("foo")

    async def test_list(self, placing: DirectoryStore) -> None:
        await super().test_list(placing)

    async def test_list_prefix(self, placing: DirectoryStore) -> None:
        await super().test_list_prefix(placing)

    async def test_list_empty_path(self, placing: DirectoryStore) -> None:
        await super().test_list_empty_path(placing)

    async def test_list_dir(self, placing: DirectoryStore) -> None:
        await super().test_list_dir(placing)

    # -- descriptions -------------------------------------------------------------------------------------------------

    def test_store_repr(self, store: DirectoryStore) -> None:
        assert repr(store) == f"DirectoryStore('file://{store.root.as_posix()}')"

    def test_store_supports_writes(self, store: DirectoryStore) -> None:
        assert not store.supports_writes and not store.supports_deletes

    def test_store_supports_listing(self, store: DirectoryStore) -> None:
        assert store.supports_listing

    def test_store_read_only(self, store: DirectoryStore) -> None:
        assert store.read_only
        with pytest.raises(AttributeError):
            store.read_only = False  # type: ignore[misc]  # what the test is about

    @pytest.mark.parametrize("read_only", [True, False])
    async def test_store_open_read_only(self, open_kwargs: dict[str, Any], read_only: bool) -> None:
        if read_only:
            store = await DirectoryStore.open(**open_kwargs, read_only=True)
            assert store._is_open and store.read_only
        else:
            with pytest.raises(ValueError, match="read_only=False cannot be served"):
                await DirectoryStore.open(**open_kwargs, read_only=False)

    async def test_store_context_manager(self, open_kwargs: dict[str, Any]) -> None:
        with await DirectoryStore.open(**open_kwargs, read_only=True) as store:
            assert store._is_open
        assert not store._is_open

    async def test_with_read_only_store(self, open_kwargs: dict[str, Any]) -> None:
        store = await DirectoryStore.open(**open_kwargs)
        again = store.with_read_only(True)
        assert again == store and not again._is_open
        with pytest.raises(NotImplementedError, match="with_read_only is not implemented"):
            store.with_read_only(False)

    # -- writes: refused ----------------------------------------------------------------------------------------------

    async def refused(self, store: DirectoryStore, *calls: Any) -> None:
        await self.set(store, "k", self.buffer_cls.from_bytes(b"\x01"))
        for call in calls:
            with pytest.raises(ValueError, match=READ_ONLY):
                await call()
        assert (store.root / "k").read_bytes() == b"\x01" and sorted(p.name for p in store.root.iterdir()) == ["k"]

    @pytest.mark.parametrize("key", ["k", "zarr.json", "c/0"])
    @pytest.mark.parametrize("data", [b"", b"\x02"])
    async def test_set(self, store: DirectoryStore, key: str, data: bytes) -> None:
        value = self.buffer_cls.from_bytes(data)
        await self.refused(store, lambda: store.set(key, value), lambda: store._set_many([(key, value)]))

    async def test_set_not_open(self, store_not_open: DirectoryStore) -> None:
        await self.refused(store_not_open, lambda: store_not_open.set("k", self.buffer_cls.from_bytes(b"\x02")))

    async def test_set_many(self, store: DirectoryStore) -> None:
        values = [("k", self.buffer_cls.from_bytes(b"\x02")), ("l", self.buffer_cls.from_bytes(b"\x03"))]
        await self.refused(store, lambda: store._set_many(values))

    async def test_set_if_not_exists(self, store: DirectoryStore) -> None:
        await self.refused(store, lambda: store.set_if_not_exists("l", self.buffer_cls.from_bytes(b"\x02")))

    async def test_delete(self, store: DirectoryStore) -> None:
        await self.refused(store, lambda: store.delete("k"), lambda: store.delete("l"))

    async def test_delete_dir(self, store: DirectoryStore) -> None:
        await self.refused(store, lambda: store.delete_dir("k"), lambda: store.delete_dir(""))

    async def test_delete_nonexistent_key_does_not_raise(self, store: DirectoryStore) -> None:
        await self.refused(store, lambda: store.delete("nothing"))

    async def test_clear(self, store: DirectoryStore) -> None:
        await self.refused(store, store.clear)

    async def test_sync_writes_are_refused(self, store: DirectoryStore) -> None:
        async def set_sync() -> None:
            store.set_sync("k", self.buffer_cls.from_bytes(b"\x02"))

        async def delete_sync() -> None:
            store.delete_sync("k")

        await self.refused(store, set_sync, delete_sync)

    def test_set_sync(self, store: DirectoryStore) -> None:
        """See `test_sync_writes_are_refused`."""

    def test_delete_sync(self, store: DirectoryStore) -> None:
        """See `test_sync_writes_are_refused`."""

    def test_delete_sync_missing(self, store: DirectoryStore) -> None:
        """See `test_sync_writes_are_refused`."""

    async def test_delete_sync_visible_to_async_get(self, store: DirectoryStore) -> None:
        """See `test_sync_writes_are_refused`."""

    @pytest.mark.parametrize("direction", ["sync-to-async", "async-to-sync"])
    async def test_sync_async_set_get_parity(self, store: DirectoryStore, direction: str) -> None:
        value = self.buffer_cls.from_bytes(b"\x01\x02\x03")
        await self.set(store, "k", value)
        found = await store.get("k", default_buffer_prototype())
        again = store.get_sync("k")
        assert found is not None and again is not None and found.to_bytes() == again.to_bytes() == value.to_bytes()

    @pytest.mark.parametrize("byte_range", [None, RangeByteRequest(1, 3), OffsetByteRequest(2), SuffixByteRequest(2)])
    async def test_get_sync_byte_range_parity(self, store: DirectoryStore, byte_range: Any) -> None:
        await self.set(store, "k", self.buffer_cls.from_bytes(b"\x01\x02\x03\x04"))
        found = await store.get("k", default_buffer_prototype(), byte_range)
        again = store.get_sync("k", byte_range=byte_range)
        assert found is not None and again is not None and found.to_bytes() == again.to_bytes()

    # -- what zarr expects without saying so --------------------------------------------------------------------------

    HOSTILE = ("../x", "a/../../x", "/etc/passwd", "a/./b", "a//b", "..", ".", "a\\..\\b", "k\0", "a/")

    @pytest.mark.parametrize("key", HOSTILE)
    async def test_no_key_leads_out(self, tmp_path: Path, key: str) -> None:
        (tmp_path / "x").write_bytes(b"secret")
        (tmp_path / "in/a").mkdir(parents=True)
        (tmp_path / "in/a/b").write_bytes(b"inside")
        store = await DirectoryStore.open(tmp_path / "in", read_only=True)
        prototype = default_buffer_prototype()
        assert await store.get(key, prototype) is None and store.get_sync(key) is None
        assert not await store.exists(key)
        assert await store.get_partial_values(prototype, [(key, None)]) == [None]
        with pytest.raises(FileNotFoundError):
            await store.getsize(key)
        if key != "a/":
            assert [k async for k in store.list_prefix(key)] == []
            assert [k async for k in store.list_dir(key)] == []

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            (None, b"0123456789"),
            (RangeByteRequest(2, 5), b"234"),
            (OffsetByteRequest(7), b"789"),
            (SuffixByteRequest(3), b"789"),
            (SuffixByteRequest(30), b"0123456789"),
        ],
    )
    async def test_byte_ranges(self, store: DirectoryStore, request_: Any, expected: bytes) -> None:
        await self.set(store, "k", self.buffer_cls.from_bytes(b"0123456789"))
        prototype = default_buffer_prototype()
        found = [
            await store.get("k", prototype, request_),
            store.get_sync("k", prototype=prototype, byte_range=request_),
            *await store.get_partial_values(prototype, [("k", request_)]),
        ]
        assert [f and f.to_bytes() for f in found] == [expected] * 3


def test_open_store(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=np.arange(6), chunks=(4,))
    store = packstore.open_store(tmp_path / "a.zarr")
    assert isinstance(store, DirectoryStore) and store.read_only
    assert dict(store.unsupported) == {} and "x" not in store.unsupported
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], np.arange(6))
    with pytest.raises(ValueError, match="read-only"):
        zarr.open_array(store, mode="r+")[0] = 1
    assert store == packstore.open_store(tmp_path / "a.zarr")
    assert hash(store) == hash(packstore.open_store(tmp_path / "a.zarr"))
