"""A ``.npz`` archive in, its arrays out: stored members stay where they lie, compressed ones are decoded once."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace
from typing import Any

from packstore.errors import FormatError, OptionError, PackstoreError, UnsupportedError, message
from packstore.readers.known import archive_kind
from packstore.readers.npy.header import contiguous_array, fitting_chunks, read_header
from packstore.readers.npz.blocks import open_member
from packstore.readers.npz.directory import (
    BZIP2,
    DEFLATED,
    LOCAL_NBYTES,
    LZMA,
    METHODS,
    STORED,
    ZipMember,
    data_range,
    read_directory,
)
from packstore.readers.npz.inflate import FEED_NBYTES
from packstore.readers.npz.stored import StoredMember
from packstore.source import ByteSpace, Source
from packstore.storage import GridStorage, ManifestArray, ManifestGroup
from packstore.storage.places import OneRange

__all__ = ["read", "sniff"]

SUFFIX = ".npy"


def sniff(source: Source, head: bytes) -> bool:
    """Whether the file starts as a zip archive does (an empty one has only its end record)."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def read(source: Source, *, component: str | None, chunks: Any) -> ManifestGroup:
    """Describe the arrays of a ``.npz`` archive.

    Parameters
    ----------
    source
        The archive.
    component
        The one array that is wanted, without ".npy"; None for all.
    chunks
        How to cut each array for zarr; a tuple applies to the arrays with as many axes.

    Returns
    -------
    ManifestGroup
        Arrays by member name without ".npy". Members that are no ``.npy``, hold pickled objects, are compressed by a
        method nobody can undo here, are encrypted, share their name with another or have one that is no path are in
        `unsupported` with their reason.

    Raises
    ------
    FormatError
        No zip archive, a damaged directory, or no ``.npy`` in it; `component` names several members.
    UnsupportedError
        `component` names an encrypted member.

    Notes
    -----
    Reads the directory and each member's headers. The CRC-32 of a stored member is checked by the first read of all of
    it, and by whoever asks its storage to `verify`; a crop or a chunk of it is mapped and is not checked, as that would
    read the whole member. Compressed members are checked when they are decoded.
    """
    path = source.name
    members = [m for m in read_directory(source, path) if not m.name.endswith("/")]
    if members and not any(m.name.endswith(SUFFIX) for m in members):
        kind = archive_kind([m.name for m in members])
        raise FormatError(
            message("opening", path, expected="an archive with .npy members", got=kind.name, hint=kind.hint)
        )
    wanted = members if component is None else [m for m in members if _component(m) == component]
    # A header of the archive's and one of the array's lie before each member's elements; they may be compressed.
    source.prefetch([(m.header_offset, min(LOCAL_NBYTES + FEED_NBYTES, m.end - m.header_offset)) for m in wanted])
    counts = Counter(_component(m) for m in wanted)
    chunks_for = functools.partial(fitting_chunks, chunks, strict=component is not None)
    arrays: dict[str, ManifestArray] = {}
    unsupported: dict[str, str] = {}
    for member in wanted:
        name = _component(member)
        found: ManifestArray | str | None = _reason(member)
        if found is None:
            try:
                _check_member(path, member, counts[name])
                found = _array(source, member, name, chunks_for)
            except OptionError:
                raise
            except PackstoreError as error:
                if component is not None:
                    raise
                # One bad member must not hide the others: opening it by its name raises the error.
                found = str(error)
        if isinstance(found, str):
            unsupported[name] = found
        else:
            arrays[name] = found
    return ManifestGroup(arrays, {"": {}}, unsupported)


def _component(member: ZipMember) -> str:
    return member.name.removesuffix(SUFFIX)


def _check_member(path: str, member: ZipMember, count: int) -> None:
    """Raise for a member that shares its name with others, and for an encrypted one."""
    if count > 1:
        raise FormatError(
            message(
                "reading the zip directory of",
                path,
                _component(member),
                expected="one member of that name",
                got=count,
                hint="Which one is meant cannot be told; save the archive again",
            )
        )
    if member.encrypted:
        raise UnsupportedError(
            message(
                "reading",
                path,
                member.name,
                expected="a member without encryption",
                got="an encrypted one",
                hint="Decrypt the archive first; other members open by their name",
            )
        )


def _reason(member: ZipMember) -> str | None:
    """Why a member's bytes are not looked at; None where they are."""
    name = member.name
    if not name.endswith(SUFFIX):
        return "not a .npy member"
    parts = name.removesuffix(SUFFIX).split("/")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        return f"the member name {name!r} is no plain relative path"
    if member.method not in (STORED, DEFLATED, BZIP2, LZMA):
        method = METHODS.get(member.method, "unknown")
        return f"compressed by zip method {member.method} ({method}), which has no decoder here"
    return None


def _array(source: Source, member: ZipMember, name: str, chunks_for: Any) -> ManifestArray | str:
    """The member's array, or the reason why it is not served."""
    start, extra = data_range(source, source.name, member)
    if member.method == STORED:
        if member.stored_nbytes != member.nbytes:
            expected = f"{member.nbytes} stored bytes"
            raise FormatError(message("reading", source.name, name, expected=expected, got=member.stored_nbytes))
        end = start + member.nbytes
        header = read_header(source, source.name, name, start=start, end=end)
        space: ByteSpace = source
    else:
        decoded = open_member(source, start, member, name, extra)
        start, end = 0, member.nbytes
        header = read_header(decoded.beginning(), source.name, name)
        space = decoded
    if header.unsupported is not None:
        return header.unsupported
    array = contiguous_array(header, space, start, end, chunks_for(header.shape), source.name, name)
    return array if member.method != STORED else _summed(array, source, start, member, name)


def _summed(array: ManifestArray, source: Source, start: int, member: ZipMember, name: str) -> ManifestArray:
    """The array of a stored member, with the member's CRC-32."""
    plain = array.storage
    assert isinstance(plain, GridStorage) and isinstance(plain.places, OneRange)
    places = StoredMember(source, plain.places.offset, plain.places.nbytes, start, member, name)
    return replace(array, storage=GridStorage(plain.chunk_shape, places, plain.chain, plain.layout))
