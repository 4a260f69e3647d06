"""Errors speak of Python's arguments; a sentence goes in, the same one with the command's own options comes out."""

from __future__ import annotations

import re

from packstore.readers import READERS

__all__ = ["as_flags"]

# Those that commands have a flag for; other options of readers are passed as "--option NAME=VALUE".
_FLAGS = (
    "component", "format", "dtype", "shape", "offset", "order", "packed_axis", "bitorder", "bits", "chunks",
    "overwrite", "shards", "compressor", "level", "zarr_format", "skip_unsupported",
)  # fmt: skip


def as_flags(text: str) -> str:
    """Replace ``name=value`` by the option that means it, where a command has one.

    Examples
    --------
    >>> as_flags('Pass format="raw", dtype= and shape=, or skiprows=1, to a=1')
    'Pass --format raw, --dtype and --shape, or --option skiprows=1, to a=1'
    """
    others = sorted({name for reader in READERS.values() for name in reader.options} - set(_FLAGS))
    # Not in the middle of a path or of another word.
    pattern = rf'(?<![\w/.=\\-])(?<!--option )({"|".join((*_FLAGS, *others))})=("[^"\s]*"|[\w.-]*\w)?'

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], (found[2] or "").strip('"')
        if name not in _FLAGS:
            return f"--option {name}={value}"
        option = "--" + name.replace("_", "-")
        return option if not value or value == "True" else f"{option} {value}"

    return re.sub(pattern, flag, text.replace('mode="a"', "--append"))
