"""From a client's request to the record of it, through a real process: how each fault of an upstream stands in the audit log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from licet.gateway.gateway import Gateway
from licet.gateway.link import ClientFacts
from licet.gateway.messages import RpcError
from licet.gateway.upstreams.pool import Pool
from licet.model import JsonObject
from tests.gateway.upstreams.servers.commands import legacy, modern
from tests.gateway.upstreams.servers.legacy import MORE as LEGACY_TOOLS
from tests.gateway.upstreams.servers.modern import MORE as MODERN_TOOLS
from tests.gateway.upstreams.servers.tools import definitions
from tests.gateway.world import LEGACY, GatewayWorld, gateway_world

CALLED = ("add", "fail", "refuse", "never", "die", "nonsense", "huge", "twice", "garbage", "ask_user")
CONFIG = """
environment = "test"
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["support"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
[upstreams.it]
command = {command}
result_bytes = 100000
env = {{FAKE_JOURNAL = "file:journal-path"}}
"""
POLICIES = '@id("all")\npermit (principal in Role::"support", action, resource);'
Work = Callable[[GatewayWorld], Awaitable[None]]


def through(folder: Path, era: str, work: Work, *modes: str) -> list[tuple[str, str | None]]:
    """What was recorded of the calls that `work` made: status and code of each."""
    command = {"legacy": legacy, "modern": modern}[era](*modes)
    path = folder / "journal-path"
    path.write_text(str(folder / "journal"))
    path.chmod(0o600)
    tables = "".join(f'[tools.it__{name}]\naccess = "write"\n' + ("timeout_s = 0.3\n" if name == "never" else "") for name in CALLED)
    config = CONFIG.format(command=json.dumps(list(command))) + tables
    pinned = {"it": definitions(LEGACY_TOOLS if era == "legacy" else MODERN_TOOLS)}
    with gateway_world(folder, config=config, policies=POLICIES, pinned=pinned) as w:

        async def main() -> None:
            w.gateway = Gateway(w.gate, Pool(w.gate.settings.upstreams, folder=folder))
            try:
                await work(w)
            finally:
                await w.gateway.close()

        asyncio.run(main())
        outcomes = [read.envelope.outcome for read in w.records() if read.kind == "outcome"]
        assert len(outcomes) == sum(read.kind == "intent" for read in w.records())
        return [(one.status, one.code) for one in outcomes if one is not None]


async def call(w: GatewayWorld, name: str, **arguments: object) -> JsonObject:
    return await w.ask("tools/call", {"name": f"it__{name}", "arguments": arguments}, client=LEGACY)


def executed(folder: Path) -> list[str]:
    path = folder / "journal"
    return [json.loads(line)["name"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize(
    ("name", "arguments", "outcome"),
    [
        ("add", {"a": 1, "b": 2}, ("ok", None)),
        ("twice", {}, ("ok", None)),
        ("garbage", {}, ("ok", None)),
        ("fail", {}, ("error", "tool_error")),
        ("refuse", {}, ("error", "upstream_error")),
        ("never", {}, ("timeout", "upstream_timeout")),
        ("die", {}, ("unknown", "upstream_gone")),
        ("nonsense", {"what": "text"}, ("unknown", "upstream_not_understood")),
        ("huge", {"bytes": 1_000_000}, ("unknown", "upstream_too_large")),
    ],
)
def test_how_a_call_ended_is_recorded(
    tmp_path: Path, era: str, name: str, arguments: dict[str, object], outcome: tuple[str, str | None]
) -> None:
    async def work(w: GatewayWorld) -> None:
        with suppress(RpcError):
            assert (await call(w, name, **arguments)).get("isError", False) is (outcome[0] != "ok")
        assert executed(tmp_path)[0] == name
        assert (await call(w, "add", a=1, b=2))["structuredContent"] == {"sum": 3}

    assert through(tmp_path, era, work) == [outcome, ("ok", None)]
    assert [one for one in executed(tmp_path) if one != "cancelled"] == [name, "add"]


def test_an_upstream_that_cannot_be_started_has_executed_nothing(tmp_path: Path) -> None:
    async def work(w: GatewayWorld) -> None:
        result = await call(w, "add", a=1, b=2)
        assert result["isError"] is True

    assert through(tmp_path, "legacy", work, "dies-at-start") == [("not_executed", "upstream_unavailable")]
    assert executed(tmp_path) == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_what_an_upstream_of_either_era_asks_is_answered_by_the_client_within_one_recorded_call(tmp_path: Path, era: str) -> None:
    client = ClientFacts(era="legacy", version="2025-11-25", capabilities={"elicitation": {}})
    accepted: JsonObject = {"action": "accept", "content": {"name": "Ada"}}

    async def work(w: GatewayWorld) -> None:
        answers = {"who": accepted, "asked": accepted}
        result = await w.ask("tools/call", {"name": "it__ask_user", "arguments": {}}, client=client, answers=answers)
        answer = {"result": accepted} if era == "legacy" else "accept=Ada;"
        assert result["structuredContent"] == {"answer": answer}
        assert [one["method"] for asked in w.links[0].asked for one in asked.values()] == ["elicitation/create"]

    assert through(tmp_path, era, work) == [("ok", None)]
