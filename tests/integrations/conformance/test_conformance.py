"""What every integration must do, whichever the framework: each test is of one row of the table in `docs/integrations.md`."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from licet import Gate
from licet.errors import StoreUnavailable
from licet.gate.acting import Acting
from licet.ledger.seal import Filing
from licet.ledger.writer import Writer
from licet.testing import vote
from tests.integrations.driving import FRAMEWORK, WAYS, Ask, Driver, Ended, Setting, Turn, Way
from tests.integrations.shop import Shop, kinds, of_tool, write_gate

ROOT = Path(__file__).parents[3]
DENIED, HELD, ALLOWED = 20_000, 500, 50
"""Cents that policy denies, wants a lead for, and permits."""
ways = pytest.mark.parametrize("way", WAYS)


def row(name: str) -> pytest.MarkDecorator:
    return pytest.mark.row(name)


def acting(gate: Gate) -> AbstractContextManager[Acting]:
    return gate.acting(agent="shop-bot", user="alice")


def script(*turns: Turn) -> Sequence[Turn]:
    return (*turns, "done")


def ask(number: int, tool: str, **arguments: Any) -> Ask:
    return Ask(f"call_{number}", tool, arguments)


def run(driver: Driver, setting: Setting, way: Way = "async") -> Ended:
    with acting(setting.gate):
        return driver.agent(setting).run(way)


def told_or_raised(driver: Driver, setting: Setting) -> str:
    """What the model was told of the first call; or what ended the run, where the framework lets a tool's failure end it."""
    try:
        return run(driver, setting).told["call_1"]
    except Exception as error:  # noqa: BLE001 - what the framework makes of a tool's failure is its own
        return str(error)


def of_lead(gate: Gate, ended: Ended) -> None:
    """The lead says yes to everything that waits."""
    for request in ended.waiting:
        vote(gate, request, "lena")  # type: ignore[arg-type]


# what the ways have in common


@row("allow")
@ways
def test_a_call_that_policy_allows_runs_once_and_is_recorded(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    turns = script([ask(1, "look", customer="C-1")])
    ended = run(driver, Setting(gate, shop.tools("look"), turns), way)
    assert shop.ran == ["look C-1"]
    assert "C-1 is a good customer" in ended.told["call_1"]
    assert ended.said == "done"
    assert kinds(gate, "look") in (["intent", "outcome"], ["call"])  # a read without an identity is one record
    intent = of_tool(gate, "look")[0]
    assert intent.envelope.actor is not None
    assert (intent.envelope.actor.agent, bytes(intent.payload.arguments)) == ("shop-bot", b'{"customer":"C-1"}')


@row("deny")
@ways
def test_a_call_that_policy_denies_does_not_run_and_the_model_is_told_why(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    turns = script([ask(1, "pay", customer="C-1", cents=DENIED)])
    ended = run(driver, Setting(gate, shop.tools("pay"), turns), way)
    assert shop.ran == []
    assert "nobody pays more than $100 at once" in ended.told["call_1"]
    assert "Calling again with the same arguments will not help" in ended.told["call_1"]
    assert ended.said == "done"
    assert kinds(gate, "pay") == ["denial"]


@row("unclassified tool")
def test_a_tool_of_which_nobody_said_what_it_can_do_is_denied(driver: Driver, gate: Gate, shop: Shop) -> None:
    ended = run(driver, Setting(gate, shop.tools("unknown"), script([ask(1, "unknown", text="x")])))
    assert shop.ran == []
    assert "(unclassified_tool)" in ended.told["call_1"]
    assert "[tools.unknown]" in ended.told["call_1"]


@row("hold and resume")
@ways
def test_a_call_that_needs_people_pauses_the_run_and_is_executed_once_they_agree(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    setting = Setting(gate, shop.tools("pay"), script([ask(1, "pay", customer="C-1", cents=HELD)]))
    with acting(gate):
        agent = driver.agent(setting)
        paused = agent.run(way)
        assert (shop.ran, len(paused.waiting)) == ([], 1)
        again = agent.resume(way)
        assert (shop.ran, again.waiting) == ([], paused.waiting)  # nobody has decided: resuming grants nothing
        of_lead(gate, paused)
        ended = agent.resume(way)
    assert shop.ran == [f"pay C-1 {HELD}"]
    assert (ended.waiting, ended.said) == ((), "done")
    assert f"paid {HELD} to C-1" in ended.told["call_1"]
    assert kinds(gate, "pay")[-3:] == ["vote", "intent", "outcome"]


@row("hold, rejected")
def test_a_call_that_people_refuse_is_told_as_refused(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("pay"), script([ask(1, "pay", customer="C-1", cents=HELD)]))
    with acting(gate):
        agent = driver.agent(setting)
        (request,) = agent.run().waiting
        vote(gate, request, "lena", verdict="reject")  # type: ignore[arg-type]
        ended = agent.resume()
    assert shop.ran == []
    assert "rejected" in ended.told["call_1"]


@row("hold without a pause")
def test_without_a_pause_the_model_is_told_the_request_and_the_same_call_again_goes_on(driver: Driver, gate: Gate, shop: Shop) -> None:
    turns = script([ask(1, "pay", customer="C-1", cents=HELD)])
    first = run(driver, Setting(gate, shop.tools("pay"), turns, pause=False))
    assert (shop.ran, first.said) == ([], "done")
    (request,) = {read.envelope.approval.request for read in of_tool(gate, "pay") if read.envelope.approval is not None}
    assert request is not None
    assert request in first.told["call_1"]
    vote(gate, request, "lena")  # type: ignore[arg-type]
    turns = script([ask(7, "pay", customer="C-1", cents=HELD)], [ask(8, "pay", customer="C-1", cents=HELD)])
    ended = run(driver, Setting(gate, shop.tools("pay"), turns, thread="thread-2", pause=False))
    assert shop.ran == [f"pay C-1 {HELD}"]  # the approval was used once: the third call asks anew
    assert "paid" in ended.told["call_7"]
    assert "paid" not in ended.told["call_8"]


@row("parallel batch")
@ways
def test_each_call_of_a_batch_is_decided_by_itself_and_executed_once(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    batch = [
        ask(1, "look", customer="C-1"),
        ask(2, "pay", customer="C-2", cents=DENIED),
        ask(3, "note", text="hello"),
        ask(4, "pay", customer="C-4", cents=ALLOWED),
    ]
    ended = run(driver, Setting(gate, shop.tools("look", "pay", "note"), script(batch)), way)
    assert sorted(shop.ran) == ["look C-1", "note hello", f"pay C-4 {ALLOWED}"]
    assert "nobody pays more than $100 at once" in ended.told["call_2"]
    assert ["noted hello" in ended.told["call_3"], "paid" in ended.told["call_4"], ended.said] == [True, True, "done"]


@row("parallel batch with a hold")
@ways
def test_what_ran_beside_a_call_that_waits_does_not_run_again_when_it_goes_on(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    batch = [ask(1, "pay", customer="C-1", cents=ALLOWED), ask(2, "pay", customer="C-2", cents=HELD), ask(3, "note", text="hello")]
    setting = Setting(gate, shop.tools("pay", "note"), script(batch))
    with acting(gate):
        agent = driver.agent(setting)
        paused = agent.run(way)
        of_lead(gate, paused)
        ended = agent.resume(way)
    assert sorted(shop.ran) == ["note hello", f"pay C-1 {ALLOWED}", f"pay C-2 {HELD}"]
    assert (len(paused.waiting), ended.said) == (1, "done")
    assert ["paid" in ended.told["call_1"], "paid" in ended.told["call_2"], "noted" in ended.told["call_3"]] == [True, True, True]


# once, whatever the framework does


@row("resume twice")
def test_a_run_that_is_resumed_twice_from_the_same_place_executes_once(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("pay"), script([ask(1, "pay", customer="C-1", cents=HELD)]))
    with acting(gate):
        agent = driver.agent(setting)
        of_lead(gate, agent.run())
        saved = agent.saved()
        told = [driver.agent(replace(setting, saved=saved)).resume().told["call_1"] for _ in range(2)]
    assert shop.ran == [f"pay C-1 {HELD}"]
    assert [f"paid {HELD} to C-1" in text for text in told] == [True, True]


@row("resume in another process")
def test_a_run_that_waits_goes_on_in_another_process(driver: Driver, tmp_path: Path) -> None:
    assert FRAMEWORK is not None
    file = write_gate(tmp_path)
    environ = {**os.environ, "LICET_FRAMEWORK": FRAMEWORK}

    def elsewhere(what: str) -> Mapping[str, Any]:
        command = [sys.executable, "-m", "tests.integrations.conformance.elsewhere", str(tmp_path), what]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    paused = elsewhere("run")
    with Gate(file) as gate:
        vote(gate, paused["waiting"][0], "lena")
    ended = [elsewhere("resume"), elsewhere("resume")]
    assert (tmp_path / "ran.txt").read_text().splitlines() == [f"pay C-1 {HELD}"]
    assert [f"paid {HELD} to C-1" in one["told"]["call_1"] for one in ended] == [True, True], ended


@row("arguments changed after approval")
def test_an_approval_is_of_no_use_for_other_arguments(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("pay"), script([ask(1, "pay", customer="C-1", cents=HELD)]))
    with acting(gate):
        agent = driver.agent(setting)
        paused = agent.run()
        of_lead(gate, paused)
        agent.changed("call_1", {"customer": "C-1", "cents": 9_000})
        try:
            ended = agent.resume()
        except Exception:  # noqa: BLE001 - a framework may see itself that the call is another one
            ended = Ended({})
    assert shop.ran == []
    assert ended.waiting != paused.waiting
    assert "paid" not in ended.told.get("call_1", "")


@row("approval of other arguments")
def test_an_approval_is_used_by_the_call_that_it_is_for_and_by_no_other(driver: Driver, gate: Gate, shop: Shop) -> None:
    def once(thread: str, cents: int) -> Ended:
        turns = script([ask(1, "pay", customer="C-1", cents=cents)])
        return run(driver, Setting(gate, shop.tools("pay"), turns, thread=thread, pause=False))

    once("thread-1", HELD)
    (request,) = {read.envelope.approval.request for read in of_tool(gate, "pay") if read.envelope.approval is not None}
    vote(gate, request, "lena")  # type: ignore[arg-type]
    assert "paid" not in once("thread-2", HELD + 1).told["call_1"]
    assert shop.ran == []
    assert "paid" in once("thread-3", HELD).told["call_1"]
    assert shop.ran == [f"pay C-1 {HELD}"]


@row("retries")
def test_a_write_that_failed_is_not_tried_again_and_a_read_is(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("broken"), script([ask(1, "broken", text="x")]), retries=True)
    assert "it broke after it worked" in told_or_raised(driver, setting)
    assert shop.ran == ["broken x"]
    shop.ran.clear()
    setting = Setting(gate, shop.tools("flaky"), script([ask(2, "flaky", customer="C-1")]), thread="thread-2", retries=True)
    ended = run(driver, setting)
    assert shop.ran == ["flaky C-1", "flaky C-1"]
    assert "C-1 at last" in ended.told["call_2"]


@row("call ids that repeat")
def test_a_model_that_numbers_its_calls_from_one_gets_each_of_them_executed(driver: Driver, gate: Gate, shop: Shop) -> None:
    turns = script([ask(1, "note", text="a")], [ask(1, "note", text="b")])
    run(driver, Setting(gate, shop.tools("note"), turns))
    run(driver, Setting(gate, shop.tools("note"), turns, thread="thread-2"))
    assert shop.ran == ["note a", "note b", "note a", "note b"]


# failing closed


def _broken_gate(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the gate is broken")

    monkeypatch.setattr(gate, "call_brought", fail)
    monkeypatch.setattr(gate, "acall_brought", fail)
    monkeypatch.setattr(gate, "aask_brought", fail)
    monkeypatch.setattr(gate, "apropose", fail)


@row("gate that raises")
@ways
def test_a_gate_that_raises_lets_nothing_run(driver: Driver, gate: Gate, shop: Shop, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.seal()
    _broken_gate(gate, monkeypatch)
    ended = run(driver, Setting(gate, shop.tools("note"), script([ask(1, "note", text="x")])), way)
    assert shop.ran == []
    assert "the gate cannot take this call (RuntimeError" in ended.told["call_1"]
    assert "calling again will not help" in ended.told["call_1"]


@row("log that cannot be written")
@ways
def test_a_log_that_cannot_be_written_lets_nothing_run(
    driver: Driver, gate: Gate, shop: Shop, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(gate, shop.tools("note"), script([ask(1, "note", text="x")]))
    gate.coverage(driver.look_at(driver.agent(setting)))
    gate.seal()

    def fail(self: Writer, filing: Filing) -> Any:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(Writer, "submit", fail)
    ended = run(driver, setting, way)
    monkeypatch.undo()
    assert shop.ran == []
    assert "the audit log cannot be written, so nothing was done" in ended.told["call_1"]


@row("gate that does not answer")
@ways
def test_a_log_that_does_not_answer_in_time_lets_nothing_run(driver: Driver, shop: Shop, way: Way, tmp_path: Path) -> None:
    setting = Setting(Gate(write_gate(tmp_path, store_timeout_s=0.3)), shop.tools("note"), script([ask(1, "note", text="x")]))
    with setting.gate as gate:
        gate.coverage(driver.look_at(driver.agent(setting)))
        gate.seal()
        with (tmp_path / "licet.db-turn").open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # somebody else writes, and does not end
            ended = run(driver, setting, way)
    assert shop.ran == []
    assert "nothing was done" in ended.told["call_1"]


@row("caller missing")
@ways
def test_a_run_in_nobodys_name_is_denied(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    ended = driver.agent(Setting(gate, shop.tools("look"), script([ask(1, "look", customer="C-1")]))).run(way)
    assert shop.ran == []
    assert "(no_caller)" in ended.told["call_1"]


@row("caller from the framework's context")
@ways
def test_the_caller_is_whom_the_host_program_put_into_the_frameworks_context(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    for user in ("alice", "bob"):
        turns = script([ask(1, "look", customer="C-1")])
        driver.agent(Setting(gate, shop.tools("look"), turns, thread=f"of-{user}", user=user)).run(way)
    users = [
        one.ref.id
        for read in of_tool(gate, "look")
        for one in read.payload.principals
        if read.kind in {"intent", "call"} and one.ref.type == "User"
    ]
    assert users == ["alice", "bob"]


@row("invalid arguments")
def test_arguments_that_do_not_fit_are_refused_and_defaults_are_filled_in(driver: Driver, gate: Gate, shop: Shop) -> None:
    calls = [ask(1, "look_again", customer="C-1", depth="deep"), ask(2, "look_again", customer="C-2")]
    ended = run(driver, Setting(gate, shop.tools("look_again"), script(calls)))
    assert shop.ran == ["look_again C-2 2"]
    assert "C-1" not in ended.told["call_1"] or "denied" in ended.told["call_1"]
    assert {"outcome", "call"} & set(kinds(gate, "look_again"))


# more than one agent


@row("nested agents")
def test_the_tools_of_an_agent_behind_a_tool_are_governed_too(driver: Driver, gate: Gate, shop: Shop) -> None:
    helper = Setting(gate, shop.tools("pay", "note"), script([ask(11, "pay", customer="C-9", cents=DENIED), ask(12, "note", text="inner")]))
    turns = script([ask(1, "ask_helper", text="do it")])
    ended = run(driver, Setting(gate, shop.tools("look"), turns, helper=helper))
    assert shop.ran == ["note inner"]
    assert kinds(gate, "ask_helper") == ["intent", "outcome"]
    assert kinds(gate, "pay") == ["denial"]
    assert ended.said == "done"


@row("hand-offs")
def test_the_tools_of_an_agent_that_takes_over_are_governed_too(driver: Driver, gate: Gate, shop: Shop) -> None:
    successor = Setting(gate, shop.tools("pay", "note"), script([ask(11, "pay", customer="C-9", cents=DENIED), ask(12, "note", text="x")]))
    run(driver, Setting(gate, shop.tools("look"), script([ask(1, "hand_over")]), successor=successor))
    assert shop.ran == ["note x"]
    assert kinds(gate, "pay") == ["denial"]


# the rest


@row("cancellation")
def test_a_run_that_is_cancelled_leaves_an_outcome_that_nobody_saw(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("slow"), script([ask(1, "slow", text="x")]))
    with acting(gate):
        driver.agent(setting).cancel_when(shop.started)
    assert shop.ran == ["slow x"]
    reads = of_tool(gate, "slow")
    assert [read.kind for read in reads] == ["intent", "outcome"]
    assert reads[-1].envelope.outcome is not None
    assert reads[-1].envelope.outcome.status == "unknown"


@row("coverage")
def test_coverage_names_every_tool_and_raises_for_one_that_the_gate_cannot_see(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("look", "pay", "unknown"), script())
    found = gate.coverage(driver.look_at(driver.agent(setting)))
    assert (found.tools, found.unclassified) == (("look", "pay"), ("unknown",))


@row("hosted tools")
def test_an_agent_with_a_tool_that_the_gate_cannot_see_does_not_start(driver: Driver, gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("look"), script([ask(1, "look", customer="C-1")]), hosted=True)
    with pytest.raises(Exception, match="do not pass through the gate") as raised:
        run(driver, setting)
    assert "web_search" in str(raised.value) or "google_search" in str(raised.value)  # as the framework calls it
    assert shop.ran == []


@row("trace")
def test_the_record_has_the_frameworks_own_ids(driver: Driver, gate: Gate, shop: Shop) -> None:
    run(driver, Setting(gate, shop.tools("look"), script([ask(1, "look", customer="C-1")])))
    trace = of_tool(gate, "look")[0].envelope.trace
    assert trace is not None
    assert driver.sees_trace(trace.trace_id, trace.span_id, "call_1"), trace


@row("governed functions as tools")
@ways
def test_a_function_that_the_gate_governs_already_is_governed_once(driver: Driver, gate: Gate, shop: Shop, way: Way) -> None:
    @gate.tool("shop.greet", access="write")
    def greet(name: str) -> str:
        """Greet somebody."""
        shop.ran.append(f"greet {name}")
        return f"hello {name}"

    ended = run(driver, Setting(gate, [greet], script([ask(1, "greet", name="Ann")])), way)
    assert shop.ran == ["greet Ann"]
    assert "hello Ann" in ended.told["call_1"]
    assert kinds(gate, "shop.greet") == ["intent", "outcome"]


@row("governed functions as tools")
def test_what_such_a_function_returns_is_told_whole(driver: Driver, gate: Gate, shop: Shop) -> None:
    """Whatever it looks like: an adapter records results of a framework's tools in such shapes."""
    shapes: dict[str, dict[str, object]] = {
        "message": {"content": "one", "artifact": "two"},
        "state": {"commands": ["three"]},
        "plain": {"value": "four"},
    }

    @gate.tool("shop.shape", access="read")
    def shape(kind: str) -> dict[str, object]:
        """Return something of this shape."""
        return dict(shapes[kind])

    turns = script(*([ask(number, "shape", kind=kind)] for number, kind in enumerate(shapes, 1)))
    told = run(driver, Setting(gate, [shape], turns)).told
    for number, returned in enumerate(shapes.values(), 1):
        assert all(name in told[f"call_{number}"] for name in returned), told


@row("errors of tools")
def test_what_a_tool_raises_is_recorded_and_goes_to_the_framework(driver: Driver, gate: Gate, shop: Shop) -> None:
    told = told_or_raised(driver, Setting(gate, shop.tools("broken"), script([ask(1, "broken", text="x")])))
    assert "denied" not in told  # what a model is told of it is the framework's own
    assert shop.ran == ["broken x"]
    ended = of_tool(gate, "broken")[-1]
    assert ended.envelope.outcome is not None
    assert ended.envelope.outcome.status == "error"
    assert "it broke after it worked" in str(ended.payload.message)
