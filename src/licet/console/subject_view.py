"""How records, effects and messages stand on the pages about subjects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from licet.console.subject_story import Said
from licet.console.wording import quoted_value
from licet.ledger.entries import UNREAD, Entry
from licet.ledger.record import decode_payload, read_envelope
from licet.model import Effect
from licet.server.shapes_records import RecordShape


def entry_of(shape: RecordShape) -> Entry:
    """A record of the API, read as people read it."""
    payload = None if shape.payload is None else bytes(shape.payload)
    opened = UNREAD if payload is None else decode_payload(payload)
    return Entry(shape.log, shape.index, read_envelope(bytes(shape.envelope), payload), opened, shape.closed or "")


def why_path(log: str, index: int) -> str:
    """The page that explains the decision of a record."""
    return f"/console/why/{quote(log, safe='')}/{index}"


def shown_effects(effects: Iterable[Effect]) -> list[dict[str, Any]]:
    """Changes as rows of a table; the target stands there where there are several."""
    found = tuple(effects)
    several = len({effect.target for effect in found}) > 1
    return [
        {
            "field": f"{effect.target}, {effect.field}" if several else effect.field,
            "before": quoted_value(effect.before) if effect.has_before else "not known",
            "after": quoted_value(effect.after),
        }
        for effect in found
    ]


def pieces(text: str) -> tuple[Said, ...]:
    """A message in pieces: what it has in backticks are names as they are in the log."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an odd backtick quotes nothing
        return ((text, ""),)
    return tuple([(part, "id" if place % 2 else "") for place, part in enumerate(parts) if part])
