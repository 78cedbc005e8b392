"""What a store must do, whatever database is below it.

Rules:

1. `commit` is called by one writer thread at a time per process, and by several processes at once.
2. A batch is the unit of refusal, a group of batches the unit of durability: all batches of a group that are not lost become
   durable together, before `commit` returns, or none does.
3. A batch whose condition does not hold is `Lost` alone; it leaves nothing behind but secrets that nothing rests on, and its group goes on.
4. Indexes within a log are dense, start at 0 and follow commit order. Record bytes never change.
5. Requests and votes are rows that point to their records: what they say is read there, and nowhere else.
6. An error whose extent is unknown (EIO) raises `StorePoisoned`; an error after which nothing was written raises `StoreUnavailable`.
7. Requests, votes, holds, keys, credentials, open and unsettled calls are projections of records: `verify` checks them, nothing else
   believes them for the past.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from licet.ledger.vault import SecretRow, Subject
from licet.model import CallId, Receipt, RequestId
from licet.store.credentials import CredentialChange, CredentialReading
from licet.store.credentials import RewriteCredential as RewriteCredential  # noqa: PLC0414  the part of it that an erasure needs
from licet.store.credentials import StoredCredential as StoredCredential  # noqa: PLC0414  the part of it that an erasure needs
from licet.store.credentials import TouchCredentials as TouchCredentials  # noqa: PLC0414  the part of it that a signed vote needs
from licet.store.forgetting import BeginAnew as BeginAnew  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import DestroySecret as DestroySecret  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import DropPayloads as DropPayloads  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import Forgetting, ForgettingChange
from licet.store.forgetting import KeyUse as KeyUse  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import LiveRequest as LiveRequest  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import PlaceHold as PlaceHold  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import Prunable as Prunable  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import ReleaseHold as ReleaseHold  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import RetireKeys as RetireKeys  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import Rewrap as Rewrap  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import Rewrapped as Rewrapped  # noqa: PLC0414  the other half of this contract
from licet.store.forgetting import Sealed as Sealed  # noqa: PLC0414  the other half of this contract
from licet.store.freezes import FreezeChange, FreezeReading
from licet.store.heads import AppendHead as AppendHead  # noqa: PLC0414  the other half of this contract
from licet.store.heads import HeadChange, HeadReading
from licet.store.heads import HeadState as HeadState  # noqa: PLC0414  the other half of this contract
from licet.store.heads import PutCheckpoint as PutCheckpoint  # noqa: PLC0414  the other half of this contract
from licet.store.heads import PutSigningKey as PutSigningKey  # noqa: PLC0414  the other half of this contract
from licet.store.heads import SigningKey as SigningKey  # noqa: PLC0414  the other half of this contract
from licet.store.heads import StoredCheckpoint as StoredCheckpoint  # noqa: PLC0414  the other half of this contract
from licet.store.outbox import Outbox, OutboxChange
from licet.store.remote import EndCall, RemoteCalls
from licet.store.requests import AddVote as AddVote  # noqa: PLC0414  the other half of this contract
from licet.store.requests import Dossier as Dossier  # noqa: PLC0414  the other half of this contract
from licet.store.requests import MoveRequest as MoveRequest  # noqa: PLC0414  the other half of this contract
from licet.store.requests import OpenRequest as OpenRequest  # noqa: PLC0414  the other half of this contract
from licet.store.requests import RequestChange, RequestReads
from licet.store.requests import TakeBackVote as TakeBackVote  # noqa: PLC0414  the other half of this contract
from licet.store.unsettled import UnsettledCalls, UnsettledChange
from licet.store.versions import RequestStatus as RequestStatus  # noqa: PLC0414  the other half of this contract
from licet.store.versions import Versions

if TYPE_CHECKING:
    from licet.ledger.seal import Filing
    from licet.ledger.source import Source
    from licet.store.index_take import IndexRow


class NewRecord(Struct, frozen=True, gc=False):
    """One record to append: the log it goes to, its exact envelope bytes, and its payload, sealed (`ledger/vault.py`).

    `call` and `request` (the approval request that it opened, voted on, ended or used up) are indexed. `kind` repeats the envelope's kind
    so that a store need not parse it.
    """

    log: str
    kind: str
    call: CallId | None
    envelope: bytes
    sealed: bytes
    request: RequestId | None = None


class OpenCall(Struct, frozen=True, gc=False):
    """Remember that an intent is open. Condition: this boot still holds its lease.

    With a `deadline` (UTC microseconds) somebody else executes it: it belongs to no boot, and ends by `EndCall` (store/remote.py).
    """

    call: CallId
    log: str
    deadline: int | None = None


class CloseCall(Struct, frozen=True, gc=False):
    """The intent's outcome is in this batch. Without condition: a late outcome closes nothing and is still appended."""

    call: CallId


class TakeKey(Struct, frozen=True):
    """Take an idempotency key. Condition `key_taken`: nobody has it. `scope` is a digest of the caller, `digest` of tool and arguments."""

    scope: str
    key: str
    digest: str
    call: CallId
    log: str


class PutBlob(Struct, frozen=True):
    """Keep a snapshot (catalog, bundle, schema, directory) under the SHA-256 (hex) of its bytes. The same bytes twice are one."""

    digest: str
    kind: str
    content: bytes


Change = (
    OpenCall
    | CloseCall
    | TakeKey
    | RequestChange
    | PutBlob
    | CredentialChange
    | HeadChange
    | FreezeChange
    | ForgettingChange
    | OutboxChange
    | UnsettledChange
    | EndCall
)


class Batch(Struct, frozen=True, gc=False):
    """What must happen together: records to append, in order, and changes to projections with their conditions.

    `secrets` are rows that the records rest on and that may not be durable yet. Condition `secrets_moved`: none of their subjects has
    another row, and no secret was erased since `generation`.
    """

    records: tuple[NewRecord, ...]
    changes: tuple[Change, ...] = ()
    secrets: tuple[SecretRow, ...] = ()
    generation: int = 0


class Lost(Struct, frozen=True):
    """A batch that was refused because a condition did not hold: the condition's name and a sentence."""

    condition: str
    message: str


class Committed(Struct, frozen=True, gc=False):
    """A durable batch: one receipt for each of its records."""

    receipts: tuple[Receipt, ...]


Closed = Literal["", "erased", "locked", "damaged"]
"""Why a payload cannot be read: a secret or the row is gone, this process has no key, or the bytes are not those that were sealed."""


class StoredRecord(Struct, frozen=True):
    """A record of the store. `salt` and `payload` are None where it is `closed`."""

    log: str
    index: int
    kind: str
    call: CallId | None
    envelope: bytes
    salt: bytes | None
    payload: bytes | None
    closed: Closed = ""


class TakenKey(Struct, frozen=True):
    """Who has an idempotency key, and whether for the same use."""

    same: bool
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


class LogState(Struct, frozen=True):
    """A tenant's tree as stored: its size and its compact range (perfect-subtree hashes from large to small, 32 bytes each)."""

    log: str
    size: int
    compact_range: tuple[bytes, ...]


class Store(
    CredentialReading, Forgetting, FreezeReading, HeadReading, Outbox, RemoteCalls, RequestReads, UnsettledCalls, Versions, Protocol
):
    """A ledger's database. Reads may come from any thread; every method may raise `StoreError`."""

    boot: str
    """This process's boot id; its lease is held until `close`."""
    is_remote: bool
    """Whether reads go over a network: nobody makes them on an event loop that others wait for."""

    def seal(self, filing: Filing) -> Batch:
        """The filing as a batch, its payloads sealed under the secrets that this store has. Raises `KeyUnavailable`."""
        ...

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

    def find_key(self, log: str, scope: str, key: str, digest: str) -> TakenKey | None:
        """Who has this idempotency key, and whether for the use that has this digest."""
        ...

    def blind(self, log: str, label: str, text: str) -> str:
        """How rows of this log write a text that nobody may guess back (`Vault.blind`). Raises `KeyUnavailable`."""
        ...

    def open_calls(self) -> tuple[OpenIntent, ...]:
        """Every open intent, of every boot."""
        ...

    def boots(self) -> tuple[Boot, ...]:
        """Every process that opened this ledger for writing and has not closed it in order, oldest first. Marks nothing."""
        ...

    def orphaned_calls(self) -> tuple[OpenIntent, ...]:
        """Open intents of boots whose lease is gone, and those that this boot has taken before and not closed yet.

        Taking them marks those boots as recovered, so that they refuse from then on.
        """
        ...

    def find_blob(self, digest: str) -> bytes | None:
        """A snapshot by hash."""
        ...

    def blobs(self, kind: str) -> tuple[tuple[str, bytes], ...]:
        """All snapshots of a kind as (digest, content), oldest first."""
        ...

    def index_rows(self, log: str, start: int, stop: int) -> list[IndexRow]:
        """Records of one log as the search index takes them, without those behind the log's end."""
        ...

    def find_pseudonym(self, subject: Subject) -> str | None:
        """The subject's pseudonym, if it was ever written about and not erased since. Raises `KeyUnavailable`."""
        ...

    def tenants_of_secrets(self) -> tuple[str, ...]:
        """Every tenant of whom somebody or something was written about, in whatever log."""
        ...

    def source(self) -> AbstractContextManager[Source]:
        """One moment of the whole store, for `ledger/verify.py`. Later commits do not show in it."""
        ...

    def close(self) -> None:
        """Release the lease and the files. Safe to call twice."""
        ...
