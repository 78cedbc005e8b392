"""OTLP/JSON, and the spans of the SDK: the same spans, both of them."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan

from licet.errors import OperatorError
from licet.ledger.exports.as_otlp import FORMAT, verify_otlp, write_otlp
from licet.ledger.exports.manifest import manifest_of
from licet.ledger.exports.readable_spans import readable_spans
from licet.ledger.exports.rows import Exported
from licet.ledger.record import Actor, ToolEntry
from tests.ledger.exports.sample_rows import expected, row
from tests.ledger.exports.test_spans import intent, outcome


def written(*rows: Exported, content: bool = False) -> tuple[bytes, bytes]:
    sink = io.BytesIO()
    summary = write_otlp(rows, sink, expected(len(rows)), content=content)
    return sink.getvalue(), manifest_of(summary, expected(len(rows)), FORMAT)


def problems(data: bytes, manifest: bytes) -> tuple[str, ...]:
    return verify_otlp(io.BytesIO(data), manifest).problems


def spans(data: bytes) -> list[dict[str, Any]]:
    requests = [json.loads(line) for line in data.splitlines()]
    return [
        span for request in requests for resource in request["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]
    ]


def attributes(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """As a receiver reads them."""
    readers: dict[str, Callable[[Any], Any]] = {
        "stringValue": str,
        "intValue": int,
        "arrayValue": lambda value: tuple(item["stringValue"] for item in value["values"]),
    }
    return {pair["key"]: readers[kind](value) for pair in pairs for kind, value in pair["value"].items()}


def test_a_line_is_a_request_with_the_spans_of_a_call() -> None:
    data, _ = written(intent(), outcome(), row(2, "denial", id="d-2"))
    assert data.count(b"\n") == 2
    request = json.loads(data.splitlines()[0])
    (resource,) = request["resourceSpans"]
    assert attributes(resource["resource"]["attributes"]) == {
        "service.name": "licet",
        "service.instance.id": "boot-1",
        "deployment.environment.name": "test",
    }
    assert [span["name"] for span in spans(data)] == ["execute_tool billing.adjust", *["licet.decision billing.adjust"] * 2]


def test_ids_are_hex_and_times_are_texts() -> None:
    data, _ = written(intent(), outcome())
    for span in spans(data):
        assert re.fullmatch(r"[0-9a-f]{32}", span["traceId"])
        assert re.fullmatch(r"[0-9a-f]{16}", span["spanId"])
        assert re.fullmatch(r"[0-9a-f]{16}", span["parentSpanId"])
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert isinstance(span["startTimeUnixNano"], str)
        assert span["kind"] == 1


def test_the_spans_of_the_sdk_are_those_of_the_file() -> None:
    rows = [intent(), outcome(), row(2, "denial", id="d-2"), outcome(3)]
    data, _ = written(*rows, content=True)
    readable = list(readable_spans(rows, content=True))
    assert all(isinstance(span, ReadableSpan) for span in readable)
    for ours, theirs in zip(spans(data), readable, strict=True):
        context = theirs.get_span_context()
        assert context is not None
        assert context.trace_flags.sampled
        assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (ours["traceId"], ours["spanId"])
        assert (theirs.name, str(theirs.start_time), str(theirs.end_time)) == (
            ours["name"],
            ours["startTimeUnixNano"],
            ours["endTimeUnixNano"],
        )
        assert dict(theirs.attributes or {}) == attributes(ours["attributes"])
        assert (theirs.parent is not None and f"{theirs.parent.span_id:016x}") == ours.get("parentSpanId", False)
        assert theirs.status.is_unset == (ours["status"] == {})
        theirs.to_json()


@given(st.text(), st.text(min_size=1))
def test_every_text_stays_on_one_line_and_comes_back(user: str, tool: str) -> None:
    one = row(0, "denial", actor=Actor(user=user), tool=ToolEntry(tool, None, None), payload=None)
    data, manifest = written(one)
    (line,) = data.removesuffix(b"\n").split(b"\n")
    (span,) = spans(line)
    assert (span["name"], attributes(span["attributes"])["user.id"]) == (f"licet.decision {tool}", user)
    assert problems(data, manifest) == ()


def test_exported_twice_the_bytes_are_the_same() -> None:
    rows = [intent(), outcome(), row(2, "hold")]
    assert written(*rows) == written(*rows)


def test_spans_of_the_sdk_are_streamed() -> None:
    def rows() -> Any:
        yield row(0, "denial")
        raise AssertionError("read ahead")

    assert next(readable_spans(rows())).name == "licet.decision billing.adjust"


def test_without_the_sdk_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(OperatorError, match=r"install `licet\[otel\]`"):
        readable_spans([])


def test_an_export_cut_at_any_byte_is_found() -> None:
    data, manifest = written(intent(), outcome(), row(2, "denial"))
    assert [at for at in range(len(data)) if not problems(data[:at], manifest)] == []
    assert problems(data, b"") == ("the export was cut: its manifest is missing or cannot be read",)
    assert problems(data, manifest) == ()


def test_no_rows_are_a_complete_export() -> None:
    assert problems(*written()) == ()


def test_all_rows_are_counted_whatever_became_of_them() -> None:
    sink = io.BytesIO()
    summary = write_otlp([intent(), outcome(), row(2, "vote")], sink, expected(3))
    assert (summary.rows_written, summary.complete, summary.lines) == (3, True, 1)
