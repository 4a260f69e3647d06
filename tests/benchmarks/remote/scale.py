"""The model of a large job on object storage, and a run that shows whether it tells the truth.

A job reads `nbytes` in `requests`. Each worker has `CONCURRENCY` requests under way, each of which waits for
`LATENCY_S`; its line takes `NBYTES_PER_S`. The time is that of the slower of the two:

    max(requests * LATENCY_S / (workers * CONCURRENCY), nbytes / (workers * NBYTES_PER_S))
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import packstore

__all__ = ["Layout", "layouts", "seconds"]

LATENCY_S = 0.05
CONCURRENCY = 16
NBYTES_PER_S = 100e6
WORKERS = 100
# Elements of the masks: 1 TB of packed bits.
ELEMENTS = 8 * 10**12


@dataclass(frozen=True)
class Layout:
    """How masks lie in the bucket.

    Parameters
    ----------
    name
        What wrote them.
    elements_per_request
        That a scan gets by one request.
    stored_per_element
        Stored bytes an element.
    """

    name: str
    elements_per_request: float
    stored_per_element: float

    def scan(self, elements: int = ELEMENTS) -> tuple[int, float]:
        """Requests and bytes of a scan."""
        return math.ceil(elements / self.elements_per_request), elements * self.stored_per_element


def seconds(
    requests: float,
    nbytes: float,
    *,
    workers: int = WORKERS,
    latency_s: float = LATENCY_S,
    concurrency: int = CONCURRENCY,
    nbytes_per_s: float | None = NBYTES_PER_S,
) -> float:
    """The time of a job, as the module says.

    Examples
    --------
    >>> seconds(32_000, 0), seconds(1, 1e12)
    (1.0, 100.0)
    """
    line = 0.0 if nbytes_per_s is None else nbytes / (workers * nbytes_per_s)
    return max(requests * latency_s / (workers * concurrency), line)


def layouts() -> Iterator[Layout]:
    """The layouts that are compared, measured on a sample: masks with round blobs, frames of 2048 x 2048."""
    import zarr

    side, frames = 2048, 32
    y, x = np.ogrid[:side, :side]
    mask = np.stack([np.sin(x / (9 + i % 5)) * np.cos(y / (11 + i % 7)) > 0.6 for i in range(frames)])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        packstore.save(root / "ours.zarr", mask)
        packstore.save(root / "files.zarr", mask, shards=None)
        packstore.save(root / "plain.zarr", mask, shards=None, compressor=None, checksum=False)
        zarr.create_array(root / "zarr.zarr", data=mask)
        yield _measured("save(…) of packstore: packed shards", root / "ours.zarr", mask)
        yield _measured("save(…, shards=None)", root / "files.zarr", mask)
        yield _measured("save(…, shards=None, compressor=None, checksum=False)", root / "plain.zarr", mask)
        yield _measured("zarr's default for bool", root / "zarr.zarr", mask)
    # One object, of which a task reads a block of what dask makes of it.
    yield Layout("packed raw file, blocks of 16 MB", 8 * 2**24, 1 / 8)


def _measured(name: str, path: Path, mask: Any) -> Layout:
    files = [each.stat().st_size for each in (path / "c").rglob("*") if each.is_file()]
    return Layout(name, mask.size / len(files), sum(files) / mask.size)
