"""OpenTelemetry's current span, where whoever runs the agent has OpenTelemetry."""

from __future__ import annotations

import sys

from msgspec import Struct


class Span(Struct, frozen=True):
    """Ids in hexadecimal, as W3C Trace Context writes them; None where there is no trace."""

    trace_id: str | None = None
    span_id: str | None = None


def current_span() -> Span:
    """The span that is current where this is called."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return Span()
    found = api.get_current_span().get_span_context()
    return Span(f"{found.trace_id:032x}", f"{found.span_id:016x}") if found.is_valid else Span()
