"""Traces, where OpenTelemetry is installed (`licet[otel]`) and `OTEL_*` says where they go: a span for each request.

Rules:

1. Without the library, and without an exporter, nothing is done and nothing is asked.
2. The trace of a request is its client's (`traceparent`, W3C Trace Context), or a new one. It is a claim: it grants nothing.
3. A span says what the access log says: method, template of the path, status. No header, no body, no argument.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

from licet.server.observing import Answered

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

Application: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

_CARRIED = (b"traceparent", b"tracestate")
ERRORS_FROM = 500


def is_installed() -> bool:
    """Whether there is a library to trace with."""
    return importlib.util.find_spec("opentelemetry") is not None


def trace_ids() -> tuple[tuple[str, str], ...]:
    """The trace and span that are running now, by name; nothing without one."""
    if not _Running.tracing:
        return ()
    from opentelemetry import trace  # noqa: PLC0415  optional

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ()
    return (("trace_id", f"{context.trace_id:032x}"), ("span_id", f"{context.span_id:016x}"))


class _Running:
    """Whether anything in this process traces: what is asked for each line of the log."""

    tracing = False


def find_tracer() -> Tracer | None:
    """A tracer, set up as `OTEL_*` says; None where nothing is to be traced.

    `OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER=none` or neither an exporter nor an endpoint turn it off.
    """
    wanted = any(
        os.environ.get(name) for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )
    if not wanted or os.environ.get("OTEL_TRACES_EXPORTER") == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if not is_installed():
        return None
    os.environ.setdefault("OTEL_SERVICE_NAME", "licet")
    from opentelemetry import trace  # noqa: PLC0415  optional

    _configure()
    return trace.get_tracer("licet")


def _configure() -> None:
    """As `opentelemetry-instrument` does it: the SDK names who reads its environment by an entry point."""
    for found in entry_points(group="opentelemetry_configurator"):
        found.load()().configure()


class Traced:
    """An application each of whose requests is a span."""

    def __init__(self, app: Application, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer
        _Running.tracing = True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._span(scope) as span:

            async def told(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= ERRORS_FROM:
                        span.set_status(_error())
                await send(message)

            scope["licet.span"] = span
            await self._app(scope, receive, told)

    @contextmanager
    def _span(self, scope: MutableMapping[str, Any]) -> Iterator[Any]:
        from opentelemetry.propagate import extract  # noqa: PLC0415  optional
        from opentelemetry.trace import SpanKind  # noqa: PLC0415  as above

        carrier = {name.decode("ascii"): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
        attributes = {"http.request.method": scope["method"], "url.scheme": scope["scheme"]}
        with self._tracer.start_as_current_span(
            scope["method"], context=extract(carrier), kind=SpanKind.SERVER, attributes=attributes, record_exception=False
        ) as span:
            yield span


class SpanNames:
    """Names the span of a request when its endpoint is known: by the template of its path, as the conventions of HTTP spans say."""

    def began(self) -> None:
        """It has no name yet."""

    def answered(self, answered: Answered) -> None:
        """It has one now."""
        from opentelemetry import trace  # noqa: PLC0415  optional

        span = trace.get_current_span()
        if answered.route:
            span.update_name(f"{answered.method} {answered.route}")
            span.set_attribute("http.route", answered.route)
        span.set_attribute("licet.request_id", answered.request_id)
        if answered.code:
            span.set_attribute("licet.code", answered.code)

    def not_authenticated(self, reason: str) -> None:
        """The status says so."""


def _error() -> Any:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415  optional

    return Status(StatusCode.ERROR)
