"""What every export for other tools is made of: one row for each record, decoded, with or without its payload.

Rules:

1. Whoever makes the rows decides whether payloads are opened. A row without one says why, and no format guesses.
2. People and targets stand in a row by the names that its payload gives them, else by the pseudonym that the record holds. The pseudonym
   is exported beside the name, so that rows of one person belong together before and after an erasure.
3. Rows are read once, in their order, one at a time. No format keeps them.

Only JSON Lines (ledger/export.py) holds the exact stored bytes. What is exported here is for reading, and proves nothing by itself: the
leaf hash of each row leads back to the record that can be proved.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from licet.errors import IntegrityBroken
from licet.ledger.record import NOTHING, Envelope, Payload, decode_envelope, decode_payload, leaf_hash, unmask

Absence: TypeAlias = Literal["erased", "locked", "damaged", "dropped", "not_asked"]
"""Why a row has no payload: erased for a person, no key at hand, not what was sealed, dropped by retention, or not asked for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Exported(Struct, frozen=True, kw_only=True):
    """One record: where it stands, its RFC 6962 leaf hash (32 bytes), its envelope, and its payload or why there is none."""

    log: str
    index: int
    leaf: bytes
    envelope: Envelope
    payload: Payload | None = None
    absent: Absence | None = None

    @property
    def readable(self) -> Envelope:
        """The envelope with people and targets by name, as far as the payload says them."""
        return self.envelope if self.payload is None else unmask(self.envelope, self.payload.names)


class NamedTarget(Struct, frozen=True):
    """A target: its type, the id that the record holds (a pseudonym, but for a `Tenant`), and its name where that can be read."""

    type: str
    recorded: str
    name: str | None


def exported(
    log: str, index: int, leaf: bytes, envelope: bytes, *, payload: bytes | None = None, absent: Absence | None = None
) -> Exported:
    """The row of a stored record, its payload opened (plain JSON) or absent for a reason.

    Raises `IntegrityBroken` where the envelope is not what the leaf hash is of, or either part cannot be read: a row that leads back to
    nothing is not exported.
    """
    if leaf_hash(envelope) != leaf:
        raise IntegrityBroken(f"record {index} of log `{log}` is not what its leaf hash is of; run `licet audit verify`")
    opened = None if payload is None else decode_payload(payload)
    why = None if opened is not None else absent or "not_asked"
    return Exported(log=log, index=index, leaf=leaf, envelope=decode_envelope(envelope), payload=opened, absent=why)


def named_targets(row: Exported) -> tuple[NamedTarget, ...]:
    """The targets of a record, in its order."""
    pairs = zip(row.envelope.targets, row.readable.targets, strict=True)
    return tuple([_named(recorded, shown) for recorded, shown in pairs])


def moment(row: Exported) -> datetime:
    """When the record was made, in UTC. Raises `IntegrityBroken` where it says no moment that a calendar has."""
    try:
        return _EPOCH + timedelta(microseconds=row.envelope.at)
    except OverflowError as error:
        raise IntegrityBroken(f"record {row.index} of log `{row.log}` was made at no moment: `{row.envelope.at}`") from error


def rfc3339(at: datetime) -> str:
    """A moment in UTC as text, always with six digits after the second."""
    return at.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def embedded(json: Raw) -> bytes | None:
    """JSON that a payload embeds, on one line; None where there is none."""
    return None if json is NOTHING else msgspec.json.format(bytes(json), indent=-1)


def _named(recorded: str, shown: str) -> NamedTarget:
    kind, _, id_ = recorded.partition("::")
    if shown == recorded:
        return NamedTarget(kind, id_, None)
    return NamedTarget(kind, id_, _id_of(shown))


def _id_of(ref: str) -> str:
    """The id in `Customer::"C-412"`."""
    _, quote, rest = ref.partition('::"')
    return rest[:-1].replace('\\"', '"').replace("\\\\", "\\") if quote else ref
