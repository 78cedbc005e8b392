"""What `verify` and `export` read, from whatever holds it: plain rows, each as it lies there, nothing interpreted.

A source is one moment: everything it gives belongs together, also while others go on writing. Every method may raise `IntegrityBroken`
where what it should give cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

Row: TypeAlias = tuple[int, str, str | None, str | None, bytes, bytes, bytes | None, bytes | None, str]
"""A record: index, kind, call, request, envelope, leaf hash, salt, payload, and why the last two are None where they are (`Closed` of
store/contract.py). A tuple, for there are millions."""


class TreeState(Struct, frozen=True):
    """A log's tree as it is stored: size, and the hashes of its compact range from large to small."""

    log: str
    size: int
    compact_range: tuple[bytes, ...]


class RequestRow(Struct, frozen=True):
    """A request's row: what it is looked up by (`key` is a blind), and the state it is in."""

    id: str
    key: str
    tenant: str
    state: str
    expires_at: int


class VoteRow(Struct, frozen=True):
    """A vote's row; `person` is a blind."""

    request: str
    person: str


class KeyRow(Struct, frozen=True):
    """A taken idempotency key: scope, key and digest as blinds."""

    scope: str
    key: str
    digest: str
    call: str
    log: str


class OpenRow(Struct, frozen=True):
    """An open intent."""

    call: str
    log: str
    boot: str


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

    def blobs(self) -> Iterable[BlobRow]:
        """Every snapshot."""
        ...

    def strays(self) -> Iterable[str]:
        """What belongs nowhere, as sentences: rows of unknown logs, payloads without a record, damaged pages."""
        ...


class Source(Protocol):
    """Every log with its records, and the projections where the source has them."""

    projections: Projections | None

    def trees(self) -> Sequence[TreeState]:
        """Every log's stored tree, by name."""
        ...

    def rows(self, log: str) -> Iterator[Sequence[Row]]:
        """A log's records by index, some hundreds at a time."""
        ...

    def blind(self, log: str, label: str, text: str) -> str | None:
        """How rows of this log write a text that nobody may guess back; None without a key."""
        ...
