"""How every test runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# No deadline per example: several test processes share the cores, and a slow machine is not a failure.
settings.register_profile("licet", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("licet")

if TYPE_CHECKING:
    from tests.store.postgres import Server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One PostgreSQL for this process."""
    from tests.store.postgres import remove_server, start_server  # noqa: PLC0415  only where a test wants it

    server = start_server()
    yield server
    remove_server(server)


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """A database without anything in it, as `store` names it."""
    url = postgres_server.make_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(autouse=True)
def _every_warning_is_heard() -> None:
    """The demo, run in this process by another test, quietens its gate."""
    logging.getLogger("licet.gate").setLevel(logging.NOTSET)
