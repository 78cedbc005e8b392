"""One group of batches, inside one SQLite transaction.

Rules:

1. The boot's state and the tree states are read inside the transaction: nobody can change them before it ends.
2. Conditions are tried in order of arrival. A batch with one condition needs no savepoint, since a statement that changes no row has
   left nothing; a batch with more has one.
3. What has no condition (records, open calls, tree states) is gathered and written with one statement for many rows: apsw lets go of the
   interpreter lock at each step, and gets it back late when other threads are busy.
4. A crash anywhere here leaves the transaction out of the database as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import apsw

from licet.errors import LeaseLost
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
from licet.store.remote import EndCall
from licet.store.request_rows import Blind
from licet.store.sqlite_credentials import change_credentials
from licet.store.sqlite_erase import forget, refuse_retired
from licet.store.sqlite_freezes import change_freezes, read_freezes
from licet.store.sqlite_heads import append_head, put_checkpoint, put_signing_key
from licet.store.sqlite_open import INDEX_BITS as INDEX_BITS  # noqa: PLC0414  places of records are made here
from licet.store.sqlite_outbox import change_outbox
from licet.store.sqlite_remote import NOBODY, end_call
from licet.store.sqlite_requests import REQUEST_CHANGES, change_request
from licet.store.sqlite_rows import fetch
from licet.store.sqlite_unsettled import note_unsettled, settle
from licet.store.unsettled import EndUnsettled, MarkUnsettled, Settle

_ROWS_A_STATEMENT = 64

_FORGETTING = (DestroySecret, DropPayloads, PlaceHold, ReleaseHold, RetireKeys, Rewrap, BeginAnew)
_UNCONDITIONAL = frozenset({OpenCall, CloseCall, PutBlob, AppendHead, PutCheckpoint, MarkUnsettled, EndUnsettled, TouchCredentials})


class _Log:
    """A log within the group: its tree, and the leaves that this group adds."""

    __slots__ = ("base", "leaves", "name", "next", "number", "tree")

    def __init__(self, number: int, name: str, tree: Tree) -> None:
        self.number = number
        self.name = name
        self.base = number << INDEX_BITS
        self.next = self.base + tree.size
        self.tree = tree
        self.leaves: list[bytes] = []


def commit_group(
    con: apsw.Connection, boot: int, blind: Blind, batches: Sequence[Batch], leaves: Sequence[Sequence[bytes]]
) -> tuple[list[Committed | Lost], int]:
    """The group is durable and each batch is answered, as of which generation of secrets.

    Raises `LeaseLost` or an error of apsw; then nothing was written. `leaves` holds the leaf hashes of each batch's records,
    computed before anybody waited for anything.
    """
    con.execute("BEGIN IMMEDIATE")
    try:
        group = _Group(con, boot, blind, batches)
        answers = group.write(leaves)
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise
    return answers, group.generation


class _Group:
    def __init__(self, con: apsw.Connection, boot: int, blind: Blind, batches: Sequence[Batch]) -> None:
        self._con = con
        self._boot = boot
        self._blind = blind
        self.generation = 0
        self._batches = batches
        self._records: list[object] = []
        self._payloads: list[object] = []
        self._opened: dict[CallId, OpenCall] = {}
        self._closed: list[CallId] = []
        self._head_at: int | None = None
        self._standing: Standing | None = Standing()  # None: to be read when an intent asks
        self._logs = self._read_logs()

    def write(self, leaves: Sequence[Sequence[bytes]]) -> list[Committed | Lost]:
        """Everything that is not lost is written, in the order in which it arrived."""
        answers = [
            self._refuse_stale(batch) or (self._apply(batch.changes) if batch.changes else None) or self._append(batch.records, hashes)
            for batch, hashes in zip(self._batches, leaves, strict=True)
        ]
        self._write_gathered()
        if self._head_at is not None:
            append_head(self._con, self._head_at)  # after all states: the head speaks of this group too
        return answers

    def _write_gathered(self) -> None:
        """What was gathered of the batches so far is in the tables."""
        _insert(self._con, "INSERT INTO records (place, kind, call, request, envelope, leaf) VALUES ", 6, self._records)
        _insert(self._con, "INSERT INTO payloads (place, sealed) VALUES ", 2, self._payloads)
        self._records, self._payloads = [], []
        self._write_states()
        self._write_open_calls()

    def _read_logs(self) -> dict[str, _Log]:
        """The tree states of the logs that this group writes to, if this boot may still write (rule 1)."""
        names = tuple(dict.fromkeys([record.log for batch in self._batches for record in batch.records]))
        rows = fetch(self._con, _states_text(len(names)), (*names, self._boot))
        self.generation = rows[0][5] if rows else 0
        if rows and rows[0][6]:
            self._standing = None
        if not rows or rows[0][0] != "running":
            raise LeaseLost("another process has declared this one dead and recovered its open calls; restart it")
        logs = {row[2]: _Log(row[1], row[2], tree_of(row[2], row[3], row[4])) for row in rows if row[1] is not None}
        missing = [name for name in names if name not in logs]
        if missing:
            first = fetch(self._con, "SELECT coalesce(max(number), 0) + 1 FROM logs")[0][0]
            logs.update({name: _Log(first + place, name, Tree()) for place, name in enumerate(missing)})
        return logs

    def _refuse_stale(self, batch: Batch) -> Lost | None:
        """Secrets that the batch rests on are durable with it; or it is lost, since another process made or destroyed some."""
        if not batch.records:
            return None
        if batch.generation != self.generation:
            return Lost("secrets_moved", "a secret was destroyed while this was sealed")
        if batch.secrets and (lost := refuse_retired(self._con, [row.key for row in batch.secrets])) is not None:
            return lost
        for row in batch.secrets:
            text = "INSERT INTO secrets (pseudonym, tenant, lookup, key, wrapped) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            made = self._changed(text, (row.pseudonym, row.tenant, row.lookup, row.key, row.wrapped))
            if not made and self._con.execute("SELECT 1 FROM secrets WHERE pseudonym = ?", (row.pseudonym,)).get is None:
                return Lost("secrets_moved", "another process made a secret for the same subject")
        return None

    def _append(self, records: Sequence[NewRecord], leaves: Sequence[bytes]) -> Committed:
        receipts = []
        for record, leaf in zip(records, leaves, strict=True):
            name = record.log
            log = self._logs[name]
            place = log.next
            log.next = place + 1
            log.leaves.append(leaf)
            self._records += (place, record.kind, record.call, record.request, record.envelope, leaf)
            self._payloads += (place, record.sealed)
            receipts.append(Receipt(name, place - log.base, leaf.hex()))
        return Committed(tuple(receipts))

    def _write_states(self) -> None:
        values: list[object] = []
        for log in self._logs.values():
            if log.leaves:
                log.tree.extend(log.leaves)
                values += (log.number, log.name, log.tree.size, b"".join(log.tree.peaks))
                log.leaves = []
        text = "INSERT INTO logs (number, name, size, compact_range) VALUES "
        _insert(
            self._con, text, 4, values, " ON CONFLICT (number) DO UPDATE SET size = excluded.size, compact_range = excluded.compact_range"
        )

    def _write_open_calls(self) -> None:
        for start in range(0, len(self._closed), _ROWS_A_STATEMENT):
            part = self._closed[start : start + _ROWS_A_STATEMENT]
            self._con.execute(_delete_text(len(part)), part)
        values: list[object] = []
        for call in self._opened.values():
            values += (call.call, call.log, self._boot, self._boot if call.deadline is None else NOBODY, call.deadline)
        _insert(self._con, "REPLACE INTO open_calls (call, log, boot, holder, deadline) VALUES ", 5, values)
        self._closed, self._opened = [], {}

    def _apply(self, changes: Sequence[Change]) -> Lost | None:
        """The batch's changes, or what it lost; then none of them (rule 2)."""
        conditional = []
        for change in changes:
            if type(change) is RefuseFrozen or type(change) is InForce:
                if (refused := self._refuse(change)) is not None:
                    return refused
            elif type(change) not in _UNCONDITIONAL:
                conditional.append(change)
        lost = None
        forgets = any(isinstance(change, _FORGETTING) for change in conditional)
        if forgets:
            self._write_gathered()  # before the savepoint: what came earlier in this group is looked at, and stays whatever this loses
        if conditional:
            lost = self._try(conditional[0]) if len(conditional) == 1 and not forgets else self._try_all(conditional)
        if lost is None:
            for change in changes:
                self._gather(change)
            # What comes behind it in this group was sealed before.
            self.generation += sum(isinstance(change, DestroySecret) for change in changes) if forgets else 0
        return lost

    def _try_all(self, changes: Sequence[Change]) -> Lost | None:
        self._con.execute("SAVEPOINT batch")
        for change in changes:
            lost = self._try(change)
            if lost is not None:
                self._con.execute("ROLLBACK TO batch")
                self._con.execute("RELEASE batch")
                return lost
        self._con.execute("RELEASE batch")
        return None

    def _gather(self, change: Change) -> None:
        if isinstance(change, OpenCall):
            self._opened[change.call] = change
        elif isinstance(change, CloseCall):
            if self._opened.pop(change.call, None) is None:
                self._closed.append(change.call)
        elif isinstance(change, AppendHead):
            self._head_at = change.at
        elif isinstance(change, PutCheckpoint):
            put_checkpoint(self._con, change)
        elif isinstance(change, MarkUnsettled | EndUnsettled):
            note_unsettled(self._con, change)
        elif isinstance(change, TouchCredentials):
            change_credentials(self._con, change)
        elif isinstance(change, PutBlob):
            self._con.execute(
                "INSERT INTO blobs (digest, kind, content) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (change.digest, change.kind, change.content),
            )

    def _try(self, change: Change) -> Lost | None:  # noqa: PLR0911  one for each part of the contract
        if isinstance(change, TakeKey):
            return self._take_key(change)
        if isinstance(change, REQUEST_CHANGES):
            return change_request(self._con, self._blind, change)
        if isinstance(change, EndCall):
            return end_call(self._con, change)
        if isinstance(change, OUTBOX_CHANGES):
            return change_outbox(self._con, change)
        if isinstance(change, PutSigningKey | Settle):
            return settle(self._con, change) if isinstance(change, Settle) else put_signing_key(self._con, change)
        if isinstance(change, PutFreeze | LiftFreeze):
            self._standing = None
            return change_freezes(self._con, change)
        if isinstance(change, _FORGETTING):
            return forget(self._con, change)
        if isinstance(change, CredentialChange):
            return change_credentials(self._con, change)
        raise TypeError(f"no such change: `{type(change).__name__}`")

    def _refuse(self, change: RefuseFrozen | InForce) -> Lost | None:
        """Writes nothing, and asks the database only where something is frozen."""
        if isinstance(change, InForce):
            return None if change.holds else Lost("not_in_force", NOT_IN_FORCE)
        if self._standing is None:
            self._standing = Standing(read_freezes(self._con))
        freeze = self._standing.find(change.call) if self._standing else None
        return None if freeze is None else Lost("frozen", f"{freeze.what} is frozen (freeze `{freeze.id}`)")

    def _changed(self, text: str, values: tuple[object, ...]) -> bool:
        self._con.execute(text, values)
        return self._con.changes() > 0

    def _take_key(self, change: TakeKey) -> Lost | None:
        text = "INSERT INTO keys (scope, key, digest, call, log) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        scope, key, digest = [
            self._blind(change.log, label, value)
            for label, value in (("scope", change.scope), ("key", change.key), ("digest", change.digest))
        ]
        if self._changed(text, (scope, key, digest, change.call, change.log)):
            return None
        return Lost("key_taken", f"another call has taken the idempotency key `{change.key}`")


def _insert(con: apsw.Connection, head: str, width: int, values: list[object], tail: str = "") -> None:
    """All rows, with as few statements as there are multiples of 64 of them (rule 3)."""
    step = _ROWS_A_STATEMENT * width
    for start in range(0, len(values), step):
        part = values[start : start + step]
        con.execute(_insert_text(head, width, len(part) // width, tail), part)


@lru_cache(maxsize=512)
def _insert_text(head: str, width: int, rows: int, tail: str) -> str:
    return head + ", ".join(["(" + ", ".join("?" * width) + ")"] * rows) + tail


@lru_cache(maxsize=_ROWS_A_STATEMENT)
def _delete_text(rows: int) -> str:
    return f"DELETE FROM open_calls WHERE call IN ({', '.join('?' * rows)})"  # noqa: S608  marks only


@lru_cache(maxsize=256)
def _states_text(logs: int) -> str:
    """The boot's state, with one row for each of these logs that exists."""
    return (
        "SELECT boots.state, logs.number, logs.name, logs.size, logs.compact_range, (SELECT secrets FROM ledger), "  # noqa: S608  marks only
        "EXISTS (SELECT 1 FROM freezes) "
        f"FROM boots LEFT JOIN logs ON logs.name IN ({', '.join('?' * logs)}) WHERE boots.number = ?"
    )
