"""Calls that a user confirms in the client: that user, exactly this call, once, and in the record as what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.errors import StoreUnavailable
from licet.gate.acting import acting_as
from licet.gate.writable import whoever_runs_this
from licet.gateway.link import CannotAsk, ClientFacts
from licet.gateway.rounds import Rounds
from licet.identity.authenticated import AskedCaller, Authenticated
from licet.model import JsonObject
from licet.testing import vote
from tests.gateway.holding import (
    BOTH,
    CONFIRMED,
    FORMS,
    MODERN_FORMS,
    SET,
    SLOW,
    SURE,
    YES,
    call,
    incoming,
    open_request,
    ran,
    retried,
    text,
)
from tests.gateway.world import CRM, MODERN, NOTES, FakeLink, GatewayWorld, gateway_world


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=SLOW, policies=CONFIRMED) as world:
        yield world


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_confirmation_is_asked_of_the_user_in_the_client_and_recorded_as_theirs_through_it(w: GatewayWorld, era: str) -> None:
    result = confirmed(w, SURE, YES, era)
    assert result["content"][0]["text"] == "done"
    assert ran(w) == [{"id": "C-5", "amount": 5}]
    (record,) = [record for record in w.records() if record.kind == "vote"]
    assert record.payload.detail is not None
    cast = record.payload.detail["vote"]
    assert (cast["voter"], cast["verdict"], cast["channel"], cast["credential"], cast["operating_user"]) == (
        "alice",
        "approve",
        "mcp",
        "k-1",
        None,
    )


def confirmed(w: GatewayWorld, params: JsonObject, answer: JsonObject, era: str = "legacy", **how: Any) -> JsonObject:
    """The result of a call whose user answers so when they are asked to confirm it."""
    if era == "legacy":
        return call(w, params, client=FORMS, answers={"confirm": answer}, **how)

    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, params, client=MODERN_FORMS, **how))
        assert list(told["inputRequests"]) == ["confirm"]
        return await w.gateway.answer(retried(w, told, params, {"confirm": answer}, client=MODERN_FORMS, **how))

    return asyncio.run(main())


def test_who_confirms_is_shown_the_whole_call(w: GatewayWorld) -> None:
    confirmed(w, SURE, {"action": "cancel"})
    message = w.links[-1].asked[0]["confirm"]["params"]["message"]
    for words in (
        'writer for alice asks to use `crm__set` on Customer::"C-5"',
        '"id": "C-5"',
        '"amount": 5',
        "why you are asked: it is your customer",
        "recorded as yours, for this call alone, once",
    ):
        assert words in message


@pytest.mark.parametrize("answer", [{"action": "decline"}, {"action": "accept", "content": {"confirm": False}}])
def test_a_no_is_a_rejection_by_the_user(w: GatewayWorld, answer: JsonObject) -> None:
    said = text(confirmed(w, SURE, answer))
    assert "denied (rejected): `alice` rejected exactly this call" in said
    assert ran(w) == []
    (record,) = [record for record in w.records() if record.kind == "vote"]
    assert record.envelope.approval is not None
    assert record.envelope.approval.verdict == "reject"


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "cancel"},
        {"action": "accept"},
        {"action": "accept", "content": {}},
        {"action": "accept", "content": {"confirm": "yes"}},
        {"action": "accept", "content": {"confirm": 1}},
        {"action": "accept", "content": [True]},
        {"action": "approve", "content": {"confirm": True}},
        {"content": {"confirm": True}},
        {},
    ],
)
def test_an_answer_that_says_neither_is_no_vote(w: GatewayWorld, answer: JsonObject) -> None:
    said = text(confirmed(w, SURE, answer))
    assert "it waits for the confirmation of the user whom the call is made for" in said
    assert [record.kind for record in w.records()] == ["hold"]
    assert ran(w) == []


def test_a_user_whom_a_request_chose_is_not_asked_in_the_client(w: GatewayWorld) -> None:
    said = text(call(w, SURE, client=FORMS, answers={"confirm": YES, "held": {"action": "cancel"}}, is_named=False))
    assert "it waits for the confirmation" in said
    assert [list(asked) for asked in w.links[-1].asked] == [["held"]]
    assert ran(w) == []


def test_where_nobody_acts_for_a_user_nobody_is_asked(tmp_path: Path) -> None:
    policies = CONFIRMED.replace("forbid (principal, action", "forbid (principal is Agent, action")
    config = SLOW.replace("[agents.writer]", '[agents.writer]\nacts_for = "both"')
    with gateway_world(tmp_path, config=config, policies=policies) as w:
        said = text(call(w, SURE, client=FORMS, answers={"confirm": YES}, user=None))
        assert "there is none who can" in said
        assert w.links[-1].asked == []
        assert ran(w) == []


def test_a_program_that_shows_no_credential_leaves_the_operating_user(w: GatewayWorld) -> None:
    confirmed(w, SURE, YES, credential=None)
    (record,) = [record for record in w.records() if record.kind == "vote"]
    assert record.payload.detail is not None
    cast = record.payload.detail["vote"]
    assert (cast["credential"], cast["operating_user"], cast["channel"]) == (None, whoever_runs_this().name, "mcp")


def test_a_confirmation_does_for_one_call(w: GatewayWorld) -> None:
    confirmed(w, SURE, YES)
    said = text(confirmed(w, SURE, {"action": "cancel"}))
    assert "it waits for the confirmation" in said
    assert len(ran(w)) == 1


def test_what_is_confirmed_and_needs_approval_too_waits_for_it(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, BOTH, client=MODERN_FORMS))
        told = await w.gateway.answer(retried(w, told, BOTH, {"confirm": YES}, client=MODERN_FORMS))
        assert set(told) == {"resultType", "requestState"}
        assert ran(w) == []
        await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
        return await w.gateway.answer(retried(w, told, BOTH, client=MODERN_FORMS))

    assert asyncio.run(main())["content"][0]["text"] == "done"
    assert ran(w) == [{"id": "C-5", "amount": 500}]


def test_an_approval_is_never_asked_of_the_user_in_the_client(w: GatewayWorld) -> None:
    call(w, SET, client=FORMS, answers={"confirm": YES, "held": {"action": "cancel"}})
    assert [list(asked) for asked in w.links[-1].asked] == [["held"]]
    assert w.gate.approvals.show(open_request(w)).votes == ()


def test_a_call_that_cannot_be_shown_whole_is_not_confirmed_in_the_client(tmp_path: Path) -> None:
    text_, number = {"type": "string"}, {"type": "integer"}
    schema = {"type": "object", "properties": {"id": text_, "amount": number, "note": text_}, "required": ["id", "amount"]}
    pinned = {"crm": [CRM[0], {"name": "set", "inputSchema": schema}, *CRM[2:]], "notes": NOTES}
    with gateway_world(tmp_path, config=SLOW, policies=CONFIRMED, pinned=pinned) as w:
        w.upstreams.crm.tools = pinned["crm"]
        params = {"name": "crm__set", "arguments": {"id": "C-5", "amount": 5, "note": "x" * 5_000}}
        said = text(call(w, params, client=FORMS, answers={"confirm": YES, "held": {"action": "cancel"}}))
        assert "it waits for the confirmation" in said
        assert [list(asked) for asked in w.links[-1].asked] == [["held"]]
        hidden = {"name": "crm__set", "arguments": {"id": "C-5", "amount": 5, "note": "\u202eevil\u200b\nconfirm: fine"}}
        call(w, hidden, client=FORMS, answers={"confirm": {"action": "cancel"}})
        message = w.links[-1].asked[0]["confirm"]["params"]["message"]
        assert "\\u{202e}evil\\u{200b}\\nconfirm: fine" in message


def test_where_there_is_no_room_to_wait_a_modern_client_is_told_at_once(w: GatewayWorld) -> None:
    w.gateway.rounds = Rounds(w.gate, parked=0)  # type: ignore[misc]  # nobody else is to be waited for first
    said = text(call(w, client=MODERN))
    assert f"Request `{open_request(w)}`" in said


def test_a_client_that_breaks_off_its_answer_has_confirmed_nothing(w: GatewayWorld) -> None:
    class Refusing(FakeLink):
        async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            raise CannotAsk("the client refused")

    link = Refusing(ClientFacts(era="legacy", version="2025-11-25", capabilities={"elicitation": {}}))
    said = text(asyncio.run(w.gateway.answer(replace(incoming(w, SURE), link=link))))
    assert "Nothing was done" in said
    assert ran(w) == []


def test_a_vote_on_what_has_moved_meanwhile_does_not_count(w: GatewayWorld) -> None:
    class Slow(FakeLink):
        async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            await asyncio.to_thread(w.gate.approvals.withdraw, open_request(w), "alice")
            return {"confirm": YES}

    link = Slow(FORMS)
    said = text(asyncio.run(w.gateway.answer(replace(incoming(w, SURE), link=link))))
    assert "was withdrawn" in said
    assert [record.kind for record in w.records()] == ["hold", "expiry"]
    assert ran(w) == []


@pytest.mark.parametrize(
    ("scope", "asked", "named"),
    [
        ({"users": ("alice",)}, None, "alice"),
        ({"users": ("alice",)}, "alice", "alice"),
        ({"users": ("alice", "carl")}, "alice", None),
        ({"users": ("*",)}, "alice", None),
        ({"users": ("*",)}, None, None),
        ({"users": ()}, None, None),
        ({"users": ("alice", "carl"), "user": "alice"}, "alice", "alice"),
        ({"users": ("alice", "carl"), "user": "alice"}, "carl", None),
    ],
)
def test_a_user_is_named_by_a_credential_for_nobody_else(scope: dict[str, Any], asked: str | None, named: str | None) -> None:
    who = Authenticated(method="jwt", credential="k-1", tenants=("acme",), agents=("writer",), **scope)
    acting = acting_as(who, AskedCaller(user=asked))
    assert (acting.user if acting.is_named else None) == named


def test_who_takes_too_long_to_confirm_is_told_so_when_they_come_back(tmp_path: Path) -> None:
    async def main(w: GatewayWorld) -> JsonObject:
        told = await w.gateway.answer(incoming(w, SURE, client=MODERN_FORMS))
        await asyncio.sleep(0.1)
        return await w.gateway.answer(retried(w, told, SURE, {"confirm": YES}, client=MODERN_FORMS))

    with gateway_world(tmp_path, config=SLOW.replace("hold_s = 600", "hold_s = 0.02"), policies=CONFIRMED) as w:
        assert "it waits for the confirmation" in text(asyncio.run(main(w)))
        assert [record.kind for record in w.records()] == ["hold"]
        assert ran(w) == []


def test_a_yes_that_cannot_be_recorded_confirms_nothing(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr("licet.approvals.desk.Desk.vote", down)
    said = text(confirmed(w, SURE, YES))
    assert "Nothing was done" in said
    assert ran(w) == []
