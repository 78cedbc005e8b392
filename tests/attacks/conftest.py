"""The ledger that is attacked: made once for each process of the tests, and copied for each attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.stored import Stored, make


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """As its gates left it. Not to be written to."""
    return make(tmp_path_factory.mktemp("stored") / "ledger")


@pytest.fixture
def stored(untouched: Stored, tmp_path: Path) -> Stored:
    """A copy that a test may attack."""
    return untouched.copy(tmp_path / "ledger")
