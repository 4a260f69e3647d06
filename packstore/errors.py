"""Every exception that packstore raises: one family, each also the builtin a caller would expect.

``except packstore.errors.PackstoreError`` catches all of them; ``except KeyError`` (or ``ValueError``, ``OSError`` …)
goes on working for code that knows nothing of packstore.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AccessError",
    "ChecksumError",
    "ClosedError",
    "CodecConfigError",
    "ComponentNotFoundError",
    "CorruptDataError",
    "DtypeError",
    "ExternalFileError",
    "FormatError",
    "MemoryLimitError",
    "MissingFileError",
    "MissingFilterError",
    "MissingPackageError",
    "OptionError",
    "PackstoreError",
    "ReadError",
    "ReadOnlyError",
    "SelectionError",
    "ShapeError",
    "StaleFileError",
    "TargetExistsError",
    "TruncatedFileError",
    "UnsupportedError",
    "WriteError",
    "message",
]


def message(
    what: str,
    path: object = None,
    component: str | None = None,
    chunk: Sequence[int] | None = None,
    *,
    expected: object = None,
    got: object = None,
    hint: str | None = None,
) -> str:
    """Build the one-line text all errors share.

    Parameters
    ----------
    what
        What failed, as a phrase ("reading the header of").
    path, component, chunk
        Where: the file, the array inside it, the chunk coordinates.
    expected, got
        The two sides of the mismatch.
    hint
        What to do about it, as a sentence.

    Examples
    --------
    >>> message("reading", "a.npz", "x", (0, 1), expected="80 bytes", got="64", hint="Copy the file again.")
    'reading a.npz[x] chunk (0, 1): expected 80 bytes, got 64. Copy the file again.'
    """
    text = what
    if path is not None:
        text += f" {path}"
    if component is not None:
        text += f"[{component}]"
    if chunk is not None:
        text += f" chunk {tuple(int(c) for c in chunk)}"
    if expected is not None:
        text += f": expected {expected}"
        if got is not None:
            text += f", got {got}"
    elif got is not None:
        text += f": got {got}"
    text = text.rstrip(".") + "."
    if hint:
        text += " " + hint.rstrip(".") + "."
    return text


class PackstoreError(Exception):
    """Base of all packstore errors."""


class FormatError(PackstoreError, ValueError):
    """The file is not what it claims to be: a bad magic number, header or index."""


class TruncatedFileError(FormatError, EOFError):
    """The file ends before the bytes that its header or index promises."""


class CorruptDataError(PackstoreError, ValueError):
    """Stored bytes do not decode to the declared shape and type."""


class ChecksumError(CorruptDataError):
    """A stored checksum (CRC-32, Fletcher-32, crc32c) does not match the bytes."""


class UnsupportedError(PackstoreError, NotImplementedError):
    """Recognised, but not served; the text says why and what to do instead."""


class MissingFilterError(UnsupportedError, ImportError):
    """A filter needs a package that is not installed; the text names the filter id and the package."""


class ComponentNotFoundError(PackstoreError, KeyError):
    """No array or group of that name in the file."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument; the sentence reads better plain.
        return str(self.args[0]) if self.args else ""


class MissingFileError(PackstoreError, FileNotFoundError):
    """The path names nothing."""


class MissingPackageError(UnsupportedError, ImportError):
    """A URL needs a package that is not installed; the text says what to install."""


class ReadError(PackstoreError, OSError):
    """The operating system or a server refused a read; the text says why."""


class AccessError(ReadError, PermissionError):
    """The permission to read the file is missing."""


class MemoryLimitError(MemoryError, PackstoreError):  # in this order: MemoryError has a __new__ of its own
    """What was asked for, or what the file declares, does not fit into the memory of this process."""


class StaleFileError(PackstoreError, OSError):
    """The file is no longer the one that was opened (its size, modification time or ETag changed)."""


class ExternalFileError(PackstoreError, PermissionError):
    """The file refers to another file that the caller has not allowed."""


class TargetExistsError(PackstoreError, FileExistsError):
    """The target of a write exists and ``overwrite`` was not given."""


class ReadOnlyError(PackstoreError, PermissionError):
    """A write to something opened read-only."""


class OptionError(PackstoreError, ValueError):
    """An argument that makes no sense, or not for this format."""


class SelectionError(PackstoreError, IndexError):
    """An index out of bounds, or of a kind that is not supported."""


class CodecConfigError(PackstoreError, ValueError):
    """A codec configuration that cannot work."""


class DtypeError(PackstoreError, TypeError):
    """A data type that the codec, format or operation does not take."""


class ShapeError(PackstoreError, ValueError):
    """Shapes that do not fit together."""


class ClosedError(PackstoreError, ValueError):
    """Use of something that was closed."""


class WriteError(PackstoreError, OSError):
    """The operating system refused a write (disk full, size limit, permission); the target is as it was."""
