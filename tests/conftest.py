"""What tests share: a profile for hypothesis, plugins that are loaded first, processes that can be interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Examples read files, so their time says nothing; fixtures that are directories may be shared by examples.
settings.register_profile(
    "packstore", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("packstore")

# Loaded after netCDF4, the plugins find that package's libhdf5 instead of h5py's, and fail.
with contextlib.suppress(ImportError):
    import hdf5plugin  # noqa: F401


# The files of the tests are new, and most tests are of what is done with settled ones; child processes inherit this.
os.environ.setdefault("PACKSTORE_LOCAL__SETTLED_SECONDS", "0")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that the test starts take SIGINT, also where this one ignores it, as a background job of a shell does.

    A process inherits what its parent ignores; what the parent handles is the system's default again.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
