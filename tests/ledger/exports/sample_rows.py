"""Rows for the tests of exports; every default is valid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from msgspec import Raw

from licet.ledger.exports.rows import Absence, Exported
from licet.ledger.exports.summary import Expected, TreeRoot
from licet.ledger.record import (
    Actor,
    ApprovalEntry,
    DecisionEntry,
    Envelope,
    Kind,
    OutcomeEntry,
    Payload,
    PayloadEntry,
    ToolEntry,
    TraceEntry,
)
from licet.model import CallId, DecidingPolicy, Effect, Obligation, Principal, RequestId, Target

AT_US = 1_763_802_000_123_457
ALICE, DANA, CUSTOMER = "a1" * 16, "d4" * 16, "6f1c" * 8
NAMES = {ALICE: 'User::"alice"', DANA: 'User::"dana"', CUSTOMER: 'Customer::"C-412"'}
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PAYLOAD = Payload(
    arguments=Raw(b'{"amount_cents":2500,"customer_id":"C-412"}'),
    reason="double charge",
    message="adjustments over $100 need a billing lead",
    principals=(Principal(kind="User", id="alice", tenant="acme", roles=("support",)),),
    targets=(Target(type="Customer", id="C-412", tenant="acme", environment="test", attributes={"tier": "gold"}),),
    context={"calls": 3},
    policies=(DecidingPolicy(id="billing-adjust", effect="permit", file="p.cedar", line=4, principal='User::"alice"', target="*"),),
    obligations=(Obligation(kind="approval", policy="lead", policy_digest="e" * 64, principal='User::"alice"'),),
    result=Raw(b'"done"'),
    effects=(Effect(target='Customer::"C-412"', field="balance", before=1, after=2),),
    preview=Raw(b"[]"),
    detail={"late": True},
    names=NAMES,
)
DECISION = DecisionEntry(
    verdict="allow", code="allowed", policies=("billing-adjust",), obligations=("lead",), bundle="b" * 64, decided_by="human", count=2
)


def envelope(kind: Kind = "intent", **fields: Any) -> Envelope:
    """One with everything in it."""
    defaults: dict[str, Any] = {
        "v": 1,
        "log": "acme",
        "kind": kind,
        "id": "record-1",
        "at": AT_US,
        "boot": "boot-1",
        "environment": "test",
        "call": CallId("call-1"),
        "key": "k" * 64,
        "attempt": 1,
        "actor": Actor(agent="support-bot", user=ALICE, session="s-1"),
        "tool": ToolEntry("billing.adjust", "write", "d" * 64),
        "targets": (f"Customer::{CUSTOMER}", "Tenant::acme"),
        "decision": DECISION,
        "approval": ApprovalEntry(RequestId("request-1"), (DANA,), "approve"),
        "trace": TraceEntry(trace_id=TRACE_ID, span_id=SPAN_ID, parent="p-1", workflow="ticket-4711"),
        "outcome": OutcomeEntry(status="ok", code="fine", duration_us=1500, effects=1, deviates=True),
        "payload": PayloadEntry("c" * 64, 120),
        "redactions": ("cut:targets",),
    }
    return Envelope(**{**defaults, **fields})


def bare(kind: Kind = "gap", **fields: Any) -> Envelope:
    """One with as little in it as there can be."""
    empty = dict.fromkeys(("call", "key", "attempt", "actor", "tool", "decision", "approval", "trace", "outcome"))
    return envelope(kind, **{**empty, "targets": (), "redactions": (), **fields})


def row(
    index: int = 0, kind: Kind = "intent", *, payload: Payload | None = PAYLOAD, absent: Absence | None = None, **fields: Any
) -> Exported:
    leaf = hashlib.sha256(b"%d" % index).digest()
    said = None if payload is not None else absent or "not_asked"
    return Exported(log="acme", index=index, leaf=leaf, envelope=envelope(kind, **fields), payload=payload, absent=said)


def bare_row(index: int = 0, kind: Kind = "gap", **fields: Any) -> Exported:
    return Exported(log="acme", index=index, leaf=bytes(32), envelope=bare(kind, **fields), absent="erased")


def many(count: int) -> Iterator[Exported]:
    """This many rows, made one at a time."""
    one = row()
    for index in range(count):
        yield Exported(log="acme", index=index, leaf=one.leaf, envelope=one.envelope, payload=one.payload)


def expected(rows: int) -> Expected:
    return Expected(rows, (TreeRoot("acme", rows, "0" * 64), TreeRoot("operator", 0, "1" * 64)))
