"""One call while it is being governed: what was proposed, and what each check has found out so far.

A draft belongs to one driver at a time. Checks fill it in the order of `gate/pipeline.py`; the recorder reads it, so that a record can say
everything that was known when the call ended, wherever it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licet.catalog.arguments import Arguments
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused
from licet.gate.acting import Acting
from licet.gate.scene import Implementation, Scene
from licet.gate.session import SessionFacts
from licet.model import Caller, CallId, Decision, Effect, EntityRef, JsonObject, Principal, Request, Target


class Refused(Exception):
    """A check says no. Becomes a recorded denial; `detail` goes into its payload, `foreign` into a twin record in the operator's log."""

    def __init__(self, code: str, message: str, *, detail: JsonObject | None = None, foreign: Target | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.foreign = foreign


class Draft:
    """What is known of one call so far. `at_us` is when it was proposed, in microseconds since 1970 UTC."""

    __slots__ = (
        "acting",
        "arguments",
        "at_us",
        "caller",
        "changed",
        "closing",
        "consuming",
        "decision",
        "detail",
        "facts",
        "foreign",
        "id",
        "idempotency_key",
        "implementation",
        "instance",
        "opening",
        "preview",
        "preview_digest",
        "principals",
        "refs",
        "refused",
        "request",
        "scene",
        "spec",
        "targets",
        "tool",
        "unverified_arguments",
        "values",
        "voters",
    )

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
    ) -> None:
        self.id = call
        self.at_us = at_us
        self.acting = acting
        self.tool = tool
        self.unverified_arguments = unverified_arguments
        self.idempotency_key = idempotency_key
        self.instance = instance
        self.refused = refused  # a direct call's arguments that are not even of the function's types
        self.forget()

    def forget(self) -> None:
        """Go back to what was proposed, to be examined afresh."""
        self.scene: Scene | None = None
        self.caller: Caller | None = None
        self.principals: tuple[Principal, ...] = ()
        self.spec: ToolSpec | None = None
        self.implementation: Implementation | None = None
        self.arguments: Arguments | None = None
        self.values: Mapping[str, Any] = {}
        self.refs: tuple[EntityRef, ...] = ()
        self.targets: tuple[Target, ...] = ()
        self.facts: SessionFacts = SessionFacts()
        self.decision: Decision | None = None
        self.detail: JsonObject | None = None
        self.foreign: Target | None = None
        self.preview: tuple[Effect, ...] | None = None
        self.preview_digest: str | None = None
        self.request: Request | None = None  # the live request that this call waits on
        self.opening: Request | None = None  # a request that this hold opens
        self.closing: tuple[Request, str] | None = None  # an older request that this hold ends, and how (an approvals event)
        self.consuming: Request | None = None  # the approval that this call uses up
        self.changed: str | None = None  # why an older request no longer fits
        self.voters: tuple[str, ...] = ()
