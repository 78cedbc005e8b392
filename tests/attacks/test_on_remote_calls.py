"""Attacks on calls that somebody else executes: reported twice, by others, too late, after a crash, or permitted twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw
import pytest

from licet.errors import CallerRefused, ReportRefused
from licet.gate.remote import CallReport, ReportReceipt
from licet.gate.results import Denied, Failed, Held, Permitted, Proposed
from licet.model import CallId
from licet.testing import vote
from tests.gate.remoting import OK, permitted, propose, remote_world, remote_world_on, report, verified
from tests.world import World


@pytest.fixture
def there() -> Iterator[World]:
    with remote_world() as found:
        yield found
        assert verified(found).problems == ()


def pair(folder: Path, stack: ExitStack) -> tuple[World, World]:
    """Two gates on one ledger, as two processes have it."""
    return stack.enter_context(remote_world_on(folder)), stack.enter_context(remote_world_on(folder))


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each came to, begun at one moment."""
    found: list[Any] = [None] * len(works)
    ready = threading.Barrier(len(works))

    def run(place: int) -> None:
        ready.wait()
        try:
            found[place] = works[place]()
        except ReportRefused as refused:
            found[place] = refused

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# reports by others


@pytest.mark.parametrize(
    "acting",
    [
        {"agent": "support-bot", "user": "carl"},
        {"agent": "support-bot"},
        {"agent": "free-bot", "user": "alice", "tenant": "acme"},
        {"agent": "free-bot", "user": "gina", "tenant": "globex"},
        {"service": "importer"},
        {"agent": "support-bot", "user": "alice", "tenant": "globex"},
    ],
    ids=["user", "no user", "agent", "tenant", "service", "claimed tenant"],
)
def test_nobody_but_its_caller_reports_a_call_or_learns_of_it(there: World, acting: dict[str, str]) -> None:
    calls = [permitted(there).call, propose(there, 50_000).call, propose(there, customer="G-1").call]
    for call in calls:
        with there.gate.acting(**acting), pytest.raises(ReportRefused) as refused:  # type: ignore[arg-type]  # names only
            there.gate.report(call, OK)
        assert (refused.value.code, str(refused.value)) == ("no_such_call", f"there is no call `{call}` of this caller")
    assert "outcome" not in there.kinds()


def test_nobody_reports_without_saying_who_it_is(there: World) -> None:
    call = permitted(there).call
    with pytest.raises(CallerRefused, match="nobody is calling"):
        there.gate.report(call, OK)


# reports of what was not permitted


def test_a_held_or_denied_call_has_no_end_to_report(there: World) -> None:
    held, denied = propose(there, 50_000), propose(there, customer="G-1")
    assert isinstance(held, Held)
    assert isinstance(denied, Denied)
    for call in (held.call, denied.call):
        with pytest.raises(ReportRefused, match="nobody was permitted to execute it") as refused:
            report(there, call)
        assert refused.value.code == "not_permitted"


def test_the_end_of_a_local_call_is_nobodys_to_report(there: World) -> None:
    local = there.adjust()
    with pytest.raises(ReportRefused, match="executed by the process that governs it") as refused:
        report(there, local.call)
    assert refused.value.code == "not_remote"


@pytest.mark.parametrize(
    "said",
    [
        CallReport(status="done"),  # type: ignore[arg-type]  # no status
        CallReport(status="ok", code="a code with spaces"),
        CallReport(status="ok", code="x" * 65),
        CallReport(status="ok", duration_us=-1),
        CallReport(status="error", result=b"1"),
        CallReport(status="ok", result=b"{"),
        CallReport(status="ok", result=b'{"a":1,"a":2}'),
        CallReport(status="ok", result=b"[" * 5_000 + b"]" * 5_000),
        CallReport(status="ok", result=b'"\xff"'),
        CallReport(status="ok", result=b'"x","names":{"u":"v"}'),
    ],
    ids=["status", "code", "long code", "duration", "result of an error", "cut", "twice", "deep", "bytes", "breaking out"],
)
def test_a_report_that_cannot_be_recorded_is_refused_and_ends_nothing(there: World, said: CallReport) -> None:
    call = permitted(there).call
    with pytest.raises(ReportRefused) as refused:
        report(there, call, said)
    assert refused.value.code == "bad_report"
    assert report(there, call).status == "ok"


# twice


def test_another_end_of_the_same_call_is_refused_whatever_it_says(there: World) -> None:
    call = permitted(there).call
    report(there, call)
    for said in (CallReport(status="ok", result=b'"other"'), CallReport(status="error"), CallReport(status="not_executed")):
        with pytest.raises(ReportRefused, match="was reported before, by record acme:1, and stands") as refused:
            report(there, call, said)
        assert refused.value.code == "already_reported"
    assert there.kinds() == ["intent", "outcome"]


@pytest.mark.parametrize("second", [OK, CallReport(status="error")], ids=["the same", "another"])
def test_two_reports_at_one_moment_in_two_processes_are_one_record(tmp_path: Path, second: CallReport) -> None:
    with ExitStack() as stack:
        one, two = pair(tmp_path, stack)
        for _ in range(10):
            call = permitted(one).call
            found = at_once(lambda call=call: report(one, call), lambda call=call: report(two, call, second))  # type: ignore[misc]
            receipts = {told.receipt for told in found if isinstance(told, ReportReceipt)}
            assert len(receipts) == 1
            assert sum(isinstance(told, ReportRefused) for told in found) == (0 if second is OK else 1)
            assert [record.kind for record in one.gate.store.records_of_call(call)] == ["intent", "outcome"]
        assert verified(one).problems == ()


def test_of_the_sweeper_and_a_report_at_one_moment_both_are_told_in_one_order(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = pair(tmp_path, stack)
        sweep = two.gate._opened().reporter.sweep
        for _ in range(10):
            call = permitted(one).call
            two.clock.advance(61)  # for one process its time is over, for the other it is not yet
            told, _ = at_once(lambda call=call: report(one, call), sweep)  # type: ignore[misc]
            two.clock.advance(-61)
            kinds = [record.kind for record in one.gate.store.records_of_call(call)]
            assert kinds == (["intent", "recovery", "outcome"] if told.is_late else ["intent", "outcome"])
        assert one.gate.unknown() == ()
        assert verified(one).problems == ()


def test_two_sweepers_say_it_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = pair(tmp_path, stack)
        calls = [permitted(one).call for _ in range(20)]
        for world in (one, two):
            world.clock.advance(61)
        at_once(one.gate._opened().reporter.sweep, two.gate._opened().reporter.sweep)
        for call in calls:
            assert [record.kind for record in one.gate.store.records_of_call(call)] == ["intent", "recovery"]
        assert verified(one).problems == ()


# permitted twice


def test_one_approval_permits_one_of_two_proposals_at_one_moment(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = pair(tmp_path, stack)
        for amount in range(50_000, 50_005):
            held = propose(one, amount)
            assert isinstance(held, Held)
            vote(one.gate, held.request, "lena")
            found: list[Proposed] = at_once(*[lambda world=world, amount=amount: propose(world, amount) for world in (one, two)])
            assert sum(isinstance(result, Permitted) for result in found) == 1, found
        assert verified(one).problems == ()


def test_one_key_permits_one_of_two_proposals_at_one_moment(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = pair(tmp_path, stack)
        for number in range(5):
            works = [lambda world=world, number=number: propose(world, idempotency_key=f"k-{number}") for world in (one, two)]
            found: list[Proposed] = at_once(*works)
            first = next(result for result in found if isinstance(result, Permitted))
            other = next(result for result in found if result is not first)
            assert isinstance(other, Failed)
            assert (other.repeats, other.status) == (first.call, "unknown")
        assert verified(one).problems == ()


# crashes and edits


@pytest.mark.heavy
def test_a_call_outlives_the_process_that_permitted_it_and_is_reported_to_another(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.gate.proposer", str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        call = CallId(process.stdout.readline().strip())
        process.kill()
    with remote_world_on(tmp_path) as world:
        assert world.gate.find_call(call).state == "open", "its time is not over, so nobody recovers it"
        again = propose(world, idempotency_key="once")
        assert isinstance(again, Failed)
        assert again.repeats == call
        assert report(world, call).status == "ok"
        assert [record.kind for record in world.gate.store.records_of_call(call)] == ["intent", "outcome"]
        assert verified(world).problems == ()


def test_a_call_outlives_the_gate_that_permitted_it(tmp_path: Path) -> None:
    with remote_world_on(tmp_path) as world:
        call = permitted(world).call
    with remote_world_on(tmp_path) as world:
        assert report(world, call).status == "ok"
        outcome = world.records()[-1].envelope
        assert outcome.boot != world.gate.store.records_of_call(call)[0].envelope.decode().split('"boot":"')[1][:36]
        assert verified(world).problems == ()


def test_an_edited_deadline_gives_nobody_more_time(tmp_path: Path) -> None:
    with remote_world_on(tmp_path) as world:
        call = permitted(world).call
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("UPDATE open_calls SET deadline = deadline + 3600000000")
        con.close()
        world.clock.advance(61)
        assert report(world, call).is_late, "the intent's record says until when"
        assert verified(world).problems == ()


def test_a_row_that_was_deleted_does_not_keep_the_end_from_the_log(tmp_path: Path) -> None:
    with remote_world_on(tmp_path) as world:
        call = permitted(world).call
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("DELETE FROM open_calls")
        con.close()
        assert [problem.message for problem in verified(world).problems] == ["an intent without an end is not known as open"]
        assert report(world, call).status == "ok"
        assert report(world, call).repeated
        assert [record.kind for record in world.gate.store.records_of_call(call)] == ["intent", "outcome"]
        assert verified(world).problems == ()
