"""Many files that are one array: paths go in, a stand-in for the location of one file comes out."""

from __future__ import annotations

import glob
import os
import pickle
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box
from packstore.errors import DtypeError, MissingFileError, OptionError, ShapeError, message
from packstore.readers.concatenated import Concatenated
from packstore.readers.find import find_array, find_same, locate
from packstore.readers.location import AnyLocation, Location
from packstore.readers.pipelines import parse_pipeline
from packstore.source import Fingerprint, masked, path_text
from packstore.source.given import is_given_object
from packstore.source.refusals import is_upath, options_of
from packstore.source.remote.client import State
from packstore.source.remote.listing import list_urls
from packstore.source.remote.ranges import side_by_side
from packstore.source.remote.urls import is_url
from packstore.storage import ManifestArray, ManifestGroup, ReaderStorage

__all__ = ["FileParts", "MultiLocation", "expand_paths", "join_files", "locate_all", "piped"]

_STACK_HINT = "Use new_axis=True to stack on an axis of its own"


def expand_paths(
    paths: str | os.PathLike[str] | Iterable[Any],
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Files of a glob (numbers in names in numeric order) or of a list (in its own order).

    Raises
    ------
    MissingFileError
        The glob matches nothing, or the list is empty.
    OptionError
        Something that is neither, or has no order.
    MissingPackageError, AccessError, ReadError
        The file system of a URL cannot be listed.

    Examples
    --------
    >>> expand_paths(["b.npy", "a.npy"])
    ['b.npy', 'a.npy']
    """
    if isinstance(paths, (str, bytes, os.PathLike)):
        pattern = path_text(paths)
        if "://" in pattern:
            found = list(list_urls(pattern, storage_options or {}))
        else:
            found = glob.glob(os.path.expanduser(pattern), recursive=True)
        found = _in_order(found)
        if not found:
            raise MissingFileError(message("opening", pattern, expected="at least one file", got="no match"))
        return found
    if not isinstance(paths, Iterable) or isinstance(paths, (Set, Mapping)):
        got = f"{type(paths).__name__}"
        raise OptionError(message("opening files", expected="a glob or a list of paths, in their order", got=got))
    # Paths that bring options along keep them.
    listed: list[Any] = [p if is_upath(p) or is_given_object(p) else path_text(p) for p in paths]
    if not listed:
        raise MissingFileError(message("opening a list of files", expected="at least one file", got="an empty list"))
    return listed


def _in_order(paths: Iterable[str]) -> list[str]:
    """Paths by their names, and numbers in them by value."""
    return sorted(paths, key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p)])


@dataclass(frozen=True)
class FileParts(Sequence[ManifestArray]):
    """The files of a joined array, as a sequence of their arrays, each opened when it is asked for.

    Notes
    -----
    Pickles compact: a graph over 10,000 files has some 10 bytes a file.
    """

    locations: tuple[Location, ...]
    component: str
    shapes: tuple[tuple[int, ...], ...]
    versions: tuple[tuple[Any, ...] | None, ...]
    dtype: np.dtype[Any]
    # Of each file, or None where no file has chunks that change by themselves.
    stamps: tuple[npt.NDArray[np.uint32] | None, ...] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.locations)

    # Boxes touch one part after the other: nobody asks for a slice of parts.
    def __getitem__(self, i: int) -> ManifestArray:  # type: ignore[override]
        found = find_same(self.locations[i], self.component, self.versions[i])
        if (found.shape, found.dtype) != (self.shapes[i], self.dtype):
            # Only where its header was not read before.
            kind = DtypeError if found.shape == self.shapes[i] else ShapeError
            expected = f"shape {self.shapes[i]} and dtype {self.dtype} as in the first file"
            got = f"{found.shape} and {found.dtype}"
            path = self.locations[i].path
            raise kind(message("joining", path, self.component or None, expected=expected, got=got))
        return found

    def span(self, first: int, last: int) -> FileParts:
        """The files from `first` to before `last`."""
        part = slice(first, last)
        stamps = None if self.stamps is None else self.stamps[part]
        return FileParts(
            self.locations[part], self.component, self.shapes[part], self.versions[part], self.dtype, stamps
        )

    def compare(self, i: int, box: Box) -> None:
        """Raise StaleFileError where a chunk file that `box` of a part touches was written again."""
        stamps = None if self.stamps is None else self.stamps[i]
        if stamps is not None:
            self[i].storage.compare(stamps, box)

    def __reduce__(self) -> tuple[Any, ...]:
        rows = [
            (x.path, x.format, tuple(x.fingerprint), x.chunks, x.storage_options, x.options, x.held)
            for x in self.locations
        ]
        columns = (tuple(zip(*rows, strict=True)), self.component, self.shapes, self.versions, self.dtype, self.stamps)
        return (_unpack_parts, (zlib.compress(pickle.dumps(columns, protocol=5), 1),))


def _unpack_parts(data: bytes) -> FileParts:
    # Only ever a pickle of our own making, inside a pickle that the caller already trusts.
    columns, component, shapes, versions, dtype, stamps = pickle.loads(zlib.decompress(data))
    locations = tuple(
        Location(path, format, Fingerprint(*fingerprint), chunks, storage_options, options, held)
        for path, format, fingerprint, chunks, storage_options, options, held in zip(*columns, strict=True)
    )
    return FileParts(locations, component, shapes, versions, dtype, stamps)


@dataclass(frozen=True)
class MultiLocation:
    """Several files that are one array, in the place of a `packstore.readers.location.Location`.

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
        states = [(*x.fingerprint, v) for x, v in zip(self.parts.locations, self.parts.versions, strict=True)]
        chunks = [None if each is None else each.tobytes() for each in self.parts.stamps or ()]
        # Function-level, for import time.
        import hashlib

        digest = hashlib.sha256(repr((states, chunks)).encode()).hexdigest()
        first = self.parts.locations[0].fingerprint
        total = sum(x.fingerprint.nbytes for x in self.parts.locations)
        name = f"{masked(first.path)}+{len(self.parts.locations) - 1}"
        object.__setattr__(self, "fingerprint", Fingerprint(name, total, int(digest[:15], 16), 0))

    @property
    def path(self) -> str:
        """The name that errors show."""
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

    def __dask_tokenize__(self) -> object:
        return (type(self).__name__, self.fingerprint, self.parts.component, self.axis, self.new_axis)

    def close(self) -> None:
        """Let go of all that this process keeps of the files; see `packstore.readers.location.Location.close`."""
        for location in self.parts.locations:
            location.close()

    def reader(self) -> Concatenated:
        """Reads boxes of the joined array."""
        is_far = is_url(self.parts.locations[0].fingerprint.path)
        compare = None if self.parts.stamps is None else self.parts.compare
        return Concatenated(
            self.parts, self.starts, self.axis, self.dtype, new_axis=self.new_axis, is_far=is_far, compare=compare
        )

    def manifest(self, component: str | None = None) -> ManifestGroup:
        """One array that gathers its boxes from the files; the grid follows the first file's own chunks."""
        first = self.parts[0]
        chunk = first.chunk_shape
        if self.new_axis:
            chunk = (*chunk[: self.axis], 1, *chunk[self.axis :])
        array = ManifestArray(
            shape=self.shape,
            dtype=self.dtype,
            chunk_shape=chunk,
            storage=ReaderStorage(self.reader()),
            fill_value=first.fill_value,
            attributes=first.attributes,
        )
        return ManifestGroup({"": array})


def join_files(
    paths: str | os.PathLike[str] | Iterable[Any],
    component: str | None = None,
    axis: int = 0,
    new_axis: bool = False,
    **options: Any,
) -> MultiLocation:
    """Check that the files fit together and describe the joined array; parameters and errors as `from_files`."""
    if is_upath(paths):
        options["storage_options"] = options_of(paths, options.get("storage_options"))
        paths = str(paths)
    states: dict[str, State | None] = {}
    if isinstance(paths, (str, os.PathLike)) and is_url(path_text(paths)):
        states = list_urls(path_text(paths), options.get("storage_options") or {})
    files = expand_paths(paths if not states else _in_order(states), options.get("storage_options"))
    first = locate(files[0], **options)
    # Files of one kind hold the array under the same name; only the first is asked for its only array.
    component, array = find_array(first, component)
    axis = _normal_axis(files[0], axis, len(array.shape) + bool(new_axis))

    def look(path: str) -> tuple[Location, ManifestArray]:
        location = _like(first, path, states.get(path))
        if location is not None:
            # Its header is compared with what is taken from the first here when it is read.
            return location, array
        location = locate(path, **options)
        return location, find_array(location, component)[1]

    found = [(first, array)]
    # Near files are opened faster than threads are started.
    found += side_by_side(look, files[1:]) if is_url(str(files[-1])) else map(look, files[1:])
    for path, (_, each) in zip(files, found, strict=True):
        _check_fit(path, component, each, array, files[0], None if new_axis else axis)
    locations, arrays = zip(*found, strict=True)
    assert component is not None
    shapes, versions = tuple(a.shape for a in arrays), tuple(a.version for a in arrays)
    stamps = tuple(a.storage.stamps() for a in arrays)
    known = stamps if any(each is not None for each in stamps) else None
    parts = FileParts(locations, component, shapes, versions, array.dtype, known)
    return MultiLocation(parts, arrays[0].dtype, axis, new_axis)


def _like(first: Location, path: str, state: State | None) -> Location | None:
    """The location of a file whose header can be taken to be that of the first: a listing has its size and its ETag."""
    if state is None or first.format not in ("npy", "raw") or state.nbytes != first.fingerprint.nbytes:
        return None
    return replace(first, path=masked(path), fingerprint=Fingerprint(path, state.nbytes, 0, 0, state.etag))


def _normal_axis(path: str, axis: int, ndim: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        expected = f"an axis within [-{ndim}, {ndim})"
        raise OptionError(message("joining", path, expected=expected, got=axis, hint=_STACK_HINT))
    return int(axis) % ndim


def _check_fit(
    path: str, component: str, array: ManifestArray, first: ManifestArray, first_path: str, axis: int | None
) -> None:
    """Compare a file's array with that of the first file: the shape may differ along `axis`, where it is not None."""
    name = component or None
    if array.dtype != first.dtype:
        expected = f"dtype {first.dtype} as in {first_path}"
        raise DtypeError(message("joining", path, name, expected=expected, got=array.dtype))
    want, got = first.shape, array.shape
    if axis is not None and len(want) == len(got):
        want, got = want[:axis] + want[axis + 1 :], got[:axis] + got[axis + 1 :]
    if want != got:
        but = "" if axis is None else f" except along axis {axis}"
        expected = f"the same shape{but} as {first.shape} in {first_path}"
        raise ShapeError(message("joining", path, name, expected=expected, got=array.shape))


def piped(path: Any, component: str | None, options: dict[str, Any]) -> tuple[Any, str | None, dict[str, Any]]:
    """A path, a component and options with what a URL pipeline says in their place; as they are where it is none.

    Raises
    ------
    OptionError
        A pipeline that cannot be, or a ``format=`` that contradicts it.

    Examples
    --------
    >>> piped("r.npz|npz:run/mask", None, {})[:2]
    ('r.npz', 'run/mask')
    """
    pipeline = parse_pipeline(path, options.get("storage_options"))
    if pipeline is None:
        return path, component, options
    asked = options.get("format")
    if asked is not None and pipeline.format not in (None, asked):
        expected = f"format {pipeline.format!r}, as the pipeline says"
        raise OptionError(message("opening", masked(path), expected=expected, got=repr(asked)))
    told = {"format": pipeline.format or asked, "storage_options": pipeline.storage_options}
    kept = {name: value for name, value in options.items() if name not in told}
    component = "/".join(filter(None, (pipeline.component, component))) or component
    return pipeline.path, component, kept | {name: value for name, value in told.items() if value is not None}


def locate_all(path: Any, component: str | None, /, **options: Any) -> tuple[AnyLocation, str | None]:
    """The location of a file, or of the one array that a list of files is, and the component that is left to find.

    Parameters
    ----------
    path
        A path, a URL pipeline, a binary file object or a zarr store; or a list of such, which the options `axis` and
        `new_axis` of `join_files` join.
    component
        The array that is wanted; of a list, in each file.
    **options
        As `locate`.
    """
    if isinstance(path, (list, tuple)):
        return join_files(path, **{"component": component, **options}), None
    # A store of packstore's own: what it was opened with counts.
    opened = getattr(path, "location", None)
    if isinstance(opened, (Location, MultiLocation)):
        given = ", ".join(name for name, value in options.items() if value is not None)
        if given:
            expected = "no options for a store, which was opened with its own"
            raise OptionError(message("opening", opened.path, expected=expected, got=given))
        return opened, component
    path, component, options = piped(path, component, options)
    return locate(path, **options), component
