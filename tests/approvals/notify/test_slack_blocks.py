"""What a message looks like in Slack, held against what Slack takes; and what hostile text makes of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.approvals.notify.message import Ballot
from licet.approvals.notify.slack_blocks import (
    FORM,
    TEXT_LIMIT,
    Choice,
    Place,
    blocks_of,
    ended,
    escaped,
    find_answers,
    find_choice,
    find_request,
    form_of,
    summary_of,
)
from tests.approvals.notify.examples import message
from tests.approvals.notify.slack_rules import Json, texts_of, wrong_with, wrong_with_view

DATE = re.compile(r"until <!date\^\d+\^\{date_short_pretty\} \{time\}\|[0-9: -]+ UTC>")
HOSTILE = "<!channel> <@U1> <https://evil.invalid|ok> *b* _i_ `c` @here &amp; :smile: https://evil.invalid"
Value = Any


def shown(blocks: list[Json]) -> str:
    return "\n".join(text["text"] for text in texts_of(blocks))


def buttons(blocks: list[Json]) -> list[Json]:
    return [element for block in blocks if block["type"] == "actions" for element in block["elements"]]


def fits(blocks: list[Json]) -> bool:
    return wrong_with({"text": "t", "blocks": blocks}) is None


def test_everything_that_a_voter_must_know_is_in_it() -> None:
    text = shown(blocks_of(message(votes=("dana approves: looks right",))))
    for words in (
        "billing.adjust waits for approval",
        "adjusts Customer C-1 by 500.00",
        "for: support-bot for alice, tenant acme",
        'what would change:\n\u2022 Customer::"C-1" balance: 100 -&gt; 50100',
        "\u2022 and 3 more",
        "why it is held:\n\u2022 adjustments over $100 need a billing lead",
        "the agent says: \u201cthe customer was charged twice\u201d",
        "needs:\n\u2022 1 of billing-leads",
        "votes:\n\u2022 dana approves: looks right",
        "until <!date^1767604500^{date_short_pretty} {time}|2026-01-05 09:15 UTC>",
        "it is not done, and can be asked again",
        "open \u00b7 request r-1 \u00b7 acme",
    ):
        assert words in text


def test_buttons_name_request_and_verdict_and_nobody() -> None:
    found = {button["action_id"]: button.get("value") for button in buttons(blocks_of(message()))}
    assert found == {"licet.approve": "approve:r-1", "licet.reject": "reject:r-1", FORM: "comment:r-1", "licet.open": None}


@pytest.mark.parametrize("changes", [{"decidable": False, "state": "approved"}, {"ballots": ()}], ids=["decided", "no ballots"])
def test_what_takes_no_votes_has_no_buttons_but_the_link(changes: Json) -> None:
    blocks = blocks_of(message(**changes))
    assert [button["action_id"] for button in buttons(blocks)] == ["licet.open"]
    assert fits(blocks)


def test_each_open_step_of_a_plan_has_buttons_of_its_own() -> None:
    ballots = (Ballot("r-2", 2), Ballot("r-5", 5))
    blocks = blocks_of(message(plan="p-1", steps=("1. a (approved)", "2. b (open)", "5. c (open)"), ballots=ballots))
    rows = [block["elements"] for block in blocks if block["type"] == "actions"]
    assert [[(element["text"]["text"], element.get("value")) for element in row] for row in rows] == [
        [("Approve step 2", "approve:r-2"), ("Reject step 2", "reject:r-2")],
        [("Approve step 5", "approve:r-5"), ("Reject step 5", "reject:r-5"), ("Open", None)],
    ]
    assert fits(blocks)


def test_a_long_plan_fits_with_all_its_buttons() -> None:
    steps = tuple(f"{number}. something" for number in range(1, 21))
    ballots = tuple(Ballot(f"r-{number}", number) for number in range(1, 21))
    blocks = blocks_of(message(plan="p-1", steps=steps, ballots=ballots, votes=("v",)))
    assert len(buttons(blocks)) == 41
    assert fits(blocks)
    assert "until <!date" in shown(blocks)


def test_where_no_votes_are_taken_there_are_no_buttons_for_them() -> None:
    assert [button["action_id"] for button in buttons(blocks_of(message(), votable=False))] == ["licet.open"]
    assert not buttons(blocks_of(message(link=None), votable=False))


@pytest.mark.parametrize(
    "link", [None, "javascript:alert(1)", "slack://x", "https://x.invalid/" + "x" * 3_000], ids=["none", "script", "scheme", "long"]
)
def test_a_link_that_slack_would_refuse_is_left_out(link: str | None) -> None:
    blocks = blocks_of(message(link=link))
    assert "licet.open" not in [button["action_id"] for button in buttons(blocks)]
    assert fits(blocks)


@pytest.mark.parametrize("field", ["title", "sentence", "caller", "agent_says", "tool", "tenant", "state", "at_expiry", "request"])
def test_no_text_can_mention_link_or_format(field: str) -> None:
    blocks = blocks_of(message(**{field: HOSTILE}))
    for text in texts_of(blocks):
        if text["type"] == "mrkdwn":
            assert DATE.fullmatch(text["text"])
        else:
            assert text["emoji"] is False
            assert not re.search("[<>]", text["text"])
    assert "&lt;!channel&gt;" in shown(blocks)
    assert "&amp;amp;" in shown(blocks)
    assert fits(blocks)


@pytest.mark.parametrize("field", ["preview", "why", "needs", "votes", "steps"])
def test_no_row_can_mention_link_or_format(field: str) -> None:
    blocks = blocks_of(message(**{field: (HOSTILE, "second")}))
    assert "\n\u2022 second" in shown(blocks)
    assert all(text["type"] == "plain_text" or DATE.fullmatch(text["text"]) for text in texts_of(blocks))
    assert not re.search("[<>]", "".join(text["text"] for text in texts_of(blocks) if text["type"] == "plain_text"))
    assert fits(blocks)


def test_what_the_agent_says_stands_in_a_block_of_its_own() -> None:
    said = "nothing.\u201d needs: \u2022 0 of nobody"
    (block,) = [block for block in blocks_of(message(agent_says=said)) if "the agent says" in str(block)]
    assert block == {"type": "section", "text": {"type": "plain_text", "text": f"the agent says: \u201c{said}\u201d", "emoji": False}}
    assert "the agent says" not in shown(blocks_of(message(agent_says=None)))


def test_the_line_that_a_phone_shows_is_escaped_too() -> None:
    assert summary_of(message(title="<!here>", sentence="a & b")) == "&lt;!here&gt;: a &amp; b"


@given(st.text(max_size=50), st.integers(1, 60))
def test_escaped_text_keeps_its_length_and_no_half_escape(text: str, limit: int) -> None:
    made = escaped(text, limit)
    assert 0 < len(made.encode("utf-16-le")) // 2 <= limit
    assert not re.search(r"&(?!amp;|lt;|gt;)|[<>]", made)
    whole = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(whole.encode("utf-16-le", "surrogatepass")) // 2 <= limit:
        assert made == (whole or "-")
    else:
        assert made.endswith("\u2026")
        assert whole.startswith(made[:-1])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4_000), st.integers(0, 12))
def test_slack_takes_whatever_is_said(text: str, rows: int) -> None:
    many = (text,) * rows
    long = message(
        title=text, sentence=text, agent_says=text, preview=many, why=many, needs=many, votes=many, steps=many, caller=text, at_expiry=text
    )
    assert fits(blocks_of(long))
    assert len(summary_of(long)) <= TEXT_LIMIT


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("approve:r-1", Choice("r-1", "approve")),
        ("reject:0197a.b_c", Choice("0197a.b_c", "reject")),
        *(
            (value, None)
            for value in (
                "",
                "approve",
                "approve:",
                "Approve:r-1",
                "approve:r-1:dana",
                "approve:r-1 ",
                "approve:r-1\n",
                "withdraw:r-1",
                "approve:" + "x" * 101,
                None,
            )
        ),
    ],
)
def test_only_a_value_of_this_module_chooses_anything(value: str | None, choice: Choice | None) -> None:
    assert find_choice(value) == choice
    assert find_request(value) is None


def test_only_the_button_for_a_comment_names_a_request_without_a_verdict() -> None:
    assert find_request("comment:r-1") == "r-1"
    assert find_choice("comment:r-1") is None
    assert find_request("comment:r-1 dana") is None


def form(blocks: Value = None) -> Json:
    return form_of("r-1", Place("r-1", "C1", "1.2"), blocks)


def test_the_form_shows_what_is_voted_on_and_asks_for_verdict_and_comment() -> None:
    view = form(blocks_of(message(agent_says="a < b")))
    assert wrong_with_view(view) is None
    text = "\n".join(entry["text"] for entry in texts_of(view["blocks"]))
    assert "adjusts Customer C-1 by 500.00" in text
    assert "the agent says: \u201ca &lt; b\u201d" in text, "as it was escaped, once"
    assert not buttons(view["blocks"])


@pytest.mark.parametrize(
    "blocks", [None, "text", [1], [{"no": "type"}], [{"type": "section"}], [{"type": "section", "text": {"text": ""}}]], ids=str
)
def test_a_form_is_made_whatever_the_message_was(blocks: Value) -> None:
    assert wrong_with_view(form(blocks)) is None
    assert fits(ended(blocks, "it is over"))


def filled(verdict: Value, comment: Value) -> Value:
    return {
        "verdict": {"choice": {"type": "radio_buttons", "selected_option": {"value": verdict}}},
        "comment": {"text": {"value": comment}},
    }


def test_the_answers_of_a_form_are_read() -> None:
    assert find_answers(filled("reject:r-1", "  no ticket ")) == (Choice("r-1", "reject"), "no ticket")
    assert find_answers(filled("approve:r-1", None)) == (Choice("r-1", "approve"), None)
    assert find_answers(filled("approve:r-1", "   ")) == (Choice("r-1", "approve"), None)
    read = find_answers(filled("approve:r-1", "x" * 900))
    assert read is not None
    assert len(read[1] or "") == 500


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"verdict": {}},
        [],
        filled("maybe:r-1", "x"),
        filled(None, "x"),
        filled("approve:r-1", 5),
        {"verdict": {"choice": {"selected_option": None}}, "comment": {"text": {}}},
    ],
    ids=str,
)
def test_what_is_not_the_form_answers_nothing(state: Value) -> None:
    assert find_answers(state) is None


def test_an_ended_message_says_what_it_said_and_why_it_is_over() -> None:
    before = blocks_of(message())
    after = ended(before, "request `r-1` is <superseded>")
    assert not buttons(after)
    assert "adjusts Customer C-1 by 500.00" in shown(after)
    assert shown(after).endswith("request `r-1` is &lt;superseded&gt;")
    assert fits(after)
