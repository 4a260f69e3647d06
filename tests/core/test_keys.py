"""Chunk keys there and back, and names that zarr cannot hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packstore.core.keys import chunk_key, parent_paths, parse_chunk_key, path_reason


@given(st.sampled_from(["", "a", "a/b", "c", "c/0"]), st.lists(st.integers(0, 10**17), max_size=5))
def test_round_trip(path: str, coords: list[int]) -> None:
    assert parse_chunk_key(chunk_key(path, tuple(coords)), path, len(coords)) == tuple(coords)


@pytest.mark.parametrize(
    "key",
    [
        "c", "c/", "c/0", "c/0/0/0", "0/0", "c/-1/0", "c/+1/0", "c/00/0", "c/01/0", "c/0/", "c//0", "/c/0/0", "c/0/0/",
        "c/0/a", "c/0/1.5", "c/0/1_0", "c/0/\u0661", "c/0/\u00b2", "c/0/1e3", "c/0/ 1", "c/0/1\n", "C/0/0", "c/0/..",
        "c/0/\0", "c/0/" + "9" * 19,
    ],
)  # fmt: skip
def test_not_a_chunk_key(key: str) -> None:
    assert parse_chunk_key(key, "", 2) is None


def test_parents() -> None:
    assert list(parent_paths("a/b/c")) == ["a/b", "a", ""]
    assert list(parent_paths("")) == []


@pytest.mark.parametrize("path", ["", "a", "a/b", "c", "c/0", "x y", "\u00e9", "a.b", ".a", "zarr.jsonx", "__a"])
def test_names_zarr_has(path: str) -> None:
    assert path_reason(path) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/a", "zarr has no node with an empty name"),
        ("a/", "zarr has no node with an empty name"),
        ("a//b", "zarr has no node with an empty name"),
        ("a/../b", "zarr has no node named '..'"),
        (".", "zarr has no node named '.'"),
        ("...", "zarr has no node named '...'"),
        ("a\\b", "zarr reads a backslash in a name as a separator"),
        ("a\0b", "zarr has no node with a NUL in its name"),
        ("a/zarr.json", "zarr keeps the name zarr.json for metadata"),
    ],
)
def test_names_zarr_has_not(path: str, reason: str) -> None:
    assert path_reason(path) == reason
