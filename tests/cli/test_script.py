"""The script as a process: entry points, exit codes, signals, pipes, encodings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import packstore

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

SCRIPT = Path(sys.executable).with_name("packstore")


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "packstore", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_module_and_script_agree() -> None:
    for command in ([sys.executable, "-m", "packstore"], [str(SCRIPT)]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"packstore {packstore.__version__}\n" and done.stderr == ""
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
        for name in ("info", "convert", "verify", "bench", "Exit codes"):
            assert name in done.stdout
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and "Usage" in done.stdout and done.stderr == ""


@pytest.mark.parametrize(
    ("shell", "line"), [("bash", "info"), ("zsh", '_arguments \'*: :(("info":'), ("fish", "info\t")]
)
def test_names_complete_in_the_shell(shell: str, line: str) -> None:
    asked = {
        "_PACKSTORE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "packstore inf",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "packstore inf",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    process = start(env={**os.environ, **asked})
    out, err = process.communicate()
    assert process.returncode == 0 and err == b"" and out.decode().startswith(line)
    shown = subprocess.run([sys.executable, "-m", "packstore", "--help"], capture_output=True, text=True, check=True)
    assert "--install-completion" in shown.stdout.rpartition("Commands")[2]


def test_exit_codes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.save(tmp_path / "b.npy", np.arange(3) + 1)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    expected = {("a.npy", "a.npy"): 0, ("a.npy", "b.npy"): 1, ("a.npy", "c.npy"): 2, ("a.npy", "cut.npy"): 2}
    for files, code in expected.items():
        process = start("verify", *files, cwd=tmp_path)
        out, err = process.communicate()
        assert process.returncode == code
        assert b"Traceback" not in err and err.count(b"\n") == (code == 2)
        assert bool(out) == (code < 2)


def test_whoever_stops_reading_is_not_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    for arguments in (["info", tmp_path / "a.npy"], ["info", tmp_path / "a.npy", "--json"], ["--version"], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "packstore", *map(str, arguments)]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_are_no_text(tmp_path: Path, encoding: str) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.npy"
    try:
        with open(path, "wb") as file:
            np.save(file, np.arange(3))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"bad\xff", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((3,)))
        file["é[red]"] = np.arange(3)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for arguments in ([path], [os.fsencode(tmp_path / "a.h5")]):
        done = subprocess.run(
            [os.fsencode(sys.executable), b"-m", b"packstore", b"info", *arguments],
            capture_output=True,
            env=environment,
        )
        assert done.returncode == 0, done
        assert done.stderr == b"" and b"(3,) int" in done.stdout
    shown = "é[red]".encode(encoding, "backslashreplace")
    assert shown in done.stdout


def slow_source(tmp_path: Path) -> Path:
    """A file that takes seconds to convert: many small compressed chunks."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((2000, 2000)), chunks=(10, 10), compression="gzip", compression_opts=1)
    return path


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("suffix", "number"),
    [
        (".zarr", signal.SIGINT),
        (".zarr", signal.SIGTERM),
        (".npy", signal.SIGTERM),
        (".npz", signal.SIGINT),
        (".h5", signal.SIGINT),
    ],
)
def test_interrupted_convert_leaves_nothing(tmp_path: Path, suffix: str, number: int) -> None:
    source = slow_source(tmp_path)
    process = start("convert", source, tmp_path / f"b{suffix}")
    end = time.monotonic() + 60
    # As soon as there is something that could be left behind.
    while len(os.listdir(tmp_path)) == 1 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        # Too late: then it is all there.
        np.testing.assert_array_equal(packstore.from_file(tmp_path / f"b{suffix}").compute(), np.zeros((2000, 2000)))
        return
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert err == (b"packstore: interrupted; nothing was left half-written\n" if number == signal.SIGINT else b"")
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.long
def test_restarted_convert_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    source = slow_source(tmp_path)
    process = start("convert", source, tmp_path / "b.zarr")
    end = time.monotonic() + 60
    while len(os.listdir(tmp_path)) == 1 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    process = start(
        "convert", source, tmp_path / "b.zarr", *(["--overwrite"] if (tmp_path / "b.zarr").exists() else [])
    )
    process.communicate()
    assert process.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.zarr"]


@pytest.mark.parametrize("columns", [pytest.param(60, marks=pytest.mark.long), 120])
def test_progress_goes_to_a_terminal_on_stderr_only(tmp_path: Path, columns: int) -> None:
    pty = pytest.importorskip("pty")
    source = slow_source(tmp_path)
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "packstore", "convert", str(source), str(tmp_path / "b.npy"), "--json"]
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    while True:
        try:
            data = os.read(main, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    out, _ = process.communicate()
    os.close(main)
    assert process.returncode == 0 and out.startswith(b"{") and out.count(b"\n") == 1
    # Up one line, to remove it: never more, for it was never longer than a line.
    assert shown.count(b"\x1b[1A") <= 1
    assert b"saving b.npy" in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown)


def test_faults_of_ours_are_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from packstore.cli import info

    def broken(*arguments: object) -> None:
        raise RuntimeError("one\ntwo")

    monkeypatch.setattr(info, "describe", broken)
    result = cli("info", tmp_path)
    assert result.code == 3 and result.err.count("\n") == 1 and "RuntimeError: one two" in result.err
    monkeypatch.setenv("PACKSTORE_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="one"):
        cli("info", tmp_path)


def test_warnings_of_libraries_are_one_line(tmp_path: Path) -> None:
    # zarr-python warns of text of fixed length, which has no specification yet.
    np.save(tmp_path / "a.npy", np.array(["a", "bc"]))
    process = start("convert", tmp_path / "a.npy", tmp_path / "b.zarr")
    out, err = process.communicate()
    assert process.returncode == 0 and out.count(b"\n") == 1
    assert all(line.startswith(b"packstore: warning: ") for line in err.splitlines())
