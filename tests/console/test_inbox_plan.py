"""Plans in the inbox: a decision for each step, all of them or none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from licet import PlannedCall
from licet.model import RequestId, RequestState
from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.gate.proof import assert_whole

AMOUNTS = (20_000, 30_000)


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world() as made:
        yield made
        assert_whole(made.gate)


def planned(served: ConsoleWorld, reason: str | None = None) -> str:
    """A plan of three steps, the first and the third of which wait for a billing lead."""
    first, third = [{"customer_id": "C-1", "amount_cents": amount} for amount in AMOUNTS]
    with served.world.alice():
        found = served.gate.plan(
            [
                PlannedCall("billing.adjust", first, reason=reason),
                PlannedCall("crm.lookup", {"customer_id": "C-1"}),
                PlannedCall("billing.adjust", third, reason=reason),
            ]
        )
    assert found.state == "held"
    assert found.plan is not None
    return found.plan


def states(served: ConsoleWorld, plan: str) -> list[RequestState]:
    return [one.request.state for one in served.gate.approvals.plan(plan)]  # type: ignore[arg-type]  # its id


def bindings(browser: Browser, plan: str) -> dict[str, str]:
    page = browser.get(f"/console/inbox/plans/{plan}").content.decode()
    return dict(re.findall(r'name="(step_\d+)" value="approve\.([0-9a-f]{64})"', page))


def send(browser: Browser, plan: str, **fields: str) -> Any:
    return browser.send("/console/inbox?show=all", f"/console/inbox/plans/{plan}/vote", fields)


def test_a_plan_is_one_line_of_the_list_and_leads_to_all_of_its_steps(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    listed = lena.get("/console/inbox").content.decode()
    assert listed.count('class="ask"') == 1
    assert f'href="/console/inbox/plans/{plan}?show=mine"' in listed
    text = text_of(lena.get(f"/console/inbox/plans/{plan}"))
    assert "asks for a plan of 3 steps, 2 of which people decide" in text
    for step, amount in zip((1, 3), AMOUNTS, strict=True):
        assert f"Step {step}: Change balance of Customer C-1 from 100 to {100 + amount}" in text
        assert f"Your decision on step {step}" in text
    assert "Step 2" not in text


def test_each_step_is_decided_on_its_own(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    found = bindings(lena, plan)
    reply = send(lena, plan, step_1=f"approve.{found['step_1']}", step_3=f"reject.{found['step_3']}", comment="the second is too much")
    assert (reply.status, reply.headers["location"]) == (303, f"/console/inbox/plans/{plan}")
    assert states(served, plan) == ["approved", "rejected"]
    votes = [record.payload.detail for record in served.world.records() if record.kind == "vote" and record.payload.detail]
    assert [(one["vote"]["verdict"], one["vote"]["comment"]) for one in votes] == [
        ("approve", "the second is too much"),
        ("reject", "the second is too much"),
    ]
    text = text_of(lena.get(f"/console/inbox/plans/{plan}"))
    assert "You approved it." in text
    assert "You rejected it." in text
    assert "Your decision on" not in text


def test_a_step_that_is_left_stays_open(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    found = bindings(lena, plan)
    assert send(lena, plan, step_1=f"approve.{found['step_1']}", step_3="").status == 303
    assert states(served, plan) == ["approved", "open"]
    assert set(bindings(lena, plan)) == {"step_3"}


def test_all_decisions_count_or_none(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    found = bindings(lena, plan)
    reply = send(lena, plan, step_1=f"approve.{found['step_1']}", step_3=f"approve.{found['step_1']}")  # a binding of another step
    assert reply.status == 409
    assert "This was not counted, and nothing was changed by it" in text_of(reply)
    assert states(served, plan) == ["open", "open"]
    assert set(re.findall(r'name="(step_\d+)" value="approve', reply.content.decode())) == {"step_1", "step_3"}


def test_somebody_was_faster_with_one_of_the_steps(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena, other = served.enter("lena"), served.enter("lena")
    found = bindings(other, plan)
    assert send(lena, plan, step_3=f"reject.{found['step_3']}").status == 303
    reply = send(other, plan, step_1=f"approve.{found['step_1']}", step_3=f"approve.{found['step_3']}")
    assert reply.status == 409
    assert states(served, plan) == ["open", "rejected"]
    assert "Rejected" in text_of(reply)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"step_1": "approve"}, 400),
        ({"step_1": "approve." + "x" * 64}, 400),
        ({"step_1": "allow." + "0" * 64}, 400),
        ({"step_0": "approve." + "0" * 64}, 400),
        ({"step_51": "approve." + "0" * 64}, 400),
        ({"step_1": "approve." + "0" * 64}, 409),
        ({"step_1": "", "comment": "nothing chosen"}, 400),
    ],
    ids=["nothing", "no binding", "no digest", "no verdict", "step 0", "beyond all", "another binding", "a comment alone"],
)
def test_a_form_that_no_page_sends_moves_nothing(served: ConsoleWorld, fields: dict[str, str], status: int) -> None:
    plan = planned(served)
    assert send(served.enter("lena"), plan, **fields).status == status
    assert states(served, plan) == ["open", "open"]


def test_a_step_that_nobody_decides_cannot_be_voted_on(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    assert send(lena, plan, step_2=f"approve.{bindings(lena, plan)['step_1']}").status in {404, 409, 422}
    assert states(served, plan) == ["open", "open"]


def test_who_may_not_vote_is_told_why_and_cannot_by_a_form_either(served: ConsoleWorld) -> None:
    plan = planned(served)
    found = bindings(served.enter("lena"), plan)
    alice = served.enter("alice")
    page = alice.get(f"/console/inbox/plans/{plan}")
    assert "You may not vote on this step: `alice` is the one this call is made for" in text_of(page)
    assert "Send the decisions" not in text_of(page)
    assert send(alice, plan, step_1=f"approve.{found['step_1']}").status == 403
    assert states(served, plan) == ["open", "open"]


def test_somebody_of_another_tenant_finds_nothing(served: ConsoleWorld) -> None:
    plan = planned(served)
    found = bindings(served.enter("lena"), plan)
    gina = served.enter("gina")
    assert gina.get(f"/console/inbox/plans/{plan}").status == 404
    assert send(gina, plan, step_1=f"approve.{found['step_1']}").status == 404
    assert gina.get("/console/inbox/plans/none").status == 404
    assert states(served, plan) == ["open", "open"]


def test_a_form_without_its_token_moves_nothing(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    found = bindings(lena, plan)
    sent = {"form_token": "0" * 64, "step_1": f"approve.{found['step_1']}"}
    assert lena.post(f"/console/inbox/plans/{plan}/vote", sent).status == 403
    assert states(served, plan) == ["open", "open"]


def test_nothing_that_an_agent_wrote_is_markup(served: ConsoleWorld) -> None:
    plan = planned(served, reason='"><script>alert(1)</script><img src=x onerror=alert(1)>')
    page = served.enter("lena").get(f"/console/inbox/plans/{plan}").content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)") == 2


def test_a_step_can_be_decided_alone_too(served: ConsoleWorld) -> None:
    plan = planned(served)
    lena = served.enter("lena")
    step = RequestId(served.gate.approvals.plan(plan)[0].request.id)  # type: ignore[arg-type]  # its id
    here = f"/console/inbox/{step}"
    page = lena.get(here)
    assert "step 1 of 3 of a plan" in text_of(page)
    binding = page.content.decode().partition('name="binding" value="')[2][:64]
    assert lena.send(here, f"{here}/vote", {"binding": binding, "verdict": "approve"}).status == 303
    assert states(served, plan) == ["approved", "open"]
