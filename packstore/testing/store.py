"""The conformance suite for packstore's read-only stores. Needs pytest, pytest-asyncio and ``zarr.testing``.

Subclass :class:`ReadOnlyStoreTests` with a `location` fixture for a file of the format. The suite then is

- zarr's own :class:`zarr.testing.store.StoreTests`, test by test: those that need arbitrary keys put them beside the
  nodes of the file (the suite writes there, the store itself cannot), those that write assert the refusal instead;
- what zarr expects of a store without saying so, checked on the keys of the file: hostile keys, byte ranges, agreement
  of listing and lookup, the synchronous methods, pickling, threads.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.testing.store import StoreTests

from packstore.errors import PackstoreError
from packstore.readers import Location
from packstore.store import ManifestStore

__all__ = ["ReadOnlyStoreTests"]

READ_ONLY = "store was opened in read-only mode and does not support writing"


@contextmanager
def placing_keys(store: ManifestStore) -> Iterator[None]:
    """Let ``store.set`` and its kin place documents for as long as one of zarr's tests runs."""

    def place(key: str, value: Buffer) -> None:
        store._documents[key] = value.to_bytes()

    async def place_async(key: str, value: Buffer) -> None:
        place(key, value)

    methods: dict[str, Any] = {"set": place_async, "set_sync": place}
    vars(store).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(store)[name]


async def listed(found: Any) -> list[str]:
    """All that an async iterator gives, sorted; twice the same key is an error."""
    keys = [key async for key in found]
    assert len(keys) == len(set(keys))
    return sorted(keys)


def content(buffer: Buffer | None) -> bytes | None:
    """The bytes of an answer."""
    return None if buffer is None else buffer.to_bytes()


class ReadOnlyStoreTests(StoreTests[ManifestStore, cpu.Buffer]):
    """What every packstore store over a single file answers for.

    Fixtures to override
    --------------------
    location
        A `packstore.readers.Location` of a file with at least one array of at least two chunks.

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
        """The store without its nodes."""
        store._arrays.clear()
        store._groups.clear()
        return store

    async def set(self, store: ManifestStore, key: str, value: Buffer) -> None:
        store._documents[key] = value.to_bytes()

    async def get(self, store: ManifestStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(store._documents[key])

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
        store._documents["k"] = b"0000"
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

    # -- packstore's contract, on the keys of the file ----------------------------------------------------------------

    async def test_file_has_chunks(self, full: ManifestStore) -> None:
        keys = await listed(full.list())
        assert sum(not key.endswith("zarr.json") for key in keys) >= 2, "the location fixture needs two chunks"
        assert all(not key.startswith("/") for key in keys)

    async def test_lookups_agree(self, full: ManifestStore) -> None:
        """list, exists, getsize, get and get_sync tell the same of each key."""
        total = 0
        for key in await listed(full.list()):
            assert await full.exists(key)
            value = await full.get(key, default_buffer_prototype())
            assert value is not None
            assert await full.getsize(key) == len(value)
            assert content(full.get_sync(key)) == content(value)
            total += len(value)
        assert await full.getsize_prefix("") == total
        assert not await full.is_empty("")

    async def test_listings_agree(self, full: ManifestStore) -> None:
        """list_prefix filters what list gives, list_dir shows one level of it, inside chunk keys too."""
        keys = await listed(full.list())
        prefixes = {key[:n] for key in keys for n in range(len(key) + 1)}
        for prefix in sorted(prefixes):
            assert await listed(full.list_prefix(prefix)) == [key for key in keys if key.startswith(prefix)]
        directories = {""} | {"/".join(key.split("/")[:n]) for key in keys for n in range(1, key.count("/") + 1)}
        for directory in sorted(directories):
            base = f"{directory}/" if directory else ""
            expected = sorted({key[len(base) :].split("/")[0] for key in keys if key.startswith(base)})
            assert await listed(full.list_dir(directory)) == expected
            if directory:
                assert await listed(full.list_dir(base)) == expected
            assert not await full.is_empty(directory)
        for absent in ("absent", *(f"{key}/x" for key in keys[:3]), "c/0/0/0/0/0/0/0/0/0", "/"):
            if absent.rstrip("/"):
                assert await listed(full.list_dir(absent)) == []
                assert await full.is_empty(absent)

    async def test_chunks_have_the_size_of_the_metadata(self, full: ManifestStore) -> None:
        for key in await listed(full.list()):
            if not key.endswith("zarr.json"):
                continue
            document = json.loads(content(full.get_sync(key)) or b"")
            assert document["zarr_format"] == 3
            if document["node_type"] == "group":
                continue
            path = key.removesuffix("zarr.json").rstrip("/")
            array = zarr.open_array(full, path=path, mode="r")
            if not array.dtype.hasobject and array.dtype.kind != "T":
                expected = int(np.prod(array.chunks)) * array.dtype.itemsize
                base = f"{path}/c" if path else "c"
                for chunk in [k for k in await listed(full.list_prefix(base)) if not k.endswith("zarr.json")]:
                    assert await full.getsize(chunk) == expected

    async def test_hostile_keys_are_absent(self, full: ManifestStore, tmp_path: Any) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        keys = await listed(full.list())
        hostile = ["", "/", ".", "..", "../secret", str(tmp_path / "secret"), f"c/../{tmp_path}/secret", "\0", "c/"]
        for key in keys:
            hostile += [f"/{key}", f"{key}/", f"./{key}", f"../{key}", f"{key}\0", key.replace("/", "\\") + "\\"]
            hostile += [f"x/../{key}", f"{key}/../{key}", key.replace("/", "//") + "/", f" {key}", f"{key}\n"]
            if not key.endswith("zarr.json"):
                head, _, last = key.rpartition("/")
                hostile += [f"{head}/-1", f"{head}/0{last}", f"{head}/+{last}", f"{head}/ {last}", f"{head}/{last}.0"]
                hostile += [f"{head}/{10**9}", f"{head}/{10**40}", f"{head}/\u0661", f"{head}/1_0", f"{key}/0"]
        for key in set(hostile) - set(keys):
            assert not await full.exists(key), key
            assert await full.get(key, default_buffer_prototype()) is None, key
            assert full.get_sync(key) is None, key
            with pytest.raises(FileNotFoundError):
                await full.getsize(key)

    async def test_byte_ranges(self, full: ManifestStore) -> None:
        keys = await listed(full.list())
        chosen = [key for key in keys if key.endswith("zarr.json")][:2]
        chosen += [key for key in keys if key not in chosen][:1] + [key for key in keys if key not in chosen][-1:]
        for key in chosen:
            whole = content(full.get_sync(key))
            assert whole is not None
            n = len(whole)
            cases: list[tuple[ByteRequest, bytes]] = [
                (RangeByteRequest(1, 3), whole[1:3]),
                (RangeByteRequest(0, n), whole),
                (RangeByteRequest(2, 2), b""),
                (RangeByteRequest(n, n + 5), b""),
                (RangeByteRequest(n - 1, n + 5), whole[n - 1 :]),
                (RangeByteRequest(n + 3, n + 5), b""),
                (OffsetByteRequest(0), whole),
                (OffsetByteRequest(n - 2), whole[n - 2 :]),
                (OffsetByteRequest(n), b""),
                (OffsetByteRequest(n + 9), b""),
                (SuffixByteRequest(0), b""),
                (SuffixByteRequest(2), whole[n - 2 :]),
                (SuffixByteRequest(n + 9), whole),
            ]
            for request, expected in cases:
                assert content(full.get_sync(key, byte_range=request)) == expected, request
                assert content(await full.get(key, default_buffer_prototype(), request)) == expected, request
            found = await full.get_partial_values(default_buffer_prototype(), iter([(key, r) for r, _ in cases]))
            assert [content(b) for b in found] == [expected for _, expected in cases]

    @pytest.mark.parametrize(
        "request_", [(0, 2), RangeByteRequest(-1, 2), OffsetByteRequest(-1), SuffixByteRequest(-1)]
    )
    async def test_bad_byte_ranges(self, full: ManifestStore, request_: Any) -> None:
        for key in [*(await listed(full.list()))[:2], "absent"]:
            with pytest.raises(ValueError, match=r"Unexpected byte_range, got"):
                full.get_sync(key, byte_range=request_)
            with pytest.raises(ValueError, match=r"Unexpected byte_range, got"):
                await full.get(key, default_buffer_prototype(), request_)

    async def test_partial_values_of_absent_keys(self, full: ManifestStore) -> None:
        key = (await listed(full.list()))[0]
        found = await full.get_partial_values(default_buffer_prototype(), [("absent", None), (key, None)])
        assert [content(b) for b in found] == [None, content(full.get_sync(key))]

    async def test_equality(self, full: ManifestStore, location: Location) -> None:
        assert (full == ManifestStore(location)) is True
        assert hash(full) == hash(ManifestStore(location))
        for other in (None, 1, "x", object(), zarr.storage.MemoryStore()):
            assert (full == other) is False
            assert (full != other) is True

    async def test_pickle(self, full: ManifestStore) -> None:
        data = pickle.dumps(full)
        assert len(data) < 2000
        again = pickle.loads(data)
        assert again == full
        assert again.read_only
        assert again.unsupported == full.unsupported
        for key in (await listed(full.list()))[:5]:
            assert content(again.get_sync(key)) == content(full.get_sync(key))

    async def test_with_read_only(self, full: ManifestStore) -> None:
        again = full.with_read_only(True)
        assert again == full
        assert again is not full
        assert again.read_only
        assert not again._is_open
        with pytest.raises(NotImplementedError, match="with_read_only is not implemented for the"):
            full.with_read_only(False)

    async def test_open_and_close(self, full: ManifestStore) -> None:
        key = (await listed(full.list()))[-1]
        before = content(full.get_sync(key))
        full.close()
        assert not full._is_open
        # As zarr's own stores: the next read opens it again.
        assert content(await full.get(key, default_buffer_prototype())) == before

    async def test_threads(self, full: ManifestStore) -> None:
        keys = (await listed(full.list()))[:40]
        expected = {key: content(full.get_sync(key)) for key in keys}

        def read(i: int) -> bool:
            order = np.random.default_rng(i).permutation(len(keys))
            fresh = full if i % 2 else pickle.loads(pickle.dumps(full))
            return all(content(fresh.get_sync(keys[j])) == expected[keys[j]] for j in order)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(read, range(32)))

    async def test_many_at_once(self, full: ManifestStore) -> None:
        keys = (await listed(full.list()))[:40] * 4
        found = await asyncio.gather(*(full.get(key, default_buffer_prototype()) for key in keys))
        assert [content(b) for b in found] == [content(full.get_sync(key)) for key in keys]

    def test_arrays_are_the_direct_path(self, location: Location) -> None:
        """zarr over the store and the direct path read the same values."""
        from packstore.lazy import LazyArray
        from packstore.zarr_metadata import to_zarr

        store = ManifestStore(location)
        assert store._arrays
        for path, array in store._arrays.items():
            opened = zarr.open_array(store, path=path, mode="r")
            direct = to_zarr(array, LazyArray(location, path)[...], opened.dtype)
            np.testing.assert_array_equal(opened[...], direct)
            assert opened.shape == array.shape

    def test_unsupported_arrays_have_reasons(self, location: Location) -> None:
        store = ManifestStore(location)
        for path, reason in store.unsupported.items():
            assert reason, path
            assert not asyncio.run(store.exists(f"{path}/zarr.json"))
            with pytest.raises((PackstoreError, FileNotFoundError)):
                zarr.open_array(store, path=path, mode="r")
