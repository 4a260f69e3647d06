"""Whatever is passed to the public functions: the answer is a PackstoreError that names the file and what to do."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import (
    AccessError,
    ComponentNotFoundError,
    MissingFileError,
    MissingPackageError,
    OptionError,
    PackstoreError,
    ReadError,
)
from packstore.source.remote import by_obstore

DATA = np.arange(12).reshape(3, 4)
OPENING: dict[str, Callable[..., Any]] = {
    "open": packstore.open,
    "open_array": packstore.open_array,
    "open_group": packstore.open_group,
    "open_store": packstore.open_store,
    "from_file": packstore.from_file,
    "from_files": lambda path, *args, **kwargs: packstore.from_files([path], *args, **kwargs),
}
NAMES = ("a.npy", "a.npz", "a.h5", "a.zarr", "a.pkl", "a.txt", "folder")


@pytest.fixture(params=OPENING)
def opening(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return OPENING[request.param]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "a.npy", DATA)
    np.savez(folder / "a.npz", x=DATA, y=DATA)
    with h5py.File(folder / "a.h5", "w") as f:
        f["x"], f["g/y"] = DATA, DATA
    packstore.save(folder / "a.zarr", {"x": DATA, "y": DATA})
    (folder / "a.pkl").write_bytes(pickle.dumps({"x": DATA, "y": DATA}))
    np.savetxt(folder / "a.txt", DATA)
    (folder / "folder").mkdir()
    np.save(folder / "folder/a.npy", DATA)
    return folder


def shown(value: Any) -> str:
    """A test's name for a value: the same in each process."""
    return "object" if type(value) is object else repr(value)


NO_PATHS: list[Any] = [
    None,
    5,
    2.5,
    True,
    object(),
    {"a.npy": 1},
    {"a.npy"},
    np.float64(1),
    "a\0b",
    b"a\0b",
    [None],
    [5],
]


@pytest.mark.parametrize("path", NO_PATHS, ids=shown)
def test_what_is_no_path(opening: Callable[..., Any], path: Any) -> None:
    with pytest.raises(OptionError, match="expected a path"):
        opening(path)


@pytest.mark.parametrize("path", NO_PATHS[:-2], ids=shown)
def test_what_is_no_path_elsewhere(path: Any) -> None:
    for function, what in (
        (packstore.from_files, "expected (a path|a glob or a list of paths, in their order)"),
        (packstore.open_memmap, "opening .*expected a path"),
        (lambda p: packstore.save(p, DATA), "writing .*expected a path"),
    ):
        with pytest.raises(OptionError, match=what):
            function(path)


def test_paths_that_name_nothing(tmp_path: Path, opening: Callable[..., Any]) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    np.save(tmp_path / "a.npy", DATA)
    os.mkfifo(tmp_path / "pipe")
    for name, error, got in (
        ("nope.npy", MissingFileError, "nothing of that name"),
        ("gone", MissingFileError, "nothing of that name"),
        ("a.npy/x", MissingFileError, "nothing of that name"),
        ("pipe", MissingFileError, "a pipe, socket or device"),
        ("loop", ReadError, os.strerror(40) if os.name == "posix" else ""),
        ("x" * 5000, ReadError, "File name too long"),
    ):
        with pytest.raises(error, match=rf"opening {tmp_path}/{name}: expected .*got {got}"):
            opening(f"{tmp_path}/{name}")


class Denied:
    """Stands for what the operating system says to who may not read: root may, so tests cannot ask it."""

    def __init__(self, real: Callable[..., Any], folder: Path) -> None:
        self.real, self.folder = real, str(folder)

    def __call__(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.folder):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return self.real(path, *args, **kwargs)


@pytest.mark.parametrize("name", NAMES[:-1])
@pytest.mark.parametrize("call", ["open", "stat"])
def test_permissions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: Path, opening: Callable[..., Any], name: str, call: str
) -> None:
    if name == "a.zarr":
        pytest.skip("a folder, of which each file is asked for")
    path = tmp_path / name
    path.write_bytes((files / name).read_bytes())
    monkeypatch.setattr(os, call, Denied(getattr(os, call), path))
    with pytest.raises(
        AccessError, match=rf"{name}: expected a file that may be read, got Permission denied\. Ask for"
    ):
        opening(path)


def test_permissions_of_folders(
    monkeypatch: pytest.MonkeyPatch, files: Path, tmp_path: Path, opening: Callable[..., Any]
) -> None:
    np.save(tmp_path / "a.npy", DATA)
    monkeypatch.setattr(os, "scandir", Denied(os.scandir, tmp_path))
    with pytest.raises(AccessError, match=rf"opening {tmp_path}: expected a file that may be read"):
        opening(tmp_path)


def test_permissions_of_a_memory_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.bits").write_bytes(bytes(1))
    monkeypatch.setattr(os, "open", Denied(os.open, tmp_path))
    with pytest.raises(AccessError, match=r"opening .*a\.bits: expected a file that may be read"):
        packstore.open_memmap(tmp_path / "a.bits", shape=(8,))


def test_reads_that_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A disk or network that breaks after the file was opened."""
    np.save(tmp_path / "a.npy", np.asfortranarray(np.zeros((2000, 3000))))

    def broken(*args: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(ReadError, match=r"reading .*a\.npy: expected a file that can be read, got Input/output error"):
        packstore.open_array(tmp_path / "a.npy")


PACKAGES = {
    "s3://b/k.npy": "s3fs",
    "gs://b/k.npy": "gcsfs",
    "gcs://b/k.npy": "gcsfs",
    "http://127.0.0.1:1/k.npy": "aiohttp requests",
    "https://127.0.0.1:1/k.npy": "aiohttp requests",
    "abfs://c/k.npy": "adlfs",
    "az://c/k.npy": "adlfs",
    "sftp://h/k.npy": "paramiko",
    "simplecache::s3://b/k.npy": "s3fs",
    "filecache::https://127.0.0.1:1/k.npy": "aiohttp requests",
}


@pytest.mark.parametrize("url", PACKAGES)
def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch, opening: Callable[..., Any], url: str) -> None:
    def missing(*args: Any, **kwargs: Any) -> Any:
        raise ImportError("Install something to access it")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    # Without obstore, too.
    monkeypatch.setattr(by_obstore, "_lost", True)
    with pytest.raises(
        MissingPackageError, match=rf"opening {url}: .*Install something.*pip install {PACKAGES[url]}\."
    ):
        opening(url)
    with pytest.raises(ImportError, match=rf"pip install {PACKAGES[url]}"):
        packstore.from_files(url.replace("k.npy", "*.npy"))


@pytest.mark.parametrize(
    ("raised", "error", "text"),
    [
        (PermissionError(13, "Forbidden"), AccessError, "Forbidden.*credentials in storage_options="),
        (ConnectionRefusedError(111, "Connection refused"), ReadError, "Connection refused"),
        (TimeoutError("slow"), ReadError, "slow"),
        (RuntimeError("NoCredentialsError"), ReadError, "NoCredentialsError"),
        (FileNotFoundError("x"), MissingFileError, "nothing of that name"),
        (ValueError("Protocol not known: nosuch"), OptionError, "Protocol not known"),
        (TypeError("unexpected keyword"), OptionError, "unexpected keyword"),
    ],
)
def test_servers_that_refuse(
    monkeypatch: pytest.MonkeyPatch, opening: Callable[..., Any], raised: Exception, error: type, text: str
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise raised

    url = "memory://refused.npy"
    for where in ("info", "invalidate_cache", "cat_file"):
        again = packstore.config.set({"remote.retries": 0})
        with again, monkeypatch.context() as patch, pytest.raises(error, match=f"opening {url}: .*{text}"):
            np_file = fsspec.filesystem("memory")
            np_file.pipe_file("/refused.npy", b"\x93NUMPY")
            patch.setattr(type(np_file), where, refuse)
            opening(url)


def test_an_unknown_scheme(opening: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match=r"opening nosuch://x: .*Protocol not known: nosuch"):
        opening("nosuch://x")


@pytest.mark.parametrize("options", [5, "x", [], ["a"], [("a", 1)], object(), True, {5: 6}], ids=shown)
@pytest.mark.parametrize("url", [False, True])
def test_bad_storage_options(files: Path, opening: Callable[..., Any], options: Any, url: bool) -> None:
    path = "memory://x.npy" if url else files / "a.npy"
    with pytest.raises(OptionError, match=rf"opening {path}: expected storage_options= as a dict with names"):
        opening(path, storage_options=options)


@pytest.mark.parametrize("component", [5, True, 2.5, b"x", [], ["x"], ("x",), {}, object()], ids=shown)
@pytest.mark.parametrize("name", NAMES)
def test_bad_components(files: Path, opening: Callable[..., Any], name: str, component: Any) -> None:
    if opening is packstore.open_store:
        return
    with pytest.raises(OptionError, match=rf"opening {files / name}: expected component= to be a str"):
        opening(files / name, component)


@pytest.mark.parametrize("component", ["nope", "../a", "a//b", "x/nope", "x" * 5000, "a\\b", "x/.."])
@pytest.mark.parametrize("name", NAMES)
def test_components_that_are_not_there(files: Path, opening: Callable[..., Any], name: str, component: str) -> None:
    if opening is packstore.open_store:
        return
    with pytest.raises(ComponentNotFoundError) as raised:
        opening(files / name, component)
    assert str(files / name) in str(raised.value)


# Of no form that any array takes; and of one that others take.
BAD_CHUNKS: list[Any] = [
    "x",
    2.5,
    -5,
    0,
    True,
    float("nan"),
    b"x",
    object(),
    (1, -7),
    (1.5, 2),
    ("a", 1),
    (True, 2),
    [1, [2]],
]
UNFIT_CHUNKS: list[Any] = [(1,), (1, 2, 3)]


@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=shown)
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.zarr"])
def test_bad_chunks(files: Path, opening: Callable[..., Any], name: str, chunks: Any) -> None:
    dask = opening in (OPENING["from_file"], OPENING["from_files"])
    arguments = ("x",) if dask and name != "a.npy" else ()
    if dask and isinstance(chunks, int) and chunks == 0:
        pytest.skip("dask takes it for the axes of length 0, and says what it does with others")
    with pytest.raises(OptionError, match=rf"{name}.*: expected chunks="):
        opening(files / name, *arguments, chunks=chunks)


@pytest.mark.parametrize("chunks", UNFIT_CHUNKS, ids=shown)
def test_chunks_of_another_rank(files: Path, opening: Callable[..., Any], chunks: Any) -> None:
    with pytest.raises(OptionError, match=r"a\.npy.*: .*expected chunks"):
        opening(files / "a.npy", chunks=chunks)


@pytest.mark.parametrize("chunks", [{7: 1}, {"x": 1}, ((1, 1), (4,)), ("1 parsec", 2), (10**30, 1)], ids=shown)
def test_chunks_that_dask_does_not_take(files: Path, chunks: Any) -> None:
    with pytest.raises(OptionError, match=r"chunking .*a\.npy: expected chunks= that dask takes for shape \(3, 4\)"):
        packstore.from_file(files / "a.npy", chunks=chunks)


@pytest.mark.parametrize("format", [5, b"npy", ["npy"], object(), "nope", "", True, ("npy",), {}], ids=shown)
def test_bad_formats(files: Path, tmp_path: Path, opening: Callable[..., Any], format: Any) -> None:
    with pytest.raises(OptionError, match=r"a\.npy: expected format"):
        opening(files / "a.npy", format=format)
    with pytest.raises(OptionError, match=r"out\.npy: expected format"):
        packstore.save(tmp_path / "out.npy", DATA, format=format)


@pytest.mark.parametrize("axis", ["x", None, 1.5, True, 5, -4], ids=shown)
def test_bad_axes(files: Path, axis: Any) -> None:
    for function in (packstore.from_files, packstore.open_array):
        with pytest.raises(OptionError, match=r"joining .*a\.npy: expected an axis within \[-2, 2\)"):
            function([files / "a.npy"] * 2, axis=axis)


@pytest.mark.parametrize("usecols", ["a", [1.5], object(), True, [[0], [1]]], ids=shown)
def test_bad_columns(files: Path, usecols: Any) -> None:
    with pytest.raises(OptionError, match=r"a\.txt: expected usecols= as an int or a sequence of ints"):
        packstore.open_array(files / "a.txt", usecols=usecols)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("format", ["npy", "npz", "hdf5", "zarr", "text", "pickle", "npy_stack", "folder", "raw"])
def test_the_format_of_another_file(files: Path, opening: Callable[..., Any], name: str, format: str) -> None:
    """Nothing but a PackstoreError; what can be read under the name is."""
    try:
        opening(files / name, format=format)
    except PackstoreError as error:
        assert name in str(error)  # no error is right too


@pytest.mark.parametrize("suffix", ["npy", "npz", "zarr", "h5", "raw"])
def test_errors_of_saving_name_the_target(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    for data in ({"a": DATA, "b": DATA}, np.array([object()]), {"../a": DATA}, {"x": np.array([object()])}):
        try:
            packstore.save(target, data, overwrite=True)
        except PackstoreError as error:
            assert ".tmp" not in str(error)  # npz and others take some of them
    assert [p.name for p in tmp_path.iterdir()] in ([], [target.name])


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize(
    "dtype",
    [
        {"names": ["a", "b"], "formats": ["<u2", "<f8"], "offsets": [8, 0], "itemsize": 10},
        {"names": ["whole", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]},
    ],
)
def test_structs_that_npy_cannot_describe(tmp_path: Path, suffix: str, dtype: Any) -> None:
    from numpy.lib.recfunctions import repack_fields

    data = np.zeros(3, np.dtype(dtype))
    data[data.dtype.names[0]] = [1, 2, 70]
    with pytest.raises(TypeError, match=r"fields lie one after the other.*repack_fields\(data\)") as raised:
        packstore.save(tmp_path / f"x.{suffix}", data)
    assert isinstance(raised.value, PackstoreError)
    packstore.save(tmp_path / f"x.{suffix}", repack_fields(data))
    for name in data.dtype.names or ():
        np.testing.assert_array_equal(packstore.from_file(tmp_path / f"x.{suffix}").compute()[name], data[name])


def test_an_unreadable_target_folder_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(PackstoreError, match=r"no folder .*nope"):
        packstore.save(tmp_path / "nope/x.npy", DATA)
    assert stat.S_ISDIR(tmp_path.stat().st_mode) and not list(tmp_path.iterdir())
