"""zarr: damage in the JSON documents, and in chunks; zarr is the reference."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Zlib
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.dtype import VariableLengthBytes

from packstore.codecs.packbits import PackBitsCodec
from tests.fuzz.mutate import number, scramble
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["explained", "mutate", "reference", "seeds"]

_DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
_DATA = np.arange(60, dtype="<i4").reshape(6, 10)
_WORDS = ["", "bytes", "packbits", "gzip", "zstd", "blosc", "crc32c", "transpose", "sharding_indexed", "vlen-utf8",
          "array", "group", "<i4", "|O", "<M8[s/0]", "|b1", "NaN", "0x7fc00000", "int32", "bool", "string", "float64",
          "big", "..", "/", "default", "v2", "r24", "delta", "zlib", "\ud800"]  # fmt: skip


def seeds() -> dict[str, dict[str, bytes]]:
    """Both versions; each codec; shards; text; nested groups."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, build in (("v3", _v3), ("v2", _v2), ("sharded", _sharded)):
            root = Path(folder) / name
            build(root)
            out[name] = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    return out


def _v3(root: Path) -> None:
    g = zarr.create_group(root, zarr_format=3, attributes={"a": 1})
    compressors = {"gzip": GzipCodec(), "zstd": ZstdCodec(checksum=True)}
    compressors |= {"blosc": BloscCodec(cname="lz4"), "crc": Crc32cCodec()}
    for name, codec in compressors.items():
        g.create_array(name, data=_DATA, chunks=(4, 5), compressors=[codec])
    g.create_array("plain", data=_DATA.astype(">f8"), chunks=(4, 5), compressors=None, fill_value=1.5)
    mask = g.create_array(
        "mask", shape=(9, 9), dtype="bool", chunks=(4, 9), serializer=PackBitsCodec(), compressors=None
    )
    mask[...] = np.arange(81).reshape(9, 9) % 3 == 0
    transpose = TransposeCodec(order=(1, 0))
    g.create_array("transposed", data=_DATA, chunks=(4, 5), filters=[transpose], compressors=None)
    text = g.create_array("text", shape=(3,), dtype="string", chunks=(2,))
    text[:] = np.array(["a", "bb", ""], dtype=object)
    g.create_array("scalar", data=np.array(3.5))
    g.create_group("inner").create_array("x", data=np.arange(4), chunks=(2,))


def _v2(root: Path) -> None:
    g = zarr.create_group(root, zarr_format=2)
    g.create_array("zlib", data=_DATA, chunks=(4, 5), compressors=Zlib())
    g.create_array("plain", data=_DATA, chunks=(4, 5), compressors=None, order="F")
    for name, kind, values in (
        ("text", "string", ["a", "bb", ""]),
        ("bytes", VariableLengthBytes(), [b"a", b"bb", b""]),
    ):
        array = g.create_array(name, shape=(3,), dtype=kind, chunks=(2,))
        array[:] = np.array(values, dtype=object)
    g.create_array("time", data=np.array([1, 2], "<M8[s]"), chunks=(1,))
    g.create_array("struct", data=np.array([(1, 2.5)], [("a", "<i2"), ("b", "<f4")]))


def _sharded(root: Path) -> None:
    g = zarr.create_group(root, zarr_format=3)
    g.create_array("a", data=_DATA, chunks=(2, 5), shards=(4, 10), compressors=[ZstdCodec()])
    g.create_array("b", data=_DATA, chunks=(2, 5), shards=(6, 10), compressors=None)


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Change a value in a document, bytes of a document, or bytes of a chunk; or lose a file."""
    out = dict(files)
    documents = [name for name in files if name.rpartition("/")[2] in _DOCUMENTS]
    chunks = [name for name in files if name not in documents]
    kind = rng.random()
    if kind < 0.55:
        name = rng.choice(documents)
        tree = json.loads(files[name])
        for _ in range(rng.choice([1, 1, 2])):
            _change_json(tree, rng)
        out[name] = json.dumps(tree).encode()
    elif kind < 0.62:
        name = rng.choice(documents)
        out[name] = scramble(files[name], rng)
    elif kind < 0.97:
        name = rng.choice(chunks)
        data = files[name]
        out[name] = scramble(data, rng, [*range(min(24, len(data))), *range(max(len(data) - 68, 0), len(data))])
    else:
        del out[rng.choice(documents)]
    return out


def _change_json(tree: Any, rng: random.Random) -> None:
    """Change one value somewhere in a document."""
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            visit(value)

    visit(tree)
    if not places:
        return
    node, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.12:
        del node[key]
    elif kind < 0.45:
        node[key] = rng.choice(
            [number(rng), -number(rng), rng.random() * 10, None, True, False, [], {}, [1], float("nan")]
        )
    elif kind < 0.7:
        node[key] = rng.choice(_WORDS)
    elif kind < 0.85:
        other, name = rng.choice(places)
        node[key] = (
            json.loads(json.dumps(other[name]))
            if name in (other if isinstance(other, dict) else range(len(other)))
            else 0
        )
    elif isinstance(node, list):
        node.insert(0, json.loads(json.dumps(node[key])))
    elif isinstance(node[key], int):
        node[key] += rng.choice([-1, 1])
    else:
        node[f"{key}x"] = node[key]


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """Every array by zarr."""
    out: Summary = {}
    found = _below(path, "") if names is None else names
    for name in found:
        try:
            array = zarr.open_array(path, path=name, mode="r")
        except Exception as error:
            out[name] = of_error(error)
            continue
        out[name] = _read(array)
    return out


def _below(root: Path, name: str) -> list[str]:
    """The nodes at and below `name` that are no groups; those below something else are not looked for."""
    folder = root / name
    if not any((folder / document).is_file() for document in ("zarr.json", ".zarray", ".zgroup")):
        return []
    try:
        zarr.open_group(root, path=name, mode="r")
    except Exception:
        return [name]
    inner = sorted(p.name for p in folder.iterdir() if p.is_dir())
    return [found for child in inner for found in _below(root, f"{name}/{child}".lstrip("/"))]


def _read(array: Any) -> list[Any]:
    try:
        box = box_of(array.shape, array.dtype.itemsize)
    except Exception as error:
        return of_error(error)
    return summary_of(lambda: array[box], array.shape)


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """Where the two may differ."""
    if "Expected dict, got <class 'str'>" in str(reference):
        return "a codec by its name alone, which the specification allows and zarr does not read"
    return None
