"""Attacks on approvals, rules and arguments: the table of all is in `test_known_breaks.py`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from licet import Effect
from licet.errors import VoteRefused
from licet.gate.results import Denied, Held, Ok, Result
from licet.ledger.record import leaf_hash
from licet.testing import vote
from tests.gate.proof import assert_whole, report_of
from tests.world import CONFIG, POLICIES, World, world, world_on

AMOUNT = 50_000


ARGUMENTS = {"customer_id": "C-1", "amount_cents": AMOUNT}


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


def test_an_approval_that_was_superseded_is_not_revived_once_people_have_rejected_what_took_its_place(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        first = approved(w)
        w.customers["C-1"]["balance"] = 500
        second = w.held(AMOUNT)
        vote(w.gate, second.request, "lena", verdict="reject")
        w.customers["C-1"]["balance"] = 100
        edit(tmp_path, "DELETE FROM requests WHERE id = ?", (second.request,))
        edit(tmp_path, "UPDATE requests SET state = 'approved' WHERE id = ?", (first.request,))
        w.denied(w.adjust(AMOUNT), "approval_not_in_log", "has ended it", "audit verify")
        assert w.ran == []
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


def forge_state(folder: Path, held: Held, other: Held) -> None:
    edit(folder, "UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,))


def forge_vote(folder: Path, held: Held, other: Held) -> None:
    """A vote, by the row of one that lena has really cast: nobody without the key knows how rows write her."""
    edit(folder, "INSERT INTO votes (request, person) SELECT ?, person FROM votes", (held.request,))
    forge_state(folder, held, other)


def move_vote(folder: Path, held: Held, other: Held) -> None:
    """The vote that lena has really cast on another request, with its record."""
    edit(folder, "UPDATE votes SET request = ?", (held.request,))
    edit(folder, "UPDATE records SET request = ? WHERE kind = 'vote'", (held.request,))
    forge_state(folder, held, other)


def rewrite_vote(folder: Path, held: Held, other: Held) -> None:
    """As above, and the vote's record names this request."""
    assert held.request is not None
    assert other.request is not None
    move_vote(folder, held, other)
    place, envelope = edit(folder, "SELECT place, envelope FROM records WHERE kind = 'vote'")[0]
    edited = envelope.replace(other.request.encode(), held.request.encode())
    edit(folder, "UPDATE records SET envelope = ?, leaf = ? WHERE place = ?", (edited, leaf_hash(edited), place))


def point_the_call_at_another_approval(folder: Path, held: Held, other: Held) -> None:
    """The blind by which the call is found leads to the request that lena has approved."""
    key = edit(folder, "SELECT key FROM requests WHERE id = ?", (held.request,))[0][0]
    edit(folder, "UPDATE requests SET key = 'nowhere' WHERE id = ?", (held.request,))
    edit(folder, "UPDATE requests SET key = ? WHERE id = ?", (key, other.request))


def take_another_approvals_place(folder: Path, held: Held, other: Held) -> None:
    """The approved row has the id of the request that waits, and its records with it."""
    edit(folder, "UPDATE requests SET id = 'aside' WHERE id = ?", (held.request,))
    edit(folder, "UPDATE requests SET id = ? WHERE id = ?", (held.request, other.request))
    move_vote(folder, held, other)


FORGERIES = [forge_state, forge_vote, move_vote, rewrite_vote, point_the_call_at_another_approval, take_another_approvals_place]


@pytest.mark.parametrize("forge", FORGERIES)
def test_an_approval_forged_in_the_database_runs_nothing(tmp_path: Path, forge: Callable[[Path, Held, Held], None]) -> None:
    with world_on(tmp_path) as w:
        other = w.held(AMOUNT - 1)
        vote(w.gate, other.request, "lena")
        held = w.held(AMOUNT)
        forge(tmp_path, held, other)
        assert not report_of(w.gate).ok
        result = w.adjust(AMOUNT)
        assert isinstance(result, Denied | Held), result
        assert w.ran == []
        if isinstance(result, Denied):
            assert result.decision.code == "approval_not_in_log", result.decision
            assert "audit verify" in result.decision.message


def swap_what_was_asked(folder: Path, hold: int, easier: int) -> None:
    """The request's record has the payload of a request that needs one approval and not two."""
    edit(folder, "UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE place = ?) WHERE place = ?", (easier, hold))


def swap_the_records(folder: Path, hold: int, easier: int) -> None:
    """As above, with the whole record."""
    for table in ("records", "payloads"):
        edit(folder, f"UPDATE {table} SET place = -1 WHERE place = ?", (hold,))
        edit(folder, f"UPDATE {table} SET place = ? WHERE place = ?", (hold, easier))
        edit(folder, f"UPDATE {table} SET place = ? WHERE place = -1", (easier,))
    request = edit(folder, "SELECT request FROM records WHERE place = ?", (easier,))[0][0]
    edit(folder, "UPDATE records SET request = ? WHERE place = ?", (request, hold))


def damage_what_was_asked(folder: Path, hold: int, easier: int) -> None:
    edit(folder, "UPDATE payloads SET sealed = zeroblob(length(sealed)) WHERE place = ?", (hold,))


def forget_who_asked(folder: Path, hold: int, easier: int) -> None:
    """Nobody can read any more what was asked, and nothing says that it was erased."""
    edit(folder, "DELETE FROM secrets WHERE pseudonym IN (SELECT pseudonym FROM secrets WHERE tenant = 'acme' ORDER BY rowid LIMIT 2)")


def swap_secrets(folder: Path, hold: int, easier: int) -> None:
    rows = edit(folder, "SELECT rowid, wrapped FROM secrets WHERE tenant = 'acme' ORDER BY rowid LIMIT 3")
    for (place, _), (_, wrapped) in zip(rows, [*rows[1:], rows[0]], strict=True):
        edit(folder, "UPDATE secrets SET wrapped = ? WHERE rowid = ?", (wrapped, place))


def change_the_asker(folder: Path, hold: int, easier: int) -> None:
    """The envelope says that another agent asked."""
    envelope = edit(folder, "SELECT envelope FROM records WHERE place = ?", (hold,))[0][0]
    edited = envelope.replace(b'"support-bot"', b'"another-bot"')
    assert edited != envelope
    edit(folder, "UPDATE records SET envelope = ?, leaf = ? WHERE place = ?", (edited, leaf_hash(edited), hold))


def prolong(folder: Path, hold: int, easier: int) -> None:
    """The row says that it never ends."""
    edit(folder, "UPDATE requests SET expires_at = ?", (2**60,))


EDITS = [swap_what_was_asked, swap_the_records, damage_what_was_asked, forget_who_asked, swap_secrets, change_the_asker, prolong]


@pytest.mark.parametrize("change", EDITS)
def test_a_request_edited_in_the_database_runs_nothing(tmp_path: Path, change: Callable[[Path, int, int], None]) -> None:
    with world_on(tmp_path) as w:
        approved(w)  # needs one
        held = call(w, {"customer_id": "C-1"}, "account.suspend")
        assert isinstance(held, Held)
        vote(w.gate, held.request, "dana")  # one of the two that this needs
        easier, hold = [row[0] for row in edit(tmp_path, "SELECT place FROM records WHERE kind = 'hold' ORDER BY place")]
        w.gate.close()
        edit(tmp_path, "UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,))
        change(tmp_path, hold, easier)
    with world_on(tmp_path) as w:
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
        assert held.preview == (), "and its arguments show no change"
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
