"""Replicas of one application on one ledger: what holds in one process holds among them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.model import CallId
from tests.gate.asleep import until
from tests.gate.replicas import POLICIES, Far, Replicas

pytestmark = pytest.mark.heavy

ADJUST: dict[str, Any] = {"customer_id": "C-1", "amount_cents": 50_000}
SMALL: dict[str, Any] = {"customer_id": "C-1", "amount_cents": 2_500}
UNKNOWN_WITHIN_S = 10.0
"""What docs/postgresql.md promises of calls whose process died; it is asked for more patiently where the machine is busy."""
PATIENTLY_S = 3 * UNKNOWN_WITHIN_S


@pytest.fixture(params=["sqlite", "postgres"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicas]:
    """None yet; the ledger is whole when the test is over."""
    store = f"sqlite:{tmp_path / 'licet.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = Replicas(tmp_path, store)
    try:
        yield made
    finally:
        made.close()
    made.assert_whole()


def results(found: list[list[dict[str, Any]]]) -> Counter[tuple[str, str]]:
    return Counter((one["result"], one["code"]) for some in found for one in some)


def the_request(replicas: Replicas) -> str:
    """One replica asks, and the call is held."""
    return the_request_of(replicas[0])


def the_request_of(replica: Far) -> str:
    held = replica.call("billing.adjust", **ADJUST)
    assert (held["result"], held["code"]) == ("Held", "approval_required")
    assert "adjustments over $100 need a billing lead" in held["message"]
    return str(held["request"])


def test_four_that_write_one_log_make_no_fork_and_lose_nothing(replicas: Replicas) -> None:
    replicas.add(4)
    loads = [one.start("load", first=number * 1_000_000, count=20) for number, one in enumerate(replicas.all)]
    assert [load.result(120)["found"] for load in loads] == [{"Ok allowed": 80}] * 4
    assert replicas.effects().total() == 320
    assert Counter(one.kind for one in replicas.assert_whole()) == {"intent": 320, "outcome": 320}


def test_of_sixteen_callers_in_four_processes_one_uses_an_approval(replicas: Replicas) -> None:
    replicas.add(4)
    request = the_request(replicas)
    replicas[1].ask("vote", request=request, voter="lena")
    found = results(replicas.at_once("call", tool="billing.adjust", arguments=ADJUST, times=4))
    assert found["Ok", "allowed"] == 1
    assert found.total() == 16
    assert set(found) <= {("Ok", "allowed"), ("Denied", "approval_used"), ("Held", "approval_required")}
    assert sum(one.count("billing.adjust") for one in replicas.at_once("ran")) == 1
    consumed = [one.approval.request for one in replicas.envelopes() if one.kind == "intent" and one.approval is not None]
    assert consumed == [request]


def test_of_sixteen_callers_with_one_idempotency_key_one_runs(replicas: Replicas) -> None:
    replicas.add(4)
    found = replicas.at_once("call", tool="billing.adjust", arguments=SMALL, times=4, idempotency_key="order-1")
    assert sum(one.count("billing.adjust") for one in replicas.at_once("ran")) == 1
    assert sum(one.kind == "intent" for one in replicas.envelopes()) == 1
    assert results(found)["Ok", "allowed"] >= 1
    again = results(replicas.at_once("call", tool="billing.adjust", arguments=SMALL, times=4, idempotency_key="order-1"))
    assert again == {("Ok", "allowed"): 16}, "whoever asks again has the recorded result"
    assert sum(one.count("billing.adjust") for one in replicas.at_once("ran")) == 1


def test_sixteen_callers_who_need_the_same_approval_open_one_request(replicas: Replicas) -> None:
    replicas.add(4)
    found = replicas.at_once("call", tool="billing.adjust", arguments=ADJUST, times=4)
    assert results(found) == {("Held", "approval_required"): 16}
    assert len({one["request"] for some in found for one in some}) == 1


def test_a_vote_in_one_wakes_the_waiter_in_another(replicas: Replicas) -> None:
    replicas.add(3)
    waiting = replicas[0].start("call", tool="billing.adjust", arguments=ADJUST, wait=60.0)
    until(lambda: any(one.kind == "hold" for one in replicas.envelopes()))
    request = the_request(replicas)
    replicas[1].ask("vote", request=request, voter="lena")
    (result,) = waiting.result(60)
    assert (result["result"], result["code"], result["value"]) == ("Ok", "allowed", "adjusted")
    assert [one.count("billing.adjust") for one in replicas.at_once("ran")] == [1, 0, 0]


def test_a_freeze_in_one_stops_writes_in_the_others_at_once_and_reads_within_a_second(replicas: Replicas) -> None:
    replicas.add(3)
    assert replicas[1].call("billing.adjust", **SMALL)["result"] == "Ok"
    freeze = replicas[0].ask("freeze", scope="agent", name="support-bot")
    for one in replicas.all:
        stopped = one.call("billing.adjust", **SMALL)
        assert (stopped["result"], stopped["code"]) == ("Denied", "frozen"), "its intent is held against what is frozen then"
        assert "frozen" in stopped["message"]
    for one in replicas.all:
        until(lambda one=one: one.call("crm.lookup", customer_id="C-1")["code"] == "frozen", 5)  # type: ignore[misc]
    assert sum(one.count("billing.adjust") for one in replicas.at_once("ran")) == 1
    replicas[2].ask("lift", freeze=freeze)
    until(lambda: replicas[1].call("billing.adjust", **SMALL)["result"] == "Ok", 5)


def test_the_steps_of_a_plan_run_once_each_whoever_runs_the_plan(replicas: Replicas) -> None:
    replicas.add(3)
    calls = [("billing.adjust", ADJUST), ("account.suspend", {"customer_id": "C-1"})]
    (held,) = replicas[0].ask("plan", calls=calls)
    assert held["state"] == "held"
    replicas[1].ask("vote_plan", plan=held["plan"], voter="lena", steps=[1])
    for voter in ("dana", "omar"):
        replicas[2].ask("vote_plan", plan=held["plan"], voter=voter, steps=[2])
    replicas.at_once("plan", calls=calls, times=2)
    until(lambda: sum(one.count("account.suspend") for one in replicas.at_once("ran")) == 1)
    assert sum(one.count("billing.adjust") for one in replicas.at_once("ran")) == 1
    used = [one.approval.request for one in replicas.envelopes() if one.kind == "intent" and one.approval is not None]
    assert len(used) == len(set(used)) == 2


def test_a_call_that_one_permits_may_be_reported_to_another_and_only_once(replicas: Replicas) -> None:
    replicas.add(3)
    permitted = replicas[0].ask("propose", tool="wire.pay", arguments=SMALL)
    assert permitted["result"] == "Permitted"
    answers = [one.start("report", call=permitted["call"], result="paid") for one in replicas.all]
    assert [answer.result(60) for answer in answers] == ["ReportReceipt"] * 3, "the same report has the same receipt"
    with pytest.raises(RuntimeError, match="ReportRefused"):
        replicas[2].ask("report", call=permitted["call"], result="something else")
    assert [one.kind for one in replicas.assert_whole() if one.call == permitted["call"]] == ["intent", "outcome"]


def test_of_three_sweepers_one_says_that_a_call_was_not_reported(replicas: Replicas) -> None:
    replicas.add(3)
    calls = {CallId(one.ask("propose", tool="wire.quick", arguments={"customer_id": "C-1"})["call"]) for one in replicas.all}
    replicas.until_ended(calls, PATIENTLY_S)
    ends = [one for one in replicas.assert_whole() if one.kind == "recovery"]
    assert sorted(one.call or "" for one in ends) == sorted(calls)
    assert {one.outcome and (one.outcome.status, one.outcome.code) for one in ends} == {("unknown", "not_reported")}


def test_the_calls_of_one_that_is_killed_are_unknown_while_the_others_live(replicas: Replicas) -> None:
    replicas.add(3)
    dead = replicas[2].ask("boot")
    living = {replicas[0].ask("boot"), replicas[1].ask("boot")}
    for number in range(3):
        replicas[2].start("call", tool="till.hang", arguments={"number": number})
    until(lambda: len(replicas[2].hanging) == 3)
    calls = {one.call for one in replicas.envelopes() if one.kind == "intent"}
    replicas[2].kill()
    replicas.until_ended({call for call in calls if call is not None}, PATIENTLY_S)
    ends = [one for one in replicas.assert_whole() if one.kind == "recovery"]
    assert {one.call for one in ends} == calls
    assert {one.outcome and (one.outcome.status, one.outcome.code) for one in ends} == {("unknown", "process_died")}
    assert {one.boot for one in ends} <= living
    assert dead not in living
    assert [one.call("billing.adjust", **SMALL)["result"] for one in replicas.all[:2]] == ["Ok", "Ok"]
    assert {one.ask("boot") for one in replicas.all[:2]} == living, "nobody was started anew"


def test_replicas_that_are_killed_under_load_lose_nothing(replicas: Replicas) -> None:
    replicas.add(4)
    loads = [one.start("load", first=number * 1_000_000) for number, one in enumerate(replicas.all)]
    for victim in (3, 2):
        until(lambda victim=victim: len(replicas[victim].receipts) > 20)  # type: ignore[misc]
        replicas[victim].kill()
    seen = len(replicas[0].receipts)
    until(lambda: len(replicas[0].receipts) > seen + 20)
    calls = {one.call for one in replicas.envelopes() if one.kind == "intent" and one.call is not None}
    for one in replicas.all[:2]:
        one.ask("stop")
    assert [set(load.result(60)["found"]) for load in loads[:2]] == [{"Ok allowed"}] * 2
    replicas.until_ended(calls, PATIENTLY_S)


def test_one_delivers_and_when_it_is_killed_another_does(replicas: Replicas) -> None:
    replicas.add(3)
    until(lambda: sum(one.ask("delivers") for one in replicas.all) == 1)
    first = next(one for one in replicas.all if one.ask("delivers"))
    others = [one for one in replicas.all if one is not first]
    first.kill()
    the_request_of(others[0])
    until(lambda: sum(one.ask("delivers") for one in others) == 1, PATIENTLY_S)


def test_a_reload_in_one_leaves_the_others_as_they_are_and_each_records_what_decided(replicas: Replicas) -> None:
    replicas.add(2)
    new, old = replicas.all
    before = old.ask("bundle")
    (new.folder / "policies" / "all.cedar").write_text(
        POLICIES + '@id("nothing-small")\n@reason("nobody adjusts anything")\n'
        'forbid (principal, action == Action::"billing.adjust", resource);\n'
    )
    assert new.ask("reload")
    assert (old.ask("bundle"), new.ask("bundle") != before) == (before, True)
    denied, allowed = new.call("billing.adjust", **SMALL), old.call("billing.adjust", **SMALL)
    assert (denied["result"], denied["code"]) == ("Denied", "forbidden")
    assert "nobody adjusts anything" in denied["message"]
    assert allowed["result"] == "Ok"
    decided = {one.kind: one.decision.bundle for one in replicas.envelopes() if one.decision is not None}
    assert decided == {"denial": new.ask("bundle"), "intent": before}
