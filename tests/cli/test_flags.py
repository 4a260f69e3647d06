"""Errors of the command name options that the command has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from packstore.cli.app import run
from packstore.cli.flags import as_flags


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("expected component= to name one array", "expected --component to name one array"),
        ('For raw bytes pass format="raw", dtype= and shape=', "For raw bytes pass --format raw, --dtype and --shape"),
        ("Pass overwrite=True.", "Pass --overwrite."),
        ("pass skiprows=1.", "pass --option skiprows=1."),
        ('Pass encoding="utf-16".', "Pass --option encoding=utf-16."),
        ("allow_external= names a root", "--option allow_external= names a root"),
        ("reading /data/shape=3/dtype=u1.npy: nshape=4", "reading /data/shape=3/dtype=u1.npy: nshape=4"),
    ],
)
def test_as_flags(text: str, flags: str) -> None:
    assert as_flags(text) == flags


def test_the_command_says_its_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.arange(3))
    (tmp_path / "a.bin").write_bytes(b"\1\2\3")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    for arguments, said in (
        (["bench", "a.npz"], "--component to name one array"),
        (["info", "a.bin"], "pass --format raw, --dtype and --shape"),
        (["info", "a.csv"], "pass --option skiprows=1"),
        (["convert", "a.npy", "a.npz"], "Pass --overwrite"),
    ):
        code = run([arguments[0], *(str(tmp_path / name) for name in arguments[1:])])
        text = capsys.readouterr().err
        assert code and said in text and "=True" not in text
