"""What the tests share: a profile for hypothesis, and plugins that must be loaded first."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, settings

# Examples read files, so their time says nothing; fixtures that are directories may be shared by examples.
settings.register_profile(
    "packstore", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("packstore")

# Loaded after netCDF4, the plugins find that package's libhdf5 instead of h5py's, and fail.
with contextlib.suppress(ImportError):
    import hdf5plugin  # noqa: F401
