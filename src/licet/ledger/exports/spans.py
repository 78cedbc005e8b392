"""Records as spans: what a call did (`execute_tool`) and what was decided about it (`licet.decision`). Imports nothing of OpenTelemetry.

Rules:

1. A call that ran has one span `execute_tool {tool}` by the GenAI semantic conventions, from its intent to its outcome (a merged read: as
   long as its record says it took), and in it one span `licet.decision {tool}`. A call that did not run has the decision alone: a denial, a
   hold, a question, a repeated key.
2. The trace is the record's, where it holds a W3C trace id, and the parent its span. Otherwise the trace id is derived from log and call.
   Span ids are derived from log and call, or the record's id: exported twice, a record gives the same spans.
3. A span is an error where the outcome is not `ok`, or the verdict is `deny`; `error.type` is the record's code, else its status. A call
   without an outcome says `licet.outcome.status` = `open` and lasts no time.
4. An intent waits for its outcome, `OPEN_LIMIT` of them at most; then the oldest is given as open. An outcome whose intent is gone (late,
   or left out by a filter) is a span of its own, `licet.outcome {tool}`, in the call's.
5. Arguments and results are given only where they are asked for (`content`), as the conventions want it. Votes and records about no call
   have no span; the approval that a call rests on stands in its decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct, structs

from licet.ledger.exports.rows import Exported
from licet.ledger.exports.span_attributes import (
    Attributes,
    arguments_of,
    called,
    decided,
    derived_id,
    outcome_of,
    parent_of,
    result_of,
    tool_of,
    trace_id_of,
)

OPEN_LIMIT = 10_000
"""How many intents wait for their outcomes at once; each holds two spans, some kilobytes with arguments."""

SpanStatus = Literal["unset", "error"]

_DECIDED: Final = frozenset({"denial", "hold", "evaluation", "call"})
_ENDED: Final = frozenset({"outcome", "recovery"})


class Span(Struct, frozen=True, kw_only=True):
    """A span: ids in lower-case hex, times in UTC microseconds. It is an error or its status is left unset, as instrumentation should."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_us: int
    end_us: int
    attributes: Attributes
    status: SpanStatus = "unset"
    environment: str
    boot: str


Spans: TypeAlias = tuple[Span, ...]
"""The spans that belong together: those of one call."""


def spans_of(rows: Iterable[Exported], *, content: bool = False) -> Iterator[Spans]:
    """The spans of every call, each call's as soon as its outcome is there, those without one at the end."""
    waiting: dict[tuple[str, str], Spans] = {}
    for row in rows:
        kind, key = row.envelope.kind, (row.log, row.envelope.call or row.envelope.id)
        if kind == "intent":
            waiting[key] = _begun(row, content=content)
            if len(waiting) > OPEN_LIMIT:
                yield waiting.pop(next(iter(waiting)))
        elif kind in _ENDED:
            begun = waiting.pop(key, None)
            yield (_late(row, content=content),) if begun is None else (_ended(begun[0], row, content=content), *begun[1:])
        elif kind == "call" and row.envelope.outcome is not None:
            yield _merged(row, content=content)
        elif kind in _DECIDED:
            yield (_decision(row, parent_of(row.envelope)),)
    yield from waiting.values()


def _begun(row: Exported, *, content: bool) -> Spans:
    """The spans of an intent, before its outcome is known: execution, then decision."""
    attributes: Attributes = {"gen_ai.operation.name": "execute_tool", **called(row), "licet.outcome.status": "open"}
    span = _span(row, "execute_tool", row.envelope.call or row.envelope.id, parent_of(row.envelope), attributes)
    if content:
        attributes |= arguments_of(row)
    return (span, _decision(row, span.span_id))


def _ended(begun: Span, row: Exported, *, content: bool) -> Span:
    """The span of an intent with its outcome. Where a clock was set back in between, it lasts no time, never less."""
    attributes = begun.attributes | outcome_of(row) | (result_of(row) if content else {})
    return structs.replace(begun, end_us=max(begun.start_us, row.envelope.at), attributes=attributes, status=_status(attributes))


def _merged(row: Exported, *, content: bool) -> Spans:
    """The spans of a read whose intent and outcome are one record, made when it had ended."""
    span, decision = _begun(row, content=content)
    outcome = row.envelope.outcome
    start_us = row.envelope.at - (outcome.duration_us or 0 if outcome is not None else 0)
    decision = structs.replace(decision, start_us=start_us, end_us=start_us)
    return (_ended(structs.replace(span, start_us=start_us), row, content=content), decision)


def _late(row: Exported, *, content: bool) -> Span:
    """An outcome by itself, under the call's span."""
    attributes = called(row) | outcome_of(row) | (result_of(row) if content else {})
    parent = derived_id(8, "execute_tool", row.log, row.envelope.call or row.envelope.id)
    return _span(row, "licet.outcome", row.envelope.id, parent, attributes)


def _decision(row: Exported, parent: str | None) -> Span:
    """What was decided; how long that took, no record says."""
    return _span(row, "licet.decision", row.envelope.id, parent, called(row) | decided(row))


def _span(row: Exported, what: str, id_: str, parent: str | None, attributes: Attributes) -> Span:
    envelope = row.envelope
    return Span(
        trace_id=trace_id_of(row),
        span_id=derived_id(8, what, row.log, id_),
        parent_id=parent,
        name=f"{what} {tool_of(envelope)}",
        start_us=envelope.at,
        end_us=envelope.at,
        attributes=attributes,
        status=_status(attributes),
        environment=envelope.environment,
        boot=envelope.boot,
    )


def _status(attributes: Attributes) -> SpanStatus:
    return "error" if "error.type" in attributes else "unset"
