"""Tags of opaque types, checked before h5py makes dtypes of them; in: a type, out: nothing, or an error.

h5py hands the text behind ``NUMPY:`` to numpy, which divides by the divisor of a unit: ``<M8[s/0]`` ends the process.
All other texts that are no dtype are errors of Python's, and only tags.
"""

from __future__ import annotations

from h5py import h5t

from packstore.readers.hdf5.problems import NotServed

__all__ = ["check_tags"]

PREFIX = b"NUMPY:"
MAX_DEPTH = 32


def check_tags(tid: h5t.TypeID, depth: int = 0) -> None:
    """Raise NotServed where an opaque type in `tid` names a unit with a divisor."""
    if depth > MAX_DEPTH:
        raise NotServed(f"types nested more than {MAX_DEPTH} deep")
    kind = tid.get_class()
    if kind == h5t.OPAQUE:
        tag = tid.get_tag()
        # numpy writes no divisor.
        if tag.startswith(PREFIX) and b"/" in tag:
            text = tag[len(PREFIX) :].decode("utf-8", "backslashreplace")
            raise NotServed(f"opaque data that are said to be of numpy's type {text!r:.100}, which is none")
    elif kind == h5t.COMPOUND:
        for i in range(tid.get_nmembers()):
            check_tags(tid.get_member_type(i), depth + 1)
    elif kind in (h5t.ARRAY, h5t.VLEN, h5t.ENUM):
        check_tags(tid.get_super(), depth + 1)
