"""The text of a ``.npy`` header in, its fields and its dtype out; text that numpy would not write is a ValueError.

The text is looked at before Python's parser sees it, and the dtype before numpy sees it: both crash on some texts.

>>> parse_fields("{'shape': (3L, 4), 'fortran_order': False}")
{'shape': (3, 4), 'fortran_order': False}
>>> parse_dtype([("x", "<f4"), ("y", "|u1", (2,))])
dtype([('x', '<f4'), ('y', 'u1', (2,))])
"""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np
from numpy.lib.format import descr_to_dtype

__all__ = ["parse_dtype", "parse_fields"]

# The parsers of Python and numpy recurse; a level of a structured dtype takes two brackets.
MAX_DEPTH = 100

_ESCAPE = r"""\\(?:[\\'"nrt]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"""
_TEXT = rf"""(?:'(?:[^'\\\r\n]|{_ESCAPE})*'|"(?:[^"\\\r\n]|{_ESCAPE})*")"""
# Integers of Python 2 end in L.
_TOKENS = re.compile(
    rf"(?:[][(){{}}:, \t\f\r\n]|[uU]?{_TEXT}|-?[0-9]{{1,19}}(?:\ ?[lL])?(?![\w.])|(?:True|False|None)(?!\w))*"
)
_BRACKET = re.compile(rf"{_TEXT}|([][(){{}}])")
_LONG = re.compile(rf"({_TEXT})|(?<=[0-9])\ ?[lL]")

# A letter and a size, or a name; a unit may follow, without the divisor (``[s/2]``) that numpy resolves and never
# writes (a divisor of 0 kills the process), and without a count of 0, of which no other package knows what it means.
_DTYPE = re.compile(r"[<>|=]?[?A-Za-z][A-Za-z_]*[0-9]{0,10}(?:\[(?:0*[1-9][0-9]{0,9})?(?:generic|[a-zA-Zμ]{1,2})\])?")


def parse_fields(text: str) -> Any:
    """Parse a literal of tuples, lists, dictionaries, strings, integers, True, False and None.

    Raises
    ------
    ValueError
        Anything else; the error says where.
    """
    match = _TOKENS.match(text)
    end = match.end() if match else 0
    if end < len(text):
        raise ValueError(f"no literal at character {end}: {text[end : end + 20]!r}")
    if sum(map(text.count, "([{")) > MAX_DEPTH:
        depth = 0
        for bracket in _BRACKET.findall(text):
            depth += 0 if not bracket else 1 if bracket in "([{" else -1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
    text = text.strip()
    try:
        try:
            return ast.literal_eval(text)
        except SyntaxError:
            return ast.literal_eval(_LONG.sub(r"\1", text))
    except (SyntaxError, TypeError) as error:
        # TypeError: a key that has no hash.
        raise ValueError(str(error)) from None


def parse_dtype(descr: Any) -> np.dtype[Any]:
    """The dtype of a header's "descr".

    Raises
    ------
    ValueError
        Not a description that numpy writes.
    """
    _check(descr)
    try:
        return descr_to_dtype(descr)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError, SyntaxError) as error:
        # numpy raises each of these for descriptions that it did not write.
        raise ValueError(str(error)) from None


def _check(descr: Any) -> None:
    """Raise ValueError where numpy's own parsing could do more than fail."""
    if isinstance(descr, str):
        if not _DTYPE.fullmatch(descr):
            raise ValueError(f"no dtype is written {descr!r:.40}")
    elif isinstance(descr, list):
        for field in descr:
            if not isinstance(field, tuple) or len(field) not in (2, 3):
                raise ValueError(f"no field is written {field!r:.40}")
            _check(field[1] if len(field) == 2 else field[1:])
    elif isinstance(descr, tuple) and len(descr) == 2:
        _check(descr[0])
        shape = descr[1] if isinstance(descr[1], tuple) else descr[1:]
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"no sub-array is of shape {descr[1]!r:.40}")
    else:
        raise ValueError(f"no dtype is written {descr!r:.40}")
