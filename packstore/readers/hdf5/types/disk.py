"""The references to the global heap in an element of a type; in: an h5py type, out: where they lie in its bytes.

h5py's types are those of memory, where variable-length data are pointers of another size than the references on disk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from h5py import h5t

from packstore.readers.hdf5.problems import NotServed

__all__ = ["DiskType", "Member", "Slot", "disk_members", "disk_type", "is_revised"]

MAX_DEPTH = 32
# The most references to the heap in one element; array types multiply them.
MAX_SLOTS = 1 << 16


@dataclass(frozen=True)
class Slot:
    """A reference to the heap: its offset in the element, and the type of its target (None: an object of any size)."""

    offset: int
    inner: DiskType | None


@dataclass(frozen=True)
class DiskType:
    """Size of an element on disk, and its references to the heap."""

    nbytes: int
    slots: tuple[Slot, ...] = ()


class Member(NamedTuple):
    """A member of a compound: its offset in the bytes on disk, its type there, and h5py's name and type of it."""

    offset: int
    kind: DiskType
    name: bytes
    tid: h5t.TypeID


_CHARACTER = DiskType(1)


def disk_type(tid: h5t.TypeID, offset_nbytes: int = 8, depth: int = 0) -> DiskType:
    """Describe `tid`, as ``get_type()`` of a dataset or an attribute gives it.

    Raises
    ------
    NotServed
        A variable-length type that is neither text nor a sequence, on which libhdf5 2.0 fails without an error.
    """
    if depth > MAX_DEPTH:
        raise NotServed(f"types nested more than {MAX_DEPTH} deep")
    kind = tid.get_class()
    if kind == h5t.STRING:
        if not tid.is_variable_str():
            return DiskType(tid.get_size())
        character = tid.get_super().get_size()
        if character != 1:
            raise NotServed(f"text of variable length in characters of {character} bytes")
        return DiskType(8 + offset_nbytes, (Slot(0, _CHARACTER),))
    if kind == h5t.VLEN:
        # Behind two bytes of the serialised form and one of version and class: 0 for a sequence, 1 for text.
        what = tid.encode()[3] & 15
        if what:
            raise NotServed(f"variable-length data of the unknown kind {what}")
        return DiskType(8 + offset_nbytes, (Slot(0, disk_type(tid.get_super(), offset_nbytes, depth + 1)),))
    if kind == h5t.ARRAY:
        return _array(disk_type(tid.get_super(), offset_nbytes, depth + 1), tid.get_array_dims())
    if kind == h5t.COMPOUND:
        return _compound(tid, offset_nbytes, depth)
    if kind == h5t.REFERENCE and tid.equal(h5t.STD_REF_OBJ):
        return DiskType(offset_nbytes)
    if kind == h5t.REFERENCE and tid.equal(h5t.STD_REF_DSETREG):
        # An address and an index, without a length.
        return DiskType(4 + offset_nbytes, (Slot(-4, None),))
    if is_revised(tid):
        # Two bytes, then the object's address, or the length and place of more in the heap.
        return DiskType(10 + offset_nbytes)
    return DiskType(tid.get_size())


def is_revised(tid: h5t.TypeID) -> bool:
    """Whether the type is that of the references that came with HDF5 1.12, for which h5py has no name."""
    return tid.get_class() == h5t.REFERENCE and tid.encode()[3] & 15 in (2, 3, 4)


def _array(base: DiskType, dims: tuple[int, ...]) -> DiskType:
    count = math.prod(int(n) for n in dims)
    if base.slots and count * len(base.slots) > MAX_SLOTS:
        raise NotServed(f"{count} variable-length parts in one element")
    slots = tuple(Slot(i * base.nbytes + s.offset, s.inner) for i in range(count) for s in base.slots)
    return DiskType(count * base.nbytes, slots)


def _compound(tid: h5t.TypeID, offset_nbytes: int, depth: int) -> DiskType:
    members = disk_members(tid, offset_nbytes, depth)
    slots = [Slot(m.offset + s.offset, s.inner) for m in members for s in m.kind.slots]
    if len(slots) > MAX_SLOTS:
        raise NotServed(f"{len(slots)} variable-length parts in one element")
    return DiskType(tid.get_size() + sum(m.kind.nbytes - m.tid.get_size() for m in members), tuple(slots))


def disk_members(tid: h5t.TypeID, offset_nbytes: int = 8, depth: int = 0) -> list[Member]:
    """The members of a compound, in the order in which they lie in its bytes."""
    listed = [(int(tid.get_member_offset(i)), i) for i in range(tid.get_nmembers())]
    found = []
    shift = 0
    for offset, i in sorted(listed):
        member = tid.get_member_type(i)
        kind = disk_type(member, offset_nbytes, depth + 1)
        found.append(Member(offset + shift, kind, tid.get_member_name(i), member))
        # In memory all that follows is moved by as much as the parts before it are larger.
        shift += kind.nbytes - member.get_size()
    return found
