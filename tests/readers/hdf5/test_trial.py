"""``isolate``: a file is tried out by a process of its own, whose end is an error and not ours."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import ComponentNotFoundError, CorruptDataError
from packstore.readers.hdf5 import trial


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = np.arange(6)
    return tmp_path / "a.h5"


def test_a_sound_file(path: Path) -> None:
    with packstore.config.set({"isolate": True}):
        np.testing.assert_array_equal(packstore.open_array(path, "g/x")[...], np.arange(6))
        with pytest.raises(ComponentNotFoundError):
            packstore.open_array(path, "g/y")
        assert list(packstore.open_group(path)) == ["g"]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its death by SIGSEGV"),
        ("raise MemoryError", "its end with status 1"),
        ("import time; time.sleep(60)", "no end within 1.5 s"),
    ],
)
def test_a_process_that_ends(path: Path, monkeypatch: pytest.MonkeyPatch, end: str, text: str) -> None:
    monkeypatch.setattr(trial, "_MAIN", end)
    with (
        packstore.config.set({"isolate": True, "limits.isolate_seconds": 1.5}),
        pytest.raises(CorruptDataError, match=rf"opening {path}.*in a process of its own, got {text}"),
    ):
        packstore.open_array(path, "g/x")
    np.testing.assert_array_equal(packstore.open_array(path, "g/x")[...], np.arange(6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limits of memory here")
def test_memory_is_limited(path: Path) -> None:
    with (
        packstore.config.set({"isolate": True, "limits.isolate_nbytes": 1 << 26}),
        pytest.raises(CorruptDataError, match="in a process of its own, got its "),
    ):
        packstore.open_array(path, "g/x")
