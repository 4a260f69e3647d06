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

from packstore.cli.flags import as_flags
from packstore.errors import PackstoreError

__all__ = ["Result", "emit", "error_line", "human", "jsonable", "one_line", "plain", "shortened"]

Result = dict[str, Any]

# Columns where nobody says how wide the output is: a line in a pipe is for programs, and as long as what it says.
PIPE_WIDTH = 1 << 20


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
    >>> jsonable({"a": float("nan"), "b": (1, 2.5), "c": 1j, "d": b"x", "e": np.datetime64("2020-01-01")})
    {'a': 'NaN', 'b': [1, 2.5], 'c': [0.0, 1.0], 'd': 'x', 'e': '2020-01-01'}
    """
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        # As ISO 8601: Python's dates have fewer years and digits.
        return jsonable(value.astype(str).tolist() if value.dtype.kind == "M" else value.tolist())
    if isinstance(value, complex):
        return jsonable([value.real, value.imag])
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


# Characters of an attribute's value that a line shows.
VALUE_WIDTH = 72


def shortened(value: Any) -> str:
    """A JSON-able value on one line for people, its middle left out where it is long.

    Examples
    --------
    >>> shortened({"a": [1, "x"]}), shortened("x" * 100)[-20:], shortened(range(1000))[-24:]
    ('{"a": [1, "x"]}', 'x"… (100 characters)', ' 18, 19, … (1000 values)')
    """
    if isinstance(value, str):
        shown, kept = json.dumps(value[:VALUE_WIDTH], ensure_ascii=False), len(value) <= VALUE_WIDTH
        return plain(shown) if kept else f"{plain(shown)}… ({len(value)} characters)"
    if isinstance(value, (float, np.floating)):
        # As numpy shows its own type: 0.1 for a float32, not 0.10000000149011612.
        return str(value) if np.isfinite(value) else str(jsonable(float(value)))
    if not isinstance(value, (list, tuple, range, np.ndarray)):
        text = plain(json.dumps(jsonable(value), ensure_ascii=False))
        return text if len(text) <= VALUE_WIDTH else f"{text[:VALUE_WIDTH]}…"
    # A long list is never written out whole to be cut.
    text, end = "[", "]"
    for index, element in enumerate(value):
        part = (", " if index else "") + shortened(element)
        if len(text) + len(part) > VALUE_WIDTH:
            end = f"{', ' if index else ''}… ({len(value)} values)"
            break
        text += part
    return text + end


# The name under which a target is written until it is whole.
_TEMPORARY = re.compile(r"\.([^/]+)\.[0-9a-f]{8}-\d+-[0-9a-f]{8}\.tmp\b")


def one_line(text: str) -> str:
    r"""Put an error's text on one line, its hints spelled as options of the commands.

    Examples
    --------
    >>> one_line('Pass overwrite=True,\n or format="raw", packed_axis= and allow_external=')
    'Pass --overwrite, or --format raw, --packed-axis and --option allow_external='
    """
    text = _TEMPORARY.sub(r"\1", " ".join(text.split()))
    return plain(as_flags(text))


def error_line(error: BaseException | None) -> str:
    """What a command says on stderr of an error."""
    # An OSError of ours would show its number before the sentence.
    text = getattr(error, "strerror", None) if isinstance(error, PackstoreError) else None
    return one_line(text or str(error) or "out of memory")


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
