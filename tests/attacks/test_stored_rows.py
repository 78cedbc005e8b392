"""Rows beside the records: requests, votes, keys, open calls, holds, logs, snapshots, boots; edited, forged and taken out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from licet.ledger.entropy import new_id
from tests.attacks.forger import Forger
from tests.attacks.outside import seen_from_outside
from tests.attacks.stored import Stored
from tests.attacks.table import Attack, name_of

LOG = "acme"
Act = Callable[[Forger], None]

# requests and votes


def approve_a_request(forger: Forger) -> None:
    forger.run("UPDATE requests SET state = 'approved' WHERE state = 'open'")


def put_a_used_approval_back(forger: Forger) -> None:
    forger.run("UPDATE requests SET state = 'approved' WHERE number = 2")


def write_a_state_that_is_none(forger: Forger) -> None:
    forger.run("UPDATE requests SET state = 'maybe' WHERE number = 2")


def point_a_request_at_another_call(forger: Forger) -> None:
    """The blind of the approved request stands in the row of one that is open, and the other way round."""
    (one, first), (two, second) = forger.run("SELECT id, key FROM requests WHERE state IN ('open', 'approved') ORDER BY number LIMIT 2")
    for request, key in ((one, "between"), (two, first), (one, second)):
        forger.run("UPDATE requests SET key = ? WHERE id = ?", key, request)


def move_a_request_to_another_tenant(forger: Forger) -> None:
    forger.run("UPDATE requests SET tenant = 'globex' WHERE state = 'open'")


def prolong_a_request(forger: Forger) -> None:
    forger.run("UPDATE requests SET expires_at = expires_at + 1 WHERE state = 'approved'")


def delete_a_request(forger: Forger) -> None:
    forger.run("DELETE FROM requests WHERE state = 'approved'")


def insert_a_request(forger: Forger) -> None:
    forger.run("INSERT INTO requests (id, key, tenant, state, expires_at, asker) VALUES (?, 'k', 'acme', 'approved', 9e15, 'a')", new_id())


def say_that_another_call_moved_a_request(forger: Forger) -> None:
    forger.run("UPDATE requests SET call = 'another' WHERE state = 'consumed'")


def delete_a_vote(forger: Forger) -> None:
    forger.run("DELETE FROM votes WHERE number = 2")


def insert_a_vote(forger: Forger) -> None:
    """The blind of somebody who has really voted, on another request."""
    forger.run(
        "INSERT INTO votes (request, person) SELECT (SELECT id FROM requests WHERE state = 'open'), person FROM votes WHERE number = 2"
    )


def rename_a_vote(forger: Forger) -> None:
    forger.run("UPDATE votes SET person = ? WHERE number = 2", "f" * 32)


def forge_a_vote_record(forger: Forger) -> None:
    """At the end of the log, with its row and the state that it brings about; what it says cannot be sealed without the key."""
    request, person = forger.run("SELECT id, (SELECT person FROM votes WHERE number = 2) FROM requests WHERE state = 'open'")[0]
    place, model = forger.place(LOG, forger.size(LOG)), forger.fields(LOG, forger.first(LOG, "vote"))
    forger.append(LOG, {**model, "id": new_id(), "approval": {**model["approval"], "request": request}})
    forger.run("INSERT INTO payloads VALUES (?, randomblob(300))", place)
    forger.run("INSERT INTO votes (request, person) VALUES (?, ?)", request, person)
    forger.run("UPDATE requests SET state = 'approved' WHERE id = ?", request)
    forger.mend_trees()


def repeat_a_vote_record(forger: Forger) -> None:
    """As above, with the sealed words of a true vote on another request."""
    true = forger.first(LOG, "vote", 1)
    forge_a_vote_record(forger)
    end = forger.size(LOG) - 1
    forger.put_fields(LOG, end, {**forger.fields(LOG, end), "id": forger.fields(LOG, true)["id"]})
    sealed = forger.one("SELECT sealed FROM payloads WHERE place = ?", forger.place(LOG, true))
    forger.run("UPDATE payloads SET sealed = ? WHERE place = ?", sealed, forger.place(LOG, end))
    forger.mend_trees()


# keys and calls


def forget_a_key(forger: Forger) -> None:
    forger.run("DELETE FROM keys WHERE call = (SELECT call FROM keys LIMIT 1)")


def take_a_key_that_nobody_took(forger: Forger) -> None:
    forger.run("INSERT INTO keys SELECT scope, 'another', digest, 'another', log FROM keys LIMIT 1")


def point_a_key_at_another_outcome(forger: Forger) -> None:
    (one, first), (two, second) = forger.run("SELECT key, call FROM keys ORDER BY key LIMIT 2")
    for key, call in ((one, second), (two, first)):
        forger.run("UPDATE keys SET call = ? WHERE key = ?", call, key)


def let_a_key_be_used_for_something_else(forger: Forger) -> None:
    forger.run("UPDATE keys SET digest = ? WHERE call = (SELECT call FROM keys LIMIT 1)", "f" * 32)


def open_a_call_that_ended(forger: Forger) -> None:
    forger.run("INSERT INTO open_calls SELECT call, 'acme', 1, 1, NULL FROM keys LIMIT 1")


def settle_a_call_without_a_word(forger: Forger) -> None:
    forger.run("DELETE FROM unsettled")


def unsettle_a_call(forger: Forger) -> None:
    forger.run("INSERT OR IGNORE INTO unsettled SELECT call, 'acme' FROM keys")


# freezes


def lift_a_freeze_without_a_word(forger: Forger) -> None:
    forger.run("DELETE FROM freezes")


def freeze_another_session(forger: Forger) -> None:
    forger.run("UPDATE freezes SET name = 's-10'")


def freeze_everything_without_a_word(forger: Forger) -> None:
    forger.run("INSERT INTO freezes VALUES ('x', 'operator', 'all', '*', 1)")


# logs


def enlarge_a_log(forger: Forger) -> None:
    forger.run("UPDATE logs SET size = size + 1 WHERE name = ?", LOG)


def shrink_a_log(forger: Forger) -> None:
    """By some, with a compact range that fits its size but not its records."""
    forger.run("UPDATE logs SET size = size - 10, compact_range = substr(compact_range, 1, 32) WHERE name = ?", LOG)


def edit_a_compact_range(forger: Forger) -> None:
    forger.run("UPDATE logs SET compact_range = CAST(zeroblob(32) || substr(compact_range, 33) AS BLOB) WHERE name = ?", LOG)


def add_a_trigger(forger: Forger) -> None:
    """Whoever opens a request approves it at once."""
    forger.run("CREATE TRIGGER helpful AFTER INSERT ON requests BEGIN UPDATE requests SET state = 'approved' WHERE id = new.id; END")


def drop_an_index(forger: Forger) -> None:
    forger.run("DROP INDEX requests_live")


def delete_a_record_in_the_middle(forger: Forger) -> None:
    for table in ("records", "payloads"):
        forger.run(f"DELETE FROM {table} WHERE place = ?", forger.place(LOG, 5))


def delete_a_record_and_close_the_gap(forger: Forger) -> None:
    """Everything behind it moves, and the tree is that of what is left."""
    delete_a_record_in_the_middle(forger)
    for table in ("records", "payloads"):
        for place in range(forger.place(LOG, 6), forger.place(LOG, forger.size(LOG) + 1)):
            forger.run(f"UPDATE {table} SET place = place - 1 WHERE place = ?", place)
    forger.mend_trees()


def insert_a_record(forger: Forger) -> None:
    """A copy of a true one, before it, all others moved, and the tree repaired."""
    for table in ("records", "payloads"):
        for place in range(forger.place(LOG, forger.size(LOG)) + 1, forger.place(LOG, 22), -1):
            forger.run(f"UPDATE {table} SET place = ? WHERE place = ?", place, place - 1)
    model = forger.fields(LOG, 23)
    forger.run("INSERT INTO records (place, kind, envelope, leaf) VALUES (?, '', x'', x'')", forger.place(LOG, 22))
    forger.put_fields(LOG, 22, {**model, "id": new_id()})
    forger.run("INSERT INTO payloads VALUES (?, randomblob(200))", forger.place(LOG, 22))
    forger.mend_trees()


def swap_two_records(forger: Forger) -> None:
    one, two = forger.place(LOG, 22), forger.place(LOG, 23)
    for table in ("records", "payloads"):
        for old, new in ((one, -1), (two, one), (-1, two)):
            forger.run(f"UPDATE {table} SET place = ? WHERE place = ?", new, old)


def swap_two_records_and_mend_the_tree(forger: Forger) -> None:
    swap_two_records(forger)
    forger.mend_trees()


def repeat_a_record(forger: Forger) -> None:
    """The same bytes twice, with their payload, and the tree says so."""
    end = forger.place(LOG, forger.size(LOG))
    for table, columns in (("records", "kind, call, request, envelope, leaf"), ("payloads", "sealed")):
        forger.run(f"INSERT INTO {table} SELECT ?, {columns} FROM {table} WHERE place = ?", end, forger.place(LOG, 22))
    forger.mend_trees()


def cut_the_end(forger: Forger) -> None:
    for table in ("records", "payloads"):
        forger.run(f"DELETE FROM {table} WHERE place >= ? AND place >> 40 = ?", forger.place(LOG, 40), forger.place(LOG, 0) >> 40)


def cut_the_end_and_mend_the_tree(forger: Forger) -> None:
    cut_the_end(forger)
    forger.mend_trees()


def cut_the_end_and_mend_the_head_log(forger: Forger) -> None:
    cut_the_end(forger)
    forger.mend_all_hashes()


def drop_a_log(forger: Forger) -> None:
    """Its row and its records."""
    number = forger.place("globex", 0) >> 40
    for table in ("records", "payloads"):
        forger.run(f"DELETE FROM {table} WHERE place >> 40 = ?", number)
    forger.run("DELETE FROM logs WHERE name = 'globex'")


def drop_the_row_of_a_log(forger: Forger) -> None:
    forger.run("DELETE FROM logs WHERE name = 'globex'")


def drop_a_log_and_its_heads(forger: Forger) -> None:
    drop_a_log(forger)
    forger.mend_all_hashes()


def rename_a_log(forger: Forger) -> None:
    forger.run("UPDATE logs SET name = 'initech' WHERE name = 'globex'")


def rename_a_log_in_everything_but_its_envelopes(forger: Forger) -> None:
    rename_a_log(forger)
    forger.run(
        "UPDATE heads SET log = 'initech', entry = CAST(replace(CAST(entry AS TEXT), 'globex', 'initech') AS BLOB) WHERE log = 'globex'"
    )
    forger.mend_head_tree()


def swap_the_names_of_two_logs(forger: Forger) -> None:
    for old, new in (("acme", "between"), ("globex", "acme"), ("between", "globex")):
        forger.run("UPDATE logs SET name = ? WHERE name = ?", new, old)


def move_a_record_to_another_tenant(forger: Forger) -> None:
    """From one log's end to the other's, both trees repaired."""
    source, target = forger.place("globex", forger.size("globex") - 1), forger.place(LOG, forger.size(LOG))
    for table in ("records", "payloads"):
        forger.run(f"UPDATE {table} SET place = ? WHERE place = ?", target, source)
    forger.mend_trees()


# what else lies there


def edit_a_snapshot(forger: Forger) -> None:
    forger.run("UPDATE blobs SET content = CAST(content || ' ' AS BLOB) WHERE number = 1")


def replace_a_snapshot_with_its_hash(forger: Forger) -> None:
    """By another one that has the hash under which it is kept."""
    digest = hashlib.sha256(b"{}").hexdigest()
    forger.run("UPDATE blobs SET content = ?, digest = ? WHERE number = 1", b"{}", digest)


def insert_a_catalog(forger: Forger) -> None:
    """Gates read the catalogs of others."""
    content = forger.one("SELECT content FROM blobs WHERE kind = 'catalog' LIMIT 1").replace(b"billing.adjust", b"billing.adjusd")
    forger.run("INSERT INTO blobs (digest, kind, content) VALUES (?, 'catalog', ?)", hashlib.sha256(content).hexdigest(), content)


def delete_a_snapshot(forger: Forger) -> None:
    forger.run("DELETE FROM blobs WHERE number = 1")


def say_that_a_snapshot_is_of_another_kind(forger: Forger) -> None:
    forger.run("UPDATE blobs SET kind = 'another' WHERE number = 1")


def release_a_legal_hold_without_a_word(forger: Forger) -> None:
    forger.run("DELETE FROM holds")


def place_a_legal_hold_without_a_word(forger: Forger) -> None:
    forger.run("INSERT INTO holds VALUES ('h', 'acme', NULL, 1)")


def forget_that_somebody_was_erased(forger: Forger) -> None:
    forger.run("DELETE FROM erasures")


def say_that_somebody_was_erased(forger: Forger) -> None:
    forger.run("INSERT INTO erasures VALUES (?, 'acme', ?)", "f" * 32, "User::" + "f" * 32)


ROWS = [
    Attack(approve_a_request, Forger, "log `acme`, record 33, request.state: the row of request", ""),
    Attack(put_a_used_approval_back, Forger, "log `acme`, record 17, request.state: the row of request", ""),
    Attack(write_a_state_that_is_none, Forger, "log `acme`, record 17, request.state: the row of request", ""),
    Attack(point_a_request_at_another_call, Forger, "log `acme`, record 33, request.key: the row of request", ""),
    Attack(move_a_request_to_another_tenant, Forger, "log `acme`, record 33, request.tenant: the row of request", ""),
    Attack(prolong_a_request, Forger, "log `acme`, record 36, request.expires_at: the row of request", ""),
    Attack(delete_a_request, Forger, "log `acme`, record 36, request: its row is missing", ""),
    Attack(insert_a_request, Forger, "request: a row that no record opened", "request: a row that no record opened"),
    Attack(delete_a_vote, Forger, "log `acme`, record 17, votes: the votes on request", ""),
    Attack(insert_a_vote, Forger, "log `acme`, record 33, votes: the votes on request", ""),
    Attack(rename_a_vote, Forger, "log `acme`, record 17, votes: the votes on request", ""),
    Attack(forge_a_vote_record, Forger, "log `acme`, record 42, payload: its bytes are not those that were sealed", ""),
    Attack(
        repeat_a_vote_record,
        Forger,
        "record 42, payload: its bytes are not those that were sealed",
        "record 42, id: record 18 has it already",
    ),
    Attack(forget_a_key, Forger, "keys: an idempotency key is not known as taken", "keys: an idempotency key is not known as taken"),
    Attack(take_a_key_that_nobody_took, Forger, "keys: no intent took the key of call", "keys: no intent took the key of call"),
    Attack(point_a_key_at_another_outcome, Forger, "keys.key: the key of call", ""),
    Attack(let_a_key_be_used_for_something_else, Forger, "keys.digest: the key of call", ""),
    Attack(open_a_call_that_ended, Forger, "open_calls: the row of call", "open_calls: the row of call"),
    Attack(
        settle_a_call_without_a_word, Forger, "record 11, unsettled: a call of which nobody saw", "record 11, unsettled: a call of which"
    ),
    Attack(unsettle_a_call, Forger, "unsettled: the row of call", "unsettled: the row of call"),
    Attack(
        edit_a_snapshot, Forger, "snapshot: its bytes are not those that were hashed", "snapshot: its bytes are not those that were hashed"
    ),
    Attack(replace_a_snapshot_with_its_hash, Forger, "snapshot: no record says that it was in force", ""),
    Attack(insert_a_catalog, Forger, "snapshot: no record says that it was in force", ""),
    Attack(delete_a_snapshot, Forger, "log `operator`, record 0, snapshot: what was in force is missing", ""),
    Attack(release_a_legal_hold_without_a_word, Forger, *["holds: the legal holds are not those that the records placed"] * 2),
    Attack(place_a_legal_hold_without_a_word, Forger, *["holds: the legal holds are not those that the records placed"] * 2),
    Attack(forget_that_somebody_was_erased, Forger, *["erasures: the erasures are not those that were recorded"] * 2),
    Attack(say_that_somebody_was_erased, Forger, *["erasures: the erasures are not those that were recorded"] * 2),
    Attack(lift_a_freeze_without_a_word, Forger, *["log `operator`, freezes: a freeze stands that has no row"] * 2),
    Attack(freeze_another_session, Forger, *["log `operator`, freezes: the row of freeze"] * 2),
    Attack(freeze_everything_without_a_word, Forger, *["log `operator`, freezes: the row of freeze x is not what the records say"] * 2),
    Attack(add_a_trigger, Forger, *["store: `helpful` of the schema was added"] * 2),
    Attack(drop_an_index, Forger, *["store: `requests_live` of the schema is missing"] * 2),
]
LOGS = [
    Attack(enlarge_a_log, Forger, *["log `acme`, compact_range: the stored tree contradicts itself"] * 2),
    Attack(shrink_a_log, Forger, *["log `acme`, size: records were added beside the tree"] * 2),
    Attack(edit_a_compact_range, Forger, *["log `acme`, root: the trees over records 0 to 31 differ"] * 2),
    Attack(delete_a_record_in_the_middle, Forger, *["log `acme`, record 5, index: records are missing: expected `5`, found `6`"] * 2),
    Attack(delete_a_record_and_close_the_gap, Forger, *["are not those that entry"] * 2),
    Attack(insert_a_record, Forger, *["are not those that entry"] * 2),
    Attack(swap_two_records, Forger, *["log `acme`, root: the trees over records 0 to 31 differ"] * 2),
    Attack(swap_two_records_and_mend_the_tree, Forger, *["are not those that entry"] * 2),
    Attack(repeat_a_record, Forger, *["log `acme`, record 42, id: record 22 has it already"] * 2),
    Attack(cut_the_end, Forger, *["log `acme`, size: records were cut off: expected `42`, found `40`"] * 2),
    Attack(cut_the_end_and_mend_the_tree, Forger, *["log `acme`, head: records were cut off"] * 2),
    Attack(cut_the_end_and_mend_the_head_log, Forger, *["ledger, head: the head log was cut off: a checkpoint knows more"] * 2),
    Attack(drop_a_log, Forger, *["log `globex`, head: the head log knows its records, and there is no such log: expected `4`"] * 2),
    Attack(drop_the_row_of_a_log, Forger, *["ledger, store: a row of records belongs to no log"] * 2),
    Attack(drop_a_log_and_its_heads, Forger, *["ledger, checkpoint: checkpoint"] * 2),
    Attack(rename_a_log, Forger, *["log `initech`, record 0, log: envelope and row disagree: expected `globex`"] * 2),
    Attack(rename_a_log_in_everything_but_its_envelopes, Forger, *["log `initech`, record 0, log: envelope and row disagree"] * 2),
    Attack(swap_the_names_of_two_logs, Forger, *["log `acme`, record 0, log: envelope and row disagree: expected `globex`"] * 2),
    Attack(move_a_record_to_another_tenant, Forger, *["log `acme`, record 42, log: envelope and row disagree: expected `globex`"] * 2),
]
HARMLESS = [say_that_another_call_moved_a_request, say_that_a_snapshot_is_of_another_kind]


@pytest.mark.parametrize("attack", ROWS + LOGS, ids=name_of)
def test_what_is_done_to_rows_is_shown_at_its_place(stored: Stored, attack: Attack) -> None:
    """Without the key, requests, votes and what a key was taken for say nothing: what they should say is sealed."""
    attack.carry_out(stored)
    for with_key, shown in ((True, attack.shown), (False, attack.shown_without_key)):
        problems = stored.problems(with_key=with_key)
        assert any(shown in problem for problem in problems) if shown else not problems, (with_key, problems)


@pytest.mark.parametrize("act", HARMLESS, ids=lambda act: act.__name__)
def test_what_nobody_reads_may_be_edited(stored: Stored, act: Act) -> None:
    """Not shown, and nothing rests on it: gates take a snapshot of no known kind for none, and nobody asks for the call beside a request."""
    with Forger(stored) as forger:
        act(forger)
    assert stored.problems() == []
    assert seen_from_outside(stored) == set()
