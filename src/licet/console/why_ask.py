"""Asking for access: what would have to be written into the policies so that a denied call is permitted, for whoever keeps them.

Rules:

1. Nothing is applied, sent or asked here: it is a text to copy. That somebody looked is in the log as every look is (`audit why`); that
   they asked is between people, and the change of policy is recorded when it is put into force.
2. The draft (why_draft.py) and the policies that it stands beside are shown to whoever may read those of the installation. Others have
   the request in words, and learn whom to send it to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from msgspec import Struct
from msgspec.structs import replace

from licet.console.frame import page
from licet.console.records import record_path
from licet.console.subject_story import Gathered, event_of, sentence
from licet.console.subject_view import pieces, why_path
from licet.console.why import HERE, explained, may_read, people_who
from licet.console.why_draft import Draft, Ground, NoDraft, draft_of
from licet.console.wording import plain_lines
from licet.errors import CallerRefused
from licet.gate.hindsight import recall
from licet.gate.scene import Scene
from licet.ledger.entries import Entry, message_of
from licet.model import Caller, Principal
from licet.policy.engine import Question
from licet.policy.local_time import local_time
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem
from licet.server.shapes_records import OneReason

TRIED: Final = 200
"""Other callers and other arguments that a draft is tried on: some 2 ms each."""


class Trial(Struct, frozen=True):
    """How many other calls were put to the policies without and with the draft, and those that are decided otherwise."""

    tried: int
    otherwise: tuple[str, ...]


def show(asked: Asked) -> Answer:
    """The request and, for whoever may see it, the draft."""
    entry, reasons = explained(asked)
    decision = reasons.decision
    if decision.verdict != "deny" or decision.code != "no_permit":
        raise Problem(
            "nothing_to_ask", "access is asked for where no policy permits a call, which is not what was decided here", status=404
        )
    draft, none, trial = None, "", None
    if may_read(asked):
        try:
            question = question_of(asked, entry)
            draft = draft_of(ground_of(asked.gate.scene), question, entry.place)
            trial = _tried(asked.gate.scene, question, draft)
        except NoDraft as error:
            none = str(error)
    owners = people_who(asked, "policies.reload", entry.log)
    text = plain_lines(_request(asked, entry, draft))  # here and in the e-mail
    subject = f"Access to {entry.envelope.tool.name if entry.envelope.tool is not None else 'a tool'}"
    return page(
        asked,
        "why_ask.html",
        entry=entry,
        event=event_of(Gathered([entry])),
        back=why_path(entry.log, entry.index),
        record=record_path(entry.log, entry.index),
        owners=owners,
        draft=draft,
        diff=[] if draft is None else [("" if line.startswith("+++") else line[:1], line) for line in draft.diff.splitlines()],
        with_it=() if draft is None else pieces(sentence(draft.decision.message)),
        because=pieces(sentence(none)),
        trial=trial,
        may_read=may_read(asked),
        text=text,
        mail=f"mailto:?{urlencode({'subject': subject, 'body': text}, quote_via=quote)}",
    )


def ground_of(scene: Scene) -> Ground:
    """What is in force."""
    return Ground(engine=scene.engine, catalog=scene.catalog, directory=scene.directory, meters=tuple(scene.settings.meters))


def question_of(asked: Asked, entry: Entry) -> Question:
    """What the record's decision was asked, put to what is in force now. Raises `NoDraft`."""
    scene = asked.gate.scene
    past = recall(asked.gate.store, entry)
    if isinstance(past, str):
        raise NoDraft(past)
    if past.question is None:
        raise NoDraft(
            "no permit about the tool is for this caller, so its arguments were never read, and a permit for this call alone cannot be "
            "written; give the caller a role that the tool's permits are for, or write one for the calls that it is to make"
        )
    then = past.question
    tool = scene.catalog.find_tool(then.tool.name)
    if tool is None or tool.definition != then.tool.definition:
        raise NoDraft(f"`{then.tool.name}` is defined otherwise now, or not at all")
    return replace(
        then,
        tool=tool,
        principals=_principals(scene, entry, then),
        local=then.local or local_time(then.now, scene.zone),
        meters={name: then.meters.get(name, 0) for name in scene.settings.meters},
    )


def _principals(scene: Scene, entry: Entry, then: Question) -> tuple[Principal, ...]:
    """Who called, with the roles of now."""
    actor = entry.envelope.actor
    if actor is None:
        return then.principals
    caller = Caller(tenant=entry.log, agent=actor.agent, service=actor.service, user=actor.user)
    try:
        return scene.directory.principals(caller)
    except CallerRefused as refused:
        raise NoDraft(f"the caller is not what it was: {refused}") from refused


def _tried(scene: Scene, question: Question, draft: Draft) -> Trial:
    """The same call by others, and other calls by the same: none may be decided otherwise."""
    tried, otherwise = 0, list[str]()
    for name, other in _others(scene, question):
        if tried >= TRIED:
            break
        tried += 1
        if scene.engine.decide(other).verdict != draft.engine.decide(other).verdict:
            otherwise.append(name)
    return Trial(tried, tuple(otherwise))


def _others(scene: Scene, question: Question) -> Iterator[tuple[str, Question]]:
    tenant = question.principals[0].tenant
    user = next((one.id for one in question.principals if one.kind == "User"), None)
    agent = next((one.id for one in question.principals if one.kind == "Agent"), None)
    callers = [Caller(tenant=tenant, agent=name, user=user) for name in sorted(scene.directory.agents) if name != agent]
    callers += [Caller(tenant=tenant, agent=agent, user=name) for name in sorted(scene.directory.users) if agent and name != user]
    for caller in callers:
        try:
            yield f"{caller.agent} for {caller.user}", replace(question, principals=scene.directory.principals(caller))
        except CallerRefused:
            continue
    for name, value in question.input.items():
        if isinstance(value, int) and not isinstance(value, bool):
            for changed in (value - 1, value + 1):
                yield f"{name} {changed}", replace(question, input={**question.input, name: changed})
    for environment in ("production", "staging", "development"):
        if environment != question.environment:
            yield f"in {environment}", replace(question, environment=environment)


def _request(asked: Asked, entry: Entry, draft: Draft | None) -> str:
    """The request in words, to be copied."""
    said = "".join(text for text, _ in event_of(Gathered([entry])).said)
    at = why_path(entry.log, entry.index)
    where = f"{asked.serving.public_url}{at}" if asked.serving.public_url else at
    told: list[Any] = [said, f"Licet said: {sentence(message_of(entry))}", f"Why, in the console: {where} (record {entry.place})"]
    if draft is not None:
        told += [f"A permit for this call alone, for {draft.file} from line {draft.line} on:", draft.diff]
    return "\n\n".join(told)


PAGES: Final = (
    Endpoint(
        method="GET",
        path=f"{HERE}/{{log}}/{{index}}/ask",
        operation="consoleAskForAccess",
        summary="A draft of what would permit a denied call",
        tag="console",
        action="records.read",
        handler=show,
        params=OneReason,
    ),
)
