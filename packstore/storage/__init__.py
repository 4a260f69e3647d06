"""The one model: an array is a grid of chunks; each chunk has a place, and all of them share one chain of codecs."""

from packstore.storage.array import Facts, ManifestArray, Storage, missing_value
from packstore.storage.attributes import Attributes, typed_attributes
from packstore.storage.grid import GridStorage
from packstore.storage.group import ManifestGroup
from packstore.storage.kinds import chunked, contiguous, packed, packed_bits
from packstore.storage.places import MISSING
from packstore.storage.reader import BoxReader, ReaderStorage
from packstore.storage.regroup import regroup

__all__ = [
    "MISSING",
    "Attributes",
    "ReaderStorage",
    "Facts",
    "GridStorage",
    "ManifestArray",
    "ManifestGroup",
    "BoxReader",
    "Storage",
    "chunked",
    "contiguous",
    "missing_value",
    "packed",
    "packed_bits",
    "regroup",
    "typed_attributes",
]
