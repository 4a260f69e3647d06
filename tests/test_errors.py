"""One family of errors, each also a builtin, all with one shape of text."""

from __future__ import annotations

import builtins
import pickle
from typing import Any

import pytest

from packstore import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "message"]


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not errors.PackstoreError])
def test_each_is_a_packstore_error_and_a_builtin(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.PackstoreError)
    builtin = {b for b in vars(builtins).values() if isinstance(b, type) and issubclass(b, Exception)}
    assert builtin & set(cls.__mro__) - {Exception}


@pytest.mark.parametrize("cls", CLASSES)
def test_each_survives_pickling_with_its_text(cls: type[Exception]) -> None:
    """A dask worker sends them to the client."""
    error = pickle.loads(pickle.dumps(cls("reading a.npz[x]: expected 1, got 2.")))
    assert type(error) is cls
    assert str(error) == "reading a.npz[x]: expected 1, got 2."


def test_all_classes_are_listed() -> None:
    found = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    assert found == {c.__name__ for c in CLASSES}


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("reading",), {}, "reading."),
        (("reading", "a.npy"), {"got": 0}, "reading a.npy: got 0."),
        (
            ("reading", "a.npz", "g/x"),
            {"expected": "8 bytes", "got": 7},
            "reading a.npz[g/x]: expected 8 bytes, got 7.",
        ),
        (("reading", "a.npz", "x", (0, 1)), {"expected": "y."}, "reading a.npz[x] chunk (0, 1): expected y."),
        (("reading", None, None, ()), {"hint": "Save it again"}, "reading chunk (). Save it again."),
        (("reading", "a", ""), {"expected": 0, "got": 1, "hint": "Go."}, "reading a[]: expected 0, got 1. Go."),
    ],
)
def test_message(arguments: tuple[Any, ...], options: dict[str, Any], text: str) -> None:
    assert errors.message(*arguments, **options) == text
