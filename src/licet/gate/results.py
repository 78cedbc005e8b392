"""What a governed call gives back: `Ok`, `Denied`, `Held` or `Failed`. Values, not exceptions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from msgspec import Struct

from licet.errors import CallDenied, CallFailed, CallHeld
from licet.model import CallId, Decision, Effect, OutcomeStatus, Receipt, RequestId


class Ok(Struct, frozen=True, kw_only=True):
    """The tool ran, its outcome is durable, and this is what it returned.

    `replayed` is true where an idempotency key found an earlier outcome: nothing ran, and `value` is the recorded JSON value.
    `effects` are those that the tool reported, as they were recorded. `as_previewed` says whether they are the ones that people approved;
    None where that cannot be said. `repeats` is the call whose outcome a replay gives.
    """

    value: Any
    call: CallId
    decision: Decision
    receipt: Receipt
    replayed: bool = False
    repeats: CallId | None = None
    effects: tuple[Effect, ...] = ()
    as_previewed: bool | None = None

    def unwrap(self) -> Any:
        """The value that the tool returned."""
        return self.value


class Denied(Struct, frozen=True, kw_only=True):
    """The call was denied and nothing ran. The same call will be denied again.

    `receipt` is None where the denial could not be recorded at once (the log is down, or the same denial was only counted).
    """

    decision: Decision
    call: CallId
    receipt: Receipt | None

    def unwrap(self) -> Any:
        """Raises `CallDenied`."""
        raise CallDenied(self.decision, self.call, self.receipt)


class Held(Struct, frozen=True, kw_only=True):
    """People must decide first. The same call, made again once they have, resumes.

    `request` is None where nobody can be asked (`preview_only`). `waited_s` is how many seconds the caller has waited for people.
    """

    decision: Decision
    call: CallId
    request: RequestId | None
    receipt: Receipt | None
    preview: tuple[Effect, ...] | None = None
    waited_s: float = 0.0

    def unwrap(self) -> Any:
        """Raises `CallHeld`."""
        raise CallHeld(self.decision, self.call, self.request, self.receipt)


class Failed(Struct, frozen=True, kw_only=True):
    """The call was allowed and did not end well.

    `status` is the outcome's, `code` says more about it (an exception's class, `outcome_not_recorded` ...). `executed` says whether the
    tool was started; `retry` whether the same call may be made again without a second effect. `replayed` is true where an idempotency key
    found an earlier outcome, that of the call `repeats`, and nothing ran now. `error` is what the tool raised, where it raised. `receipt`
    is None where the outcome could not be made durable: then the result is withheld. `effects` and `as_previewed` are as in `Ok`: a tool
    that has failed may have changed something.
    """

    message: str
    code: str
    call: CallId
    executed: bool
    retry: bool
    receipt: Receipt | None
    status: OutcomeStatus
    replayed: bool = False
    repeats: CallId | None = None
    error: BaseException | None = None
    effects: tuple[Effect, ...] = ()
    as_previewed: bool | None = None

    def unwrap(self) -> Any:
        """Raises what the tool raised, or `CallFailed`."""
        if self.error is not None:
            raise self.error
        raise CallFailed(self.message, self.call, executed=self.executed, retry=self.retry)


Result: TypeAlias = Ok | Denied | Held | Failed


class Permitted(Struct, frozen=True, kw_only=True):
    """Whoever proposed the call may execute it now, once, with exactly these `arguments` (canonical JSON), and report how it ended.

    Its intent is durable. What is not reported until `report_by` counts as a call of which nobody saw the end.
    """

    call: CallId
    decision: Decision
    receipt: Receipt
    arguments: bytes
    report_by: datetime


Proposed: TypeAlias = Result | Permitted
"""What comes of a call that somebody else executes. `Ok` and `Failed` are those of an earlier one with the same idempotency key."""
