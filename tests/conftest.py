"""How every test runs."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, settings

# No deadline per example: several test processes share the cores, and a slow machine is not a failure.
settings.register_profile("licet", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("licet")


@pytest.fixture(autouse=True)
def _every_warning_is_heard() -> None:
    """The demo, run in this process by another test, quietens its gate."""
    logging.getLogger("licet.gate").setLevel(logging.NOTSET)
