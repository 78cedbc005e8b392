"""A world for each test; whatever the test did, the ledger must verify afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gate.proof import assert_whole
from tests.world import World, world


@pytest.fixture
def w(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world() as made:
        yield made
        assert_whole(made.gate)
