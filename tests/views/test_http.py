"""Files over HTTP as zarr stores: by urllib, by zarr over fsspec, by zarrita.js in node and in a browser."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.cli.app import run
from packstore.cli.serve import server_of
from packstore.errors import FormatError, OptionError
from packstore.views.http import StoreServer
from tests.browser import browse

MASK = np.random.default_rng(0).random((30, 44)) < 0.3
FRAMES = np.arange(600, dtype="i4").reshape(6, 10, 10)


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=names, method=method), timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "x.npz", **{"run/frames": FRAMES, "mask": MASK})  # type: ignore[arg-type]
    return tmp_path / "x.npz"


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("run/frames", data=FRAMES, chunks=(2, 7, 5), compression="gzip", shuffle=True)
        f.create_dataset("mask", data=MASK, chunks=(8, 44))
    return tmp_path / "x.h5"


def test_values_and_parts(npz: Path) -> None:
    with StoreServer(packstore.open_store(npz)) as server:
        status, headers, body = ask(f"{server.url}run/frames/c/0/0/0")
        assert (status, body) == (200, FRAMES.tobytes())
        assert headers["Accept-Ranges"] == "bytes" and headers["Access-Control-Allow-Origin"] == "*"
        assert ask(f"{server.url}run/frames/c/0/0/0", If_None_Match=headers["ETag"])[0] == 304
        assert ask(f"{server.url}run/frames/c/0/0/0", "HEAD")[1]["Content-Length"] == str(FRAMES.nbytes)
        for asked, expected in ("0-3", body[:4]), ("8-", body[8:]), ("-5", body[-5:]), ("2390-9999", body[2390:]):
            status, headers, part = ask(f"{server.url}run/frames/c/0/0/0", Range=f"bytes={asked}")
            assert (status, part) == (206, expected)
            assert headers["Content-Range"].endswith(f"/{FRAMES.nbytes}")
        status, headers, _ = ask(f"{server.url}run/frames/c/0/0/0", Range="bytes=2400-")
        assert (status, headers["Content-Range"]) == (416, "bytes */2400")
        # A range that nobody understands is no range.
        assert ask(f"{server.url}run/frames/c/0/0/0", Range="lines=1-2")[0] == 200
        status, headers, body = ask(f"{server.url}run/frames/zarr.json")
        assert headers["Content-Type"] == "application/json" and json.loads(body)["shape"] == [6, 10, 10]
        status, headers, _ = ask(f"{server.url}mask/zarr.json", "OPTIONS")
        assert status == 204 and "Range" in headers["Access-Control-Allow-Headers"]


ABSENT = ["absent", "mask/c/9/9", "../x.npz", "%2e%2e/x.npz", "mask//zarr.json", "a%00b", "a%5Cb"]


@pytest.mark.parametrize("key", ABSENT)
def test_no_other_file(npz: Path, key: str) -> None:
    with StoreServer(packstore.open_store(npz), origins=None) as server:
        status, headers, body = ask(server.url + key)
    assert (status, body) == (404, b"no such key\n")
    assert "Access-Control-Allow-Origin" not in headers


def test_a_zarr_directory_keeps_its_folder(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.zarr", {"mask": MASK})
    (tmp_path / "secret").write_text("secret")
    with StoreServer(packstore.open_store(tmp_path / "x.zarr")) as server:
        assert ask(f"{server.url}mask/zarr.json")[0] == 200
        for key in "%2e%2e/secret", "mask/..%2f..%2f/secret", "//etc/passwd":
            assert ask(server.url + key)[0] == 404


def test_damage_and_change_are_told(npz: Path) -> None:
    with StoreServer(packstore.open_store(npz)) as server:
        np.savez_compressed(npz, mask=MASK)
        status, _, body = ask(f"{server.url}run/frames/c/0/0/0")
        assert status == 410 and b"The file has changed since" in body
    with h5py.File(npz.with_name("x.h5"), "w") as f:
        f.create_dataset("a", data=FRAMES, chunks=(6, 10, 10), compression="gzip")
        at = f["a"].id.get_chunk_info(0).byte_offset
    with npz.with_name("x.h5").open("r+b") as file:
        file.seek(at)
        file.write(bytes(40))
    with StoreServer(packstore.open_store(npz.with_name("x.h5"))) as server:
        status, _, body = ask(f"{server.url}a/c/0/0/0")
        assert status == 500 and b"x.h5 chunk (0, 0, 0)" in body


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_zarr_reads_it(kind: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("aiohttp")
    with StoreServer(packstore.open_store(request.getfixturevalue(kind))) as server:
        for name, expected in ("run/frames", FRAMES), ("mask", MASK):
            found = zarr.open_array(zarr.storage.FsspecStore.from_url(server.url, read_only=True), path=name, mode="r")
            np.testing.assert_array_equal(found[...], expected)
            again = packstore.open_array(server.url + name)
            np.testing.assert_array_equal(again[3:5], expected[3:5])


def test_the_command(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = server_of(str(npz), {}, host="127.0.0.1", port=0, origins="https://viewer.example")
    with server:
        status, headers, body = ask(server.url)
        assert status == 200 and b"<h2>run/frames</h2>" in body and b"<svg" in body
        assert headers["Access-Control-Allow-Origin"] == "https://viewer.example"
        with pytest.raises(OptionError, match="expected a free address, got Address already in use"):
            server_of(str(npz), {}, host="127.0.0.1", port=server.server_port, origins=None)
    with pytest.raises(FormatError, match="expected an HDF5 file"):
        server_of(str(npz), {"format": "hdf5"}, host="127.0.0.1", port=0, origins=None)
    with pytest.raises(OptionError, match="expected all of a file"):
        server_of(f"{npz}|npz:mask", {}, host="127.0.0.1", port=0, origins=None)
    assert run(["serve", str(npz.with_name("absent")), "--port", "0"]) == 2
    assert "nothing of that name" in capsys.readouterr().err


def test_pages(npz: Path, h5: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert run(["info", str(npz), str(h5), "--html", str(out)]) == 0
    text = out.read_text()
    assert text.count("<h2>run/frames</h2>") == 2 and text.count("<h1>") == 2 and "<svg" in text
    assert run(["info", str(npz), "--html", str(out)]) == 2 and out.read_text() == text
    assert run(["info", f"{npz}|npz:mask", "--html", str(out), "--overwrite"]) == 0
    assert "frames" not in out.read_text() and "<h2>mask</h2>" in out.read_text()


READ = """
const root = zarr.root(new zarr.FetchStore(url));
const found = [];
for (const name of names) {
  const array = await zarr.open(root.resolve(name), { kind: "array" });
  const whole = await zarr.get(array);
  const part = await zarr.get(array, [zarr.slice(2, 5), ...array.shape.slice(1).map(() => null)]);
  const numbers = (x) => Array.from(x.data, Number);
  found.push({ name, dtype: array.dtype, shape: array.shape, whole: numbers(whole), part: numbers(part) });
}
"""
IMPORTS = {
    "zarrita": "zarrita/dist/src/index.js", "@zarrita/storage": "@zarrita/storage/dist/src/index.js",
    "@zarrita/storage/": "@zarrita/storage/dist/src/", "@zarrita/storage/fetch": "@zarrita/storage/dist/src/fetch.js",
    "numcodecs": "numcodecs/dist/index.js",
    **{f"numcodecs/{name}": f"numcodecs/dist/{name}.js" for name in ("gzip", "zlib", "blosc", "lz4", "zstd")},
}  # fmt: skip


@pytest.fixture(scope="module")
def zarrita(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with zarrita.js from the registry."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("js")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "zarrita@0.7"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"npm cannot install zarrita: {done.stderr[-200:]}")
    return folder


def check(found: Any) -> None:
    for each, (name, expected) in zip(found, (("run/frames", FRAMES), ("mask", MASK)), strict=True):
        assert (each["name"], each["dtype"], each["shape"]) == (name, str(expected.dtype), list(expected.shape))
        assert each["whole"] == expected.astype(int).ravel().tolist()
        assert each["part"] == expected[2:5].astype(int).ravel().tolist()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_zarrita_in_node(kind: str, zarrita: Path, request: pytest.FixtureRequest) -> None:
    with StoreServer(packstore.open_store(request.getfixturevalue(kind))) as server:
        given = f'import * as zarr from "zarrita";\nconst url = "{server.url}", names = ["run/frames", "mask"];'
        (zarrita / "read.mjs").write_text(f"{given}{READ}console.log(JSON.stringify(found));")
        done = subprocess.run(["node", "read.mjs"], cwd=zarrita, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """A web server of its own for a page and its scripts: another origin than the store's."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_zarrita_in_a_browser(kind: str, zarrita: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    imports = json.dumps({"imports": {name: f"/node_modules/{path}" for name, path in IMPORTS.items()}})
    with StoreServer(packstore.open_store(request.getfixturevalue(kind))) as server, pages(zarrita) as url:
        given = f'import * as zarr from "zarrita";\nconst url = "{server.url}", names = ["run/frames", "mask"];'
        script = f"{given}{READ}document.body.textContent = JSON.stringify(found);"
        page = f'<!doctype html><script type="importmap">{imports}</script><body><script type=module>{script}</script>'
        (zarrita / "page.html").write_text(page)
        text = browse(f"{url}/page.html", tmp_path / "profile")
    found = re.search(r"<body>(\[.*\])</body>", text, re.DOTALL)
    assert found is not None, text[-2000:]
    check(json.loads(unescape(found[1])))


@pytest.mark.long
def test_a_page_in_a_browser(h5: Path, tmp_path: Path) -> None:
    server = server_of(str(h5), {}, host="127.0.0.1", port=0, origins=None)
    with server:
        text = browse(server.url, tmp_path / "profile")
    for element in ("<h2>run/frames</h2>", "<svg", "<h2>mask</h2>", "deflate"):
        assert element in text
