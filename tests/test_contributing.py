"""CONTRIBUTING.md tells the truth: its paths exist, and its diffs are in the files that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import packstore

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DIFFS = re.findall(r"^```diff\n\+\+\+ (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
# The row of a room: its folder, and what is said of it.
ROOMS = re.findall(r"^\| `(packstore/[\w/]+/)` \| (.*) \|$", TEXT, re.MULTILINE)


def test_every_path_exists() -> None:
    named = set(re.findall(r"`((?:packstore|tests)/[\w./]*)`", TEXT)) - {"tests/test_layout.py"}
    assert len(named) > 15
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("room", "text"), ROOMS, ids=[room for room, _ in ROOMS])
def test_every_room_has_what_is_said(room: str, text: str) -> None:
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    assert named or room == "packstore/testing/"
    assert [name for name in named if not (ROOT / room / name).exists()] == []


def test_all_rooms_are_listed() -> None:
    folders = {f"packstore/{path.parent.name}/" for path in (ROOT / "packstore").glob("*/__init__.py")}
    assert folders == {room for room, _ in ROOMS if room.count("/") == 2}


@pytest.mark.parametrize(("path", "diff"), DIFFS, ids=[path for path, _ in DIFFS])
def test_diffs_are_real(path: str, diff: str) -> None:
    # Without the comments at the ends of lines.
    lines = {line.partition("  # ")[0] for line in (ROOT / path).read_text(encoding="utf-8").splitlines()}
    assert [line for line in diff.splitlines() if line[1:] not in lines] == []


def test_the_citation_is_of_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {packstore.__version__}" in lines and "license: MIT" in lines
