"""What an archive holds before members are added; in: the archive, out: a copy of it without its directory."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packstore.core.keys import parent_paths
from packstore.errors import FormatError, TargetExistsError, message

__all__ = ["NOTHING_BEFORE", "Before", "before_addition"]

# The fixed part of a record in the central directory, and where it says how long its three other parts are.
_RECORD_NBYTES, _LENGTHS_OFFSET = 46, 28


@dataclass(frozen=True)
class Before:
    """The members that an archive has before others are added.

    Parameters
    ----------
    nbytes
        Where the new members start.
    records
        The directory's records of the members that stay.
    """

    nbytes: int
    records: tuple[bytes, ...]


NOTHING_BEFORE = Before(0, ())


def before_addition(base: Path, target: Path, names: Sequence[str], replace: bool) -> Before:
    """Copy the members of the archive `base` to `target`.

    Parameters
    ----------
    names
        The members that will be added. Where they are in `base` and `replace` is true, the old ones lose their records
        but not their bytes.

    Raises
    ------
    FormatError
        `base` is no zip archive, or one behind other bytes.
    TargetExistsError
        One of `names` is in `base`, or is above or below an array there.
    """
    try:
        with zipfile.ZipFile(base) as archive:
            start, infos = archive.start_dir, archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as why:
        raise FormatError(message("adding to", base, expected="an npz archive", got=why)) from None
    found = sorted({info.filename for info in infos} & set(names))
    if found and not replace:
        name = found[0].removesuffix(".npy")
        hint = "Choose another name, or pass overwrite=True"
        raise TargetExistsError(
            message("adding to", base, name, expected="a name that is free", got="an array", hint=hint)
        )
    _check_nesting(base, {info.filename.removesuffix(".npy") for info in infos}, names)
    with open(base, "rb") as file:
        file.seek(start)
        tail = file.read()
        file.seek(min((info.header_offset for info in infos), default=0))
        if infos and file.read(4) != b"PK\x03\x04":
            raise FormatError(
                message("adding to", base, expected="an archive that starts its file", got="one behind others")
            )
    records, at = [], 0
    for info in infos:
        end = at + _RECORD_NBYTES + sum(struct.unpack_from("<3H", tail, at + _LENGTHS_OFFSET))
        if info.filename not in names:
            records.append(tail[at:end])
        at = end
    shutil.copyfile(base, target)
    with open(target, "r+b") as file:
        file.truncate(start)
    return Before(start, tuple(records))


def _check_nesting(base: Path, there: set[str], names: Sequence[str]) -> None:
    """Refuse an array below another one, which no group can hold."""
    groups = {parent for name in there for parent in parent_paths(name)}
    for name in (name.removesuffix(".npy") for name in names):
        taken = "a group" if name in groups else next((p for p in parent_paths(name) if p and p in there), None)
        if taken is not None:
            got = taken if name in groups else f"the array {taken!r} above it"
            raise TargetExistsError(
                message("adding to", base, name, expected="a name that is free", got=got, hint="Choose another name")
            )
