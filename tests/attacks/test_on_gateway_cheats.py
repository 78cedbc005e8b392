"""A client of the gateway that tries other names, methods and params for what it was not given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.gateway.messages import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from licet.gateway.request_state import StateRefused
from licet.model import JsonObject
from licet.testing import vote
from tests.gateway.holding import CONFIRMED, SET, SLOW, incoming, open_request, retried
from tests.gateway.world import LEGACY, MODERN, GatewayWorld, gateway_world

C1: JsonObject = {"id": "C-1"}
LIKE_IT = (
    "CRM__get",
    "crm__Get",
    "crm__get ",
    "crm__get\u200b",
    "\u0441rm__get",  # Cyrillic
    "\uff43rm__get",  # full width
    "crm___get",
    "crm____get",
    "crm__crm__get",
    "notes__crm__get",
    "crm__notes__get",
    "crm__../notes__get",
    "crm.get",
    "__get",
    "crm__",
)


DETOURS = (
    "memo://open/../closed",
    "memo://open/..",
    "memo://open/./../closed",
    "memo://open/%2e%2E/closed",
    "memo://open/.%2e/closed",
    "memo://open/%2e%2e%2fclosed",
    "memo://open/..\\closed",
    "memo://open/..;a/closed",
    "memo://open/..?a",
    "memo://open/..#a",
)
MEMOS = """
@id("open-memos")
permit (principal in Role::"support", action == Action::"crm.resources.read", resource) when { context.input.uri like "memo://open/*" };
"""


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path) as world:
        yield world


def calls(w: GatewayWorld) -> list[tuple[str, JsonObject]]:
    """What upstreams were sent, lists left out."""
    return [(method, params) for one in (w.upstreams.crm, w.upstreams.notes) for method, params in one.sent if not method.endswith("/list")]


async def code_of(w: GatewayWorld, method: str, params: JsonObject, **how: Any) -> int:
    with pytest.raises(RpcError) as caught:
        await w.ask(method, params, **how)
    return caught.value.code


@pytest.mark.parametrize("name", LIKE_IT)
def test_a_name_that_is_only_like_a_permitted_one_carries_nothing(w: GatewayWorld, name: str) -> None:
    async def main() -> None:
        assert await code_of(w, "tools/call", {"name": name, "arguments": C1}) == INVALID_PARAMS
        assert await code_of(w, "tools/call", {"name": name, "arguments": C1}, upstream="crm") == INVALID_PARAMS

    asyncio.run(main())
    assert calls(w) == []


def test_an_address_of_one_upstream_carries_nothing_to_another(w: GatewayWorld) -> None:
    async def main() -> None:
        for name in ("notes__get", "../notes__get", "crm__get", "notes.resources.read"):
            assert await code_of(w, "tools/call", {"name": name, "arguments": C1}, upstream="crm") == INVALID_PARAMS

    asyncio.run(main())
    assert calls(w) == []


@pytest.mark.parametrize(
    "method", ["Resources/Read", "resources/read ", "resources//read", "tools/Call", "tools.call", "tools/call/", "crm__get"]
)
@pytest.mark.parametrize("upstream", [None, "crm"])
def test_a_method_that_is_only_like_one_carries_nothing(w: GatewayWorld, method: str, upstream: str | None) -> None:
    async def main() -> None:
        for client in (MODERN, LEGACY):
            params = {"name": "get", "arguments": C1, "uri": "a://1"}
            assert await code_of(w, method, params, client=client, upstream=upstream) == METHOD_NOT_FOUND

    asyncio.run(main())
    assert calls(w) == []


def test_a_method_that_is_called_as_a_tool_takes_no_meta_of_a_models(w: GatewayWorld) -> None:
    arguments = {"uri": "a://1", "_meta": {"progressToken": "another's", "admin": True}}
    with pytest.raises(RpcError, match="unknown tool: there is no tool `crm"):
        asyncio.run(w.ask("tools/call", {"name": "crm.resources.read", "arguments": arguments}))
    assert calls(w) == []


def test_answers_that_no_upstream_asked_for_are_not_carried_to_one(w: GatewayWorld) -> None:
    """An upstream takes `inputResponses` and `requestState` for what a user said, and nobody has decided on either."""

    async def main() -> None:
        more = {"inputResponses": {"sure": {"action": "accept"}}, "requestState": "made-up"}
        await w.ask("tools/call", {"name": "crm__get", "arguments": C1, **more})
        with pytest.raises(StateRefused):
            await w.ask("tools/call", {"name": "crm__get", "arguments": C1, **more}, client=MODERN)
        del more["requestState"]
        await w.ask("tools/call", {"name": "crm__get", "arguments": C1, **more}, client=MODERN)

    asyncio.run(main())
    assert calls(w) == [("tools/call", {"name": "get", "arguments": C1})] * 2


@pytest.mark.parametrize("uri", DETOURS)
@pytest.mark.parametrize("upstream", [None, "crm"])
def test_a_uri_that_leads_out_of_what_is_permitted_is_not_read(tmp_path: Path, uri: str, upstream: str | None) -> None:
    """An upstream that resolves it reads `memo://closed`, where the policy was asked about something below `memo://open/`."""
    with gateway_world(tmp_path, policies=MEMOS) as w:
        with pytest.raises(RpcError, match=r"denied \(invalid\): .* is refused: the value is not a \"resolved-uri\" \(at `/uri`\)"):
            asyncio.run(w.ask("resources/read", {"uri": uri}, upstream=upstream))
        assert calls(w) == []
        decision = w.records()[-1].envelope.decision
        assert decision is not None
        assert (decision.verdict, decision.code) == ("deny", "invalid")


@pytest.mark.parametrize("uri", ["memo://open/a..b", "memo://open/...", "memo://open/.hidden", "memo://open/1.", "memo://open/a.2e"])
def test_a_uri_that_only_has_dots_is_read(tmp_path: Path, uri: str) -> None:
    with gateway_world(tmp_path, policies=MEMOS) as w:
        asyncio.run(w.ask("resources/read", {"uri": uri}, upstream="crm"))
        assert calls(w) == [("resources/read", {"uri": uri})]


def test_a_state_is_of_one_credential_one_address_and_one_method(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=SLOW, policies=CONFIRMED) as w:

        async def main() -> None:
            told = await w.gateway.answer(incoming(w, SET, client=MODERN))
            await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
            mine = retried(w, told, SET)
            moved = (
                replace(mine, upstream="crm"),
                replace(mine, method="resources/read"),
                replace(mine, acting=replace(mine.acting, credential="another-of-the-same-agent")),
                replace(mine, acting=replace(mine.acting, roles=("licet-admin",))),
                replace(mine, acting=replace(mine.acting, user=None)),
                replace(mine, acting=replace(mine.acting, tenant="globex")),
            )
            for retry in moved:
                with pytest.raises(StateRefused, match="is not of this request"):
                    await w.gateway.answer(retry)
            assert calls(w) == []
            await w.gateway.answer(mine)
            await w.gateway.close()

        asyncio.run(main())
        assert len(calls(w)) == 1
