"""The official Python client, in both eras, when its call is held: it waits, is confirmed by its user, and gives up by itself nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.types import ElicitResult, TextContent

from licet.model import RequestId
from licet.testing import records, vote
from tests.gateway.door_world import DoorWorld, door_world
from tests.gateway.test_http_door_clients import ERAS, Mode, connected, run
from tests.gateway.world import CONFIG

BILLING = CONFIG.replace(
    '[agents.bot]\ntenants = ["acme"]\nroles = ["support"]', '[agents.bot]\ntenants = ["acme"]\nroles = ["support", "billing"]'
)
SURE = """
@id("ask-the-user")
@require_confirmation
forbid (principal, action == Action::"crm__set", resource)
when { context.input.id == "C-5" };
"""


def config(hold_s: float) -> str:
    return f"{BILLING}[gateway]\nhold_s = {hold_s}\n"


@pytest.fixture
def w(tmp_path: Path) -> Iterator[DoorWorld]:
    with confirming(tmp_path, 120) as world:
        yield world


def confirming(folder: Path, hold_s: float) -> Any:
    (folder / "policies").mkdir()
    (folder / "policies" / "sure.cedar").write_text(SURE)
    return door_world(folder, config=config(hold_s), real=True)


def asked(w: DoorWorld) -> RequestId | None:
    found = w.gate.approvals.waiting("acme")
    return found[0].request.id if found else None


async def decided(w: DoorWorld, decide: Callable[[RequestId], None]) -> None:
    """Somebody decides as soon as there is something to decide on."""
    while (request := await asyncio.to_thread(asked, w)) is None:  # noqa: ASYNC110  who decides looks at a list, and nothing tells them
        await asyncio.sleep(0.01)
    await asyncio.to_thread(decide, request)


def answering(action: str, content: Any = None) -> Callable[..., Awaitable[ElicitResult]]:
    async def elicit(context: Any, params: Any) -> ElicitResult:
        messages.append(params.message)
        return ElicitResult.model_validate({"action": action, "content": content})

    messages: list[str] = []
    elicit.messages = messages  # type: ignore[attr-defined]
    return elicit


@ERAS
def test_it_waits_for_people_and_gets_its_result(w: DoorWorld, mode: Mode) -> None:
    async def work() -> None:
        async with connected(w, mode, elicitation_callback=answering("accept", {})) as client:
            calling = asyncio.ensure_future(client.call_tool("crm__set", {"id": "C-1", "amount": 500}))
            await decided(w, lambda request: vote(w.gate, request, "lena"))
            assert (await calling).content == [TextContent(type="text", text="done")]

    run(work)
    assert len(w.upstreams.crm.sent) == 1


@ERAS
def test_it_is_told_that_people_said_no(w: DoorWorld, mode: Mode) -> None:
    async def work() -> None:
        async with connected(w, mode, elicitation_callback=answering("accept", {})) as client:
            calling = asyncio.ensure_future(client.call_tool("crm__set", {"id": "C-1", "amount": 500}))
            await decided(w, lambda request: vote(w.gate, request, "lena", verdict="reject"))
            result = await calling
            assert result.is_error
            assert isinstance(result.content[0], TextContent)
            assert "denied (rejected): `lena` rejected exactly this call" in result.content[0].text

    run(work)
    assert w.upstreams.crm.sent == []


@ERAS
def test_it_is_told_in_words_when_nobody_decides(tmp_path: Path, mode: Mode) -> None:
    async def work() -> None:
        async with connected(short, mode, elicitation_callback=answering("accept", {})) as client:
            result = await client.call_tool("crm__set", {"id": "C-1", "amount": 500})
            assert result.is_error
            assert isinstance(result.content[0], TextContent)
            assert f"Request `{asked(short)}`: it waits for 1 of `leads`" in result.content[0].text

    with confirming(tmp_path, 0.3) as short:
        run(work)
        assert short.upstreams.crm.sent == []


@ERAS
@pytest.mark.parametrize("sure", [True, False])
def test_its_user_confirms_or_does_not(w: DoorWorld, mode: Mode, sure: bool) -> None:  # noqa: FBT001
    elicit = answering("accept", {"confirm": sure})

    async def work() -> None:
        async with connected(w, mode, elicitation_callback=elicit) as client:
            result = await client.call_tool("crm__set", {"id": "C-5", "amount": 5})
            assert result.is_error is not sure

    run(work)
    assert len(w.upstreams.crm.sent) == int(sure)
    (record,) = [record for record in records(w.gate, "acme") if record.kind == "vote"]
    assert record.payload.detail is not None
    cast = record.payload.detail["vote"]
    assert (cast["voter"], cast["verdict"], cast["channel"], cast["credential"]) == (
        "alice",
        "approve" if sure else "reject",
        "mcp",
        "key-bot",
    )
    (message,) = elicit.messages  # type: ignore[attr-defined]
    assert 'bot for alice asks to use `crm__set` on Customer::"C-5"' in message


@ERAS
def test_a_client_without_forms_is_told_where_to_decide_and_asked_nothing(w: DoorWorld, mode: Mode) -> None:
    async def work() -> None:
        async with connected(w, mode) as client:
            calling = asyncio.ensure_future(client.call_tool("crm__set", {"id": "C-5", "amount": 5}))
            if mode == "auto":  # it waits, and its user confirms elsewhere
                await decided(w, lambda request: vote(w.gate, request, "alice"))
                assert not (await calling).is_error
                return
            result = await calling
            assert isinstance(result.content[0], TextContent)
            assert "it waits for the confirmation of the user whom the call is made for" in result.content[0].text

    run(work)
