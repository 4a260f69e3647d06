"""Zarr's byte requests: a request and a length go in, the start and the stop of the wanted bytes come out."""

from __future__ import annotations

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest

__all__ = ["check_request", "extent"]


def check_request(request: ByteRequest | None) -> None:
    """Refuse requests that zarr's own stores refuse.

    Raises
    ------
    ValueError
        A negative bound, or another type.
    """
    if isinstance(request, RangeByteRequest):
        fine = request.start >= 0 and request.end >= 0
    elif isinstance(request, OffsetByteRequest):
        fine = request.offset >= 0
    elif isinstance(request, SuffixByteRequest):
        fine = request.suffix >= 0
    else:
        fine = request is None
    if not fine:
        # The wording of zarr's own stores.
        raise ValueError(f"Unexpected byte_range, got {request}.")


def extent(request: ByteRequest | None, nbytes: int) -> tuple[int, int]:
    """Start and stop of a byte request within `nbytes`."""
    if request is None:
        return 0, nbytes
    check_request(request)
    if isinstance(request, RangeByteRequest):
        return min(request.start, nbytes), min(request.end, nbytes)
    if isinstance(request, OffsetByteRequest):
        return min(request.offset, nbytes), nbytes
    return max(nbytes - request.suffix, 0), nbytes
