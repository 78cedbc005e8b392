"""One call while it is being governed: what was proposed, and what each check has found out so far.

A draft belongs to one driver at a time. Checks fill it in the order of `gate/pipeline.py`; the recorder reads it, so that a record can say
everything that was known when the call ended, wherever it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from licet.catalog.arguments import Arguments
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused
from licet.gate.acting import Acting
from licet.gate.brought import Brought
from licet.gate.effects import NOTHING_REPORTED, Collector, Reported
from licet.gate.scene import Implementation, Scene
from licet.gate.session import SessionFacts
from licet.model import Caller, CallId, Decision, Effect, EntityRef, JsonObject, PlanId, Principal, Receipt, Request, Target
from licet.policy.local_time import LocalTime

PreviewedBy: TypeAlias = Literal["tool", "arguments"]


class Planned(Struct, frozen=True):
    """A step's place in a plan: the digest (SHA-256, hex) of all its calls, the run, and which step of how many."""

    key: str
    plan: PlanId
    step: int
    steps: int


class Refused(Exception):
    """A check says no. Becomes a recorded denial; `detail` goes into its payload."""

    def __init__(self, code: str, message: str, *, detail: JsonObject | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail


class Inquired(Struct, frozen=True):
    """What an evaluation says that its call is on, beside the arguments: one of its targets, whose `attributes` are believed if given.

    `problem` says why the question is about no call that there could be.
    """

    resource: EntityRef | None = None
    attributes: JsonObject | None = None
    problem: Refused | None = None


class Draft:
    """What is known of one call so far. `at_us` is when it was proposed, in microseconds since 1970 UTC.

    What no check has found out yet stands on the class, so that a new draft is small and `forget` is exact.
    """

    scene: Scene | None = None
    caller: Caller | None = None
    principals: tuple[Principal, ...] = ()
    spec: ToolSpec | None = None
    implementation: Implementation | None = None
    arguments: Arguments | None = None
    values: Mapping[str, Any] = MappingProxyType({})
    refs: tuple[EntityRef, ...] = ()
    targets: tuple[Target, ...] = ()
    elsewhere: tuple[Target, ...] = ()  # those that belong to another tenant
    facts: SessionFacts = SessionFacts()
    asked_at: datetime | None = None  # the `now` that policy saw
    local: LocalTime | None = None  # the `local` that policy saw, where one reads it
    decision: Decision | None = None
    detail: JsonObject | None = None
    preview: tuple[Effect, ...] | None = None
    previewed_by: PreviewedBy | None = None  # who promises it: the tool's preview, or nobody but the arguments
    preview_digest: str | None = None
    request: Request | None = None  # the live request that this call waits on
    opening: Request | None = None  # a request that this hold opens
    closing: tuple[Request, str] | None = None  # an older request that this hold ends, and how (an approvals event)
    consuming: Request | None = None  # the approval that this call uses up
    changed: str | None = None  # why an older request no longer fits
    voters: tuple[str, ...] = ()
    ballots: int = 0  # how many votes were cast on it or taken back when that was found out
    effects: Collector | None = None  # what the tool reports, once it runs
    report_by: int | None = None  # until when somebody else may report its end (UTC microseconds)
    intended: Receipt | None = None  # of the intent

    def __init__(
        self,
        call: CallId,
        at_us: int,
        acting: Acting,
        tool: str,
        unverified_arguments: Mapping[str, Any] | bytes | str,
        *,
        idempotency_key: str | None = None,
        instance: object = None,
        refused: ArgumentsRefused | None = None,
        awaited: Request | None = None,
        undoes: CallId | None = None,
        brought: Brought | None = None,
    ) -> None:
        self.id = call
        self.at_us = at_us
        self.acting = acting
        self.tool = tool
        self.unverified_arguments = unverified_arguments
        self.idempotency_key = idempotency_key
        self.instance = instance
        self.refused = refused  # a direct call's arguments that are not even of the function's types
        self.awaited = awaited  # the request that the same call, made before, has waited for
        self.undoes = undoes  # the call that this one takes back
        self.brought = brought  # what runs it, where it is a tool of an agent's framework
        self.inquired: Inquired | None = None  # of a call that nobody makes: somebody asks whether it would be permitted
        self.plan_key: str | None = None  # the idempotency key of a plan, on its first step
        self.planned: Planned | None = None
        self.attempt = 0
        self.remote = False  # somebody else executes it, and reports how it ended

    def again(self, call: CallId, at_us: int) -> Draft:
        """The same call, which was held, as it is made once more: with the arguments that were read, whatever became of those proposed."""
        assert self.arguments is not None
        draft = Draft(
            call,
            at_us,
            self.acting,
            self.tool,
            self.arguments.json,
            idempotency_key=self.idempotency_key,
            instance=self.instance,
            awaited=self.opening or self.request,
            undoes=self.undoes,
            brought=self.brought,
        )
        draft.remote = self.remote
        return draft

    def promised(self) -> tuple[Effect, ...] | None:
        """The effects that people have approved; None where nobody was asked, or the tool had not said what they would be."""
        promised = self.previewed_by == "tool" or self.undoes is not None
        return self.preview if self.consuming is not None and promised else None

    def reported(self) -> Reported:
        """The effects that the tool has reported so far."""
        return self.effects.reported() if self.effects is not None else NOTHING_REPORTED

    def forget(self) -> None:
        """Go back to what was proposed, to be examined once more."""
        for name in self.__dict__.keys() - _PROPOSED:
            del self.__dict__[name]


_PROPOSED = frozenset(
    {
        "id",
        "at_us",
        "acting",
        "tool",
        "unverified_arguments",
        "idempotency_key",
        "instance",
        "refused",
        "awaited",
        "undoes",
        "brought",
        "inquired",
        "plan_key",
        "planned",
        "attempt",
        "remote",
    }
)
