"""Asking whether a call would be permitted: steps 0 to 4 of the one pipeline, recorded, and nothing else.

Rules:

1. A question is examined by the same checks as a call. It executes, consumes and counts nothing, opens no request, takes no key.
2. It stops before step 5. An approval binds one exact call and is used once: an answer that rested on it could be used by anybody, again
   and again. So a call that needs people is a `hold` here, also when they have approved it.
3. No record, no answer: each question is an `evaluation` record, durable before it is answered. If the log cannot be written, the answer
   is a denial. Questions that are asked together are recorded in one commit.
4. What is recorded is the call, as for a denial of one, and who asked. Answers to questions are never counted together: each is one
   that somebody acts on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.errors import StoreError
from licet.gate.draft import Draft
from licet.gate.inquiry import Inquirer, Inquiry, Resource, Subject, draft_of
from licet.gate.pipeline import House, examine
from licet.gate.scene import Scene
from licet.gate.steps import Append, Step
from licet.gate.text import readable
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing, Statement
from licet.ledger.vault import Subject as About
from licet.model import CallId, Decision, JsonObject, Receipt

TOGETHER_LIMIT = 100
"""Questions asked at once: bounds the work of one request, and the size of its commit."""
KEPT_LIMIT_BYTES = 4_096
"""Of what a question says beside its ids; beyond it, the record has its digest."""

TEXT_LIMIT = 512
"""Characters of an id that are kept: no target and nobody has a longer one."""

StopAt: TypeAlias = Literal["deny", "permit"] | None
"""The first answer of this kind is the last one; None: every question is answered."""


class Evaluated(Struct, frozen=True, kw_only=True):
    """The answer to one question. `id` names it in the log, `at` is when it was decided; `receipt` is None where it could not be recorded.

    `tool` and `arguments` (canonical JSON, empty where they could not be read) are those of the call that was asked about.
    """

    decision: Decision
    id: CallId
    at: datetime
    tool: str
    arguments: bytes
    receipt: Receipt | None

    @property
    def permitted(self) -> bool:
        """Whether the call would be allowed as it stands."""
        return self.decision.verdict == "allow"


def evaluate(
    inquiries: Sequence[Inquiry], inquirer: Inquirer, house: House, stop_at: StopAt = None
) -> Generator[Step, Any, tuple[Evaluated, ...]]:
    """The answers, in the order of the questions, durable; fewer of them where one was the last."""
    grounds = house.grounds()
    at_us = microseconds(grounds.now)
    drafts: list[Draft] = []
    statements: list[Statement] = []
    twins: list[Statement] = []
    for inquiry in inquiries:
        draft = draft_of(inquiry, inquirer, grounds.scene, at_us)
        drafts.append(draft)
        decision = yield from examine(draft, grounds, ask=False)
        asked = asked_for(inquiry, inquirer)
        own, *others = house.recorder.evaluation(draft, at_us, asked, about=_about(draft, inquirer, grounds.scene))
        statements.append(own)
        twins += others
        if stop_at is not None and (decision.verdict == "allow") == (stop_at == "permit"):
            break
    receipts: tuple[Receipt | None, ...]
    try:
        receipts = yield Append(Filing((*statements, *twins)))
    except StoreError as error:
        receipts = (None,) * len(drafts)
        for draft in drafts:
            message = f"the audit log cannot be written, so nothing is permitted: {error}"
            draft.decision = Decision(verdict="deny", code="log_unavailable", message=message)
            house.clerk.gap(draft, str(error))
    return tuple([_answer(draft, grounds.now, receipt) for draft, receipt in zip(drafts, receipts, strict=False)])


def _answer(draft: Draft, at: datetime, receipt: Receipt | None) -> Evaluated:
    assert draft.decision is not None
    arguments = b"" if draft.arguments is None else draft.arguments.json
    return Evaluated(decision=draft.decision, id=draft.id, at=at, tool=draft.tool, arguments=arguments, receipt=receipt)


def asked_for(inquiry: Inquiry, inquirer: Inquirer, *, without: str | None = None) -> JsonObject:
    """What the question said, and who asked it; `without` is the part that a search leaves open.

    Not the arguments: they stand in the record like those of a call, without secrets.
    """
    parts: dict[str, Subject | Resource] = {"subject": inquiry.subject, "resource": inquiry.resource}
    asked: JsonObject = {"by": inquirer.content()}
    for name, part in parts.items():
        said: JsonObject = {"type": _short(part.type)} if name == without else {"type": _short(part.type), "id": _short(part.id)}
        asked[name] = {**said, "properties": kept(part.properties)} if part.properties else said
    if without != "action":
        asked["action"] = _short(inquiry.action.name)
    context = {name: value for name, value in inquiry.context.items() if name != "input"}
    if context:
        asked["context"] = kept(context)
    return asked


def _short(text: str) -> str:
    return readable(text)[:TEXT_LIMIT]


def kept(value: JsonObject) -> JsonObject:
    """What a record keeps of something that a client may make as large as it likes."""
    try:
        content = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):  # half of a surrogate pair, or no JSON: no client can send it, but a program can
        return {"unreadable": True}
    if len(content) <= KEPT_LIMIT_BYTES:
        return value
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _about(draft: Draft, inquirer: Inquirer, scene: Scene) -> tuple[About, ...]:
    """Whose erasure takes the readable part of the record beside those whom the call names: who asks, and a resource not looked at yet."""
    if draft.caller is None or draft.inquired is None:
        return ()
    tenant, resource = draft.caller.tenant, draft.inquired.resource
    about = people_of(tenant, inquirer)
    if not draft.refs and resource is not None and scene.catalog.find_resource(resource.type) is not None:
        about = (*about, About(tenant, resource.type, resource.id))
    return about


def people_of(tenant: str, inquirer: Inquirer) -> tuple[About, ...]:
    """The person who asks, whose erasure takes the readable part of the record too."""
    return () if inquirer.acting.user is None else (About(tenant, "User", inquirer.acting.user),)
