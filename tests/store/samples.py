"""Records, requests and votes for the tests of store and ledger; every default is valid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from licet.ledger.entropy import new_id
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.record import Actor, ApprovalEntry, Kind, OutcomeEntry, Payload, ToolEntry, key_digest, key_scope, microseconds
from licet.ledger.seal import Filing, Statement, state
from licet.model import CallId, Obligation, Request, RequestId, RequestState, Vote
from licet.store.contract import (
    AddVote,
    Change,
    CloseCall,
    Committed,
    Lost,
    MoveRequest,
    OpenCall,
    OpenRequest,
    PutBlob,
    Store,
    TakeKey,
)

NOW = datetime(2025, 11, 22, 9, 0, 0, 123457, tzinfo=UTC)
KEYS = KeyEncryptionKeys([bytes(range(32))])
ARGUMENTS = Raw(b'{"amount_cents":2500,"customer_id":"C-412"}')


def now() -> datetime:
    return NOW


def record(kind: Kind = "intent", log: str = "acme", *, payload: Payload | None = None, **fields: Any) -> Statement:
    defaults: dict[str, Any] = {"at": microseconds(NOW), "boot": "boot", "environment": "test", "payload": payload or Payload(reason="why")}
    return state(log=log, kind=kind, **{**defaults, **fields})


def call_id() -> CallId:
    return CallId(new_id(microseconds(NOW)))


def intent(call: CallId, store: Store, *, log: str = "acme", key: str | None = None, request: Request | None = None) -> Statement:
    approval = ApprovalEntry(request.id, ("dana", "omar")) if request is not None else None
    return record(
        "intent",
        log,
        payload=Payload(arguments=ARGUMENTS, detail=None if key is None else {"key": key_of()}),
        call=call,
        key=key,
        approval=approval,
        boot=store.boot,
        tool=ToolEntry("billing.adjust", "write", "d" * 64),
        actor=Actor(agent="bot", user="alice"),
    )


def outcome(call: CallId, *, log: str = "acme", late: bool = False) -> Statement:
    payload = Payload(result=Raw(b'"done"'), detail={"late": True} if late else None)
    return record("outcome", log, payload=payload, call=call, outcome=OutcomeEntry(status="ok"))


def request(key: str = "the-key", *, expires_in: timedelta = timedelta(hours=1), count: int = 2) -> Request:
    need = Obligation(kind="approval", policy="two", policy_digest="p" * 64, principal='User::"alice"', count=count, group="leads")
    return Request(
        id=RequestId(new_id()),
        key=key,
        tenant="acme",
        tool="billing.adjust",
        agent="bot",
        service=None,
        user="alice",
        call=call_id(),
        state=RequestState.OPEN,
        opened_at=NOW,
        expires_at=NOW + expires_in,
        obligations=(need,),
        preview_digest=None,
        summary=Raw(b'{"arguments":' + bytes(ARGUMENTS) + b"}"),
    )


def vote(on: Request, voter: str, verdict: Any = "approve") -> Vote:
    return Vote(request=on.id, voter=voter, person=f"person-{voter}", verdict=verdict, at=NOW, binding="b" * 64)


def opening(asked: Request, *more: Change) -> Filing:
    payload = Payload(detail={"request": asked})
    return Filing(
        (record("hold", asked.tenant, payload=payload, call=asked.call, approval=ApprovalEntry(asked.id)),), (*more, OpenRequest(asked))
    )


def voting(on: Request, voter: str, verdict: Any = "approve", *, seen: int = 0, move: RequestState | None = None) -> Filing:
    cast = vote(on, voter, verdict)
    moves = (MoveRequest(on.id, (RequestState.OPEN,), move, NOW),) if move is not None else ()
    event = {RequestState.APPROVED: "approve", RequestState.REJECTED: "reject"}[move] if move is not None else None
    kept = record("vote", payload=Payload(detail={"vote": cast, "event": event}), approval=ApprovalEntry(on.id, (voter,), verdict))
    return Filing((kept,), (AddVote(cast, on.tenant, seen), *moves))


def taking(key: str, call: CallId) -> TakeKey:
    """The key of `intent`."""
    return TakeKey(key_of()["scope"], key, key_of()["digest"], call, "acme")


def key_of() -> dict[str, str]:
    """What an intent says of its key, beyond the key itself."""
    return {"scope": key_scope("acme", "bot", None, "alice"), "digest": key_digest("billing.adjust", bytes(ARGUMENTS))}


def consuming(asked: Request, call: CallId, store: Store, *, at: datetime = NOW) -> Filing:
    move = MoveRequest(asked.id, (RequestState.APPROVED,), RequestState.CONSUMED, at, call)
    return Filing((intent(call, store, request=asked),), (OpenCall(call, "acme"), move))


def commit(store: Store, filings: Sequence[Filing]) -> list[Committed | Lost]:
    """Seals and commits, as the writer does."""
    return store.commit([store.seal(filing) for filing in filings])


def written(store: Store, *filings: Filing) -> list[Committed]:
    """Commits; nothing may be lost."""
    answers = commit(store, filings)
    assert not [answer for answer in answers if isinstance(answer, Lost)]
    return [answer for answer in answers if isinstance(answer, Committed)]


def small_ledger(store: Store) -> dict[str, Any]:
    """One of everything: two logs, ended and open calls, a consumed request with two votes, an open one, a key, a snapshot."""
    done, held, left, other = (call_id() for _ in range(4))
    used, waiting = request("used"), request("waiting")
    written(
        store,
        Filing((intent(done, store, key="once"),), (OpenCall(done, "acme"), taking("once", done))),
        Filing((record("policy", "operator", payload=Payload(detail={"sha256": DIGEST})),), (PutBlob(DIGEST, "bundle", CONTENT),)),
    )
    written(store, Filing((outcome(done),), (CloseCall(done),)), opening(used), opening(waiting))
    written(store, voting(used, "dana"), voting(used, "omar", seen=1, move=RequestState.APPROVED))
    written(store, consuming(used, held, store), Filing((intent(left, store),), (OpenCall(left, "acme"),)))
    written(store, Filing((outcome(held),), (CloseCall(held),)), Filing((outcome(done, late=True),)))
    written(store, Filing((record("call", payload=Payload(arguments=ARGUMENTS), call=other, outcome=OutcomeEntry(status="ok")),)))
    return {"done": done, "held": held, "left": left, "used": used, "waiting": waiting}


CONTENT = b"permit (principal, action, resource);"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def as_json(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
