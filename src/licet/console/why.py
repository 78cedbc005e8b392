"""Why a call was denied, or held: what decided, what it looked at, and what would have had to be otherwise.

Rules:

1. What explains it is what the API says (server/records.py), put to the policies of that time. That it is looked at is recorded.
2. Policies are quoted to whoever may read those of the installation. Others are told the sentence, and whom to ask.
3. Nothing here decides, retries or changes anything.
"""

from __future__ import annotations

from typing import Any, Final

from licet.console.frame import page
from licet.console.looks import FROZEN, VERDICTS, Look
from licet.console.records import record_path, targets_of
from licet.console.subject_story import Gathered, event_of, sentence
from licet.console.subject_view import entry_of, pieces, why_path
from licet.console.why_facts import facts_of, nearest_of, next_of
from licet.gate.hindsight import Reasons, decided_in
from licet.ledger.entries import Entry
from licet.ledger.wording import counted
from licet.model import OPERATOR_LOG, Decision, EntityRef
from licet.policy.own import Asker, OwnAction
from licet.server import records
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem
from licet.server.shapes_records import OneReason, OneRecord, OneStory

HERE: Final = "/console/why"
_ASKED: Final = 8
"""People who are named to ask."""


def show(asked: Asked) -> Answer:
    """The decision of a record, explained."""
    entry, reasons = explained(asked)
    decision = reasons.decision
    failed = [text for one in reasons.unpermitted if one.nearest is not None for text in one.nearest.failed]
    return page(
        asked,
        "why.html",
        entry=entry,
        event=event_of(Gathered([entry])),
        look=_look(decision),
        code=decision.code,
        message=pieces(sentence(decision.message)),
        next_step=pieces(next_of(decision.code)),
        nearest=nearest_of(reasons.unpermitted),
        shut=reasons.shut,
        errors=reasons.errors,
        deciding=_deciding(reasons),
        obligations=[pieces(one) for one in _obligations(decision)],
        note=reasons.note,
        may_read=may_read(asked),
        ask_whom=people_who(asked, "policies.read", entry.log),
        facts=facts_of(entry, failed),
        record=record_path(entry.log, entry.index),
        ask=f"{why_path(entry.log, entry.index)}/ask" if decision.verdict == "deny" and decision.code == "no_permit" else None,
        subjects=[(EntityRef(one["type"], one["id"]), one["path"]) for one in targets_of(entry) if one["path"]],
        request=None if entry.envelope.approval is None else f"/console/inbox/{entry.envelope.approval.request}",
    )


def find(asked: Asked) -> Answer:
    """From a call or a request to the page of its decision."""
    story = records.get_story(asked.with_input(OneStory(id=asked.params.id), None)).body
    entries = [entry_of(shape) for shape in story.records]
    entry = decided_in([one for one in entries if one.envelope.call == story.call]) or decided_in(entries)
    if entry is None:
        raise Problem("no_decision", "no record of this call holds a decision", status=404)
    return Answer(status=303, media_type="text/plain", headers=(("Location", why_path(entry.log, entry.index)),))


def explained(asked: Asked) -> tuple[Entry, Reasons]:
    """A record that holds a decision, and what explains it. Raises `Problem`."""
    params: OneReason = asked.params
    reasons: Reasons = records.get_reasons(asked).body
    shape = records.get_record(asked.with_input(OneRecord(log=params.log, index=params.index), None)).body
    return entry_of(shape), reasons


def may_read(asked: Asked) -> bool:
    """Rule 2."""
    return asked.decide("policies.read", OPERATOR_LOG).allowed


def people_who(asked: Asked, action: OwnAction, tenant: str) -> list[str]:
    """Some of the people of this tenant who may do that with the policies of the installation. Nobody of another tenant is named."""
    own, directory, found = asked.gate.scene.own, asked.directory, list[str]()
    for name, user in sorted(directory.users.items()):
        if own is None or len(found) >= _ASKED:
            break
        groups = tuple(sorted(group for group in directory.groups if directory.is_member(name, group)))
        asker = Asker(type="User", id=name, method="session", roles=user.roles, groups=groups)
        if not user.disabled and directory.is_in_tenant(name, tenant) and own.decide(asker, action, OPERATOR_LOG).allowed:
            found.append(name)
    return found


def _look(decision: Decision) -> Look:
    return FROZEN if decision.code == "frozen" else VERDICTS[decision.verdict]


def _deciding(reasons: Reasons) -> list[dict[str, Any]]:
    """The policies that decided, each once, with their texts where those may be told."""
    named = dict.fromkeys((one.id, one.file, one.line, one.effect) for one in reasons.decision.policies)
    return [
        {"id": name, "file": file, "line": line, "effect": effect, "lines": lines_of(reasons.texts.get(name, ""), line)}
        for name, file, line, effect in named
    ]


def lines_of(text: str, first: int) -> list[tuple[int, str]]:
    """A policy's text with the numbers of its lines."""
    return [(first + number, line) for number, line in enumerate(text.splitlines())]


def _obligations(decision: Decision) -> list[str]:
    """What would have had to happen first, each once."""
    told = {
        "approval": lambda one: f"approval of {counted(one.count, 'member')} of `{one.group}`, which `{one.policy}` asks for",
        "confirmation": lambda one: f"confirmation by the user it is for, which `{one.policy}` asks for",
        "preview_only": lambda one: f"`{one.policy}` lets it be previewed only",
    }
    return list(dict.fromkeys(f"{told[one.kind](one)}{f': {one.reason}' if one.reason else ''}" for one in decision.obligations))


PAGES: Final = (
    Endpoint(
        method="GET",
        path=f"{HERE}/{{id}}",
        operation="consoleWhyCall",
        summary="From a call or a request to why it was decided so",
        tag="console",
        action="records.read",
        handler=find,
        params=OneStory,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/{{log}}/{{index}}",
        operation="consoleWhy",
        summary="Why a decision was what it was",
        tag="console",
        action="records.read",
        handler=show,
        params=OneReason,
    ),
)
