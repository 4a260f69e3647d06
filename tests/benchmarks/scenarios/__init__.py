"""All scenarios, in the order of the table."""

from __future__ import annotations

from tests.benchmarks.model import Absolute, Scenario
from tests.benchmarks.scenarios import figures, hdf5, masks, npy, npz, zarr_arrays

__all__ = ["ABSOLUTES", "SCENARIOS"]

SCENARIOS: tuple[Scenario, ...] = (
    *npy.SCENARIOS,
    *npz.SCENARIOS,
    *masks.SCENARIOS,
    *zarr_arrays.SCENARIOS,
    *hdf5.SCENARIOS,
)
ABSOLUTES: tuple[Absolute, ...] = figures.ABSOLUTES
