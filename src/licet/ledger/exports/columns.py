"""The columns of flat exports (CSV, Parquet): one table, in one order. A column is only added, at the end; no name is used anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.ledger.exports.rows import Exported, embedded, moment
from licet.ledger.record import Payload

Value: TypeAlias = str | int | datetime | tuple[str, ...] | bytes | None
"""What a column holds: `bytes` are JSON."""

ColumnType = Literal["text", "integer", "moment", "list", "json"]
"""`moment` is UTC with microseconds, `list` a list of texts, `json` any JSON."""

_encode = msgspec.json.Encoder().encode


class Column(Struct, frozen=True):
    """A column: its name, its type, and how it is read from a row. None where the record has nothing there."""

    name: str
    type: ColumnType
    read: Callable[[Exported], Value]


def _deep(path: str, *, readable: bool = False) -> Callable[[Exported], Any]:
    """Reads `decision.code` of the envelope; None where a part is missing, and for a list that is empty."""
    names = path.split(".")

    def read(row: Exported) -> Any:
        value: Any = row.readable if readable else row.envelope
        for name in names:
            value = getattr(value, name)
            if value is None:
                return None
        return value

    return read


def _opened(read: Callable[[Payload], Value]) -> Callable[[Exported], Value]:
    """Reads from the payload; None without one."""
    return lambda row: None if row.payload is None else read(row.payload)


def _json(name: str) -> Callable[[Exported], Value]:
    """A part of the payload as JSON; None where it is empty."""
    return _opened(lambda payload: _encode(part) if (part := getattr(payload, name)) else None)


COLUMNS: tuple[Column, ...] = (
    Column("log", "text", lambda row: row.log),
    Column("index", "integer", lambda row: row.index),
    Column("leaf", "text", lambda row: row.leaf.hex()),
    Column("kind", "text", _deep("kind")),
    Column("id", "text", _deep("id")),
    Column("at", "moment", moment),
    Column("call", "text", _deep("call")),
    Column("key", "text", _deep("key")),
    Column("attempt", "integer", _deep("attempt")),
    Column("boot", "text", _deep("boot")),
    Column("environment", "text", _deep("environment")),
    Column("agent", "text", _deep("actor.agent")),
    Column("service", "text", _deep("actor.service")),
    Column("user", "text", _deep("actor.user", readable=True)),
    Column("user_recorded", "text", _deep("actor.user")),
    Column("session", "text", _deep("actor.session")),
    Column("tool", "text", _deep("tool.name")),
    Column("access", "text", _deep("tool.access")),
    Column("definition", "text", _deep("tool.definition")),
    Column("targets", "list", _deep("targets", readable=True)),
    Column("targets_recorded", "list", _deep("targets")),
    Column("verdict", "text", _deep("decision.verdict")),
    Column("code", "text", _deep("decision.code")),
    Column("policies", "list", _deep("decision.policies")),
    Column("obligations", "list", _deep("decision.obligations")),
    Column("bundle", "text", _deep("decision.bundle")),
    Column("decided_by", "text", _deep("decision.decided_by")),
    Column("count", "integer", _deep("decision.count")),
    Column("request", "text", _deep("approval.request")),
    Column("voters", "list", _deep("approval.voters", readable=True)),
    Column("voters_recorded", "list", _deep("approval.voters")),
    Column("vote", "text", _deep("approval.verdict")),
    Column("trace_id", "text", _deep("trace.trace_id")),
    Column("span_id", "text", _deep("trace.span_id")),
    Column("parent", "text", _deep("trace.parent")),
    Column("workflow", "text", _deep("trace.workflow")),
    Column("status", "text", _deep("outcome.status")),
    Column("outcome_code", "text", _deep("outcome.code")),
    Column("duration_us", "integer", _deep("outcome.duration_us")),
    Column("effect_count", "integer", _deep("outcome.effects")),
    Column("commitment", "text", _deep("payload.commitment")),
    Column("payload_bytes", "integer", _deep("payload.length")),
    Column("redactions", "list", _deep("redactions")),
    Column("payload_absent", "text", lambda row: row.absent),
    Column("reason", "text", _opened(lambda payload: payload.reason)),
    Column("message", "text", _opened(lambda payload: payload.message)),
    Column("arguments", "json", _opened(lambda payload: embedded(payload.arguments))),
    Column("result", "json", _opened(lambda payload: embedded(payload.result))),
    Column("effects", "json", _json("effects")),
    Column("preview", "json", _opened(lambda payload: embedded(payload.preview))),
    Column("principals", "json", _json("principals")),
    Column("target_attributes", "json", _json("targets")),
    Column("context", "json", _json("context")),
    Column("deciding_policies", "json", _json("policies")),
    Column("obligations_due", "json", _json("obligations")),
    Column("detail", "json", _json("detail")),
)

NAMES = tuple([column.name for column in COLUMNS])
