"""BitMemmap: one bit per element on disk, indexed like a bool ndarray."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from packstore.codecs.bits.kernels import RAW_BITORDER, BitOrder
from packstore.core.selection import parse
from packstore.errors import DtypeError, OptionError, ShapeError, UnsupportedError, message
from packstore.source import Fingerprint, path_text
from packstore.views.bitmemmap import access, whole
from packstore.views.bitmemmap.arguments import as_bool, extents_of, normal_axis
from packstore.views.bitmemmap.geometry import Bools, Geometry
from packstore.views.bitmemmap.logic import BitLogic
from packstore.views.bitmemmap.storage import MODES, Mapping, Mode, check_size, create, file_size

__all__ = ["BitMemmap", "open_memmap"]

_BOOL = np.dtype(np.bool_)


def open_memmap(
    path: str | os.PathLike[str],
    mode: Mode = "r",
    shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
    axis: int | None = -1,
    bitorder: BitOrder = RAW_BITORDER,
    offset: int = 0,
) -> BitMemmap:
    """Map a file of packed bits as a bool array of one bit per element.

    The file is what ``np.packbits(mask, axis=axis, bitorder=bitorder).tofile(path)`` writes: C order, the packed axis
    padded to whole bytes with zero bits, no header.

    Parameters
    ----------
    path
        The file.
    mode
        ``"r"`` read only; ``"r+"`` read and write an existing file; ``"w+"`` create the file, or overwrite it as
        `numpy.memmap` does, all False; ``"c"`` copy on write: assignments stay in memory.
    shape
        Of the array, in elements. None takes all bits of an existing file as one dimension, the padding included.
    axis
        The packed axis; None for the flattened array, as in `numpy.packbits`.
    bitorder
        ``"big"``, what `numpy.packbits` does by default, puts the first element in the highest bit; ``"little"`` in
        the lowest.
    offset
        Byte at which the packed bits begin. The file must end where they end. ``"w+"`` writes zeros before.

    Returns
    -------
    BitMemmap

    Raises
    ------
    MissingFileError
        `path` names nothing, or its folder does not exist.
    OptionError
        An unknown mode or bit order, an axis out of range, ``"w+"`` without a shape, a path that is no regular file.
    ShapeError
        The file's size is not exactly what the shape needs; the text has both sizes.
    ReadOnlyError
        Mode ``"r+"`` on a file without permission to write.
    WriteError
        Mode ``"w+"`` without room for the file. Its blocks are reserved at once, so a full disk shows here.

    Notes
    -----
    Opening reads no data. The layout is that of `numpy.packbits`
    (https://numpy.org/doc/stable/reference/generated/numpy.packbits.html).

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "mask.bits")
    >>> with open_memmap(path, "w+", shape=(3, 10)) as mask:
    ...     mask[1, ::3] = True
    >>> os.path.getsize(path)
    6
    >>> open_memmap(path, shape=(3, 10))[1, :4]
    array([ True, False, False,  True])
    >>> np.unpackbits(np.fromfile(path, np.uint8).reshape(3, 2), axis=1, count=10)[1].tolist()
    [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    """
    return BitMemmap(path, mode, shape, axis, bitorder, offset)


class BitMemmap(BitLogic):
    """A memory map with one bit per element that indexes like a bool ndarray; see `open_memmap` for the parameters.

    Notes
    -----
    Every read returns a new array (there are no views on bits) and touches only the bytes that hold the elements
    asked for. Assignment touches only the bytes that hold the elements assigned; bytes at the edge of a region are
    read, changed and written back.

    Threads may share one BitMemmap: changes to a shared byte are serialised by a lock. Processes, and separate maps of
    one file, may write at once as long as no two of them write into the same byte: let them split the array along
    another axis than the packed one, or at multiples of 8 along it. Two writers of one byte lose bits, with no error.

    The size of the file is checked before every access; one that was cut in between raises `TruncatedFileError`.

    A pickle holds the path and the parameters, not the bits; ``"w+"`` reopens as ``"r+"``, and ``"c"`` cannot be
    pickled. Writing into a sparse file on a full disk kills the process, as with any memory map; files made by mode
    ``"w+"`` have their blocks reserved where the file system can do so.

    Examples
    --------
    >>> import packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mask.bits"
    >>> bits = packstore.open_memmap(path, "w+", (100, 100))
    >>> bits[2:4, ::2] = True
    >>> bits[2, :4], int(bits.count_nonzero()), path.stat().st_size
    (array([ True, False,  True, False]), 100, 1300)
    """

    # An ndarray has both `.copy` and `__array_function__`; with the two, dask would copy and hash the whole file.

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "r",
        shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
        axis: int | None = -1,
        bitorder: BitOrder = RAW_BITORDER,
        offset: int = 0,
    ) -> None:
        name = os.path.abspath(path_text(path))
        if mode not in MODES:
            raise OptionError(message("opening", name, expected=f"mode {', '.join(map(repr, MODES))}", got=repr(mode)))
        if bitorder not in ("little", "big"):
            raise OptionError(message("opening", name, expected="bitorder 'little' or 'big'", got=repr(bitorder)))
        try:
            start = operator.index(offset)
        except TypeError as error:
            raise OptionError(message("opening", name, expected="an integer offset", got=repr(offset))) from error
        if start < 0:
            raise OptionError(message("opening", name, expected="an offset of at least 0", got=start))
        size = 0 if mode == "w+" else file_size(name)
        extents = extents_of(name, mode, shape, start, size)
        self._geometry = Geometry(extents, normal_axis(name, axis, len(extents)), bitorder)
        nbytes = self._geometry.nbytes
        if start + nbytes >= 1 << 63:
            raise ShapeError(message("opening", name, expected="less than 2**63 bytes", got=f"shape {extents}"))
        if mode == "w+":
            create(name, start + nbytes)
        else:
            check_size(name, size, start, nbytes, extents, self._geometry.size, self._geometry.axis)
        self._offset = start
        self._mapping = Mapping(name, mode, start, self._geometry.packed_shape, nbytes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in elements."""
        return self._geometry.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._geometry.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._geometry.size

    @property
    def dtype(self) -> np.dtype[np.bool_]:
        """Always bool."""
        return _BOOL

    @property
    def nbytes(self) -> int:
        """Bytes on disk, `offset` not counted."""
        return self._geometry.nbytes

    @property
    def filename(self) -> str:
        """Absolute path of the file."""
        return self._mapping.path

    @property
    def mode(self) -> Mode:
        """The mode it was opened in."""
        return self._mapping.mode

    @property
    def axis(self) -> int | None:
        """The packed axis, not negative; None if flattened."""
        return self._geometry.axis

    @property
    def bitorder(self) -> BitOrder:
        """``"little"`` or ``"big"``."""
        return self._geometry.bitorder

    @property
    def offset(self) -> int:
        """Byte of the file at which the bits begin."""
        return self._offset

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._mapping.closed

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return (
            f"<BitMemmap {self.filename!r} shape={self.shape} mode={self.mode!r} axis={self.axis} "
            f"bitorder={self.bitorder!r} offset={self.offset}{state}>"
        )

    def __len__(self) -> int:
        if not self.shape:
            raise DtypeError(message("taking the length of", self.filename, expected="a dimension", got="a 0-d array"))
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise DtypeError(message("iterating over", self.filename, expected="a dimension", got="a 0-d array"))
        rows = max(1, (1 << 20) // max(1, math.prod(self.shape[1:])))
        for start in range(0, self.shape[0], rows):
            yield from self[start : start + rows]

    def __bool__(self) -> bool:
        if self.size == 1:
            return bool(self.any())
        hint = "Use any() or all()"
        raise ShapeError(message("truth value of", self.filename, expected="one element", got=self.size, hint=hint))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            hint = "Bits are always unpacked into a new array"
            raise OptionError(message("converting", self.filename, expected="copy=None or True", got=False, hint=hint))
        bits = np.asarray(self[...])
        return bits if dtype is None else bits.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        packed = self._mapping.read()
        mask = self._full_mask(key)
        if mask is not None:
            return whole.read_mask(packed, self._geometry, mask)
        selection = parse(key, self._geometry.shape, self._mapping.path)
        found = access.read(packed, self._geometry, selection)
        return found[()] if selection.scalar else found

    def __setitem__(self, key: Any, value: Any) -> None:
        packed = self._mapping.write()
        bits = as_bool(value)
        lock = self._mapping.lock
        mask = self._full_mask(key)
        if mask is not None:
            number = int(np.count_nonzero(mask))
            if bits.ndim > 1 or (bits.ndim == 1 and bits.size not in (1, number)):
                raise self._misfit(f"one value or {number} in one dimension", bits.shape)
            bits = bits.reshape(()) if bits.size == 1 else bits
            whole.write_mask(packed, self._geometry, mask, bits, lock)
            return
        selection = parse(key, self._geometry.shape, self._mapping.path)
        access.write(packed, self._geometry, selection, self._broadcast(bits, selection.shape), lock)

    def _full_mask(self, key: object) -> Bools | None:
        """A lone bool array of this shape, which needs no indices."""
        if isinstance(key, tuple) and len(key) == 1:
            key = key[0]
        if isinstance(key, BitMemmap):
            key = np.asarray(key)
        if isinstance(key, np.ndarray) and key.dtype == _BOOL and key.ndim and key.shape == self.shape:
            return key
        return None

    def _broadcast(self, bits: Bools, shape: tuple[int, ...]) -> Bools:
        # numpy lets go of leading dimensions of length 1 in assignments.
        surplus = bits.ndim - len(shape)
        if surplus > 0 and bits.shape[:surplus] == (1,) * surplus:
            bits = bits.reshape(bits.shape[surplus:])
        if bits.shape == shape:
            return bits
        try:
            return np.broadcast_to(bits, shape)
        except ValueError as error:
            raise self._misfit(f"values that broadcast to {shape}", bits.shape) from error

    def _misfit(self, expected: str, got: tuple[int, ...]) -> ShapeError:
        return ShapeError(message("assigning to", self.filename, expected=expected, got=f"shape {got}"))

    def flush(self) -> None:
        """Write changes to the file and set its modification time; nothing to do in modes ``"r"`` and ``"c"``."""
        self._mapping.flush()

    def close(self) -> None:
        """Flush and unmap. Arrays that were read stay valid, they are copies; any later use raises `ClosedError`."""
        self._mapping.close()

    def __enter__(self) -> Self:
        self._mapping.read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., BitMemmap], tuple[Any, ...]]:
        self._mapping.read()
        if self.mode == "c":
            hint = 'Open it with mode="r" or "r+", or send np.asarray(m)'
            raise UnsupportedError(
                message("pickling", self.filename, expected="mode 'r', 'r+' or 'w+'", got="mode 'c'", hint=hint)
            )
        mode = "r+" if self.mode == "w+" else self.mode
        return BitMemmap, (self.filename, mode, self.shape, self.axis, self.bitorder, self.offset)

    def __dask_tokenize__(self) -> object:
        # In mode "c" changes stay in memory, so no two maps are alike.
        own = id(self) if self.mode == "c" else None
        layout = (self.shape, self.axis, self.bitorder, self.offset)
        path = os.path.realpath(self.filename)
        return ("BitMemmap", *Fingerprint.of(path, os.stat(path)), layout, self._mapping.generation, own)

    def to_dask(self, chunks: Any = "auto") -> Any:
        """A lazy dask array over the file.

        Parameters
        ----------
        chunks
            As in `packstore.from_file`; ``"auto"`` keeps chunks whole bytes along the packed axis.

        Returns
        -------
        dask.array.Array
            Of bool; its tasks hold the path, open the file for reading where they run and unpack only their chunk.

        Raises
        ------
        UnsupportedError
            In mode ``"c"``: tasks read the file, which does not have the changes.

        Notes
        -----
        Flushes first. The name depends on path, size and modification time; a task that finds another file, or
        one changed since, raises `StaleFileError`: call `to_dask` again after writing. What another process writes
        through a map shows in the modification time once that process flushes.
        """
        from packstore.views.dask.from_file import from_file

        if self.mode == "c":
            hint = 'Open it with mode="r", or use da.from_array(np.asarray(m))'
            raise UnsupportedError(
                message("reading", self.filename, expected="a mode that shares", got="'c'", hint=hint)
            )
        self.flush()
        packed_axis = self.axis if self.axis is not None and self.shape else "flat"
        return from_file(
            os.path.realpath(self.filename),
            chunks=chunks,
            format="raw",
            shape=self.shape,
            packed_axis=packed_axis,
            bitorder=self.bitorder,
            offset=self.offset,
        )

    def __eq__(self, other: object) -> Any:
        return np.asarray(self) == np.asarray(other)

    def __ne__(self, other: object) -> Any:
        return np.asarray(self) != np.asarray(other)

    __hash__ = None  # type: ignore[assignment]  # compares by element, as ndarray
