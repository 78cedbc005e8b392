"""Step 5: a held call finds its request, its votes and its preview; what people have decided is matched against what is asked now.

Rules:

1. The key binds a request to the exact call: tenant, caller, tool and its definition, arguments, targets with their tenant and environment,
   environment. Session and trace stay out, so a restarted agent that calls again finds its request.
2. Nothing a vote covers is wider than what the voter saw: obligations, policy texts and preview are compared with those of now.
3. Votes are counted under the directory of now, at consumption.
4. What no longer fits is held anew, and the hold says what changed.
5. An approval is used only if the log bears it out: request and votes are held against their records first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from licet.approvals.attest import attest
from licet.approvals.standing import find_unmeetable, standing
from licet.approvals.states import Event
from licet.errors import IntegrityBroken
from licet.gate.awaited import refuse_ended
from licet.gate.draft import Draft, Refused
from licet.gate.scene import Scene
from licet.gate.steps import FindRequest, Preview, Step
from licet.ledger.record import new_id
from licet.model import LIVE_STATES, Effect, JsonObject, Obligation, Request, RequestId, RequestState
from licet.policy.obligations import discharge, lifetime
from licet.store.contract import Dossier

VALUE_SHOWN_CHARS = 60

_encode = msgspec.json.Encoder(order="deterministic").encode


def oblige(draft: Draft, scene: Scene, now: datetime, expires_after: timedelta, *, run_preview: bool) -> Generator[Step, Any, None]:
    """Fill the draft's request, preview and, where people have approved, its decision; or raise `Refused`."""
    assert draft.decision is not None
    if run_preview:
        yield from _preview(draft, scene)
    if any(obligation.kind == "preview_only" for obligation in draft.decision.obligations):
        return
    key = request_key(draft, scene)
    try:
        found: Dossier | None = yield FindRequest(_tenant(draft), key)
    except IntegrityBroken as broken:
        raise _not_in_log(broken) from broken
    if found is not None:
        if draft.awaited is not None:
            refuse_ended(draft.awaited, found.request, now)
        if found.request.state is RequestState.APPROVED and now < found.request.expires_at:
            _attest(found)
        _match(draft, scene, found, now, preview_known=run_preview)
    if draft.request is None and draft.consuming is None:
        draft.opening = _new_request(draft, key, now, expires_after)
        _refuse_unmeetable(draft.opening, scene)


def _refuse_unmeetable(request: Request, scene: Scene) -> None:
    """A request that nobody could ever meet is a denial: it would only wait."""
    need = find_unmeetable(request, scene.directory)
    if need is None:
        return
    if need.kind == "confirmation":
        message = f"`{need.policy}` asks the user for whom the agent acts to confirm, and there is none who can"
    else:
        message = f"`{need.policy}` asks for the approval of {need.count} of `{need.group}`, and there are not so many who may give it"
    raise Refused("nobody_can_approve", message)


def request_key(draft: Draft, scene: Scene) -> str:
    """The digest (SHA-256, hex) of the exact call."""
    assert draft.caller is not None
    assert draft.spec is not None
    assert draft.arguments is not None
    caller = draft.caller
    exact = (
        (caller.tenant, caller.agent, caller.service, caller.user),
        (draft.spec.name, draft.spec.definition),
        draft.arguments.json.decode(),
        [(target.type, target.id, target.tenant, target.environment) for target in draft.targets],
        scene.environment,
    )
    return hashlib.sha256(_encode(exact)).hexdigest()


def _tenant(draft: Draft) -> str:
    assert draft.caller is not None
    return draft.caller.tenant


def _preview(draft: Draft, scene: Scene) -> Generator[Step, Any, None]:
    """Ask the tool what it would change. A preview that fails refuses the call: nobody can decide on what they cannot see."""
    assert draft.spec is not None
    assert draft.arguments is not None
    tool = scene.previews.get(draft.spec.name)
    if tool is None:
        return
    ran = yield Preview(tool, draft.instance, tool.kwargs(draft.arguments), draft.spec.timeout_s)
    if ran.error is not None and not isinstance(ran.error, Exception | GeneratorExit):  # the latter would pass for the pipeline's own end
        raise ran.error
    if ran.status != "ok":
        kind = type(ran.error).__name__ if ran.error is not None else ran.status
        raise Refused("preview_failed", f"the preview of `{draft.spec.name}` failed ({kind}), so nobody can see what the call would change")
    try:
        draft.preview = tuple(msgspec.convert(msgspec.to_builtins(effect), Effect) for effect in ran.value)
        draft.preview_digest = hashlib.sha256(_encode(draft.preview)).hexdigest()
    except (TypeError, ValueError) as error:
        raise Refused("preview_failed", f"the preview of `{draft.spec.name}` did not return a list of effects") from error


def _attest(found: Dossier) -> None:
    """An approval that the log does not bear out is nobody's: rows can be edited by whoever can write the database."""
    try:
        attest(found)
    except IntegrityBroken as broken:
        raise _not_in_log(broken, {"request": found.request.id}) from broken


def _not_in_log(broken: IntegrityBroken, detail: JsonObject | None = None) -> Refused:
    step = "; run `licet audit verify`" if "audit verify" not in str(broken) else ""
    return Refused("approval_not_in_log", f"the approval of this call is not what the log says: {broken}{step}", detail=detail)


def _match(draft: Draft, scene: Scene, found: Dossier, now: datetime, *, preview_known: bool) -> None:
    """What an earlier request with the same key means for this call."""
    request, votes = found.request, found.votes
    if request.state is RequestState.REJECTED and now < request.expires_at:
        until = request.expires_at.strftime("%Y-%m-%d %H:%M UTC")
        by = ", ".join(f"`{vote.voter}`" for vote in votes if vote.verdict == "reject")
        raise Refused("rejected", f"{by} rejected exactly this call; it can be asked again after {until}", detail={"request": request.id})
    if request.state not in LIVE_STATES:
        return
    if now >= request.expires_at:
        draft.closing = (request, Event.EXPIRE)
        return
    assert draft.decision is not None
    changed = _what_changed(draft, request, preview_known=preview_known)
    stands = standing(request, votes, scene.directory)
    if changed is None and request.state is RequestState.APPROVED and not stands.approved:
        changed = "a vote that it rested on no longer counts"
    if changed is not None:
        draft.closing = (request, Event.SUPERSEDE)
        draft.changed = changed
        draft.decision = replace(draft.decision, message=f"held anew, since {changed}: {draft.decision.message}")
    elif request.state is RequestState.APPROVED:
        draft.consuming = request
        draft.voters = stands.voters
        draft.decision = discharge(draft.decision, {(o.policy, o.principal) for o in draft.decision.obligations})
    else:
        draft.request = request


def _what_changed(draft: Draft, request: Request, *, preview_known: bool) -> str | None:
    """Why the request does not cover this call as it is decided now; None where it does."""
    assert draft.decision is not None
    asked = {_asks(obligation) for obligation in request.obligations}
    beyond = [o.policy for o in draft.decision.obligations if _asks(o) not in asked]
    if beyond:
        return f"policy `{beyond[0]}` now asks for something that was not decided on"
    if preview_known and draft.preview_digest != request.preview_digest:
        return _difference(request, draft.preview or ())
    return None


class _Voted(Struct):
    """The part of a request's summary that says what was voted on."""

    preview: tuple[Effect, ...] | None = None


def _difference(request: Request, now: tuple[Effect, ...]) -> str:
    """The first effect that nobody has seen; where there is none, some are gone."""
    seen = msgspec.json.decode(request.summary, type=_Voted).preview or ()
    for effect in now:
        if effect not in seen:
            return f"the call would now change `{effect.field}` of {effect.target} from {_shown(effect.before)} to {_shown(effect.after)}"
    return "the call would now change less than it did"


def _shown(value: Any) -> str:
    text = _encode(value).decode()
    return f"`{text if len(text) <= VALUE_SHOWN_CHARS else text[:VALUE_SHOWN_CHARS] + '...'}`"


def _asks(obligation: Obligation) -> tuple[str, ...]:
    return (
        obligation.kind,
        obligation.policy,
        obligation.policy_digest,
        obligation.principal,
        str(obligation.count),
        obligation.group or "",
        str(obligation.expires_s or ""),
        obligation.separation or "",
    )


def _new_request(draft: Draft, key: str, now: datetime, expires_after: timedelta) -> Request:
    assert draft.decision is not None
    assert draft.caller is not None
    assert draft.arguments is not None
    caller = draft.caller
    summary = {
        "arguments": Raw(draft.arguments.json),
        "targets": draft.targets,
        "preview": draft.preview,
        "reason": draft.acting.reason,
        "changed": draft.changed,
    }
    return Request(
        id=RequestId(new_id()),
        key=key,
        tenant=caller.tenant,
        tool=draft.tool,
        agent=caller.agent,
        service=caller.service,
        user=caller.user,
        call=draft.id,
        state=RequestState.OPEN,
        opened_at=now,
        expires_at=now + lifetime(draft.decision.obligations, expires_after),
        obligations=draft.decision.obligations,
        preview_digest=draft.preview_digest,
        summary=Raw(msgspec.json.encode(summary)),
    )
