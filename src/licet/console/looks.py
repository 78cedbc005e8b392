"""What a verdict, an outcome or a kind of record looks like: its silhouette and its word, the same on every page.

The silhouettes are in templates/sprite.svg, the colours in static/tokens.css under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from licet.ledger.told import Told


class Look(NamedTuple):
    """A silhouette by its name, and the word that always stands beside it."""

    name: str
    word: str


ALLOW: Final = Look("allow", "Allow")
HOLD: Final = Look("hold", "Hold")
DENY: Final = Look("deny", "Deny")
UNKNOWN: Final = Look("unknown", "Unknown")
FROZEN: Final = Look("frozen", "Frozen")
ERROR: Final = Look("error", "Error")
VERDICTS: Final[Mapping[str, Look]] = {"allow": ALLOW, "hold": HOLD, "deny": DENY}
OUTCOMES: Final[Mapping[str, Look]] = {
    "ok": Look("allow", "Done"),
    "error": ERROR,
    "timeout": Look("unknown", "Timed out"),
    "not_executed": Look("none", "Not executed"),
    "unknown": UNKNOWN,
}
STATES: Final[Mapping[str, Look]] = {
    "open": Look("hold", "Held"),
    "approved": Look("allow", "Approved"),
    "consumed": Look("allow", "Used"),
    "rejected": Look("deny", "Rejected"),
    "expired": Look("deny", "Expired"),
    "withdrawn": Look("none", "Withdrawn"),
    "superseded": Look("none", "Asked anew"),
}
_MARKS: Final[Mapping[str, str]] = {
    "allow": "allow",
    "ok": "allow",
    "hold": "hold",
    "deny": "deny",
    "unknown": "unknown",
    "error": "error",
    "fail": "error",
    "warn": "error",
}
"""The marks of the sentences of `licet audit` (ledger/told.py)."""


def look_of_told(told: Told) -> Look:
    """How a record looks that is told so."""
    name = "frozen" if told.word == FROZEN.word.lower() else _MARKS.get(told.mark, "none")
    return Look(name, told.word.capitalize())
