"""What zarr expects of a store without saying so: the half of the conformance suite that reads the keys of the file.

Hostile keys, byte ranges, agreement of listing and lookup, the synchronous methods, pickling, threads. Run as part of
`packstore.testing.store.ReadOnlyStoreTests`, which has the fixtures.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, default_buffer_prototype

from packstore.errors import PackstoreError
from packstore.readers.location import Location
from packstore.views.zarr.store import ManifestStore


async def listed(found: Any) -> list[str]:
    """All that an async iterator gives, sorted; twice the same key is an error."""
    keys = [key async for key in found]
    assert len(keys) == len(set(keys))
    return sorted(keys)


def content(buffer: Buffer | None) -> bytes | None:
    """The bytes of an answer."""
    return None if buffer is None else buffer.to_bytes()


class StoreContract:
    """Tests of a store over a file with at least one array of at least two chunks.

    Fixtures that a subclass has
    ----------------------------
    location
        The `packstore.readers.location.Location` of the file.
    full
        An open store over it.
    """

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
        from packstore.views.lazy import LazyArray
        from packstore.views.zarr.metadata import to_zarr

        store = ManifestStore(location)
        assert store._nodes.arrays
        for path, array in store._nodes.arrays.items():
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
