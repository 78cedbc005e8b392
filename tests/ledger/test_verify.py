"""What verification finds: nothing in a ledger as it was written, and each thing that was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from licet.ledger.merkle import Tree
from licet.ledger.record import ApprovalEntry, DecisionEntry, Payload, ToolEntry, leaf_hash
from licet.ledger.report import Report
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import RequestState
from licet.store.contract import CloseCall, MoveRequest, OpenCall
from licet.store.sqlite import SqliteStore
from tests.store.samples import (
    KEYS,
    NOW,
    call_id,
    consuming,
    intent,
    key_of,
    now,
    opening,
    outcome,
    record,
    request,
    small_ledger,
    taking,
    vote,
    voting,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with_store = SqliteStore.open(path, now=now, keys=KEYS)
    yield with_store
    with_store.close()


def verified(store: SqliteStore) -> Report:
    with store.source() as source:
        return verify(source)


def problems(store: SqliteStore) -> list[str]:
    return [str(problem) for problem in verified(store).problems]


def tamper(path: Path, text: str, values: tuple[Any, ...] = ()) -> None:
    """As somebody who can write the file would."""
    con = apsw.Connection(str(path))
    con.execute(text, values)
    con.close()


def test_a_ledger_as_it_was_written_has_no_problems_and_its_roots(store: SqliteStore) -> None:
    small_ledger(store)
    report = verified(store)
    assert report.problems == ()
    assert report.ok
    assert report.checked_projections
    states = {state.log: state for state in store.logs()}
    assert report.records == sum(state.size for state in states.values()) == 12
    assert [(log.log, log.size, log.root) for log in report.logs] == [
        (name, state.size, Tree(state.size, state.compact_range).root().hex()) for name, state in sorted(states.items())
    ]


def test_an_empty_ledger_has_no_problems(store: SqliteStore) -> None:
    report = verified(store)
    assert (report.ok, report.records, report.logs) == (True, 0, ())


def test_a_ledger_of_many_chunks_has_no_problems(store: SqliteStore) -> None:
    for _ in range(4):
        calls = [call_id() for _ in range(170)]
        opened = [Filing((intent(call, store),), (OpenCall(call, "acme"),)) for call in calls]
        written(store, *opened, *[Filing((outcome(call),), (CloseCall(call),)) for call in calls])
    assert verified(store).problems == ()


def test_verification_sees_one_moment_while_others_write(store: SqliteStore) -> None:
    small_ledger(store)
    with store.source() as source:
        trees = source.trees()
        written(store, Filing((record(),)))
        assert verify(source).ok
        assert [tree.size for tree in trees] == [11, 1]


# records

RECORD_EDITS: list[tuple[str, str, str]] = [
    (
        "UPDATE records SET envelope = CAST(replace(CAST(envelope AS TEXT), 'agent', 'agend') AS BLOB) WHERE place & 255 = 0",
        "0, envelope",
        "not those that were hashed",
    ),
    ("UPDATE records SET leaf = zeroblob(32) WHERE place & 255 = 1", "1, envelope", "not those that were hashed"),
    ("UPDATE records SET kind = 'denial' WHERE place & 255 = 0", "0, kind", "envelope and row disagree: expected `intent`, found `denial`"),
    ("UPDATE records SET call = 'other' WHERE place & 255 = 0", "0, call", "envelope and row disagree"),
    ("UPDATE payloads SET sealed = zeroblob(length(sealed)) WHERE place & 255 = 0", "0, payload", "not those that were sealed"),
    ("UPDATE payloads SET sealed = CAST(sealed || x'00' AS BLOB) WHERE place & 255 = 2", "2, payload", "not those that were sealed"),
    ("UPDATE payloads SET sealed = x'00' WHERE place & 255 = 2", "2, payload", "not those that were sealed"),
    ("UPDATE payloads SET sealed = NULL WHERE place & 255 = 2", "2, payload", "it is missing"),
    (
        "UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE place = (1 << 40) + 9) WHERE place = (1 << 40) + 3",
        "3, payload",
        "not those that were sealed",
    ),
    ("DELETE FROM payloads WHERE place & 255 = 2", "2, payload", "it is missing"),
    ("DELETE FROM records WHERE place & 255 = 3 AND place >> 40 = 1", "3, index", "records are missing: expected `3`, found `4`"),
    ("UPDATE records SET place = place + 90 WHERE place & 255 = 3 AND place >> 40 = 1", "3, index", "records are missing"),
    ("UPDATE records SET envelope = x'ff' WHERE place & 255 = 3 AND place >> 40 = 1", "3, envelope", "it cannot be read"),
    ("UPDATE records SET envelope = x'7b7d' WHERE place & 255 = 3 AND place >> 40 = 1", "3, envelope", "it cannot be read"),
]


@pytest.mark.parametrize(("text", "place", "message"), RECORD_EDITS)
def test_an_edited_record_is_named_with_its_index_and_field(store: SqliteStore, path: Path, text: str, place: str, message: str) -> None:
    small_ledger(store)
    tamper(path, text)
    found = problems(store)
    assert any(f"log `acme`, record {place}" in problem and message in problem for problem in found), found


def test_an_edit_that_repairs_the_leaf_hash_is_told_by_the_tree(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    edited = store.get_record("acme", 9).envelope.replace(b'"ok"', b'"no"')
    tamper(path, "UPDATE records SET envelope = ?, leaf = ? WHERE place = (1 << 40) + 9", (edited, leaf_hash(edited)))
    found = problems(store)
    assert len(found) == 1
    assert "log `acme`, root: the trees over records 8 to 9 differ" in found[0]


def test_records_that_were_swapped_are_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    for table in ("records", "payloads"):
        for old, new in ((4, 200), (5, 4), (200, 5)):
            tamper(path, f"UPDATE {table} SET place = (1 << 40) + {new} WHERE place = (1 << 40) + {old}")
    assert any("root" in problem for problem in problems(store))


def test_a_record_that_was_added_beside_the_tree_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    tamper(path, "INSERT INTO records SELECT (1 << 40) + 11, kind, call, request, envelope, leaf FROM records WHERE place = (1 << 40) + 3")
    assert any("records were added beside the tree: expected `11`, found `12`" in problem for problem in problems(store))


def test_a_record_or_payload_of_nowhere_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    tamper(path, "INSERT INTO payloads SELECT (1 << 40) + 11, sealed FROM payloads LIMIT 1")
    assert any("a payload belongs to no record" in problem for problem in problems(store))
    tamper(path, "INSERT INTO payloads SELECT (9 << 40), sealed FROM payloads LIMIT 1")
    assert any("a row of payloads belongs to no log" in problem for problem in problems(store))
    tamper(path, "INSERT INTO records SELECT (9 << 40), kind, call, request, envelope, leaf FROM records LIMIT 1")
    assert any("a row of records belongs to no log" in problem for problem in problems(store))


def test_a_record_of_another_log_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    tamper(path, "UPDATE logs SET name = 'globex' WHERE name = 'acme'")
    assert any(
        "log `globex`, record 0, log: envelope and row disagree: expected `acme`, found `globex`" in problem for problem in problems(store)
    )


def test_a_record_of_another_version_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    later = store.get_record("acme", 0).envelope.replace(b'"v":1', b'"v":7')
    tamper(path, "UPDATE records SET envelope = ? WHERE place = (1 << 40)", (later,))
    assert any("record 0, v: envelope and row disagree: expected `1`, found `7`" in problem for problem in problems(store))


def test_a_damaged_tree_state_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    tamper(path, "UPDATE logs SET compact_range = zeroblob(32) WHERE name = 'acme'")
    assert any("compact_range: the stored tree contradicts itself" in problem for problem in problems(store))
    tamper(path, "UPDATE logs SET compact_range = zeroblob(96) WHERE name = 'acme'")
    assert any("root: the trees over records 0 to 7, 8 to 9, 10 to 10 differ" in problem for problem in problems(store))


def test_an_index_of_the_store_that_hides_a_record_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    con = apsw.Connection(str(path))
    con.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    page = con.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'records_by_call'").get
    con.pragma("writable_schema", "ON")
    empty = con.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'requests_by_state'").get
    con.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = 'records_by_call'", (empty,))
    con.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = 'requests_by_state'", (page,))
    con.close()
    store.close()
    with SqliteStore.open(path, now=now, keys=KEYS, read_only=True).source() as source:
        assert any("records_by_call" in str(problem) for problem in verify(source).problems)


# what only a witness can find


def test_a_tail_that_was_cut_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    for table in ("records", "payloads"):
        tamper(path, f"DELETE FROM {table} WHERE place >= (1 << 40) + 8 AND place >> 40 = 1")
    assert any("size: records were cut off: expected `11`, found `8`" in problem for problem in problems(store))


def test_a_tail_that_was_cut_with_its_tree_repaired_needs_a_root_from_outside(store: SqliteStore, path: Path) -> None:
    """This is what a first cut without witness does not find by itself: the root is what differs from one that was kept."""
    for _ in range(5):
        written(store, Filing((record("gap"),)))
    kept = verified(store).logs[0]
    tree = Tree()
    tree.extend([leaf_hash(stored.envelope) for stored in store.records("acme", stop=3)])
    for table in ("records", "payloads"):
        tamper(path, f"DELETE FROM {table} WHERE place >= (1 << 40) + 3")
    tamper(path, "UPDATE logs SET size = 3, compact_range = ? WHERE name = 'acme'", (b"".join(tree.peaks),))
    report = verified(store)
    assert report.ok
    assert (report.logs[0].size, report.logs[0].root) != (kept.size, kept.root)


def test_a_cut_and_repaired_tail_is_found_where_projections_remember_it(store: SqliteStore, path: Path) -> None:
    ledger = small_ledger(store)
    tree = Tree()
    tree.extend([leaf_hash(stored.envelope) for stored in store.records("acme", stop=6)])
    for table in ("records", "payloads"):
        tamper(path, f"DELETE FROM {table} WHERE place >= (1 << 40) + 6 AND place >> 40 = 1")
    tamper(path, "UPDATE logs SET size = 6, compact_range = ? WHERE name = 'acme'", (b"".join(tree.peaks),))
    found = problems(store)
    used = ledger["used"].id
    assert any(
        f"the row of request {used} is not what the records say: expected `approved`, found `consumed`" in problem for problem in found
    )
    assert any("open_calls" in problem for problem in found)


# projections

PROJECTION_EDITS = [
    ("UPDATE requests SET state = 'approved' WHERE state = 'open'", "request.state", "expected `open`, found `approved`"),
    ("UPDATE requests SET state = 'approved' WHERE state = 'consumed'", "request.state", "expected `consumed`, found `approved`"),
    ("UPDATE requests SET expires_at = expires_at + 1", "request.expires_at", "is not what the records say"),
    ("UPDATE requests SET key = 'other' WHERE state = 'open'", "request.key", "is not what the records say"),
    ("UPDATE requests SET key = (SELECT key FROM requests WHERE state = 'consumed')", "request.key", "is not what the records say"),
    ("UPDATE requests SET tenant = 'globex' WHERE state = 'open'", "request.tenant", "expected `acme`, found `globex`"),
    ("UPDATE requests SET plan = 'another' WHERE state = 'open'", "request.plan", "is not what the records say"),
    ("UPDATE requests SET asker = 'another' WHERE state = 'open'", "request.asker", "is not what the records say"),
    ("DELETE FROM requests WHERE state = 'open'", "request", "its row is missing"),
    (
        "INSERT INTO requests SELECT 99, 'forged', 'k', 'acme', 'approved', expires_at, NULL, 'a', NULL FROM requests LIMIT 1",
        "request",
        "no record opened",
    ),
    ("DELETE FROM votes WHERE number = 2", "votes", "not those that were recorded"),
    ("UPDATE votes SET person = 'person-eve' WHERE number = 2", "votes", "not those that were recorded"),
    ("UPDATE votes SET live = 0 WHERE number = 2", "votes", "not those that were recorded"),
    ("UPDATE votes SET number = 5 - number", "votes", "not those that were recorded"),
    ("UPDATE votes SET request = (SELECT id FROM requests WHERE state = 'open')", "votes", "not those that were recorded"),
    ("INSERT INTO votes SELECT 99, id, 'person-eve', 1 FROM requests WHERE state = 'open'", "votes", "not those that were recorded"),
    ("INSERT INTO votes VALUES (99, 'nobody', 'person-eve', 1)", "votes", "the votes on request nobody"),
    ("DELETE FROM open_calls", "open_calls", "an intent without an end is not known as open"),
    ("INSERT INTO open_calls VALUES ('forged', 'acme', 1, 1, NULL)", "open_calls", "the row of call forged is not what the records say"),
    ("UPDATE open_calls SET deadline = 1", "open_calls", "is not what the records say"),
    ("UPDATE open_calls SET holder = 0", "open_calls", "is not what the records say"),
    ("UPDATE open_calls SET boot = 77", "open_calls", "is not what the records say"),
    ("DELETE FROM keys", "keys", "an idempotency key is not known as taken"),
    ("UPDATE keys SET key = 'twice'", "keys.key", "is not what the records say"),
    ("UPDATE keys SET scope = 'another caller'", "keys.scope", "is not what the records say"),
    ("UPDATE keys SET digest = 'another use'", "keys.digest", "is not what the records say"),
    ("UPDATE keys SET log = 'operator'", "keys.log", "is not what the records say: expected `acme`, found `operator`"),
    ("INSERT INTO keys VALUES ('scope', 'forged', 'd', 'c', 'acme')", "keys", "no intent took the key of call c: found `forged`"),
    ("UPDATE blobs SET content = x'00'", "snapshot", "not those that were hashed"),
]


@pytest.mark.parametrize(("text", "field", "message"), PROJECTION_EDITS)
def test_an_edited_row_beside_the_records_is_found(store: SqliteStore, path: Path, text: str, field: str, message: str) -> None:
    small_ledger(store)
    tamper(path, text)
    found = verified(store).problems
    assert any(problem.field == field and message in str(problem) for problem in found), [str(problem) for problem in found]


# what records must say about each other

Write = Callable[[SqliteStore], object]


def approved(store: SqliteStore, **fields: Any) -> Any:
    asked = request(**fields)
    written(store, opening(asked), voting(asked, "dana"), voting(asked, "omar", seen=1, move=RequestState.APPROVED))
    return asked


def an_outcome_of_nothing(store: SqliteStore) -> None:
    written(store, Filing((outcome(call_id()),)))


def two_outcomes(store: SqliteStore) -> None:
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)), Filing((outcome(call), outcome(call)), (CloseCall(call),)))


def two_intents(store: SqliteStore) -> None:
    call = call_id()
    written(store, Filing((intent(call, store), intent(call, store)), (OpenCall(call, "acme"),)))


def a_read_of_a_written_call(store: SqliteStore) -> None:
    call = call_id()
    written(store, Filing((intent(call, store), record("call", call=call)), (OpenCall(call, "acme"),)))


def consumed_twice(store: SqliteStore) -> None:
    asked = approved(store)
    first, second = call_id(), call_id()
    written(store, consuming(asked, first, store), Filing((intent(second, store, request=asked),), (OpenCall(second, "acme"),)))


def consumed_without_votes(store: SqliteStore) -> None:
    asked, call = request(), call_id()
    moves = (
        MoveRequest(asked.id, (RequestState.OPEN,), RequestState.APPROVED, NOW),
        MoveRequest(asked.id, (RequestState.APPROVED,), RequestState.CONSUMED, NOW),
    )
    written(store, opening(asked), Filing((intent(call, store, request=asked),), (OpenCall(call, "acme"), *moves)))


def approved_by_one_of_two(store: SqliteStore) -> None:
    asked = request()
    written(store, opening(asked), voting(asked, "dana", move=RequestState.APPROVED))


def a_rejection_that_approves(store: SqliteStore) -> None:
    asked = request(count=1)
    written(store, opening(asked), voting(asked, "dana", "reject", move=RequestState.APPROVED))


def consumed_of_nobody(store: SqliteStore) -> None:
    call = call_id()
    written(store, Filing((intent(call, store, request=request()),), (OpenCall(call, "acme"),)))


def consumed_with_another_tool(store: SqliteStore) -> None:
    asked, call = approved(store), call_id()
    other = record(
        "intent",
        call=call,
        approval=ApprovalEntry(asked.id, ("dana", "eve")),
        tool=ToolEntry("account.suspend", None, None),
        boot=store.boot,
    )
    written(store, Filing((other,), consuming(asked, call, store).changes))


def consumed_too_late(store: SqliteStore) -> None:
    asked, call = approved(store, expires_in=timedelta(0)), call_id()
    move = MoveRequest(asked.id, (RequestState.APPROVED,), RequestState.CONSUMED, NOW - timedelta(1))
    written(store, Filing((intent(call, store, request=asked),), (OpenCall(call, "acme"), move)))


def a_vote_on_nothing(store: SqliteStore) -> None:
    written(store, Filing((record("vote", payload=Payload(detail={"vote": vote(request(), "dana"), "event": None})),)))


def a_vote_after_the_end(store: SqliteStore) -> None:
    asked = approved(store)
    written(store, Filing((record("vote", payload=Payload(detail={"vote": vote(asked, "eve"), "event": None})),)))


def a_person_voting_twice(store: SqliteStore) -> None:
    asked = request()
    again = record("vote", payload=Payload(detail={"vote": vote(asked, "dana"), "event": None}))
    written(store, opening(asked), voting(asked, "dana"), Filing((again,)))


def a_client_that_approves(store: SqliteStore) -> None:
    asked = request()
    said = msgspec.structs.replace(vote(asked, "dana"), channel="mcp")
    written(store, opening(asked), Filing((record("vote", payload=Payload(detail={"vote": said, "event": None})),)))


def two_live_requests(store: SqliteStore) -> None:
    written(store, opening(request("same")), Filing((record("hold", payload=Payload(detail={"request": request("same")})),)))


def an_expiry_of_nothing(store: SqliteStore) -> None:
    written(store, Filing((record("expiry", payload=Payload(detail={"request": "nothing", "event": "expire"})),)))


def a_withdrawal_after_the_end(store: SqliteStore) -> None:
    asked, call = approved(store), call_id()
    written(store, consuming(asked, call, store))
    gone = record("expiry", payload=Payload(detail={"request": asked.id, "event": "withdraw"}), approval=ApprovalEntry(asked.id))
    written(store, Filing((gone,)))


def a_request_of_another_tenant(store: SqliteStore) -> None:
    asked = request()
    written(store, Filing((record("hold", "globex", payload=Payload(detail={"request": asked})),), opening(asked).changes))


def an_unreadable_request(store: SqliteStore) -> None:
    written(store, Filing((record("hold", payload=Payload(detail={"request": {"id": 1}})),)))


def an_unreadable_detail(store: SqliteStore) -> None:
    written(store, Filing((record("vote", payload=Payload(detail={"vote": 7})),)))


CONTRADICTIONS: list[tuple[Write, str]] = [
    (an_outcome_of_nothing, "record 0, call: an outcome without an intent before it"),
    (two_outcomes, "record 2, outcome: a second end of a call, and it does not say that it is late"),
    (two_intents, "record 1, call: an intent needs a call of its own"),
    (a_read_of_a_written_call, "record 1, call: a call that has an intent is recorded as a merged read"),
    (consumed_twice, "record 4, approval.request: the approval was used before"),
    (consumed_without_votes, "record 1, approval.request: the request was not approved"),
    (approved_by_one_of_two, "record 1, payload.detail.event: the votes do not bring this about"),
    (a_rejection_that_approves, "record 1, payload.detail.event: the votes do not bring this about"),
    (consumed_of_nobody, "record 0, approval.request: an approval that nobody asked for in this log"),
    (
        consumed_with_another_tool,
        "tool.name: the call is not the one that was approved: expected `billing.adjust`, found `account.suspend`",
    ),
    (consumed_with_another_tool, "actor.user: the call is not the one that was approved: expected `alice`"),
    (consumed_with_another_tool, "payload.arguments: the call is not the one that was approved"),
    (consumed_with_another_tool, "approval.voters: the call is not the one that was approved"),
    (consumed_too_late, "record 3, at: the call is not the one that was approved"),
    (a_vote_on_nothing, "a vote on no request of this log"),
    (a_vote_after_the_end, "a vote on a request that is not open: found `approved`"),
    (a_person_voting_twice, "this person has voted already"),
    (a_client_that_approves, "payload.detail.vote: a vote that came through a client confirms nothing: found `dana`"),
    (two_live_requests, "a live request has its key already"),
    (an_expiry_of_nothing, "`expire` of no request of this log"),
    (a_withdrawal_after_the_end, "`withdraw` of a request that is over"),
    (a_request_of_another_tenant, "it is of another tenant: expected `globex`, found `acme`"),
    (an_unreadable_request, "payload.detail.request: it cannot be read"),
    (an_unreadable_detail, "payload.detail: it cannot be read"),
]


@pytest.mark.parametrize(("write", "message"), CONTRADICTIONS, ids=lambda value: getattr(value, "__name__", None))
def test_records_that_contradict_each_other_are_found(store: SqliteStore, write: Write, message: str) -> None:
    write(store)
    found = problems(store)
    assert any(message in problem for problem in found), found


def test_expiry_withdrawal_and_supersession_are_followed(store: SqliteStore) -> None:
    moves = {"expire": RequestState.EXPIRED, "withdraw": RequestState.WITHDRAWN}
    for event, state in moves.items():
        asked = request(event)
        gone = record("expiry", payload=Payload(detail={"request": asked.id, "event": event}), approval=ApprovalEntry(asked.id))
        written(store, opening(asked), Filing((gone,), (MoveRequest(asked.id, (RequestState.OPEN,), state, NOW),)))
    old, new = request("same"), request("same")
    superseding = record(
        "hold", payload=Payload(detail={"request": new, "superseded": {"request": old.id, "event": "supersede", "changed": "x"}})
    )
    moved = MoveRequest(old.id, (RequestState.OPEN,), RequestState.SUPERSEDED, NOW)
    written(store, opening(old), Filing((superseding,), (moved, *opening(new).changes)))
    rejected = request("no")
    written(store, opening(rejected), voting(rejected, "dana", "reject", move=RequestState.REJECTED))
    assert problems(store) == []


def test_a_key_that_no_row_remembers_is_found_and_one_that_was_taken_is_not(store: SqliteStore) -> None:
    kept, lost = call_id(), call_id()
    written(store, Filing((intent(kept, store, key="a"),), (OpenCall(kept, "acme"), taking("a", kept))))
    written(store, Filing((intent(lost, store, key="b"),), (OpenCall(lost, "acme"),)))
    blind = store.blind("acme", "key", "b")
    assert [problem for problem in problems(store) if "keys" in problem] == [
        f"log `acme`, record 1, keys: an idempotency key is not known as taken: expected `{blind}`"
    ]


def test_a_key_is_known_also_where_its_envelope_was_cut(store: SqliteStore, path: Path) -> None:
    call = call_id()
    decision = DecisionEntry(verdict="allow", code="allowed", policies=("x" * 1000,) * 100)
    payload = Payload(detail={"key": key_of()})
    long = record("intent", call=call, key="k", boot=store.boot, decision=decision, tool=ToolEntry("t", "write", None), payload=payload)
    written(store, Filing((long,), (OpenCall(call, "acme"), taking("k", call))))
    assert b"cut:decision.policies" in store.get_record("acme", 0).envelope
    assert problems(store) == []
    tamper(path, "DELETE FROM keys")
    blind = store.blind("acme", "key", "k")
    assert problems(store) == [f"log `acme`, record 0, keys: an idempotency key is not known as taken: expected `{blind}`"]


def test_an_intent_that_does_not_say_what_its_key_was_taken_for_is_found(store: SqliteStore) -> None:
    call = call_id()
    silent = record("intent", call=call, key="k", boot=store.boot)
    written(store, Filing((silent,), (OpenCall(call, "acme"), taking("k", call))))
    assert problems(store) == ["log `acme`, record 0, payload.detail.key: it does not say what the key was taken for"]


def test_problems_are_counted_beyond_those_that_are_described(store: SqliteStore) -> None:
    written(store, *[Filing((outcome(call_id()),)) for _ in range(1200)])
    report = verified(store)
    assert not report.ok
    assert (report.problem_count, len(report.problems)) == (1200, 1000)
    assert json.dumps(str(report.problems[0]))


def test_an_auditor_needs_no_store_to_verify() -> None:
    text = "import sys, licet.ledger.verify, licet.ledger.export; print(sorted(name for name in sys.modules if name.startswith(('licet.', 'apsw'))))"
    loaded = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert "licet.ledger.verify" in loaded
    assert "store" not in loaded
    assert "apsw" not in loaded
