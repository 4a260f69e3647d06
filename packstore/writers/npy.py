"""``.npy``: numpy's own header, then the elements, written in parallel by region.

Source: the NPY format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np

from packstore.errors import OptionError, message
from packstore.writers.descr import npy_descr
from packstore.writers.items import Item
from packstore.writers.plain_arrays import plain_items, refusal
from packstore.writers.progress import Progress
from packstore.writers.raw import write_region
from packstore.writers.tree import Tree

__all__ = ["npy_header", "refusal", "write"]


def npy_header(item: Item, order: Literal["C", "F"]) -> bytes:
    """The header that ``np.save`` would write for the array."""
    described = {
        "descr": npy_descr(item.dtype, item.name),
        "fortran_order": order == "F",
        "shape": item.shape,
    }
    for version in (np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0):
        out = io.BytesIO()
        try:
            version(out, described)
        except (ValueError, UnicodeEncodeError):
            continue  # too long, or a field name outside latin-1
        return out.getvalue()
    # Version 3 is version 2 in UTF-8; numpy has no public writer for the header alone.
    out = io.BytesIO()
    np.lib.format.write_array(out, np.empty((0,) * len(item.shape), item.dtype), (3, 0))
    return _with_shape(out.getvalue(), item, order)


def _with_shape(empty: bytes, item: Item, order: str) -> bytes:
    """Replace shape and order in a version 3 header written for an empty array."""
    text = repr({"descr": npy_descr(item.dtype, item.name), "fortran_order": order == "F", "shape": item.shape})
    body = text.encode("utf-8")
    length = -(-(12 + len(body) + 1) // 64) * 64
    padded = body + b" " * (length - 12 - len(body) - 1) + b"\n"
    return empty[:8] + len(padded).to_bytes(4, "little") + padded


def write(target: Path, tree: Tree, progress: Progress) -> None:
    """Write one array as ``np.save`` does, byte for byte.

    Raises
    ------
    OptionError
        Several arrays.
    """
    if not tree.single:
        raise OptionError(
            message(
                "writing", tree.path, expected="one array for .npy", got=f"{len(tree.items)} arrays", hint="Use .npz"
            )
        )
    (item,) = plain_items(tree)
    order: Literal["C", "F"] = "F" if item.fortran else "C"
    write_region(target, npy_header(item, order), item, order, progress)
