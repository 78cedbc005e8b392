"""The guarantees of the README, one story each, told through the whole gate. The rooms' own tests go into every corner of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from licet.errors import PolicyInvalid, StoreUnavailable, VoteRefused
from licet.gate.results import Failed, Held, Ok
from licet.ledger.verify import verify
from licet.store.contract import Batch, Committed, Lost
from licet.store.sqlite import SqliteStore
from licet.testing import vote
from tests.world import CONFIG, POLICIES, World, world, world_on

ROOT = Path(__file__).parent.parent


@pytest.fixture(name="w")
def made() -> Iterator[World]:
    with world() as made:
        yield made


def break_log(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the log cannot be written."""

    def commit(batches: list[Batch]) -> list[Committed | Lost]:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(w.gate.store, "commit", commit)


def test_what_no_permit_matches_does_not_run_and_is_recorded(w: World) -> None:
    with w.gate.acting(agent="support-bot", user="carl"):
        w.denied(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), "no_permit", 'User::"carl"')
        w.denied(w.gate.call("billing.delete", {}), "unknown_tool", "`billing.delete`")
        w.denied(w.gate.call("crm.lookup", {"customer_id": "C-9"}), "target_not_found", 'Customer::"C-9"')
    w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1"}), "no_caller")
    assert w.ran == []
    assert w.kinds() == ["denial"] * 3
    assert w.kinds("operator")[-1] == "denial"


def test_an_agent_may_do_for_a_user_what_both_may_do(w: World) -> None:
    with w.gate.acting(agent="support-bot", user="alice"):
        assert isinstance(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), Ok)
    with w.gate.acting(agent="support-bot", user="carl"):
        w.denied(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), "no_permit", 'User::"carl"')
    with w.gate.acting(agent="support-bot"):
        w.denied(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), "acts_for_user")
    with w.gate.acting(user="alice", tenant="acme"):
        w.denied(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), "no_agent")
    assert len(w.ran) == 1


def test_nothing_that_a_model_writes_grants_anything(w: World) -> None:
    with w.gate.acting(agent="support-bot", user="carl", reason="alice, a billing lead, has approved this", session="admin"):
        w.denied(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), "no_permit")
        role = {"__entity": {"type": "Role", "id": "billing"}}
        w.denied(w.gate.call("crm.lookup", {"customer_id": role}), "forbidden_key")
        w.denied(w.gate.call("crm.lookup", '{"customer_id": "C-2", "customer_id": "C-1"}'), "duplicate_key")
        w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1", "user": "alice"}), "unknown_argument")
    assert w.ran == []


def test_what_runs_and_is_recorded_is_the_value_that_was_decided_on(w: World) -> None:
    proposed = {"paths": ["/data/a"]}
    ran: list[list[str]] = []

    @dataclass
    class File:
        tenant: str

    @w.gate.resource("File")
    def file(path: str) -> File:
        proposed["paths"][0] = "/etc/passwd"  # between decision and execution, as another thread could
        return File("acme")

    @w.gate.tool("files.read", access="read", targets="File::{paths:path}")
    def read(paths: list[str]) -> str:
        ran.append(list(paths))
        return "read"

    with w.alice():
        assert isinstance(w.gate.call("files.read", proposed), Ok)
        w.denied(w.gate.call("files.read", {"paths": ["/data/../etc/passwd"]}), "not_canonical", "`..` segment")
    assert proposed["paths"] == ["/etc/passwd"]
    assert ran == [["/data/a"]]
    assert msgspec.json.decode(w.records()[0].payload.arguments) == {"paths": ["/data/a"]}


def test_another_tenant_s_customer_is_as_unknown_as_one_that_is_not_there(w: World) -> None:
    with w.alice():
        foreign = w.denied(w.gate.call("crm.lookup", {"customer_id": "G-1"}), "target_not_found")
        missing = w.denied(w.gate.call("crm.lookup", {"customer_id": "X-1"}), "target_not_found")
    assert foreign.decision.message.replace("G-1", "X-1") == missing.decision.message
    assert w.ran == []


def test_an_approval_is_for_the_exact_call_and_for_one_use(w: World) -> None:
    held = w.held(50_000)
    vote(w.gate, held.request, "lena")
    assert isinstance(w.adjust(50_001), Held)
    assert isinstance(w.adjust(50_000), Ok)
    again = w.adjust(50_000)
    assert isinstance(again, Held)
    assert again.request != held.request
    assert [arguments["amount_cents"] for _, arguments in w.ran] == [50_000]


def test_an_approval_expires(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    w.clock.advance(15 * 60)
    assert isinstance(w.adjust(50_000), Held)
    assert w.ran == []


def test_nobody_approves_their_own_and_two_means_two_people(w: World) -> None:
    with pytest.raises(VoteRefused, match="nobody approves their own"):
        vote(w.gate, w.held().request, "alice")
    with w.alice():
        held = w.gate.call("account.suspend", {"customer_id": "C-1"})
        assert isinstance(held, Held)
        vote(w.gate, held.request, "dana")
        with pytest.raises(VoteRefused, match="`dana` has already voted"):
            vote(w.gate, held.request, "dana-two")
        assert isinstance(w.gate.call("account.suspend", {"customer_id": "C-1"}), Held)
        vote(w.gate, held.request, "omar")
        assert isinstance(w.gate.call("account.suspend", {"customer_id": "C-1"}), Ok)
    assert len(w.ran) == 1


def test_when_the_world_has_changed_an_approved_call_is_held_anew(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    w.customers["C-1"]["balance"] = 0
    again = w.adjust(50_000)
    assert isinstance(again, Held)
    assert again.request != held.request
    assert w.ran == []


def test_without_a_record_nothing_runs(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(w.adjust(), Ok)
    with monkeypatch.context() as broken:
        break_log(w, broken)
        w.denied(w.adjust(), "log_unavailable", "nothing was done")
    assert len(w.ran) == 1


def test_without_a_recorded_outcome_no_result_leaves(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.returns = "the secret"
    w.gate.seal()
    with monkeypatch.context() as broken:
        break_log(w, broken)
        with w.gate.acting(agent="support-bot", user="alice"):
            result = w.gate.call("odd.now", {})
    assert isinstance(result, Failed)
    assert (result.code, result.executed) == ("outcome_not_recorded", True)
    assert "the secret" not in repr(result)


@pytest.mark.parametrize("raised", [ValueError("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_whatever_a_tool_raises_its_outcome_is_recorded(w: World, raised: BaseException) -> None:
    w.raises = raised
    with w.alice():
        if isinstance(raised, Exception):
            assert isinstance(w.gate.call("odd.now", {}), Failed)
        else:
            with pytest.raises(type(raised)):
                w.gate.call("odd.now", {})
    outcome = w.records()[-1].envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("error", type(raised).__name__)


DIES = """
import os, sys
from pathlib import Path
from tests.world import world_on
with world_on(Path(sys.argv[1]), policies=sys.argv[2]) as w:
    @w.gate.tool("odd.die", access="write")
    def die() -> None:
        os._exit(9)
    with w.alice():
        w.gate.call("odd.die", {})
"""


def test_a_call_whose_process_died_is_recorded_as_unknown_by_the_next(tmp_path: Path) -> None:
    policies = POLICIES + '@id("dies") permit (principal, action == Action::"odd.die", resource);'
    done = subprocess.run([sys.executable, "-c", DIES, tmp_path, policies], cwd=ROOT, check=False)
    assert done.returncode == 9
    with world_on(tmp_path) as w:
        w.gate.seal()
        last = w.records()[-1]
        assert (last.kind, last.envelope.outcome and last.envelope.outcome.status) == ("recovery", "unknown")
        assert isinstance(w.gate.store, SqliteStore)
        with w.gate.store.source() as ledger:
            assert verify(ledger).ok


def test_a_repeated_idempotency_key_runs_nothing_and_gives_the_recorded_result(w: World) -> None:
    first = w.adjust(idempotency_key="ticket-4711")
    again = w.adjust(idempotency_key="ticket-4711")
    assert isinstance(first, Ok)
    assert isinstance(again, Ok)
    assert (again.value, again.replayed) == (first.value, True)
    w.denied(w.adjust(9_999, idempotency_key="ticket-4711"), "key_reused")
    assert len(w.ran) == 1


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("@require_approval", "@requires_approval", "unknown annotation `@requires_approval`"),
        ('Role::"billing"', 'Role::"biling"', "no role `biling`; did you mean `billing`?"),
        ("context.input.amount_cents >", "context.input.amount >", "`input.amount`"),
        ('@id("adjust-needs-lead")', '@id("billing-writes")', "the id `billing-writes` is taken"),
        ("!(resource has vip)", "!(resource has vipp)", "nothing in scope has the attribute `vipp`"),
    ],
)
def test_a_misspelt_policy_does_not_load_and_nothing_runs(old: str, new: str, problem: str) -> None:
    assert old in POLICIES
    with world(CONFIG, POLICIES.replace(old, new)) as w, w.alice(), pytest.raises(PolicyInvalid) as caught:
        w.gate.call("crm.lookup", {"customer_id": "C-1"})
    assert any(problem in line for line in caught.value.problems), caught.value.problems
    assert w.ran == []


def edit(folder: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    """What somebody does who can write the database file."""
    with closing(sqlite3.connect(folder / "licet.db")) as con, con:
        for text, values in statements:
            con.execute(text, values)


def test_a_forged_approval_row_runs_nothing_and_is_found_by_verification(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = w.held()
        edit(tmp_path, ("UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,)))
        assert isinstance(w.gate.store, SqliteStore)
        with w.gate.store.source() as ledger:
            report = verify(ledger)
        assert isinstance(w.adjust(50_000), Held)  # nobody has voted, whatever the row says
    assert w.ran == []
    assert [problem.field for problem in report.problems] == ["request.state"]


def test_a_forged_vote_runs_nothing(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = w.held()
        lena = w.gate.store.blind("acme", "person", "lena")  # more than somebody without the key can know
        edit(
            tmp_path,
            ("UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,)),
            ("INSERT INTO votes (request, person) VALUES (?, ?)", (held.request, lena)),
        )
        w.denied(w.adjust(50_000), "approval_not_in_log", "the votes on request", "audit verify")
        assert w.ran == []


def test_an_approval_that_was_used_cannot_be_put_back(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = w.held()
        vote(w.gate, held.request, "lena")
        assert isinstance(w.adjust(50_000), Ok)
        edit(tmp_path, ("UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,)))
        w.denied(w.adjust(50_000), "approval_not_in_log", "has ended it")
        assert len(w.ran) == 1


def test_a_request_that_was_given_the_terms_of_an_easier_one_is_not_used(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.held()  # needs one approval
        with w.alice():
            held = w.gate.call("account.suspend", {"customer_id": "C-1"})  # needs two
        assert isinstance(held, Held)
        vote(w.gate, held.request, "dana")
        easier = "SELECT sealed FROM payloads JOIN records USING (place) WHERE kind = 'hold' AND request <> ?1"
        harder = "SELECT place FROM records WHERE kind = 'hold' AND request = ?1"
        edit(
            tmp_path,
            ("UPDATE requests SET state = 'approved' WHERE id = ?", (held.request,)),
            (f"UPDATE payloads SET sealed = ({easier}) WHERE place = ({harder})", (held.request,)),
        )
        with w.alice():
            again = w.gate.call("account.suspend", {"customer_id": "C-1"})
        w.denied(again, "approval_not_in_log", "no record opened request", "audit verify")
        assert w.ran == []


def test_a_rejected_call_is_not_asked_again(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena", verdict="reject")
    w.denied(w.adjust(50_000), "rejected", "`lena` rejected exactly this call")
    assert w.gate.approvals.waiting() == ()
    w.clock.advance(15 * 60)
    assert isinstance(w.adjust(50_000), Held)
    assert w.ran == []


def test_a_meter_stops_many_small_amounts(w: World) -> None:
    with w.alice(session="one"):
        assert isinstance(w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 30_000}), Ok)
        w.denied(w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 30_000}), "forbidden", "$500 at most")
    assert len(w.ran) == 1


def test_a_vote_of_somebody_who_left_the_group_does_not_count(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = w.held()
        vote(w.gate, held.request, "lena")
    with world_on(tmp_path, CONFIG.replace('["lena", "alice", "gina"]', '["alice", "dana"]')) as w:
        again = w.adjust(50_000)
        assert isinstance(again, Held)
        assert again.request == held.request, "it waits again"
        assert [shown.votes for shown in w.gate.approvals.waiting()] == [()]
        assert w.ran == []


def test_what_nobody_can_approve_is_denied_and_not_held() -> None:
    config = CONFIG.replace('["dana", "omar", "dana-two"]', '["dana", "dana-two"]')  # two ids, one person
    with world(config) as w:
        with w.alice():
            result = w.gate.call("account.suspend", {"customer_id": "C-1"})
        w.denied(result, "nobody_can_approve", "`suspend-needs-two`", "2 of `security-leads`")
        assert w.gate.approvals.waiting() == ()
        assert w.kinds() == ["denial"]


def test_the_requester_does_not_make_up_the_number_of_approvers() -> None:
    with world(CONFIG.replace('["lena", "alice", "gina"]', '["alice", "gina"]')) as w:
        w.denied(w.adjust(50_000), "nobody_can_approve", "1 of `billing-leads`")  # alice asks, gina is of another tenant


def test_without_a_user_there_is_nobody_to_confirm() -> None:
    policies = POLICIES + '@id("confirm") @require_confirmation forbid (principal, action == Action::"crm.lookup", resource);'
    with world(policies=policies) as w:
        with w.gate.acting(agent="night-bot"):
            result = w.gate.call("crm.lookup", {"customer_id": "C-1"})
        w.denied(result, "nobody_can_approve", "`confirm`", "there is none")
        with w.alice():
            assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Held)
