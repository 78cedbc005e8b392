"""What a store must do, whatever database is below it.

Rules:

1. `commit` is called by one writer thread at a time per process, and by several processes at once.
2. A batch is the unit of refusal, a group of batches the unit of durability: all batches of a group that are not lost become
   durable together, before `commit` returns, or none does.
3. A batch whose condition does not hold is `Lost` alone; it leaves nothing behind, and its group goes on.
4. Indexes within a log are dense, start at 0 and follow commit order. Record bytes never change.
5. An error whose extent is unknown (EIO) raises `StorePoisoned`; an error after which nothing was written raises `StoreUnavailable`.
6. Requests, votes, keys and open calls are projections of records: `verify` checks them, nothing else believes them for the past.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from licet.model import CallId, Receipt, Request, RequestId, RequestState, Vote

if TYPE_CHECKING:
    from licet.ledger.source import Source


class NewRecord(Struct, frozen=True):
    """One record to append: the log it goes to, its exact envelope bytes, and its payload with the salt that commits to it.

    `call` and `request` (the approval request that it opened, voted on, ended or used up) are indexed. `kind` repeats the envelope's kind
    so that a store need not parse it.
    """

    log: str
    kind: str
    call: CallId | None
    envelope: bytes
    salt: bytes
    payload: bytes
    request: RequestId | None = None


class OpenCall(Struct, frozen=True):
    """Remember that an intent is open. Condition: this boot still holds its lease."""

    call: CallId
    log: str


class CloseCall(Struct, frozen=True):
    """The intent's outcome is in this batch. Without condition: a late outcome closes nothing and is still appended."""

    call: CallId


class TakeKey(Struct, frozen=True):
    """Take an idempotency key. Condition `key_taken`: nobody has it. `scope` is a digest of the caller, `digest` of tool and arguments."""

    scope: str
    key: str
    digest: str
    call: CallId
    log: str


class OpenRequest(Struct, frozen=True):
    """Insert a request. Condition `request_exists`: no live request has its key."""

    request: Request


class MoveRequest(Struct, frozen=True):
    """Move a request. Condition `request_moved`: it is in one of `source` now; to be consumed, `at` must be before `expires_at`."""

    request: RequestId
    source: tuple[RequestState, ...]
    target: RequestState
    at: datetime
    call: CallId | None = None


class AddVote(Struct, frozen=True):
    """Insert a vote. `seen` is how many votes its request had when it was cast, since what the vote brings about rests on them.

    Conditions: the request is open (`request_moved`), this person has not voted on it (`already_voted`), nobody else has voted since
    (`votes_moved`).
    """

    vote: Vote
    seen: int = 0


class PutBlob(Struct, frozen=True):
    """Keep a snapshot (catalog, bundle, schema, directory) under the SHA-256 (hex) of its bytes. The same bytes twice are one."""

    digest: str
    kind: str
    content: bytes


Change = OpenCall | CloseCall | TakeKey | OpenRequest | MoveRequest | AddVote | PutBlob


class Batch(Struct, frozen=True):
    """What must happen together: records to append, in order, and changes to projections with their conditions."""

    records: tuple[NewRecord, ...]
    changes: tuple[Change, ...] = ()


class Lost(Struct, frozen=True):
    """A batch that was refused because a condition did not hold: the condition's name and a sentence."""

    condition: str
    message: str


class Committed(Struct, frozen=True):
    """A durable batch: one receipt for each of its records."""

    receipts: tuple[Receipt, ...]


class StoredRecord(Struct, frozen=True):
    """A record as it lies in the store. `salt` and `payload` are None where they have been erased."""

    log: str
    index: int
    kind: str
    call: CallId | None
    envelope: bytes
    salt: bytes | None
    payload: bytes | None


class TakenKey(Struct, frozen=True):
    """Who has an idempotency key, and for what."""

    digest: str
    call: CallId
    log: str


class OpenIntent(Struct, frozen=True):
    """A call whose intent is durable and whose outcome is not, and the boot it belongs to."""

    call: CallId
    log: str
    boot: str


class Boot(Struct, frozen=True):
    """A process that opened the ledger for writing: `running`, `closed` or `dead`, and whether its lease is held now.

    One that is `running` without a lease has died, and nobody has recovered its calls yet.
    """

    id: str
    started_at: datetime
    state: str
    lives: bool


class Dossier(Struct, frozen=True):
    """A request, its votes and every record that speaks of it (in order of log and index), all as of one moment."""

    request: Request
    votes: tuple[Vote, ...]
    records: tuple[StoredRecord, ...]


class LogState(Struct, frozen=True):
    """A tenant's tree as stored: its size and its compact range (perfect-subtree hashes from large to small, 32 bytes each)."""

    log: str
    size: int
    compact_range: tuple[bytes, ...]


class Store(Protocol):
    """A ledger's database. Reads may come from any thread; every method may raise `StoreError`."""

    boot: str
    """This process's boot id; its lease is held until `close`."""

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        """Append a group, durably, as the rules of this module say. Raises `LeaseLost` if this boot was declared dead."""
        ...

    def records(self, log: str, *, start: int = 0, stop: int | None = None, newest_first: bool = False) -> Iterator[StoredRecord]:
        """Records of one log by index, `start` included, `stop` not; streamed, never all in memory."""
        ...

    def get_record(self, log: str, index: int) -> StoredRecord:
        """One record. Raises `KeyError` when there is none."""
        ...

    def records_of_call(self, call: CallId) -> tuple[StoredRecord, ...]:
        """Every record that names this call, in order of (log, index)."""
        ...

    def logs(self) -> tuple[LogState, ...]:
        """Every log with its stored tree state, by name."""
        ...

    def find_key(self, scope: str, key: str) -> TakenKey | None:
        """Who has this idempotency key."""
        ...

    def find_request(self, key: str) -> Request | None:
        """The request with this key that was opened last, whatever its state; the live one, if there is one."""
        ...

    def find_dossier(self, key: str) -> Dossier | None:
        """As `find_request`, with votes and records."""
        ...

    def get_dossier(self, request: RequestId) -> Dossier:
        """As `get_request`, with votes and records. Raises `KeyError` when there is none."""
        ...

    def get_request(self, request: RequestId) -> Request:
        """One request. Raises `KeyError` when there is none."""
        ...

    def requests(self, *, states: Sequence[RequestState] | None = None, tenant: str | None = None) -> tuple[Request, ...]:
        """Requests in these states, the one that expires first first."""
        ...

    def votes(self, request: RequestId) -> tuple[Vote, ...]:
        """The votes on a request, in order of arrival."""
        ...

    def open_calls(self) -> tuple[OpenIntent, ...]:
        """Every open intent, of every boot."""
        ...

    def orphaned_calls(self) -> tuple[OpenIntent, ...]:
        """Open intents of boots whose lease is gone. Taking them marks those boots as recovered, so that they refuse from then on."""
        ...

    def find_blob(self, digest: str) -> bytes | None:
        """A snapshot by hash."""
        ...

    def blobs(self, kind: str) -> tuple[tuple[str, bytes], ...]:
        """All snapshots of a kind as (digest, content), oldest first."""
        ...

    def source(self) -> AbstractContextManager[Source]:
        """One moment of the whole store, for `ledger/verify.py`. Later commits do not show in it."""
        ...

    def close(self) -> None:
        """Release the lease and the files. Safe to call twice."""
        ...
