"""What a client is told of a call that waits for people: in words for a model, and for the user in front of it.

Rules:

1. Who reads this acts on it: it says that nothing was done, what must happen, where, and what calling again does.
2. What comes from a model or an upstream stands on one line, in quotes, with nothing invisible in it. A user who is asked to confirm is
   shown the call whole or not asked: an argument that does not fit would be confirmed unseen.
3. What the caller may not read of a preview it is not told here either (`Held.preview`).
4. In a form stands no address to click on (2026-07-28, client/elicitation, safe URL handling).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from licet.approvals.standing import NeedStanding
from licet.approvals.viewed import Viewed
from licet.config import Settings
from licet.gate.results import Held
from licet.ledger.wording import listed, span, who
from licet.model import Effect, JsonObject, RequestId, RequestState
from licet.names import visible

CONFIRM: Final = "confirm"
"""The field of the form in which a user says yes."""
SHOWN_WHOLE: Final = 4_000
"""Characters of a question to a user. Dialogs of clients scroll, and nobody reads on for ever."""
EFFECTS: Final = 20
_AGAIN: Final = (
    "Once it is approved, calling again with the same arguments goes on with it; before that, or with other arguments, calling again does "
    "not help"
)


def held_for(held: Held, viewed: Viewed | None, settings: Settings, *, waited_s: float = 0) -> str:
    """What a model is told of a held call. `waited_s` is how long its client was kept waiting."""
    message = held.decision.message
    if held.request is None:
        would = f" It would change: {'; '.join(map(_change, held.preview[:EFFECTS]))}." if held.preview else ""
        return f"held: {message}. Nothing was done, and nobody can be asked: calling again will not help.{would}"
    waits = "people must decide" if viewed is None else f"{_waits_for(viewed.needs)} until {viewed.request.expires_at:%Y-%m-%d %H:%M} UTC"
    waited = f" Nobody has decided within {span(waited_s)}." if waited_s else ""
    return f"held: {message}. Nothing was done.{waited} Request `{held.request}`: {waits}, {_where(settings, held.request)}. {_AGAIN}"


def ended(held: Held, state: RequestState) -> str:
    """What a model is told where the request that its call waited for is over."""
    what = {
        RequestState.EXPIRED: "has expired: nobody had decided by then",
        RequestState.WITHDRAWN: "was withdrawn",
        RequestState.CONSUMED: "was approved, and the approval used by the same call, made elsewhere",
    }.get(state, f"is {state}")
    return f"held: {held.decision.message}. Nothing was done. Request `{held.request}` {what}. Calling again asks people anew"


def notice(viewed: Viewed, settings: Settings) -> JsonObject:
    """An elicitation that tells a user that the call waits, and asks nothing but whether to wait."""
    host = _host(settings)
    where = f"on {host}, or with `licet approvals show {viewed.request.id}`" if host else f"with `licet approvals show {viewed.request.id}`"
    message = (
        f"{_sentence(viewed)}. {_waits_for(viewed.needs).capitalize()}. They decide {where}, request {viewed.request.id}. "
        "Accept to wait for them; nothing is done until they have decided"
    )
    return _form(message, {})


def question(held: Held, viewed: Viewed) -> JsonObject | None:
    """An elicitation that asks a user to confirm exactly this call; None where it cannot be shown whole (rule 2)."""
    asked = viewed.asked
    lines = [
        f"{_sentence(viewed)}. Is it to be done?",
        f"arguments: {_shown(asked.arguments)}",
        *[f"changes: {_change(effect)}" for effect in held.preview or ()],
        *[
            f"why you are asked: {visible(need.need.reason)}"
            for need in viewed.needs
            if need.need.kind == "confirmation" and need.need.reason
        ],
    ]
    if asked.reason:
        lines.append(f"the agent says (which grants nothing): {_shown(asked.reason)}")
    lines.append(f"Your answer is recorded as yours, for this call alone, once; request {viewed.request.id}")
    message = "\n".join(lines)
    if len(message) > SHOWN_WHOLE:
        return None
    yes = {"type": "boolean", "title": "Yes, do it", "description": "Exactly this call, once", "default": False}
    return _form(message, {CONFIRM: yes})


def _form(message: str, properties: JsonObject) -> JsonObject:
    schema: JsonObject = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = list(properties)
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def _sentence(viewed: Viewed) -> str:
    request = viewed.request
    targets = [visible(str(target.ref)) for target in viewed.asked.targets]
    on = f" on {', '.join(targets)}" if targets else ""
    return f"{who(request.agent, request.service, request.user)} asks to use `{request.tool}`{on}"


def _waits_for(needs: Sequence[NeedStanding]) -> str:
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


def _host(settings: Settings) -> str | None:
    url = settings.notify.link or settings.server.public_url
    return None if url is None else urlsplit(url).hostname


def _change(effect: Effect) -> str:
    before = _shown(effect.before) if effect.has_before else "?"
    return f"{visible(effect.target)} {visible(effect.field)}: {before} -> {_shown(effect.after)}"


def _shown(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False))
