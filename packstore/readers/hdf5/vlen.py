"""Variable-length elements, read without libhdf5: references like any fixed-size data, then what they refer to."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from packstore.errors import CorruptDataError, message
from packstore.readers.hdf5.format.heaps import I64, HeapDamage, Heaps
from packstore.storage import Facts, ManifestArray, SelectionReader

if TYPE_CHECKING:
    from packstore.readers.hdf5.types.disk import DiskType
    from packstore.readers.hdf5.types.stored import StoredType
    from packstore.storage import Facts, ManifestArray, SelectionReader

__all__ = ["FILL", "Element", "VlenReader", "check_elements", "texts"]

Array = npt.NDArray[Any]
# Elements that are resolved at once.
BATCH = 1 << 16
# The index of what was never written; those of objects have 16 bits.
FILL = 0xFFFFFFFF
# Objects are read with what lies between them, as long as that is not much more than they are.
_SPARSE = 4
_GAP_NBYTES = 1 << 16


class Element:
    """What one variable-length element becomes: bytes (text), or an array of `base`.

    Parameters
    ----------
    base
        The type of a sequence's elements; None for text.
    dtype
        The dtype of the arrays.
    """

    def __init__(self, base: StoredType | None, dtype: np.dtype[Any] | None = None) -> None:
        self.base = base
        self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """Bytes of one character, or of one element of a sequence."""
        return 1 if self.base is None else self.base.nbytes or 0

    def empty(self) -> Any:
        """An element of length 0."""
        return b"" if self.base is None else np.empty(0, self.dtype)

    def values(self, parts: list[bytes]) -> list[Any]:
        """The elements, one for each run of stored bytes."""
        return texts(parts) if self.base is None else self._sequences(parts)

    def _sequences(self, parts: list[bytes]) -> list[Any]:
        assert self.base is not None
        assert self.dtype is not None
        stored = np.frombuffer(b"".join(parts), self.base.stored)
        values = self.base.decode(stored).astype(self.dtype, copy=False)
        step = self.nbytes
        edges = [n // step for n in accumulate(map(len, parts), initial=0)]
        # Copies: a view would keep all of its neighbours in memory.
        return [values[a:b].copy() for a, b in pairwise(edges)]


def texts(parts: list[bytes]) -> list[bytes]:
    """Text ends at its first NUL, as it does in the memory of libhdf5."""
    return [p.partition(b"\0")[0] for p in parts] if b"\0" in b"".join(parts) else parts


class VlenReader(SelectionReader):
    """Boxes of a dataset of variable-length elements.

    Parameters
    ----------
    name
        The dataset, for errors.
    references
        Its elements as they are stored: an array of ``heaps.reference``.
    heaps
        Those of the file.
    element
        What each becomes.
    fill
        What the elements of chunks that were never written are.

    Notes
    -----
    Thread safe, without a lock of libhdf5. Costs about 0.2 µs an element.
    """

    def __init__(self, name: str, references: ManifestArray, heaps: Heaps, element: Element, fill: Any) -> None:
        self.name = name
        self.references = references
        self.heaps = heaps
        self.element = element
        self.fill = fill

    def __repr__(self) -> str:
        return f"VlenReader({self.heaps.source.name!r}, {self.name!r})"

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        # The dataset itself holds only where the elements are: their size nobody counts.
        return self.references.storage.facts(self.references)._replace(nbytes=None)

    def read(self, selection: tuple[slice, ...]) -> Array:
        """Elements of `selection`, with the values that h5py gives.

        Raises
        ------
        StaleFileError
            The file changed since it was indexed.
        CorruptDataError
            A reference does not lead to an object of its size.
        """
        from packstore.storage.read import read_box

        self.heaps.source.check()
        stored = np.asarray(read_box(self.references, selection))
        flat = stored.reshape(-1)
        out = np.empty(flat.size, object)
        for start in range(0, flat.size, BATCH):
            part = flat[start : start + BATCH]
            try:
                self._resolve(part, out[start : start + BATCH])
            except HeapDamage as why:
                at = None if why.element is None else _coords(start + why.element, stored.shape, selection)
                raise CorruptDataError(
                    message(
                        "reading" if at is None else f"reading element {at} of",
                        self.heaps.source.name,
                        self.name,
                        expected="variable-length data",
                        got=why,
                    )
                ) from None
        return out.reshape(stored.shape)

    def _resolve(self, part: Array, out: Array) -> None:
        length = part["length"].astype(np.int64)
        address = part["address"].astype(np.uint64)
        there = np.flatnonzero((length > 0) & (address > 0))
        if len(there) < len(part):
            for i in np.flatnonzero((length == 0) | (address == 0)).tolist():
                out[i] = self.element.empty()
            missing = (length == 0) & (part["index"] == FILL)
            for i in np.flatnonzero(missing).tolist():
                out[i] = self.fill if self.element.base is None else self.element.empty()
            length, address, part = length[there], address[there], part[there]
        if not len(there):
            return
        nbytes = length * self.element.nbytes
        try:
            starts = locate(self.heaps, address, part["index"].astype(np.int64), nbytes)
        except HeapDamage as why:
            if why.element is not None:
                why.element = int(there[why.element])
            raise
        values = self.element.values(gather(self.heaps, starts, starts + nbytes))
        # Not `out[there] = values`: numpy would take arrays of equal lengths apart.
        out[there] = np.fromiter(values, object, len(values))


def _coords(number: int, shape: tuple[int, ...], selection: tuple[slice, ...]) -> tuple[int, ...]:
    at = np.unravel_index(number, shape)
    return tuple(s.start + int(i) * s.step for s, i in zip(selection, at, strict=True))


def locate(heaps: Heaps, address: Array, index: I64, nbytes: I64) -> I64:
    """`Heaps.locate`, once no object is larger than the file."""
    large = np.flatnonzero(nbytes > heaps.source.nbytes)
    if len(large):
        raise HeapDamage(f"{nbytes[large[0]]} bytes in a file of {heaps.source.nbytes}", int(large[0]))
    return heaps.locate(address, index, nbytes)


def gather(heaps: Heaps, starts: I64, ends: I64) -> list[bytes]:
    """The bytes of runs of the file, in one read where they lie close together."""
    low, high = int(starts.min()), int(ends.max())
    if len(starts) > 1 and high - low > _GAP_NBYTES + _SPARSE * int((ends - starts).sum()):
        half = len(starts) // 2
        return gather(heaps, starts[:half], ends[:half]) + gather(heaps, starts[half:], ends[half:])
    data = bytes(heaps.source.pread(low, high - low))
    return [data[a:b] for a, b in zip((starts - low).tolist(), (ends - low).tolist(), strict=True)]


def check_elements(heaps: Heaps, elements: npt.NDArray[np.uint8], kind: DiskType) -> None:
    """Refuse elements of any type that refer to what is not there: libhdf5 does not look before it reads.

    Parameters
    ----------
    elements
        uint8, one row an element.
    kind
        Their type.

    Raises
    ------
    HeapDamage
        `element` says which row, where it is one of these.
    """
    width = heaps.offset_nbytes
    for slot in kind.slots:
        at = slot.offset
        if len(elements) == 1 and slot.inner is not None and not slot.inner.slots:
            # Most attributes: not worth a dozen calls of numpy.
            count, place, number = heaps.unpack(elements[0, at : at + 8 + width].tobytes())
            if count and place:
                heaps.require(place, number, count * slot.inner.nbytes)
            continue
        address = _column(elements, at + 4, width)
        index = _column(elements, at + 4 + width, 4).astype(np.int64)
        if slot.inner is None:
            there = np.flatnonzero((address > 0) & (address < np.uint64(2 ** (8 * width) - 1)))
            for row in there.tolist():
                heaps.read(int(address[row]), int(index[row]))
            continue
        length = _column(elements, at, 4).astype(np.int64)
        there = np.flatnonzero((length > 0) & (address > 0))
        if not len(there):
            continue
        nbytes = length[there] * slot.inner.nbytes
        try:
            starts = locate(heaps, address[there], index[there], nbytes)
        except HeapDamage as why:
            if why.element is not None:
                why.element = int(there[why.element])
            raise
        if slot.inner.slots:
            data = b"".join(gather(heaps, starts, starts + nbytes))
            inner = np.frombuffer(data, np.uint8).reshape(-1, slot.inner.nbytes)
            try:
                check_elements(heaps, inner, slot.inner)
            except HeapDamage as why:
                raise HeapDamage(str(why)) from None


def _column(elements: npt.NDArray[np.uint8], at: int, width: int) -> npt.NDArray[np.uint64]:
    padded = np.zeros((len(elements), 8), np.uint8)
    padded[:, :width] = elements[:, at : at + width]
    return padded.view("<u8").reshape(-1).astype(np.uint64)
