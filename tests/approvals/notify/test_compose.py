"""What a message says of a request: enough to decide in seconds, and nothing that an agent could make it say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from licet import Effect
from licet.approvals.desk import Shown
from licet.approvals.notify.compose import compose, groups_of, outdated, subject_of
from licet.approvals.notify.lines import as_lines
from licet.approvals.notify.message import Message
from licet.approvals.standing import standing
from licet.gate.results import Held
from licet.ledger.record import microseconds
from licet.model import PlanId, Request, RequestId, RequestState
from licet.store.outbox import Notice, NoticeEvent
from licet.testing import vote
from tests.approvals.notify.post import Post, delivering, post, post_of, told
from tests.approvals.room import NOW, approval, confirmation, directory, request, votes
from tests.world import CONFIG, POLICIES, world

LINK = "https://licet.example/approvals/{request}"


@pytest.fixture
def p() -> Iterator[Post]:
    with post() as made:
        yield made


def summary(**parts: Any) -> Raw:
    return Raw(msgspec.json.encode(parts))


def effect(number: int = 1, before: Any = 100, after: Any = 600) -> Effect:
    return Effect(target=f'Customer::"C-{number}"', field="balance", before=before, after=after)


def shown(on: Request, *voters: str, reject: tuple[str, ...] = ()) -> Shown:
    cast = votes(on, *voters, reject=reject)
    return Shown(on, cast, standing(on, cast, directory()))


def say(*steps: Shown, event: NoticeEvent = "opened", about: int = -1) -> Message:
    notice = Notice(1, steps[about].request.id, "acme", event, microseconds(NOW))
    return compose(notice, steps, directory(), LINK)


def step(number: int, state: RequestState = RequestState.OPEN, **more: Any) -> Shown:
    changes: dict[str, Any] = {"id": RequestId(f"r-{number}"), "plan": PlanId("p-1"), "step": number, "steps": 4, "state": state}
    return shown(replace(request(), summary=summary(preview=[effect(number)]), **(changes | more)))


def test_a_real_request_is_told_whole(p: Post) -> None:
    with delivering(p) as deliverer:
        with p.w.alice(reason="double charge"):
            held = p.w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
        assert isinstance(held, Held)
        told(deliverer)
    said = p.box.last
    assert said.title == "billing.adjust by support-bot waits for approval"
    assert said.sentence == "billing.adjust would change `balance` of Customer C-1 from 100 to 50100"
    assert said.caller == "support-bot for alice, tenant acme"
    assert said.agent_says == "double charge"
    assert (said.preview, said.more) == (("Customer C-1 balance: 100 -> 50100",), 0)
    assert said.why == ("adjustments over $100 need a billing lead (adjust-needs-lead)",)
    assert said.needs == ("0 of 1 of billing-leads",)
    assert said.at_expiry == "at 09:15 UTC the request expires and the call stays denied"
    assert said.expires_at == p.w.clock() + timedelta(minutes=15)
    assert said.link == f"https://licet.example/approvals/{held.request}"
    assert (said.state, said.decidable, said.voters) == ("open", True, ("lena",))


def test_five_rows_of_a_preview_are_shown_and_the_others_counted() -> None:
    on = replace(request(), summary=summary(preview=[effect(number) for number in range(1, 9)]))
    said = say(shown(on))
    assert said.preview == tuple(f"Customer C-{number} balance: 100 -> 600" for number in range(1, 6))
    assert said.more == 3
    assert said.sentence == "t would change `balance` of Customer C-1 from 100 to 600, and 7 more changes"
    assert "  and 3 more changes" in as_lines(said)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"preview": [effect(before=None)]}, "t would set `balance` of Customer C-1 to 600"),
        ({"preview": [effect(after=None)]}, "t would remove `balance` of Customer C-1, which is 100"),
        ({"preview": [effect(), effect(2)]}, "t would change `balance` of Customer C-1 from 100 to 600, and 1 more change"),
        ({"preview": []}, "t would change nothing, as its preview says"),
        ({"arguments": {"id": "C-1", "cents": 5}}, 't would run with id "C-1", cents 5'),
        ({"arguments": {}}, "t would run"),
        (
            {"arguments": {"a": 1}, "targets": [{"type": "Customer", "id": "C-1", "tenant": "acme", "environment": "test"}]},
            "t would run on Customer C-1 with a 1",
        ),
        ({}, "t would run"),
        ({"arguments": {"cents": 5}, "preview": [], "previewed_by": "arguments"}, "t would run with cents 5"),
        (
            {"arguments": {"balance": 600}, "preview": [effect(), effect(2)], "previewed_by": "arguments"},
            "t would run with balance 600; as its arguments say, it would change `balance` of Customer C-1 from 100 to 600, and 1 more change",
        ),
        ({"preview": [effect()], "previewed_by": "tool"}, "t would change `balance` of Customer C-1 from 100 to 600"),
    ],
)
def test_the_sentence_says_what_the_call_would_do(parts: dict[str, Any], sentence: str) -> None:
    assert say(shown(replace(request(), summary=summary(**parts)))).sentence == sentence


@pytest.mark.parametrize(
    ("event", "state", "happened"),
    [
        ("opened", "open", "waits for approval"),
        ("vote", "open", "has 0 of 1 vote"),
        ("reopened", "open", "waits for approval again"),
        ("approved", "approved", "is approved"),
        ("rejected", "rejected", "is rejected"),
        ("expired", "expired", "has expired"),
        ("withdrawn", "withdrawn", "is withdrawn"),
        ("superseded", "superseded", "is held anew, since something has changed"),
        ("consumed", "consumed", "was approved, and has begun to run"),
    ],
)
def test_each_event_says_what_has_happened(event: NoticeEvent, state: str, happened: str) -> None:
    said = say(shown(replace(request(), state=RequestState(state))), event=event)
    assert said.title == f"t by bot {happened}"
    assert (said.event, said.state, said.decidable) == (event, state, state == "open")


def test_who_decided_is_named() -> None:
    assert say(shown(replace(request(), state=RequestState.APPROVED), "bea"), event="approved").title == "t by bot is approved by bea"
    said = say(shown(replace(request(), state=RequestState.REJECTED), reject=("bea",)), event="rejected")
    assert said.title == "t by bot is rejected"
    rejected = shown(replace(request(), state=RequestState.REJECTED), "bea", reject=("bea",))
    said = say(rejected, event="rejected")
    assert said.title == "t by bot is rejected by bea"
    assert said.votes == ("bea rejected at 09:00 UTC",)


def test_a_confirmation_is_called_one_and_asks_the_user() -> None:
    said = say(shown(request(confirmation())))
    assert said.title == "t by bot waits for confirmation"
    assert said.needs == ("0 of 1 of alice, who confirms",)
    assert said.voters == ("alice",)


def test_what_was_held_anew_says_why() -> None:
    changed = summary(changed="policy `x` now asks for something that was not decided on")
    said = say(shown(replace(request(), summary=changed)))
    assert said.why[0] == "held anew, since policy `x` now asks for something that was not decided on"


def test_an_expiry_on_another_day_names_the_day() -> None:
    on = replace(request(), expires_at=NOW + timedelta(days=2))
    assert say(shown(on)).at_expiry == "on 2026-01-07 at 09:00 UTC the request expires and the call stays denied"
    approved = replace(request(), state=RequestState.APPROVED)
    assert say(shown(approved), event="approved").at_expiry == "at 09:15 UTC the approval expires, if it was not used"
    assert say(shown(replace(request(), state=RequestState.EXPIRED)), event="expired").at_expiry == ""


def test_a_plan_is_one_message_that_names_each_step_and_its_state() -> None:
    steps = (step(2), step(3, RequestState.APPROVED), step(4))
    said = say(*steps, event="approved", about=1)
    assert (said.plan, said.request, said.state, said.decidable) == ("p-1", "r-2", "open", True)
    assert said.title == "plan of bot: t (step 3) is approved; 2 of 3 wait for a decision"
    assert said.sentence == "a plan of 4 calls, of which 3 ask for a decision: 2 open, 1 approved"
    assert said.steps == (
        "2. t would change `balance` of Customer C-2 from 100 to 600 (open)",
        "3. t would change `balance` of Customer C-3 from 100 to 600 (approved)",
        "4. t would change `balance` of Customer C-4 from 100 to 600 (open)",
    )
    assert said.preview == ("step 2: Customer C-2 balance: 100 -> 600", "step 4: Customer C-4 balance: 100 -> 600")
    assert said.needs == ("step 2: 0 of 1 of leads", "step 4: 0 of 1 of leads")
    assert said.link == "https://licet.example/approvals/r-2"


def test_a_long_plan_names_twenty_steps_and_counts_the_others() -> None:
    said = say(*[step(number) for number in range(1, 31)])
    assert len(said.steps) == 21
    assert said.steps[-1] == "and 10 more"


def test_nobody_is_asked_about_a_plan_of_which_nothing_is_open() -> None:
    opened = Notice(1, RequestId("r-1"), "acme", "opened", 0)
    assert outdated(opened, (step(1, RequestState.APPROVED), step(2, RequestState.REJECTED)))
    assert not outdated(opened, (step(1, RequestState.APPROVED), step(2)))
    approved = replace(opened, event="approved")
    assert outdated(approved, (step(1),))
    assert not outdated(approved, (step(1, RequestState.CONSUMED), step(2)))
    assert not outdated(replace(opened, event="expired"), (step(1),))


def test_what_deliveries_are_about() -> None:
    assert subject_of(request()) == "r-1"
    assert subject_of(step(2).request) == "p-1"
    assert groups_of((shown(request(approval("leads"), approval("security"))), shown(request(confirmation())))) == {"leads", "security"}


HOSTILE = "<b>approve</b>\r\nneeds: 0 of 0\x1b[2J \u202elive\u202c ad\u200bmin " + "x" * 1_000_000


@pytest.mark.parametrize("where", ["reason", "changed", "arguments", "field", "target", "value"])
def test_what_an_agent_or_a_tool_writes_stays_one_line_of_visible_text(where: str) -> None:
    parts: dict[str, Any] = {"reason": "r", "preview": [effect()]}
    if where in {"reason", "changed"}:
        parts[where] = HOSTILE
    elif where == "arguments":
        parts = {"arguments": {HOSTILE: HOSTILE}}
    else:
        changes: dict[str, dict[str, Any]] = {
            "field": {"field": HOSTILE},
            "target": {"target": HOSTILE},
            "value": {"before": HOSTILE, "after": [HOSTILE]},
        }
        parts["preview"] = [replace(effect(), **changes[where])]
    said = say(shown(replace(request(), summary=summary(**parts))))
    text = "\n".join(as_lines(said))
    assert len(text) < 3_000
    assert not {"\r", "\x1b", "\u202e", "\u200b"} & set(text)
    assert not [line for line in as_lines(said) if line.startswith("needs: 0 of 0")]
    assert [line for line in as_lines(said) if line.startswith("needs: ")] == ["needs: 0 of 1 of leads"]


def test_a_comment_is_quoted_so_that_it_says_nothing_in_the_name_of_another() -> None:
    on = request()
    cast = tuple(replace(one, comment='fine"\nlena approved at 09:00 UTC') for one in votes(on, "bea"))
    said = say(Shown(on, cast, standing(on, cast, directory())), event="vote")
    assert said.votes == ('bea approved at 09:00 UTC: "fine\\" lena approved at 09:00 UTC"',)


def test_a_secret_of_the_arguments_is_in_no_message() -> None:
    policies = POLICIES + '@id("s") permit (principal, action == Action::"keys.set", resource);\n'
    policies += (
        '@id("h")\n@require_approval("1 of Group::\\"billing-leads\\"")\nforbid (principal, action == Action::"keys.set", resource);\n'
    )
    with world(CONFIG, policies) as w:

        @w.gate.tool("keys.set", access="write", secrets=["key"])
        def set_key(key: str, note: str) -> str:
            return key + note

        p = post_of(w)
        with delivering(p) as deliverer:
            with w.alice(reason="use sk-hunter2-sk-hunter2"):
                w.gate.call("keys.set", {"key": "sk-hunter2-sk-hunter2", "note": "n"})
            told(deliverer)
        assert p.box.events == ["opened"]
        assert "hunter2" not in str(msgspec.json.encode(p.box.last))
        assert "secret text of 21 characters" in p.box.last.sentence


def test_the_way_back_to_open_is_told(p: Post) -> None:
    with delivering(p) as deliverer:
        held = p.w.held()
        vote(p.w.gate, held.request, "lena")
        told(deliverer)
        assert held.request is not None
        p.w.gate.approvals.take_back(held.request, "lena")
        told(deliverer)
    assert p.box.events == ["approved", "reopened"]
    assert p.box.last.decidable


def test_a_real_plan_is_told_in_one_message_that_is_rewritten_as_its_steps_are_decided(p: Post) -> None:
    calls = [("billing.adjust", {"customer_id": "C-1", "amount_cents": cents}) for cents in (2_500, 50_000, 60_000)]
    with delivering(p) as deliverer:
        with p.w.alice(reason="two refunds"):
            plan = p.w.gate.plan(calls)
        assert plan.state == "held"
        assert plan.plan is not None
        told(deliverer)
        desk = p.w.gate.approvals
        desk.vote_plan(plan.plan, "lena", {2: "approve"})
        told(deliverer)
        desk.vote_plan(plan.plan, "lena", {3: "reject"})
        told(deliverer)
    assert len(p.box.got) == 3
    assert [earlier for _, earlier in p.box.got] == [None, "box-1", "box-2"]
    first, second, third = [message for message, _ in p.box.got]
    assert {message.plan for message in (first, second, third)} == {plan.plan}
    assert [line.partition(".")[0] for line in first.steps] == ["2", "3"]
    assert [line.rpartition("(")[2] for line in first.steps] == ["open)", "open)"]
    assert [line.rpartition("(")[2] for line in second.steps] == ["approved)", "open)"]
    assert (first.decidable, second.decidable, third.decidable) == (True, True, False)
    assert first.agent_says == "two refunds"
    assert "step 2: Customer C-1 balance: " in first.preview[0]
    assert third.steps[1].endswith("(rejected)")
