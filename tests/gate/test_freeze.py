"""A freeze stops calls: at step 0, and at the latest in the transaction of the intent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from licet.errors import FreezeRefused
from licet.gate.freeze_view import StandingFreeze
from licet.gate.results import Denied, Held, Ok, Result
from licet.ledger.frozen import SCOPES, Scope
from licet.ledger.vault import Subject
from licet.testing import vote
from tests.gate.faulty import drain, faulty_world
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, approved, asked
from tests.world import CONFIG, World, world, world_on

ROOT = Path(__file__).parents[2]
NAMES: dict[Scope, str | None] = {
    "agent": "support-bot",
    "service": "importer",
    "tool": "crm.lookup",
    "tenant": "acme",
    "session": "s-1",
    "all": None,
}
WHY = "it deletes what it should read"
READ = ("crm.lookup", {"customer_id": "C-1"})


def look_up(w: World, scope: Scope = "agent", *, awaited: bool = False) -> Result:
    """A read by the agent for alice in a session, or by the service."""
    block = w.gate.acting(service="importer", session="s-1") if scope == "service" else w.alice(session="s-1")
    with block:
        return asyncio.run(w.gate.acall(*READ)) if awaited else w.gate.call(*READ)


def freeze(w: World, scope: Scope = "agent", **more: Any) -> StandingFreeze:
    return w.gate.freeze(scope, NAMES[scope], reason=WHY, **more)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(FreezeRefused) as caught:
        act()
    return caught.value.code


# every scope


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_frozen_call_is_denied_and_says_why(w: World, scope: Scope, *, awaited: bool) -> None:
    assert isinstance(look_up(w, scope, awaited=awaited), Ok)
    stopped = freeze(w, scope, by="lena")
    words = (stopped.what, "2026-01-05 09:00 UTC", "`lena`", WHY, "calling again will not help")
    w.denied(look_up(w, scope, awaited=awaited), "frozen", *words)
    assert len(w.ran) == 1
    w.gate.lift(stopped.id, reason="mended")
    assert isinstance(look_up(w, scope, awaited=awaited), Ok)


@pytest.mark.parametrize("scope", ["agent", "tool", "session"])
def test_a_freeze_of_another_tenant_stops_nothing_here(w: World, scope: Scope) -> None:
    freeze(w, scope, tenant="globex")
    assert isinstance(look_up(w), Ok)


def test_a_freeze_of_a_tenant_stops_nobody_elses(w: World) -> None:
    w.gate.freeze("agent", "free-bot", tenant="acme", reason=WHY)
    with w.gate.acting(agent="free-bot", user="gina", tenant="globex"):
        assert isinstance(w.gate.call("crm.lookup", {"customer_id": "G-1"}), Ok)
    with w.gate.acting(agent="free-bot", tenant="acme"):
        w.denied(w.gate.call(*READ), "frozen", "of tenant `acme`")


def test_the_check_says_what_a_call_would(w: World) -> None:
    freeze(w)
    with w.alice():
        assert w.gate.check(*READ).code == "frozen"


# what is recorded


def test_freeze_and_lift_are_records_that_name_who_and_why(w: World) -> None:
    stopped = freeze(w, tenant="acme", by="lena")
    w.gate.lift(stopped.id, reason="mended", by="dana")
    placed, lifted = [record for record in w.records() if record.kind == "freeze"]
    said = placed.payload.detail or {}
    assert {name: said[name] for name in ("act", "scope", "name", "tenant", "reason", "by")} == {
        "act": "freeze",
        "scope": "agent",
        "name": "support-bot",
        "tenant": "acme",
        "reason": WHY,
        "by": "lena",
    }
    assert placed.envelope.id == stopped.id
    assert placed.envelope.targets == ("Agent::support-bot",)
    assert lifted.envelope.targets == (f"Freeze::{stopped.id}",)
    ended = lifted.payload.detail or {}
    assert (ended["act"], ended["freeze"], ended["reason"], ended["by"]) == ("lift", stopped.id, "mended", "dana")
    assert said["operating_user"] == ended["operating_user"] == stopped.operating_user


@pytest.mark.parametrize(
    ("scope", "tenant", "log"),
    [("agent", None, "operator"), ("agent", "acme", "acme"), ("tenant", None, "acme"), ("all", None, "operator")],
)
def test_it_is_recorded_where_it_holds(w: World, scope: Scope, tenant: str | None, log: str) -> None:
    freeze(w, scope, tenant=tenant)
    assert [name for name in ("acme", "globex", "operator") if "freeze" in w.kinds(name)] == [log]


def test_the_denial_is_recorded_with_what_was_attempted(w: World) -> None:
    stopped = freeze(w)
    look_up(w)
    denial = w.records()[-1]
    assert denial.kind == "denial"
    assert denial.envelope.decision is not None
    assert denial.envelope.decision.code == "frozen"
    assert denial.envelope.tool is not None
    assert denial.envelope.tool.name == "crm.lookup"
    assert bytes(denial.payload.arguments) == b'{"customer_id":"C-1"}'
    assert (denial.payload.detail or {})["freeze"] == stopped.id


def test_a_secret_of_a_frozen_call_does_not_enter_the_log(w: World) -> None:
    @w.gate.tool("account.open", access="write", touches={"access"}, secrets=["password"])
    def open_account(password: str) -> str:
        return password

    freeze(w)
    with w.alice():
        w.denied(w.gate.call("account.open", {"password": "correct horse battery"}), "frozen")
    assert b"correct horse" not in bytes(w.records()[-1].payload.arguments)
    assert "correct horse" not in str(w.records()[-1])


@pytest.mark.parametrize("unverified", [{"customer_id": 7}, b"{", {}], ids=["a number", "no JSON", "nothing"])
def test_a_frozen_call_that_cannot_be_read_is_denied_as_frozen(w: World, unverified: Any) -> None:
    freeze(w)
    with w.alice():
        w.denied(w.gate.call("crm.lookup", unverified), "frozen")
        w.denied(w.gate.call("no.such.tool", unverified), "frozen")


def test_a_denial_that_is_counted_still_says_it() -> None:
    with world(f"{CONFIG}\n[limits]\ndenials_per_minute = 2\n") as w:
        freeze(w, by="lena")
        for _ in range(5):
            look_up(w)
        opened = w.gate._house
        assert opened is not None
        opened._clerk.close()
        denials = [record for record in w.records() if record.kind == "denial"]
        decisions = [record.envelope.decision for record in denials]
        assert [(decision.code, decision.count) for decision in decisions if decision] == [("frozen", None)] * 2 + [("frozen", 3)]
        assert all(WHY in (record.payload.message or "") for record in denials)


# what waits, and what was decided before


def test_an_approval_of_a_frozen_agent_is_not_used(w: World) -> None:
    held = approved(w)
    stopped = freeze(w)
    w.denied(w.adjust(AMOUNT), "frozen")
    w.gate.lift(stopped.id, reason="mended")
    assert w.gate.approvals.show(asked(held)).request.state == "approved"
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_request_that_waits_stays_and_can_be_decided(w: World) -> None:
    waiting = w.held()
    stopped = freeze(w)
    vote(w.gate, waiting.request, "lena")
    w.denied(w.adjust(50_000), "frozen")
    w.gate.lift(stopped.id, reason="mended")
    assert isinstance(w.adjust(50_000), Ok)


@dataclass
class Account:
    tenant: str


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "service"])
def test_a_call_that_is_frozen_after_its_decision_is_refused_at_its_intent(w: World, scope: Scope, *, awaited: bool) -> None:
    name = {"tool": "account.pay"}.get(scope, NAMES[scope])

    @w.gate.resource("Account")
    def account(_: str) -> Account:
        w.gate.freeze(scope, name, reason=WHY, by="lena")  # behind step 0 of the call that is being resolved
        return Account("acme")

    @w.gate.tool("account.pay", access="write", touches={"access"}, targets="Account::{to}")
    def pay(to: str) -> str:
        w.ran.append(("account.pay", {"to": to}))
        return "paid"

    with w.alice(session="s-1"):
        result = asyncio.run(w.gate.acall("account.pay", {"to": "A-1"})) if awaited else w.gate.call("account.pay", {"to": "A-1"})
    w.denied(result, "frozen", "by `lena`", WHY, "calling again will not help")
    assert w.ran == []
    assert "intent" not in w.kinds()
    assert w.kinds()[-1] == "denial"
    assert (w.records()[-1].payload.detail or {})["freeze"]


def test_an_approval_is_not_used_by_a_call_that_is_frozen_before_its_intent(w: World) -> None:
    held = approved(w)
    armed = [True]

    class Account(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            if name == "balance" and armed and armed.pop():
                w.gate.freeze("agent", "support-bot", reason=WHY)  # while the preview is computed again
            return super().__getitem__(name)

    w.customers["C-1"] = Account(w.customers["C-1"])
    w.denied(w.adjust(AMOUNT), "frozen")
    assert w.gate.approvals.show(asked(held)).request.state == "approved"
    assert w.ran == []
    w.gate.lift(w.gate.freezes()[0].id, reason="mended")
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_read_that_was_decided_before_may_end(w: World) -> None:
    @w.gate.resource("Account")
    def account(_: str) -> Account:
        freeze(w)
        return Account("acme")

    @w.gate.tool("account.show", access="read", targets="Account::{of}")
    def show(of: str) -> str:
        return of

    with w.alice():
        assert isinstance(w.gate.call("account.show", {"of": "A-1"}), Ok)
        w.denied(w.gate.call("account.show", {"of": "A-1"}), "frozen")


def test_a_call_whose_tool_runs_ends_and_its_outcome_is_recorded(w: World) -> None:
    @w.gate.tool("account.close", access="write", touches={"access"})
    def close() -> str:
        freeze(w, "all")
        return "closed"

    with w.alice():
        assert isinstance(w.gate.call("account.close", {}), Ok)
    assert w.kinds()[-1] == "outcome"


def test_a_repeated_key_of_a_frozen_caller_gives_nothing_out(w: World) -> None:
    assert isinstance(w.adjust(5, idempotency_key="once"), Ok)
    freeze(w)
    w.denied(w.adjust(5, idempotency_key="once"), "frozen")


# many at once


def test_after_the_receipt_of_a_freeze_no_intent_begins(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.gate.seal()
        begun = threading.Semaphore(0)

        def work(_: int) -> Denied:
            while not isinstance(result := w.adjust(1), Denied):
                begun.release()
            return result

        with ThreadPoolExecutor(16) as pool:
            working = pool.map(work, range(16))
            for _ in range(64):
                assert begun.acquire(timeout=60)
            w.gate.freeze("agent", "support-bot", tenant="acme", reason=WHY)
            denied = list(working)
        assert {result.decision.code for result in denied} == {"frozen"}
        kinds = w.kinds()
        frozen_at = kinds.index("freeze")
        assert "intent" not in kinds[frozen_at:]
        assert kinds.count("intent") == len(w.ran) == kinds.count("outcome")
        assert_whole(w.gate)


@pytest.mark.parametrize("what", ["read", "write"])
def test_another_process_is_stopped(tmp_path: Path, what: str) -> None:
    with world_on(tmp_path) as w:
        w.gate.seal()
        command = [sys.executable, "-m", "tests.gate.freezing", str(tmp_path), what]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert other.stdout is not None
        assert other.stdout.readline() == "running\n"
        w.gate.freeze("agent", "support-bot", tenant="acme", reason=WHY, by="lena")
        told, _ = other.communicate(timeout=60)
        assert told.startswith("frozen agent `support-bot` of tenant `acme` is frozen since")
        assert f"by `lena`: {WHY}" in told
        kinds = w.kinds()
        assert "intent" not in kinds[kinds.index("freeze") :]
        assert kinds[-1] == "denial"
        assert_whole(w.gate)


def test_of_sixteen_who_lift_one_does(w: World) -> None:
    stopped = freeze(w)
    barrier = threading.Barrier(16)

    def lift(_: int) -> str:
        barrier.wait(60)
        try:
            w.gate.lift(stopped.id, reason="mended")
        except FreezeRefused as refused:
            return refused.code
        return "lifted"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lift, range(16)))
    assert answers.count("lifted") == 1
    assert {*answers} <= {"lifted", "already_lifted", "no_such_freeze"}
    assert w.kinds("operator").count("freeze") == 2


# restarts


def test_a_restart_keeps_it(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        stopped = freeze(w, by="lena")
    with world_on(tmp_path) as w:
        assert w.gate.freezes() == (stopped,)
        w.denied(look_up(w), "frozen", WHY)


DIES = """
import os, sys
from pathlib import Path
from licet.gate import opening
from licet.store.sqlite import SqliteStore
from tests.world import world_on

class Dying(SqliteStore):
    def commit(self, batches):
        freezes = any(record.kind == "freeze" for batch in batches for record in batch.records)
        if freezes and sys.argv[2] == "before":
            os.kill(os.getpid(), 9)
        answers = super().commit(batches)
        if freezes:
            os.kill(os.getpid(), 9)
        return answers

vars(opening)["SqliteStore"] = Dying
with world_on(Path(sys.argv[1])) as w:
    w.gate.freeze("agent", "support-bot", reason="why")
"""


@pytest.mark.parametrize(("moment", "stands"), [("before", False), ("after", True)])
def test_a_process_that_is_killed_has_frozen_or_not(tmp_path: Path, moment: str, *, stands: bool) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path), moment], cwd=ROOT, env=environ, check=False, timeout=60)
    assert done.returncode == -9
    with world_on(tmp_path) as w:
        assert isinstance(look_up(w), Denied) is stands
        assert w.kinds("operator").count("freeze") == len(w.gate.freezes()) == stands
        assert_whole(w.gate)


# a store that cannot be read


def test_a_store_that_cannot_be_read_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, store):
        assert isinstance(look_up(w), Ok)
        monkeypatch.setattr("licet.gate.freeze_view.FRESH_S", 0.0)
        store.fail("unreadable")
        store._kinds = frozenset({"none of these"})  # what is written is written
        assert isinstance(look_up(w), Ok), "what was seen a moment ago is still believed"
        monkeypatch.setattr("licet.gate.freeze_view.STALE_S", 0.0)
        w.denied(look_up(w), "log_unavailable", "cannot be read")
        store.mend()
        assert isinstance(look_up(w), Ok)
        drain(w.gate)
        assert_whole(w.gate)


# who may


def test_two_people_stand_behind_a_lift() -> None:
    with world(f"{CONFIG}\n[freeze]\ntwo_persons = true\n") as w:
        stopped = freeze(w, by="dana").id
        assert code_of(lambda: w.gate.lift(stopped, reason="mended")) == "no_user"
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="dana")) == "same_person"
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="dana-two")) == "same_person"
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="dana-two", second="dana")) == "same_person"
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="nobody")) == "unknown_user"
        assert w.gate.lift(stopped, reason="mended", by="omar").by == ("omar",)
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="omar")) == "no_such_freeze"


def test_where_nobody_is_known_to_have_frozen_two_lift() -> None:
    with world(f"{CONFIG}\n[freeze]\ntwo_persons = true\n") as w:
        stopped = freeze(w).id
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="dana")) == "second_person_needed"
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="dana", second="dana-two")) == "second_person_needed"
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", second="omar")) == "no_user"
        assert w.gate.lift(stopped, reason="mended", by="dana", second="omar").by == ("dana", "omar")


@pytest.mark.parametrize(
    ("scope", "tenant", "by", "code"),
    [
        ("agent", "acme", "lena", None),
        ("agent", "acme", "carl", "not_a_lifter"),
        ("agent", "globex", "lena", "not_a_lifter"),
        ("agent", "globex", "gina", None),
        ("agent", None, "lena", "not_a_lifter"),
        ("all", None, "gina", "not_a_lifter"),
        ("tenant", None, "lena", None),
    ],
)
def test_a_lifter_decides_for_the_tenants_that_are_stopped(scope: Scope, tenant: str | None, by: str, code: str | None) -> None:
    with world(f'{CONFIG}\n[freeze]\nlifters = "billing-leads"\n') as w:
        stopped = freeze(w, scope, tenant=tenant).id
        assert code_of(lambda: w.gate.lift(stopped, reason="mended")) == "no_user"
        if code is None:
            w.gate.lift(stopped, reason="mended", by=by)
        else:
            assert code_of(lambda: w.gate.lift(stopped, reason="mended", by=by)) == code


def test_a_group_of_operator_scope_lifts_for_everybody() -> None:
    config = CONFIG.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = { members = ["lena"], scope = "operator" }')
    with world(f'{config}\n[freeze]\nlifters = "billing-leads"\n') as w:
        w.gate.lift(freeze(w, "all").id, reason="mended", by="lena")
        w.gate.lift(freeze(w, "agent", tenant="globex").id, reason="mended", by="lena")


def test_both_who_lift_are_lifters() -> None:
    with world(f'{CONFIG}\n[freeze]\nlifters = "billing-leads"\ntwo_persons = true\n') as w:
        stopped = freeze(w, tenant="acme").id
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="lena", second="dana")) == "not_a_lifter"
        w.gate.lift(stopped, reason="mended", by="lena", second="alice")


@pytest.mark.parametrize(
    ("scope", "name", "more", "code"),
    [
        ("agent", "suport-bot", {}, "unknown_name"),
        ("service", "support-bot", {}, "unknown_name"),
        ("tool", "crm.lokup", {}, "unknown_name"),
        ("tenant", "acne", {}, "unknown_tenant"),
        ("tenant", "acne", {"anyway": True}, "unknown_tenant"),
        ("tenant", "acme", {"tenant": "globex"}, "bad_scope"),
        ("agent", "support-bot", {"tenant": "acne"}, "unknown_tenant"),
        ("agent", None, {}, "bad_name"),
        ("session", " ", {}, "bad_name"),
        ("session", "x" * 1_001, {}, "bad_name"),
        ("all", "everything", {}, "bad_scope"),
        ("all", None, {"tenant": "acme"}, "bad_scope"),
        ("robot", "r", {}, "bad_scope"),
        ("agent", "support-bot", {"by": "nobody"}, "unknown_user"),
        ("agent", "support-bot", {"reason": " "}, "no_reason"),
    ],
)
def test_what_cannot_be_frozen_is_refused_and_nothing_recorded(w: World, scope: Any, name: str | None, more: Any, code: str) -> None:
    w.gate.seal()
    before = [len(w.records(log)) for log in ("acme", "operator")]
    assert code_of(lambda: w.gate.freeze(scope, name, **{"reason": WHY, **more})) == code
    assert [len(w.records(log)) for log in ("acme", "operator")] == before
    assert w.gate.freezes() == ()


def test_a_disabled_user_freezes_and_lifts_nothing() -> None:
    with world(CONFIG.replace("[users.carl]\n", "[users.carl]\ndisabled = true\n")) as w:
        assert code_of(lambda: freeze(w, by="carl")) == "user_disabled"
        stopped = freeze(w).id
        assert code_of(lambda: w.gate.lift(stopped, reason="mended", by="carl")) == "user_disabled"


@pytest.mark.parametrize("scope", ["agent", "service", "tool"])
def test_a_name_that_nobody_knows_is_frozen_where_it_is_meant(w: World, scope: Scope) -> None:
    assert w.gate.freeze(scope, "of-another-process", reason=WHY, anyway=True).name == "of-another-process"


def test_a_name_that_is_no_text_of_unicode_is_frozen_as_calls_write_it(w: World) -> None:
    odd = "s-\ud800"
    w.gate.freeze("session", odd, reason=WHY)
    with w.alice(session=odd):
        w.denied(w.gate.call(*READ), "frozen")


# forgetting


def test_a_freeze_outlives_who_placed_it(tmp_path: Path) -> None:
    with world_on(tmp_path, f"{CONFIG}\n[freeze]\ntwo_persons = true\n") as w:
        stopped = freeze(w, by="lena")
        erase(w, Subject("acme", "User", "lena"))
        (stands,) = w.gate.freezes()
        assert (stands.id, stands.by, stands.reason) == (stopped.id, "lena", WHY), "this process has read it before"
    with world_on(tmp_path, f"{CONFIG}\n[freeze]\ntwo_persons = true\n") as w:
        (stands,) = w.gate.freezes()
        assert (stands.id, stands.by, stands.reason) == (stopped.id, None, None)
        w.denied(look_up(w), "frozen", "by whom and why cannot be read")
        assert code_of(lambda: w.gate.lift(stopped.id, reason="mended", by="lena")) == "second_person_needed"
        w.gate.lift(stopped.id, reason="mended", by="dana", second="omar")
        assert isinstance(look_up(w), Ok)
        assert_whole(w.gate)


def erase(w: World, subject: Subject) -> None:
    """Somebody is forgotten, as `licet audit erase` does it."""
    from licet.ledger.erasure import erase as forget  # noqa: PLC0415

    opened = w.gate._house
    assert opened is not None
    forget(opened.ledger.operator(w.gate.settings, "root"), opened.ledger.manifest, subject, "asked to be forgotten")


def test_held_calls_are_not_denied_by_what_is_frozen_elsewhere(w: World) -> None:
    freeze(w, "tool")
    assert isinstance(w.held(), Held)
