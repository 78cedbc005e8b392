"""Where a call stands in its caller's work, from `_meta` or the headers of its request: claims, which grant nothing (W3C Trace Context).

The record has the trace, the span of whoever asked as `parent`, and a span of its own, which the upstream is told as its parent: so one
trace reads from the agent through the gateway to the upstream. What is malformed is left out, as the standard wants.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import unquote

from licet.gateway.incoming import Incoming
from licet.model import JsonObject, Trace

WORKFLOW: Final = "licet.workflow"
"""The member of `baggage` that names the piece of work that a call is part of."""
LONGEST: Final = 8_192
"""What is longer is no trace context (W3C Baggage, 3.3.2)."""
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_CARRIED: Final = ("traceparent", "tracestate", "baggage")


def trace_of(incoming: Incoming) -> tuple[Trace, JsonObject]:
    """What the record says of it, and what the upstream is told in `_meta`."""
    meta = incoming.meta
    if not incoming.headers and not any(name in meta for name in _CARRIED):
        return _NOTHING
    found = {name: value for name in _CARRIED if (value := _text(meta.get(name, incoming.headers.get(name)))) is not None}
    workflow = _workflow(found.get("baggage", ""))
    passed: JsonObject = {name: found[name] for name in ("baggage",) if name in found}
    match = _TRACEPARENT.fullmatch(found.get("traceparent", ""))
    if match is None or match[1] == "ff":
        return (Trace(workflow=workflow) if workflow else Trace()), passed
    span = os.urandom(8).hex()
    passed["traceparent"] = f"00-{match[2]}-{span}-{match[4]}"
    if "tracestate" in found:
        passed["tracestate"] = found["tracestate"]
    return Trace(trace_id=match[2], span_id=span, parent=match[3], workflow=workflow), passed


_NOTHING: Final[tuple[Trace, JsonObject]] = (Trace(), {})


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= LONGEST and value.isprintable() else None


def _workflow(baggage: str) -> str | None:
    for member in baggage.split(","):
        name, equals, value = member.partition(";")[0].partition("=")
        if equals and name.strip() == WORKFLOW:
            text = unquote(value.strip())[:200]
            return text if text and text.isprintable() else None  # a terminal shows it one day
    return None
