"""Many files that are one array: a stand-in for the location of one file, read by whichever files a box touches."""

from __future__ import annotations

import glob
import hashlib
import os
import pickle
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.errors import DtypeError, MissingFileError, OptionError, ShapeError, message
from packstore.readers import Location, find_array, locate
from packstore.source import Fingerprint
from packstore.storage import DelegatedManifest, Facts, ManifestArray, ManifestGroup, SelectionReader
from packstore.storage.read import read_box

__all__ = ["FileParts", "JoinedReader", "MultiLocation", "expand_paths", "join_files"]

_STACK_HINT = "Use new_axis=True to stack on an axis of its own"


def expand_paths(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Files of a glob (numbers in names in numeric order) or of a list (in its own order).

    Raises
    ------
    MissingFileError
        The glob matches nothing, or the list is empty.

    Examples
    --------
    >>> expand_paths(["b.npy", "a.npy"])
    ['b.npy', 'a.npy']
    """
    if isinstance(paths, (str, os.PathLike)):
        pattern = os.fspath(paths)
        if "://" in pattern:
            import fsspec

            fs, path = fsspec.core.url_to_fs(pattern)
            found = [fs.unstrip_protocol(p) for p in fs.glob(path)]
        else:
            found = glob.glob(os.path.expanduser(pattern), recursive=True)
        found.sort(key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p)])
        if not found:
            raise MissingFileError(message("opening", pattern, expected="at least one file", got="no match"))
        return found
    listed = [os.fspath(p) for p in paths]
    if not listed:
        raise MissingFileError(message("opening a list of files", expected="at least one file", got="an empty list"))
    return listed


@dataclass(frozen=True)
class FileParts:
    """The files of a joined array, compact: a graph over 10,000 files pickles to some 10 bytes a file."""

    locations: tuple[Location, ...]
    component: str
    shapes: tuple[tuple[int, ...], ...]

    def __reduce__(self) -> tuple[Any, ...]:
        rows = [
            (x.path, x.format, tuple(x.fingerprint), x.chunks, x.storage_options, x.options) for x in self.locations
        ]
        columns = (tuple(zip(*rows, strict=True)), self.component, self.shapes)
        return (_unpack_parts, (zlib.compress(pickle.dumps(columns, protocol=5), 1),))


def _unpack_parts(data: bytes) -> FileParts:
    # Only ever a pickle of our own making, inside a pickle that the caller already trusts.
    columns, component, shapes = pickle.loads(zlib.decompress(data))
    locations = tuple(
        Location(path, format, Fingerprint(*fingerprint), chunks, storage_options, options)
        for path, format, fingerprint, chunks, storage_options, options in zip(*columns, strict=True)
    )
    return FileParts(locations, component, shapes)


@dataclass(frozen=True)
class MultiLocation:
    """Several files that are one array, in the place of a `packstore.readers.Location`.

    Parameters
    ----------
    parts
        The files, in order.
    dtype
        Of all of them.
    axis
        Where they are joined.
    new_axis
        Stack on a new axis instead of concatenating.
    """

    parts: FileParts
    dtype: np.dtype[Any]
    axis: int
    new_axis: bool
    format: str = "files"
    chunks: Any = None
    fingerprint: Fingerprint = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(repr([tuple(x.fingerprint) for x in self.parts.locations]).encode()).hexdigest()
        first = self.parts.locations[0].fingerprint
        total = sum(x.fingerprint.nbytes for x in self.parts.locations)
        name = f"{first.path}+{len(self.parts.locations) - 1}"
        object.__setattr__(self, "fingerprint", Fingerprint(name, total, int(digest[:15], 16), 0))

    @property
    def path(self) -> str:
        """What messages call it."""
        return self.fingerprint.path

    @property
    def starts(self) -> list[int]:
        """Where each file starts along the joined axis, and the total length last."""
        lengths = [1 if self.new_axis else shape[self.axis] for shape in self.parts.shapes]
        return [0, *np.cumsum(lengths, dtype=np.int64).tolist()]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the joined array."""
        first = self.parts.shapes[0]
        total = self.starts[-1]
        rest = first if self.new_axis else first[: self.axis] + first[self.axis + 1 :]
        return (*rest[: self.axis], total, *rest[self.axis :])

    def manifest(self, component: str | None = None) -> ManifestGroup:
        """One array that gathers its boxes from the files; the grid follows the first file's own chunks."""
        _, first = find_array(self.parts.locations[0], self.parts.component)
        chunk = first.chunk_shape
        if self.new_axis:
            chunk = (*chunk[: self.axis], 1, *chunk[self.axis :])
        array = ManifestArray(
            shape=self.shape,
            dtype=self.dtype,
            chunk_shape=chunk,
            storage=DelegatedManifest(JoinedReader(self)),
            fill_value=first.fill_value,
            attributes=first.attributes,
        )
        return ManifestGroup({"": array})


class JoinedReader(SelectionReader):
    """Reads a box of the joined array: each file gives its part."""

    def __init__(self, location: MultiLocation) -> None:
        self.location = location
        self.starts = location.starts

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return Facts("several files")

    def read(self, selection: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Elements of `selection`; a view of the file where one file covers it and nothing is to decode."""
        where, axis, starts = self.location, self.location.axis, self.starts
        along = selection[axis]
        pieces = []
        i = bisect_right(starts, along.start) - 1
        while i < len(where.parts.locations) and starts[i] < along.stop:
            first = along.start
            if starts[i] > first:
                first += -(-(starts[i] - first) // along.step) * along.step
            stop = min(along.stop, starts[i + 1])
            if first < stop:
                inner = slice(first - starts[i], stop - starts[i], along.step)
                pieces.append(self._piece(i, selection, inner))
            i += 1
        if not pieces:
            shape = [max(-(-(s.stop - s.start) // s.step), 0) for s in selection]
            return np.empty(shape, where.dtype)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=axis)

    def _piece(self, i: int, selection: tuple[slice, ...], inner: slice) -> npt.NDArray[Any]:
        where = self.location
        _, array = find_array(where.parts.locations[i], where.parts.component)
        before, after = selection[: where.axis], selection[where.axis + 1 :]
        if where.new_axis:
            return np.expand_dims(read_box(array, before + after), where.axis)
        return read_box(array, (*before, inner, *after))


def join_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    component: str | None = None,
    axis: int = 0,
    new_axis: bool = False,
    **options: Any,
) -> MultiLocation:
    """Check that the files fit together and describe the joined array; parameters and errors as `from_files`."""
    files = expand_paths(paths)
    locations: list[Location] = []
    shapes: list[tuple[int, ...]] = []
    names: list[str] = []
    dtype: np.dtype[Any] | None = None
    for path in files:
        location = locate(path, **options)
        # Files of one kind hold the array under the same name; only the first is asked for its only array.
        name, array = find_array(location, component if component is not None or not names else names[0])
        if dtype is None:
            dtype = array.dtype
            ndim = len(array.shape) + bool(new_axis)
            if not -ndim <= axis < ndim or ndim == 0:
                raise OptionError(
                    message("joining", path, expected=f"an axis within [-{ndim}, {ndim})", got=axis, hint=_STACK_HINT)
                )
            axis %= ndim
        elif array.dtype != dtype:
            raise DtypeError(
                message("joining", path, component, expected=f"dtype {dtype} as in {files[0]}", got=array.dtype)
            )
        if shapes:
            want, got = shapes[0], array.shape
            if not new_axis and len(want) == len(got):
                want, got = want[:axis] + want[axis + 1 :], got[:axis] + got[axis + 1 :]
            if want != got:
                what = "the same shape" if new_axis else f"the same shape except along axis {axis}"
                raise ShapeError(
                    message(
                        "joining", path, component, expected=f"{what} as {shapes[0]} in {files[0]}", got=array.shape
                    )
                )
        locations.append(location)
        shapes.append(array.shape)
        names.append(name)
    assert dtype is not None
    return MultiLocation(FileParts(tuple(locations), names[0], tuple(shapes)), dtype, axis, new_axis)
