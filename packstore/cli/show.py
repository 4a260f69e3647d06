"""How the commands print: text that cannot break the terminal, sizes for people, one JSON object."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rich.console import Console

__all__ = ["emit", "human", "jsonable", "one_line", "plain"]

Result = dict[str, Any]

# Columns for tables where nobody says how wide the output is.
PIPE_WIDTH = 160


def plain(text: object) -> str:
    r"""Escape everything in a text that is no printable character: names in files are other people's.

    Examples
    --------
    >>> plain("caf\u00e9[red]"), plain("a\x1b[2J\n"), plain("bad\udcff")
    ('café[red]', 'a\\x1b[2J\\n', 'bad\\udcff')
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def human(nbytes: float) -> str:
    """Bytes for people.

    Examples
    --------
    >>> human(1234567), human(12), human(999_999)
    ('1.23 MB', '12 B', '1 MB')
    """
    if nbytes < 1000:
        return f"{nbytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        nbytes /= 1000
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
    return f"{nbytes / 1000:.4g} PB"


def jsonable(value: Any) -> Any:
    """The value as JSON can hold it: numbers that JSON has no name for, and anything foreign, as text.

    Examples
    --------
    >>> jsonable({"a": float("nan"), "b": (1, 2.5)})
    {'a': 'NaN', 'b': [1, 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


# How the library's hints read on a command line.
_OPTIONS = re.compile(
    r"\b(component|format|dtype|shape|offset|order|packed_axis|bitorder|bits|chunks|allow_external|delimiter|encoding)=(\"(\w+)\")?"
)

# The name under which a target is written until it is whole.
_TEMPORARY = re.compile(r"\.([^/]+)\.[0-9a-f]{8}-\d+-[0-9a-f]{8}\.tmp\b")


def one_line(text: str) -> str:
    r"""Put an error's text on one line, its hints spelled as options of the commands.

    Examples
    --------
    >>> one_line('Pass overwrite=True,\n or format="raw", packed_axis= and allow_external=')
    'Pass --overwrite, or --format raw, --packed-axis and --option allow_external=...'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[3]
        if name in ("allow_external", "delimiter", "encoding"):
            return f"--option {name}=" + (value or "...")
        return f"--{name.replace('_', '-')}" + (f" {value}" if value else "")

    text = " ".join(text.split()).replace("overwrite=True", "--overwrite")
    text = _TEMPORARY.sub(r"\1", text)
    return plain(_OPTIONS.sub(option, text))


def emit(result: Result, as_json: bool, render: Callable[[Console, Result], None]) -> None:
    """Print a result: as JSON, or by `render` on a console."""
    if as_json:
        text = json.dumps(jsonable(result), allow_nan=False) + "\n"
    else:
        wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        # Captured, so that a reader who goes away is an exception here and not rich's business.
        console = Console(width=wide, highlight=False, markup=False, emoji=False)
        with console.capture() as captured:
            render(console, result)
        text = captured.get()
    sys.stdout.write(text)
    sys.stdout.flush()
