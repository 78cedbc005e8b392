"""Attacks on lists, routes and subscriptions: an upstream that answers for another, a caller who looks past what policy shows."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.gateway import listing
from licet.gateway.connection import NotSent
from licet.gateway.messages import INVALID_PARAMS, NOT_PERMITTED, UNAVAILABLE, RpcError
from licet.gateway.routing import WORK_LIMIT
from licet.gateway.uri_templates import UriTemplate
from tests.gateway.listeners import RESOURCES, TOOLS, UPDATED, Session, Streamed
from tests.gateway.lists_world import LISTS_CONFIG, LISTS_POLICIES, resource, stock
from tests.gateway.world import GatewayWorld, gateway_world

NO_READS = LISTS_POLICIES + '\n@id("no-reads")\nforbid (principal, action == Action::"crm.resources.read", resource);\n'


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=LISTS_CONFIG, policies=LISTS_POLICIES) as world:
        yield world


async def refusal(w: GatewayWorld, method: str, params: Any, **how: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await w.ask(method, params, **how)
    return caught.value


def cursor(*parts: Any) -> dict[str, str]:
    return {"cursor": base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")}


def run(w: GatewayWorld, attack: Any) -> None:
    async def go() -> None:
        try:
            await attack()
        finally:
            await w.gateway.close()

    asyncio.run(go())


@pytest.mark.parametrize("offer", ["resources", "resourceTemplates"])
@pytest.mark.parametrize("victim_is_down", [False, True])
def test_an_upstream_that_lists_what_is_anothers_does_not_get_to_answer_for_it(
    w: GatewayWorld, offer: str, *, victim_is_down: bool
) -> None:
    crm, notes = stock(w)

    async def attack() -> None:
        await w.ask("resources/read", {"uri": "crm://a"})
        notes.lists[offer].append(resource("crm://a") if offer == "resources" else {"uriTemplate": "{+anything}", "name": "all"})
        crm.failing = NotSent("it is down") if victim_is_down else None
        for upstream in (w.upstreams.crm, w.upstreams.notes):
            assert w.upstreams.told is not None
            w.upstreams.told(upstream, RESOURCES, {})
        error = await refusal(w, "resources/read", {"uri": "crm://a"})
        assert (error.code, "`/mcp/crm` or `/mcp/notes`" in str(error)) == (INVALID_PARAMS, True)
        assert "resources/read" not in notes.methods()

    run(w, attack)


def test_templates_that_take_long_to_look_at_hold_nobody_up(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI is held against templates on the event loop: an upstream writes one part of that work, and a client the other."""
    _, notes = stock(w)
    notes.lists["resourceTemplates"] += [{"uriTemplate": "{+a}x" * 20 + str(number), "name": "t"} for number in range(100)]
    looked_at: list[int] = []
    matches = UriTemplate.matches

    def counted(template: UriTemplate, uri: str) -> bool:
        looked_at.append(template.steps * len(uri))
        return matches(template, uri)

    monkeypatch.setattr(UriTemplate, "matches", counted)

    async def attack() -> None:
        await w.ask("resources/read", {"uri": "crm://customer/1"})
        looked_at.clear()
        error = await refusal(w, "resources/read", {"uri": f"crm://customer/{'x' * 8_000}"})
        assert (error.code, "not known whether `notes` offers it too" in str(error)) == (UNAVAILABLE, True)
        assert sum(looked_at) <= 2 * 2 * WORK_LIMIT  # of two upstreams, whose lists are read twice
        assert "resources/read" not in notes.methods()

    run(w, attack)


def test_a_prompt_that_is_named_like_anothers_is_still_its_own_upstreams(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    notes.lists["prompts"].append({"name": "crm__greet"})

    async def attack() -> None:
        names = [prompt["name"] for prompt in (await w.ask("prompts/list"))["prompts"]]
        assert names == ["crm__greet", "notes__greet", "notes__crm__greet"]
        await w.ask("prompts/get", {"name": "crm__greet"})
        await w.ask("prompts/get", {"name": "notes__crm__greet"})
        assert crm.asked[-1] == ("prompts/get", {"name": "greet"})
        assert notes.asked[-1] == ("prompts/get", {"name": "crm__greet"})

    run(w, attack)


def test_a_cursor_that_was_made_up_shows_nothing_that_the_list_would_not(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    crm, _ = stock(w)
    monkeypatch.setattr(listing, "PAGE_ITEMS", 1)

    async def attack() -> None:
        into_hidden = await w.ask("resources/list", cursor("resources/list", None, ["crm", None, 1]))
        assert [item["uri"] for item in into_hidden["resources"]] == ["crm://contract"]
        behind_all = await w.ask("resources/list", cursor("resources/list", "crm", ["crm", None, 10**9]), upstream="crm")
        assert behind_all["resources"] == []
        crm.asked.clear()
        for who in ({"agent": "outsider"}, {"agent": "scribe", "user": "sam"}):
            error = await refusal(w, "resources/list", cursor("resources/list", None, ["crm", None, 0]), **who)
            assert error.code == INVALID_PARAMS
        for made_up in (
            ["resources/list", None, ["nope", None, 0]],
            ["resources/list", None, ["crm", None, 0, 1]],
            ["tools/list", None, ["crm"]],
        ):
            assert (await refusal(w, "resources/list", cursor(*made_up))).code == INVALID_PARAMS
        assert crm.asked == []

    run(w, attack)


def test_an_error_about_a_uri_names_no_upstream_that_is_not_the_callers(w: GatewayWorld) -> None:
    stock(w)

    async def attack() -> None:
        for uri in ("crm://a", "any://thing"):
            await w.ask("resources/read", {"uri": uri}, agent="scribe", user="sam")  # the only upstream of theirs
        error = await refusal(w, "resources/read", {"uri": "both://x"}, agent="outsider")
        assert error.code == NOT_PERMITTED
        assert "notes" not in str(error)

    run(w, attack)


@pytest.mark.parametrize("kind", ["session", "stream"])
def test_who_lost_the_right_to_read_hears_no_more_of_it_though_the_subscription_stands(w: GatewayWorld, kind: str) -> None:
    stock(w)

    async def attack() -> None:
        client: Session | Streamed
        if kind == "session":
            client = Session(w)
            await client.begin()
            await client.ask("resources/subscribe", {"uri": "crm://a"})
        else:
            client = Streamed(w, {"resourceSubscriptions": ["crm://a"], "toolsListChanged": True})
            await client.acknowledged()
        (w.folder / "policies" / "all.cedar").write_text(NO_READS)
        w.gate.reload()
        assert w.upstreams.told is not None
        w.upstreams.told(w.upstreams.crm, UPDATED, {"uri": "crm://a"})
        w.upstreams.told(w.upstreams.crm, UPDATED, {"uri": "crm://a/part"})
        w.upstreams.told(w.upstreams.crm, TOOLS, {})
        methods = [(await client.next())[0]]
        while methods[-1] != TOOLS:
            methods.append((await client.next())[0])
        assert UPDATED not in methods

    run(w, attack)


def test_what_one_callers_session_of_an_upstream_tells_is_not_heard_by_another_who_watches_the_same_uri(w: GatewayWorld) -> None:
    stock(w)

    async def attack() -> None:
        mine, theirs = Session(w), Session(w, agent="writer")
        await mine.ask("resources/subscribe", {"uri": "crm://a"})
        await theirs.begin()
        assert theirs.state is not None
        theirs.state.watched["crm://a"] = "crm"
        assert w.upstreams.told is not None
        w.upstreams.told(w.upstreams.crm, UPDATED, {"uri": "crm://a"})
        assert await mine.next() == (UPDATED, {"uri": "crm://a"})
        w.gateway.subscriptions.tools_changed()
        assert (await theirs.next())[0] == TOOLS

    run(w, attack)


def test_an_upstream_that_tells_without_end_fills_no_memory_and_keeps_nobody_from_being_answered(w: GatewayWorld) -> None:
    stock(w)

    async def attack() -> None:
        session = Session(w, upstream="crm")
        await session.begin()
        await session.ask("resources/subscribe", {"uri": "crm:/"})
        assert w.upstreams.told is not None
        for n in range(5_000):
            w.upstreams.told(w.upstreams.crm, UPDATED, {"uri": f"crm://{n}"})
            w.upstreams.told(w.upstreams.crm, RESOURCES, {})
        assert session.queue.empty()
        await w.ask("ping")
        assert [await session.next(), await session.next()] == [(UPDATED, {"uri": "crm://0"}), (RESOURCES, {})]

    run(w, attack)
