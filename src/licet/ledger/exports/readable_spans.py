"""Calls as spans of the OpenTelemetry SDK, for whoever runs an exporter: `exporter.export(list(readable_spans(rows)))`.

Needs `licet[otel]`, which is imported only here. They are the spans of `spans.py`, ids and all, so that what is sent this way and what is
written by `as_otlp.py` are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from licet.errors import OperatorError
from licet.ledger.exports.as_otlp import SCOPE, resource_of
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.spans import Span, spans_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

_NS_PER_US = 1000


def readable_spans(rows: Iterable[Exported], *, content: bool = False) -> Iterator[ReadableSpan]:
    """The spans of every call, streamed; sampled, so that every exporter takes them. Raises `OperatorError` without OpenTelemetry.

    `content` adds arguments and results, where the rows have payloads.
    """
    try:
        import opentelemetry.sdk.trace  # noqa: F401, PLC0415  an extra
    except ImportError as error:
        raise OperatorError("spans need the OpenTelemetry SDK; install `licet[otel]`") from error
    return (_readable(span) for spans in spans_of(rows, content=content) for span in spans)


def _readable(span: Span) -> ReadableSpan:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  an extra
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, is_remote=False),
        parent=None if span.parent_id is None else _context(span.trace_id, span.parent_id, is_remote=True),
        resource=Resource(resource_of(span)),
        attributes=span.attributes,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR if span.status == "error" else StatusCode.UNSET),
        start_time=span.start_us * _NS_PER_US,
        end_time=span.end_us * _NS_PER_US,
        instrumentation_scope=InstrumentationScope(SCOPE),
    )


def _context(trace_id: str, span_id: str, *, is_remote: bool) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415  an extra

    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))
