"""Which upstream a prompt, a resource or a completion belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from licet.gateway import offers, routing
from licet.gateway.connection import NotSent, Refused
from licet.gateway.messages import INVALID_PARAMS, NOT_PERMITTED, UNAVAILABLE, RpcError
from licet.model import JsonObject
from tests.gateway.lists_world import LISTS_CONFIG, LISTS_POLICIES, resource, stock
from tests.gateway.world import GatewayWorld, gateway_world


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=LISTS_CONFIG, policies=LISTS_POLICIES) as world:
        yield world


def ask(w: GatewayWorld, method: str, params: Any = None, **how: Any) -> Any:
    return asyncio.run(w.ask(method, params, **how))


def refused(w: GatewayWorld, method: str, params: Any = None, **how: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        ask(w, method, params, **how)
    return caught.value


def recorded(w: GatewayWorld) -> list[tuple[str, str | None]]:
    return [(record.envelope.kind, record.envelope.tool.name if record.envelope.tool else None) for record in w.records()]


@pytest.mark.parametrize(
    ("uri", "tool"),
    [
        ("crm://a", "crm.resources.read"),
        ("crm://customer/C-1", "crm.resources.read"),
        ("notes://1", "notes.resources.read"),
        ("notes://deep/er", "notes.resources.read"),
    ],
)
def test_a_uri_is_read_where_it_is_listed_or_a_template_makes_it(w: GatewayWorld, uri: str, tool: str) -> None:
    stock(w)
    assert ask(w, "resources/read", {"uri": uri})["echo"] == {"uri": uri}
    assert recorded(w) == [("call", tool)]


def test_a_uri_that_two_upstreams_list_is_an_error_that_names_them_and_the_way(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    error = refused(w, "resources/read", {"uri": "both://x"})
    assert error.code == INVALID_PARAMS
    assert str(error) == "`both://x` is offered by `crm`, `notes`: say which by asking at `/mcp/crm` or `/mcp/notes`"
    assert "resources/read" not in crm.methods() + notes.methods()


def test_listing_what_is_another_upstreams_takes_it_from_nobody(w: GatewayWorld) -> None:
    _, notes = stock(w)
    notes.lists["resources"].append(resource("crm://customer/C-1"))
    assert "`crm`, `notes`" in str(refused(w, "resources/read", {"uri": "crm://customer/C-1"}))
    assert "resources/read" not in notes.methods()


def test_an_upstream_where_it_would_be_denied_is_no_candidate(w: GatewayWorld) -> None:
    _, notes = stock(w)
    notes.lists["resources"].append(resource("crm://secret"))
    ask(w, "resources/read", {"uri": "crm://secret"})
    assert recorded(w) == [("call", "notes.resources.read")]


def test_what_the_gate_denies_everywhere_is_denied_and_recorded(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    assert refused(w, "resources/read", {"uri": "crm://secret"}).code == NOT_PERMITTED
    assert recorded(w) == [("denial", "crm.resources.read")]
    assert "resources/read" not in crm.methods()


def test_who_may_read_nothing_anywhere_is_denied_and_recorded_and_no_list_is_read(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    assert refused(w, "resources/read", {"uri": "notes://1"}, agent="outsider").code == NOT_PERMITTED
    assert [kind for kind, _ in recorded(w)] == ["denial"]
    assert (crm.asked, notes.asked) == ([], [])


def test_the_only_upstream_of_a_caller_has_what_is_not_listed_too(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    ask(w, "resources/read", {"uri": "any://thing"}, agent="scribe", user="sam")
    assert (crm.methods(), notes.methods()) == ([], ["resources/read"])


def test_a_uri_that_nobody_lists_is_an_error_that_says_where_to_ask(w: GatewayWorld) -> None:
    stock(w)
    error = refused(w, "resources/read", {"uri": "any://thing"})
    assert error.code == INVALID_PARAMS
    assert str(error) == "`any://thing` is listed by none of `crm`, `notes`: ask at `/mcp/crm` or `/mcp/notes` whose it is"


def test_at_the_address_of_an_upstream_every_uri_is_its_own_and_no_list_is_read(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    ask(w, "resources/read", {"uri": "both://x"}, upstream="notes")
    assert (crm.methods(), notes.methods()) == ([], ["resources/read"])


def test_lists_are_read_once_while_they_may_be_kept_and_again_when_they_have_changed(w: GatewayWorld) -> None:
    crm, _ = stock(w)

    async def go() -> None:
        for _ in range(3):
            await w.ask("resources/read", {"uri": "crm://a"})
        assert crm.methods().count("resources/list") == 1
        assert w.upstreams.told is not None
        w.upstreams.told(w.upstreams.crm, "notifications/resources/list_changed", {})
        await w.ask("resources/read", {"uri": "crm://a"})
        assert crm.methods().count("resources/list") == 2

    asyncio.run(go())


def test_callers_who_do_not_share_a_connection_do_not_share_what_it_lists(w: GatewayWorld) -> None:
    crm, _ = stock(w)

    async def go() -> None:
        await w.ask("resources/read", {"uri": "crm://a"})
        await w.ask("resources/read", {"uri": "crm://a"}, agent="writer")

    asyncio.run(go())
    assert crm.methods().count("resources/list") == 2


def test_what_is_new_is_found_before_it_is_said_not_to_be_there(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    crm, _ = stock(w)
    monkeypatch.setattr(routing, "REFRESH_S", -1.0)

    async def go() -> None:
        await w.ask("resources/read", {"uri": "crm://a"})
        crm.lists["resources"].append(resource("crm://new"))
        await w.ask("resources/read", {"uri": "crm://new"})

    asyncio.run(go())
    assert ("resources/read", {"uri": "crm://new"}) in crm.asked


def test_a_uri_may_be_of_an_upstream_that_is_down(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.failing = NotSent("it is down")
    error = refused(w, "resources/read", {"uri": "crm://a"})
    assert (error.code, str(error)) == (UNAVAILABLE, "`crm://a` was not found, and `crm` cannot be asked now: try again later")


def test_nobody_answers_for_an_upstream_that_is_down_and_was_never_asked(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    crm.failing = NotSent("it is down")
    notes.lists["resources"].append(resource("crm://a"))
    error = refused(w, "resources/read", {"uri": "crm://a"})
    assert (error.code, str(error)) == (
        UNAVAILABLE,
        "`crm://a` is offered by `notes`, and it is not known whether `crm` offers it too: ask at `/mcp/notes`, or try again later",
    )
    assert "resources/read" not in notes.methods()


def test_an_upstream_that_lists_too_much_may_have_what_is_not_found_in_it(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ITEMS_LIMIT", 1)
    crm, notes = stock(w)
    crm.lists["resources"] = [resource("crm://x"), resource("notes://a")]
    notes.lists["resources"] = [resource("notes://a")]
    assert "not known whether `crm` offers it too" in str(refused(w, "resources/read", {"uri": "notes://a"}))


Answer = Callable[[str, JsonObject], JsonObject]


def _endless(_: str, params: JsonObject) -> JsonObject:
    number = int(params.get("cursor", "0"))
    return {"resources": [resource(f"crm://{number}")], "nextCursor": str(number + 1)}


def _broken_off(_: str, params: JsonObject) -> JsonObject:
    if "cursor" in params:
        raise Refused({"code": -32_603, "message": "out of order"})
    return {"resources": [resource("crm://a")], "nextCursor": "2"}


def _refused(*_: object) -> JsonObject:
    raise Refused({"code": -32_603, "message": "out of order"})


def _unknown_later(_: str, params: JsonObject) -> JsonObject:
    if "cursor" in params:
        raise Refused({"code": -32_601, "message": "no such method"})
    return {"resources": [resource("crm://a")], "nextCursor": "2"}


PARTS: dict[str, Answer] = {
    "more pages than are read": _endless,
    "a later page refused": _broken_off,
    "a later page of no method": _unknown_later,
    "the first page refused": _refused,
    "a page of too many": lambda *_: {"resources": [resource(f"crm://{number}") for number in range(offers.ITEMS_LIMIT + 1)]},
    "a cursor that repeats": lambda *_: {"resources": [resource("crm://a")], "nextCursor": "1"},
    "a cursor that is too long": lambda *_: {"resources": [resource("crm://a")], "nextCursor": "x" * (offers.CURSOR_LIMIT + 1)},
    "a cursor that is none": lambda *_: {"resources": [resource("crm://a")], "nextCursor": 2},
}


@pytest.mark.parametrize("method", ["resources/list", "resources/templates/list"])
@pytest.mark.parametrize("part", PARTS)
def test_who_lists_what_another_upstream_may_have_is_not_given_the_read(w: GatewayWorld, part: str, method: str) -> None:
    crm, notes = stock(w)
    notes.lists["resources"].append(resource("crm://further/on"))

    async def answering(asked: str, params: Mapping[str, Any], voyage: Any) -> JsonObject:
        if asked != method:
            return await crm(asked, params, voyage)
        answer = PARTS[part](asked, dict(params))
        items = answer.pop("resources")
        return answer | (
            {"resources": items} if method == "resources/list" else {"resourceTemplates": [{"uriTemplate": one["uri"]} for one in items]}
        )

    w.upstreams.crm.answering = answering
    error = refused(w, "resources/read", {"uri": "crm://further/on"})
    assert error.code == UNAVAILABLE
    assert "is offered by `notes`, and it is not known whether `crm` offers it too" in str(error)
    assert "resources/read" not in notes.methods()


def test_a_template_that_is_too_long_to_be_read_may_make_what_is_asked_for(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    crm.lists["resourceTemplates"] = [{"uriTemplate": "crm://further/{" + "x" * offers.NAME_LIMIT + "}"}]
    notes.lists["resources"].append(resource("crm://further/on"))
    assert refused(w, "resources/read", {"uri": "crm://further/on"}).code == UNAVAILABLE
    assert "resources/read" not in notes.methods()


def test_a_list_that_its_upstream_does_not_have_hides_nothing(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    del crm.lists["resourceTemplates"]
    ask(w, "resources/read", {"uri": "notes://1"})
    assert "resources/read" in notes.methods()


def test_what_an_upstream_listed_before_it_went_down_is_still_its_own(w: GatewayWorld) -> None:
    crm, notes = stock(w)

    async def go() -> None:
        await w.ask("resources/read", {"uri": "crm://a"})
        crm.failing = NotSent("it is down")
        notes.lists["resources"].append(resource("crm://a"))
        for upstream in (w.upstreams.crm, w.upstreams.notes):
            assert w.upstreams.told is not None
            w.upstreams.told(upstream, "notifications/resources/list_changed", {})
        with pytest.raises(RpcError, match="offered by `crm`, `notes`"):
            await w.ask("resources/read", {"uri": "crm://a"})

    asyncio.run(go())
    assert "resources/read" not in notes.methods()


def test_many_who_ask_at_once_read_a_list_once(w: GatewayWorld) -> None:
    crm, _ = stock(w)

    async def go() -> None:
        await asyncio.gather(*[w.ask("resources/read", {"uri": "crm://a"}) for _ in range(5)])

    asyncio.run(go())
    assert crm.methods().count("resources/list") == 1


def test_what_is_remembered_of_upstreams_is_bounded(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "REMEMBERED_LIMIT", 6)
    crm, _ = stock(w)

    async def go() -> None:
        for agent in ("bot", "writer", "bot"):
            await w.ask("resources/read", {"uri": "crm://a"}, agent=agent)

    asyncio.run(go())
    assert crm.methods().count("resources/list") == 3


def test_a_prompt_is_got_from_the_upstream_that_its_name_begins_with(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    ask(w, "prompts/get", {"name": "notes__greet", "arguments": {"who": "x"}})
    assert (crm.asked, notes.asked) == ([], [("prompts/get", {"name": "greet", "arguments": {"who": "x"}})])
    assert recorded(w) == [("call", "notes.prompts.get")]


def test_at_the_address_of_an_upstream_prompts_have_their_own_names(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    ask(w, "prompts/get", {"name": "greet"}, upstream="crm")
    assert crm.asked == [("prompts/get", {"name": "greet"})]


@pytest.mark.parametrize("name", ["greet", "nope__greet", "", "__greet"])
def test_a_prompt_of_no_upstream_is_an_error(w: GatewayWorld, name: str) -> None:
    stock(w)
    error = refused(w, "prompts/get", {"name": name})
    assert (error.code, str(error)) == (INVALID_PARAMS, f"there is no prompt `{name}` here: prompts are called `upstream__prompt`")


def test_a_prompt_that_is_denied_is_recorded(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    assert refused(w, "prompts/get", {"name": "crm__farewell"}).code == NOT_PERMITTED
    assert recorded(w) == [("denial", "crm.prompts.get")]
    assert crm.asked == []


ARGUMENT = {"name": "who", "value": "a"}


def test_a_prompts_completion_goes_to_its_upstream_under_its_own_name(w: GatewayWorld) -> None:
    _, notes = stock(w)
    ask(w, "completion/complete", {"ref": {"type": "ref/prompt", "name": "notes__greet"}, "argument": ARGUMENT})
    assert notes.asked == [("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": ARGUMENT})]


@pytest.mark.parametrize("uri", ["crm://customer/{id}", "crm://customer/C-1", "crm://a"])
def test_a_templates_completion_goes_to_the_upstream_that_has_it(w: GatewayWorld, uri: str) -> None:
    crm, notes = stock(w)
    sent = {"ref": {"type": "ref/resource", "uri": uri}, "argument": ARGUMENT}
    ask(w, "completion/complete", sent)
    assert ("completion/complete", sent) in crm.asked
    assert "completion/complete" not in notes.methods()


@pytest.mark.parametrize("ref", [None, 1, {}, {"type": "ref/tool", "name": "crm__get"}, {"type": "ref/prompt"}, {"type": "ref/resource"}])
def test_a_completion_of_nothing_is_an_error(w: GatewayWorld, ref: Any) -> None:
    stock(w)
    assert refused(w, "completion/complete", {"ref": ref, "argument": ARGUMENT}).code == INVALID_PARAMS
