"""Explicit permissions for every tool call an agent makes, approval where it hurts, and an audit log that can be verified."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from licet.catalog.secret import Secret
    from licet.errors import CallDenied, CallFailed, CallHeld, LicetError
    from licet.gate.effects import effect
    from licet.gate.gate import Gate
    from licet.gate.plans import PlannedCall, PlanResult
    from licet.gate.remote import CallReport, CallSeen, ReportReceipt
    from licet.gate.results import Denied, Failed, Held, Ok, Permitted, Proposed, Result
    from licet.model import Caller, Decision, Effect, Outcome, Receipt, Target, Trace

__all__ = [
    "CallDenied",
    "CallFailed",
    "CallHeld",
    "CallReport",
    "CallSeen",
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
    "Permitted",
    "PlanResult",
    "PlannedCall",
    "Proposed",
    "Receipt",
    "ReportReceipt",
    "Result",
    "Secret",
    "Target",
    "Trace",
    "effect",
]

_HOMES = (
    "licet.errors",
    "licet.model",
    "licet.catalog.secret",
    "licet.gate.results",
    "licet.gate.remote",
    "licet.gate.effects",
    "licet.gate.plans",
    "licet.gate.gate",
)
"""Where the public names are at home. A name is imported when it is asked for: `licet version` loads neither policy engine nor store."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(home)
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module `licet` has no attribute `{name}`")
