"""`require_reason`: which calls must say why, whatever door they come by."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from licet.gate.results import Denied, Ok
from licet.gateway.incoming import Incoming
from licet.gateway.messages import INVALID_PARAMS, RpcError
from licet.model import JsonObject
from tests.gateway.world import CONFIG, gateway_world

ALWAYS = f'require_reason = "always"\n{CONFIG}'
WRITES = f'require_reason = "writes"\n{CONFIG}'
GET = {"name": "crm__get", "arguments": {"id": "C-1"}}
SET = {"name": "crm__set", "arguments": {"id": "C-1", "amount": 1}}
MUST = "must say why it is made"


def with_reason(call: dict[str, Any], reason: Any) -> dict[str, Any]:
    return {**call, "arguments": {**call["arguments"], "licet_reason": reason}}


@pytest.mark.parametrize(("config", "call", "asked"), [(ALWAYS, GET, True), (ALWAYS, SET, True), (WRITES, GET, False), (WRITES, SET, True)])
def test_who_must_say_why_is_denied_without_it(
    tmp_path: Path,
    config: str,
    call: dict[str, Any],
    *,
    asked: bool,
) -> None:
    with gateway_world(tmp_path, config=config) as w:
        result = asyncio.run(w.ask("tools/call", call, agent="writer"))
        assert result.get("isError", False) is asked
        if asked:
            assert result["content"][0]["text"].startswith(f"denied (reason_required): a call of `{call['name']}` {MUST}")
            record = w.records()[-1]
            assert record.envelope.decision is not None
            assert (record.envelope.decision.verdict, record.envelope.decision.code) == ("deny", "reason_required")
        assert bool(w.upstreams.crm.sent) is not asked


def test_a_reason_is_recorded_and_not_passed_on(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=ALWAYS) as w:
        asyncio.run(w.ask("tools/call", with_reason(SET, "ticket 4711"), agent="writer"))
        assert w.upstreams.crm.sent == [("tools/call", {"name": "set", "arguments": {"id": "C-1", "amount": 1}})]
        assert w.records()[0].payload.reason == "ticket 4711"


@pytest.mark.parametrize("reason", ["", " ", "\t\n"])
def test_nothing_is_no_reason(tmp_path: Path, reason: str) -> None:
    with gateway_world(tmp_path, config=ALWAYS) as w:
        result = asyncio.run(w.ask("tools/call", with_reason(GET, reason)))
        assert MUST in result["content"][0]["text"]


def test_a_reason_can_come_by_the_host_program(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=f'{ALWAYS}\n[tools."local.look"]\naccess = "read"') as w:

        @w.gate.tool("local.see", access="read")
        def see() -> str:
            return "seen"

        with w.gate.acting(tenant="acme", agent="bot", user="alice"):
            denied = w.gate.call("local.see", {})
        with w.gate.acting(tenant="acme", agent="bot", user="alice", reason="to know"):
            done = w.gate.call("local.see", {})
    assert isinstance(denied, Denied)
    assert (denied.decision.verdict, denied.decision.code, denied.decision.policies) == ("deny", "reason_required", ())
    assert MUST in denied.decision.message
    assert isinstance(done, Ok)


def test_a_reason_grants_nothing(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=ALWAYS) as w:
        result = asyncio.run(w.ask("tools/call", with_reason({"name": "crm__get", "arguments": {"id": "C-7"}}, "an admin said so")))
        assert result["content"][0]["text"].startswith("denied (forbidden): ")


def test_a_method_says_why_beside_its_parameters(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=ALWAYS) as w:
        w.gateway.listing.route = _to_crm  # type: ignore[method-assign]
        with pytest.raises(RpcError, match=MUST):
            asyncio.run(w.ask("resources/read", {"uri": "crm://a"}))
        params = {"uri": "crm://a", "_meta": {"dev.licet/reason": "ticket 4711"}}
        asyncio.run(w.ask("resources/read", params))
        assert [params for _, params in w.upstreams.crm.sent] == [{"uri": "crm://a"}]
        assert [record.payload.reason for record in w.records()] == [None, "ticket 4711"]


async def _to_crm(incoming: Incoming) -> tuple[str, JsonObject]:
    return "crm", {"uri": incoming.params["uri"]}


@pytest.mark.parametrize("reason", [7, ["why"], {"why": 1}, "x" * 2_001])
def test_a_reason_is_text_that_somebody_can_read(tmp_path: Path, reason: Any) -> None:
    with gateway_world(tmp_path, config=ALWAYS) as w:
        with pytest.raises(RpcError, match="is text of at most 2000 characters") as caught:
            asyncio.run(w.ask("tools/call", with_reason(GET, reason)))
        assert caught.value.code == INVALID_PARAMS
        assert (w.records(), w.upstreams.crm.sent) == ([], [])
