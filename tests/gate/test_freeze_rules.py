"""Who may lift, what can be frozen, and what is left when somebody is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from licet.config import loads
from licet.errors import ConfigInvalid
from licet.gate.results import Ok
from licet.ledger.frozen import Scope
from licet.ledger.vault import Subject
from tests.gate.freezes import READ, WHY, code_of, freeze, look_up
from tests.gate.proof import assert_whole
from tests.world import CONFIG, World, world, world_on

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
        stopped = freeze(w, scope, tenant=tenant, anyway=True).id
        assert code_of(lambda: w.gate.lift(stopped, reason="mended")) == "no_user"
        if code is None:
            w.gate.lift(stopped, reason="mended", by=by)
        else:
            assert code_of(lambda: w.gate.lift(stopped, reason="mended", by=by)) == code


def test_a_group_of_operator_scope_lifts_for_everybody() -> None:
    config = CONFIG.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = { members = ["lena"], scope = "operator" }')
    with world(f'{config}\n[freeze]\nlifters = "billing-leads"\n') as w:
        w.gate.lift(freeze(w, "all").id, reason="mended", by="lena")
        w.gate.lift(freeze(w, "agent", tenant="globex", anyway=True).id, reason="mended", by="lena")


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


def test_lifters_that_are_no_group_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"`freeze\.lifters` in .* names `nobody`, which is not a group"):
        loads(f'{CONFIG}\n[freeze]\nlifters = "nobody"\n', file=tmp_path / "licet.toml")


# forgetting


def test_a_freeze_outlives_who_placed_it(tmp_path: Path) -> None:
    with world_on(tmp_path, f"{CONFIG}\n[freeze]\ntwo_persons = true\n") as w:
        stopped = freeze(w, by="lena")
        erase(w, Subject("acme", "User", "lena"))
        w.denied(look_up(w), "frozen")
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
