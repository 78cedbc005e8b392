"""Taking a call back: what that would change, the proposal, and what came of it.

Rules:

1. An undo is a governed call (gate/undo.py): policy decides on it under its own name, people may have to approve it, and it is recorded.
2. It is proposed in the name of the person who is signed in, through the agent or service that made the call: both must be permitted.
   Whoever may not undo (`calls.undo`) in the tenant proposes nothing, and finds no call.
3. A call is undone once, whoever asks, from however many browsers. What came of a proposal is told from its own records.
4. Who has the tool executes its undo. A server without the application executes nothing, and says who can.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

from msgspec import Meta, Struct

from licet.console.frame import page
from licet.console.looks import DENY
from licet.console.records import record_path, targets_of
from licet.console.subject_story import Gathered, event_of, sentence
from licet.console.subject_view import entry_of, pieces, shown_effects, why_path
from licet.errors import UndoRefused
from licet.gate.acting import Acting
from licet.gate.results import Denied, Result
from licet.gate.undo import Reversal
from licet.gate.undoing import UNDO, undo_name
from licet.ledger.entries import Entry
from licet.ledger.wording import who
from licet.model import CallId, EntityRef
from licet.server import records
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import not_found
from licet.server.shapes_calls import Id, Text
from licet.server.shapes_records import Name, OneStory

HERE: Final = "/console/undo"


class OneUndo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which call, in which log, and which proposal was made."""

    log: Name
    call: Id
    made: Annotated[str, Meta(max_length=100)] = ""


class ProposeIt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why, as a claim for whoever decides."""

    reason: Text = ""


def path_to(log: str, call: str) -> str:
    """The page that takes a call back."""
    return f"{HERE}/{quote(log, safe='')}/{quote(call, safe='')}"


def show(asked: Asked) -> Answer:
    """What would be taken back, or why nothing can be; and what came of a proposal."""
    params: OneUndo = asked.params
    entries = _call(asked)
    begun = entries[0]
    reversal, refused = None, None
    try:
        reversal = asked.gate.reversal(CallId(params.call), acting=_acting(asked, begun))
    except UndoRefused as error:
        refused = error
    return page(
        asked,
        "subject_undo.html",
        call=params.call,
        action=path_to(params.log, params.call),
        event=event_of(Gathered(entries)),
        tool=begun.envelope.tool.name if begun.envelope.tool is not None else "",
        proposer=_proposer(asked, begun),
        reversal=None if reversal is None else _shown(reversal),
        refused=None if refused is None else pieces(sentence(str(refused))),
        elsewhere=_elsewhere(asked, begun, refused),
        made=_made(asked) if params.made else None,
        record=record_path(params.log, begun.index),
        subjects=[(EntityRef(one["type"], one["id"]), one["path"]) for one in targets_of(begun) if one["path"]],
    )


def propose(asked: Asked) -> Answer:
    """The undo is proposed, and what came of it is on the page that follows. Raises `UndoRefused` where there is nothing to propose."""
    params: OneUndo = asked.params
    begun = _call(asked)[0]
    reason = asked.body.reason.strip() or None
    result = asked.gate.undo(CallId(params.call), reason=reason, acting=_acting(asked, begun))
    there = f"{path_to(params.log, params.call)}?made={_recorded(result)}"
    return Answer(status=303, media_type="text/plain", headers=(("Location", there),))


def _recorded(result: Result) -> str:
    """The call that has records: of the same denial as before there may be none of its own."""
    return "again" if isinstance(result, Denied) and result.receipt is None else str(result.call)


def _call(asked: Asked) -> list[Entry]:
    """The records of the call in this log alone, from the one with which it began. Raises `Problem`; that it is looked at is recorded."""
    params: OneUndo = asked.params
    asked.allow("calls.undo", params.log)
    asked.allow("records.read", params.log)
    story = records.get_story(asked.with_input(OneStory(id=params.call), None)).body
    entries = [entry for shape in story.records if shape.log == params.log and (entry := entry_of(shape)).envelope.call == params.call]
    begun = [entry for entry in entries if entry.envelope.kind == "intent"]
    if not begun:
        raise not_found()
    return [begun[0], *(entry for entry in entries if entry.envelope.kind in {"outcome", "recovery"})]


def _acting(asked: Asked, begun: Entry) -> Acting:
    """Rule 2."""
    actor = begun.envelope.actor
    return Acting(
        tenant=begun.log,
        agent=actor.agent if actor is not None else None,
        service=actor.service if actor is not None else None,
        user=asked.person,
        credential=asked.who.credential,
        is_named=True,
    )


def _proposer(asked: Asked, begun: Entry) -> str:
    actor = begun.envelope.actor
    return who(actor.agent if actor is not None else None, actor.service if actor is not None else None, asked.person)


def _shown(reversal: Reversal) -> dict[str, Any]:
    return {"tool": reversal.tool, "effects": shown_effects(reversal.effects)}


def _elsewhere(asked: Asked, begun: Entry, refused: UndoRefused | None) -> bool:
    """Whether the tool has an undo that only its application executes (rule 4)."""
    tool = begun.envelope.tool
    return (
        refused is not None
        and refused.code == "no_undo"
        and tool is not None
        and asked.gate.scene.catalog.find_tool(undo_name(tool.name)) is not None
    )


def _made(asked: Asked) -> dict[str, Any] | None:
    """What came of a proposal that was made on this page. Raises `Problem` where there is none such."""
    params: OneUndo = asked.params
    if params.made == "again":
        return {"look": DENY, "said": pieces("The same was denied a moment ago for the same reason, and is counted there."), "more": ()}
    story = records.get_story(asked.with_input(OneStory(id=params.made), None)).body
    entries = [entry for shape in story.records if shape.log == params.log and (entry := entry_of(shape)).envelope.call == params.made]
    if not any(entry.envelope.tool is not None and entry.envelope.tool.name.endswith(UNDO) for entry in entries):
        raise not_found()
    event = event_of(Gathered(entries))
    return {
        "look": event.look,
        "said": event.said,
        "more": pieces(event.more),
        "effects": shown_effects(event.effects),
        "record": record_path(event.log, event.index),
        "why": why_path(event.log, event.index) if event.kind == "denied" else None,
        "request": f"/console/inbox/{event.request}" if event.request and event.kind == "open" else None,
        "is_done": event.kind == "changed",
    }


PAGES: Final = (
    Endpoint(
        method="GET",
        path=f"{HERE}/{{log}}/{{call}}",
        operation="consoleUndo",
        summary="What taking a call back would change",
        tag="console",
        action="calls.undo",
        handler=show,
        params=OneUndo,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/{{log}}/{{call}}",
        operation="consoleProposeUndo",
        summary="Propose to take a call back",
        tag="console",
        action="calls.undo",
        handler=propose,
        params=OneUndo,
        body=ProposeIt,
        statuses=(422,),
    ),
)
