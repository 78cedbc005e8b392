"""Rows of the schema as values, whatever database holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken, SecretBroken
from licet.ledger.record import UNREADABLE, Head, decode_head
from licet.ledger.searchable import searchable_text
from licet.ledger.vault import SecretRow, Vault, payload_aad
from licet.model import Request, RequestState, TakenBack, Vote
from licet.store.contract import Closed, StoredRecord

SECRET_ROW = "SELECT pseudonym, tenant, lookup, key, wrapped FROM secrets WHERE "  # noqa: S105  a query
"""The beginning of a query for a secret."""
RECORD = (
    "SELECT logs.name, place & 1099511627775, records.kind, call, envelope, sealed "
    "FROM records LEFT JOIN payloads USING (place) LEFT JOIN logs ON logs.number = place >> 40 "
)
"""The beginning of a query for records, as `record_of` takes them. 2^40 - 1 masks the index."""


class _Opening(Struct, frozen=True):
    request: Request | None = None
    vote: Vote | None = None
    taken_back: TakenBack | None = None


class _Said(Struct, frozen=True):
    detail: _Opening | None = None


_decode_said = msgspec.json.Decoder(_Said).decode

UNREADABLE_ROW = (*UNREADABLE, ValueError, TypeError)
"""What a row that was damaged or edited can raise on its way to a value."""


def find_secret(rows: Sequence[Any]) -> SecretRow | None:
    """The one row that was looked for."""
    return SecretRow(*rows[0]) if rows else None


def opened(vault: Vault | None, head: Head, sealed: bytes | None) -> tuple[bytes | None, bytes | None, Closed]:
    """Salt, payload and why there are none. Raises `KeyUnavailable` where a secret is there under a key that is not."""
    if sealed is None:
        return None, None, "erased"
    if vault is None:
        return None, None, "locked"
    try:
        found = vault.open(head.log, head.payload.subjects, payload_aad(head.log, head.kind, head.call, head.id), sealed)
    except (ValueError, SecretBroken):
        return None, None, "damaged"
    return (None, None, "erased") if found is None else (found.salt, found.payload, "")


def record_of(vault: Vault | None, row: Sequence[Any]) -> StoredRecord:
    """A record from log, index, kind, call, envelope and sealed payload."""
    log, index, kind, call, envelope, sealed = row
    try:
        head = decode_head(envelope)
    except UNREADABLE_ROW:
        return StoredRecord(log, index, kind, call, envelope, None, None, "damaged")
    return StoredRecord(log, index, kind, call, envelope, *opened(vault, head, sealed))


def text_in(vault: Vault | None, envelope: bytes, sealed: bytes | None) -> str | None:
    """The words by which a record can be found; None where its payload cannot be opened."""
    try:
        payload = opened(vault, decode_head(envelope), sealed)[1]
    except UNREADABLE_ROW:
        return None
    return None if payload is None else searchable_text(payload)


def request_of(request: str, state: str, records: Sequence[StoredRecord]) -> Request | None:
    """The request as its record opened it, in the state that it is in now; None where that was erased.

    Raises `IntegrityBroken` where the record cannot be read or there is none.
    """
    for record in records:
        if record.kind == "hold":
            if record.closed == "erased":
                return None
            found = _said(record).request
            if found is not None:
                if found.id != request:
                    raise IntegrityBroken(f"record {record.log}:{record.index} opened request `{found.id}`, and is kept under `{request}`")
                return msgspec.structs.replace(found, state=_state(state))
    raise IntegrityBroken(f"no record opened request `{request}`; run `licet audit verify`")


def votes_of(records: Sequence[StoredRecord]) -> tuple[Vote, ...]:
    """The votes that stand by these records, in their order; without those that were erased or taken back."""
    votes: list[Vote] = []
    for record in records:
        said = _said(record) if record.kind == "vote" and record.closed != "erased" else _Opening()
        if said.taken_back is not None:
            votes = [vote for vote in votes if vote.person != said.taken_back.person]
        if said.vote is not None:
            votes.append(said.vote)
    return tuple(votes)


def _said(record: StoredRecord) -> _Opening:
    try:
        return (None if record.payload is None else _decode_said(record.payload).detail) or _Opening()
    except UNREADABLE_ROW as error:
        raise IntegrityBroken(f"the payload of record {record.log}:{record.index} cannot be read: {error}") from error


def _state(text: str) -> RequestState:
    try:
        return RequestState(text)
    except ValueError as error:
        raise IntegrityBroken(f"a stored request is in no known state: `{text}`") from error
