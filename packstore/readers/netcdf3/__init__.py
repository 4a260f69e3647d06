"""NetCDF-3 files (``CDF``) in, their variables out; the elements stay where they lie in the file, big-endian.

A variable is one run of bytes. One with the record dimension has a piece in each record, at equal distances, and is
a view of the mapped file too.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from packstore.errors import TruncatedFileError, UnsupportedError, message
from packstore.readers.netcdf3.header import Variable, read_header
from packstore.readers.npy.header import fitting_chunks
from packstore.source import Source
from packstore.storage import Attributes, ManifestArray, ManifestGroup, contiguous, regroup

__all__ = ["read", "sniff"]

MAX_NDIM = 64


def sniff(source: Source, head: bytes) -> bool:
    """Whether the file starts with ``CDF`` and a version of the classic format."""
    return head[:3] == b"CDF" and head[3:4] in (b"\1", b"\2", b"\5")


def read(source: Source, *, component: str | None, chunks: Any) -> ManifestGroup:
    """Describe the variables of a NetCDF-3 file (CDF-1, CDF-2, CDF-5).

    Parameters
    ----------
    source
        The file.
    component
        The one variable that is wanted; None: all.
    chunks
        How to cut them for zarr, those that it fits; None for pieces of about 8 MB along the slowest axis.

    Returns
    -------
    ManifestGroup
        The variables, with names of dimensions and attributes. A variable that the file is too short for, or that has
        no name of its own, is in `unsupported` with the reason.

    Raises
    ------
    FormatError
        The header makes no sense.
    TruncatedFileError
        The file ends inside the header, or before the data of the variable `component` do.
    OptionError
        `chunks` does not fit the variable `component`.

    Notes
    -----
    Reads the header only, whatever the file's size.
    """
    header = read_header(source)
    count = Counter(v.name for v in header.variables)
    arrays: dict[str, ManifestArray] = {}
    unsupported: dict[str, str] = {}
    for variable in header.variables:
        name = variable.name
        if component is not None and name != component:
            continue
        try:
            if count[name] > 1:
                raise _refused(source, name, f"{count[name]} variables of this name")
            arrays[name] = _array(variable, source, chunks, named=component is not None)
        except UnsupportedError as why:
            unsupported[name] = str(why)
        except TruncatedFileError as why:
            if component is not None:
                raise
            # The data of other variables are there.
            unsupported[name] = str(why)
    groups = {"": _attributes(header.attributes)} if component in (None, "") else {}
    return ManifestGroup(arrays, groups, unsupported)


def _array(variable: Variable, source: Source, chunks: Any, *, named: bool) -> ManifestArray:
    name, shape, dtype = variable.name, variable.shape, variable.dtype
    if not name or "/" in name:
        # They would be taken for the root, or for an array in a group.
        raise _refused(source, name, "a name that NetCDF does not allow")
    if len(shape) > MAX_NDIM:
        raise _refused(source, name, f"{len(shape)} dimensions, and numpy has at most {MAX_NDIM}")
    if math.prod(n for n in shape if n) * dtype.itemsize >= 2**63:
        raise _refused(source, name, f"shape {shape}, of more bytes than any file has")
    if variable.end > source.nbytes:
        raise TruncatedFileError(
            message(
                f"reading {dtype} data of shape {shape} in",
                source.name,
                name,
                expected=f"at least {variable.end} bytes in the file",
                got=source.nbytes,
                hint="The file is cut short; copy or save it again",
            )
        )
    return ManifestArray(
        shape=shape,
        dtype=dtype,
        chunk_shape=regroup(shape, dtype.itemsize, chunks=fitting_chunks(chunks, shape, strict=named)),
        storage=contiguous(shape, source, variable.begin, dtype, step=variable.step),
        attributes=_attributes(variable.attributes),
        dimension_names=variable.dimensions or None,
        max_shape=None if variable.step is None else (None, *shape[1:]),
    )


def _attributes(found: dict[str, Any]) -> Attributes:
    """Text as it is; an array of one number is that number, as for all NetCDF libraries."""
    numbers = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    typed = {name: value[0] if value.shape == (1,) else value for name, value in numbers.items()}
    return Attributes({**found, **{name: value.tolist() for name, value in typed.items()}}, typed)


def _refused(source: Source, name: str, why: str) -> UnsupportedError:
    return UnsupportedError(message("serving", source.name, name, got=why))
