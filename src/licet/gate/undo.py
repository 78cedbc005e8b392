"""From a call that was made to the call that takes it back: who may propose it, with which arguments, and how often.

Rules:

1. An undo is a call like any other: decided by policy under the name `TOOL.undo`, held, approved, previewed and recorded.
2. Its arguments are those that the log has: the arguments of the call, and its effects reversed, the last one first. Where the log does not
   have all of them (erased, hidden as secrets, cut, too many to keep, damaged), or not what was there before, nothing is proposed.
3. A call is looked for in the log of the tenant that asks, and nowhere else: who asks for another tenant's is told that there is none.
4. A call is undone at most once, whoever asks: the undo takes an idempotency key in a scope that no caller has. Only an undo that was not
   executed, and is known not to have been, gives way to another.
5. A row of the store leads to records; what counts is what the records say, and only if each payload is what its envelope commits to.

Not guaranteed: that nothing else has changed since. An undo that must not overwrite later changes compares `before` of its effects with
what is there, or has a preview that does. What a tool did not report is not undone, nor are the calls that it made in turn.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from licet.catalog import strict
from licet.errors import ArgumentsRefused, CallerRefused, UndoRefused
from licet.gate.acting import Acting
from licet.gate.checks import caller_of
from licet.gate.recorder import undo_scope
from licet.gate.scene import Scene
from licet.gate.undoing import EFFECTS, is_undo, takes_back, undo_name
from licet.ledger.record import Envelope, Payload, commitment, decode_envelope, decode_payload
from licet.model import UNSEEN, CallId, Effect
from licet.store.contract import Store, StoredRecord


class Reversal(Struct, frozen=True, kw_only=True):
    """The call that takes another one back: the tool, what it is to bring about, its arguments as JSON, the key that keeps it to once."""

    undoes: CallId
    tool: str
    effects: tuple[Effect, ...]
    arguments: bytes
    key: str


class _Said(Struct, frozen=True):
    """A record that is what its envelope commits to."""

    envelope: Envelope
    payload: Payload


def reversal_of(store: Store, scene: Scene, acting: Acting, call: CallId, *, remote: bool = False) -> Reversal:
    """What takes this call back; `remote` says that somebody else executes it.

    Raises `UndoRefused`, `IntegrityBroken` for a record that cannot be decoded, `StoreError`.
    """
    tenant = _tenant(acting, scene)
    records = [record for record in store.records_of_call(call) if record.log == tenant]
    intent = _intent(records, call, tenant)
    effects = tuple([effect.reversed() for effect in reversed(_effects(records, call))])
    tool = intent.envelope.tool.name if intent.envelope.tool is not None else ""
    name = undo_name(tool)
    implementation, spec = scene.implementations.get(name), scene.catalog.find_tool(name)
    if remote and (spec is None or not takes_back(scene.catalog, spec)):
        raise UndoRefused("no_undo", f"`{tool}` has no undo in the catalog")
    if not remote and (implementation is None or not is_undo(implementation.function)):
        raise UndoRefused("no_undo", f"`{tool}` has no undo in this process")
    arguments = _arguments(scene, intent, tool, effects)
    return Reversal(undoes=call, tool=name, effects=effects, arguments=arguments, key=_key(store, tenant, call))


def _tenant(acting: Acting, scene: Scene) -> str:
    try:
        caller = caller_of(acting, scene)
        scene.directory.principals(caller)
    except CallerRefused as refused:
        raise UndoRefused(refused.code, str(refused)) from refused
    return caller.tenant


def _intent(records: list[StoredRecord], call: CallId, tenant: str) -> _Said:
    intents = [record for record in records if record.kind == "intent"]
    if len(intents) != 1:
        raise UndoRefused("no_such_call", f"the log of `{tenant}` has no call `{call}` that may have changed anything")
    return _said(intents[0], call)


def _effects(records: list[StoredRecord], call: CallId) -> tuple[Effect, ...]:
    """What the call has changed, all of it, with what was there before."""
    ends = [record for record in records if record.kind in {"outcome", "recovery"}]
    outcomes = [decode_envelope(record.envelope).outcome for record in ends]
    seen = [
        (record, outcome) for record, outcome in zip(ends, outcomes, strict=True) if outcome is not None and outcome.status not in UNSEEN
    ]
    if not seen:
        raise UndoRefused("not_ended", f"nobody saw the end of call `{call}`, so nobody knows what there is to undo")
    bad = next((outcome for _, outcome in seen if outcome.status != "ok"), None)
    if bad is not None:
        raise UndoRefused("not_ok", f"call `{call}` ended as {bad.status}, so what it reported may not be all that it changed")
    reporting = [(record, outcome) for record, outcome in seen if outcome.effects]
    if not reporting:
        raise UndoRefused("no_effects", f"call `{call}` reported no effects, so nobody knows what there is to undo")
    record, outcome = reporting[-1]
    said = _said(record, call)
    _refuse_hidden(said, EFFECTS, call)
    effects = said.payload.effects
    if len(effects) != outcome.effects:
        message = f"call `{call}` reported {outcome.effects} effects, and the log has {len(effects)} of them"
        raise UndoRefused("effects_not_kept", message)
    blind = next((effect for effect in effects if not effect.has_before), None)
    if blind is not None:
        raise UndoRefused("no_before", f"call `{call}` did not report what `{blind.field}` of {blind.target} was before")
    return effects


def _arguments(scene: Scene, intent: _Said, tool: str, effects: tuple[Effect, ...]) -> bytes:
    """The arguments of the call as its tool reads them now, and the effects to bring about."""
    call = intent.envelope.call
    _refuse_hidden(intent, "arguments", call)
    encoded = bytes(intent.payload.arguments)
    try:
        read = scene.readers[tool].read(encoded)
    except ArgumentsRefused as refused:
        message = f"`{tool}` as it is defined now does not take the arguments of call `{call}`: {refused}"
        raise UndoRefused("tool_changed", message) from refused
    if msgspec.json.decode(encoded) != read.value:
        raise UndoRefused("tool_changed", f"`{tool}` as it is defined now reads other arguments than call `{call}` was made with")
    return strict.encode({**read.value, EFFECTS: msgspec.to_builtins(effects)})


def _key(store: Store, tenant: str, call: CallId) -> str:
    """The idempotency key of the next undo of this call (rule 4). Raises `UndoRefused` where one has been made, or may have been."""
    undos = undos_of(store, tenant, call)
    for undo in undos:
        outcomes = [decode_envelope(record.envelope).outcome for record in store.records_of_call(undo) if record.log == tenant]
        seen = [outcome.status for outcome in outcomes if outcome is not None and outcome.status not in UNSEEN]
        if set(seen) != {"not_executed"}:
            how = f"which ended as {seen[-1]}" if seen else "of which nobody has seen the end"
            raise UndoRefused("already_undone", f"call `{call}` is undone by call `{undo}`, {how}; a call is undone once")
    return _nth_key(call, len(undos) + 1)


def undos_of(store: Store, tenant: str, call: CallId) -> tuple[CallId, ...]:
    """The calls that were begun to undo this one, the first one first: more than one only where those before were not executed."""
    found: list[CallId] = []
    while (taken := store.find_key(tenant, undo_scope(tenant), _nth_key(call, len(found) + 1), "")) is not None:
        found.append(taken.call)
    return tuple(found)


def _nth_key(call: CallId, attempt: int) -> str:
    return f"undo:{call}" if attempt == 1 else f"undo:{call}:{attempt}"


def _said(record: StoredRecord, call: CallId) -> _Said:
    """What a record says (rule 5)."""
    envelope = decode_envelope(record.envelope)
    place = f"record {record.log}:{record.index}"
    if (envelope.kind, envelope.log, envelope.call) != (record.kind, record.log, call):
        raise UndoRefused("not_in_log", f"{place} is kept under a call that it does not speak of; run `licet audit verify`")
    if record.payload is None or record.salt is None:
        code = "erased" if record.closed == "erased" else "locked" if record.closed == "locked" else "damaged"
        raise UndoRefused(code, f"{_CLOSED[code]}: the payload of {place}, of call `{call}`")
    if commitment(record.salt, record.payload) != envelope.payload.commitment:
        raise UndoRefused("not_in_log", f"the payload of {place} is not what its envelope commits to; run `licet audit verify`")
    return _Said(envelope, decode_payload(record.payload))


_CLOSED = {
    "erased": "what is needed to undo this was erased",
    "locked": "what is needed to undo this is encrypted, and there is no key",
    "damaged": "what is needed to undo this is damaged; run `licet audit verify`",
}


def _refuse_hidden(said: _Said, part: str, call: CallId | None) -> None:
    """Raise where the log holds something else in place of this part of the payload: a secret's marker, or its beginning."""
    for redaction in said.envelope.redactions:
        field = redaction.partition(":")[2]
        if field in {part, "payload"} or field.startswith(f"{part}."):
            raise UndoRefused(
                "hidden", f"the log does not hold all {part} of call `{call}` (`{redaction}`), so it cannot be undone from there"
            )
