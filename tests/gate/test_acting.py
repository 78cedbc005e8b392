"""Who acts: a block's caller reaches its own calls, in its own thread, task and gate, and no others."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from licet.gate.acting import NOBODY, Acting, ActingBlock, acting_for
from licet.gate.results import Ok, Result
from licet.model import Caller, Trace
from tests.world import World, world

READ = ("crm.lookup", {"customer_id": "C-1"})


def test_a_call_without_a_caller_is_denied_and_recorded_for_the_operator(w: World) -> None:
    result = w.denied(w.gate.call(*READ), "no_caller", "nobody is calling", "gate.acting")
    assert w.ran == []
    record = w.records("operator")[-1]
    assert (record.kind, record.receipt, record.payload.message) == ("denial", result.receipt, result.decision.message)
    assert record.envelope.decision is not None
    assert (record.envelope.decision.verdict, record.envelope.decision.code, record.envelope.decision.decided_by) == (
        "deny",
        "no_caller",
        "rule",
    )
    w.denied(asyncio.run(w.gate.acall(*READ)), "no_caller")


def test_a_call_after_the_block_has_nobody_again(w: World) -> None:
    with w.alice():
        assert isinstance(w.gate.call(*READ), Ok)
    w.denied(w.gate.call(*READ), "no_caller")


def test_the_caller_leaves_the_block_when_it_raises(w: World) -> None:
    with pytest.raises(LookupError), w.alice():
        raise LookupError
    w.denied(w.gate.call(*READ), "no_caller")


def test_a_block_gives_its_acting_with_everything_the_host_said(w: World) -> None:
    with w.alice(tenant="acme", session="s", workflow="t-1", reason="why", trace=Trace(trace_id="a", span_id="b", parent="c")) as acting:
        assert (acting.tenant, acting.agent, acting.service, acting.user) == ("acme", "support-bot", None, "alice")
        assert (acting.session, acting.reason) == ("s", "why")
        assert acting.trace == Trace(trace_id="a", span_id="b", parent="c", workflow="t-1")
        w.gate.call(*READ)
    entry = w.records()[-1].envelope.trace
    assert entry is not None
    assert (entry.trace_id, entry.span_id, entry.parent, entry.workflow) == ("a", "b", "c", "t-1")


def test_a_trace_keeps_its_own_workflow_where_the_block_names_none(w: World) -> None:
    with w.alice(trace=Trace(workflow="t-2")) as acting:
        assert acting.trace.workflow == "t-2"


def test_the_innermost_block_counts_whole_and_inherits_nothing(w: World) -> None:
    with w.alice(reason="outer", session="s"):
        with w.gate.acting(agent="night-bot"):
            w.gate.call(*READ)
        w.gate.call(*READ)
    inner, outer = w.records()
    assert inner.envelope.actor is not None
    assert outer.envelope.actor is not None
    assert (inner.envelope.actor.agent, inner.envelope.actor.user, inner.envelope.actor.session) == ("night-bot", None, None)
    assert inner.payload.reason is None
    assert (outer.envelope.actor.agent, outer.envelope.actor.user, outer.payload.reason) == ("support-bot", "alice", "outer")


def test_a_call_s_own_reason_takes_the_place_of_the_block_s(w: World) -> None:
    with w.alice(reason="block"):
        w.gate.call(*READ, reason="call")
    assert w.records()[-1].payload.reason == "call"


def test_another_gate_s_block_does_not_count(w: World) -> None:
    with world() as other, other.alice():
        w.denied(w.gate.call(*READ), "no_caller")
        with w.gate.acting(agent="night-bot"):
            assert isinstance(other.gate.call(*READ), Ok)
    assert other.ran == [("crm.lookup", {"customer_id": "C-1"})]
    assert w.ran == []


def test_a_gate_that_takes_the_place_of_a_dead_one_does_not_take_its_caller() -> None:
    class Token:
        pass

    first = Token()
    block = ActingBlock(first, Acting(agent="support-bot"))
    with block:
        place = id(first)
        del first
        gc.collect()
        others = [Token() for _ in range(1000)]
        assert all(acting_for(other) is NOBODY for other in others)
        assert place not in map(id, others), "the block keeps its token alive, so no gate can be mistaken for it"


def test_a_new_thread_starts_without_a_caller(w: World) -> None:
    with w.alice(), ThreadPoolExecutor(1) as pool:
        w.denied(pool.submit(lambda: w.gate.call(*READ)).result(), "no_caller")
        assert isinstance(pool.submit(copy_context().run, lambda: w.gate.call(*READ)).result(), Ok)


def test_tasks_keep_the_caller_they_were_started_with(w: World) -> None:
    async def main() -> tuple[Result, Result]:
        with w.alice():
            ours = asyncio.create_task(w.gate.acall(*READ))
        theirs = asyncio.create_task(w.gate.acall(*READ))
        return await ours, await theirs

    ours, theirs = asyncio.run(main())
    assert isinstance(ours, Ok)
    w.denied(theirs, "no_caller")


def test_threads_never_see_each_other_s_caller(w: World) -> None:
    barrier = threading.Barrier(8)

    def call(user: str) -> list[tuple[str | None, bool]]:
        seen = []
        for turn in range(20):
            with w.gate.acting(agent="free-bot", user=user, tenant="acme", session=f"{user}-{turn}"):
                barrier.wait()
                acting = acting_for(w.gate._token)
                seen.append((acting.user, acting.session == f"{user}-{turn}"))
        return seen

    with ThreadPoolExecutor(8) as pool:
        users = [f"user-{number}" for number in range(8)]
        for user, seen in zip(users, pool.map(call, users), strict=True):
            assert seen == [(user, True)] * 20


def test_one_block_open_in_two_threads_leaves_each_with_its_own_caller(w: World) -> None:
    shared = w.alice()
    entered, left = threading.Barrier(2), threading.Event()

    def bob() -> str | None:
        with w.gate.acting(agent="night-bot"), shared:
            entered.wait(20)
            left.wait(20)
        return acting_for(w.gate._token).agent

    def nobody() -> str | None:
        with shared:
            entered.wait(20)
        agent = acting_for(w.gate._token).agent
        left.set()
        return agent

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(bob), pool.submit(nobody)
        assert second.result() is None, "leaving the shared block must not give this thread the other one's outer caller"
        assert first.result() is None


def test_one_block_can_be_entered_again_and_within_itself(w: World) -> None:
    block = w.alice()
    with block:
        with block:
            assert acting_for(w.gate._token).user == "alice"
        assert acting_for(w.gate._token).user == "alice"
    assert acting_for(w.gate._token) is NOBODY
    with block:
        assert acting_for(w.gate._token).user == "alice"


def test_leaving_a_block_where_it_was_not_entered_changes_nothing(w: World) -> None:
    foreign = w.gate.acting(agent="night-bot")
    with w.alice():
        foreign.__exit__()
        assert acting_for(w.gate._token).user == "alice"


def test_a_tool_sees_the_caller_wherever_it_runs(w: World) -> None:
    seen: list[str | None] = []

    @w.gate.tool("who.now", access="read", timeout_s=5)
    def who_now() -> None:
        seen.append(acting_for(w.gate._token).user)

    @w.gate.tool("who.awaited", access="read")
    async def who_awaited() -> None:
        seen.append(acting_for(w.gate._token).user)

    async def both() -> None:
        await w.gate.acall("who.now", {})
        await w.gate.acall("who.awaited", {})

    with w.alice():
        w.gate.call("who.now", {})
        w.gate.call("who.awaited", {})
        asyncio.run(both())
    assert seen == ["alice"] * 4


def test_the_tenant_may_be_left_out_only_where_there_is_one(w: World) -> None:
    with w.gate.acting(agent="free-bot"):
        w.denied(w.gate.call(*READ), "no_tenant", "more than one tenant")
    with w.gate.acting(agent="free-bot", tenant="acme"):
        assert isinstance(w.gate.call(*READ), Ok)
    with w.gate.acting(service="importer"):
        assert isinstance(w.gate.call(*READ), Ok)


def test_a_label_is_put_on_the_session_of_whoever_acts(w: World) -> None:
    with w.alice(session="s"):
        w.gate.label("untrusted")
    caller = Caller(tenant="acme", agent="support-bot", user="alice")
    house = w.gate._house
    assert house is not None
    assert house.sessions.facts(caller, "s").labels == ("untrusted",)
    assert house.sessions.facts(caller, None).labels == ()
