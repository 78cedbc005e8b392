"""Calls as OpenTelemetry spans (`spans.py`) in OTLP/JSON.

One `ExportTraceServiceRequest` a line, one line for each call, as the Collector's `otlpjsonfile` receiver reads it. Ids are hex and 64-bit
numbers are texts, by the OTLP specification.

Nothing of OpenTelemetry is needed to write it. That all lines are there is shown by a manifest beside them (`manifest.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from licet.ledger.exports.manifest import verify_lines
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.span_attributes import Attributes, AttributeValue
from licet.ledger.exports.spans import Span, Spans, spans_of
from licet.ledger.exports.summary import Checked, Counting, Digesting, Expected, ExportSummary, Sink
from licet.model import JsonObject

FORMAT: Final = "otlp"
SCOPE: Final = "licet"
SERVICE: Final = "licet"

_INTERNAL = 1
_ERROR = 2
_NS_PER_US = 1000


def write_otlp(rows: Iterable[Exported], sink: Sink, expected: Expected, *, content: bool = False) -> ExportSummary:
    """Every span is in `sink`; write `manifest_of` the summary beside it. If `rows` or `sink` raise, so does this.

    `content` adds arguments and results, where the rows have payloads.
    """
    out, counting = Digesting(sink), Counting(rows)
    encoder = msgspec.json.Encoder()
    lines = 0
    for spans in spans_of(counting, content=content):
        out.write(encoder.encode(request_of(spans)) + b"\n")
        lines += 1
    return out.summary(expected.rows, counting.count, lines)


def verify_otlp(unverified_lines: Iterable[bytes], unverified_manifest: bytes) -> Checked:
    """What is wrong with an export and its manifest: see `verify_lines`."""
    return verify_lines(unverified_lines, unverified_manifest, FORMAT)


def request_of(spans: Spans) -> JsonObject:
    """The `ExportTraceServiceRequest` with the spans of one call."""
    scope_spans = {"scope": {"name": SCOPE}, "spans": [_encoded(span) for span in spans]}
    return {"resourceSpans": [{"resource": {"attributes": _pairs(resource_of(spans[0]))}, "scopeSpans": [scope_spans]}]}


def resource_of(span: Span) -> Attributes:
    """Where the record was made: the environment, and the process as an instance of the service `licet`."""
    return {"service.name": SERVICE, "service.instance.id": span.boot, "deployment.environment.name": span.environment}


def _encoded(span: Span) -> JsonObject:
    encoded: JsonObject = {"traceId": span.trace_id, "spanId": span.span_id}
    if span.parent_id is not None:
        encoded["parentSpanId"] = span.parent_id
    return encoded | {
        "name": span.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(span.start_us * _NS_PER_US),
        "endTimeUnixNano": str(span.end_us * _NS_PER_US),
        "attributes": _pairs(span.attributes),
        "status": {"code": _ERROR} if span.status == "error" else {},
    }


def _pairs(attributes: Attributes) -> list[JsonObject]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: AttributeValue) -> JsonObject:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"arrayValue": {"values": [{"stringValue": text} for text in value]}}
