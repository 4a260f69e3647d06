"""What a compiled module would gain where numpy needs several passes: each step here, and the same in C, in turn.

``prototype.c`` is compiled by ``cc`` when this runs; nothing of it is shipped. `compiled.md` has the figures.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from packstore.cli.measure import clocked, interleave
from packstore.codecs.hdf5.shuffle import unshuffle
from packstore.config import cpu_count
from tests.benchmarks.data import mask, zarr_array
from tests.benchmarks.model import Data
from tests.benchmarks.report import about_run

__all__ = ["run_prototype"]

Row = dict[str, Any]
Run = Callable[[], Any]


def _library() -> Any:
    """The functions of ``prototype.c``; they release the GIL."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("there is no C compiler (cc) on this machine")
    source = Path(__file__).with_name("prototype.c")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "prototype.so"
        subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", target, source], check=True)
        library = ctypes.CDLL(str(target))
    for name in ("unpack_files", "parse_numbers"):
        getattr(library, name).restype = ctypes.c_long
    library.prepare()
    return library


def _at(array: Any, offset: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data + offset)


def _long(*values: int) -> list[ctypes.c_long]:
    return [ctypes.c_long(value) for value in values]


def _whole(c: Any, data: Data) -> tuple[Run, Run]:
    """A packed zarr in chunks of 256 x 256, read whole: by `open_array`, and by one loop in C a thread."""
    side = 1024 if data.quick else 8192
    array = mask(data)[:side, :side]
    path = zarr_array(
        data,
        f"prototype-{side}",
        array,
        chunks=(256, 256),
        compressors=None,
        serializer=packstore.PackBitsCodec(),
        config={"write_empty_chunks": True},
    )
    opened = packstore.open_array(path)
    places = [(i, j) for i in range(side // 256) for j in range(side // 256)]
    paths = (ctypes.c_char_p * len(places))(*(f"{path}/c/{i}/{j}".encode() for i, j in places))

    def compiled() -> Any:
        from concurrent.futures import ThreadPoolExecutor

        out = np.empty((side, side), np.bool_)
        outs = (ctypes.c_void_p * len(places))(*(out.ctypes.data + i * 256 * side + j * 256 for i, j in places))
        step = -(-len(places) // cpu_count())

        def work(first: int) -> None:
            count = min(step, len(places) - first)
            at = ctypes.sizeof(ctypes.c_void_p) * first
            done = c.unpack_files(ctypes.byref(paths, at), *_long(count, 256, 32), ctypes.byref(outs, at), *_long(side))
            assert done == count

        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(work, range(0, len(places), step)))
        return out

    return lambda: opened[...], compiled


def _ragged(c: Any, data: Data) -> tuple[Run, Run]:
    """A crop of 256 x 256 from a chunk whose rows are 1001 bits long."""
    from packstore.codecs.bits.arrays import packed_array
    from packstore.codecs.bits.boxes import unpack_box

    array = np.ascontiguousarray(mask(data)[:1000, :1001])
    packed = np.packbits(array.reshape(-1), bitorder="little")
    known = packed_array((1000, 1001), np.dtype(np.bool_), "none", None, None, "little")
    box = (slice(300, 556, 1), slice(401, 657, 1))

    def ours() -> Any:
        plan = known.plan(box)
        return unpack_box(packed[plan.offset : plan.offset + plan.nbytes], plan)

    def compiled() -> Any:
        out = np.empty((256, 256), np.bool_)
        c.unpack_ragged(_at(packed), *_long(300 * 1001 + 401, 256, 256, 1001), _at(out), *_long(256))
        return out

    return ours, compiled


def _unshuffle(c: Any, data: Data) -> tuple[Run, Run]:
    """A chunk of 1 MB of float32 that was shuffled, put into its place in a larger array."""
    planes = np.random.default_rng(0).integers(0, 256, 1 << 20).astype(np.uint8)
    target = np.zeros((512, 4096), np.uint32)
    scratch = np.empty(1 << 20, np.uint8)

    def ours() -> Any:
        unshuffle(planes, 4, scratch)
        target[:, 512:1024] = scratch.view(np.uint32).reshape(512, 512)
        return target

    def compiled() -> Any:
        c.unshuffle_rows(_at(planes), *_long(512, 512), _at(target, 4 * 512), *_long(4 * 4096))
        return target

    return ours, compiled


def _text(c: Any, data: Data) -> tuple[Run, Run]:
    """A table of numbers with three decimals, parsed: by `np.loadtxt`, as the reader of text does, and by strtod."""
    values = np.round(np.random.default_rng(0).random((5000 if data.quick else 50_000, 10)), 3)
    text = "\n".join(" ".join(map(str, row)) for row in values.tolist()) + "\n"
    raw, lines = np.frombuffer(text.encode(), np.uint8), text.split("\n")

    def compiled() -> Any:
        out = np.empty(values.size)
        count = c.parse_numbers(_at(raw), *_long(raw.size), _at(out), *_long(out.size))
        assert count == out.size
        return out.reshape(values.shape)

    return lambda: np.loadtxt(lines), compiled


STEPS: dict[str, Callable[[Any, Data], tuple[Run, Run]]] = {
    "packed zarr, 64 KB chunks, whole": _whole,
    "packed rows of 1001 bits, a 256² crop": _ragged,
    "unshuffle 1 MB into its place": _unshuffle,
    "parse a table of numbers": _text,
}


def _timed(run: Run) -> Callable[[], dict[str, float]]:
    return lambda: {"s": clocked(run).seconds}


def run_prototype(data: Data, out: Path, rounds: int) -> list[Row]:
    """Measure all steps, print them, write ``prototype.json``."""
    library = _library()
    rows: list[Row] = []
    for name, make in STEPS.items():
        ours, compiled = make(library, data)
        assert np.array_equal(ours(), compiled())
        found, _ = interleave({"ours": _timed(ours), "compiled": _timed(compiled)}, rounds)
        times = {key: 1000 * statistics.median(figures["s"]) for key, figures in found.items()}
        rows.append({"step": name, **{f"{key}_ms": ms for key, ms in times.items()}})
        rows[-1]["ratio"] = times["ours"] / times["compiled"]
        print(f"{name}: {times['ours']:.2f} ms, compiled {times['compiled']:.2f} ms, {rows[-1]['ratio']:.1f} times")
    text = json.dumps({"environment": about_run(), "rows": rows}, indent=1)
    (out / "prototype.json").write_text(text + "\n", encoding="utf-8")
    print(f"written: {out / 'prototype.json'}")
    return rows
