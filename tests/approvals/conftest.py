"""A world for tests of what people decide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world import World, world


@pytest.fixture
def w() -> Iterator[World]:
    """A world in memory."""
    with world() as found:
        yield found
