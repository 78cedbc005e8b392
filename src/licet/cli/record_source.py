"""Where `licet audit` gets records from: the ledger at hand, or a server. What is printed is the same.

Rules:

1. Every look is recorded before anything is shown, here or by the server.
2. A record of a server is its exact bytes: it is decoded, told and hashed here, and what its server says of it is held against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from licet.store.contract import StoredRecord
from licet.store.index_rollups import Bar, By

if TYPE_CHECKING:
    from licet.cli.invocation import Invocation


class Found(Struct, frozen=True):
    """A page of records, newest first, and the cursor behind it; None where nothing is left."""

    records: tuple[StoredRecord, ...]
    next: str | None


class Told(Struct, frozen=True):
    """A story: the call that was named, if it was one, and the records that belong to it, in order of time."""

    call: str | None
    records: tuple[StoredRecord, ...]


class Counting(Struct, frozen=True, kw_only=True):
    """What is counted: as typed, and in UTC microseconds."""

    by: By
    since: str
    until: str | None
    since_us: int
    until_us: int
    tenant: str | None


class Records(Protocol):
    """Records, found and counted. What cannot be found raises `Refusal`."""

    def search(self, options: Mapping[str, Any], *, limit: int, before: str | None) -> Found:
        """A page of what fits these options of `audit search`."""
        ...

    def story(self, reference: str) -> Told:
        """Everything that belongs to a call, a request, or a record's call."""
        ...

    def count(self, counting: Counting) -> tuple[Bar, ...]:
        """How many there were in each hour."""
        ...

    def tail(self, options: Mapping[str, Any], tenant: str | None, *, lines: int, follow: bool) -> Iterator[StoredRecord]:
        """The newest that fit, the newest last; where they are followed, then those to come, without end."""
        ...


@contextmanager
def records_of(invocation: Invocation) -> Iterator[Records]:
    """The records of the server that was named, or else of the ledger at hand."""
    if invocation.server is not None:
        from licet.cli.record_source_remote import RemoteRecords  # noqa: PLC0415 - one of the two is loaded

        yield RemoteRecords(invocation)
        return
    from licet.cli.record_source_local import LocalRecords  # noqa: PLC0415 - as above

    yield LocalRecords(invocation)
