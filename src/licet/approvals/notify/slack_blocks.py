"""A message as Slack's Block Kit: a pure function, so that what a channel shows is what the `Message` says and nothing else.

Rules:

1. Every text is `plain_text`, in which Slack parses no markup, no mention and no link, and `& < >` are escaped all the same, as its
   documents ask for everywhere. The one `mrkdwn` text is a date, made of digits alone.
2. What the agent wrote stands in a block of its own, in quotes, under "the agent says".
3. A button carries which request and which verdict, and nothing about who: that is the Slack user whom the click comes from.
4. What is not decidable has no buttons but the link.
5. No text is longer than Slack takes; what is cut ends in an ellipsis, and never inside an escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from licet.approvals.notify.message import Ballot, Message
from licet.model import JsonObject

TEXT_LIMIT: Final = 3_000
HEADER_LIMIT: Final = 150
BLOCKS_LIMIT: Final = 50
URL_LIMIT: Final = 3_000
VALUE_LIMIT: Final = 2_000
METADATA_LIMIT: Final = 3_000
COMMENT_LIMIT: Final = 500
"""Characters of a comment that the form takes."""

FORM: Final = "licet.comment"
"""The `callback_id` of the form for a vote with a comment, and the `action_id` of the button that opens it."""
LINK: Final = "licet.open"
_COMMENT_BLOCK: Final = "comment"
_VERDICT_BLOCK: Final = "verdict"

Verdict = Literal["approve", "reject"]
_LABELS: Final[dict[Verdict, tuple[str, str]]] = {"approve": ("Approve", "primary"), "reject": ("Reject", "danger")}
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_REQUEST: Final = r"[A-Za-z0-9_.-]{1,100}"
_VALUE: Final = re.compile(rf"(approve|reject):({_REQUEST})")
_FORM_VALUE: Final = re.compile(rf"comment:({_REQUEST})")


class Choice(Struct, frozen=True):
    """What somebody has chosen: a verdict on a request. Who it was is never part of it."""

    request: str
    verdict: Verdict


class Place(Struct, frozen=True):
    """Where a form was opened from; it comes back with what is filled in."""

    request: str
    channel: str
    ts: str


def blocks_of(message: Message, *, votable: bool = True) -> list[JsonObject]:
    """The whole message; where no votes are taken through Slack, without buttons for them."""
    told = [
        _header(message.title),
        _section(message.sentence),
        _section(f"for: {message.caller}\ntool: {message.tool}"),
        *_listed("what would change", [*message.preview, *_and_more(message.more)]),
        *_listed("the steps, in this order", message.steps),
        *_listed("why it is held", message.why),
        *([_section(f"the agent says: \u201c{message.agent_says}\u201d")] if message.agent_says is not None else []),
        *_listed("needs", message.needs),
        *_listed("votes", message.votes),
        _context(message),
    ]
    decide = _decide(message, votable=votable)
    return [*told[: BLOCKS_LIMIT - len(decide)], *decide]


def summary_of(message: Message) -> str:
    """What a phone shows before the message is opened, escaped."""
    return escaped(f"{message.title}: {message.sentence}", TEXT_LIMIT)


def ended(unverified_blocks: object, reason: str) -> list[JsonObject]:
    """What an old message said, without its buttons and with the reason why it takes no more votes."""
    return [*_told_again(unverified_blocks)[: BLOCKS_LIMIT - 1], {"type": "context", "elements": [plain(reason)]}]


def form_of(request: str, place: Place, unverified_blocks: object) -> JsonObject:
    """The form (a modal) for a vote with a comment on what a message says."""
    options = [{"text": plain(label), "value": f"{verdict}:{request}"} for verdict, (label, _) in _LABELS.items()]
    comment = {"type": "plain_text_input", "action_id": "text", "multiline": True, "max_length": COMMENT_LIMIT}
    return {
        "type": "modal",
        "callback_id": FORM,
        "private_metadata": msgspec.json.encode(place).decode(),
        "title": plain("Vote with a comment"),
        "submit": plain("Vote"),
        "close": plain("Cancel"),
        "blocks": [
            *_told_again(unverified_blocks),
            {
                "type": "input",
                "block_id": _VERDICT_BLOCK,
                "label": plain("Your vote"),
                "element": {"type": "radio_buttons", "action_id": "choice", "options": options},
            },
            {"type": "input", "block_id": _COMMENT_BLOCK, "label": plain("Comment, kept with the vote"), "element": comment},
        ],
    }


def find_choice(unverified_value: str | None) -> Choice | None:
    """What the value of a button, or of an option of the form, chooses; None if it is no value that this module writes."""
    match = _VALUE.fullmatch(unverified_value or "")
    return Choice(match[2], "approve" if match[1] == "approve" else "reject") if match else None


def find_request(unverified_value: str | None) -> str | None:
    """The request that a button for a comment names; None if it is no value that this module writes."""
    match = _FORM_VALUE.fullmatch(unverified_value or "")
    return match[1] if match else None


class _Chosen(Struct):
    value: str


class _Answer(Struct):
    selected_option: _Chosen | None = None
    value: str | None = None


def find_answers(unverified_state: object) -> tuple[Choice, str | None] | None:
    """The choice and the comment of a form that was filled in; None if it is not the form of this module."""
    try:
        values = msgspec.convert(unverified_state, dict[str, dict[str, _Answer]])
        option = values[_VERDICT_BLOCK]["choice"].selected_option
        comment = values[_COMMENT_BLOCK]["text"].value
    except (msgspec.ValidationError, KeyError):
        return None
    choice = find_choice(option.value if option is not None else None)
    return None if choice is None else (choice, (comment or "").strip()[:COMMENT_LIMIT] or None)


def escaped(text: str, limit: int) -> str:
    """Text in which Slack reads no markup, at most so long. Slack refuses a message with an empty text, so that is a dash."""
    parts = [_ESCAPES.get(character, character) for character in text]
    if _length(parts) <= limit:
        return "".join(parts) or "-"
    kept, left = [], limit - 1
    for part in parts:
        left -= _length(part)
        if left < 0:
            break
        kept.append(part)
    return "".join(kept) + "\u2026"


def _length(text: Iterable[str]) -> int:
    """Characters as Slack may count them: in UTF-16, where those beyond the first plane are two."""
    return sum(1 + (character > "\uffff") for part in text for character in part)


def plain(text: str, limit: int = TEXT_LIMIT) -> JsonObject:
    """A text object in which nothing is parsed, not even `:smile:`."""
    return {"type": "plain_text", "text": escaped(text, limit), "emoji": False}


def _header(text: str) -> JsonObject:
    return {"type": "header", "text": plain(text, HEADER_LIMIT)}


def _section(text: str) -> JsonObject:
    return {"type": "section", "text": plain(text)}


def _listed(label: str, rows: Sequence[str]) -> Iterable[JsonObject]:
    """One block; rows have no line breaks in them, so that none can pass for two, or for a label."""
    if rows:
        yield _section("\n".join([f"{label}:", *(f"\u2022 {row}" for row in rows)]))


def _and_more(more: int) -> list[str]:
    return [f"and {more} more" if more != 1 else "and one more"] if more > 0 else []


def _context(message: Message) -> JsonObject:
    """Until when, in the reader's own time zone, what happens then, and the name under which `licet approvals show` finds it."""
    named = f"plan {message.plan}" if message.plan is not None else f"request {message.request}"
    told = plain(f"{message.state} \u00b7 {named} \u00b7 {message.tenant}")
    if not message.at_expiry:
        return {"type": "context", "elements": [told]}
    stamp, spoken = int(message.expires_at.timestamp()), message.expires_at.strftime("%Y-%m-%d %H:%M UTC")
    date = {"type": "mrkdwn", "text": f"until <!date^{stamp}^{{date_short_pretty}} {{time}}|{spoken}>", "verbatim": True}
    return {"type": "context", "elements": [date, plain(message.at_expiry), told]}


def _decide(message: Message, *, votable: bool) -> list[JsonObject]:
    """A row of buttons for what takes votes, or for each step of a plan: one click must not stand for several. The link ends the last."""
    rows = [_ballot(ballot) for ballot in message.ballots] if votable and message.decidable else []
    link = message.link
    if link is not None and link.startswith(("https://", "http://")) and len(link) <= URL_LIMIT:
        rows = rows or [[]]
        rows[-1].append({"type": "button", "action_id": LINK, "text": plain("Open"), "url": link})
    return [{"type": "actions", "block_id": f"decide-{place}", "elements": row} for place, row in enumerate(rows)]


def _ballot(ballot: Ballot) -> list[JsonObject]:
    """The buttons of one request. A step of a plan has no form for a comment, which would show all of the plan."""
    step = f" step {ballot.step}" if ballot.step else ""
    row: list[JsonObject] = [
        {
            "type": "button",
            "action_id": f"licet.{verdict}",
            "text": plain(label + step),
            "style": style,
            "value": f"{verdict}:{ballot.request}",
        }
        for verdict, (label, style) in _LABELS.items()
    ]
    if not ballot.step:
        row.append({"type": "button", "action_id": FORM, "text": plain("With a comment"), "value": f"comment:{ballot.request}"})
    return row


class _Text(Struct):
    text: str


class _Block(Struct):
    type: str
    text: _Text | None = None


def _told_again(unverified_blocks: object) -> list[JsonObject]:
    """Headers and sections of a message as Slack hands it back: text that is escaped already."""
    try:
        blocks = msgspec.convert(unverified_blocks, list[_Block])
    except msgspec.ValidationError:
        return []
    return [
        {"type": block.type, "text": {"type": "plain_text", "text": block.text.text, "emoji": False}}
        for block in blocks
        if block.type in ("header", "section") and block.text is not None and block.text.text
    ]
