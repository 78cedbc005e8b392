"""What the user in front of a client is asked about a call that waits for people. What a model is told of it: `gate/telling.py`.

Rules:

1. Who reads this acts on it: it says that nothing was done, what must happen, where, and what calling again does.
2. What comes from a model or an upstream stands on one line, in quotes, with nothing invisible in it. A user who is asked to confirm is
   shown the call whole or not asked: an argument that does not fit would be confirmed unseen.
3. What the caller may not read of a preview it is not told here either (`Held.preview`).
4. In a form stands no address to click on (2026-07-28, client/elicitation, safe URL handling).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from licet.approvals.viewed import Viewed
from licet.config import Settings
from licet.gate.results import Held
from licet.gate.telling import change, shown, waits_for
from licet.ledger.wording import who
from licet.model import JsonObject
from licet.names import visible

CONFIRM: Final = "confirm"
"""The field of the form in which a user says yes."""
SHOWN_WHOLE: Final = 4_000
"""Characters of a question to a user. Dialogs of clients scroll, and nobody reads on for ever."""


def notice(viewed: Viewed, settings: Settings) -> JsonObject:
    """An elicitation that tells a user that the call waits, and asks nothing but whether to wait."""
    host = _host(settings)
    where = f"on {host}, or with `licet approvals show {viewed.request.id}`" if host else f"with `licet approvals show {viewed.request.id}`"
    message = (
        f"{_sentence(viewed)}. {waits_for(viewed.needs).capitalize()}. They decide {where}, request {viewed.request.id}. "
        "Accept to wait for them; nothing is done until they have decided"
    )
    return _form(message, {})


def question(held: Held, viewed: Viewed) -> JsonObject | None:
    """An elicitation that asks a user to confirm exactly this call; None where it cannot be shown whole (rule 2)."""
    asked = viewed.asked
    lines = [
        f"{_sentence(viewed)}. Is it to be done?",
        f"arguments: {shown(asked.arguments)}",
        *[f"changes: {change(effect)}" for effect in held.preview or ()],
        *[
            f"why you are asked: {visible(need.need.reason)}"
            for need in viewed.needs
            if need.need.kind == "confirmation" and need.need.reason
        ],
    ]
    if asked.reason:
        lines.append(f"the agent says (which grants nothing): {shown(asked.reason)}")
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


def _host(settings: Settings) -> str | None:
    url = settings.notify.link or settings.server.public_url
    return None if url is None else urlsplit(url).hostname
