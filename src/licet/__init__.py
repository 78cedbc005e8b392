"""Explicit permissions for every tool call an agent makes, approval where it hurts, and an audit log nobody can quietly change."""

from __future__ import annotations

from licet.errors import CallDenied, CallFailed, CallHeld, LicetError
from licet.gate.gate import Gate
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.model import Caller, Decision, Effect, Outcome, Receipt, Target, Trace

__all__ = [
    "CallDenied",
    "CallFailed",
    "CallHeld",
    "Caller",
    "Decision",
    "Denied",
    "Effect",
    "Failed",
    "Gate",
    "Held",
    "LicetError",
    "Ok",
    "Outcome",
    "Receipt",
    "Result",
    "Target",
    "Trace",
]
