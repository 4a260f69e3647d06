"""Undo a pipeline of filters: the stored bytes of a chunk in, its decoded bytes out, in given memory or fresh."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from packstore.codecs.decompress import Limit, check_ratio
from packstore.codecs.hdf5 import registry
from packstore.codecs.hdf5.base import FilterModule, FilterSpec
from packstore.core.scratch import Scratch
from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError, MissingFilterError, OptionError, message

__all__ = ["Step", "decode_chunk", "decode_many", "decode_range", "decode_short", "plan_steps", "run_steps"]


# The filters of a chunk decode in turn from one of these memories into the other.
_scratch = (Scratch(), Scratch())
# Several chunks behind all filters but the one that was applied first.
_together = Scratch()


class Step(NamedTuple):
    """A filter that was applied to a chunk: its decoder, its description, and how many bytes it was applied to."""

    module: FilterModule
    spec: FilterSpec
    limit: Limit


def decode_chunk(
    data: Any,
    filters: Sequence[FilterSpec],
    filter_mask: int,
    nbytes: int,
    out: Bytes | None = None,
) -> Bytes:
    """Undo the filters of one stored chunk.

    Parameters
    ----------
    data
        The stored bytes: any contiguous buffer, a read-only view of a memory map included.
    filters
        The dataset's pipeline, in the order in which it was applied.
    filter_mask
        The chunk's own mask: filter *i* was not applied to this chunk where bit *i* is set.
    nbytes
        Size of the decoded chunk.
    out
        Where the decoded bytes go: a writable, contiguous uint8 array of `nbytes`.

    Returns
    -------
    ndarray of uint8
        Exactly `nbytes` bytes: `out` where it was given. Otherwise fresh memory, or a view of `data` where no filter
        changed a byte.

    Raises
    ------
    CorruptDataError
        When the bytes do not decode, or not to `nbytes`.
    ChecksumError
        When a Fletcher-32 checksum does not match.
    MissingFilterError
        When a filter has no decoder in this process.

    Notes
    -----
    Costs one pass per filter and no copy besides; the last step writes into the result. Safe under threads: the
    memory of intermediate results belongs to the calling thread. Sizes are bounded before memory is taken: only
    the first filter's input is known to be `nbytes`, so sizes are carried forward through filters whose output size
    follows from their input, and bounded for compressors.

    Examples
    --------
    >>> import zlib
    >>> decode_chunk(zlib.compress(b"abcd"), [FilterSpec(1, (4,), "deflate")], 0, 4).tobytes()
    b'abcd'
    """
    source = np.frombuffer(data, np.uint8)
    if out is not None and (out.dtype != np.uint8 or out.shape != (nbytes,) or not out.flags.c_contiguous):
        raise OptionError(
            message("decoding a chunk", expected=f"out: {nbytes} contiguous bytes", got=f"{out.shape} {out.dtype}")
        )
    return run_steps(plan_steps(filters, filter_mask, nbytes), source, nbytes, out)


def plan_steps(filters: Sequence[FilterSpec], filter_mask: int, nbytes: int, *, exact: bool = True) -> list[Step]:
    """Plan the steps of `decode_chunk`, which are the same for all chunks of one filter mask.

    Parameters
    ----------
    filters, filter_mask, nbytes
        As for `decode_chunk`.
    exact
        Whether a chunk that decodes to fewer than `nbytes` is an error.

    Raises
    ------
    MissingFilterError
        When a filter has no decoder in this process.
    """
    steps: list[Step] = []
    limit = Limit(nbytes, exact)
    for index, spec in enumerate(filters):
        if filter_mask >> index & 1:
            continue
        if steps:
            limit = steps[-1].module.encoded(steps[-1].spec, limit)
        module, spec = _module(spec)
        steps.append(Step(module, spec, limit))
    return steps


def decode_many(steps: Sequence[Step], chunks: Sequence[Any], out: Bytes) -> bool:
    """Undo planned filters on several chunks at once, one after the other into `out`.

    Returns
    -------
    bool
        False where the filter that was applied first has no such call, or the chunks do not fit or do not decode:
        decode them one by one.

    Notes
    -----
    For small chunks, where taking the GIL back after each of them costs more than decoding them.
    """
    function = getattr(steps[0].module, "decode_many", None)
    if function is None or (len(steps) > 1 and not steps[1].limit.exact):
        return False
    found: Sequence[Bytes] = [np.frombuffer(data, np.uint8) for data in chunks]
    try:
        if len(steps) > 1:
            nbytes = steps[1].limit.nbytes
            rows = _together.take(len(found) * nbytes).reshape(len(found), nbytes)
            for data, row in zip(found, rows, strict=True):
                run_steps(steps[1:], data, nbytes, row)
            found = rows  # type: ignore[assignment]  # an array is a sequence of its rows
        return bool(function(found, steps[0].spec, out))
    except CorruptDataError:
        # Decoding them one by one finds the damaged chunk.
        return False


def decode_range(
    filters: Sequence[FilterSpec], data: Any, nbytes: int, start: int, stop: int
) -> tuple[Bytes, int] | None:
    """Undo a single filter on the part of a chunk that covers decoded bytes `start` to `stop`.

    Returns
    -------
    (ndarray of uint8, int) or None
        The part and where it begins; None where the filter cannot decode parts, or the chunk does not decode: decode
        the whole chunk.
    """
    if len(filters) != 1:
        return None
    module, spec = _module(filters[0])
    function = getattr(module, "decode_range", None)
    if function is None:
        return None
    try:
        found: tuple[Bytes, int] | None = function(np.frombuffer(data, np.uint8), spec, nbytes, start, stop)
    except CorruptDataError:
        return None
    return found


def run_steps(steps: Sequence[Step], source: Bytes, nbytes: int, out: Bytes | None) -> Bytes:
    """Undo planned filters on one chunk; parameters, result and errors as those of `decode_chunk`."""
    if steps:
        check_ratio(nbytes, source.size, "decoding a chunk")
    result, holder = source, -1  # holder: which scratch memory `result` lies in
    for number in range(len(steps) - 1, 0, -1):
        module, spec, limit = steps[number]
        slot = 1 if holder == 0 else 0
        target = _scratch[slot].take(limit.nbytes)
        result = module.decode(result, limit, target, spec)
        # A filter that only cuts or checks returns a view of what it was given.
        if np.may_share_memory(result, target):
            holder = slot
    if steps:
        module, spec, limit = steps[0]
        target = np.empty(nbytes, np.uint8) if out is None else out
        result = module.decode(result, limit, target, spec)
        if result is target or (result.size == nbytes and np.may_share_memory(result, target)):
            return target
    if result.size != nbytes:
        raise CorruptDataError(message("decoding a chunk", expected=f"{nbytes} bytes", got=f"{result.size} bytes"))
    if out is not None:
        out[:] = result
        return out
    return result if holder < 0 else result.copy()


def decode_short(data: Any, filters: Sequence[FilterSpec], filter_mask: int, nbytes: int, least: int) -> Bytes:
    """Undo the filters of a chunk that was stored without the elements behind the edge of its dataset.

    Parameters
    ----------
    data, filters, filter_mask, nbytes
        As for `decode_chunk`.
    least
        Bytes up to the last element inside the dataset.

    Returns
    -------
    ndarray of uint8
        `nbytes` bytes, zero where nothing is stored. libhdf5 asks for no more than the elements inside either.

    Raises
    ------
    CorruptDataError
        The bytes do not decode, or to fewer than `least`.
    """
    result = np.frombuffer(data, np.uint8)
    for module, spec, limit in reversed(plan_steps(filters, filter_mask, nbytes, exact=False)):
        result = module.decode(result, limit, np.empty(limit.nbytes, np.uint8), spec)
    if not least <= result.size <= nbytes:
        raise CorruptDataError(message("decoding a chunk", expected=f"{least} bytes", got=f"{result.size} bytes"))
    out = np.zeros(nbytes, np.uint8)
    out[: result.size] = result
    return out


def _module(spec: FilterSpec) -> tuple[FilterModule, FilterSpec]:
    """Load the decoder of one filter; the spec gets the usual name where the file stores none."""
    known = registry.FILTERS.get(spec.id)
    if known is None or known.via_h5py or known.load().unavailable() is not None:
        raise MissingFilterError(message("decoding a chunk", got=registry.unavailable([spec])))
    return known.load(), spec if spec.name == known.name else _renamed(spec, known.name)


@functools.lru_cache(256)
def _renamed(spec: FilterSpec, name: str) -> FilterSpec:
    return replace(spec, name=name)
