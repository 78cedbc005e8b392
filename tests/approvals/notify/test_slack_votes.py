"""Held calls decided in Slack: a real gate, its store, its queue and its desk, and a Slack that speaks the real protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import pytest

from licet.gate.results import Denied, Held, Ok
from licet.identity.directory import Directory
from licet.model import RequestId, RequestState
from licet.testing import vote
from tests.approvals.notify.fake_slack import APP, BOT, CHANNEL, FakeSlack, Posted
from tests.approvals.notify.slack_rules import Json
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world

pytestmark = pytest.mark.heavy  # each test starts processes or servers of its own


S = RequestState
LENA, ALICE, DANA, OMAR, CARL, TWO = "U0LENA", "U0ALICE", "U0DANA", "U0OMAR", "U0CARL", "U0TWO"
NOTIFY = """
[notify]
link = "https://licet.invalid/approvals/{{request}}"
[[notify.channels]]
kind = "slack"
name = "leads"
app_token = "env:SLACK_APP"
bot_token = "env:SLACK_BOT"
channel = "{channel}"
api_url = "{url}"
[notify.channels.users]
U0LENA = "lena"
U0ALICE = "alice"
U0DANA = "dana"
U0OMAR = "omar"
U0CARL = "carl"
U0TWO = "dana-two"
"""


@dataclass
class Office:
    """The world, its Slack, and what people do there."""

    w: World
    slack: FakeSlack

    def opened(self, amount_cents: int = 50_000) -> RequestId:
        """A held adjustment, told in Slack."""
        held = self.w.held(amount_cents)
        assert held.request is not None
        self.message(held.request)
        return held.request

    def suspended(self) -> RequestId:
        """A held suspension, which two must approve, told in Slack."""
        with self.w.alice(reason="she asked for it"):
            held = self.w.gate.call("account.suspend", {"customer_id": "C-1"})
        assert isinstance(held, Held)
        assert held.request is not None
        self.message(held.request)
        return held.request

    def message(self, request: RequestId) -> Posted:
        """The newest message about this request, once it is there."""
        found: Posted = self.slack.wait(
            lambda: next((one for one in reversed(list(self.slack.messages.values())) if request in one.text), None)
        )
        return found

    def reads(self, request: RequestId, words: str) -> Posted:
        """The message about this request, once it says these words."""
        found: Posted = self.slack.wait(lambda: self.message(request) if words in self.message(request).text else None)
        return found

    def press(self, request: RequestId, verdict: str, user: str) -> None:
        self.slack.press(self.message(request), f"licet.{verdict}", user)

    def heard(self, *words: str) -> str:
        """What was told last to one alone, once it says these words."""
        return str(
            self.slack.wait(
                lambda: next((text for user, text in reversed(self.slack.told) if all(word in f"{user} {text}" for word in words)), None)
            )
        )

    def state(self, request: RequestId) -> RequestState:
        return self.w.gate.store.get_request(request).state

    def voters(self, request: RequestId) -> list[str]:
        return [cast.voter for cast in self.w.gate.store.votes(request)]

    def leaves(self, user: str, group: str) -> None:
        """This user is no more in this group, from now on."""
        house = self.w.gate._house
        assert house is not None
        content = msgspec.json.decode(house.scene.directory.content)
        content["groups"][group]["members"].remove(user)
        house._scene = msgspec.structs.replace(house.scene, directory=Directory.from_content(msgspec.json.encode(content)))


@contextmanager
def office(config: str = CONFIG) -> Iterator[Office]:
    with FakeSlack() as slack, world(config + NOTIFY.format(channel=CHANNEL, url=slack.api_url), POLICIES) as w:
        w.gate.seal()
        slack.wait_connected()
        yield Office(w, slack)
        assert_whole(w.gate)


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP", APP)
    monkeypatch.setenv("SLACK_BOT", BOT)


@pytest.fixture
def o() -> Iterator[Office]:
    with office() as made:
        yield made


def test_a_lead_approves_by_a_button_and_the_call_runs_once(o: Office) -> None:
    request = o.opened()
    shown = o.message(request)
    for words in (
        "billing.adjust by support-bot waits for approval",
        "from 100 to 50100",
        "support-bot for alice, tenant acme",
        "needs:\n\u2022 0 of 1 of billing-leads",
    ):
        assert words in shown.text
    o.press(request, "approve", LENA)
    assert "it is approved" in o.heard(LENA)
    assert (o.state(request), o.voters(request)) == (S.APPROVED, ["lena"])
    approved = o.reads(request, "is approved by lena")
    assert approved is shown, "the message was rewritten in its place"
    assert approved.buttons == ["licet.open"]
    assert isinstance(o.w.adjust(50_000), Ok)
    assert o.w.ran == [("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})]
    o.reads(request, "has begun to run")
    assert len(o.slack.messages) == 1
    (record,) = [record for record in o.w.records() if record.kind == "vote"]
    assert record.envelope.approval is not None
    assert record.envelope.approval.voters == ("lena",)


def test_a_lead_rejects_by_a_button_and_the_call_stays_denied(o: Office) -> None:
    request = o.opened()
    o.press(request, "reject", LENA)
    assert o.reads(request, "is rejected by lena").buttons == ["licet.open"]
    assert isinstance(o.w.adjust(50_000), Denied)
    assert o.w.ran == []


def test_a_vote_with_a_comment_goes_through_the_form(o: Office) -> None:
    request = o.opened()
    o.press(request, "comment", LENA)
    view: Json = o.slack.wait(lambda: o.slack.views[-1] if o.slack.views else None)
    assert "from 100 to 50100" in str(view["blocks"])
    assert o.voters(request) == [], "opening the form decides nothing"
    o.slack.submit(view, LENA, "reject", "no ticket <!channel>")
    shown = o.reads(request, "is rejected by lena")
    assert "no ticket &lt;!channel&gt;" in shown.text
    assert o.w.gate.store.votes(request)[0].comment == "no ticket <!channel>"


def test_the_form_counts_for_who_sends_it_not_for_who_opened_it(o: Office) -> None:
    request = o.opened()
    o.press(request, "comment", LENA)
    view: Json = o.slack.wait(lambda: o.slack.views[-1] if o.slack.views else None)
    o.slack.submit(view, CARL, "approve", None)
    assert "`carl` is not in `billing-leads`" in o.heard(CARL)
    assert o.state(request) is S.OPEN


def test_a_form_that_names_another_request_than_it_was_opened_for_counts_for_none(o: Office) -> None:
    first, second = o.opened(), o.opened(60_000)
    o.press(first, "comment", LENA)
    view: Json = o.slack.wait(lambda: o.slack.views[-1] if o.slack.views else None)
    values = {"verdict": {"choice": {"selected_option": {"value": f"approve:{second}"}}}, "comment": {"text": {"value": "x"}}}
    o.slack.wait_acknowledged(o.slack.send(o.slack.submitted(view, LENA, values)))
    o.press(first, "approve", LENA)
    o.heard(LENA, "approved")
    assert (o.state(first), o.state(second)) == (S.APPROVED, S.OPEN)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (ALICE, "nobody approves their own"),
        (CARL, "`carl` is not in `billing-leads`"),
        (DANA, "`dana` is not in `billing-leads`"),
        ("U0STRANGER", "nobody in Licet is known by your Slack id, U0STRANGER"),
    ],
)
@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_who_may_not_vote_is_told_why_and_changes_nothing(o: Office, user: str, words: str, verdict: str) -> None:
    request = o.opened()
    before = o.message(request).now
    o.press(request, verdict, user)
    o.heard(user, words)
    assert (o.state(request), o.voters(request)) == (S.OPEN, [])
    assert o.message(request).now == before
    assert isinstance(o.w.adjust(50_000), Held)
    assert o.w.ran == []


def test_two_leads_are_needed_and_the_message_says_how_many_there_are(o: Office) -> None:
    request = o.suspended()
    assert "the agent says: \u201cshe asked for it\u201d" in o.message(request).text
    o.press(request, "approve", DANA)
    shown = o.reads(request, "1 of 2 of security-leads (dana)")
    assert "licet.approve" in shown.buttons
    assert "more people must vote" in o.heard(DANA)
    o.press(request, "approve", OMAR)
    o.reads(request, "is approved by dana, omar")
    assert o.state(request) is S.APPROVED


def test_who_clicks_twice_votes_once_under_any_id(o: Office) -> None:
    request = o.suspended()
    o.press(request, "approve", DANA)
    o.heard(DANA, "more people must vote")
    o.press(request, "approve", DANA)
    o.heard(DANA, "has already voted")
    o.press(request, "reject", TWO)
    o.heard(TWO, "has already voted")
    assert (o.state(request), o.voters(request)) == (S.OPEN, ["dana"])


def test_two_people_at_once_both_count(o: Office) -> None:
    request = o.suspended()
    message = o.message(request)
    for user in (DANA, OMAR):
        o.slack.press(message, "licet.approve", user)
    o.slack.wait_told(2)
    assert (o.state(request), sorted(o.voters(request))) == (S.APPROVED, ["dana", "omar"])
    o.reads(request, "is approved by dana, omar")


def test_of_an_approval_and_a_rejection_at_once_one_counts_and_the_other_is_told(o: Office) -> None:
    for amount_cents in range(50_000, 50_005):
        request = o.opened(amount_cents)
        message, told = o.message(request), len(o.slack.told)
        for action in ("licet.approve", "licet.reject"):
            o.slack.press(message, action, LENA)
        answers = [text for _, text in o.slack.wait_told(told + 2)[told:]]
        assert len([text for text in answers if text.startswith("not counted")]) == 1, answers
        assert len(o.voters(request)) == 1
        assert o.state(request) in {S.APPROVED, S.REJECTED}


def test_one_click_told_in_many_envelopes_is_one_vote_and_one_answer(o: Office) -> None:
    request = o.suspended()
    message = o.message(request)
    payload = o.slack.pressed(message, DANA, message.blocks[-1]["elements"][0])
    for envelope in ("same", "same", "other"):
        o.slack.send(payload, envelope)
    o.slack.wait_acknowledged("same", times=2)
    o.slack.wait_acknowledged("other")
    o.reads(request, "1 of 2")
    assert [text for user, text in o.slack.told if user == DANA] == ["your vote counts; more people must vote"]


def test_a_click_on_a_message_whose_time_is_over_is_refused_and_the_message_rewritten(o: Office) -> None:
    request = o.opened()
    before = o.message(request)
    pressed = o.slack.pressed(before, LENA, before.blocks[-1]["elements"][0])
    o.w.clock.advance(15 * 60)
    o.slack.send(pressed)
    o.heard(LENA, "not counted")
    assert o.state(request) is S.EXPIRED
    assert o.reads(request, "has expired").buttons == ["licet.open"]
    assert isinstance(o.w.adjust(50_000), Held), "it can be asked again"


def test_a_click_on_what_was_held_anew_does_not_count_for_the_new_request(o: Office) -> None:
    first = o.opened()
    vote(o.w.gate, first, "lena")
    o.w.customers["C-1"]["balance"] = 777
    second = o.w.held()
    assert second.request is not None
    assert second.request != first
    old = o.reads(first, "is held anew")
    assert old.buttons == ["licet.open"]
    element = {"type": "button", "action_id": "licet.approve", "value": f"approve:{first}"}
    o.slack.send(o.slack.pressed(old, LENA, element))
    o.heard(LENA, "not counted", "superseded")
    assert (o.state(first), o.state(second.request)) == (S.SUPERSEDED, S.OPEN)
    assert "from 777 to 50777" in o.message(second.request).text
    assert o.w.ran == []


def test_a_copy_that_no_delivery_knows_loses_its_buttons_at_the_first_click(o: Office) -> None:
    """A post whose answer was lost is made again, and the first one is nobody's."""
    request = o.opened()
    known = o.message(request)
    lost = Posted(CHANNEL, "1767600000.999999", [known.now])
    o.slack.messages[lost.ts] = lost
    vote(o.w.gate, request, "lena")
    o.slack.press(lost, "licet.approve", LENA)
    o.heard(LENA, "takes no more votes")
    o.slack.wait(lambda: not lost.buttons)
    assert "is approved and takes no more votes" in lost.text
    assert "from 100 to 50100" in lost.text


def test_a_payload_that_names_somebody_else_counts_for_who_sent_it(o: Office) -> None:
    request = o.opened()
    message = o.message(request)
    values = (
        f"approve:{request}:lena",
        f"approve:{request} lena",
        f'{{"request": "{request}", "user": "lena"}}',
        f"lena:approve:{request}",
        f"approve:{request}\n",
    )
    for told, value in enumerate(values, 1):
        o.slack.send(o.slack.pressed(message, CARL, {"type": "button", "action_id": "licet.approve", "value": value}))
        assert "not one of Licet's" in o.slack.wait_told(told)[-1][1]
    element = {"type": "button", "action_id": "licet.approve", "value": f"approve:{request}", "user": "lena", "text": "lena"}
    o.slack.send(o.slack.pressed(message, CARL, element, user_id=LENA, voter="lena", username="lena"))
    o.heard(CARL, "`carl` is not in `billing-leads`")
    assert (o.state(request), o.voters(request)) == (S.OPEN, [])


def test_a_forged_value_can_say_no_more_than_that_one_s_own_vote_counts(o: Office) -> None:
    first, second = o.opened(), o.suspended()
    message = o.message(first)
    o.slack.send(o.slack.pressed(message, LENA, {"type": "button", "action_id": "licet.approve", "value": f"approve:{second}"}))
    o.heard(LENA, "`lena` is not in `security-leads`")
    o.slack.send(o.slack.pressed(message, LENA, {"type": "button", "action_id": "licet.approve", "value": "approve:no-such-request"}))
    o.heard(LENA, "there is no such request")
    o.slack.send(o.slack.pressed(message, LENA, {"type": "button", "action_id": "licet.approve", "value": f"reject:{first}"}))
    o.heard(LENA, "not one of Licet's")
    assert (o.state(first), o.state(second)) == (S.OPEN, S.OPEN)


def test_who_has_left_the_group_between_message_and_click_is_refused(o: Office) -> None:
    request = o.suspended()
    o.leaves("omar", "security-leads")
    o.press(request, "approve", OMAR)
    o.heard(OMAR, "`omar` is not in `security-leads`")
    assert (o.state(request), o.voters(request)) == (S.OPEN, [])


def test_what_an_agent_writes_stays_text(o: Office) -> None:
    with o.w.alice(reason="<!channel> *approve* <https://evil.invalid|this>\u202e\nneeds: nobody"):
        held = o.w.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(held, Held)
    assert held.request is not None
    message = o.message(held.request)
    assert "the agent says: \u201c&lt;!channel&gt; *approve* &lt;https://evil.invalid|this&gt; needs: nobody\u201d" in message.text
    assert "\nneeds: nobody" not in message.text


def test_a_limit_of_slack_is_waited_for_and_the_message_comes(o: Office) -> None:
    o.slack.limit("chat.postMessage", "120")
    held = o.w.held()
    assert held.request is not None
    (waits,) = o.slack.wait(lambda: [one for one in o.w.gate.store.deliveries(channel="leads") if one.error])
    assert waits.error == "slack asks to wait before the next `chat.postMessage`"
    assert waits.due_at - int(o.w.clock().timestamp()) * 1_000_000 == 120_000_000
    assert o.slack.messages == {}
    o.w.clock.advance(121)
    o.message(held.request)


def test_a_withdrawn_request_loses_its_buttons(o: Office) -> None:
    request = o.opened()
    o.w.gate.approvals.withdraw(request, "alice")
    assert o.reads(request, "is withdrawn").buttons == ["licet.open"]


def test_a_vote_taken_back_brings_the_buttons_back(o: Office) -> None:
    request = o.opened()
    o.press(request, "approve", LENA)
    assert o.reads(request, "is approved by lena").buttons == ["licet.open"]
    o.w.gate.approvals.take_back(request, "lena")
    assert "licet.approve" in o.reads(request, "waits for approval again").buttons
    o.press(request, "approve", LENA)
    o.slack.wait(lambda: o.state(request) is S.APPROVED)


def test_each_step_of_a_plan_is_decided_by_its_own_buttons(o: Office) -> None:
    calls = [("billing.adjust", {"customer_id": "C-1", "amount_cents": amount_cents}) for amount_cents in (20_000, 30_000)]
    with o.w.alice():
        o.w.gate.plan(calls)
    shown: Posted = o.slack.wait(lambda: next((one for one in list(o.slack.messages.values()) if "Approve step 2" in one.text), None))
    requests = {one.request.step: one.request.id for one in o.w.gate.approvals.waiting()}
    values = {button["text"]["text"]: button for block in shown.blocks if block["type"] == "actions" for button in block["elements"]}
    o.slack.send(o.slack.pressed(shown, LENA, values["Reject step 2"]))
    o.heard(LENA, "you have rejected it")
    assert (o.state(requests[1]), o.state(requests[2])) == (S.OPEN, S.REJECTED)
    o.slack.wait(lambda: "Approve step 1" in shown.text and "Approve step 2" not in shown.text)
    o.slack.send(o.slack.pressed(shown, LENA, values["Approve step 1"]))
    o.slack.wait(lambda: o.state(requests[1]) is S.APPROVED)
    o.slack.wait(lambda: shown.buttons == ["licet.open"])
    assert len(o.slack.messages) == 1
