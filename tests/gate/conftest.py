"""A world for each test; whatever the test did, the ledger must verify afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.gate.asleep import nobody_waits
from tests.gate.proof import assert_whole
from tests.world import World, world, world_on


@pytest.fixture
def w(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world() as made:
        yield made
        assert_whole(made.gate)


@pytest.fixture(params=[None, 30.0], ids=["untimed", "timed"])
def tools(w: World, request: pytest.FixtureRequest) -> World:
    def act() -> Any:
        w.ran.append(("act", {}))
        if w.raises is not None:
            raise w.raises
        return w.returns

    @w.gate.tool("odd.sync", access="write", touches={"access"}, timeout_s=request.param)
    def sync_tool() -> Any:
        return act()

    @w.gate.tool("odd.async", access="write", touches={"access"}, timeout_s=request.param)
    async def async_tool() -> Any:
        await asyncio.sleep(0)
        return act()

    return w


@pytest.fixture(params=["memory", "file"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in memory, and one in a file; when the test is over, nobody waits in it any more."""
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world() if request.param == "memory" else world_on(tmp_path) as made:
        yield made
        nobody_waits(made)
        assert_whole(made.gate)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for callers that wait."""
    with ThreadPoolExecutor(16) as made:
        yield made
