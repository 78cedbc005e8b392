"""Sealing: from what is to be said to the exact bytes that are appended.

A **statement** says what happened with readable names. Sealed, it is a record: people and targets by pseudonym, the idempotency key by its
blind, secrets by their HMAC, and everything readable in the encrypted payload.

Rules for an envelope over its limit of 65,535 bytes:

1. Nothing is lost: what is cut from the envelope stands whole in the payload, under `detail["uncut"]`, and the envelope commits to it.
2. A text whose JSON is longer than 200 bytes becomes `sha256:` and the SHA-256 (hex) of its UTF-8; a list keeps its first 20 members.
3. `redactions` says which fields were cut, each as `cut:<field>`.
4. The result fits whatever came in: lists of 20 texts and about 20 single ones, of 200 bytes each, and a hundred targets with their
   pseudonyms, are less than 64 KiB.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from licet.ledger.entropy import draw_salt, new_id
from licet.ledger.record import (
    ENVELOPE_LIMIT_BYTES,
    FORMAT_VERSION,
    Actor,
    ApprovalEntry,
    DecisionEntry,
    Envelope,
    Kind,
    OutcomeEntry,
    Payload,
    PayloadEntry,
    ToolEntry,
    TraceEntry,
    commitment,
    decode_payload,
    encode_envelope,
    encode_payload,
)
from licet.ledger.redact import ARGUMENTS_LIMIT_BYTES, cut_arguments, redact_encoded
from licet.ledger.vault import Held, SecretRow, Subject, Vault, payload_aad
from licet.model import CallId, EntityRef, JsonObject
from licet.store.contract import Batch, Change, NewRecord

TEXT_LIMIT_BYTES = 200
LIST_LIMIT = 20

_NEVER_CUT = frozenset({"v", "log", "kind", "id", "at", "boot", "call", "targets", "payload"})
"""Ours, and short; a record would not be found, nor its payload opened, without them."""

_replace = msgspec.structs.replace


class Statement(Struct, frozen=True, kw_only=True, gc=False):
    """What a record will say. `at` is UTC microseconds; `actor.user` and `approval.voters` are ids of users of the log's tenant.

    `about` are further subjects, who stand in the payload only. `marks` are further targets, written as they are: whom they name seals
    nothing, so that the record can be read when they are gone. `user_mark` is such a pseudonym of the actor's user. `secrets` are the
    paths of arguments that are never stored; where the payload does not hold those arguments, they are in `secret_arguments`.
    """

    log: str
    kind: Kind
    at: int
    boot: str
    environment: str
    payload: Payload
    id: str
    call: CallId | None = None
    key: str | None = None
    attempt: int | None = None
    actor: Actor | None = None
    tool: ToolEntry | None = None
    targets: tuple[Subject, ...] = ()
    decision: DecisionEntry | None = None
    approval: ApprovalEntry | None = None
    trace: TraceEntry | None = None
    outcome: OutcomeEntry | None = None
    redactions: tuple[str, ...] = ()
    about: tuple[Subject, ...] = ()
    marks: tuple[str, ...] = ()
    user_mark: str | None = None
    secrets: tuple[str, ...] = ()
    secret_arguments: bytes | None = None


class Filing(Struct, frozen=True, gc=False):
    """What must happen together: statements to record, in order, and changes to projections with their conditions."""

    statements: tuple[Statement, ...]
    changes: tuple[Change, ...] = ()


def state(*, log: str, kind: Kind, at: int, id: str | None = None, **fields: Any) -> Statement:  # noqa: A002  it is the envelope's name for it
    """A statement with an id of its own, drawn at random unless given."""
    return Statement(log=log, kind=kind, at=at, id=new_id(at) if id is None else id, **fields)


def seal_filing(vault: Vault, filing: Filing) -> Batch:
    """The batch that a store commits. Sealing once more gives other bytes: each time has its own salts and nonces."""
    generation = vault.generation  # read first: an erasure between here and the commit is then seen there
    rows: dict[str, SecretRow] = {}
    records = tuple([_Sealing(vault, statement, rows).record() for statement in filing.statements])
    return Batch(records, filing.changes, tuple(rows.values()), generation)


class _Sealing:
    """One statement on its way to a record."""

    __slots__ = ("_held", "_names", "_rows", "_said", "_vault")

    def __init__(self, vault: Vault, statement: Statement, rows: dict[str, SecretRow]) -> None:
        self._vault = vault
        self._said = statement
        self._rows = rows
        self._held: dict[str, Held] = {}
        self._names: dict[str, str] = {}

    def record(self) -> NewRecord:
        said = self._said
        self._note(self._vault.hold_log(said.log))
        actor, approval = self._actor(said.actor), self._approval(said.approval)
        targets = tuple([self._target(target) for target in said.targets])
        for subject in said.about:
            self._pseudonym(subject)
        body, hidden = redact_encoded(encode_payload(said.payload), self._hmac, said.secrets, said.secret_arguments)
        if len(body) > ARGUMENTS_LIMIT_BYTES:
            body, hidden = cut_arguments(body, hidden)
        body, salt = _with_names(body, self._names), draw_salt()
        envelope = Envelope(
            v=FORMAT_VERSION,
            log=said.log,
            kind=said.kind,
            id=said.id,
            at=said.at,
            boot=said.boot,
            environment=said.environment,
            call=said.call,
            key=self._vault.blind(said.log, "key", said.key) if said.key is not None else None,
            attempt=said.attempt,
            actor=actor,
            tool=said.tool,
            targets=targets + said.marks,
            decision=said.decision,
            approval=approval,
            trace=said.trace,
            outcome=said.outcome,
            payload=PayloadEntry(commitment(salt, body), len(body), tuple(self._held)),
            redactions=said.redactions + hidden,
        )
        stored = encode_envelope(envelope)
        if len(stored) > ENVELOPE_LIMIT_BYTES:
            stored, body = _cut(envelope, decode_payload(body), salt)
        aad = payload_aad(said.log, said.kind, said.call, said.id)
        sealed = self._vault.seal(said.log, tuple(self._held.values()), aad, salt, body)
        return NewRecord(said.log, said.kind, said.call, stored, sealed, None if approval is None else approval.request)

    def _hmac(self, secret: bytes) -> bytes:
        """What stands for a secret: equal ones look alike within one log, and nobody without its secret can try."""
        return hmac.digest(self._vault.label_key(self._said.log, "pepper"), secret, "sha256")

    def _actor(self, actor: Actor | None) -> Actor | None:
        if actor is None or actor.user is None:
            return actor if actor is None or self._said.user_mark is None else _replace(actor, user=self._said.user_mark)
        return Actor(agent=actor.agent, service=actor.service, user=self._person(actor.user), session=actor.session)

    def _approval(self, approval: ApprovalEntry | None) -> ApprovalEntry | None:
        if approval is None or not approval.voters:
            return approval
        return _replace(approval, voters=tuple([self._person(voter) for voter in approval.voters]))

    def _person(self, user: str) -> str:
        return self._pseudonym(Subject(self._said.log, "User", user))

    def _target(self, target: Subject) -> str:
        """`Customer::6f1c...`; a tenant is named as its log is."""
        if target.type == "Tenant":
            return f"Tenant::{target.id}"
        return f"{target.type}::{self._pseudonym(target)}"

    def _pseudonym(self, subject: Subject) -> str:
        held = self._vault.hold(subject)
        pseudonym = held.pseudonym
        self._held[pseudonym] = held
        self._names[pseudonym] = held.ref
        if held.row is not None:
            self._note(held)
            if subject.tenant != self._said.log:
                self._note(self._vault.hold_log(subject.tenant))  # its rows are found under the secret of its own log
        return pseudonym

    def _note(self, held: Held) -> None:
        if held.row is not None:
            self._rows[held.pseudonym] = held.row


def _with_names(body: bytes, names: dict[str, str]) -> bytes:
    """The payload with its last member: whose pseudonyms stand in the envelope."""
    if not names:
        return body
    return body[:-1] + (b"," if len(body) > len(b"{}") else b"") + b'"names":' + msgspec.json.encode(names) + b"}"


def subjects_of(log: str, refs: Iterable[EntityRef]) -> tuple[Subject, ...]:
    """Targets that belong to the log's own tenant."""
    return tuple([Subject(log, ref.type, ref.id) for ref in refs])


def _cut(envelope: Envelope, payload: Payload, salt: bytes) -> tuple[bytes, bytes]:
    """The bytes of an envelope that fits, and of the payload that holds what was cut from it."""
    fields: JsonObject = msgspec.to_builtins(envelope)
    uncut: JsonObject = {}
    short = {name: value if name in _NEVER_CUT else _shorten(value, name, uncut) for name, value in fields.items()}
    body = encode_payload(_replace(payload, detail={**(payload.detail or {}), "uncut": uncut}))
    short["payload"] = {**fields["payload"], "commitment": commitment(salt, body), "length": len(body)}
    short["redactions"] = list(short.get("redactions", ())) + [f"cut:{name}" for name in uncut]
    return encode_envelope(msgspec.convert(short, Envelope)), body


def _shorten(value: Any, name: str, uncut: JsonObject) -> Any:
    """The value, short enough; the long one is put into `uncut` under its dotted name."""
    if isinstance(value, dict):
        return {key: _shorten(inner, f"{name}.{key}", uncut) for key, inner in value.items()}
    many = isinstance(value, (list, tuple))
    short = type(value)(_digest_of_long(item) for item in value[:LIST_LIMIT]) if many else _digest_of_long(value)
    if short != value:
        uncut[name] = value
    return short


def _digest_of_long(value: Any) -> Any:
    """A long text as its digest, anything else as it is."""
    if isinstance(value, str) and len(msgspec.json.encode(value)) > TEXT_LIMIT_BYTES:
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value
