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
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.errors import StoreError
from licet.gate.acting import acting_for
from licet.gate.async_driver import AsyncDriver
from licet.gate.draft import Draft
from licet.gate.house import OpenHouse
from licet.gate.inquiry import Asker, Inquiry, draft_of
from licet.gate.pipeline import House, examine
from licet.gate.steps import Append, Step
from licet.gate.sync_driver import SyncDriver
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing, Statement
from licet.ledger.vault import Subject as About
from licet.model import CallId, Decision, JsonObject, Receipt

TOGETHER_LIMIT = 100
"""Questions asked at once: bounds the work of one request, and the size of its commit."""
KEPT_LIMIT_BYTES = 4_096
"""Of what a question says beside its ids; beyond it, the record has its digest."""

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
    inquiries: Sequence[Inquiry], asker: Asker, house: House, stop_at: StopAt = None
) -> Generator[Step, Any, tuple[Evaluated, ...]]:
    """The answers, in the order of the questions, durable; fewer of them where one was the last."""
    grounds = house.grounds()
    at_us = microseconds(grounds.now)
    drafts: list[Draft] = []
    statements: list[Statement] = []
    twins: list[Statement] = []
    for inquiry in inquiries:
        draft = draft_of(inquiry, asker, grounds.scene, at_us)
        drafts.append(draft)
        decision = yield from examine(draft, grounds, ask=False)
        own, *others = house.recorder.evaluation(draft, at_us, _asked(inquiry, asker), about=_person(draft, asker))
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


def _asked(inquiry: Inquiry, asker: Asker) -> JsonObject:
    """What the question said, and who asked it. Not the arguments: they stand in the record like those of a call, without secrets."""
    resource: JsonObject = {"type": inquiry.resource.type, "id": inquiry.resource.id}
    if inquiry.resource.properties:
        resource["properties"] = kept(inquiry.resource.properties)
    subject: JsonObject = {"type": inquiry.subject.type, "id": inquiry.subject.id}
    if inquiry.subject.properties:
        subject["properties"] = kept(inquiry.subject.properties)
    asked: JsonObject = {"by": asker.content(), "subject": subject, "action": inquiry.action.name, "resource": resource}
    context = {name: value for name, value in inquiry.context.items() if name != "input"}
    if context:
        asked["context"] = kept(context)
    return asked


def kept(value: JsonObject) -> JsonObject:
    """What a record keeps of something that a client may make as large as it likes."""
    content = msgspec.json.encode(value)
    if len(content) <= KEPT_LIMIT_BYTES:
        return value
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _person(draft: Draft, asker: Asker) -> tuple[About, ...]:
    """The person who asks, whose erasure takes the readable part of this record too."""
    if asker.acting.user is None or draft.caller is None:
        return ()
    return (About(draft.caller.tenant, "User", asker.acting.user),)


class Evaluating:
    """What a gate offers to whoever asks without calling."""

    _clock: Callable[[], datetime]
    _token: object

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    def evaluate(self, inquiry: Inquiry, *, asker: Asker | None = None) -> Evaluated:
        """May this subject do this action on this resource? Recorded before it is answered; executes and consumes nothing.

        `asker` is who asks; by default the program of the open `acting` block. A call that people must approve is a `hold`, approved or
        not. Raises `OperatorError` if the gate cannot be opened, `GateClosed` if it was closed.
        """
        return self.evaluate_all((inquiry,), asker=asker)[0]

    async def aevaluate(self, inquiry: Inquiry, *, asker: Asker | None = None) -> Evaluated:
        """As `evaluate`, on the running event loop."""
        return (await self.aevaluate_all((inquiry,), asker=asker))[0]

    def evaluate_all(self, inquiries: Sequence[Inquiry], *, asker: Asker | None = None, stop_at: StopAt = None) -> tuple[Evaluated, ...]:
        """The answers to at most `TOGETHER_LIMIT` questions, in order, in one commit; the first that is `stop_at` is the last.

        Raises `ValueError` for more, and as `evaluate`.
        """
        house = self._opened()
        return SyncDriver(house.services, house.portal).run(evaluate(_bounded(inquiries), asker or self._asker(), house.house, stop_at))

    async def aevaluate_all(
        self, inquiries: Sequence[Inquiry], *, asker: Asker | None = None, stop_at: StopAt = None
    ) -> tuple[Evaluated, ...]:
        """As `evaluate_all`, on the running event loop."""
        house = self._opened()
        return await AsyncDriver(house.services).run(evaluate(_bounded(inquiries), asker or self._asker(), house.house, stop_at))

    def _asker(self) -> Asker:
        return Asker(acting=acting_for(self._token))


def _bounded(inquiries: Sequence[Inquiry]) -> Sequence[Inquiry]:
    if len(inquiries) > TOGETHER_LIMIT:
        raise ValueError(f"at most {TOGETHER_LIMIT} questions are answered together, and here are {len(inquiries)}")
    return inquiries
