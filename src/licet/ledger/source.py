"""What `verify` and `export` read, from whatever holds it: plain rows, each as it lies there, nothing interpreted.

A source is one moment: everything it gives belongs together, also while others go on writing. Every method may raise `IntegrityBroken`
where what it should give cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from licet.ledger.issued import IssuedCredential
from licet.ledger.record import UNREADABLE, Head, decode_head

Row: TypeAlias = tuple[int, str, str | None, str | None, bytes, bytes, Any]
"""A record: index, kind, call, request, envelope, leaf hash, and its payload in whatever form the source's `open` takes. A tuple, for there
are millions."""

Opening: TypeAlias = tuple[bytes | None, bytes | None, str]
"""Salt and payload, and why they are None where they are: `Closed` of store/contract.py."""


class TreeState(Struct, frozen=True):
    """A log's tree as it is stored: size, and the hashes of its compact range from large to small."""

    log: str
    size: int
    compact_range: tuple[bytes, ...]


class RequestRow(Struct, frozen=True):
    """A request's row: what it is looked up by (`key` and `asker` are blinds), and the state it is in."""

    id: str
    key: str
    tenant: str
    state: str
    expires_at: int
    asker: str
    plan: str | None = None


class VoteRow(Struct, frozen=True):
    """A vote record's row; `person` is a blind, `live` is 1 for a vote that stands."""

    request: str
    person: str
    live: int


class KeyRow(Struct, frozen=True):
    """A taken idempotency key: scope, key and digest as blinds."""

    scope: str
    key: str
    digest: str
    call: str
    log: str


class OpenRow(Struct, frozen=True):
    """An open intent; `deadline` (UTC microseconds) where somebody else executes the call, `held` whether a boot must end it."""

    call: str
    log: str
    boot: str
    deadline: int | None
    held: bool


def open_row(row: Sequence[Any]) -> OpenRow:
    """An open intent of a table's row: call, log, boot, deadline (-1 where there is none), and whether a boot must end it."""
    call, log, boot, deadline, held = row
    return OpenRow(call, log, boot, None if deadline < 0 else deadline, bool(held))


class UnsettledRow(Struct, frozen=True):
    """A call of which nobody saw the end."""

    call: str
    log: str


class HoldRow(Struct, frozen=True):
    """A legal hold that stands since `at` (UTC microseconds); `target` is `Type::pseudonym`, or None for everything in the log."""

    id: str
    log: str
    target: str | None
    at: int


class FreezeRow(Struct, frozen=True):
    """A freeze that stands since `at` (UTC microseconds)."""

    id: str
    log: str
    scope: str
    name: str
    at: int


class CredentialRow(Struct, frozen=True):
    """A credential, and when it ends if something ended it (UTC microseconds)."""

    issued: IssuedCredential
    ends_at: int | None


def credential_row(row: Sequence[Any]) -> CredentialRow:
    """A credential of a table's row: id, digest, content, and when it was made, expires and ends; -1 where it does not."""
    id_, digest, content, created_at, expires_at, ends_at = row
    expires = None if expires_at < 0 else expires_at
    issued = IssuedCredential(id=id_, digest=digest, content=content, created_at=created_at, expires_at=expires)
    return CredentialRow(issued, None if ends_at < 0 else ends_at)


class ErasureRow(Struct, frozen=True):
    """Who was erased, by pseudonym, and the record's log and target."""

    pseudonym: str
    log: str
    target: str


class BlobRow(Struct, frozen=True):
    """A snapshot and the hash under which it is kept."""

    digest: str
    content: bytes


class Projections(Protocol):
    """What is kept beside the records, for speed, and must agree with them."""

    def requests(self) -> Iterable[RequestRow]:
        """Every request, in the order of opening."""
        ...

    def votes(self) -> Iterable[VoteRow]:
        """Every vote, in the order of arrival."""
        ...

    def taken_keys(self) -> Iterable[KeyRow]:
        """Every taken idempotency key."""
        ...

    def open_calls(self) -> Iterable[OpenRow]:
        """Every open intent."""
        ...

    def unsettled(self) -> Iterable[UnsettledRow]:
        """Every call of which nobody saw the end, and nobody has settled since."""
        ...

    def holds(self) -> Iterable[HoldRow]:
        """Every legal hold that stands."""
        ...

    def erasures(self) -> Iterable[ErasureRow]:
        """Everybody who was erased."""
        ...

    def freezes(self) -> Iterable[FreezeRow]:
        """Every freeze that stands."""
        ...

    def credentials(self) -> Iterable[CredentialRow]:
        """Every credential."""
        ...

    def blobs(self) -> Iterable[BlobRow]:
        """Every snapshot."""
        ...

    def strays(self) -> Iterable[str]:
        """What belongs nowhere, as sentences: rows of unknown logs, payloads without a record, damaged pages."""
        ...


class Withheld(Struct, frozen=True):
    """An entry of the head log of which only the leaf hash is shown: it is of a log that is not."""

    leaf: bytes


class HeadLog(Protocol):
    """The signed part of a ledger (ledger/checkpoint.py)."""

    def tree(self) -> TreeState:
        """The head log's tree as it is stored, under its origin. Raises `IntegrityBroken`, as every method may."""
        ...

    def entries(self) -> Iterator[tuple[str, int, bytes | Withheld]]:
        """Every entry, in order, as it is hashed, with the log and size under which it is found."""
        ...

    def entries_of(self, log: str) -> Iterator[tuple[int, int, bytes]]:
        """The entries of one log by size: index in the head log, size, and the entry."""
        ...

    def checkpoints(self) -> Iterable[tuple[int, bytes]]:
        """Every checkpoint, size and note, the smallest first."""
        ...

    def signing_keys(self) -> Sequence[tuple[str, bytes | None]]:
        """The vkey of every signing key, oldest first, with the endorsement of each but the first."""
        ...


class Source(Protocol):
    """Every log with its records, and the projections and the head log where the source has them."""

    projections: Projections | None
    head_log: HeadLog | None

    def trees(self) -> Sequence[TreeState]:
        """Every log's stored tree, by name."""
        ...

    def rows(self, log: str, start: int = 0, stop: int | None = None, /) -> Iterator[Sequence[Row]]:
        """A log's records by index, `start` included, `stop` not, some hundreds at a time."""
        ...

    def open(self, head: Head, body: Any, /) -> Opening:
        """The payload of the row whose envelope has this head. Never raises."""
        ...

    def fits(self, pseudonym: str, ref: str, /) -> bool:
        """Whether the pseudonym is that of `Type::"id"`; True where nobody can tell any more, or there is no key."""
        ...

    def blind(self, log: str, label: str, text: str) -> str | None:
        """How rows of this log write a text that nobody may guess back; None without a key."""
        ...


def opened_rows(source: Source, log: str) -> Iterator[tuple[Row, Opening]]:
    """A log's records, each with its payload opened."""
    for rows in source.rows(log):
        for row in rows:
            try:
                head = decode_head(row[4])
            except (*UNREADABLE, TypeError):
                yield row, (None, None, "damaged")
            else:
                yield row, source.open(head, row[6])
