"""What spans say.

Attributes are those of the GenAI semantic conventions (`gen_ai.*`), of the general ones (`user.id`, `error.type`), and our own (`licet.*`).
An attribute that has nothing to say is left out.

`gen_ai.operation.name` stands only on `execute_tool` spans: whoever counts executions by it counts no denials.
"""

from __future__ import annotations

import hashlib
import re
from typing import TypeAlias

from licet.ledger.exports.rows import Exported, embedded
from licet.ledger.record import Envelope

AttributeValue: TypeAlias = str | int | tuple[str, ...]
Attributes: TypeAlias = dict[str, AttributeValue]

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


def tool_of(envelope: Envelope) -> str:
    """The name of the tool, for names of spans."""
    return envelope.tool.name if envelope.tool is not None else "unknown"


def trace_id_of(row: Exported) -> str:
    """The record's trace id where it is one (W3C Trace Context, 32 hex characters), else one derived from log and call."""
    envelope = row.envelope
    named = envelope.trace.trace_id if envelope.trace is not None else None
    return named if named is not None and _TRACE_ID.fullmatch(named) else derived_id(16, "trace", row.log, envelope.call or envelope.id)


def parent_of(envelope: Envelope) -> str | None:
    """The span in which the call was made, where the record names one and the trace it is in."""
    trace = envelope.trace
    if trace is None or trace.span_id is None or trace.trace_id is None or not _TRACE_ID.fullmatch(trace.trace_id):
        return None
    return trace.span_id if _SPAN_ID.fullmatch(trace.span_id) else None


def derived_id(size_bytes: int, *parts: str) -> str:
    """An id (hex) that is the same whenever it is derived from the same parts. SHA-256: nobody finds a call that has another's."""
    return hashlib.sha256("\0".join(("licet", *parts)).encode()).hexdigest()[: 2 * size_bytes]


def called(row: Exported) -> Attributes:
    """Who called what, and where the record stands: on every span."""
    envelope = row.readable
    actor, tool, trace = envelope.actor, envelope.tool, envelope.trace
    return _filled(
        {
            "gen_ai.tool.name": tool_of(envelope),
            "gen_ai.tool.call.id": envelope.call,
            "gen_ai.agent.id": actor.agent if actor is not None else None,
            "gen_ai.agent.name": actor.agent if actor is not None else None,
            "gen_ai.conversation.id": actor.session if actor is not None else None,
            "user.id": actor.user if actor is not None else None,
            "licet.service": actor.service if actor is not None else None,
            "licet.log": row.log,
            "licet.index": row.index,
            "licet.leaf": row.leaf.hex(),
            "licet.kind": envelope.kind,
            "licet.tool.access": tool.access if tool is not None else None,
            "licet.tool.definition": tool.definition if tool is not None else None,
            "licet.targets": envelope.targets,
            "licet.attempt": envelope.attempt,
            "licet.workflow": trace.workflow if trace is not None else None,
            "licet.trace.parent": trace.parent if trace is not None else None,
            "licet.payload.absent": row.absent,
        }
    )


def arguments_of(row: Exported) -> Attributes:
    """What the tool was called with (opt-in by the conventions)."""
    json = embedded(row.payload.arguments) if row.payload is not None else None
    return {} if json is None else {"gen_ai.tool.call.arguments": json.decode()}


def result_of(row: Exported) -> Attributes:
    """What the tool gave back (opt-in by the conventions)."""
    json = embedded(row.payload.result) if row.payload is not None else None
    return {} if json is None else {"gen_ai.tool.call.result": json.decode()}


def outcome_of(row: Exported) -> Attributes:
    """What came of the call, and the record that says so."""
    outcome = row.envelope.outcome
    if outcome is None:
        return {}
    return _filled(
        {
            "licet.outcome.status": outcome.status,
            "licet.outcome.code": outcome.code,
            "licet.outcome.duration_us": outcome.duration_us,
            "licet.outcome.effects": outcome.effects,
            "licet.outcome.deviates": outcome.deviates or None,
            "licet.outcome.index": row.index,
            "licet.outcome.leaf": row.leaf.hex(),
            "error.type": None if outcome.status == "ok" else outcome.code or outcome.status,
        }
    )


def decided(row: Exported) -> Attributes:
    """What was decided, by which policies of which bundle, and the approval it rests on."""
    envelope = row.readable
    decision, approval = envelope.decision, envelope.approval
    said: dict[str, AttributeValue | None] = {
        "licet.approval.request": approval.request if approval is not None else None,
        "licet.approval.voters": approval.voters if approval is not None else None,
    }
    if decision is not None:
        said |= {
            "licet.decision.verdict": decision.verdict,
            "licet.decision.code": decision.code,
            "licet.decision.policies": decision.policies,
            "licet.decision.obligations": decision.obligations,
            "licet.decision.bundle": decision.bundle,
            "licet.decision.decided_by": decision.decided_by,
            "licet.decision.count": decision.count,
            "error.type": decision.code if decision.verdict == "deny" else None,
        }
    return _filled(said)


def _filled(attributes: dict[str, AttributeValue | None]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None and value != ()}
