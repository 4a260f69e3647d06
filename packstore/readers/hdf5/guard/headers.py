"""Headers of indexes and heaps, checked as libhdf5 reads them; in: the bytes of one of its reads, out: an error or not.

libhdf5 compares a header's checksum and then believes its numbers: it divides by sizes of zero, takes memory for nodes
larger than the file, and reads records that a node has no room for. Only a header whose checksum is right is looked at,
so bytes that happen to look like one are never taken for it. Source: HDF5 File Format Specification 4.0, III.A.2
"Version 2 B-trees", III.G "Fractal Heap", VII.D "Extensible Array Index".
"""

from __future__ import annotations

from collections.abc import Callable

from packstore.errors import CorruptDataError, FormatError, message
from packstore.readers.hdf5.format.place import Fields, Place

__all__ = ["check_headers"]

_TREE, _HEAP, _ARRAY, _LEAF = b"BTHD", b"FRHP", b"EAHD", b"BTLF"
_CHECKSUM_NBYTES = 4
_NODE_HEAD_NBYTES = 10
_MOST_DEPTH = 16
_MOST_RECORD_NBYTES = 4096
_MOST_EMPTY_NODE_NBYTES = 1 << 20
# Records of attributes by name and by creation order: their size; behind the object's number stand their flags.
_ATTRIBUTES = {8: 17, 9: 13}
_SHARED, _MOST_LEAF_NBYTES = 2, 4096
# Records of each type of tree, as (numbers of bytes that count in any file, offsets, lengths); types 10 and 11 index
# chunks, whose records depend on the dataset.
_RECORDS = {
    1: (0, 1, 2), 2: (4, 1, 3), 3: (0, 1, 1), 4: (4, 1, 2), 5: (11, 0, 0), 6: (15, 0, 0), 8: (17, 0, 0), 9: (13, 0, 0),
}  # fmt: skip


def check_headers(data: bytes, offset: int, place: Place, *, shares: bool = True) -> None:
    """Refuse headers of indexes and heaps in `data` that make no sense.

    Parameters
    ----------
    data
        What libhdf5 reads.
    offset
        Where `data` lies in the file.
    place
        Any place of the file.
    shares
        Whether the file has a table of shared messages, or may have one.

    Raises
    ------
    CorruptDataError
        A header with a right checksum whose numbers contradict each other or the size of the file.

    Notes
    -----
    Three searches for a signature; about 1 µs for 4 KB.
    """
    for signature, check in (_CHECKS if shares else _UNSHARED_CHECKS).items():
        at = data.find(signature)
        while at >= 0:
            here = place.at(offset + at - place.base)
            try:
                why = check(here)
            except FormatError:
                # It is cut short, or it is none: libhdf5 refuses it by itself.
                why = None
            if why is not None:
                what = f"reading the index or heap at byte {offset + at} of"
                raise CorruptDataError(message(what, place.source.name, expected="one that makes sense", got=why))
            at = data.find(signature, at + 1)


def _header(place: Place, signature: bytes, nbytes: int) -> Fields | None:
    """The fields of a header of `nbytes` bytes without its checksum; None where the checksum is another."""
    # Imported here for import time: numcodecs is not needed for most formats.
    from numcodecs.checksum32 import jenkins_lookup3

    if place.left < nbytes + _CHECKSUM_NBYTES:
        return None
    data = place.pread(nbytes + _CHECKSUM_NBYTES)
    stored = int.from_bytes(data[nbytes:], "little")
    if jenkins_lookup3(data[:nbytes], 0) & 0xFFFFFFFF != stored:
        return None
    return Fields(place, data, len(signature))


def _tree(place: Place) -> str | None:
    """What is wrong with a version 2 B-tree."""
    head = _header(place, _TREE, 16 + place.offset_nbytes + 2 + place.length_nbytes)
    if head is None or head.number(1) != 0:
        return None
    kind, node, record, depth = head.number(1), head.number(4), head.number(2), head.number(2)
    split, merge = head.number(1), head.number(1)
    root, count, total = head.address(), head.number(2), head.length()
    sizes = _RECORDS.get(kind)
    if sizes is not None and record != sizes[0] + sizes[1] * place.offset_nbytes + sizes[2] * place.length_nbytes:
        return f"records of {record} bytes in a tree of type {kind}"
    if not 1 <= kind <= 11 or not 1 <= record <= _MOST_RECORD_NBYTES:
        return f"a tree of type {kind} with records of {record} bytes"
    if node < _NODE_HEAD_NBYTES + record or not 1 <= split <= 100 or merge > 100:
        return f"nodes of {node} bytes that are split at {split} and merged at {merge} percent"
    if total == 0 and root == place.undefined:
        # Nothing is stored, so nothing but its own header limits the size of a node.
        return None if node <= _MOST_EMPTY_NODE_NBYTES else f"nodes of {node} bytes"
    if node > place.source.nbytes or count > (node - _NODE_HEAD_NBYTES) // record:
        return f"nodes of {node} bytes, {count} records of {record} bytes in the first"
    if depth > _MOST_DEPTH or (total != count if depth == 0 else total < count) or total * record > place.source.nbytes:
        return f"{total} records, {count} of them in the first of {depth + 1} levels"
    return None


def _heap(place: Place) -> str | None:
    """What is wrong with a fractal heap."""
    size, offset = place.length_nbytes, place.offset_nbytes
    fixed = 22 + 12 * size + 3 * offset
    if place.left < fixed:
        return None
    filters_nbytes = int.from_bytes(place.pread(2, 7), "little")
    head = _header(place, _HEAP, fixed + (size + 4 + filters_nbytes if filters_nbytes else 0))
    if head is None or head.number(1) != 0:
        return None
    id_nbytes, _, _, most_managed = head.number(2), head.number(2), head.number(1), head.number(4)
    head.length(), head.address(), head.length(), head.address()
    managed, allocated, iterator = head.length(), head.length(), head.length()
    for _ in range(5):
        head.length()
    width, first, largest = head.number(2), head.length(), head.length()
    bits, start_rows, root, rows = head.number(2), head.number(2), head.address(), head.number(2)
    if not (_is_power(width) and _is_power(first) and _is_power(largest)) or largest < first or largest >= 1 << 32:
        return f"a heap of {width} columns, of blocks of {first} to {largest} bytes"
    most_rows = bits - (first.bit_length() - 1) - (width.bit_length() - 1) + 1
    if not 1 <= bits <= 64 or rows > most_rows or start_rows > most_rows or most_rows < 1:
        return f"a heap of {bits} bits with {rows} rows"
    if largest.bit_length() > bits or most_managed > largest or not 3 <= id_nbytes <= _MOST_RECORD_NBYTES:
        return f"objects of {most_managed} bytes in blocks of {largest}, named by {id_nbytes} bytes"
    if root == place.undefined:
        return None if rows == 0 else f"{rows} rows and no block"
    if allocated > managed or iterator > managed or (rows == 0 and first > place.source.nbytes):
        return f"{allocated} bytes allocated of {managed}, the next at {iterator}"
    return None


def _is_power(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def _array(place: Place) -> str | None:
    """What is wrong with an extensible array."""
    head = _header(place, _ARRAY, 12 + 6 * place.length_nbytes + place.offset_nbytes)
    if head is None or head.number(1) != 0:
        return None
    client, element, bits, in_index, at_least, pointers, page_bits = (head.number(1) for _ in range(7))
    if client > 1 or not element or not 1 <= bits <= 64 or not _is_power(at_least) or not _is_power(pointers):
        return f"elements of {element} bytes, indexes of {bits} bits, blocks of {at_least} and {pointers}"
    if not in_index or page_bits > bits or page_bits < at_least.bit_length() - 1:
        return f"{in_index} elements in the index, pages of {page_bits} bits"
    blocks, blocks_nbytes, data, data_nbytes, most, stored = (head.length() for _ in range(6))
    room = place.source.nbytes
    if max(blocks_nbytes, data_nbytes) > room or max(blocks, data) > room or stored * element > 2 * room + (1 << 16):
        return f"{blocks_nbytes} + {data_nbytes} bytes of blocks with {stored} elements in a file of {room}"
    return None if most < 1 << min(bits, 62) else f"the largest index {most}, of {bits} bits"


def _leaf(place: Place) -> str | None:
    """What is wrong with a leaf of attributes: one that is shared, in a file without a table of shared messages."""
    from numcodecs.checksum32 import jenkins_lookup3

    data = place.pread(min(max(place.left, 0), _MOST_LEAF_NBYTES))
    size = _ATTRIBUTES.get(data[5]) if len(data) > 6 else None
    if size is None or data[4] != 0:
        return None
    shared = False
    # The number of records is not stored here: it is that for which the checksum behind them is right.
    for end in range(6 + size, len(data) - 3, size):
        shared = shared or bool(data[end - size + 8] & _SHARED)
        if int.from_bytes(data[end : end + 4], "little") == jenkins_lookup3(data[:end], 0) & 0xFFFFFFFF:
            return "attributes in a table of shared messages, which the file does not have" if shared else None
    return None


_CHECKS: dict[bytes, Callable[[Place], str | None]] = {_TREE: _tree, _HEAP: _heap, _ARRAY: _array}
# Also where no message of the file is shared.
_UNSHARED_CHECKS = {**_CHECKS, _LEAF: _leaf}
