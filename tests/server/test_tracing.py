"""Traces: a span for each request, joined with its client's, and nothing at all where nobody asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from licet.server import tracing
from licet.server.observing import Answered
from licet.server.tracing import SpanNames, Traced, find_tracer, trace_ids
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES
from tests.server.world import server_world

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing._Running, "tracing", False)
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def serve(status: int = 200, *headers: tuple[bytes, bytes]) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """One request through an application that is traced: its span, and the trace that ran meanwhile."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    seen: list[tuple[tuple[str, str], ...]] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        seen.append(trace_ids())
        await send({"type": "http.response.start", "status": status, "headers": []})
        SpanNames().answered(Answered(request_id="r-1", method="GET", route="/api/v1/calls/{id}", status=status, duration_s=0.1, code="x"))

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message["type"] == "http.response.start"

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/calls/C-4711",
        "headers": [(b"authorization", b"Bearer s3cret"), *headers],
    }
    asyncio.run(Traced(app, provider.get_tracer("licet"))(scope, None, send))
    (span,) = spans.get_finished_spans()
    return span, seen[0]


def test_a_request_is_a_span_of_its_clients_trace() -> None:
    span, running = serve(200, (b"traceparent", PARENT.encode()))
    assert span.kind is SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert running == (("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("span_id", f"{span.context.span_id:016x}"))


def test_a_span_names_the_template_and_holds_nothing_of_the_request() -> None:
    span, _ = serve()
    assert span.name == "GET /api/v1/calls/{id}"
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/api/v1/calls/{id}",
        "http.response.status_code": 200,
        "licet.request_id": "r-1",
        "licet.code": "x",
    }
    assert "s3cret" not in span.to_json()
    assert "C-4711" not in span.to_json()
    assert span.status.status_code is StatusCode.UNSET


def test_an_answer_that_is_our_fault_is_an_error_and_no_other() -> None:
    assert serve(503)[0].status.status_code is StatusCode.ERROR
    assert serve(404)[0].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("parent", [b"", b"00-0-0-01", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_trace_that_is_none_begins_a_new_one(parent: bytes) -> None:
    span, _ = serve(200, (b"traceparent", parent))
    assert span.parent is None
    assert span.context.is_valid


def test_without_being_asked_nothing_is_traced() -> None:
    assert find_tracer() is None
    assert trace_ids() == ()


@pytest.mark.parametrize(
    "environ", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}], ids=["none", "disabled"]
)
def test_what_turns_the_sdk_off_turns_this_off(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert find_tracer() is None


def test_without_the_library_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setattr(tracing, "is_installed", lambda: False)
    assert find_tracer() is None


def test_the_record_of_a_call_names_the_span_that_shows_how_it_came_about() -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    body = {
        "tool": "wire.pay",
        "arguments": {"customer_id": "C-1", "amount_cents": 1},
        "caller": {"user": "alice"},
    }
    with server_world(REMOTE_CONFIG, REMOTE_POLICIES) as served:
        served.app = Traced(served.app, provider.get_tracer("licet"))  # type: ignore[assignment]  # called as the application is
        assert served.post("/api/v1/calls", "agent", body, headers={"traceparent": PARENT}).status == 200
        served.app = served.app._app  # type: ignore[attr-defined]
        (record,) = served.world.records()
    (span,) = spans.get_finished_spans()
    trace, own = record.envelope.trace, span.context
    assert trace is not None
    assert own is not None
    assert trace.trace_id == f"{own.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert (trace.span_id, trace.parent) == (f"{own.span_id:016x}", "b7ad6b7169203331")
