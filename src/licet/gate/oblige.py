"""Step 5: a held call finds its request, its votes and its preview; what people have decided is matched against what is asked now.

Rules:

1. The key binds a request to the exact call: tenant, caller, tool and its definition, arguments, targets with their tenant and environment,
   environment; of an undo, the call that it takes back. Session and trace stay out, so a restarted agent that calls again finds its
   request.
2. Nothing a vote covers is wider than what the voter saw: obligations, policy texts and preview are compared with those of now. What was
   decided without a passkey is held anew where one is needed now.
3. Votes are counted under the directory of now, at consumption.
4. What no longer fits is held anew, and the hold says what changed.
5. An approval is used only if the log bears it out: request and votes are held against their records first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from licet.approvals.attest import attest
from licet.approvals.standing import find_unmeetable, standing
from licet.approvals.states import Event
from licet.errors import IntegrityBroken
from licet.gate.awaited import refuse_ended
from licet.gate.draft import Draft, PreviewedBy, Refused
from licet.gate.grounds import Grounds
from licet.gate.previewing import find_difference, is_told_still, preview
from licet.gate.recorder import digest_of_use, log_of, scope_of
from licet.gate.scene import Scene
from licet.gate.steps import FindKey, FindRequest, Step
from licet.ledger.record import new_id
from licet.model import LIVE_STATES, Effect, JsonObject, Obligation, Request, RequestId, RequestState, Target
from licet.policy.obligations import discharge, lifetime
from licet.store.contract import Dossier

_encode = msgspec.json.Encoder(order="deterministic").encode


def oblige(draft: Draft, grounds: Grounds, *, run_preview: bool) -> Generator[Step, Any, None]:
    """Fill the draft's request, preview and, where people have approved, its decision; or raise `Refused`."""
    assert draft.decision is not None
    if any(obligation.kind == "preview_only" for obligation in draft.decision.obligations):
        if run_preview:
            yield from preview(draft, grounds)
        return
    key = exact_key(draft)
    try:
        found: Dossier | None = yield FindRequest(_tenant(draft), key)
    except IntegrityBroken as broken:
        raise _not_in_log(broken) from broken
    if found is not None:
        if found.request.state is RequestState.CONSUMED and (yield from is_repeat(draft)):
            return  # used meanwhile by this very call, made elsewhere with the same key: nobody is asked again
        yield from _match(draft, grounds, found, run_preview=run_preview)
    if draft.request is None and draft.consuming is None:
        opening = _new_request(draft, key, grounds)
        _refuse_unmeetable(opening, grounds.scene)
        if run_preview and draft.preview is None:
            yield from preview(draft, grounds)
        draft.opening = replace(opening, preview_digest=draft.preview_digest, summary=_summary(draft))


def is_repeat(draft: Draft) -> Generator[Step, Any, bool]:
    """Whether the call's idempotency key is taken: then nobody is asked to decide on it again, and no preview runs."""
    if draft.idempotency_key is None:
        return False
    assert draft.caller is not None
    return (yield FindKey(log_of(draft), scope_of(draft), draft.idempotency_key, digest_of_use(draft))) is not None


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


def exact_key(draft: Draft) -> str:
    """The digest (SHA-256, hex) of the exact call: an undo's has what it takes back in it, that of a plan's step the plan and its place."""
    assert draft.scene is not None
    assert draft.caller is not None
    assert draft.spec is not None
    assert draft.arguments is not None
    caller = draft.caller
    exact = (
        (caller.tenant, caller.agent, caller.service, caller.user),
        (draft.spec.name, draft.spec.definition),
        draft.arguments.json.decode(),
        [(target.type, target.id, target.tenant, target.environment) for target in draft.targets],
        draft.scene.environment,
    )
    key = hashlib.sha256(_encode(exact if draft.undoes is None else (*exact, draft.undoes))).hexdigest()
    planned = draft.planned
    return key if planned is None else hashlib.sha256(_encode((key, planned.key, planned.step))).hexdigest()


def _tenant(draft: Draft) -> str:
    assert draft.caller is not None
    return draft.caller.tenant


def _attest(found: Dossier) -> None:
    """An approval that the log does not bear out is nobody's: rows can be edited by whoever can write the database."""
    try:
        attest(found)
    except IntegrityBroken as broken:
        raise _not_in_log(broken, {"request": found.request.id}) from broken


def _not_in_log(broken: IntegrityBroken, detail: JsonObject | None = None) -> Refused:
    step = "; run `licet audit verify`" if "audit verify" not in str(broken) else ""
    return Refused("approval_not_in_log", f"the approval of this call is not what the log says: {broken}{step}", detail=detail)


def _match(draft: Draft, grounds: Grounds, found: Dossier, *, run_preview: bool) -> Generator[Step, Any, None]:
    """What an earlier request with the same key means for this call."""
    request, votes, now = found.request, found.votes, grounds.now
    if draft.awaited is not None:
        refuse_ended(draft.awaited, request, now)
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
    if request.state is RequestState.APPROVED:
        _attest(found)
    changed = _run_that_ended(draft, request) or _what_is_asked_beyond(draft, request)
    stands = standing(request, votes, grounds.scene.directory)
    if changed is None and request.state is RequestState.OPEN:
        yield from _wait_on(draft, grounds, request)
        return
    if changed is None and not stands.approved:
        changed = "a vote that it rested on no longer counts"
    if changed is None and run_preview:
        yield from preview(draft, grounds)
        changed = find_difference(request, draft)
    if changed is not None:
        draft.closing = (request, Event.SUPERSEDE)
        draft.changed = changed
        draft.decision = replace(draft.decision, message=f"held anew, since {changed}: {draft.decision.message}")
        return
    draft.consuming, draft.ballots = request, found.ballots
    draft.voters = stands.voters
    draft.decision = discharge(draft.decision, {(o.policy, o.principal) for o in draft.decision.obligations})


def _wait_on(draft: Draft, grounds: Grounds, request: Request) -> Generator[Step, Any, None]:
    """The call waits. Its preview was seen when that was opened, and is run again before it runs: nobody needs that for each retry."""
    draft.request = request
    draft.preview, draft.previewed_by = _shown_in(request)
    if draft.previewed_by == "tool" and not (yield from is_told_still(draft, grounds)):
        draft.preview = None


def _run_that_ended(draft: Draft, request: Request) -> str | None:
    """Why a request of the same step is none of this run of the plan; None where it is."""
    planned = draft.planned
    return None if planned is None or request.plan == planned.plan else "the run of the plan that people were asked about has ended"


def _what_is_asked_beyond(draft: Draft, request: Request) -> str | None:
    """Why the request does not cover what the policies ask for now; None where it does."""
    assert draft.decision is not None
    if needs_passkey(draft) and request.passkey is not True:
        return "approvals of this tool are signed with a passkey now"
    asked = {_asks(obligation) for obligation in request.obligations}
    beyond = [o.policy for o in draft.decision.obligations if _asks(o) not in asked]
    return f"policy `{beyond[0]}` now asks for something that was not decided on" if beyond else None


class _Shown(Struct):
    """The part of a request's summary that is its preview."""

    preview: tuple[Effect, ...] | None = None
    previewed_by: PreviewedBy | None = None


_decode_shown = msgspec.json.Decoder(_Shown).decode


def _shown_in(request: Request) -> tuple[tuple[Effect, ...] | None, PreviewedBy | None]:
    shown = _decode_shown(request.summary)
    return shown.preview, shown.previewed_by


def needs_passkey(draft: Draft) -> bool:
    """Whether approvals of this call are signed with a passkey, by what its tool is now (`approvals.passkey_for`)."""
    assert draft.scene is not None
    assert draft.spec is not None
    spec = draft.spec
    classes = {*spec.touches, spec.access, *(("write",) if spec.access == "destructive" else ())}
    return not classes.isdisjoint(draft.scene.settings.approvals.passkey_for)


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


def _new_request(draft: Draft, key: str, grounds: Grounds) -> Request:
    assert draft.decision is not None
    assert draft.caller is not None
    assert draft.arguments is not None
    caller = draft.caller
    now, planned = grounds.now, draft.planned
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
        expires_at=now + lifetime(draft.decision.obligations, grounds.expires_after),
        obligations=draft.decision.obligations,
        preview_digest=None,
        summary=Raw(b"{}"),
        plan=planned.plan if planned is not None else None,
        step=planned.step if planned is not None else 0,
        steps=planned.steps if planned is not None else 0,
        passkey=True if needs_passkey(draft) else UNSET,
    )


def _targets_shown(draft: Draft) -> tuple[Target, ...]:
    """The targets; of another tenant's no attribute, which the caller's log does not have. Its tenant stays: its secret seals it."""
    return tuple([replace(target, attributes={}) if target in draft.elsewhere else target for target in draft.targets])


def _summary(draft: Draft) -> Raw:
    """What an approver is shown, as JSON."""
    assert draft.arguments is not None
    summary = {
        "arguments": Raw(draft.arguments.json),
        "targets": _targets_shown(draft),
        "preview": draft.preview,
        "previewed_by": draft.previewed_by,
        "reason": draft.acting.reason,
        "changed": draft.changed,
        "undoes": draft.undoes,
    }
    return Raw(msgspec.json.encode(summary))
