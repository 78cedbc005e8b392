"""What somebody outside can hold the log to, over HTTP: the signed checkpoint, proofs of records, and of how a kept checkpoint goes on.

Rules:

1. What is handed out was verified against the signed root first (`ledger/proving.py`). Whoever verifies it needs one key, and no access.
2. A checkpoint names no tenant, so it is for whoever may prove in any; a proof is of one record of a log in which this one may prove.
3. A proof with its payload is a reading, and recorded as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

from licet.errors import IntegrityBroken, StoreError
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.note import text_of
from licet.ledger.proving import NotCovered, Tiles, newest_checkpoint, prove_continuation, prove_record
from licet.ledger.report import Report
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.limits import AtOnce
from licet.server.problems import Problem, not_found
from licet.server.records import note_reading
from licet.server.shapes_records import Index, Name

_VERIFYING: Final = AtOnce(1)
"""It reads every record, and one finds what the other would."""


class CheckpointShape(Struct, frozen=True, kw_only=True):
    """The newest checkpoint: a C2SP signed note, and what it says."""

    origin: str
    size: int
    root: str
    note: str


class ProvedRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which record, and whether the proof opens its payload, in clear."""

    log: Name
    index: Index
    payload: bool = False


class KeptCheckpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed note that was kept from earlier."""

    note: Annotated[str, Meta(min_length=1, max_length=100_000)]


class ProblemFound(Struct, frozen=True, kw_only=True):
    """Something in the log that is not what was written."""

    log: str | None
    index: int | None
    message: str


class Verified(Struct, frozen=True, kw_only=True):
    """A verification of the whole ledger. `sound`: nothing was found; at most 100 problems are listed of `problem_count`."""

    sound: bool
    records: int
    logs: int
    erased: int
    locked: int
    problem_count: int
    problems: tuple[ProblemFound, ...]


def checkpoint(asked: Asked) -> Answer:
    """The newest checkpoint."""
    if not asked.tenants("records.prove"):
        raise not_permitted("records.prove")
    note = _covered(lambda: newest_checkpoint(asked.gate.store).note)
    said = Checkpoint.parse(text_of(note))
    return Answer(body=CheckpointShape(origin=said.origin, size=said.size, root=said.root.hex(), note=note.decode()))


def prove(asked: Asked) -> Answer:
    """The proof of one record, as `audit verify --proof` takes it."""
    params: ProvedRecord = asked.params
    asked.allow("records.prove", params.log)
    ledger = asked.gate.ledger
    try:
        record = ledger.store.get_record(params.log, params.index)
    except KeyError as error:
        raise not_found() from error
    if params.payload:
        asked.allow("records.read", params.log)
        if record.payload is None:
            raise Problem("payload_closed", "the payload of this record cannot be opened", status=422)
    reference = {"reference": f"{params.log}:{params.index}"}
    note_reading(asked, "prove", reference, (params.log,), shown=1, payloads=params.payload)
    ledger.notary.turn()
    tiles = index_tiles(asked)
    with ledger.store.source() as source:
        line = _covered(lambda: prove_record(ledger.store, source, record, tiles=tiles, with_payload=params.payload))
    return Answer(content=line)


def index_tiles(asked: Asked) -> Tiles | None:
    """The tiles of the search index; a proof takes longer without, and is the same."""
    try:
        return asked.gate.ledger.search().index
    except StoreError:
        return None


def prove_kept(asked: Asked) -> Answer:
    """The proof that the log goes on from a checkpoint that was kept."""
    if not asked.tenants("records.prove"):
        raise not_permitted("records.prove")
    try:
        line = _covered(lambda: prove_continuation(asked.gate.store, asked.body.note.encode()))
    except IntegrityBroken as error:
        raise Problem("not_continued", str(error), status=409) from error
    return Answer(content=line)


def verify(asked: Asked) -> Answer:
    """Everything is recomputed. Reads every record."""
    asked.allow("records.verify", OPERATOR_LOG)
    if not _VERIFYING.enter(""):
        raise Problem("too_many_requests", "the ledger is being verified already", retry_after_s=10)
    try:
        report: Report = asked.gate.verify()
    finally:
        _VERIFYING.leave("")
    problems = [ProblemFound(log=one.log, index=one.index, message=one.message) for one in report.problems[:100]]
    return Answer(
        body=Verified(
            sound=report.ok,
            records=report.records,
            logs=len(report.logs),
            erased=report.erased,
            locked=report.locked,
            problem_count=report.problem_count,
            problems=tuple(problems),
        )
    )


def _covered(make: Callable[[], bytes]) -> bytes:
    try:
        return make()
    except NotCovered as error:
        raise Problem("not_covered", f"{error}; what is written is signed within a second", status=409) from error


_TAG = "proofs"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/checkpoint",
        operation="getCheckpoint",
        summary="The newest signed checkpoint, which fixes every record up to it",
        tag=_TAG,
        action="records.prove",
        handler=checkpoint,
        returns=CheckpointShape,
        statuses=(409,),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/records/{log}/{index}/proof",
        operation="proveRecord",
        summary="A proof that a record is in the log, which stands alone",
        tag=_TAG,
        action="records.prove",
        handler=prove,
        params=ProvedRecord,
        returns=Raw,
        statuses=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/checkpoint/consistency",
        operation="proveConsistency",
        summary="A proof that the log goes on from a checkpoint that was kept",
        tag=_TAG,
        action="records.prove",
        handler=prove_kept,
        body=KeptCheckpoint,
        returns=Raw,
        statuses=(409,),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/verify",
        operation="verifyLedger",
        summary="Recompute the whole ledger, and say what is not what was written",
        tag=_TAG,
        action="records.verify",
        handler=verify,
        returns=Verified,
    ),
)
