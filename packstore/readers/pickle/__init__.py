"""Pickled ndarrays, mapped where their elements lie. Nothing is ever unpickled.

`packstore.readers.pickle.machine` runs the opcodes on symbols; what they would make is recognised as an array or
refused by name.
"""

from __future__ import annotations

from typing import Any

from packstore.errors import FormatError, MissingFileError, OptionError, PackstoreError, UnsupportedError, message
from packstore.readers.concatenated import Transposed
from packstore.readers.npy.header import fitting_chunks
from packstore.readers.pickle.arrays import DecodedText, Elements, Refused, array_of, follow_joblib, plain_text, what_is
from packstore.readers.pickle.machine import parses, run
from packstore.readers.pickle.values import Blob, Call, Global, Pairs
from packstore.source import ByteSpace, DirectorySource, InlineBytes, Source
from packstore.storage import ManifestArray, ManifestGroup, ReaderStorage, contiguous, regroup

__all__ = ["read", "sniff"]

SUFFIXES = (".pkl", ".pickle", ".pck", ".p", ".joblib", ".jl", ".sav")
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"]\x00\x00": "lzma",
    b"ZF": "an old joblib",
    b"\x78\x01": "zlib",
    b"\x78\x5e": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
}
MAX_DEPTH = 64
MAX_OBJECTS = 200_000
NOT_UNPICKLED = "packstore never unpickles"


def sniff(source: Source, head: bytes) -> bool:
    """Whether the file starts with a protocol (2 or later) and opcodes, or with opcodes under a pickle's name."""
    name = source.name.lower()
    named = name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz").removesuffix(".z").endswith(SUFFIXES)
    if named and _compression(head) is not None:
        return True
    if head[:1] == b"\x80":
        return len(head) > 2 and 2 <= head[1] <= 5 and parses(head)
    return named and parses(head)


def _compression(head: bytes) -> str | None:
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def read(source: Source, *, component: str | None, chunks: Any) -> ManifestGroup:
    """Describe the arrays in a pickle (protocols 0 to 5) or an uncompressed joblib file.

    Parameters
    ----------
    source
        The file.
    component
        Path of the one array that is wanted: dict keys and list indices joined by "/".
    chunks
        How to cut each array for zarr.

    Returns
    -------
    ManifestGroup
        The array at "" where the pickle is one; else a group for each dict, list and tuple. Numbers, texts and lists of
        them are attributes. Whatever is neither is in `unsupported` by the name of what it would be.

    Raises
    ------
    UnsupportedError
        The pickle is no array and no container, or the file is compressed.
    FormatError, TruncatedFileError
        No pickle, or one that is cut short.

    Notes
    -----
    Reads the opcodes and passes over array data: 100 KB or 100 GB make no difference. Arrays of protocols 3 to 5, of
    Python 2's binary protocols and of joblib are mapped in place; protocols 0 to 2 of Python 3 keep bytes as text,
    which is decoded when it is read. Where a file holds several pickles in a row, the first counts, and `unsupported`
    says that there are more.
    """
    if isinstance(source, DirectorySource):
        raise MissingFileError(message("opening", source.name, expected="a file", got="a directory"))
    path = source.name
    compression = _compression(bytes(source.pread(0, min(8, source.nbytes))))
    if compression is not None:
        raise UnsupportedError(
            message(
                "reading the pickle",
                path,
                expected="an uncompressed one",
                got=f"one compressed by {compression}",
                hint="Decompress it, or save it again by joblib.dump(…, compress=0)",
            )
        )
    value, end = run(source, path, after_build=follow_joblib(path))
    walker = _Walker(source, component, chunks)
    if _items(value) is None:
        try:
            found = walker.array(value, "")
        except Refused as why:
            raise UnsupportedError(
                message(
                    "reading the pickle",
                    path,
                    expected="an ndarray, or a dict or list of them",
                    got=str(why),
                    hint=NOT_UNPICKLED + "; load it where it is trusted and save the arrays in it",
                )
            ) from None
        return ManifestGroup({"": found}, unsupported=_following(source, end))
    walker.walk(value)
    return ManifestGroup(walker.arrays, walker.groups, {**walker.unsupported, **_following(source, end)})


def _following(source: Source, end: int) -> dict[str, str]:
    """The reason for what follows a pickle that ends at `end`, where that is another one."""
    head = bytes(source.pread(end, min(2, source.nbytes - end)))
    if head[:1] == b"\x80" and 2 <= head[-1] <= 5:
        return {"<next pickle>": f"another pickle follows at byte {end}, and only the first of a file is read"}
    return {}


def _items(value: Any) -> list[tuple[Any, Any]] | None:
    """Keys and values of a container; None for anything else."""
    if isinstance(value, Pairs):
        return value.items
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, Call) and value.func in _DICTS:
        args = value.args if isinstance(value.args, tuple) else ()
        first: list[tuple[Any, Any]] = []
        if args and isinstance(args[0], list):  # Python 2 gives the pairs to the constructor
            first = [(pair[0], pair[1]) for pair in args[0] if isinstance(pair, (list, tuple)) and len(pair) == 2]
        return first + value.items
    return None


_DICTS = (Global("collections", "OrderedDict"), Global("collections", "defaultdict"))


class _Walker:
    """Containers to groups, with a bound on how far references that share objects may fan out."""

    def __init__(self, source: Source, component: str | None, chunks: Any) -> None:
        self.source = source
        self.component = component
        self.chunks = chunks
        self.arrays: dict[str, ManifestArray] = {}
        self.groups: dict[str, dict[str, Any]] = {"": {}}
        self.unsupported: dict[str, str] = {}
        self.seen = 0

    def walk(self, root: Any) -> None:
        todo: list[tuple[str, Any, int]] = [("", root, 0)]
        while todo:
            path, value, depth = todo.pop()
            for i, (key, child) in enumerate(_items(value) or []):
                name = str(key) if type(key) is int else plain_text(key, self.source)
                where = f"{path}/{name}" if path else str(name)
                self.count()
                if name is None or any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name:
                    shown = "a key that is no text" if name is None else f"a key that is no plain name: {name!r:.80}"
                    self.refuse(where if name is not None else f"{path}/<{i}>".strip("/"), shown)
                elif (
                    where in self.arrays
                    or where in self.groups
                    or where in self.unsupported
                    or name in self.groups[path]
                ):
                    self.arrays.pop(where, None)
                    self.groups[path].pop(name, None)
                    self.unsupported[where] = "several objects have this name"
                elif (plain := self.plain(child)) is not _NOT_PLAIN:
                    self.groups[path][name] = plain
                elif _items(child) is not None:
                    if depth >= MAX_DEPTH:
                        self.refuse(where, f"nested deeper than {MAX_DEPTH}")
                        continue
                    self.groups[where] = {}
                    todo.append((where, child, depth + 1))
                else:
                    self.leaf(child, where)

    def leaf(self, child: Any, where: str) -> None:
        if self.component is not None and where != self.component:
            return
        try:
            self.arrays[where] = self.array(child, where)
        except Refused as why:
            text = str(why)
            self.refuse(where, text if NOT_UNPICKLED in text else f"{text}, and {NOT_UNPICKLED}")
        except OptionError:
            raise
        except PackstoreError as error:
            if self.component is not None:
                raise
            # One bad array must not hide the others: opening it by its name raises the error.
            self.refuse(where, str(error))

    def refuse(self, where: str, why: str) -> None:
        self.unsupported[where] = why

    def count(self) -> None:
        self.seen += 1
        if self.seen > MAX_OBJECTS:
            raise FormatError(
                message("reading the pickle", self.source.name, expected=f"at most {MAX_OBJECTS} objects", got="more")
            )

    def plain(self, value: Any, depth: int = 0) -> Any:
        """`value` as JSON where it is made of numbers and texts only."""
        self.count()
        if value is None or isinstance(value, (bool, float)) or (type(value) is int and abs(value) < 2**63):
            return value
        if isinstance(value, str) or (isinstance(value, Blob) and value.old):
            text = plain_text(value, self.source)
            return _NOT_PLAIN if text is None else text
        if depth > MAX_DEPTH or not isinstance(value, (list, tuple, Pairs)):
            return _NOT_PLAIN
        if isinstance(value, Pairs):
            out: dict[str, Any] = {}
            for key, child in value.items:
                name = plain_text(key, self.source)
                found = self.plain(child, depth + 1)
                if name is None or found is _NOT_PLAIN:
                    return _NOT_PLAIN
                out[name] = found
            return out if out or depth else _NOT_PLAIN
        items = []
        for child in value:
            found = self.plain(child, depth + 1)
            if found is _NOT_PLAIN:
                return _NOT_PLAIN
            items.append(found)
        return items

    def array(self, value: Any, where: str) -> ManifestArray:
        path = self.source.name
        found = array_of(value, self.source, path)
        if found is None:
            raise Refused(what_is(value))
        chunks = fitting_chunks(self.chunks, found.shape, strict=self.component is not None or where == "")
        if found.axes is None:
            return self.contiguous(found, chunks)
        shape = tuple(found.shape[axis] for axis in found.axes)
        return ManifestArray(
            shape=shape,
            dtype=found.dtype,
            chunk_shape=regroup(shape, found.dtype.itemsize, "C", chunks),
            storage=ReaderStorage(Transposed(self.contiguous(found, None), found.axes)),
        )

    def contiguous(self, found: Elements, chunks: Any) -> ManifestArray:
        blob, dtype = found.blob, found.dtype
        space: ByteSpace = self.source
        offset = blob.offset
        size = 1
        for n in found.shape:
            size *= n
        if size == 0:
            space, offset = InlineBytes(b"", self.source.name), 0
        elif blob.coding != "raw":
            space, offset = DecodedText(self.source, blob, size * dtype.itemsize), 0
        return ManifestArray(
            shape=found.shape,
            dtype=dtype,
            chunk_shape=regroup(found.shape, dtype.itemsize, found.order, chunks),
            storage=contiguous(found.shape, space, offset, dtype, found.order),
        )


_NOT_PLAIN = object()
