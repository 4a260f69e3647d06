"""What the tests share: a profile for hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Examples read files, so their time says nothing; fixtures that are directories may be shared by examples.
settings.register_profile(
    "packstore", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("packstore")
