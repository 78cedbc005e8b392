"""Each test that opens a console runs on both stores: in memory, and, among the heavy ones, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from licet import Gate
from licet.config import loads
from licet.store.postgres import PostgresStore
from tests.store.postgres import Server
from tests.world import Opening, opening


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that knows `ConsoleWorld` opens consoles."""
    if hasattr(metafunc.module, "ConsoleWorld"):
        stores = ["memory", pytest.param("postgres", marks=pytest.mark.heavy)]
        metafunc.parametrize("store_of_worlds", stores, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def store_of_worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the worlds of this module's tests have their ledgers."""
    name = getattr(request, "param", "memory")
    if name == "memory":
        yield name
        return
    server: Server = request.getfixturevalue("postgres_server")
    before = opening.set(opening_on(server, lambda: tmp_path_factory.mktemp("world")))
    yield name
    opening.reset(before)


def opening_on(server: Server, make_folder: Callable[[], Path]) -> Opening:
    """Each gate has a database and a folder of its own."""

    @contextmanager
    def gate_on_postgres(config: str, policies: str | Mapping[str, str], *, clock: Callable[[], datetime]) -> Iterator[Gate]:
        url, folder = server.make_database(), make_folder()
        settings = loads(f'store = "{url}"\n{config}', file=folder / "licet.toml")
        settings.policies.mkdir()
        for name, text in ({"policies.cedar": policies} if isinstance(policies, str) else policies).items():
            (settings.policies / name).write_text(text, encoding="utf-8")
        try:
            with Gate(settings, clock=clock) as gate:
                yield gate
                assert isinstance(gate.store, PostgresStore)
        finally:
            server.drop_database(url)

    return gate_on_postgres
