"""What a held call would change: computed by the tool's preview, or shown from its arguments where it has none.

Rules:

1. A preview is a governed read: a tool of its own in the catalog (`NAME.preview`), decided by policy under that name for the same caller,
   arguments and targets, and recorded, allowed or not, before anybody sees what it says.
2. It must be allowed, without asking anybody. What may not be previewed cannot be decided on by people: the call is denied.
3. A preview that fails, returns anything but effects, or has only a part of what an upstream was to say, denies the call: nobody can
   decide on what they cannot see.
4. Where a tool has no preview, its arguments are held against the attributes of its targets that have the same names, and the digest
   covers all attributes of the targets: who approves it has seen them.
5. Nobody asked whether the caller may read those attributes: what it is told has none of their values (`told_to_caller`). Those of another
   tenant's target are shown to nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.catalog.secret_paths import may_hold, parse
from licet.errors import GateClosed, StoreError
from licet.gate import checks
from licet.gate.conclude import outcome_of
from licet.gate.draft import Draft, Refused
from licet.gate.grounds import Grounds
from licet.gate.steps import Append, Preview, Ran, Step
from licet.gate.undoing import effects_in
from licet.ledger.record import microseconds, new_id
from licet.ledger.seal import Filing
from licet.model import CallId, Decision, Effect, JsonObject, Outcome, Request, Target

VALUE_SHOWN_CHARS = 60

_encode = msgspec.json.Encoder(order="deterministic").encode


def preview(draft: Draft, grounds: Grounds) -> Generator[Step, Any, None]:
    """Fill the draft's preview, who promises it, and its digest (SHA-256, hex); or raise `Refused`. The read is durable in the log."""
    assert draft.spec is not None
    tool = grounds.scene.previews.get(draft.spec.name)
    if tool is None:
        draft.preview, draft.previewed_by = _from_arguments(draft), "arguments"
        draft.preview_digest = _digest((draft.preview, [(target.ref, target.attributes) for target in draft.targets]))
        return
    assert draft.arguments is not None
    reading = _reading(draft, grounds, tool.spec.name)
    decision = yield from _decide(reading, grounds)
    if decision.verdict != "allow":
        yield from _record_denial(draft, reading, grounds)
        message = f"the call needs people, and what it would change may not be shown: `{reading.tool}` is not allowed: {decision.message}"
        raise Refused("preview_denied", message, detail={"preview": reading.id})
    ran: Ran = yield Preview(tool, draft.instance, tool.kwargs(draft.arguments), tool.spec.timeout_s)
    outcome = yield from _record(draft, reading, grounds, ran)
    draft.preview, draft.previewed_by = _effects(draft, ran.value, outcome), "tool"
    draft.preview_digest = _digest(draft.preview)


def is_told_still(draft: Draft, grounds: Grounds) -> Generator[Step, Any, bool]:
    """Whether the caller, who was told the tool's preview when the request was opened, may be told it under the policies of now."""
    assert draft.spec is not None
    tool = grounds.scene.previews.get(draft.spec.name)
    if tool is None:
        return False
    decision = yield from _decide(_reading(draft, grounds, tool.spec.name), grounds)
    return decision.verdict == "allow"


def find_difference(request: Request, draft: Draft) -> str | None:
    """What has changed since people were shown the preview, in words; None where nothing has."""
    if draft.preview_digest == request.preview_digest:
        return None
    voted = _decode_voted(request.summary)
    seen, now = voted.preview or (), draft.preview or ()
    for effect in now:
        if effect not in seen and draft.previewed_by != "tool":
            return f"`{effect.field}` of {effect.target}, which the call would change, is not what it was"
        if effect not in seen:
            return f"the call would now change `{effect.field}` of {effect.target} from {_shown(effect.before)} to {_shown(effect.after)}"
    if voted.previewed_by != draft.previewed_by:
        return "what the call would change is now worked out in another way"
    if len(now) < len(seen):
        return "the call would now change less than it did"
    return _changed_attribute(voted.targets, draft.targets)


def told_to_caller(draft: Draft) -> tuple[Effect, ...] | None:
    """The preview without what nobody allowed the caller to read: of one from the arguments, what stood there before."""
    if draft.preview is None or draft.previewed_by == "tool" or draft.undoes is not None:
        return draft.preview
    return tuple([replace(effect, before=None, before_unknown=True) for effect in draft.preview])


def _reading(draft: Draft, grounds: Grounds, name: str) -> Draft:
    """The preview as a call of its own: same caller, same arguments, same targets, already resolved."""
    assert draft.arguments is not None
    reading = Draft(CallId(new_id()), microseconds(grounds.now), draft.acting, name, draft.arguments.json)
    reading.scene, reading.caller, reading.principals = grounds.scene, draft.caller, draft.principals
    reading.spec = grounds.scene.catalog.find_tool(name)
    reading.arguments, reading.refs = draft.arguments, draft.refs
    reading.targets, reading.elsewhere = draft.targets, draft.elsewhere
    if reading.spec is None:
        raise Refused("preview_failed", f"`{name}` is not in the catalog, so nobody can see what the call would change")
    return reading


def _decide(reading: Draft, grounds: Grounds) -> Generator[Step, Any, Decision]:
    """What policy says of the read; one that is frozen under its own name is denied, and so is one that people would have to allow."""
    try:
        yield from checks.refuse_frozen(reading, grounds.scene)
        checks.refuse_drifted(grounds.scene, reading.tool)
        checks.decide(reading, grounds.scene, grounds.sessions, grounds.now)
    except Refused as refused:
        reading.detail = refused.detail
        reading.decision = Decision(verdict="deny", code=refused.code, message=refused.message)
    assert reading.decision is not None
    if reading.decision.verdict == "hold":
        reading.decision = replace(reading.decision, verdict="deny")
    return reading.decision


def _record_denial(draft: Draft, reading: Draft, grounds: Grounds) -> Generator[Step, Any, None]:
    """The denial is in the log, or counted where it repeats."""
    assert grounds.recorder is not None
    reading.detail = {**(reading.detail or {}), "previews": draft.id}
    if grounds.admit is None or grounds.admit(reading):
        yield from _append(grounds.recorder.denial(reading, microseconds(grounds.now)))


def _append(filing: Filing) -> Generator[Step, Any, None]:
    try:
        yield Append(filing)
    except (StoreError, GateClosed) as error:
        message = f"the audit log cannot be written, so nothing was shown or done: {error}"
        raise Refused("log_unavailable", message) from error


def _record(draft: Draft, reading: Draft, grounds: Grounds, ran: Ran) -> Generator[Step, Any, Outcome]:
    """The read and its outcome, durable; then whatever must not be swallowed goes on."""
    assert grounds.recorder is not None
    assert reading.spec is not None
    outcome = outcome_of(ran, reading.spec, keep=True)
    detail: JsonObject = {**(outcome.detail or {}), "previews": draft.id}
    yield from _append(grounds.recorder.merged(reading, microseconds(grounds.now), replace(outcome, detail=detail)))
    if ran.error is not None and not isinstance(ran.error, Exception | GeneratorExit):  # the latter would pass for the pipeline's own end
        raise ran.error
    return outcome


def _effects(draft: Draft, returned: Any, outcome: Outcome) -> tuple[Effect, ...]:
    """What the preview returned, if that is what was recorded: of an iterator nothing was, and its code would run only now."""
    if outcome.status != "ok" and outcome.code != "result_not_json":
        kind = outcome.code or outcome.status
        raise Refused("preview_failed", f"the preview of `{draft.tool}` failed ({kind}), so nobody can see what the call would change")
    no_list = Refused("preview_failed", f"the preview of `{draft.tool}` did not return a list of effects")
    if outcome.status != "ok" or not isinstance(returned, list | tuple):
        raise no_list
    try:
        return tuple([msgspec.convert(msgspec.to_builtins(effect), Effect) for effect in returned])
    except (TypeError, ValueError) as error:
        raise no_list from error


def _from_arguments(draft: Draft) -> tuple[Effect, ...]:
    """Each argument that has the name of an attribute of a target of this tenant, beside that attribute; secrets are left out.

    The arguments of an undo say themselves what it changes.
    """
    assert draft.spec is not None
    assert draft.arguments is not None
    if draft.undoes is not None:
        return effects_in(draft.arguments.value)
    secrets = [parse(secret) for secret in draft.spec.secrets]
    return tuple(
        [
            Effect(target=str(target.ref), field=name, before=target.attributes[name], after=value)
            for target in draft.targets
            if target not in draft.elsewhere
            for name, value in draft.arguments.value.items()
            if name in target.attributes and not may_hold(secrets, (name,))
        ]
    )


class _Voted(Struct):
    """The part of a request's summary that says what was voted on."""

    preview: tuple[Effect, ...] | None = None
    previewed_by: str | None = None
    targets: tuple[Target, ...] = ()


_decode_voted = msgspec.json.Decoder(_Voted).decode


def _changed_attribute(seen: tuple[Target, ...], now: tuple[Target, ...]) -> str:
    known = {target.ref: target.attributes for target in seen}
    for target in now:
        before = known.get(target.ref, {})
        for name, value in target.attributes.items():
            if name in before and before[name] != value:  # of another tenant's target nothing was shown, and nothing is told
                return f"`{name}` of {target.ref} is not what it was"
    return "its targets are not as they were"


def _shown(value: Any) -> str:
    text = _encode(value).decode()
    return f"`{text if len(text) <= VALUE_SHOWN_CHARS else text[:VALUE_SHOWN_CHARS] + '...'}`"


def _digest(value: Any) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()
