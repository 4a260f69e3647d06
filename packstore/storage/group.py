"""A file's arrays and groups by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packstore.storage.array import ManifestArray

__all__ = ["ManifestGroup"]


@dataclass(frozen=True, eq=False)
class ManifestGroup:
    """Everything found in one file.

    Parameters
    ----------
    arrays
        Path (no leading slash; "" for a file that is one array) to array.
    groups
        Path to attributes, the root "" included where the file is a tree. Parents of arrays that are not listed
        count as groups without attributes.
    unsupported
        Path to the reason why the object there is not served at all.
    links
        Path of a soft link to the path, in the same file, of the array or group that it leads to. What it leads to is
        also in `arrays` and `groups` under the link's own path.
    fresh
        For trees of several files: whether an array or group (None: everything) is still as it was read. None: the
        fingerprint of the source tells.
    unlisted
        Path to an array that is read by its name alone: no listing has it, and `unsupported` says why.
    """

    arrays: Mapping[str, ManifestArray]
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    fresh: Callable[[str | None], bool] | None = None
    unlisted: Mapping[str, ManifestArray] = field(default_factory=dict)
