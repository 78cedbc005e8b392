"""What the adapters of all frameworks share, with a framework that is nothing but functions: keys, callers, and what comes of a call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from licet import Gate
from licet.errors import CallHeld, CatalogInvalid, StoreUnavailable
from licet.gate.acting import Acting
from licet.gate.brought import Told
from licet.gate.steps import EndedAs
from licet.gate.text import is_key
from licet.integrations import governing as module
from licet.integrations.governing import Came, Ending, Governing, Own, Refused, Repeated, Waiting
from licet.model import Trace
from licet.testing import in_memory_gate, vote
from tests.gate.proof import assert_whole
from tests.integrations.bare import AGENT, Bare, Stop
from tests.integrations.shop import CONFIG, POLICIES, Shop, gate_in_memory, kinds, of_tool

SHOP = CONFIG.replace("{store_timeout_s}", "30.0")
PAY, HELD, TOO_MUCH = ({"customer": "C-1", "cents": cents} for cents in (50, 500, 20_000))
Ask = Callable[..., Ending]


@pytest.fixture
def gate() -> Iterator[Gate]:
    with gate_in_memory() as found:
        yield found
        if found._house is not None:
            assert_whole(found)


@pytest.fixture
def bare(gate: Gate, shop: Shop) -> Bare:
    return Bare(gate, *shop.tools("look", "look_again", "pay", "note", "flaky", "broken", "unknown"))


@pytest.fixture(params=["settle", "asettle"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """One call as the model asks for it, from a thread or on an event loop."""

    def settle(bare: Bare, tool: str, arguments: Any, call: str | None = "call-1", **more: Any) -> Ending:
        return bare.ask(tool, arguments, call, **more)

    def asettle(bare: Bare, tool: str, arguments: Any, call: str | None = "call-1", **more: Any) -> Ending:
        return asyncio.run(bare.aask(tool, arguments, call, **more))

    return settle if request.param == "settle" else asettle


def content(text: str) -> dict[str, str]:
    """What is recorded of a tool that gave this text."""
    return {"content": text}


def refused(ending: Ending, code: str, *words: str) -> None:
    assert isinstance(ending, Refused), ending
    assert ending.code == code, ending
    for word in words:
        assert word in ending.text, ending.text


def outcomes(gate: Gate, tool: str) -> list[str]:
    return [read.envelope.outcome.code or "ok" for read in of_tool(gate, tool) if read.envelope.outcome is not None]


# One call of a model's, however often the framework comes back with it


def test_a_call_gives_the_tools_own_result_and_the_same_call_again_what_was_recorded(bare: Bare, shop: Shop, ask: Ask) -> None:
    assert ask(bare, "note", {"text": "a"}) == Came("noted a")
    for _ in range(3):
        assert ask(bare, "note", {"text": "a"}) == Repeated(content("noted a"))
    assert shop.ran == ["note a"]
    assert kinds(bare.gate, "note") == ["intent", "outcome", "call", "call", "call"]


def test_arguments_that_are_the_same_value_are_the_same_call(bare: Bare, shop: Shop, ask: Ask) -> None:
    assert ask(bare, "look_again", {"customer": "C-1", "depth": 2}) == Came("C-1 has 2 orders")
    for arguments in ('{"depth": 2, "customer": "C-1"}', b'{"customer":"C-1","depth":2.0}', {"depth": 2, "customer": "C-1"}):
        assert ask(bare, "look_again", arguments) == Repeated(content("C-1 has 2 orders"))
    assert shop.ran == ["look_again C-1 2"]


def test_other_arguments_or_another_tool_under_the_id_are_refused(bare: Bare, shop: Shop, ask: Ask) -> None:
    assert ask(bare, "note", {"text": "a"}) == Came("noted a")
    refused(ask(bare, "note", {"text": "b"}), "key_reused", "Calling again with the same arguments will not help")
    refused(ask(bare, "look", {"customer": "C-1"}), "key_reused")
    assert ask(bare, "note", {"text": "a"}) == Repeated(content("noted a"))
    assert shop.ran == ["note a"]


def test_another_id_is_another_call(bare: Bare, shop: Shop, ask: Ask) -> None:
    assert ask(bare, "note", {"text": "a"}, "call-1") == Came("noted a")
    assert ask(bare, "note", {"text": "a"}, "call-2") == Came("noted a")
    assert shop.ran == ["note a", "note a"]


def test_the_same_id_in_another_framework_or_of_another_caller_is_another_call(bare: Bare, shop: Shop) -> None:
    other = Bare(bare.gate, *shop.tools("note"), name="other")
    other.known = bare.known
    assert bare.ask("note", {"text": "a"}) == Came("noted a")
    assert other.ask("note", {"text": "a"}) == Came("noted a")
    with bare.gate.acting(agent=AGENT, user="bob"):
        assert bare.governing.settle(bare.use("note", {"text": "a"})) == Came("noted a")
    assert shop.ran == ["note a"] * 3


def test_a_call_without_an_identity_is_made_each_time(bare: Bare, shop: Shop, ask: Ask) -> None:
    assert ask(bare, "note", {"text": "a"}, None) == Came("noted a")
    assert ask(bare, "note", {"text": "a"}, None) == Came("noted a")
    assert shop.ran == ["note a", "note a"]
    assert bare.governing.key_of(bare.use("note", {}, None)) is None


def test_a_read_that_failed_runs_again_under_its_id_until_it_has_an_end(bare: Bare, shop: Shop, ask: Ask) -> None:
    with pytest.raises(Exception, match="try again"):
        ask(bare, "flaky", {"customer": "C-1"})
    assert ask(bare, "flaky", {"customer": "C-1"}) == Came("C-1 at last")
    assert ask(bare, "flaky", {"customer": "C-1"}) == Repeated(content("C-1 at last"))
    assert shop.ran == ["flaky C-1", "flaky C-1"]


def test_a_write_that_failed_does_not(bare: Bare, shop: Shop, ask: Ask) -> None:
    with pytest.raises(Exception, match="it broke after it worked"):
        ask(bare, "broken", {"text": "a"})
    for _ in range(2):
        refused(
            ask(bare, "broken", {"text": "a"}),
            "Unreachable",
            "it broke after it worked",
            "It may have been done: look before calling again",
        )
    assert shop.ran == ["broken a"]


def test_a_read_that_fails_without_end_is_made_so_often_and_no_more(gate: Gate, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES", 3)
    ran: list[str] = []

    def look(customer: str) -> str:
        ran.append(customer)
        raise LookupError("gone")

    bare = Bare(gate, look)
    for _ in range(3):
        with pytest.raises(LookupError):
            ask(bare, "look", {"customer": "C-1"})
    refused(ask(bare, "look", {"customer": "C-1"}), "LookupError", "gone")
    assert ran == ["C-1"] * 3


@contextmanager
def timed(tables: str) -> Iterator[tuple[Bare, list[str], threading.Event]]:
    """An agent with a tool that takes too long until it is released."""
    release = threading.Event()
    ran: list[str] = []

    def late(text: str) -> str:
        ran.append(text)
        release.wait()
        return "late"

    with in_memory_gate(SHOP + f"[tools.late]\ntimeout_s = 0.05\n{tables}", POLICIES) as gate:
        try:
            yield Bare(gate, late), ran, release
        finally:
            release.set()


def test_a_read_that_took_too_long_runs_again(ask: Ask) -> None:
    with timed('access = "read"') as (bare, ran, release):
        refused(ask(bare, "late", {"text": "a"}), "timeout", "It may have been done: look before calling again")
        release.set()
        ending = ask(bare, "late", {"text": "a"})  # the first has ended late by now, or not
        assert ending in (Came("late"), Repeated(content("late")))
        assert ran in (["a"], ["a", "a"])


def test_a_write_that_took_too_long_does_not(ask: Ask) -> None:
    with timed('access = "write"') as (bare, ran, _):
        refused(ask(bare, "late", {"text": "a"}), "timeout")
        refused(ask(bare, "late", {"text": "a"}), "timeout", "It may have been done")
        assert ran == ["a"]


def test_what_a_tool_gives_after_its_time_is_not_released(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    read, release = threading.Event(), threading.Event()

    class Slow:
        """What is recorded of a result, which takes time to find out: the result itself is there already."""

        value = None
        code = "tool_error"

        @property
        def failed(self) -> None:
            read.set()
            release.wait()

    def late(text: str) -> str:
        return text

    with in_memory_gate(SHOP + '[tools.late]\naccess = "write"\ntimeout_s = 0.05\n', POLICIES) as gate:
        bare = Bare(gate, late)
        monkeypatch.setattr("tests.integrations.bare.told", lambda _: Slow())
        ending = ask(bare, "late", {"text": "a"})
        assert read.is_set()
        refused(ending, "timeout")
        release.set()


def test_a_tool_that_was_never_started_is_started_when_the_call_comes_again(gate: Gate, ask: Ask) -> None:
    ran: list[str] = []

    def note(text: str) -> str:
        ran.append(text)
        if len(ran) == 1:
            raise EndedAs("not_executed", "not_as_decided", "something stood in between")
        return "noted"

    bare = Bare(gate, note)
    refused(
        ask(bare, "note", {"text": "a"}), "not_as_decided", "something stood in between. Nothing was done: the same call may be made again"
    )
    assert ask(bare, "note", {"text": "a"}) == Came("noted")
    assert ask(bare, "note", {"text": "a"}) == Repeated(content("noted"))


def test_a_tool_that_the_framework_has_stopped_goes_on_under_its_id_and_knows_how_often(gate: Gate, ask: Ask) -> None:
    stop = Stop("what is your name?")

    def note(text: str) -> str:
        if len(agent.stops_of) < 3:
            raise stop
        return f"noted {text}"

    agent = Bare(gate, note)
    for _ in range(2):
        with pytest.raises(Stop) as caught:
            ask(agent, "note", {"text": "a"})
        assert caught.value is stop
    assert ask(agent, "note", {"text": "a"}) == Came("noted a")
    assert ask(agent, "note", {"text": "a"}) == Repeated(content("noted a"))
    assert agent.stops_of == [0, 1, 2]
    assert outcomes(gate, "note") == ["paused", "paused", "ok"]


def test_a_stopped_tool_that_people_had_approved_is_asked_about_anew(gate: Gate, ask: Ask) -> None:
    def pay(customer: str, cents: int) -> str:
        if agent.stops_of[-1] == 0:
            raise Stop
        return "paid"

    agent = Bare(gate, pay)
    first = ask(agent, "pay", HELD)
    assert isinstance(first, Waiting)
    assert first.stops == 0
    vote(gate, first.held.request, "lena")
    with pytest.raises(Stop):
        ask(agent, "pay", HELD)
    second = ask(agent, "pay", HELD)
    assert isinstance(second, Waiting)
    assert (second.stops, second.held.request != first.held.request) == (1, True)
    vote(gate, second.held.request, "lena")
    assert ask(agent, "pay", HELD) == Came("paid")
    assert ask(agent, "pay", HELD) == Repeated(content("paid"))


def test_an_error_that_is_called_like_a_stop_is_a_failure_which_a_write_does_not_repeat(gate: Gate, ask: Ask) -> None:
    paused = type("paused", (Exception,), {})
    ran: list[str] = []

    def note(text: str) -> str:
        ran.append(text)
        raise paused("no")

    @gate.tool("own", access="write")
    def own(text: str) -> str:
        ran.append(text)
        raise paused("no")

    bare = Bare(gate, note, own)
    for tool, code in (("note", "tool_error"), ("own", "paused")):
        with pytest.raises(paused):
            ask(bare, tool, {"text": tool}, tool)
        refused(ask(bare, tool, {"text": tool}, tool), code, "It may have been done")
    assert ran == ["note", "own"]


def test_a_call_that_comes_again_while_it_runs_is_not_run_beside_itself(gate: Gate, ask: Ask) -> None:
    started, release = threading.Event(), threading.Event()
    ran: list[str] = []

    def note(text: str) -> str:
        ran.append(text)
        started.set()
        release.wait()
        return "noted"

    bare = Bare(gate, note)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, bare, "note", {"text": "a"})
        started.wait()
        refused(ask(bare, "note", {"text": "a"}), "unknown", "nothing ran now", "It may have been done")
        release.set()
        assert first.result() == Came("noted")
    assert ran == ["a"]
    assert ask(bare, "note", {"text": "a"}) == Repeated(content("noted"))


def test_a_result_that_is_too_large_to_be_kept_is_not_made_again(gate: Gate, ask: Ask) -> None:
    ran: list[str] = []

    def look(customer: str) -> str:
        ran.append(customer)
        return "x" * (1024 * 1024)

    bare = Bare(gate, look)
    assert isinstance(ask(bare, "look", {"customer": "C-1"}), Came)
    refused(ask(bare, "look", {"customer": "C-1"}), "result_not_kept")
    assert ran == ["C-1"]


@pytest.mark.parametrize(
    ("tool", "arguments"), [("pay", HELD), ("pay", TOO_MUCH), ("pay", {"customer": "C-1"}), ("unknown", {"text": "a"})]
)
def test_what_was_not_permitted_takes_no_id(bare: Bare, shop: Shop, ask: Ask, tool: str, arguments: dict[str, Any]) -> None:
    assert isinstance(ask(bare, tool, arguments), Refused | Waiting)
    assert ask(bare, "note", {"text": "a"}) == Came("noted a")
    assert shop.ran == ["note a"]


CALLS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["note", "look"]), st.sampled_from(["x", "y"])), min_size=1, max_size=12
)


@settings(max_examples=30)
@given(CALLS, st.booleans())
def test_whatever_a_framework_repeats_each_call_runs_once(calls: list[tuple[str | None, str, str]], awaited: bool) -> None:  # noqa: FBT001 - drawn
    shop, first, expected = Shop(), dict[str, tuple[str, str]](), []
    with gate_in_memory() as gate:
        bare = Bare(gate, *shop.tools("note", "look"))
        for call, tool, value in calls:
            arguments = {"text" if tool == "note" else "customer": value}
            ending = asyncio.run(bare.aask(tool, arguments, call)) if awaited else bare.ask(tool, arguments, call)
            known = None if call is None else first.setdefault(call, (tool, value))
            if known not in {None, (tool, value)}:
                refused(ending, "key_reused")
            elif known is None or (call, tool, value) not in expected:
                assert isinstance(ending, Came)
                expected.append((call, tool, value))
            else:
                assert isinstance(ending, Repeated)
    assert shop.ran == [f"{tool} {value}" for _, tool, value in expected]


IDS = st.lists(st.none() | st.text(alphabet=st.characters(exclude_categories=()), max_size=8), max_size=4).map(tuple)


@pytest.fixture(scope="module")
def unopened() -> Iterator[Gate]:
    with gate_in_memory() as found:
        yield found


@given(st.sampled_from(["a", "b"]), IDS, st.sampled_from(["a", "b"]), IDS)
def test_every_identity_has_a_key_of_its_own(unopened: Gate, framework: str, call: Any, other: str, other_call: Any) -> None:
    def key(framework: str, call: Any) -> str | None:
        governing: Governing[None] = Governing(unopened, framework)
        return governing.key_of(replace(Bare(unopened).use("note", {}), call=call))

    assert is_key(key(framework, call))
    assert (key(framework, call) == key(other, other_call)) == ((framework, call) == (other, other_call))


# Who calls


def settle(bare: Bare, context: Any = None, call: str | None = "call-1") -> Ending:
    """A call in nobody's block."""
    return bare.governing.settle(bare.use("note", {"text": "a"}, call, context=context))


def test_whoever_acts_around_the_agent_calls_and_outside_of_a_block_nobody(bare: Bare, shop: Shop) -> None:
    assert bare.ask("note", {"text": "a"}) == Came("noted a")
    refused(settle(bare), "no_caller", "nobody is calling")
    refused(asyncio.run(bare.governing.asettle(bare.use("note", {"text": "a"}))), "no_caller")
    assert shop.ran == ["note a"]


def test_a_function_says_who_calls_from_the_frameworks_context_before_any_block_around_it(gate: Gate, shop: Shop, ask: Ask) -> None:
    seen: list[Any] = []

    def caller(context: Any) -> Any:
        seen.append(context)
        return gate.acting(agent=AGENT, user=context["user"])

    bare = Bare(gate, *shop.tools("note"), caller=caller)
    assert ask(bare, "note", {"text": "a"}, context={"user": "bob"}) == Came("noted a")
    assert ask(bare, "note", {"text": "a"}, context={"user": "alice"}) == Came("noted a")
    actors = [read.envelope.actor.user for read in of_tool(gate, "note") if read.kind == "intent" and read.envelope.actor is not None]
    assert (seen, actors) == ([{"user": "bob"}, {"user": "alice"}], ["bob", "alice"])


def test_a_function_that_says_nobody_is_believed_also_within_a_block(gate: Gate, shop: Shop, ask: Ask) -> None:
    bare = Bare(gate, *shop.tools("note"), caller=lambda _: None)
    refused(ask(bare, "note", {"text": "a"}), "no_caller")
    assert shop.ran == []


def test_a_block_of_another_gate_says_nobody(gate: Gate, shop: Shop, ask: Ask) -> None:
    with gate_in_memory() as other:
        bare = Bare(gate, *shop.tools("note"), caller=lambda _: other.acting(agent=AGENT, user="alice"))
        refused(ask(bare, "note", {"text": "a"}), "no_caller")
        with other.acting(agent=AGENT, user="alice"):
            refused(settle(Bare(gate, *shop.tools("note"))), "no_caller")
    assert shop.ran == []


@pytest.mark.parametrize("caller", [lambda _: "alice", lambda _: {"user": "alice"}, lambda _: Acting(agent=AGENT), lambda: None])
def test_a_function_that_says_something_else_than_a_block_is_a_refusal(gate: Gate, shop: Shop, ask: Ask, caller: Any) -> None:
    bare = Bare(gate, *shop.tools("note"), caller=caller)
    refused(ask(bare, "note", {"text": "a"}), "gate_failed", "Nothing was done, and calling again will not help")
    assert shop.ran == []


def test_a_function_that_raises_is_a_refusal_that_does_not_tell_the_model_its_words(
    gate: Gate, shop: Shop, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    def caller(_: Any) -> Any:
        raise RuntimeError("cannot reach postgres://app:hunter2@db")

    bare = Bare(gate, *shop.tools("note"), caller=caller)
    ending = ask(bare, "note", {"text": "a"})
    assert ending == Refused(
        "denied (gate_failed): the gate cannot take this call (RuntimeError). Nothing was done, and calling again will not help",
        "gate_failed",
    )
    assert shop.ran == []
    (record,) = [record for record in caplog.records if record.name == "licet.integrations"]
    assert record.getMessage() == "licet: the call of `note` was refused: the gate failed"
    assert record.exc_info is not None
    assert record.levelno == logging.ERROR


def test_an_error_that_cannot_even_be_shown_is_a_refusal(gate: Gate, shop: Shop, ask: Ask) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def caller(_: Any) -> Any:
        raise Unspeakable

    refused(ask(Bare(gate, *shop.tools("note"), caller=caller), "note", {"text": "a"}), "gate_failed", "(Unspeakable)")
    assert shop.ran == []


def test_who_calls_is_said_for_each_thread_and_task(gate: Gate, shop: Shop) -> None:
    bare = Bare(gate, *shop.tools("note"))
    barrier = threading.Barrier(2)

    def go(user: str | None) -> Ending:
        if user is None:
            barrier.wait()
            return settle(bare, call="nobody's")
        with gate.acting(agent=AGENT, user=user):
            barrier.wait()
            return settle(bare, call=user)

    async def tasks() -> list[Ending]:
        opened = asyncio.Barrier(2)

        async def one(user: str) -> Ending:
            with gate.acting(agent=AGENT, user=user):
                await opened.wait()
                return await bare.governing.asettle(bare.use("note", {"text": "a"}, f"task {user}"))

        return list(await asyncio.gather(one("alice"), one("bob")))

    with gate.acting(agent=AGENT, user="alice"), ThreadPoolExecutor(2) as pool:
        mine, nobodys = pool.map(go, ["bob", None])
    assert mine == Came("noted a")
    refused(nobodys, "no_caller")
    assert asyncio.run(tasks()) == [Came("noted a")] * 2
    users = [read.envelope.actor.user for read in of_tool(gate, "note") if read.kind == "intent" and read.envelope.actor is not None]
    assert (users[0], sorted(str(user) for user in users[1:])) == ("bob", ["alice", "bob"])


def test_what_a_model_writes_says_nobody(bare: Bare, shop: Shop) -> None:
    for name in ("user", "agent", "acting", "caller", "licet_reason"):
        refused(settle(bare), "no_caller")
        refused(bare.ask("note", {"text": "a", name: "lena"}), "unknown_argument")
    assert shop.ran == []


# Sessions and traces


def recorded(gate: Gate) -> tuple[Any, Any]:
    read = of_tool(gate, "note")[0]
    trace = read.envelope.trace
    assert read.envelope.actor is not None
    return read.envelope.actor.session, None if trace is None else (trace.trace_id, trace.span_id, trace.parent, trace.workflow)


OWN = Trace(trace_id="t", span_id="s", parent="p", workflow="w")


def test_the_frameworks_session_and_trace_are_recorded(bare: Bare, ask: Ask) -> None:
    assert isinstance(ask(bare, "note", {"text": "a"}, session="thread-1", trace=OWN), Came)
    assert recorded(bare.gate) == ("thread-1", ("t", "s", "p", "w"))


def test_what_the_host_program_says_of_them_comes_first_one_by_one(gate: Gate, shop: Shop) -> None:
    def caller(_: Any) -> Any:
        return gate.acting(agent=AGENT, user="alice", session="host", workflow="hosts", trace=Trace(span_id="host's"))

    bare = Bare(gate, *shop.tools("note"), caller=caller)
    assert isinstance(bare.ask("note", {"text": "a"}, session="thread-1", trace=OWN), Came)
    assert recorded(gate) == ("host", ("t", "host's", "p", "hosts"))


def test_where_neither_says_anything_nothing_is_recorded(bare: Bare, ask: Ask) -> None:
    assert isinstance(ask(bare, "note", {"text": "a"}), Came)
    assert recorded(bare.gate) == (None, None)


def test_a_session_or_trace_that_no_record_can_hold_is_written_so_that_it_can_be_read(bare: Bare, ask: Ask) -> None:
    odd: Any = 7
    assert isinstance(ask(bare, "note", {"text": "a"}, session="a\ud800", trace=Trace(trace_id="b\ud800", span_id=odd)), Came)
    assert recorded(bare.gate) == ("a\\ud800", ("b\\ud800", "(not text: int)", None, None))


# Calls that wait


def test_a_call_that_waits_says_for_whom_to_the_model_and_to_whoever_runs_the_agent(bare: Bare, shop: Shop, ask: Ask) -> None:
    ending = ask(bare, "pay", HELD)
    assert isinstance(ending, Waiting)
    (request,) = bare.gate.approvals.all()
    assert ending.held.request == request.request.id
    for words in (
        "more than a dollar needs a lead",
        f"Request `{request.request.id}`",
        "1 of `leads`",
        "calling again with the same arguments goes on",
    ):
        assert words in ending.text
    assert ending.asked == {
        "type": "licet.approval",
        "request": request.request.id,
        "call": ending.held.call,
        "message": ending.text,
        "tool": "pay",
        "arguments": HELD,
        "expires_at": request.request.expires_at.isoformat(),
    }
    assert (ending.stops, shop.ran) == (0, [])


def test_the_same_call_waits_on_and_goes_on_once_people_have_decided_and_is_made_once(bare: Bare, shop: Shop, ask: Ask) -> None:
    first, again = ask(bare, "pay", HELD), ask(bare, "pay", HELD)
    assert isinstance(first, Waiting)
    assert isinstance(again, Waiting)
    assert again.held.request == first.held.request
    vote(bare.gate, first.held.request, "lena")
    assert ask(bare, "pay", HELD) == Came("paid 500 to C-1")
    assert ask(bare, "pay", HELD) == Repeated(content("paid 500 to C-1"))
    assert shop.ran == ["pay C-1 500"]
    assert len(bare.gate.approvals.all()) == 1


def test_a_call_that_people_reject_is_refused(bare: Bare, shop: Shop, ask: Ask) -> None:
    ending = ask(bare, "pay", HELD)
    assert isinstance(ending, Waiting)
    vote(bare.gate, ending.held.request, "lena", verdict="reject")
    refused(ask(bare, "pay", HELD), "rejected")
    assert shop.ran == []


def test_a_secret_argument_is_told_to_nobody_who_is_asked(ask: Ask) -> None:
    config = SHOP.replace(
        'input = {customer = "string", cents = "integer"}', 'input = {customer = "string", cents = "integer"}\nsecrets = ["customer"]'
    )
    with in_memory_gate(config, POLICIES) as gate:
        ending = ask(Bare(gate, *Shop().tools("pay")), "pay", {"customer": "sesame", "cents": 500})
        assert isinstance(ending, Waiting)
        assert "sesame" not in str(ending)


def test_a_request_that_cannot_be_looked_up_is_told_by_its_id(bare: Bare, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: object) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(type(bare.gate.approvals), "show", show)
    ending = ask(bare, "pay", HELD)
    assert isinstance(ending, Waiting)
    assert set(ending.asked) == {"type", "request", "call", "message"}
    assert f"`{ending.held.request}`" in ending.text
    assert "people must decide" in ending.text


def once(condition: Callable[[], Any]) -> None:
    """Return as soon as it holds."""
    while not condition():
        threading.Event().wait(0.002)


def test_a_call_may_wait_itself_until_people_have_decided(gate: Gate, shop: Shop, ask: Ask) -> None:
    bare = Bare(gate, *shop.tools("pay"), caller=lambda _: gate.acting(agent=AGENT, user="alice", wait=3_600))
    with ThreadPoolExecutor(1) as pool, gate:  # which is closed first, and nobody waits then
        waiting = pool.submit(ask, bare, "pay", HELD)
        gate.seal()
        once(gate.approvals.all)
        (request,) = gate.approvals.all()
        vote(gate, request.request.id, "lena")
        assert waiting.result() == Came("paid 500 to C-1")
        assert ask(bare, "pay", HELD) == Repeated(content("paid 500 to C-1"))
    assert shop.ran == ["pay C-1 500"]


def test_a_call_that_has_waited_in_vain_says_how_long(gate: Gate, shop: Shop, ask: Ask) -> None:
    bare = Bare(gate, *shop.tools("pay"), caller=lambda _: gate.acting(agent=AGENT, user="alice", wait=0.01))
    ending = ask(bare, "pay", HELD)
    assert isinstance(ending, Waiting)
    assert "Nobody has decided within" in ending.text
    assert shop.ran == []


# Asked before the call is made


def before(bare: Bare, tool: str, arguments: Any, **more: Any) -> Waiting | None:
    async def main() -> Waiting | None:
        with bare.gate.acting(agent=AGENT, user="alice"):
            return await bare.governing.aask(bare.use(tool, arguments, **more))

    return asyncio.run(main())


def test_people_are_asked_before_the_call_and_asking_runs_and_takes_nothing(bare: Bare, shop: Shop, ask: Ask) -> None:
    asked = before(bare, "pay", HELD)
    assert asked is not None
    assert asked.asked["arguments"] == HELD
    vote(bare.gate, asked.held.request, "lena")
    assert before(bare, "pay", HELD) is None
    assert shop.ran == []
    assert ask(bare, "pay", HELD) == Came("paid 500 to C-1")
    assert before(bare, "pay", HELD) is None, "it was made"


@pytest.mark.parametrize(
    ("tool", "arguments"), [("note", {"text": "a"}), ("pay", TOO_MUCH), ("unknown", {"text": "a"}), ("pay", {}), ("gone", {})]
)
def test_nobody_is_asked_about_what_is_permitted_or_denied(bare: Bare, shop: Shop, tool: str, arguments: dict[str, Any]) -> None:
    assert before(bare, tool, arguments) is None
    assert (shop.ran, bare.gate.approvals.all()) == ([], ())


def test_a_gate_that_fails_when_it_is_asked_says_so_when_the_call_is_made(gate: Gate, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    def caller(_: Any) -> Any:
        raise RuntimeError

    bare = Bare(gate, *shop.tools("pay"), caller=caller)
    assert before(bare, "pay", HELD) is None
    assert "the gate failed" in caplog.text
    refused(bare.ask("pay", HELD), "gate_failed")


# Whatever goes wrong in the gate or in an adapter


def test_a_tool_that_cannot_be_adopted_is_refused_each_time(gate: Gate, shop: Shop, ask: Ask) -> None:
    bare = Bare(gate, *shop.tools("note"))
    bare.known["note"] = replace(bare.known["note"], schema={"properties": {"text": {"$ref": "https://example.com"}}})
    for _ in range(2):
        refused(ask(bare, "note", {"text": "a"}), "gate_failed", "(CatalogInvalid: tool `note`: ", "Nothing was done")
    assert shop.ran == []


def test_an_adapter_that_raises_before_the_tool_runs_is_a_refusal(bare: Bare, shop: Shop) -> None:
    def adopt() -> Any:
        raise KeyError("secret")

    with bare.gate.acting(agent=AGENT, user="alice"):
        ending = bare.governing.settle(replace(bare.use("note", {"text": "a"}), adopt=adopt))
    refused(ending, "gate_failed", "(KeyError). Nothing was done, and calling again will not help")
    assert shop.ran == []


def test_a_tool_that_the_framework_does_not_have_is_denied(bare: Bare, shop: Shop, ask: Ask) -> None:
    refused(ask(bare, "gone", {}), "unknown_tool")
    refused(ask(bare, "", {}), "unknown_tool")
    assert shop.ran == []


@pytest.mark.parametrize("is_after", [False, True])
def test_a_gate_that_raises_says_whether_the_tool_may_have_run(
    bare: Bare, shop: Shop, ask: Ask, monkeypatch: pytest.MonkeyPatch, *, is_after: bool
) -> None:
    call, acall = bare.gate.call_brought, bare.gate.acall_brought

    def broken(*args: Any, **kwargs: Any) -> Any:
        if is_after:
            call(*args, **kwargs)
        raise RuntimeError

    async def abroken(*args: Any, **kwargs: Any) -> Any:
        if is_after:
            await acall(*args, **kwargs)
        raise RuntimeError

    monkeypatch.setattr(bare.gate, "call_brought", broken)
    monkeypatch.setattr(bare.gate, "acall_brought", abroken)
    done = "It may have been done: look before calling again" if is_after else "Nothing was done, and calling again will not help"
    refused(ask(bare, "note", {"text": "a"}), "gate_failed", f"(RuntimeError). {done}")
    assert shop.ran == (["note a"] if is_after else [])


def test_a_gate_that_is_closed_lets_nothing_run(bare: Bare, shop: Shop, ask: Ask) -> None:
    bare.gate.close()
    refused(ask(bare, "note", {"text": "a"}), "gate_failed", "GateClosed", "Nothing was done")
    assert shop.ran == []


def test_policies_that_do_not_load_let_nothing_run_and_are_told_on_one_line(shop: Shop, ask: Ask) -> None:
    with in_memory_gate(SHOP, POLICIES + '@id("a") permit (principal, action == Action::"x", resource);\n' * 2) as gate:
        ending = ask(Bare(gate, *shop.tools("note")), "note", {"text": "a"})
    refused(ending, "gate_failed", "PolicyInvalid", "Nothing was done")
    assert isinstance(ending, Refused)
    assert "\n" not in ending.text
    assert shop.ran == []


def test_an_adapter_whose_tools_run_elsewhere_refuses_in_the_same_words(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    refused(bare.governing.refused("no`te", CatalogInvalid("a\nb")), "gate_failed", "(CatalogInvalid: a\\u{a}b). Nothing was done")
    assert "the call of `no\\u{60}te` was refused" in caplog.text


def test_the_process_may_be_ended_by_a_tool_and_by_who_says_who_calls(gate: Gate, ask: Ask) -> None:
    def note(text: str) -> str:
        raise SystemExit(text)

    def caller(_: Any) -> Any:
        raise SystemExit("caller")

    with pytest.raises(SystemExit, match="a"):
        ask(Bare(gate, note), "note", {"text": "a"})
    with pytest.raises(SystemExit, match="caller"):
        ask(Bare(gate, note, caller=caller), "note", {"text": "a"})
    assert kinds(gate, "note") == ["intent", "outcome"]


def test_a_task_that_is_cancelled_while_the_tool_runs_leaves_an_outcome_and_is_not_run_again(gate: Gate) -> None:
    ran: list[str] = []

    async def note(text: str) -> str:
        ran.append(text)
        started.set()
        await asyncio.Event().wait()
        return text

    started = asyncio.Event()

    bare = Bare(gate, note)

    async def main() -> None:
        task = asyncio.ensure_future(bare.aask("note", {"text": "a"}))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        refused(await bare.aask("note", {"text": "a"}), "CancelledError", "It may have been done")

    asyncio.run(main())
    assert ran == ["a"]


# What the tool itself says


def test_a_tool_that_says_itself_that_it_failed_is_heard_by_the_framework_and_recorded_as_failed(gate: Gate, ask: Ask) -> None:
    def note(text: str) -> str:
        return f"failed: {text}"

    bare = Bare(gate, note)
    assert ask(bare, "note", {"text": "a"}) == Came("failed: a")
    assert outcomes(gate, "note") == ["tool_error"]
    refused(ask(bare, "note", {"text": "a"}), "tool_error", "failed: a. It may have been done")


def test_a_tool_that_raises_is_heard_by_the_framework_once_it_is_recorded(gate: Gate, ask: Ask) -> None:
    error = ValueError("no")

    def note(text: str) -> str:
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        ask(Bare(gate, note), "note", {"text": "a"})
    assert caught.value is error
    assert outcomes(gate, "note") == ["ValueError"]


def test_a_result_that_no_record_can_hold_is_withheld(bare: Bare, shop: Shop, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.integrations.bare.told", lambda _: Told(object()))
    refused(ask(bare, "note", {"text": "a"}), "result_not_json", "It may have been done")
    assert shop.ran == ["note a"]


def test_an_asynchronous_tool_is_run_from_a_thread_and_on_a_loop(gate: Gate, ask: Ask) -> None:
    async def note(text: str) -> str:
        await asyncio.sleep(0)
        return text

    bare = Bare(gate, note)
    assert ask(bare, "note", {"text": "a"}) == Came("a")
    assert ask(bare, "note", {"text": "a"}) == Repeated(content("a"))


def test_what_is_denied_says_why_and_whether_to_try_again(bare: Bare, shop: Shop, ask: Ask) -> None:
    too_much = ask(bare, "pay", TOO_MUCH)
    refused(too_much, "forbidden", "denied (forbidden): denied by `pay-ceiling`")
    refused(too_much, "forbidden", "nobody pays more than $100 at once. Calling again with the same arguments will not help")
    refused(ask(bare, "unknown", {"text": "a"}), "unclassified_tool", "`[tools.unknown]`")
    refused(ask(bare, "pay", {**PAY, "cents": "x"}), "wrong_type", "Calling again with the same arguments will not help")
    refused(ask(bare, "pay", "{"), "not_json")
    assert shop.ran == []


# Functions that the gate governs already


@pytest.fixture
def own(gate: Gate) -> Bare:
    ran: list[str] = []

    @gate.tool("shop.own", access="write")
    def own(text: str) -> str:
        ran.append(text)
        if text == "broken":
            raise ValueError(text)
        return f"own {text}"

    @gate.tool("shop.awaited", access="write")
    async def awaited(text: str) -> str:
        await asyncio.sleep(0)
        return f"awaited {text}"

    found = Bare(gate, own, awaited, prefix="prefix_")
    vars(found)["ran"] = ran
    return found


def test_a_function_of_the_gate_is_governed_once_under_its_own_name(own: Bare, ask: Ask) -> None:
    assert own.known == {}
    assert own.governing.governed_name(own.tools["own"]) == "shop.own"
    assert ask(own, "own", {"text": "a"}) == Own("own a")
    assert ask(own, "own", {"text": "a"}) == Own("own a")
    assert ask(own, "awaited", {"text": "a"}, "call-2") == Own("awaited a")
    assert vars(own)["ran"] == ["a"]
    assert kinds(own.gate, "shop.own") == ["intent", "outcome", "call"]
    assert not own.gate.is_adopted("shop.own")


def test_what_it_raises_is_heard_and_a_write_is_not_repeated(own: Bare, ask: Ask) -> None:
    with pytest.raises(ValueError, match="broken"):
        ask(own, "own", {"text": "broken"})
    refused(ask(own, "own", {"text": "broken"}), "ValueError", "It may have been done")
    assert vars(own)["ran"] == ["broken"]


def test_a_function_of_another_gate_is_a_tool_like_any_other_and_governed_by_both(gate: Gate, ask: Ask) -> None:
    with gate_in_memory() as other:

        @other.tool("shop.own", access="write")
        def note(text: str) -> str:
            return text

        bare = Bare(gate, note)
        assert bare.governing.governed_name(note) is None
        with pytest.raises(Exception, match="nobody is calling"):
            ask(bare, "note", {"text": "a"})
        with other.acting(agent=AGENT, user="alice"):
            assert ask(bare, "note", {"text": "a"}, "call-2") == Came("a")
        assert (kinds(gate, "note"), kinds(other, "shop.own")) == (["intent", "outcome"] * 2, ["intent", "outcome"])


def test_a_tool_that_calls_a_held_function_is_heard_and_nothing_of_it_runs(gate: Gate, ask: Ask) -> None:
    ran: list[str] = []

    @gate.tool("inner", access="write")
    def inner(text: str) -> None:
        ran.append(text)

    def note(text: str) -> None:
        inner(text)

    (gate.settings.policies / "more.cedar").write_text(
        '@id("inner-needs-lead")\n@require_approval("1 of Group::\\"leads\\"")\nforbid (principal, action == Action::"inner", resource);'
    )
    with pytest.raises(CallHeld):
        ask(Bare(gate, note), "note", {"text": "a"})
    assert ran == []


# Names, and tools that are taken in


def test_a_prefix_stands_before_the_names_in_the_catalog_alone(gate: Gate, shop: Shop, ask: Ask) -> None:
    bare = Bare(gate, *shop.tools("note"), prefix="desk_")
    refused(ask(bare, "note", {"text": "a"}), "unclassified_tool", "`[tools.desk_note]`")
    gate.classify("desk_note", access="write")
    assert ask(bare, "note", {"text": "a"}) == Came("noted a")
    assert (gate.is_adopted("desk_note"), gate.is_adopted("note")) == (True, False)


def test_a_tool_without_a_description_has_an_empty_one(gate: Gate) -> None:
    governing: Governing[None] = Governing(gate, "bare", prefix="a.")
    found = governing.adopted("b", None, {})
    assert (found.name, found.description, found.framework) == ("a.b", "", "bare")


def test_the_same_tool_is_taken_in_once_and_another_of_its_name_is_looked_at(bare: Bare, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    adopt = bare.gate.adopt

    def counted(tools: Any) -> None:
        taken.extend(tool.name for tool in tools)
        adopt(tools)

    monkeypatch.setattr(bare.gate, "adopt", counted)
    for call in "abc":
        assert isinstance(ask(bare, "note", {"text": "a"}, call), Came)
    bare.known["note"] = replace(bare.known["note"])
    assert isinstance(ask(bare, "note", {"text": "a"}, "d"), Came)
    assert taken == ["note", "note"]
