"""How every test runs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline per example: several test processes share the cores, and a slow machine is not a failure.
settings.register_profile("licet", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("licet")
