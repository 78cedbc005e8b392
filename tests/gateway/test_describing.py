"""What a client is told at its start does not wait for upstreams that are down."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.gateway import describing
from licet.gateway.connection import Connection, NotSent
from licet.gateway.link import Voyage
from licet.model import JsonObject
from tests.gateway.world import FakeConnections, GatewayWorld, gateway_world

SOON_S = 0.01


class Silent(FakeConnections):
    """`crm` is being connected to for as long as it `hangs`."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = True
        self.asked = 0

    async def connect(self, upstream: str, voyage: Voyage) -> Connection:
        if upstream == "crm":
            self.asked += 1
            if self.hangs:
                await asyncio.Event().wait()
        return await super().connect(upstream, voyage)


@pytest.fixture
def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayWorld]:
    monkeypatch.setattr("tests.gateway.world.FakeConnections", Silent)
    for name in ("WAIT_S", "ALONE_S"):
        monkeypatch.setattr(describing, name, SOON_S)
    with gateway_world(tmp_path) as made:
        made.upstreams.crm.instructions, made.upstreams.notes.instructions = "of customers", "of notes"
        yield made


async def describe(w: GatewayWorld, **how: Any) -> JsonObject:
    async with asyncio.timeout(60):  # where nothing bounds the waiting, the test ends all the same
        return await w.gateway.describe(w.incoming("initialize", **how))


def crm(w: GatewayWorld) -> Silent:
    assert isinstance(w.upstreams, Silent)
    return w.upstreams


def test_one_that_is_down_keeps_nobody_from_the_others(w: GatewayWorld) -> None:
    told = asyncio.run(describe(w))
    assert told["instructions"] == "notes: of notes"
    assert told["capabilities"]["tools"] == {"listChanged": True}


def test_one_that_is_down_is_described_by_its_pinned_tools_at_its_own_door(w: GatewayWorld) -> None:
    told = asyncio.run(describe(w, upstream="crm"))
    assert told == {"capabilities": {"tools": {"listChanged": True}}, "serverInfo": told["serverInfo"]}
    assert told["serverInfo"]["name"] == "licet"


def test_one_that_was_waited_for_in_vain_is_asked_again_and_not_waited_for(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        await describe(w, upstream="crm")
        monkeypatch.setattr(describing, "ALONE_S", math.inf)
        await describe(w, upstream="crm")

    asyncio.run(main())
    assert crm(w).asked == 2


def test_one_that_cannot_be_reached_is_not_waited_for_either(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        crm(w).failing = NotSent("nobody is there")
        crm(w).hangs = False
        await describe(w, upstream="crm")
        crm(w).hangs = True
        monkeypatch.setattr(describing, "ALONE_S", math.inf)
        assert "instructions" not in await describe(w, upstream="crm")

    asyncio.run(main())


def test_one_that_is_there_again_is_described_by_itself_at_once(w: GatewayWorld) -> None:
    async def main() -> None:
        await describe(w, upstream="crm")
        crm(w).hangs = False
        assert (await describe(w, upstream="crm"))["instructions"] == "of customers"

    asyncio.run(main())
