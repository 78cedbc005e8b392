"""Held calls of each kind of client: told what is held and where to decide, waited for, confirmed by the user, and never approved by the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.gateway.answers import META_CALL
from licet.gateway.link import ClientFacts
from licet.gateway.messages import NOT_PERMITTED, RpcError
from licet.gateway.request_state import StateRefused
from licet.gateway.rounds import Rounds
from licet.model import JsonObject, RequestState
from licet.testing import vote
from tests.gateway.holding import (
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
from tests.gateway.world import CONFIG, LEGACY, MODERN, FakeLink, GatewayWorld, gateway_world

S = RequestState


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=SLOW, policies=CONFIRMED) as world:
        yield world


class Watched(FakeLink):
    """A client of which a test wants to know when it is told or asked something."""

    def __init__(self, client: ClientFacts, answers: Mapping[str, JsonObject] | None = None) -> None:
        super().__init__(client, answers)
        self.is_used = asyncio.Event()

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        await super().notify(method, params)
        self.is_used.set()

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        self.is_used.set()
        return await super().ask(requests)


# clients that can be asked nothing


def test_a_client_that_cannot_wait_is_told_at_once_what_is_held_and_that_calling_again_resumes(w: GatewayWorld) -> None:
    said = text(call(w))
    request = open_request(w)
    for words in (
        "held: ",
        "changes need a lead",
        "Nothing was done. ",
        f"Request `{request}`: it waits for 1 of `leads` until ",
        f"which is decided with `licet approvals show {request}`",
        "calling again with the same arguments goes on with it",
    ):
        assert words in said
    vote(w.gate, request, "lena")
    assert call(w)["content"][0]["text"] == "done"
    assert ran(w) == [{"id": "C-1", "amount": 500}]


def test_it_is_told_in_its_meta_that_the_call_is_held(w: GatewayWorld) -> None:
    told = call(w)["_meta"][META_CALL]
    assert (told["code"], told["receipt"]["log"], told["request"]) == ("held", "acme", open_request(w))
    assert w.records()[-1].envelope.kind == "hold"


def test_calling_again_before_anybody_decided_asks_nobody_anew(w: GatewayWorld) -> None:
    assert {text(call(w)) for _ in range(3)} == {text(call(w))}
    open_request(w)


@pytest.mark.parametrize(
    ("more", "where"),
    [
        (
            '[server]\npublic_url = "https://licet.example.com"\n',
            "decided at https://licet.example.com or with `licet approvals show {id}`",
        ),
        (
            '[notify]\nlink = "https://ok.example.com/r/{request}"\n',
            "decided at https://ok.example.com/r/{id} or with `licet approvals show",
        ),
    ],
)
def test_it_is_told_where_people_decide(tmp_path: Path, more: str, where: str) -> None:
    with gateway_world(tmp_path, config=SLOW + more) as w:
        assert where.replace("{id}", open_request_of(w)) in text(call(w))


def open_request_of(w: GatewayWorld) -> str:
    call(w)
    return open_request(w)


def test_what_is_held_and_no_tool_is_an_error_with_the_same_text(tmp_path: Path) -> None:
    policies = (
        CONFIRMED
        + '@id("reading") @require_approval("1 of Group::\\"leads\\"") forbid (principal, action == Action::"crm.resources.read", resource);'
    )
    with gateway_world(tmp_path, config=SLOW, policies=policies) as w:
        asked = w.incoming("resources/read", {"uri": "file:///a"}, upstream="crm")
        with pytest.raises(RpcError) as caught:
            asyncio.run(w.gateway.answer(asked))
        assert caught.value.code == NOT_PERMITTED
        assert f"Request `{open_request(w)}`: it waits for 1 of `leads`" in str(caught.value)


# modern clients


def test_a_modern_client_comes_back_and_waits_until_people_have_decided(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        assert set(told) == {"resultType", "requestState"}
        waiting = asyncio.ensure_future(w.gateway.answer(retried(w, told)))
        await asyncio.sleep(0)
        assert ran(w) == []
        await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
        return await waiting

    result = asyncio.run(main())
    assert (result["resultType"], result["content"][0]["text"]) == ("complete", "done")
    assert ran(w) == [{"id": "C-1", "amount": 500}]
    assert [record.kind for record in w.records()][-2:] == ["intent", "outcome"]


def test_nothing_runs_while_a_modern_client_is_away(w: GatewayWorld) -> None:
    async def main() -> None:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
        await asyncio.sleep(0.1)
        assert ran(w) == []
        assert (await w.gateway.answer(retried(w, told)))["content"][0]["text"] == "done"

    asyncio.run(main())


def test_a_modern_client_that_was_rejected_is_told_that_calling_again_will_not_help(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        await asyncio.to_thread(w.gate.approvals.vote, open_request(w), "lena", "reject")
        return await w.gateway.answer(retried(w, told))

    said = text(asyncio.run(main()))
    assert "denied (rejected): `lena` rejected exactly this call" in said
    assert "will not help" in said
    assert ran(w) == []


def test_a_modern_client_is_told_in_words_once_its_time_is_over(tmp_path: Path) -> None:
    async def main(w: GatewayWorld) -> tuple[int, JsonObject]:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        rounds = 1
        while told["resultType"] == "input_required":
            told = await w.gateway.answer(retried(w, told))
            rounds += 1
        return rounds, told

    with gateway_world(tmp_path, config=CONFIG + "[gateway]\nhold_s = 0.06\n") as w:
        rounds, told = asyncio.run(main(w))
        assert "Nobody has decided within " in text(told)
        assert rounds < 10  # what official clients bear, the first request not counted
        open_request(w)


def test_a_client_is_told_at_once_where_nobody_is_to_wait(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=CONFIG + "[gateway]\nhold_s = 0\n", policies=CONFIRMED) as w:
        for client in (MODERN_FORMS, FORMS):
            for params in (SET, SURE):
                assert "Nothing was done" in text(call(w, params, client=client, answers={"confirm": YES, "held": YES}))
        assert [link.asked for link in w.links] == [[]] * 4


def test_a_withdrawn_request_is_not_opened_anew_by_who_waited_for_it(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        await asyncio.to_thread(w.gate.approvals.withdraw, open_request(w), "alice")
        return await w.gateway.answer(retried(w, told))

    said = text(asyncio.run(main()))
    assert "was withdrawn. Calling again asks people anew" in said
    assert w.gate.approvals.waiting("acme") == ()


def test_after_a_restart_a_modern_client_goes_on_waiting_for_the_same_request(tmp_path: Path) -> None:
    async def begin(w: GatewayWorld) -> JsonObject:
        return await w.gateway.answer(incoming(w, client=MODERN))

    async def go_on(w: GatewayWorld, told: JsonObject) -> JsonObject:
        again = await w.gateway.answer(retried(w, told))
        assert again["resultType"] == "input_required"  # afresh: nothing is known of the work, and nothing was done
        return await w.gateway.answer(retried(w, again))

    with gateway_world(tmp_path, config=SLOW) as w:
        told = asyncio.run(begin(w))
        request = open_request(w)
    with gateway_world(tmp_path, config=SLOW) as w:
        assert open_request(w) == request
        vote(w.gate, request, "lena")
        result = asyncio.run(w.gateway.answer(retried(w, told)))
        assert result["content"][0]["text"] == "done"
        assert len(ran(w)) == 1


def test_after_a_restart_a_call_that_an_upstream_had_is_not_made_again(tmp_path: Path) -> None:
    async def asking(method: str, params: Any, voyage: Any) -> JsonObject:
        request = {"method": "elicitation/create", "params": {"message": "sure?", "requestedSchema": {"type": "object"}}}
        return {"resultType": "input_required", "inputRequests": {"q": request}, "requestState": "upstream's"}

    params = {"name": "crm__ask", "arguments": {}}
    with gateway_world(tmp_path, config=SLOW) as w:
        w.upstreams.crm.answering = asking
        told = asyncio.run(w.gateway.answer(incoming(w, params, client=MODERN_FORMS)))
        assert "upstream's" not in told["requestState"]
    with gateway_world(tmp_path, config=SLOW) as w:
        with pytest.raises(StateRefused) as caught:
            asyncio.run(w.gateway.answer(retried(w, told, params, {"q": YES}, client=MODERN_FORMS)))
        assert "it may have happened" in str(caught.value).lower()
        assert "waited for an answer, and its outcome is unknown here" in str(caught.value)
        assert ran(w) == []


def test_the_call_that_an_upstream_had_is_named_in_full(w: GatewayWorld) -> None:
    async def asking(method: str, params: Any, voyage: Any) -> JsonObject:
        return {"resultType": "input_required", "requestState": "again"}

    async def main() -> JsonObject:
        return await w.gateway.answer(incoming(w, {"name": "crm__set", "arguments": {"id": "C-1", "amount": 1}}, client=MODERN))

    w.upstreams.crm.answering = asking
    told = asyncio.run(main())
    intent = next(record for record in w.records() if record.kind == "intent")
    w.gateway.rounds = Rounds(w.gate)  # type: ignore[misc]  # as another process of the same gateway has it
    with pytest.raises(StateRefused, match=f"call `{intent.envelope.call}` waited for an answer"):
        asyncio.run(w.gateway.answer(retried(w, told, {"name": "crm__set", "arguments": {"id": "C-1", "amount": 1}})))


def test_a_modern_client_that_wants_to_know_is_told_that_it_waits(w: GatewayWorld) -> None:
    async def main() -> None:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        link = Watched(MODERN)
        again = replace(retried(w, told, SET | {"_meta": {"progressToken": "t"}}), link=link)
        waiting = asyncio.ensure_future(w.gateway.answer(again))
        await link.is_used.wait()
        ((method, params),) = link.told
        assert (method, params["progressToken"]) == ("notifications/progress", "t")
        assert -100 <= params["progress"] < 0
        assert params["message"] == "held: waiting for people to decide"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert ran(w) == []
    open_request(w)


# legacy clients with forms


class Dialog(FakeLink):
    """A client whose user has not answered yet."""

    def __init__(self) -> None:
        super().__init__(FORMS)
        self.is_open = asyncio.Event()
        self.was_closed = False

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        self.asked.append(requests)
        self.is_open.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_closed = True
        raise AssertionError


def test_a_legacy_client_with_forms_is_told_once_and_waits(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        waiting = asyncio.ensure_future(w.gateway.answer(replace(incoming(w), link=link)))
        await link.is_used.wait()
        await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
        return await waiting

    link = Watched(FORMS, {"held": {"action": "accept", "content": {}}})
    assert asyncio.run(main())["content"][0]["text"] == "done"
    ((form,),) = [list(asked.values()) for asked in link.asked]
    assert form["params"]["requestedSchema"] == {"type": "object", "properties": {}}
    for words in ("writer for alice asks to use `crm__set`", "1 of `leads`", "licet approvals show", "Accept to wait"):
        assert words in form["params"]["message"]


@pytest.mark.parametrize("action", ["decline", "cancel", "what"])
def test_who_does_not_want_to_wait_is_told_at_once_and_the_request_stays(w: GatewayWorld, action: str) -> None:
    assert "Nothing was done" in text(call(w, client=FORMS, answers={"held": {"action": action}}))
    assert w.gate.approvals.show(open_request(w)).request.state is S.OPEN


def test_a_form_that_nobody_answers_is_taken_back_when_people_decide(w: GatewayWorld) -> None:
    async def main() -> tuple[Dialog, JsonObject]:
        link = Dialog()
        waiting = asyncio.ensure_future(w.gateway.answer(replace(incoming(w), link=link)))
        await link.is_open.wait()
        await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
        return link, await waiting

    link, result = asyncio.run(main())
    assert link.was_closed
    assert result["content"][0]["text"] == "done"


def test_no_address_stands_in_a_form(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=SLOW + '[server]\npublic_url = "https://licet.example.com"\n') as w:
        call(w, client=FORMS, answers={"held": {"action": "cancel"}})
        message = w.links[-1].asked[0]["held"]["params"]["message"]
        assert "://" not in message
        assert "on licet.example.com, or with `licet approvals show" in message


def test_a_client_that_is_gone_meanwhile_leaves_the_request_and_runs_nothing(w: GatewayWorld) -> None:
    async def main() -> None:
        link = Dialog()
        waiting = asyncio.ensure_future(w.gateway.answer(replace(incoming(w), link=link)))
        await link.is_open.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert link.was_closed

    asyncio.run(main())
    vote(w.gate, open_request(w), "lena")
    assert ran(w) == []


def test_a_frozen_agent_is_told_that_calling_again_helps_once_it_is_lifted(w: GatewayWorld) -> None:
    w.gate.freeze("agent", "writer", reason="it loops")
    assert text(call(w)).endswith("Calling again will not help until the freeze is lifted")


def test_who_waits_is_told_at_once_that_it_was_frozen(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        waiting = asyncio.ensure_future(w.gateway.answer(retried(w, told)))
        await asyncio.sleep(0)
        await asyncio.to_thread(w.gate.freeze, "agent", "writer", reason="it loops")
        return await waiting

    assert "denied (frozen): " in text(asyncio.run(main()))
    assert ran(w) == []


def test_an_approval_that_somebody_else_used_is_asked_for_anew_by_calling_again(w: GatewayWorld) -> None:
    async def main() -> JsonObject:
        told = await w.gateway.answer(incoming(w, client=MODERN))
        await asyncio.to_thread(vote, w.gate, open_request(w), "lena")
        assert (await w.gateway.answer(incoming(w)))["content"][0]["text"] == "done"  # the same call, made by the same agent elsewhere
        return await w.gateway.answer(retried(w, told))

    assert "the approval used by the same call, made elsewhere. Calling again asks people anew" in text(asyncio.run(main()))
    assert len(ran(w)) == 1


def test_a_form_that_nobody_answers_is_closed_when_the_time_is_over(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=SLOW.replace("hold_s = 600", "hold_s = 0.02")) as w:
        link = Dialog()
        said = text(asyncio.run(w.gateway.answer(replace(incoming(w), link=link))))
        assert "Nobody has decided within " in said
        assert link.was_closed


def test_a_call_that_may_be_previewed_only_is_nobodys_to_decide(tmp_path: Path) -> None:
    policies = CONFIRMED + '@id("look") @preview_only forbid (principal, action == Action::"crm__set", resource);'
    with gateway_world(tmp_path, config=SLOW, policies=policies) as w:
        for client in (LEGACY, FORMS, MODERN):
            said = text(call(w, {"name": "crm__set", "arguments": {"id": "C-1", "amount": 1}}, client=client))
            assert "nobody can be asked: calling again will not help" in said
        assert (w.gate.approvals.waiting("acme"), ran(w)) == ((), [])
