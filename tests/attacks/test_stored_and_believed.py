"""What a gate believes of what is stored: whatever was done to the file, nothing runs that people have not approved, and nothing twice.

Each attack is made while no gate is open, by who can write the file and has no key, after one true approval and one true use.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from licet.errors import StoreError
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.ledger.entropy import new_id
from licet.testing import vote
from tests.attacks.forger import Forger
from tests.attacks.stored import Kept, Stored
from tests.gate.test_kill import killed
from tests.world import World, world_on

LOG = "acme"
APPROVED, WAITING, USED = 60_000, 70_000, 80_000
Act = Callable[[Forger, "Requests"], None]


class Requests(NamedTuple):
    """One that is approved, one that waits for a vote, one that was used up."""

    approved: str
    waiting: str
    used: str


def made(folder: Path) -> Requests:
    with world_on(folder) as w:
        used = w.held(USED)
        vote(w.gate, used.request, "lena")
        assert isinstance(w.adjust(USED), Ok)
        w.customers["C-1"]["balance"] = 100
        approved, waiting = w.held(APPROVED), w.held(WAITING)
        vote(w.gate, approved.request, "lena")
        w.adjust(500, idempotency_key="once")
        return Requests(str(approved.request), str(waiting.request), str(used.request))


def forger_of(folder: Path) -> Forger:
    return Forger(Stored(folder, (), Kept("", "", b"")))


def approve_a_row(forger: Forger, requests: Requests) -> None:
    forger.run("UPDATE requests SET state = 'approved' WHERE id = ?", requests.waiting)


def copy_a_blind(forger: Forger, requests: Requests) -> None:
    """The row of the approved request has the blind of the call that waits."""
    blind = forger.one("SELECT key FROM requests WHERE id = ?", requests.waiting)
    forger.run("UPDATE requests SET key = 'nowhere' WHERE id = ?", requests.waiting)
    forger.run("UPDATE requests SET key = ? WHERE id = ?", blind, requests.approved)


def copy_a_vote(forger: Forger, requests: Requests) -> None:
    forger.run("INSERT INTO votes (request, person) SELECT ?, person FROM votes WHERE request = ?", requests.waiting, requests.approved)
    approve_a_row(forger, requests)


def forge_a_vote_record(forger: Forger, requests: Requests) -> None:
    """With trees, row and state as they should be; its payload is that of a true vote."""
    true = forger.last(LOG, "vote")
    fields = forger.fields(LOG, true)
    end = forger.size(LOG)
    forger.append(LOG, {**fields, "id": new_id(), "approval": {**fields["approval"], "request": requests.waiting}})
    forger.run("INSERT INTO payloads SELECT ?, sealed FROM payloads WHERE place = ?", forger.place(LOG, end), forger.place(LOG, true))
    forger.mend_trees()
    copy_a_vote(forger, requests)


def bring_a_vote_from_another_tenant(forger: Forger, requests: Requests) -> None:
    """A record of a log that is named as ours, with a request of ours."""
    true = forger.last(LOG, "vote")
    fields = forger.fields(LOG, true)
    forger.run("INSERT INTO logs (number, name, size, compact_range) VALUES (9, 'globex', 0, x'')")
    forger.append("globex", {**fields, "log": "globex", "approval": {**fields["approval"], "request": requests.waiting}})
    forger.run("INSERT INTO payloads SELECT ?, sealed FROM payloads WHERE place = ?", 9 << 40, forger.place(LOG, true))
    forger.mend_trees()
    copy_a_vote(forger, requests)


def swap_what_was_asked(forger: Forger, requests: Requests) -> None:
    """The hold of the call that waits has the sealed words of the one that is approved."""
    held = [forger.one("SELECT place FROM records WHERE kind = 'hold' AND request = ?", request) for request in requests[:2]]
    forger.run("UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE place = ?) WHERE place = ?", *held)
    approve_a_row(forger, requests)


def repeat_an_approval(forger: Forger, requests: Requests) -> None:
    """It is approved once more, as if it had not been used."""
    forger.run("UPDATE requests SET state = 'approved' WHERE id = ?", requests.used)


def take_the_use_out(forger: Forger, requests: Requests) -> None:
    """The intent that used the approval, and its outcome, are gone; what came later has moved up, and every tree is mended."""
    intent = forger.one("SELECT place FROM records WHERE kind = 'intent' AND request = ?", requests.used)
    for table in ("records", "payloads"):
        forger.run(f"DELETE FROM {table} WHERE place IN (?, ?)", intent, intent + 1)
        for (place,) in forger.run(f"SELECT place FROM {table} WHERE place > ? AND place >> 40 = ? ORDER BY place", intent, intent >> 40):
            forger.run(f"UPDATE {table} SET place = place - 2 WHERE place = ?", place)
    forger.mend_all_hashes()
    repeat_an_approval(forger, requests)


def say_that_the_use_was_of_another_request(forger: Forger, requests: Requests) -> None:
    """Who looks for the records of the request does not find it."""
    forger.run("UPDATE records SET request = NULL WHERE kind = 'intent' AND request = ?", requests.used)
    repeat_an_approval(forger, requests)


def hide_the_use_from_an_index(forger: Forger, requests: Requests) -> None:
    """The index by which the records of a request are found leaves intents out."""
    forger.run("PRAGMA writable_schema = ON")
    text = "UPDATE sqlite_schema SET sql = replace(sql, 'request IS NOT NULL', ?) WHERE name = 'records_by_request'"
    forger.run(text, "request IS NOT NULL AND kind <> 'intent'")
    forger.run("PRAGMA writable_schema = RESET")
    forger.run("REINDEX records_by_request")
    repeat_an_approval(forger, requests)


def approve_by_a_trigger(forger: Forger, requests: Requests) -> None:
    """The database itself approves what is opened."""
    forger.run("CREATE TRIGGER approve AFTER INSERT ON requests BEGIN UPDATE requests SET state = 'approved' WHERE id = new.id; END")
    approve_a_row(forger, requests)


FORGERIES = [approve_a_row, copy_a_blind, copy_a_vote, forge_a_vote_record, bring_a_vote_from_another_tenant, swap_what_was_asked]
USES = [repeat_an_approval, hide_the_use_from_an_index]
REWRITES = [take_the_use_out, say_that_the_use_was_of_another_request]


@pytest.mark.parametrize("act", [*FORGERIES, approve_by_a_trigger], ids=lambda act: act.__name__)
def test_no_row_and_no_forged_record_approves_a_call(tmp_path: Path, act: Act) -> None:
    requests = made(tmp_path)
    with forger_of(tmp_path) as forger:
        act(forger, requests)
    with world_on(tmp_path) as w:
        assert not w.gate.verify().ok
        assert isinstance(w.adjust(WAITING), Denied | Held)
        assert w.ran == []


@pytest.mark.parametrize("act", USES, ids=lambda act: act.__name__)
def test_no_row_gives_a_used_approval_back(tmp_path: Path, act: Act) -> None:
    requests = made(tmp_path)
    with forger_of(tmp_path) as forger:
        act(forger, requests)
    with world_on(tmp_path) as w:
        assert not w.gate.verify().ok
        assert isinstance(w.adjust(USED), Denied | Held)
        assert w.ran == []


@pytest.mark.parametrize("act", REWRITES, ids=lambda act: act.__name__)
def test_an_approval_whose_use_was_taken_out_of_the_records_is_found_by_verification(tmp_path: Path, act: Act) -> None:
    """A gate reads the records of one request, not the log: it believes that none is missing. Verification does not."""
    requests = made(tmp_path)
    with forger_of(tmp_path) as forger:
        act(forger, requests)
    with world_on(tmp_path) as w:
        before = w.gate.verify()
        w.adjust(USED)
        assert not before.ok
        assert not w.gate.verify().ok


def is_open(folder: Path) -> list[tuple[str]]:
    con = apsw.Connection(str(folder / "licet.db"))
    rows = con.execute("SELECT call FROM open_calls").fetchall()
    con.close()
    return [(str(call),) for (call,) in rows]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("DELETE FROM open_calls", "open_calls"),
        ("UPDATE open_calls SET boot = 99, holder = 99", "open_calls"),
        ("UPDATE open_calls SET log = 'operator'", "open_calls"),
    ],
)
def test_a_call_that_no_row_knows_as_open_is_found_by_verification(tmp_path: Path, text: str, field: str) -> None:
    """Nobody recovers it, so that nothing says how it ended: the log does not say that it did."""
    killed(tmp_path, "in the tool")
    con = apsw.Connection(str(tmp_path / "licet.db"))
    con.execute(text)
    con.close()
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert field in {problem.field for problem in w.gate.verify().problems}


@pytest.mark.parametrize("state", ["running", "closed", "dead"])
def test_the_state_of_a_boot_hides_no_open_call(tmp_path: Path, state: str) -> None:
    """Who has died is known by the lease, which only the living hold."""
    killed(tmp_path, "in the tool")
    con = apsw.Connection(str(tmp_path / "licet.db"))
    con.execute("UPDATE boots SET state = ?", (state,))
    con.close()
    with world_on(tmp_path) as w:
        w.gate.seal()
        recovered = w.kinds()[-1] == "recovery"
        assert recovered or not w.gate.verify().ok or w.gate.store.open_calls() != ()
        assert recovered


def test_leases_that_were_removed_let_the_dead_be_recovered(tmp_path: Path) -> None:
    killed(tmp_path, "in the tool")
    shutil.rmtree(tmp_path / "licet.db-boots")
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds()[-1] == "recovery"
        assert w.gate.verify().ok


def test_a_living_process_whose_lease_was_removed_writes_nothing_more_once_it_was_declared_dead(tmp_path: Path) -> None:
    with world_on(tmp_path) as first:
        assert isinstance(first.adjust(), Ok)
        shutil.rmtree(tmp_path / "licet.db-boots")
        with world_on(tmp_path) as second:
            assert isinstance(second.adjust(), Ok)
            result = outcome_of(first)
            assert isinstance(result, Ok | Denied | Failed)
            assert second.gate.verify().ok, "whoever of them wrote, the log is whole"


def outcome_of(w: World) -> Result | StoreError:
    try:
        return w.adjust(600)
    except StoreError as error:
        return error


@pytest.mark.parametrize("edit", ["DELETE FROM keys", "UPDATE keys SET digest = 'f'", "UPDATE keys SET call = 'another'"])
def test_a_key_that_was_edited_repeats_a_call_at_most_where_verification_says_so(tmp_path: Path, edit: str) -> None:
    """Idempotency keys are rows: who takes them out can have a call made twice. What it may do at all is decided as ever."""
    made(tmp_path)
    con = apsw.Connection(str(tmp_path / "licet.db"))
    con.execute(edit)
    con.close()
    with world_on(tmp_path) as w:
        assert not w.gate.verify().ok
        result = w.adjust(500, idempotency_key="once")
        assert not (isinstance(result, Ok) and result.replayed)


def test_a_key_that_leads_to_the_call_of_somebody_else_hands_out_no_result(tmp_path: Path) -> None:
    """Who can write the database, but has no key to open payloads, would have the gate read them to an agent of his."""
    with world_on(tmp_path) as w:
        w.returns = "for alice alone"
        first = w.adjust(500, idempotency_key="hers")
        w.returns = "for the other"
        second = w.adjust(600, idempotency_key="his")
        assert isinstance(first, Ok)
        assert isinstance(second, Ok)
    con = apsw.Connection(str(tmp_path / "licet.db"))
    con.execute("UPDATE keys SET call = ? WHERE call = ?", (first.call, second.call))
    con.close()
    with world_on(tmp_path) as w:
        w.denied(w.adjust(600, idempotency_key="his"), "key_not_in_log", "audit verify")
        assert isinstance(w.adjust(500, idempotency_key="hers"), Ok)
        assert w.ran == []
