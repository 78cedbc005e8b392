"""Clients of either era are told of upstreams of either era that are real processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from licet.gateway import listening
from licet.gateway.gateway import Gateway
from licet.gateway.upstreams.pool import Pool
from tests.gateway.listeners import RESOURCES, TOOLS, UPDATED, Session, Streamed
from tests.gateway.upstreams.servers.commands import legacy, modern
from tests.gateway.upstreams.servers.legacy import MORE as LEGACY_TOOLS
from tests.gateway.upstreams.servers.modern import MORE as MODERN_TOOLS
from tests.gateway.upstreams.servers.tools import definitions
from tests.gateway.world import GatewayWorld, gateway_world

CONFIG = """
environment = "test"
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["support"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
[upstreams.old]
command = {old}
[upstreams.new]
command = {new}
"""
CALLED = ("touch", "change", "die")
POLICIES = '@id("all")\npermit (principal in Role::"support", action, resource);'
Work = Callable[[GatewayWorld], Awaitable[None]]


def through(folder: Path, work: Work) -> None:
    tables = "".join(f'[tools.{upstream}__{name}]\naccess = "write"\n' for upstream in ("old", "new") for name in CALLED)
    config = CONFIG.format(old=json.dumps(list(legacy())), new=json.dumps(list(modern()))) + tables
    pinned = {"old": definitions(LEGACY_TOOLS), "new": definitions(MODERN_TOOLS)}
    with gateway_world(folder, config=config, policies=POLICIES, pinned=pinned) as w:

        async def main() -> None:
            w.gateway = Gateway(w.gate, Pool(w.gate.settings.upstreams, folder=folder))
            try:
                await work(w)
            finally:
                await w.gateway.close()

        asyncio.run(main())


async def call(w: GatewayWorld, name: str, **arguments: object) -> None:
    await w.ask("tools/call", {"name": name, "arguments": arguments})


@pytest.mark.parametrize("upstream", ["old", "new"])
def test_a_session_watches_a_resource(tmp_path: Path, upstream: str) -> None:
    async def work(w: GatewayWorld) -> None:
        session = Session(w, upstream=upstream)
        await session.begin()
        await session.ask("resources/subscribe", {"uri": "memo://one"})
        await call(w, f"{upstream}__touch", uri="memo://one")
        assert await session.next() == (UPDATED, {"uri": "memo://one"})

    through(tmp_path, work)


@pytest.mark.parametrize("upstream", ["old", "new"])
def test_a_stream_watches_a_resource(tmp_path: Path, upstream: str) -> None:
    async def work(w: GatewayWorld) -> None:
        stream = Streamed(w, {"resourceSubscriptions": ["memo://one"]}, upstream=upstream)
        assert await stream.acknowledged() == {"resourceSubscriptions": ["memo://one"]}
        await call(w, f"{upstream}__touch", uri="memo://one")
        method, params = await stream.next()
        assert (method, params["uri"]) == (UPDATED, "memo://one")
        await stream.leave()

    through(tmp_path, work)


@pytest.mark.parametrize("upstream", ["old", "new"])
def test_a_change_of_tools_is_told(tmp_path: Path, upstream: str) -> None:
    async def work(w: GatewayWorld) -> None:
        session = Session(w, upstream=upstream)
        await session.begin()
        await session.ask("resources/list")
        stream = Streamed(w, {"toolsListChanged": True, "resourcesListChanged": True}, upstream=upstream)
        await stream.acknowledged()
        await call(w, f"{upstream}__change")
        assert (await session.next())[0] == TOOLS
        assert (await stream.next())[0] == TOOLS
        await stream.leave()

    through(tmp_path, work)


@pytest.mark.parametrize("upstream", ["old", "new"])
def test_an_upstream_that_died_is_listened_to_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: str) -> None:
    monkeypatch.setattr(listening, "KEEP_S", 0.05)
    monkeypatch.setattr(listening, "FIRST_PAUSE_S", 0.05)

    async def work(w: GatewayWorld) -> None:
        stream = Streamed(w, {"resourcesListChanged": True, "resourceSubscriptions": ["memo://one"]}, upstream=upstream)
        await stream.acknowledged()
        await call(w, f"{upstream}__die")
        assert [(await stream.next())[0], (await stream.next())[0]] == [RESOURCES, UPDATED]
        await call(w, f"{upstream}__touch", uri="memo://one")
        assert (await stream.next())[0] == UPDATED
        await stream.leave()

    through(tmp_path, work)


def test_both_upstreams_are_one_list_and_what_both_offer_is_said_to_be_nobodys(tmp_path: Path) -> None:
    async def work(w: GatewayWorld) -> None:
        both = await w.ask("resources/list")
        alone = [await w.ask("resources/list", upstream=upstream) for upstream in ("old", "new")]
        assert len(both["resources"]) == sum(len(one["resources"]) for one in alone)
        assert [prompt["name"] for prompt in (await w.ask("prompts/list"))["prompts"]] == ["old__greet", "new__greet"]
        got = await w.ask("prompts/get", {"name": "new__greet", "arguments": {"who": "you"}})
        assert got["messages"][0]["content"]["text"] == "Greet you."
        ref = {"type": "ref/prompt", "name": "old__greet"}
        completed = await w.ask("completion/complete", {"ref": ref, "argument": {"name": "who", "value": "t"}})
        assert completed["completion"]["values"] == ["two", "three"]

    through(tmp_path, work)
