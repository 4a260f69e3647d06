"""Names and links: what leads to a dataset, what leads nowhere, and what may not be followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from packstore.readers.hdf5 import read
from packstore.source import FileSource
from packstore.storage import ManifestGroup
from packstore.storage.read import read_box


def values(found: ManifestGroup, name: str) -> Any:
    array = found.arrays[name]
    return read_box(array, tuple(slice(0, n, 1) for n in array.shape)).tolist()


def test_every_name_of_a_dataset(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["a/b/x"] = np.arange(3)
        f["hard"] = f["a/b/x"]
        f["soft"] = h5py.SoftLink("/a/b/x")
        f["a/relative"] = h5py.SoftLink("b/./x")
        f["a/twice"] = h5py.SoftLink("/soft")
        f["group"] = h5py.SoftLink("a/b")
        f["type"] = np.dtype("f4")
    found = check(path)
    names = {"a/b/x", "hard", "soft", "a/relative", "a/twice", "group/x"}
    assert set(found.arrays) == names
    assert set(found.groups) == {"", "a", "a/b", "group"}
    assert len({id(found.arrays[n]) for n in names}) == 1
    for name in names:
        assert list(check(path, component=name).arrays) == [name]


def test_soft_links_say_where_they_lead(tmp_path: Path) -> None:
    path, other = tmp_path / "x.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as f:
        f["y"] = np.arange(2)
        f["inside"] = h5py.SoftLink("/y")
    with h5py.File(path, "w") as f:
        f["a/b/x"] = np.arange(3)
        f["hard"] = f["a/b/x"]
        f["soft"] = h5py.SoftLink("/a/b/x")
        f["a/relative"] = h5py.SoftLink("b/./x")
        f["a/twice"] = h5py.SoftLink("/soft")
        f["group"] = h5py.SoftLink("a/b")
        f["a/b/deeper"] = h5py.SoftLink("/group/x")
        f["again"] = f["a"]
        f["top"] = h5py.SoftLink("/")
        f["nowhere"] = h5py.SoftLink("/missing")
        f["refs"] = np.array([f["a"].ref], h5py.ref_dtype)
        f["not_served"] = h5py.SoftLink("/refs")
        f["external"] = h5py.ExternalLink("other.h5", "/")
        f["through"] = h5py.SoftLink("/external/y")
    found = read(FileSource(path), allow_external=True)
    inside = {"relative": "a/b/x", "twice": "a/b/x", "b/deeper": "a/b/x"}
    assert found.links == {
        "soft": "a/b/x",
        "group": "a/b",
        "group/deeper": "a/b/x",
        **{f"{group}/{name}": leads_to for group in ("a", "again") for name, leads_to in inside.items()},
    }
    for name, leads_to in found.links.items():
        if leads_to in found.arrays:
            assert found.arrays[name] is found.arrays[leads_to]
        else:
            assert found.groups[name] is found.groups[leads_to]


def test_groups_with_several_names(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["g/x"] = np.arange(3)
        f["g/h/y"] = np.arange(2)
        f["again"] = f["g"]
        f["g/h/up"] = f["g"]
        f["g/self"] = f["g"]
        f["g/h/top"] = h5py.SoftLink("/")
    found = check(
        path,
        unsupported=tuple(f"{g}/{n}" for g in ("g", "again") for n in ("h/up", "self", "h/top")),
    )
    assert set(found.arrays) == {"g/x", "g/h/y", "again/x", "again/h/y"}
    assert found.unsupported["g/self"] == "a link back to the group '/again', which holds it"
    # A path through the loop still leads to the array.
    assert values(read(FileSource(path), component="g/h/up/h/up/x"), "g/h/up/h/up/x") == [0, 1, 2]


def test_shared_groups_do_not_multiply_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        group = f.create_group("g0")
        for i in range(1, 24):
            below = f.create_group(f"g{i}")
            group["a"] = group["b"] = below
            group = below
        group["x"] = np.arange(3)
    found = read(FileSource(path))
    assert "g23/x" in found.arrays
    assert any(why.endswith("too many to list") for why in found.unsupported.values())
    assert len(found.arrays) < 100_000


def test_links_that_lead_nowhere(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3)
        f["dangling"] = h5py.SoftLink("/not/there")
        f["loop"] = h5py.SoftLink("/loop")
        f["through"] = h5py.SoftLink("/x/y")
        f["external"] = h5py.ExternalLink("none.h5", "/x")
    found = check(path, unsupported=("dangling", "loop", "through", "external"))
    assert found.unsupported["dangling"].startswith("dangling soft link to '/not/there'")
    assert "more than 64 links in a row" in found.unsupported["loop"]
    assert "/x is not a group" in found.unsupported["through"]
    for name in found.unsupported:
        assert read(FileSource(path), component=name).unsupported == {name: found.unsupported[name]}
    nothing = read(FileSource(path), component="nothing")
    assert not nothing.arrays
    assert not nothing.unsupported


def test_user_defined_links(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["x"] = np.arange(3)
        f["user"] = h5py.ExternalLink("marker", "/x")
    # Another class of link: 70 in the place of 64, where the link message of "user" says so.
    raw = bytearray(path.read_bytes())
    name = raw.index(b"\x04user")
    kind = raw.rindex(b"\x40", name - 12, name)
    raw[kind] = 70
    start = raw.index(b"OHDR")
    path.write_bytes(_with_header_checksum(raw, start))
    found = check(path, unsupported=("user",))
    assert list(found.arrays) == ["x"]
    assert "a user-defined link of class 70" in found.unsupported["user"]


def _with_header_checksum(raw: bytearray, start: int) -> bytes:
    """Correct the checksum of the version 2 object header at `start`."""
    flags = raw[start + 5]
    at = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    end = at + width + int.from_bytes(raw[at : at + width], "little")
    raw[end : end + 4] = _lookup3(bytes(raw[start:end])).to_bytes(4, "little")
    return bytes(raw)


def _lookup3(data: bytes) -> int:
    """Bob Jenkins' hash, with which HDF5 checks its metadata."""
    mask = 0xFFFFFFFF

    def rot(x: int, k: int) -> int:
        return (x << k | x >> (32 - k)) & mask

    a = b = c = (0xDEADBEEF + len(data)) & mask
    while len(data) > 12:
        a, b, c = ((v + int.from_bytes(data[i : i + 4], "little")) & mask for v, i in ((a, 0), (b, 4), (c, 8)))
        for k in (4, 6, 8, 16, 19, 4):
            # One step of the mix, then the three values change places.
            a = (a - c & mask) ^ rot(c, k)
            a, b, c = b, c + b & mask, a
        data = data[12:]
    data = data.ljust(12, b"\0")
    a, b, c = ((v + int.from_bytes(data[i : i + 4], "little")) & mask for v, i in ((a, 0), (b, 4), (c, 8)))
    for k in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - rot(b, k) & mask
        a, b, c = b, c, a
    return b


@pytest.mark.parametrize(
    "name",
    ["a b", " a", "::", "a::b", "c", "c/0", "zarr.json", "back\\slash", "..", "...", "__x", "é", "日本", "%", "@"],
)
def test_odd_names(tmp_path: Path, check: Any, name: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f[name] = np.arange(3)
    assert list(check(path).arrays) == [name]
    assert list(check(path, component=name).arrays) == [name]


def test_names_that_are_not_utf8(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f[b"caf\xe9"] = np.arange(3)
    name = "caf\udce9"
    assert list(check(path).arrays) == [name]
    assert values(read(FileSource(path), component=name), name) == [0, 1, 2]


class TestExternalLinks:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        (tmp_path / "in").mkdir()
        path = tmp_path / "in" / "x.h5"
        with h5py.File(tmp_path / "in" / "other.h5", "w") as f:
            f["g/y"] = np.arange(4)
            f["g/back"] = h5py.ExternalLink("x.h5", "/")
            f["far"] = h5py.ExternalLink("../out.h5", "/z")
        with h5py.File(tmp_path / "out.h5", "w") as f:
            f["z"] = np.arange(5)
        with h5py.File(path, "w") as f:
            f["x"] = np.arange(3)
            f["array"] = h5py.ExternalLink("other.h5", "/g/y")
            f["group"] = h5py.ExternalLink("other.h5", "g")
            f["far"] = h5py.ExternalLink("other.h5", "far")
            f["soft"] = h5py.SoftLink("/group/y")
            f["itself"] = h5py.ExternalLink("x.h5", "/x")
        return path

    def test_none_is_opened_without_permission(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []
        original = FileSource.__init__

        def note(self: FileSource, path: Any, fingerprint: Any = None) -> None:
            opened.append(Path(path).name)
            original(self, path, fingerprint)

        source = FileSource(path)
        monkeypatch.setattr(FileSource, "__init__", note)
        found = read(source)
        assert opened == []
        assert set(found.arrays) == {"x", "itself"}
        assert set(found.unsupported) == {"array", "group", "far", "soft"}
        for why in found.unsupported.values():
            assert "other.h5" in why
            assert "allow_external" in why
        assert "other.h5" in read(source, component="soft").unsupported["soft"]

    def test_inside_a_folder(self, path: Path) -> None:
        found = read(FileSource(path), allow_external=path.parent)
        assert values(found, "array") == values(found, "group/y") == values(found, "soft") == [0, 1, 2, 3]
        assert set(found.unsupported) == {"far", "group/back"}
        assert "out.h5" in found.unsupported["far"]
        storage: Any = found.arrays["array"].storage
        assert storage.places.space.path == str(path.parent / "other.h5")

    def test_anywhere(self, path: Path) -> None:
        found = read(FileSource(path), allow_external=True)
        assert values(found, "far") == [0, 1, 2, 3, 4]
        assert values(read(FileSource(path), component="far", allow_external=True), "far") == [0, 1, 2, 3, 4]


def test_deep_trees(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        group = f
        for _ in range(1200):
            group = group.create_group("g")
        group["x"] = np.arange(3)
        f["y"] = np.arange(2)
    found = read(FileSource(path))
    assert values(found, "y") == [0, 1]
    assert any("nested more than 1000 deep" in why for why in found.unsupported.values())
    deep = "g/" * 1200 + "x"
    assert values(read(FileSource(path), component=deep), deep) == [0, 1, 2]


def test_one_unreadable_object_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        for name in "abc":
            f[name] = np.arange(3)
    raw = bytearray(path.read_bytes())
    with h5py.File(path) as f:
        at = h5py.h5o.get_info(f["b"].id).addr
    raw[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    found = read(FileSource(path))
    assert set(found.arrays) == {"a", "c"}
    assert "h5py does not open" in found.unsupported["b"]
    assert "h5py does not open" in read(FileSource(path), component="b").unsupported["b"]


def test_references_and_null_spaces_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3)
        f["null"] = h5py.Empty("f4")
        f.create_dataset("reference", data=f["x"].ref, dtype=h5py.ref_dtype)
    found = read(FileSource(path))
    assert set(found.arrays) == {"x"}
    assert "a null dataspace" in found.unsupported["null"]
    assert "reference" in found.unsupported["reference"]
