"""Do the rows of a request rest on records? Asked before an approval is used, since rows are only projections.

Rules:

1. One `hold` record of the tenant's log opened the request.
2. Each `vote` record has its row, which says whether that vote stands: it does not once a later record has taken it back.
3. No record has ended the request or used it up.
4. A record counts only if its payload is what its envelope commits to.

Whoever can write the records too, and their tree, is not stopped by this: `audit verify`, and a root kept elsewhere, are what shows it.
"""

from __future__ import annotations

from licet.errors import IntegrityBroken
from licet.ledger.record import commitment, decode_envelope, decode_payload
from licet.model import JsonObject, Request
from licet.store.contract import Dossier, StoredRecord

_OF_LIVE_REQUESTS = frozenset({"hold", "vote"})


def attest(found: Dossier) -> None:
    """Hold a live request and its votes against their records. Raises `IntegrityBroken`, which says what does not agree."""
    attest_rows(found)
    ended = next((record for record in found.records if record.kind not in _OF_LIVE_REQUESTS), None)
    if ended is not None:
        request = found.request
        raise IntegrityBroken(f"request `{request.id}` stands as {request.state}, but record {ended.log}:{ended.index} has ended it")


def attest_rows(found: Dossier) -> None:
    """As `attest`, for a request in any state: rules 1, 2 and 4. Raises `IntegrityBroken`."""
    request = found.request
    details = [(record.kind, _detail(record, request)) for record in found.records]
    opened = [detail["request"] for kind, detail in details if kind == "hold" and "request" in detail]
    ballots = [_ballot(detail) for kind, detail in details if kind == "vote"]
    if len(opened) != 1:
        raise IntegrityBroken(f"request `{request.id}` was opened by {len(opened)} records")
    standing = {blind for blind, live in found.people if live}
    if len(ballots) != len(found.people) or _live(ballots) != [live for _, live in found.people] or len(standing) != len(found.votes):
        raise IntegrityBroken(f"the votes on request `{request.id}` are not those that the log has")


def times_voted(found: Dossier, voter: str) -> int:
    """How often this user has voted on the request, whether their vote stands or not. Raises as `attest`."""
    details = [_detail(record, found.request) for record in found.records if record.kind == "vote"]
    return sum(detail["vote"]["voter"] == voter for detail in details if detail.get("taken_back") is None)


def _ballot(detail: JsonObject) -> tuple[str, bool]:
    """The person of a vote record, and whether it casts a vote or takes one back."""
    taken_back = detail.get("taken_back")
    said = detail["vote"] if taken_back is None else taken_back
    return said["person"], taken_back is None


def _live(ballots: list[tuple[str, bool]]) -> list[bool]:
    """Which of these vote records stand: a vote that its person did not take back afterwards."""
    return [cast and not any(person == other for other, _ in ballots[at + 1 :]) for at, (person, cast) in enumerate(ballots)]


def _detail(record: StoredRecord, request: Request) -> JsonObject:
    """What a record of this request says beyond its envelope, if it is one and its payload is the one that it commits to."""
    envelope = decode_envelope(record.envelope)
    place = f"record {record.log}:{record.index}"
    if (record.log, record.kind) != (request.tenant, envelope.kind) or envelope.approval is None or envelope.approval.request != request.id:
        raise IntegrityBroken(f"{place} is kept under a request that it does not speak of")
    if record.salt is None or record.payload is None or commitment(record.salt, record.payload) != envelope.payload.commitment:
        raise IntegrityBroken(f"the payload of {place} is not what its envelope commits to")
    return decode_payload(record.payload).detail or {}
