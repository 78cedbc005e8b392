"""How systems of this kind were broken, each tried on this one.

`ATTACKS` names every way that is known to have worked on at least one of them, with the tests here that try it; or says why it cannot be
tried yet. Nothing in a test below uses anything that the attacker would not have.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from licet import Effect
from licet.approvals.standing import binding_of
from licet.errors import IntegrityBroken, VoteRefused
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.ledger.record import leaf_hash
from licet.ledger.verify import verify
from licet.model import Receipt, Request, Vote
from licet.store import sqlite_open
from licet.store.sqlite import SqliteStore
from licet.testing import Clock, vote
from tests.gate.faulty import faulty_world
from tests.gate.proof import assert_whole, report_of
from tests.gate.test_kill import killed
from tests.world import CONFIG, POLICIES, World, world, world_on

ATTACKS: dict[str, tuple[str, ...] | str] = {
    "arguments changed after approval": ("test_arguments_changed_after_approval_are_another_call",),
    "arguments mutated while the approver looks": ("test_arguments_mutated_while_the_approver_looks_change_nothing",),
    "approval used twice": ("test_an_approval_is_not_used_twice", "test_an_approval_whose_state_was_set_back_is_not_used_twice"),
    "self-approval": ("test_nobody_approves_their_own",),
    "an approval row forged or edited in the database": (
        "test_an_approval_forged_in_the_database_runs_nothing",
        "test_a_request_edited_in_the_database_runs_nothing",
    ),
    "audit record edited": ("test_an_edited_record_is_found",),
    "tail cut": ("test_a_cut_tail_is_found_and_nobody_writes_after_it",),
    "tail cut with repaired state": ("test_a_cut_tail_with_repaired_state_does_not_fit_its_receipts",),
    "whole file rolled back": "needs a witness: an earlier state is whole in itself. Whoever kept a receipt sees it, as above.",
    "everything rewritten by the key's owner": "needs checkpoints and a witness: without a key there is nothing yet that an owner could rewrite.",
    "log made unwritable and the write ran": ("test_a_locked_database_stops_writes", "test_a_full_disk_stops_writes"),
    "log broken during the tool and the result released": ("test_a_tool_that_breaks_the_log_does_not_get_its_result_out",),
    "kill -9 leaves no entry": ("test_a_killed_process_leaves_its_intent_and_the_next_one_says_that_nobody_saw_the_end",),
    "SystemExit in a tool leaves none": ("test_a_tool_that_ends_the_process_has_an_entry",),
    "sixteen callers race on one approval (one executed, but the chain broke)": (
        "test_sixteen_callers_on_one_approval_execute_once_and_the_log_is_whole",
    ),
    "a rule tightened and the old pin honoured for 60 s": ("test_a_tightened_rule_counts_at_the_next_call",),
    "each retry opens a new request": ("test_a_retry_opens_no_second_request",),
    "a torn tail stops the system until a person repairs it": ("test_a_torn_tail_stops_nobody",),
    "the approver sees [REDACTED] where the order id should be": ("test_the_approver_sees_the_exact_arguments_and_effects",),
    "dry-run really executes": ("test_a_preview_and_a_check_execute_nothing", "test_a_dry_run_argument_grants_nothing"),
    "a path written differently, a renamed argument, a double space or a zero-width character passes a rule": (
        "test_another_spelling_passes_no_rule",
    ),
    "audit cost that grows with the log (49 to 305 ms within 200 calls)": ("test_a_call_costs_the_same_however_long_the_log_is",),
}

AMOUNT = 50_000
ARGUMENTS = {"customer_id": "C-1", "amount_cents": AMOUNT}


def test_every_attack_has_its_tests() -> None:
    named = [name for tests in ATTACKS.values() if not isinstance(tests, str) for name in tests]
    assert all(callable(globals()[name]) for name in named)
    ours = {name for name in globals() if name.startswith("test_")} - {"test_every_attack_has_its_tests"}
    assert ours == set(named)


def call(w: World, arguments: Any, tool: str = "billing.adjust") -> Result:
    with w.alice():
        return w.gate.call(tool, arguments)


def approved(w: World) -> Held:
    held = w.held(AMOUNT)
    vote(w.gate, held.request, "lena")
    return held


def edit(folder: Path, text: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """What somebody does who can write the database."""
    con = apsw.Connection(str(folder / "licet.db"))
    try:
        return list(con.execute(text, values))
    finally:
        con.close()


# approvals


def test_arguments_changed_after_approval_are_another_call() -> None:
    with world() as w:
        approved(w)
        for changed in (AMOUNT + 1, AMOUNT - 1, 900_000):
            result = call(w, {"customer_id": "C-1", "amount_cents": changed})
            assert isinstance(result, Held)
        w.customers["C-3"] = dict(w.customers["C-1"])
        assert isinstance(call(w, {"customer_id": "C-3", "amount_cents": AMOUNT}), Held)
        assert w.ran == []
        assert_whole(w.gate)


def test_arguments_mutated_while_the_approver_looks_change_nothing() -> None:
    with world() as w:
        arguments = dict(ARGUMENTS)
        held = call(w, arguments)
        assert isinstance(held, Held)
        assert held.request is not None
        stop = threading.Event()

        def mutate() -> None:
            turn = 0
            while not stop.is_set():
                turn += 1
                arguments["amount_cents"] = 900_000 if turn % 2 else AMOUNT
                arguments["customer_id"] = "C-1"

        with ThreadPoolExecutor(1) as pool:
            mutating = pool.submit(mutate)
            try:
                for _ in range(50):
                    shown = msgspec.json.decode(w.gate.approvals.show(held.request).request.summary)
                    assert shown["arguments"] == ARGUMENTS
                vote(w.gate, held.request, "lena")
                results = [call(w, arguments) for _ in range(200)]
            finally:
                stop.set()
            mutating.result(20)
        assert sum(isinstance(result, Ok) for result in results) <= 1
        assert w.ran in ([], [("billing.adjust", ARGUMENTS)]), "only what was approved ever ran"
        intents = [record for record in w.records() if record.kind == "intent"]
        assert all(msgspec.json.decode(intent.payload.arguments) == ARGUMENTS for intent in intents)
        assert_whole(w.gate)


def test_an_approval_is_not_used_twice() -> None:
    with world() as w:
        approved(w)
        assert [type(w.adjust(AMOUNT)) for _ in range(3)] == [Ok, Held, Held]
        assert len(w.ran) == 1
        assert_whole(w.gate)


def test_an_approval_whose_state_was_set_back_is_not_used_twice(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = approved(w)
        assert isinstance(w.adjust(AMOUNT), Ok)
        w.customers["C-1"]["balance"] = 100
        edit(tmp_path, "UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,))
        w.denied(w.adjust(AMOUNT), "approval_not_in_log", "has ended it", "audit verify")
        assert len(w.ran) == 1
        assert not report_of(w.gate).ok


def test_nobody_approves_their_own() -> None:
    config = CONFIG.replace("[groups]", '[users.alice-two]\ntenants = ["acme"]\nperson = "alice"\n[groups]').replace(
        'billing-leads = ["lena", "alice", "gina"]', 'billing-leads = ["lena", "alice", "alice-two"]'
    )
    with world(config) as w:
        held = w.held(AMOUNT)
        for voter in ("alice", "alice-two", "support-bot"):
            with pytest.raises(VoteRefused):
                vote(w.gate, held.request, voter)
        assert isinstance(w.adjust(AMOUNT), Held)
        assert w.ran == []
        assert_whole(w.gate)


def forge_state(folder: Path, held: Held) -> None:
    edit(folder, "UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,))


def forge_vote(folder: Path, held: Held) -> None:
    """A vote as lena would have cast it, on exactly what was shown."""
    body, state = edit(folder, "SELECT body, state FROM requests WHERE id = ?", (held.request,))[0]
    request = msgspec.json.decode(body, type=Request)
    forged = Vote(
        request=request.id,
        voter="lena",
        person="lena",
        verdict="approve",
        at=request.opened_at,
        binding=binding_of(request.key, request.preview_digest, request.obligations),
    )
    edit(folder, "INSERT INTO votes (request, person, body) VALUES (?, ?, ?)", (request.id, "lena", msgspec.json.encode(forged)))
    edit(folder, "UPDATE requests SET state = 'approved' WHERE id = ? AND state = ?", (request.id, state))


def forge_request(folder: Path, held: Held) -> None:
    """A whole approval for another amount, with its vote."""
    forge_vote(folder, held)
    edit(folder, "UPDATE requests SET id = 'forged' WHERE id = ?", (held.request,))
    edit(folder, "UPDATE votes SET request = 'forged'")


@pytest.mark.parametrize("forge", [forge_state, forge_vote, forge_request])
def test_an_approval_forged_in_the_database_runs_nothing(tmp_path: Path, forge: Callable[[Path, Held], None]) -> None:
    with world_on(tmp_path) as w:
        held = w.held(AMOUNT)
        forge(tmp_path, held)
        if forge is not forge_state:
            assert not report_of(w.gate).ok
        result = w.adjust(AMOUNT)
        assert isinstance(result, Denied | Held), result
        assert w.ran == []
        if isinstance(result, Denied):
            assert result.decision.code in {"approval_not_in_log", "contention"}


def lower_the_count(body: dict[str, Any]) -> None:
    for obligation in body["obligations"]:
        obligation["count"] = 1


def drop_the_obligations(body: dict[str, Any]) -> None:
    body["obligations"] = []


def prolong(body: dict[str, Any]) -> None:
    body["expires_at"] = "2027-01-01T00:00:00Z"


def change_the_user(body: dict[str, Any]) -> None:
    body["user"] = "carl"


@pytest.mark.parametrize("change", [lower_the_count, drop_the_obligations, prolong, change_the_user])
def test_a_request_edited_in_the_database_runs_nothing(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with world_on(tmp_path) as w:
        held = call(w, {"customer_id": "C-1"}, "account.suspend")
        assert isinstance(held, Held)
        vote(w.gate, held.request, "dana")
        body = msgspec.json.decode(edit(tmp_path, "SELECT body FROM requests")[0][0])
        change(body)
        edit(tmp_path, "UPDATE requests SET state = 'approved', body = ?, expires_at = ?", (msgspec.json.encode(body), 2**60))
        if change is prolong:
            w.clock.advance(3_600)
        result = call(w, {"customer_id": "C-1"}, "account.suspend")
        assert isinstance(result, Denied | Held), result
        assert w.ran == []
        assert not report_of(w.gate).ok


def test_a_retry_opens_no_second_request() -> None:
    with world() as w:
        requests = {w.held(AMOUNT).request for _ in range(30)}
        assert len(requests) == len(w.gate.approvals.all()) == 1
        assert_whole(w.gate)


def test_sixteen_callers_on_one_approval_execute_once_and_the_log_is_whole(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        approved(w)
        barrier = threading.Barrier(16)

        def go(_: int) -> Result:
            barrier.wait(20)
            return w.adjust(AMOUNT)

        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(go, range(16)))
        assert sum(isinstance(result, Ok) for result in results) == len(w.ran) == 1
        assert_whole(w.gate)


def test_a_tightened_rule_counts_at_the_next_call(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        approved(w)
        stricter = POLICIES.replace("<= 1000000", "<= 1000")
        (w.gate.settings.policies / "all.cedar").write_text(stricter)

        @w.gate.tool("new.tool", access="read")
        def new() -> None:
            """Registering a tool makes the gate read its policies again."""

        w.denied(w.adjust(AMOUNT), "no_permit")
        w.denied(w.adjust(2_500), "no_permit")
        assert w.ran == []
        assert_whole(w.gate)


def test_the_approver_sees_the_exact_arguments_and_effects() -> None:
    with world() as w:
        held = w.held(AMOUNT)
        assert held.request is not None
        summary = msgspec.json.decode(w.gate.approvals.show(held.request).request.summary)
        assert summary["arguments"] == ARGUMENTS
        assert summary["preview"] == [{"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 50_100}]
        assert [target["id"] for target in summary["targets"]] == ["C-1"]


# dry runs and spellings


def test_a_preview_and_a_check_execute_nothing() -> None:
    with world() as w:
        w.held(AMOUNT)
        with w.alice():
            for arguments in (ARGUMENTS, {"customer_id": "C-1", "amount_cents": 5}):
                w.gate.check("billing.adjust", arguments)
        assert w.ran == []
        assert w.customers["C-1"]["balance"] == 100


def test_a_dry_run_argument_grants_nothing() -> None:
    with world() as w:
        for arguments in ({**ARGUMENTS, "dry_run": True}, {**ARGUMENTS, "amount_cents": 5, "dry_run": True}):
            w.denied(call(w, arguments), "unknown_argument", "dry_run")
        deleted = []

        @w.gate.tool("files.delete", access="destructive", touches={"access"}, targets="Customer::{customer_id}")
        def delete(customer_id: str, dry_run: bool = False) -> list[Effect]:  # noqa: FBT001, FBT002 - such tools exist
            deleted.append(customer_id)
            return []

        (w.gate.settings.policies / "more.cedar").write_text(
            '@id("two") @require_approval("1 of Group::\\"security-leads\\"") forbid (principal, action == Action::"files.delete", resource);'
        )
        held = call(w, {"customer_id": "C-1", "dry_run": True}, "files.delete")
        assert isinstance(held, Held), "its own word for a dry run does not make a call harmless"
        assert held.preview is None
        vote(w.gate, held.request, "dana")
        assert isinstance(call(w, {"customer_id": "C-1"}, "files.delete"), Held), "an approved dry run covers no real one"
        assert deleted == []
        assert_whole(w.gate)


def test_another_spelling_passes_no_rule() -> None:
    policies = (
        POLICIES + '@id("not-c1") @reason("never C-1") forbid (principal, action == Action::"crm.lookup", resource == Customer::"C-1");'
    )
    with world(policies=policies) as w:
        w.customers["Zoe 1"] = dict(w.customers["C-1"])
        w.denied(call(w, {"customer_id": "C-1"}, "crm.lookup"), "forbidden", "never C-1")
        spellings = ["C-1 ", " C-1", "C-1\u200b", "C\u20111", "\uff23-1", "C-1\x00", "c-1", "C-1\n", "C-01", "C\u20101", "C-\u0661"]
        for spelling in [*spellings, "Zoe  1", "Zoe\u00a01"]:
            result = call(w, {"customer_id": spelling}, "crm.lookup")
            assert isinstance(result, Denied), spelling
            assert result.decision.code in {"not_canonical", "target_not_found"}, result.decision
        for arguments in ({"customerId": "C-1"}, {"customer_id ": "C-1"}, {"customer_id": "Zoe 1", "customer\u200b_id": "C-1"}):
            result = call(w, arguments, "crm.lookup")
            assert isinstance(result, Denied)
            assert result.decision.code in {"missing", "unknown_argument"}
        assert w.ran == []
        assert_whole(w.gate)


# the log


def test_an_edited_record_is_found(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.adjust()
    envelope = edit(tmp_path, "SELECT envelope FROM records WHERE kind = 'outcome'")[0][0]
    edit(tmp_path, "UPDATE records SET envelope = ? WHERE kind = 'outcome'", (envelope.replace(b'"status":"ok"', b'"status":"no"'),))
    with world_on(tmp_path) as w:
        report = report_of(w.gate)
        assert not report.ok
        assert any("bytes are not those that were hashed" in str(problem) for problem in report.problems)


def test_a_cut_tail_is_found_and_nobody_writes_after_it(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.adjust()
    edit(tmp_path, "DELETE FROM records WHERE place = (SELECT max(place) FROM records)")
    with world_on(tmp_path) as w:
        with pytest.raises(IntegrityBroken, match="audit verify"):
            w.adjust()
        assert w.ran == []
    store = SqliteStore.open(tmp_path / "licet.db", now=Clock(), read_only=True)
    with store.source() as source:
        assert not verify(source).ok
    store.close()


def test_a_cut_tail_with_repaired_state_does_not_fit_its_receipts(tmp_path: Path) -> None:
    """The log is whole in itself: only what somebody kept outside shows what is gone. Every caller has a receipt."""
    with world_on(tmp_path) as w:
        first = w.adjust()
        repaired = edit(tmp_path, "SELECT number, name, size, compact_range FROM logs")
        w.gate.close()
    with world_on(tmp_path) as w:
        second = w.adjust()
        assert isinstance(first, Ok)
        assert isinstance(second, Ok)
    for number, name, size, compact_range in repaired:
        for table in ("records", "payloads"):
            edit(tmp_path, f"DELETE FROM {table} WHERE place >= ? AND place < ?", ((number << 40) + size, (number + 1) << 40))
        edit(tmp_path, "REPLACE INTO logs (number, name, size, compact_range) VALUES (?, ?, ?, ?)", (number, name, size, compact_range))
    with world_on(tmp_path) as w:
        w.adjust()
        assert fits(w, first.receipt)
        assert not fits(w, second.receipt)


def fits(w: World, receipt: Receipt) -> bool:
    return leaf_hash(w.gate.store.get_record(receipt.log, receipt.index).envelope).hex() == receipt.leaf


def test_a_locked_database_stops_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_open, "BUSY_TIMEOUT_S", 0.02)
    monkeypatch.setattr("licet.ledger.writer.RETRY_PAUSES_S", (0.0,))
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok)
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("BEGIN IMMEDIATE")
        w.denied(w.adjust(), "log_unavailable", "nothing was done")
        with w.alice():
            w.denied(asyncio.run(w.gate.acall("billing.refund", {"customer_id": "C-1", "amount_cents": 5})), "log_unavailable")
        assert len(w.ran) == 1
        con.execute("ROLLBACK")
        con.close()
        assert isinstance(w.adjust(), Ok)
        assert_whole(w.gate)


def test_a_full_disk_stops_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.ledger.writer.RETRY_PAUSES_S", (0.0,))
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok)
        store: Any = w.gate.store
        pages = store._writer.pragma("page_count")
        store._writer.pragma("max_page_count", pages)
        results = [w.adjust() for _ in range(60)]
        ran = len(w.ran)
        assert any(isinstance(result, Denied) and result.decision.code == "log_unavailable" for result in results)
        assert ran == 1 + sum(isinstance(result, Ok) or (isinstance(result, Failed) and result.executed) for result in results)
        store._writer.pragma("max_page_count", 1 << 30)
        assert isinstance(w.adjust(), Ok)
        w.gate.close()
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds().count("outcome") == w.kinds().count("intent"), "what could not be recorded at once was recorded later"
        assert w.gate.store.open_calls() == ()
        assert_whole(w.gate)


def test_a_tool_that_breaks_the_log_does_not_get_its_result_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch, tmp_path) as (w, store):

        @w.gate.tool("exfiltrate", access="read")
        def exfiltrate() -> str:
            store.fail("down")
            return "the secret"

        @w.gate.tool("exfiltrate.write", access="write", touches={"access"})
        async def exfiltrate_awaited() -> str:
            store.fail("down")
            return "the secret"

        for tool in ("exfiltrate", "exfiltrate.write"):
            result = call(w, {}, tool)
            assert isinstance(result, Failed)
            assert (result.code, result.executed, result.receipt) == ("outcome_not_recorded", True, None)
            assert "secret" not in repr(result)
            store.mend()
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert sorted(w.kinds()) == ["call", "intent", "outcome"]
        assert_whole(w.gate)


def test_a_killed_process_leaves_its_intent_and_the_next_one_says_that_nobody_saw_the_end(tmp_path: Path) -> None:
    killed(tmp_path, "in the tool")
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds()[-2:] == ["intent", "recovery"]
        assert_whole(w.gate)


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()])
def test_a_tool_that_ends_the_process_has_an_entry(error: BaseException) -> None:
    with world() as w:
        w.raises = error
        for tool in ("odd.now", "odd.awaited"):
            with pytest.raises(type(error)):
                call(w, {}, tool)
        codes = [record.envelope.outcome.code for record in w.records() if record.envelope.outcome is not None]
        assert codes == [type(error).__name__] * 2
        assert_whole(w.gate)


@pytest.mark.parametrize("cut", [1, 100, 5_000])
def test_a_torn_tail_stops_nobody(tmp_path: Path, cut: int) -> None:
    told = killed(tmp_path, "after everything")
    log = tmp_path / "licet.db-wal"
    whole = log.read_bytes()
    assert whole
    log.write_bytes(whole[:-cut] + b"\0" * (cut // 2))
    (tmp_path / "licet.db-shm").unlink(missing_ok=True)
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok), "nobody had to repair anything"
        assert len(w.kinds()) >= len(told)
        assert_whole(w.gate)


def test_a_call_costs_the_same_however_long_the_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps of SQLite's machine, which do not depend on how busy this one is."""
    steps = [0]
    connect = sqlite_open.connect

    def counting(*args: Any, **kwargs: Any) -> apsw.Connection:
        con = connect(*args, **kwargs)

        def count() -> bool:
            steps[0] += 1
            return False

        con.set_progress_handler(count, 10)
        return con

    monkeypatch.setattr(sqlite_open, "connect", counting)

    def cost(w: World) -> int:
        before = steps[0]
        for number in range(10):
            w.adjust(100 + number, idempotency_key=f"{before}-{number}")
            with w.alice():
                w.gate.call("crm.lookup", {"customer_id": "C-1"})
            w.held(50_000 + number)
        return steps[0] - before

    with world_on(tmp_path) as w:
        w.adjust()
        first = cost(w)
        for number in range(400):
            w.adjust(100 + number)
        assert cost(w) < 1.5 * first
        assert_whole(w.gate)
