"""Writes the folder sample_data beside this file: small Zarr arrays that zarrs encodes with ``packbits``.

Run from the repository's root, with packstore's ``test`` extra installed:

    python tests/codecs/golden/sample_data.py

packstore only lends zarr the codec's metadata class; every stored byte comes out of zarrs (``strict`` forbids falling
back to Python). The form is that of the sample data in zarr-extensions: an array a case, and a page of their bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from packstore.codecs.packbits import PackBitsCodec

MASK = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 1, 1, 1, 0]], bool)
# Name, values, chunk shape, configuration.
CASES: list[tuple[str, np.ndarray, tuple[int, ...], dict[str, Any]]] = [
    ("bool", MASK, (3, 5), {"padding_encoding": "none"}),
    ("bool_first_byte", MASK, (3, 5), {"padding_encoding": "first_byte"}),
    ("bool_last_byte", MASK, (3, 5), {"padding_encoding": "last_byte"}),
    ("bool_chunks", MASK, (2, 4), {"padding_encoding": "none"}),
    ("bool_scalar", np.array(True), (), {"padding_encoding": "none"}),
    ("uint1_in_uint8", np.array([0, 1, 1, 0, 1], "u1"), (5,), {"last_bit": 0}),
    ("uint2_in_uint8", np.array([0, 1, 2, 3, 2], "u1"), (5,), {"last_bit": 1}),
    ("uint4_in_uint8", np.array([0, 5, 10, 15, 7], "u1"), (5,), {"last_bit": 3}),
    ("int4_in_int8", np.array([-8, -1, 0, 1, 7], "i1"), (5,), {"last_bit": 3}),
    (
        "uint10_in_uint16",
        np.array([0, 1, 511, 512, 1023], "<u2"),
        (5,),
        {"last_bit": 9, "padding_encoding": "last_byte"},
    ),
    ("uint12_in_uint16", np.array([0, 1, 2047, 2048, 4095], "<u2"), (5,), {"last_bit": 11}),
    ("high_12_bits_of_uint16", np.array([0, 16, 4096, 65520], "<u2"), (4,), {"first_bit": 4, "last_bit": 15}),
]
TITLE = """# `packbits` Codec Sample Data

Small Zarr v3 arrays with the codec `packbits`, written by zarrs. The lowest bit of each byte holds the first element;
an element's lowest bit comes first. Bytes are in hexadecimal, in the order in which they are stored; a chunk that
holds nothing but the fill value (0) is not stored.
"""


def main(out: Path) -> None:
    """Write the arrays, the page and the values for programs."""
    shutil.rmtree(out, ignore_errors=True)
    page: list[str] = [TITLE]
    values: dict[str, Any] = {}
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True}):
        for name, array, chunks, options in CASES:
            folder = out / f"{name}.zarr"
            codec = PackBitsCodec(**{"padding_encoding": "none", **options})
            stored = zarr.create_array(
                folder, shape=array.shape, chunks=chunks, dtype=array.dtype, serializer=codec, compressors=None,
                filters=None, fill_value=0,
            )  # fmt: skip
            stored[...] = array
            files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")
            values[name] = array.astype(int).tolist()
            config = json.dumps({"name": "packbits", "configuration": codec.to_dict().get("configuration", {})})
            page += [
                f"\n## `{folder.name}`\n",
                f"`{array.dtype}`, shape {list(array.shape)}, chunks {list(chunks)}\n",
                f"```json\n{config}\n```\n",
                f"Values: `{json.dumps(values[name])}`\n",
                "| chunk | bytes |",
                "|---|---|",
                *(f"| `{path.relative_to(folder).as_posix()}` | `{path.read_bytes().hex(' ')}` |" for path in files),
            ]
    (out / "README.md").write_text("\n".join(page) + "\n")
    (out / "values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sample_data")
