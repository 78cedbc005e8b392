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
from licet.approvals.standing import binding_of
from licet.errors import VoteRefused
from licet.gate.results import Denied, Held, Ok, Result
from licet.model import Request, Vote
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
