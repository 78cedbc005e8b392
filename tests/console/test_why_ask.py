"""Asking for access: a text to copy, with a draft for whoever may see policies, and nothing that acts by itself."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from licet.policy.own import default_text
from tests.console.subjects import HOSTILE, look_up, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.proof import assert_whole

BLIND = default_text().replace(
    'permit (principal in Role::"licet-auditor", action in Action::"auditor", resource);',
    'permit (principal in Role::"licet-auditor", action in Action::"auditor", resource) unless { resource == Tenant::"operator" };',
)


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def ask(place: int = 0, log: str = "acme") -> str:
    return f"/console/why/{log}/{place}/ask"


def test_the_draft_is_a_diff_of_a_file_with_its_line_its_owner_and_what_it_changes(served: ConsoleWorld) -> None:
    look_up(served, "C-2")
    bundle = served.gate.scene.engine.bundle.digest
    page = served.enter("lena").get(ask())
    text = text_of(page)
    assert "ada, bert may put policies into force here" in text
    assert "policies/policies.cedar, from line 10 on" in text
    assert '+ principal == Agent::"support-bot",' in text
    assert '+ principal == User::"alice",' in text
    assert '+ resource == Customer::"C-2"' in text
    assert "This call Allow Allowed by access-acme-0-1" in text
    assert "like it decided as before" in text
    assert "mailto:?subject=Access%20to%20crm.lookup" in page.content.decode()
    assert served.gate.scene.engine.bundle.digest == bundle
    assert not any(kind in {"policy", "review"} for kind in served.world.kinds())


def test_what_was_drafted_permits_that_call_once_it_is_in_the_file(served: ConsoleWorld) -> None:
    look_up(served, "C-2")
    shown = html.unescape(served.enter("ada").get(ask()).content.decode()).partition("<textarea")[2].partition("</textarea>")[0]
    added = "\n".join(line[1:] for line in shown.splitlines() if line.startswith("+") and not line.startswith("+++"))
    with subject_world(added) as other:
        look_up(other, "C-2")
        assert other.world.kinds() == ["call"]
        with other.gate.acting(agent="night-bot"):
            other.gate.call("crm.lookup", {"customer_id": "C-2"})
        assert other.world.kinds()[-1] == "denial"


def test_who_may_not_read_policies_has_the_request_in_words_and_no_draft() -> None:
    with subject_world(own=BLIND) as served:
        look_up(served, "C-2")
        page = served.enter("lena").get(ask()).content.decode()
        assert "The request, to copy" in page
        assert "support-bot tried to use crm.lookup" in html.unescape(page)
        for secret in ("permit (", "support-reads", "policies.cedar", "greta"):
            assert secret not in page


def test_of_arguments_that_were_never_read_no_policy_is_drafted(served: ConsoleWorld) -> None:
    with served.gate.acting(agent="night-bot"):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1})
    text = text_of(served.enter("lena").get(ask()))
    assert "No policy could be drafted" in text
    assert "its arguments were never read" in text


def test_access_is_asked_for_only_where_no_policy_permits(served: ConsoleWorld) -> None:
    served.world.held(50_000)
    served.world.adjust(2_500)
    with served.world.alice():
        served.gate.call("nope", {})
    lena = served.enter("lena")
    assert [lena.get(ask(place)).status for place in range(len(served.world.kinds()))][:5] == [404] * 5


@pytest.mark.parametrize(("user", "status"), [("carl", 403), ("gina", 404), ("greta", 404)])
def test_nobody_drafts_from_a_denial_that_they_may_not_see(served: ConsoleWorld, user: str, status: int) -> None:
    look_up(served, "C-2")
    assert served.enter(user).get(ask()).status == status


@pytest.mark.parametrize("identifier", [HOSTILE, 'x"; permit (principal, action, resource); //', 'x"\\', "a/../b"])
def test_an_id_that_was_written_to_break_out_stays_an_id(served: ConsoleWorld, identifier: str) -> None:
    served.world.customers[identifier] = {"tenant": "acme", "vip": True, "balance": 1, "suspended": False}
    look_up(served, identifier)
    page = served.enter("ada").get(ask())
    assert page.status == 200
    content = page.content.decode()
    assert "<script>alert" not in content
    assert "<img" not in content
    shown = html.unescape(content).partition("<textarea")[2].partition("</textarea>")[0]
    added = "\n".join(line[1:] for line in shown.splitlines() if line.startswith("+") and not line.startswith("+++"))
    with subject_world(added) as other:
        assert len(other.gate.scene.engine.bundle.policies) == len(served.gate.scene.engine.bundle.policies) + 2
        look_up(other, "C-2")
        assert other.world.kinds() == ["denial"]
