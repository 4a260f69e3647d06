"""How a command ends: what stopped it goes in, a line on stderr (and a JSON object) and the exit code come out."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from packstore.cli.show import error_line, one_line

__all__ = ["BAD_INPUT", "BROKEN_PIPE", "DIFFERENT", "FAULT", "INTERRUPTED", "failure", "fault", "interrupted", "unread"]

DIFFERENT, BAD_INPUT, FAULT, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141


def failure(arguments: list[str], error: BaseException | None) -> int:
    """Report what a command could not do: the input, the system or the user stopped it."""
    if isinstance(error, BrokenPipeError):
        return unread()
    if isinstance(error, KeyboardInterrupt):
        return interrupted()
    return _report(arguments, type(error).__name__, error_line(error), BAD_INPUT)


def fault(arguments: list[str], error: Exception) -> int:
    """Report a usage error of typer, or an error that no command should raise."""
    # Typer's usage errors, whichever module they live in, know how to show themselves.
    shown: Any = getattr(error, "format_message", None)
    if shown is not None:
        return _report(arguments, "UsageError", shown(), BAD_INPUT)
    # The one line stays readable: the trace is shown only to those who ask for it.
    if os.environ.get("PACKSTORE_TRACEBACK"):
        raise error
    text = f"internal error, {type(error).__name__}: {error}. Set PACKSTORE_TRACEBACK=1 to see where."
    return _report(arguments, "InternalError", text, FAULT)


def unread() -> int:
    """Whoever read the output has seen enough; what is still in buffers goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def interrupted() -> int:
    """The user stopped it."""
    print("packstore: interrupted; nothing was left half-written", file=sys.stderr)
    return INTERRUPTED


def _report(arguments: list[str], kind: str, text: str, code: int) -> int:
    text = one_line(text)
    print(f"packstore: {text}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"error": kind, "message": text}))
    return code
