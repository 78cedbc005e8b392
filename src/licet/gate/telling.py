"""What a model is told of a governed call that gave it nothing: whether calling again can help, and what must happen first.

Rules:

1. Who reads this acts on it: it says what was done, why nothing more, and what calling again does.
2. What comes from a model or an upstream stands on one line, in quotes, with nothing invisible in it.
3. What the caller may not read of a preview it is not told here either (`Held.preview`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from licet.approvals.standing import NeedStanding
from licet.approvals.viewed import Viewed
from licet.config import Settings
from licet.gate.results import Denied, Failed, Held
from licet.ledger.wording import listed, span
from licet.model import Effect, RequestId, RequestState
from licet.names import visible

EFFECTS: Final = 20
"""Of a preview, that are told."""
_ONCE: Final = (
    "Once it is approved, calling again with the same arguments goes on with it; before that, or with other arguments, calling again does "
    "not help"
)
_NEVER: Final = "Calling again with the same arguments will not help"
_ANEW: Final = "Nothing was done. Calling again asks people anew"
_AGAIN: Final = {
    "approval_used": _ANEW,
    "expired": _ANEW,
    "withdrawn": _ANEW,
    "contention": "Nothing was done, and the same call may be made again",
    "too_many_open": "Calling again helps once some of them are decided, withdrawn or over",
    "frozen": "Calling again will not help until the freeze is lifted",
}
"""Denials that are not for ever, and what calling again does then."""
_HELP: Final = {
    True: "Nothing was done: the same call may be made again",
    False: "It may have been done: look before calling again",
}

_AGAIN_FAILED: Final = {"definition_drift": "Nothing was done. Calling again will not help until somebody accepts what is offered now"}
"""Calls that were permitted and not made, where making them again does not help by itself."""


def denied_for(denied: Denied, why: str | None = None) -> str:
    """What a model is told of a denial. `why` stands in for the decision's message, where that is not the model's to know."""
    code, message = denied.decision.code, why or denied.decision.message
    if code == "log_unavailable":
        return f"{message}; nothing was done, try again later"
    return f"denied ({code}): {message}. {_AGAIN.get(code, _NEVER)}"


def failed_for(failed: Failed, why: str | None = None) -> str:
    """What a model is told of a call that did not end well. `why` stands in for the failure's message."""
    return f"{why or failed.message}. {_AGAIN_FAILED.get(failed.code, _HELP[failed.retry])}"


def held_for(held: Held, viewed: Viewed | None, settings: Settings, *, waited_s: float = 0) -> str:
    """What a model is told of a held call. `waited_s` is how long its client was kept waiting."""
    message = held.decision.message
    if held.request is None:
        would = f" It would change: {'; '.join(map(change, held.preview[:EFFECTS]))}." if held.preview else ""
        return f"held: {message}. Nothing was done, and nobody can be asked: calling again will not help.{would}"
    waits = "people must decide" if viewed is None else f"{waits_for(viewed.needs)} until {viewed.request.expires_at:%Y-%m-%d %H:%M} UTC"
    waited = f" Nobody has decided within {span(waited_s)}." if waited_s else ""
    return f"held: {message}. Nothing was done.{waited} Request `{held.request}`: {waits}, {_where(settings, held.request)}. {_ONCE}"


def ended(held: Held, state: RequestState) -> str:
    """What a model is told where the request that its call waited for is over."""
    what = {
        RequestState.EXPIRED: "has expired: nobody had decided by then",
        RequestState.WITHDRAWN: "was withdrawn",
        RequestState.CONSUMED: "was approved, and the approval used by the same call, made elsewhere",
    }.get(state, f"is {state}")
    return f"held: {held.decision.message}. Nothing was done. Request `{held.request}` {what}. Calling again asks people anew"


def waits_for(needs: Sequence[NeedStanding]) -> str:
    """For whom a request waits, as the end of a sentence."""
    missing = [_need(need) for need in needs if need.missing > 0]
    return f"it waits for {listed(missing)}" if missing else "it waits for people"


def _need(need: NeedStanding) -> str:
    if need.need.kind == "confirmation":
        return "the confirmation of the user whom the call is made for"
    return f"{need.missing} {'more ' if need.voters else ''}of `{need.need.group}`"


def _where(settings: Settings, request: RequestId) -> str:
    shown = f"with `licet approvals show {request}`"
    if settings.notify.link is not None:
        return f"which is decided at {settings.notify.link.replace('{request}', quote(request, safe=''))} or {shown}"
    return (
        f"which is decided {shown}"
        if settings.server.public_url is None
        else f"which is decided at {settings.server.public_url} or {shown}"
    )


def change(effect: Effect) -> str:
    """One effect, on one line."""
    before = shown(effect.before) if effect.has_before else "?"
    return f"{visible(effect.target)} {visible(effect.field)}: {before} -> {shown(effect.after)}"


def shown(value: Any) -> str:
    """A value of somebody else's, on one line."""
    return visible(json.dumps(value, ensure_ascii=False))
