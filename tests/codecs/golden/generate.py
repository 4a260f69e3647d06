"""Writes packbits.json beside this file: inputs and what zarrs, the Rust implementation, makes of them.

Run from the repository's root, with packstore's ``test`` extra installed:

    python tests/codecs/golden/generate.py

packstore only lends zarr the codec's metadata class; every stored byte comes out of zarrs (``strict`` forbids falling
back to Python).
"""

from __future__ import annotations

import importlib.metadata as md
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import zarr

from packstore.codecs.packbits import PackBitsCodec

HERE = Path(__file__).parent
RANGES: dict[str, list[tuple[int | None, int | None]]] = {
    "bool": [(None, None)],
    "int8": [(None, None), (None, 2), (0, 0), (1, 5), (3, 7)],
    "uint8": [(None, None), (None, 0), (None, 3), (None, 6), (2, 4), (7, 7)],
    "int16": [(None, None), (None, 9), (4, 15), (3, 12)],
    "uint16": [(None, None), *((None, last) for last in range(16)), (4, 15), (3, 8)],
    "int32": [(None, None), (None, 11), (5, 25), (None, 30)],
    "uint32": [(None, None), (None, 16), (None, 30), (9, 31)],
    "int64": [(None, None), (None, 47), (1, 63)],
    "uint64": [(None, None), (None, 1), (None, 56), (3, 63)],
    "float16": [(None, None), (6, 15)],
    "float32": [(None, None), (16, 31), (13, 31)],
    "float64": [(None, None), (32, 63), (1, 62)],
    "complex64": [(None, None), (16, 31)],
    "complex128": [(None, None), (20, 63)],
}
SHAPES = [(1,), (5, 7)]


def encode(array: np.ndarray, codec: PackBitsCodec) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        z = zarr.create_array(
            folder,
            shape=array.shape,
            chunks=array.shape,
            dtype=array.dtype,
            serializer=codec,
            filters=None,
            compressors=None,
            fill_value=0,
        )
        z[...] = array
        (chunk,) = (p for p in (Path(folder) / "c").rglob("*") if p.is_file())
        return chunk.read_bytes()


def main() -> None:
    rng = np.random.default_rng(20240229)
    cases = []
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True}):
        for dtype, ranges in RANGES.items():
            for first_bit, last_bit in ranges:
                for shape in SHAPES:
                    for padding in ("none", "first_byte", "last_byte"):
                        size = int(np.prod(shape))
                        dt = np.dtype(dtype).newbyteorder("<")
                        if dtype == "bool":
                            array = rng.random(shape) < 0.5
                            array.flat[0] = True  # a chunk of nothing but the fill value is not written
                        else:
                            array = np.frombuffer(rng.bytes(size * dt.itemsize), dt).reshape(shape)
                        codec = PackBitsCodec(padding, first_bit, last_bit)
                        cases.append(
                            {
                                "data_type": dtype,
                                "shape": shape,
                                "codec": codec.to_dict(),
                                "little_endian_c_order": array.tobytes().hex(),
                                "encoded": encode(array, codec).hex(),
                            }
                        )
    versions = {name: md.version(name) for name in ("zarrs", "zarr", "numpy")}
    versions["python"] = platform.python_version()
    text = json.dumps({"generated_by": versions, "cases": cases}, indent=None, separators=(",", ":"))
    (HERE / "packbits.json").write_text(text.replace('{"data_type"', '\n{"data_type"') + "\n")
    print(f"{len(cases)} cases, {versions}")


if __name__ == "__main__":
    main()
