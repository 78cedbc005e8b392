"""Work that waits for its client between two requests: begun once, gone on with once, and ended when nobody comes back."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.gate.acting import Acting
from licet.gateway.incoming import Incoming
from licet.gateway.link import CannotAsk, ClientFacts, Link
from licet.gateway.messages import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from licet.gateway.request_state import StateRefused
from licet.gateway.rounds import ROUNDS, TRIES, Rounds, ask_before, executing
from licet.model import CallId, JsonObject
from tests.gateway.world import CONFIG, FakeLink, GatewayWorld, gateway_world

CLIENT = ClientFacts(era="modern", version="2026-07-28", capabilities={"elicitation": {}, "roots": {}, "sampling": {}})
FORM: JsonObject = {"method": "elicitation/create", "params": {"message": "which?", "requestedSchema": {"type": "object"}}}
ROOTS: JsonObject = {"method": "roots/list"}
YES: JsonObject = {"action": "accept", "content": {"a": 1}}
CALL: JsonObject = {"name": "crm__ask", "arguments": {"a": 1}}


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path) as world:
        yield world


def incoming(w: GatewayWorld, params: JsonObject | None = None, **how: Any) -> Incoming:
    return w.incoming("tools/call", CALL if params is None else params, client=how.pop("client", CLIENT), **how)


def retry(w: GatewayWorld, told: JsonObject, responses: Mapping[str, Any] | None = None, **how: Any) -> Incoming:
    """The same request, made again with what was asked for."""
    params = CALL | {"requestState": told["requestState"]}
    return incoming(w, params if responses is None else params | {"inputResponses": responses}, **how)


def asking(*questions: Mapping[str, JsonObject], before: bool = False) -> Callable[[Incoming], Awaitable[JsonObject]]:
    """Work that asks these, one after the other, and answers with what it was told."""

    async def work(incoming: Incoming) -> JsonObject:
        link = incoming.link
        return {"answers": [dict(await (ask_before(link, one) if before else link.ask(one))) for one in questions]}

    return work


async def never(incoming: Incoming) -> JsonObject:
    raise AssertionError("this work is not begun anew")


def test_work_that_asks_nothing_is_answered_at_once(w: GatewayWorld) -> None:
    assert asyncio.run(Rounds(w.gate).answer(incoming(w), asking())) == {"answers": []}


def test_what_was_answered_is_let_go_without_the_collector(w: GatewayWorld) -> None:
    kept: list[weakref.ref[Link]] = []

    async def work(incoming: Incoming) -> JsonObject:
        kept.append(weakref.ref(incoming.link))
        return {}

    async def main() -> None:
        await Rounds(w.gate).answer(incoming(w), work)
        await asyncio.sleep(0)  # callbacks of what has ended
        assert kept[0]() is None

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_who_asks_after_the_answer_is_told_that_it_is_too_late(w: GatewayWorld) -> None:
    links: list[Link] = []

    async def work(incoming: Incoming) -> JsonObject:
        links.append(incoming.link)
        return {}

    async def main() -> None:
        await Rounds(w.gate).answer(incoming(w), work)
        with pytest.raises(CannotAsk, match="answered already"):
            await links[0].ask({"q": FORM})

    asyncio.run(main())


def test_a_question_is_answered_with_input_required_and_the_retry_goes_on_with_the_same_work(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), asking({"q": FORM}))
        assert (told["resultType"], told["inputRequests"]) == ("input_required", {"q": FORM})
        assert await rounds.answer(retry(w, told, {"q": YES, "unasked": {}}), never) == {"answers": [{"q": YES}]}

    asyncio.run(main())


def test_work_sees_nothing_that_belongs_to_a_round(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        return dict(incoming.params)

    sent = incoming(w, CALL | {"inputResponses": {"q": YES}, "_meta": {"x": 1}})
    result = asyncio.run(Rounds(w.gate).answer(sent, work))
    assert (set(result), result["_meta"]["x"]) == ({"name", "arguments", "_meta"}, 1)


def test_waiting_for_the_client_to_come_back_asks_it_nothing(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), asking({}, {}))
        assert set(told) == {"resultType", "requestState"}
        again = await rounds.answer(retry(w, told), never)
        assert set(again) == {"resultType", "requestState"}
        assert again["requestState"] != told["requestState"]
        assert await rounds.answer(retry(w, again), never) == {"answers": [{}, {}]}

    asyncio.run(main())


def test_two_that_ask_at_once_are_asked_together_under_keys_of_their_own(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        first, second = await asyncio.gather(incoming.link.ask({"q": FORM}), incoming.link.ask({"q": ROOTS}))
        return {"first": first, "second": second}

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), work)
        if len(told["inputRequests"]) == 1:  # the second had not asked yet
            told = await rounds.answer(retry(w, told), never)
        assert told["inputRequests"] == {"q": FORM, "q-1": ROOTS}
        result = await rounds.answer(retry(w, told, {"q": YES, "q-1": {"roots": []}}), never)
        assert result == {"first": {"q": YES}, "second": {"q": {"roots": []}}}

    asyncio.run(main())


def test_an_answer_that_is_missing_is_asked_for_again_and_not_for_ever(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), asking({"a": FORM, "b": FORM}))
        told = await rounds.answer(retry(w, told, {"a": YES}), never)
        assert told["inputRequests"] == {"b": FORM}
        for _ in range(TRIES - 2):
            told = await rounds.answer(retry(w, told), never)
        with pytest.raises(CannotAsk, match="came back without an answer"):
            await rounds.answer(retry(w, told), never)

    asyncio.run(main())


@pytest.mark.parametrize("responses", [[], "x", {"q": None}, {"q": "accept"}, {"q": [YES]}])
def test_answers_that_are_none_are_refused_and_use_nothing_up(w: GatewayWorld, responses: Any) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), asking({"q": FORM}))
        with pytest.raises(RpcError, match="`inputResponses` is an object") as caught:
            await rounds.answer(retry(w, told, responses), never)
        assert caught.value.code == INVALID_PARAMS
        assert await rounds.answer(retry(w, told, {"q": YES}), never) == {"answers": [{"q": YES}]}

    asyncio.run(main())


def test_a_state_is_used_once_while_its_work_goes_on_and_after_its_end(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate)
        first = await rounds.answer(incoming(w), asking({}, {"q": FORM}, before=True))
        second = await rounds.answer(retry(w, first), never)
        with pytest.raises(StateRefused, match="used already"):
            await rounds.answer(retry(w, first), never)
        await rounds.answer(retry(w, second, {"q": YES}), never)
        for state in (first, second):
            with pytest.raises(StateRefused, match="used already"):
                await rounds.answer(retry(w, state, {"q": YES}), never)

    asyncio.run(main())


def test_of_two_retries_at_once_one_goes_on(w: GatewayWorld) -> None:
    going_on = asyncio.Event()

    async def work(incoming: Incoming) -> JsonObject:
        await incoming.link.ask({"q": FORM})
        await going_on.wait()
        return {}

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), work)
        first = asyncio.ensure_future(rounds.answer(retry(w, told, {"q": YES}), never))
        await asyncio.sleep(0)
        with pytest.raises(StateRefused, match="used already"):
            await rounds.answer(retry(w, told, {"q": YES}), never)
        going_on.set()
        assert await first == {}

    asyncio.run(main())


def test_a_state_of_somebody_else_goes_on_with_nothing_and_leaves_it_to_its_owner(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), asking({"q": FORM}))
        for other in (
            retry(w, told, {"q": YES}, user="lena"),
            replace(retry(w, told, {"q": YES}), acting=Acting(tenant="globex", agent="bot", user="alice")),
            incoming(w, CALL | {"arguments": {"a": 2}, "requestState": told["requestState"]}),
        ):
            with pytest.raises(StateRefused, match="is not of this request"):
                await rounds.answer(other, never)
        assert await rounds.answer(retry(w, told, {"q": YES}), never) == {"answers": [{"q": YES}]}

    asyncio.run(main())


def test_after_a_restart_a_request_of_which_nothing_was_done_is_answered_afresh(w: GatewayWorld) -> None:
    async def main() -> None:
        told = await Rounds(w.gate).answer(incoming(w), asking({}, before=True))
        assert await Rounds(w.gate).answer(retry(w, told), asking()) == {"answers": []}

    asyncio.run(main())


def test_after_a_restart_a_call_that_may_have_happened_is_refused_and_named(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        executing(incoming.link, CallId("c-77"))
        return dict(await incoming.link.ask({"q": FORM}))

    async def main() -> None:
        told = await Rounds(w.gate).answer(incoming(w), work)
        with pytest.raises(StateRefused) as caught:
            await Rounds(w.gate).answer(retry(w, told, {"q": YES}), never)
        assert caught.value.code == INVALID_PARAMS
        for words in ("call `c-77` waited for an answer", "its outcome is unknown here", "look before calling again"):
            assert words in str(caught.value)

    asyncio.run(main())


def test_what_is_asked_once_an_upstream_has_the_call_is_never_taken_for_nothing_done(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        executing(incoming.link, CallId("c-78"))
        return dict(await ask_before(incoming.link, {}))

    async def main() -> None:
        told = await Rounds(w.gate).answer(incoming(w), work)
        with pytest.raises(StateRefused, match="call `c-78` waited"):
            await Rounds(w.gate).answer(retry(w, told), never)

    asyncio.run(main())


def test_a_client_that_goes_away_while_it_is_answered_has_cancelled_the_work(w: GatewayWorld) -> None:
    seen: list[str] = []
    begun = asyncio.Event()

    async def work(incoming: Incoming) -> JsonObject:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("recorded")
            raise
        return {}

    async def main() -> None:
        request = asyncio.ensure_future(Rounds(w.gate).answer(incoming(w), work))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert seen == ["recorded"]

    asyncio.run(main())


def test_a_client_that_goes_away_in_a_later_round_has_cancelled_it_too(w: GatewayWorld) -> None:
    seen: list[str] = []
    begun = asyncio.Event()

    async def work(incoming: Incoming) -> JsonObject:
        await incoming.link.ask({"q": FORM})
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")
        return {}

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), work)
        request = asyncio.ensure_future(rounds.answer(retry(w, told, {"q": YES}), never))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert seen == ["ended"]

    asyncio.run(main())


def test_parked_work_whose_client_does_not_come_back_is_ended(w: GatewayWorld) -> None:
    ended = asyncio.Event()

    async def work(incoming: Incoming) -> JsonObject:
        try:
            await incoming.link.ask({"q": FORM})
        finally:
            ended.set()
        return {}

    async def main() -> None:
        rounds = Rounds(w.gate, lifetime_s=0.01)
        told = await rounds.answer(incoming(w), work)
        await ended.wait()
        with pytest.raises(StateRefused):
            await rounds.answer(retry(w, told, {"q": YES}), never)

    asyncio.run(main())


def test_work_that_ends_while_it_is_parked_is_answered_to_who_comes_back(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        try:
            async with asyncio.timeout(0.01):
                await incoming.link.ask({"q": FORM})
        except TimeoutError:
            ended.set()
        return {"ended": True}

    ended = asyncio.Event()

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), work)
        await ended.wait()
        assert await rounds.answer(retry(w, told, {"q": YES}), never) == {"ended": True}

    asyncio.run(main())


def test_what_work_raises_is_its_clients(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        await incoming.link.ask({})
        raise RpcError(INVALID_PARAMS, "no such thing")

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), work)
        with pytest.raises(RpcError, match="no such thing"):
            await rounds.answer(retry(w, told), never)

    asyncio.run(main())


def test_what_is_parked_is_bounded_for_each_caller_and_in_all(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate, parked=3, parked_each=2)
        told = [await rounds.answer(incoming(w), asking({"q": FORM})) for _ in range(2)]
        with pytest.raises(CannotAsk, match="too many calls wait"):
            await rounds.answer(incoming(w), asking({"q": FORM}))
        await rounds.answer(incoming(w, user="lena"), asking({"q": FORM}))
        with pytest.raises(CannotAsk, match="too many calls wait"):
            await rounds.answer(incoming(w, user=None), asking({"q": FORM}))
        await rounds.answer(retry(w, told[0], {"q": YES}), never)
        assert "requestState" in await rounds.answer(incoming(w), asking({"q": FORM}))
        await rounds.close()

    asyncio.run(main())


def test_one_agent_takes_no_more_room_by_naming_more_users(w: GatewayWorld) -> None:
    async def main() -> None:
        rounds = Rounds(w.gate, parked=100, parked_each=2, parked_program=3)
        for user in ("alice", "lena", None):
            await rounds.answer(incoming(w, user=user), asking({"q": FORM}))
        with pytest.raises(CannotAsk, match="too many calls wait"):
            await rounds.answer(incoming(w, user="gina"), asking({"q": FORM}))
        await rounds.answer(incoming(w, agent="writer", user="gina"), asking({"q": FORM}))
        await rounds.close()

    asyncio.run(main())


def test_who_asks_without_end_is_stopped(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        while True:
            await incoming.link.ask({})

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w), work)
        for _ in range(ROUNDS - 1):
            told = await rounds.answer(retry(w, told), never)
        with pytest.raises(CannotAsk, match=f"asked {ROUNDS} times"):
            await rounds.answer(retry(w, told), never)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("capabilities", "request_"),
    [
        ({}, FORM),
        ({"elicitation": {"url": {}}}, FORM),
        ({"elicitation": {}}, {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x.example"}}),
        ({"elicitation": {}}, ROOTS),
        ({"sampling": {}}, {"method": "sampling/createMessage", "params": {"tools": []}}),
        ({"elicitation": {}}, {"method": "tools/list"}),
        ({"elicitation": {}}, {"method": 7}),
        ({"elicitation": True}, FORM),
    ],
)
def test_a_client_is_asked_nothing_that_it_did_not_declare(w: GatewayWorld, capabilities: JsonObject, request_: JsonObject) -> None:
    client = replace(CLIENT, capabilities=capabilities)
    with pytest.raises(CannotAsk, match="has not said that it can be asked"):
        asyncio.run(Rounds(w.gate).answer(incoming(w, client=client), asking({"q": request_})))


def test_a_round_is_told_of_progress_by_its_own_token(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/progress", {"progress": 1, "progressToken": "upstream's"})
        await incoming.link.ask({})
        await incoming.link.notify("notifications/progress", {"progress": 2})
        await incoming.link.notify("notifications/message", {"level": "info", "data": "x"})
        return {}

    async def main() -> None:
        rounds = Rounds(w.gate)
        told = await rounds.answer(incoming(w, CALL | {"_meta": {"progressToken": 5}}), work)
        await rounds.answer(incoming(w, CALL | {"requestState": told["requestState"], "_meta": {"progressToken": "six"}}), never)

    asyncio.run(main())
    assert w.links[0].told == [("notifications/progress", {"progress": 1, "progressToken": 5})]
    assert w.links[1].told == [
        ("notifications/progress", {"progress": 2, "progressToken": "six"}),
        ("notifications/message", {"level": "info", "data": "x"}),
    ]


def test_a_round_that_wants_no_progress_is_told_none(w: GatewayWorld) -> None:
    async def work(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/progress", {"progress": 1})
        return {}

    asyncio.run(Rounds(w.gate).answer(incoming(w), work))
    assert w.links[0].told == []


def test_closing_ends_what_is_parked_and_what_is_answered(w: GatewayWorld) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def work(incoming: Incoming) -> JsonObject:
        try:
            if incoming.params["arguments"] == {"a": 1}:
                await incoming.link.ask({})
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append("ended")
        return {}

    async def main() -> None:
        rounds = Rounds(w.gate)
        await rounds.answer(incoming(w), work)
        other = asyncio.ensure_future(rounds.answer(incoming(w, CALL | {"arguments": {}}), work))
        await begun.wait()
        await rounds.close()
        assert ended == ["ended", "ended"]
        with pytest.raises(RpcError, match="the gateway ended this call") as caught:
            await other
        assert caught.value.code == INTERNAL_ERROR

    asyncio.run(main())


def test_a_legacy_client_is_asked_over_its_own_link(w: GatewayWorld) -> None:
    link = FakeLink(replace(CLIENT, era="legacy"), {"q": YES})
    assert asyncio.run(_asked(link)) == {"q": YES}
    executing(link, CallId("c-1"))
    assert link.asked == [{"q": FORM}]


async def _asked(link: FakeLink) -> Mapping[str, JsonObject]:
    return await ask_before(link, {"q": FORM})


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_time_in_which_a_client_is_asked_is_not_the_tools(tmp_path: Path, era: str) -> None:
    class Reading(FakeLink):
        async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            await asyncio.sleep(0.2)
            return {"q": YES}

    async def ask(method: str, params: Mapping[str, Any], voyage: Any) -> JsonObject:
        if "inputResponses" in params:
            return {"content": [{"type": "text", "text": str(params["inputResponses"]["q"]["action"])}]}
        return {"resultType": "input_required", "inputRequests": {"q": FORM}}

    async def main(w: GatewayWorld) -> JsonObject:
        asked = incoming(w, {"name": "crm__ask", "arguments": {}})
        if era == "legacy":
            return await w.gateway.answer(replace(asked, link=Reading(replace(CLIENT, era="legacy"))))
        told = await w.gateway.answer(asked)
        await asyncio.sleep(0.2)
        again = {"name": "crm__ask", "arguments": {}, "requestState": told["requestState"], "inputResponses": {"q": YES}}
        return await w.gateway.answer(incoming(w, again))

    quick = CONFIG.replace("[upstreams.crm]\n", "[upstreams.crm]\ntimeout_s = 0.05\n")
    with gateway_world(tmp_path, config=quick) as w:
        w.upstreams.crm.answering = ask
        assert asyncio.run(main(w))["content"][0]["text"] == "accept"
        assert [record.kind for record in w.records()] == ["call"]


def test_a_client_that_never_answers_is_not_asked_for_ever(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.link.ASK_S", 0.02)

    class Silent(FakeLink):
        async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            await asyncio.Event().wait()
            raise AssertionError

    async def ask(method: str, params: Mapping[str, Any], voyage: Any) -> JsonObject:
        return {"resultType": "input_required", "inputRequests": {"q": FORM}}

    w.upstreams.crm.answering = ask
    asked = incoming(w, {"name": "crm__ask", "arguments": {}})
    result = asyncio.run(w.gateway.answer(replace(asked, link=Silent(replace(CLIENT, era="legacy")))))
    assert "the client did not answer within 0.02 s" in result["content"][0]["text"]
