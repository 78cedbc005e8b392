"""One group of batches, inside one PostgreSQL transaction.

Rules:

1. Locks are taken in the order that store/postgres_locks.py gives. Tree states are those of the rows as they are once they are locked,
   never of what was read before.
2. Conditions are tried in order of arrival. A batch with one condition needs no savepoint, since a statement that changes no row has
   left nothing; a batch with more has one.
3. What has no condition (records, open calls, tree states) is gathered and written with one statement for all rows: a statement costs a
   round trip.
4. A crash anywhere here, of this process or of the server, leaves the transaction out of the database as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from licet.errors import LeaseLost, StoreUnavailable
from licet.ledger.frozen import Standing
from licet.ledger.merkle import Tree
from licet.model import CallId, Receipt
from licet.store.contract import (
    AppendHead,
    Batch,
    Change,
    CloseCall,
    Committed,
    Lost,
    NewRecord,
    OpenCall,
    PutBlob,
    PutCheckpoint,
    PutSigningKey,
    TakeKey,
)
from licet.store.credentials import CredentialChange, TouchCredentials
from licet.store.forgetting import BeginAnew, DestroySecret, DropPayloads, PlaceHold, ReleaseHold, RetireKeys, Rewrap
from licet.store.freezes import NOT_IN_FORCE, InForce, LiftFreeze, PutFreeze, RefuseFrozen
from licet.store.head_rows import tree_of
from licet.store.outbox import OUTBOX_CHANGES
from licet.store.postgres_credentials import change_credentials
from licet.store.postgres_erase import forget, refuse_retired
from licet.store.postgres_freezes import change_freezes, read_freezes
from licet.store.postgres_heads import append_head, put_checkpoint, put_signing_key
from licet.store.postgres_locks import logs_of
from licet.store.postgres_outbox import change_outbox
from licet.store.postgres_reading import Connection
from licet.store.postgres_remote import NOBODY, end_call
from licet.store.postgres_requests import change_request
from licet.store.postgres_rows import changed
from licet.store.postgres_transact import LEASE_LOST
from licet.store.postgres_unsettled import note_unsettled, settle
from licet.store.remote import EndCall
from licet.store.request_rows import Blind
from licet.store.requests import AddVote, MoveRequest, OpenRequest, TakeBackVote
from licet.store.sqlite_open import INDEX_BITS
from licet.store.unsettled import EndUnsettled, MarkUnsettled, Settle

_REQUESTS = (OpenRequest, MoveRequest, AddVote, TakeBackVote)
_FORGETTING = (DestroySecret, DropPayloads, PlaceHold, ReleaseHold, RetireKeys, Rewrap, BeginAnew)
_UNCONDITIONAL = frozenset({OpenCall, CloseCall, PutBlob, AppendHead, PutCheckpoint, MarkUnsettled, EndUnsettled, TouchCredentials})

_NEW_LOGS = "INSERT INTO logs (name, size, compact_range) SELECT name, 0, '' FROM unnest($1::TEXT[]) AS new (name) ON CONFLICT DO NOTHING"
_STATES = (
    "WITH marked AS (UPDATE boots SET commits = $2 WHERE number = $1 AND state = 'running' RETURNING true AS lives) "
    "SELECT (SELECT lives FROM marked), (SELECT secrets FROM ledger), EXISTS (SELECT 1 FROM freezes), number, name, size, compact_range "
    "FROM (SELECT 1) AS one LEFT JOIN LATERAL ("
    "SELECT number, name, size, compact_range FROM logs WHERE name = ANY($3::TEXT[]) ORDER BY name FOR UPDATE) AS tree ON true"
)
_THERE = "SELECT lookup, pseudonym FROM secrets WHERE lookup = ANY($1::BYTEA[])"
_SECRETS = (
    "INSERT INTO secrets (pseudonym, tenant, lookup, key, wrapped) SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::BYTEA[], $4::TEXT[], "
    "$5::BYTEA[]) AS new (pseudonym, tenant, lookup, key, wrapped) "
    "WHERE NOT EXISTS (SELECT 1 FROM retired_keys WHERE retired_keys.key = new.key) ORDER BY lookup ON CONFLICT DO NOTHING"
)
_WRITE = (
    "WITH added AS (INSERT INTO records (place, kind, call, request, envelope, leaf) "
    "SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::BYTEA[], $6::BYTEA[])), "
    "sealed AS (INSERT INTO payloads (place, sealed) SELECT * FROM unnest($1::BIGINT[], $7::BYTEA[])), "
    "grown AS (UPDATE logs SET size = new.size, compact_range = new.compact_range "
    "FROM unnest($8::BIGINT[], $9::BIGINT[], $10::BYTEA[]) AS new (number, size, compact_range) WHERE logs.number = new.number), "
    "closed AS (DELETE FROM open_calls WHERE call = ANY($11::TEXT[])) "
    "INSERT INTO open_calls (call, log, boot, holder, deadline) "
    "SELECT * FROM unnest($12::TEXT[], $13::TEXT[], $14::BIGINT[], $15::BIGINT[], $16::BIGINT[]) "
    "ON CONFLICT (call) DO UPDATE SET log = excluded.log, boot = excluded.boot, holder = excluded.holder, deadline = excluded.deadline"
)


class _Log:
    """A log within the group: its tree, and the leaves that this group adds."""

    __slots__ = ("base", "is_new", "leaves", "name", "next", "number", "tree")

    def __init__(self, number: int, name: str, tree: Tree) -> None:
        self.number = number
        self.name = name
        self.base = number << INDEX_BITS
        self.next = self.base + tree.size
        self.is_new = tree.size == 0
        self.tree = tree
        self.leaves: list[bytes] = []


async def write_group(  # noqa: PLR0917  each is of another type
    con: Connection, boot: int, number: int, blind: Blind, batches: Sequence[Batch], leaves: Sequence[Sequence[bytes]], known: set[str]
) -> tuple[list[Committed | Lost], int]:
    """The group is written, in the transaction that has begun, and each batch is answered, as of which generation of secrets.

    `leaves` holds the leaf hashes of each batch's records. `known` are names of logs that are there; those found are added.
    Raises `LeaseLost`, or an error of asyncpg.
    """
    group = _Group(con, boot, blind, batches, known)
    await group.begin(number)
    answers = await group.write(leaves)
    return answers, group.generation


class _Group:
    def __init__(self, con: Connection, boot: int, blind: Blind, batches: Sequence[Batch], known: set[str]) -> None:
        self._con = con
        self._boot = boot
        self._blind = blind
        self._batches = batches
        self._known = known
        self.generation = 0
        self._logs: dict[str, _Log] = {}
        self._records: list[tuple[int, NewRecord, bytes]] = []
        self._opened: dict[CallId, OpenCall] = {}
        self._closed: list[CallId] = []
        self._head_at: int | None = None
        self._standing: Standing | None = Standing()  # None: to be read when an intent asks

    async def begin(self, number: int) -> None:
        """Everything is locked, and known as it is then (rule 1)."""
        written = {record.log for batch in self._batches for record in batch.records}
        if unknown := sorted(written - self._known):
            await self._con.execute(_NEW_LOGS, unknown)
        rows = await self._con.fetch(_STATES, self._boot, number, logs_of(self._batches))
        lives, self.generation, freezes = rows[0][:3]
        if not lives:
            raise LeaseLost(LEASE_LOST)
        if freezes:
            self._standing = None
        self._logs = {row[4]: _Log(row[3], row[4], tree_of(row[4], row[5], row[6])) for row in rows if row[3] is not None}
        self._known.update(log.name for log in self._logs.values() if not log.is_new)
        if missing := written - self._logs.keys():
            self._known -= missing
            raise StoreUnavailable(f"log `{min(missing)}` was there and is not any more")

    async def write(self, leaves: Sequence[Sequence[bytes]]) -> list[Committed | Lost]:
        """Everything that is not lost is written, in the order in which it arrived."""
        present = await self._bring_secrets(self._batches) if not self._forgets() else None
        answers: list[Committed | Lost] = []
        for batch, hashes in zip(self._batches, leaves, strict=True):
            lost = await self._refuse_stale(batch, present)
            if lost is None and batch.changes:
                lost = await self._apply(batch.changes)
            answers.append(lost or self._append(batch.records, hashes))
        await self._write_gathered()
        if empty := [log.number for log in self._logs.values() if log.is_new and log.tree.size == 0]:
            await self._con.execute(
                "DELETE FROM logs WHERE number = ANY($1::BIGINT[]) AND size = 0", empty
            )  # all that was for them is lost
        if self._head_at is not None:
            await append_head(self._con, self._head_at)  # after all states: the head speaks of this group too
        return answers

    def _forgets(self) -> bool:
        return any(isinstance(change, _FORGETTING) for batch in self._batches for change in batch.changes)

    async def _bring_secrets(self, batches: Sequence[Batch]) -> set[str]:
        """Secrets that batches rest on are durable with them; which are there.

        None is made for a batch that another process's secret is in the way of.
        """
        bringing = [batch for batch in batches if batch.secrets and batch.generation == self.generation]
        if not bringing:
            return set()
        lookups = [row.lookup for batch in bringing for row in batch.secrets]
        there = await self._present(lookups)
        welcome = [batch for batch in bringing if all(there.get(row.lookup, row.pseudonym) == row.pseudonym for row in batch.secrets)]
        new = {row.lookup: row for batch in welcome for row in batch.secrets if row.lookup not in there}
        if new:
            columns = zip(*[(row.pseudonym, row.tenant, row.lookup, row.key, row.wrapped) for row in new.values()], strict=True)
            await self._con.execute(_SECRETS, *[list(column) for column in columns])
            there = await self._present(lookups)
        return set(there.values())

    async def _present(self, lookups: Sequence[bytes]) -> dict[bytes, str]:
        return {row[0]: row[1] for row in await self._con.fetch(_THERE, lookups)}

    async def _refuse_stale(self, batch: Batch, present: set[str] | None) -> Lost | None:
        """The batch is lost where another process made or destroyed secrets that it rests on."""
        if not batch.records:
            return None
        if batch.generation != self.generation:
            return Lost("secrets_moved", "a secret was destroyed while this was sealed")
        if not batch.secrets:
            return None
        if (lost := await refuse_retired(self._con, [row.key for row in batch.secrets])) is not None:
            return lost
        there = await self._bring_secrets([batch]) if present is None else present
        if any(row.pseudonym not in there for row in batch.secrets):
            return Lost("secrets_moved", "another process made a secret for the same subject")
        return None

    def _append(self, records: Sequence[NewRecord], leaves: Sequence[bytes]) -> Committed:
        receipts = []
        for record, leaf in zip(records, leaves, strict=True):
            log = self._logs[record.log]
            place = log.next
            log.next = place + 1
            log.leaves.append(leaf)
            self._records.append((place, record, leaf))
            receipts.append(Receipt(log.name, place - log.base, leaf.hex()))
        return Committed(tuple(receipts))

    async def _write_gathered(self) -> None:
        """What was gathered of the batches so far is in the tables."""
        if not self._records and not self._opened and not self._closed:
            return
        grown = [log for log in self._logs.values() if log.leaves]
        for log in grown:
            log.tree.extend(log.leaves)
            log.leaves = []
        opened = list(self._opened.values())
        await self._con.execute(
            _WRITE,
            [place for place, _, _ in self._records],
            [record.kind for _, record, _ in self._records],
            [record.call for _, record, _ in self._records],
            [record.request for _, record, _ in self._records],
            [record.envelope for _, record, _ in self._records],
            [leaf for _, _, leaf in self._records],
            [record.sealed for _, record, _ in self._records],
            [log.number for log in grown],
            [log.tree.size for log in grown],
            [b"".join(log.tree.peaks) for log in grown],
            self._closed,
            [change.call for change in opened],
            [change.log for change in opened],
            [self._boot] * len(opened),
            [self._boot if change.deadline is None else NOBODY for change in opened],
            [change.deadline for change in opened],
        )
        self._records, self._opened, self._closed = [], {}, []

    async def _apply(self, changes: Sequence[Change]) -> Lost | None:
        """The batch's changes, or what it lost; then none of them (rule 2)."""
        conditional = []
        for change in changes:
            if type(change) is RefuseFrozen or type(change) is InForce:
                if (refused := await self._refuse(change)) is not None:
                    return refused
            elif type(change) not in _UNCONDITIONAL:
                conditional.append(change)
        lost = None
        forgets = any(isinstance(change, _FORGETTING) for change in conditional)
        if forgets:
            await (
                self._write_gathered()
            )  # before the savepoint: what came earlier in this group is looked at, and stays whatever this loses
        if conditional:
            lost = await self._try(conditional[0]) if len(conditional) == 1 and not forgets else await self._try_all(conditional)
        if lost is None:
            for change in changes:
                await self._gather(change)
            # What comes behind it in this group was sealed before.
            self.generation += sum(isinstance(change, DestroySecret) for change in changes) if forgets else 0
        return lost

    async def _try_all(self, changes: Sequence[Change]) -> Lost | None:
        await self._con.execute("SAVEPOINT batch")
        for change in changes:
            lost = await self._try(change)
            if lost is not None:
                await self._con.execute("ROLLBACK TO batch; RELEASE batch")
                return lost
        await self._con.execute("RELEASE batch")
        return None

    async def _gather(self, change: Change) -> None:
        if isinstance(change, OpenCall):
            self._opened[change.call] = change
        elif isinstance(change, CloseCall):
            if self._opened.pop(change.call, None) is None:
                self._closed.append(change.call)
        elif isinstance(change, AppendHead):
            self._head_at = change.at
        elif isinstance(change, PutCheckpoint):
            await put_checkpoint(self._con, change)
        elif isinstance(change, MarkUnsettled | EndUnsettled):
            await note_unsettled(self._con, change)
        elif isinstance(change, TouchCredentials):
            await change_credentials(self._con, change)
        elif isinstance(change, PutBlob):
            text = "INSERT INTO blobs (digest, kind, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
            await self._con.execute(text, change.digest, change.kind, change.content)

    async def _try(self, change: Change) -> Lost | None:  # noqa: PLR0911  one for each part of the contract
        if isinstance(change, TakeKey):
            return await self._take_key(change)
        if isinstance(change, _REQUESTS):
            return await change_request(self._con, self._blind, change)
        if isinstance(change, OUTBOX_CHANGES):
            return await change_outbox(self._con, change)
        if isinstance(change, PutSigningKey):
            return await put_signing_key(self._con, change)
        if isinstance(change, Settle):
            return await settle(self._con, change)
        if isinstance(change, EndCall):
            return await end_call(self._con, change)
        if isinstance(change, PutFreeze | LiftFreeze):
            self._standing = None
            return await change_freezes(self._con, change)
        if isinstance(change, _FORGETTING):
            return await forget(self._con, change)
        if isinstance(change, CredentialChange):
            return await change_credentials(self._con, change)
        raise TypeError(f"no such change: `{type(change).__name__}`")

    async def _refuse(self, change: RefuseFrozen | InForce) -> Lost | None:
        """Writes nothing, and asks the database only where something is frozen."""
        if isinstance(change, InForce):
            return None if change.holds else Lost("not_in_force", NOT_IN_FORCE)
        if self._standing is None:
            self._standing = Standing(await read_freezes(self._con))
        freeze = self._standing.find(change.call) if self._standing else None
        return None if freeze is None else Lost("frozen", f"{freeze.what} is frozen (freeze `{freeze.id}`)")

    async def _take_key(self, change: TakeKey) -> Lost | None:
        text = "INSERT INTO keys (scope, key, digest, call, log) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
        scope, key, digest = [
            self._blind(change.log, label, value)
            for label, value in (("scope", change.scope), ("key", change.key), ("digest", change.digest))
        ]
        if await changed(self._con, text, scope, key, digest, change.call, change.log):
            return None
        return Lost("key_taken", f"another call has taken the idempotency key `{change.key}`")
