"""Two summaries of one file go in, the faults of packstore come out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from tests.fuzz.summary import Summary

__all__ = ["REFERENCE_SECONDS", "ROOM_NBYTES", "SECONDS", "Fault", "compare"]

# How long one file may take, and what it may take beside four times its size.
SECONDS = 20.0
# libhdf5 hangs on some files: the reference is not waited for as long.
REFERENCE_SECONDS = 3.0
ROOM_NBYTES = 256 << 20


class Fault(NamedTuple):
    """One fault.

    Attributes
    ----------
    kind
        As `tests.fuzz` names them.
    text
        What happened.
    """

    kind: str
    text: str


def compare(
    module: Any, subject: Summary, reference: Summary, names: Collection[str] | None = None
) -> tuple[list[Fault], list[str]]:
    """The faults, and the names that only packstore has: of those the reference is still to be asked.

    With `names`, only those are compared.
    """
    faults: list[Fault] = []
    asked: list[str] = []
    whole = reference.get("*")
    for name, ours in subject.items():
        if ours[0] != "ok" or (names is not None and name not in names):
            continue
        theirs = reference.get(name, whole)
        if theirs is None:
            asked.append(name)
            continue
        if ours == theirs or module.explained(name, subject, theirs) is not None:
            continue
        kind = "differs" if theirs[0] == "ok" else "served"
        faults.append(Fault(kind, f"[{name}] {ours[1:]}; the reference: {theirs[1:]}"))
    if "*" not in subject and names is None:
        for name, theirs in reference.items():
            # "a/*" says why nothing of group a is listed.
            told = name in subject or any(key.endswith("*") and name.startswith(key[:-1]) for key in subject)
            if theirs[0] == "ok" and not told and module.explained(name, subject, theirs) is None:
                faults.append(Fault("missing", f"[{name}] {theirs[1:]}"))
    return faults, asked
