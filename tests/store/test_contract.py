"""What store/contract.py promises, written once for every database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from licet.errors import GateClosed, LeaseLost
from licet.ledger.merkle import Tree, root_of
from licet.ledger.record import commitment, decode_envelope, encode_payload, leaf_hash
from licet.ledger.seal import Filing
from licet.model import CallId, Receipt, Request, RequestId, RequestState
from licet.store.contract import (
    AddVote,
    CloseCall,
    Committed,
    Lost,
    MoveRequest,
    OpenCall,
    OpenIntent,
    OpenRequest,
    PutBlob,
    Store,
    StoredRecord,
    TakeKey,
    TakenKey,
)
from licet.store.sqlite import SqliteStore, _memory_leases
from tests.store.conftest import Database
from tests.store.raw import drop_lease
from tests.store.samples import (
    CONTENT,
    DIGEST,
    KEYS,
    NOW,
    call_id,
    commit,
    consuming,
    intent,
    now,
    opening,
    outcome,
    record,
    request,
    small_ledger,
    vote,
    voting,
    written,
)


def appended(store: Store, count: int, log: str = "acme") -> list[StoredRecord]:
    for start in range(0, count, 500):
        written(store, *[Filing((record(log=log),)) for _ in range(min(500, count - start))])
    return list(store.records(log))


def found_by(store: Store, key: str) -> Request | None:
    """The request with this key that was opened last."""
    dossier = store.find_dossier("acme", key)
    return None if dossier is None else dossier.request


def test_indexes_are_dense_follow_commit_order_and_each_log_has_its_own(store: Store) -> None:
    a, b, c, d = record(log="acme"), record(log="globex"), record(log="acme"), record(log="acme")
    answers = written(store, Filing((a, b)), Filing((c,)), Filing(()))
    assert [[(r.log, r.index) for r in answer.receipts] for answer in answers] == [[("acme", 0), ("globex", 0)], [("acme", 1)], []]
    assert written(store, Filing((d,)))[0].receipts[0].index == 2
    assert [decode_envelope(r.envelope).id for r in store.records("acme")] == [a.id, c.id, d.id]


def test_a_receipt_names_the_leaf_of_the_exact_bytes_that_are_stored(store: Store) -> None:
    said = record(call=CallId("call-1"))
    batch = store.seal(Filing((said,)))
    (new,) = batch.records
    assert store.commit([batch]) == [Committed((Receipt("acme", 0, leaf_hash(new.envelope).hex()),))]
    stored = store.get_record("acme", 0)
    assert (stored.log, stored.index, stored.kind, stored.call, stored.envelope) == ("acme", 0, "intent", "call-1", new.envelope)
    assert (stored.payload, stored.closed) == (encode_payload(said.payload), "")
    assert commitment(stored.salt or b"", stored.payload or b"") == decode_envelope(new.envelope).payload.commitment


def test_the_stored_tree_is_the_one_over_the_stored_records(store: Store) -> None:
    for size in (1, 2, 64, 65, 3, 200):
        written(store, *[Filing((record(), record(log="globex"))) for _ in range(size)])
        for state in store.logs():
            leaves = [leaf_hash(r.envelope) for r in store.records(state.log)]
            assert state.size == len(leaves)
            assert Tree(state.size, state.compact_range).root() == root_of(leaves)


def test_a_lost_batch_leaves_nothing_and_its_group_goes_on(store: Store) -> None:
    taking = [TakeKey("scope", "once", f"digest-{n}", CallId(f"call-{n}"), "acme") for n in range(3)]
    batches = [Filing((record(),), (PutBlob(f"{n}" * 64, "bundle", b"x"), OpenCall(taking[n].call, "acme"), taking[n])) for n in range(3)]
    answers = commit(store, [Filing((record(),)), *batches, Filing((record(log="late"),))])
    assert [type(answer) for answer in answers] == [Committed, Committed, Lost, Lost, Committed]
    assert answers[2] == Lost("key_taken", "another call has taken the idempotency key `once`")
    assert [r.index for r in store.records("acme")] == [0, 1]
    assert store.open_calls() == (OpenIntent(CallId("call-0"), "acme", store.boot),)
    assert store.blobs("bundle") == (("0" * 64, b"x"),)
    assert [state.log for state in store.logs()] == ["acme", "late"]


def test_a_lost_batch_creates_no_log(store: Store) -> None:
    written(store, Filing((), (TakeKey("s", "k", "d", CallId("c"), "acme"),)))
    assert isinstance(commit(store, [Filing((record(log="new"),), (TakeKey("s", "k", "d", CallId("d"), "acme"),))])[0], Lost)
    assert store.logs() == ()


def test_a_batch_of_several_conditions_is_taken_back_as_a_whole(store: Store) -> None:
    written(store, opening(request("taken")))
    batch = Filing((record(),), (TakeKey("s", "k", "d", CallId("c"), "acme"), OpenRequest(request("free")), OpenRequest(request("taken"))))
    answers = commit(store, [batch, Filing((record(log="other"),))])
    assert answers[0] == Lost("request_exists", "the same call already waits for people")
    assert isinstance(answers[1], Committed)
    assert store.find_key("acme", "s", "k", "d") is None
    assert found_by(store, "free") is None
    assert [r.kind for r in store.records("acme")] == ["hold"]


def test_later_batches_of_a_group_see_what_earlier_ones_did(store: Store) -> None:
    first, second = request("same"), request("same")
    answers = commit(store, [opening(first), opening(second), voting(first, "dana"), voting(first, "dana", seen=1), voting(second, "dana")])
    conditions = [answer.condition if isinstance(answer, Lost) else "committed" for answer in answers]
    assert conditions == ["committed", "request_exists", "committed", "already_voted", "request_moved"]


def test_a_key_is_taken_once_and_says_by_whom(store: Store) -> None:
    written(store, Filing((record(),), (TakeKey("scope", "key", "digest", CallId("first"), "acme"),)))
    written(store, Filing((record(),), (TakeKey("another scope", "key", "digest", CallId("second"), "acme"),)))
    assert store.find_key("acme", "scope", "key", "digest") == TakenKey(True, CallId("first"), "acme")
    assert store.find_key("acme", "scope", "key", "of another use") == TakenKey(False, CallId("first"), "acme")
    assert store.find_key("acme", "another scope", "key", "digest") == TakenKey(True, CallId("second"), "acme")
    assert store.find_key("acme", "scope", "other", "digest") is None
    assert store.find_key("globex", "scope", "key", "digest") is None


def test_an_open_call_is_closed_by_its_outcome_and_a_late_one_closes_nothing(store: Store) -> None:
    call, other = call_id(), call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)), Filing((intent(other, store),), (OpenCall(other, "acme"),)))
    assert {open_.call for open_ in store.open_calls()} == {call, other}
    written(store, Filing((outcome(call),), (CloseCall(call),)))
    written(store, Filing((outcome(call),), (CloseCall(call),)))
    assert [open_.call for open_ in store.open_calls()] == [other]
    assert [r.kind for r in store.records_of_call(call)] == ["intent", "outcome", "outcome"]


def test_a_call_opened_and_closed_in_one_group_is_not_open(store: Store) -> None:
    call = call_id()
    written(store, Filing((), (OpenCall(call, "acme"),)), Filing((), (CloseCall(call),)))
    assert store.open_calls() == ()


def test_many_calls_are_opened_and_closed_at_once(store: Store) -> None:
    calls = [call_id() for _ in range(200)]
    written(store, *[Filing((), (OpenCall(call, "acme"),)) for call in calls])
    assert {open_.call for open_ in store.open_calls()} == set(calls)
    written(store, *[Filing((), (CloseCall(call),)) for call in calls])
    assert store.open_calls() == ()


def test_one_request_per_key_is_live(store: Store) -> None:
    first = request("key")
    written(store, opening(first))
    assert found_by(store, "key") == store.get_request(first.id) == first
    written(store, Filing((), (MoveRequest(first.id, (RequestState.OPEN,), RequestState.WITHDRAWN, NOW),)))
    found = found_by(store, "key")
    assert found is not None
    assert found.state is RequestState.WITHDRAWN
    second = request("key")
    written(store, opening(second))
    assert found_by(store, "key") == second


def test_a_request_is_superseded_and_opened_anew_in_one_batch(store: Store) -> None:
    old, new = request("key"), request("key")
    written(store, opening(old))
    written(store, opening(new, MoveRequest(old.id, (RequestState.OPEN,), RequestState.SUPERSEDED, NOW)))
    assert store.get_request(old.id).state is RequestState.SUPERSEDED
    assert found_by(store, "key") == new


def test_a_request_must_be_opened_in_a_live_state(store: Store) -> None:
    dead = msgspec.structs.replace(request(), state=RequestState.CONSUMED)
    with pytest.raises(ValueError, match="is opened as `consumed`"):
        commit(store, [Filing((), (OpenRequest(dead),))])
    assert written(store, Filing((record(),)))[0].receipts[0].index == 0


def test_an_approval_is_consumed_once(store: Store) -> None:
    asked = request()
    written(store, opening(asked), voting(asked, "dana"), voting(asked, "omar", seen=1, move=RequestState.APPROVED))
    first, second = call_id(), call_id()
    answers = commit(store, [consuming(asked, first, store), consuming(asked, second, store)])
    assert isinstance(answers[0], Committed)
    assert answers[1] == Lost("request_moved", f"request `{asked.id}` is not approved any more")
    assert store.get_request(asked.id).state is RequestState.CONSUMED
    assert store.records_of_call(second) == ()
    assert [open_.call for open_ in store.open_calls()] == [first]


@pytest.mark.parametrize(("late_by_us", "won"), [(-1, True), (0, False), (1, False)])
def test_an_approval_is_not_consumed_at_or_after_its_end(store: Store, late_by_us: int, *, won: bool) -> None:
    asked = request()
    written(store, opening(asked), voting(asked, "dana", move=RequestState.APPROVED))
    (answer,) = commit(store, [consuming(asked, call_id(), store, at=asked.expires_at + timedelta(microseconds=late_by_us))])
    assert isinstance(answer, Committed if won else Lost)
    assert store.get_request(asked.id).state is (RequestState.CONSUMED if won else RequestState.APPROVED)


def test_a_person_votes_once_and_only_while_a_request_is_open(store: Store) -> None:
    asked = request()
    written(store, opening(asked), voting(asked, "dana"))
    assert commit(store, [voting(asked, "dana", "reject", seen=1)])[0] == Lost(
        "already_voted", f"`person-dana` has already voted on request `{asked.id}`"
    )
    moved = Lost("votes_moved", f"somebody else voted on request `{asked.id}` at the same moment")
    assert commit(store, [voting(asked, "omar", seen=0, move=RequestState.APPROVED)])[0] == moved
    written(store, voting(asked, "omar", seen=1, move=RequestState.APPROVED))
    assert commit(store, [voting(asked, "eve", seen=2)])[0] == Lost("request_moved", f"request `{asked.id}` is not open any more")
    assert [v.voter for v in store.votes(asked.id)] == ["dana", "omar"]


def test_a_vote_on_no_request_is_lost(store: Store) -> None:
    answer = commit(store, [Filing((record(),), (AddVote(vote(request(), "dana"), "acme"),))])[0]
    assert isinstance(answer, Lost)
    assert answer.condition == "request_moved"
    assert list(store.records("acme")) == []


def test_requests_are_found_by_state_and_tenant_the_first_to_expire_first(store: Store) -> None:
    late, soon, done = request("a", expires_in=timedelta(hours=2)), request("b"), request("c", expires_in=timedelta(minutes=1))
    written(store, opening(late), opening(soon), opening(done), voting(done, "dana", "reject", move=RequestState.REJECTED))
    assert store.requests(states=[RequestState.OPEN]) == (soon, late)
    assert [r.id for r in store.requests()] == [done.id, soon.id, late.id]
    assert store.requests(tenant="globex") == ()
    assert store.requests(states=[RequestState.OPEN], tenant="acme") == (soon, late)
    assert store.requests(states=[]) == ()


def test_pages_of_three_hundred_tenants_go_on_behind_one_request_of_any_of_them(store: Store) -> None:
    # All expire at one moment.
    made = [msgspec.structs.replace(request(str(number)), tenant=f"tenant-{number % 300:03}") for number in range(310)]
    written(store, *[opening(asked) for asked in made])
    tenants = [f"tenant-{number:03}" for number in range(300) if number != 7]
    seen: list[RequestId] = []
    while found := store.dossiers(states=[RequestState.OPEN], tenants=tenants, limit=45, after=seen[-1] if seen else None):
        seen += [one.request.id for one in found]
    assert seen == [asked.id for asked in made if asked.tenant != "tenant-007"]
    assert store.dossiers(tenants=[]) == ()


def test_records_are_streamed_in_either_direction_and_within_bounds(store: Store) -> None:
    stored = appended(store, 2500)
    assert [r.index for r in stored] == list(range(2500))
    assert [r.index for r in store.records("acme", newest_first=True)] == list(range(2499, -1, -1))
    assert [r.index for r in store.records("acme", start=995, stop=2005)] == list(range(995, 2005))
    assert [r.index for r in store.records("acme", start=995, stop=2005, newest_first=True)] == list(range(2004, 994, -1))
    assert list(store.records("acme", start=2500)) == []
    assert list(store.records("nobody")) == []


def test_logs_do_not_run_into_each_other(store: Store) -> None:
    for log in ("a", "b", "c"):
        appended(store, 3, log)
    assert [(r.log, r.index) for r in store.records("b")] == [("b", 0), ("b", 1), ("b", 2)]
    assert [r.index for r in store.records("b", newest_first=True)] == [2, 1, 0]


def test_a_stream_goes_on_while_others_append(store: Store) -> None:
    appended(store, 1500)
    stream = store.records("acme")
    assert next(stream).index == 0
    written(store, Filing((record(),)))
    assert [r.index for r in stream] == list(range(1, 1501))


@pytest.mark.parametrize("index", [-1, 1, 1 << 40, 1 << 41])
def test_a_record_that_is_not_there_is_a_key_error(store: Store, index: int) -> None:
    written(store, Filing((record(log="acme"),)), Filing((record(log="globex"),)))
    with pytest.raises(KeyError, match=f"log `acme` has no record {index}"):
        store.get_record("acme", index)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    assert store.logs() == ()
    assert store.find_blob("0" * 64) is None
    assert found_by(store, "key") is None
    assert store.records_of_call(CallId("none")) == ()
    assert store.votes(RequestId("none")) == ()
    with pytest.raises(KeyError, match="no request `none`"):
        store.get_request(RequestId("none"))
    with pytest.raises(KeyError, match="log `none` has no record 0"):
        store.get_record("none", 0)


def test_snapshots_are_kept_once_under_their_hash_oldest_first(store: Store) -> None:
    written(
        store,
        Filing((), (PutBlob(DIGEST, "bundle", CONTENT), PutBlob("0" * 64, "bundle", b"later"))),
        Filing((), (PutBlob(DIGEST, "bundle", CONTENT),)),
    )
    assert store.find_blob(DIGEST) == CONTENT
    assert store.blobs("bundle") == ((DIGEST, CONTENT), ("0" * 64, b"later"))
    assert store.blobs("catalog") == ()


def test_everything_is_there_after_closing_and_opening_again(database: Database) -> None:
    store, keeper = database.open(), database.open()  # a database in memory lives as long as somebody has it open
    ledger = small_ledger(store)
    before = (store.logs(), list(store.records("acme")), store.requests(), store.votes(ledger["used"].id), store.open_calls())
    store.close()
    again = database.open()
    assert (again.logs(), list(again.records("acme")), again.requests(), again.votes(ledger["used"].id), again.open_calls()) == before
    assert keeper.logs() == again.logs()
    assert again.boot != store.boot


def test_two_stores_on_one_database_share_dense_logs(database: Database) -> None:
    one, two = database.open(), database.open()
    for store in (one, two, two, one):
        written(store, Filing((record(),)))
    assert [r.index for r in one.records("acme")] == [0, 1, 2, 3]
    assert one.logs() == two.logs()


def test_calls_of_a_boot_that_ended_are_orphaned_once_and_belong_to_who_took_them(database: Database) -> None:
    dying, living, third = database.open(), database.open(), database.open()
    call = call_id()
    written(dying, Filing((intent(call, dying),), (OpenCall(call, "acme"),)))
    assert living.orphaned_calls() == ()
    dying.close()
    assert living.orphaned_calls() == (OpenIntent(call, "acme", dying.boot),)
    assert third.orphaned_calls() == ()
    assert living.orphaned_calls() == (OpenIntent(call, "acme", dying.boot),)
    living.close()  # died before it had closed what it took
    assert third.orphaned_calls() == (OpenIntent(call, "acme", dying.boot),)
    written(third, Filing((record("recovery", call=call),), (CloseCall(call),)))
    assert third.open_calls() == third.orphaned_calls() == ()


def test_a_boot_that_was_declared_dead_commits_nothing_more(database: Database) -> None:
    slow, other = database.open(), database.open()
    written(slow, Filing((record(),)))
    drop_lease(slow)  # as if the process had been gone for a moment
    assert other.orphaned_calls() == ()
    with pytest.raises(LeaseLost, match="declared this one dead"):
        commit(slow, [Filing((record(),))])
    with pytest.raises(LeaseLost, match="declared this one dead"):
        commit(slow, [Filing((record(),))])
    assert [r.index for r in other.records("acme")] == [0]
    written(other, Filing((record(),)))


def test_a_closed_store_refuses_and_closing_twice_is_safe(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(GateClosed, match="was closed"):
        commit(store, [Filing((record(),))])
    with pytest.raises(GateClosed, match="was closed"):
        store.logs()


def test_a_database_in_memory_is_forgotten_with_its_last_store(tmp_path: Path) -> None:
    known = len(_memory_leases)
    first, second = (SqliteStore.open(f"sqlite::memory:{tmp_path}", now=now, keys=KEYS) for _ in range(2))
    written(first, Filing((record("gap"),)))
    assert [stored.index for stored in second.records("acme")] == [0]
    first.close()
    assert len(_memory_leases) == known + 1
    second.close()
    assert len(_memory_leases) == known
    third = SqliteStore.open(f"sqlite::memory:{tmp_path}", now=now, keys=KEYS)
    assert third.logs() == ()
    third.close()


def test_each_unnamed_database_in_memory_is_another() -> None:
    first, second = (SqliteStore.open("sqlite::memory:", now=now, keys=KEYS) for _ in range(2))
    written(first, Filing((record("gap"),)))
    assert second.logs() == ()
    first.close()
    second.close()


def test_an_empty_group_commits_nothing(store: Store) -> None:
    assert commit(store, []) == []
    assert store.logs() == ()
