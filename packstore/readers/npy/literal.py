"""Python literals as numpy writes them in ``.npy`` headers, parsed without ``eval``.

Tuples, lists, dicts, strings, integers (``10L`` of Python 2 included), True, False and None: what a header can hold,
and nothing else. Depth and digits are bounded, so hostile text costs no more than its length.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["LiteralError", "parse_literal"]

MAX_DEPTH = 100

_TOKEN = re.compile(
    r"""[ \t\f\r\n]*(?:
        (?P<text>[uU]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
      | (?P<number>-?(?:0|[1-9][0-9]{0,18}))\ ?[lL]?(?![0-9A-Za-z_.])
      | (?P<name>True|False|None)(?![0-9A-Za-z_])
      | (?P<mark>[][(){}:,])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_PLAIN = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_NAMES = {"True": True, "False": False, "None": None}


class LiteralError(ValueError):
    """The text is no literal of the supported kinds."""


def parse_literal(text: str) -> Any:
    """Parse one literal that fills all of `text`.

    Raises
    ------
    LiteralError
        Anything else; the text says where.

    Examples
    --------
    >>> parse_literal("{'shape': (3L, 4), 'fortran_order': False}")
    {'shape': (3, 4), 'fortran_order': False}
    """
    parser = _Parser(text)
    value = parser.value(0)
    if parser.kind != "end":
        raise parser.error("the end")
    return value


class _Parser:
    """One token ahead: `kind` and `token` are the next one's."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            raise LiteralError(f"no literal at character {self.position}: {self.text[self.position :][:20]!r}")
        self.kind = match.lastgroup or "end"
        self.token = match[self.kind]
        self.position = match.end()

    def error(self, expected: str) -> LiteralError:
        return LiteralError(f"{expected} expected before character {self.position}, not {self.token[:20]!r}")

    def value(self, depth: int) -> Any:
        kind, token = self.kind, self.token
        if depth > MAX_DEPTH:
            raise LiteralError(f"nested deeper than {MAX_DEPTH}")
        if kind == "text":
            self.advance()
            return _unescape(token)
        if kind == "number":
            self.advance()
            return int(token)
        if kind == "name":
            self.advance()
            return _NAMES[token]
        if token == "{":
            return self.dict(depth)
        if token == "[":
            return self.items("]", depth)[0]
        if token == "(":
            items, comma = self.items(")", depth)
            return tuple(items) if comma or len(items) != 1 else items[0]
        raise self.error("a value")

    def items(self, close: str, depth: int) -> tuple[list[Any], bool]:
        """The values up to `close`, and whether the last one was followed by a comma."""
        out: list[Any] = []
        comma = False
        self.advance()
        while self.token != close or self.kind != "mark":
            if out and not comma:
                raise self.error("',' or " + repr(close))
            out.append(self.value(depth + 1))
            comma = self.comma()
        self.advance()
        return out, comma

    def dict(self, depth: int) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        comma = True
        self.advance()
        while self.token != "}" or self.kind != "mark":
            if not comma:
                raise self.error("',' or '}'")
            if self.kind != "text":
                raise self.error("a string as key")
            key = self.value(depth + 1)
            if self.token != ":" or self.kind != "mark":
                raise self.error("':'")
            self.advance()
            out[key] = self.value(depth + 1)
            comma = self.comma()
        self.advance()
        return out

    def comma(self) -> bool:
        if self.kind == "mark" and self.token == ",":
            self.advance()
            return True
        return False


def _unescape(token: str) -> str:
    body = token[2:-1] if token[0] in "uU" else token[1:-1]
    return _ESCAPE.sub(_escaped, body) if "\\" in body else body


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        if number > 0x10FFFF:
            raise LiteralError(f"no character \\{code}")
        return chr(number)
    if code not in _PLAIN:
        raise LiteralError(f"unknown escape \\{code}")
    return _PLAIN[code]
