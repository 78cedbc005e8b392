"""Records of a server, as exact bytes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from msgspec import Raw, Struct

from licet.cli.audit_filter import moment_of
from licet.cli.invocation import Invocation
from licet.cli.loading import utc_now
from licet.cli.record_source import Counting, Found, Told
from licet.cli.remote import client_of, missing
from licet.client.connection import in_path
from licet.errors import IntegrityBroken
from licet.ledger.record import leaf_hash, read_envelope
from licet.model import CallId
from licet.store.contract import StoredRecord
from licet.store.index_rollups import HOUR_US, Bar

T = TypeVar("T")

AT_ONCE = 200
"""Records on a page of the API."""
LOOK_S = 5.0
"""How often a server is asked what is new: each look is a record in its log."""
_PLACE = re.compile(r"(?P<log>.+):(?P<index>[0-9]{1,12})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Shape(Struct, frozen=True, kw_only=True):
    """A record of the API with its bytes as they are, which a decoded one has no more."""

    log: str
    index: int
    leaf: str
    kind: str
    call: str | None
    envelope: Raw
    payload: Raw
    closed: Literal["erased", "locked", "damaged"] | None


class Shapes(Struct, frozen=True, kw_only=True):
    """Records of the API: a page, or a story."""

    records: tuple[Shape, ...]
    next: str | None = None
    call: str | None = None


class RemoteRecords:
    """The records that a credential may see."""

    def __init__(self, invocation: Invocation) -> None:
        self._client = client_of(invocation)

    def search(self, options: Mapping[str, Any], *, limit: int, before: str | None) -> Found:
        """A page of what fits. `before` is a cursor of the server."""
        query = _query(options)
        found: list[StoredRecord] = []
        while True:
            page = self._ask("/api/v1/records", {**query, "limit": min(AT_ONCE, limit - len(found)), "cursor": before}, query.get("tenant"))
            found += [stored(one) for one in page.records]
            before = page.next
            if before is None or len(found) >= limit:
                return Found(tuple(found), before)

    def story(self, reference: str) -> Told:
        """Everything that belongs to what is named."""
        place = _PLACE.fullmatch(reference)
        told = f"there is no call `{reference}` in this ledger"
        step = "`licet audit search` lists records with their places and call ids"
        if place is None:
            with missing(told, step):
                return self._told(self._get(f"/api/v1/stories/{in_path(reference)}", Shapes))
        with missing(f"there is no record {place['index']} in log `{place['log']}`", step):
            named = stored(self._get(f"/api/v1/records/{in_path(place['log'])}/{int(place['index'])}", Shape))
        call = read_envelope(named.envelope, named.payload).call
        if call is None:
            return Told(None, (named,))
        with missing(told, step):
            return self._told(self._get(f"/api/v1/stories/{in_path(call)}", Shapes))

    def count(self, counting: Counting) -> tuple[Bar, ...]:
        """How many there were in each hour."""
        since, until = _moment(counting.since_us), _moment(counting.until_us)
        with _no_log(counting.tenant):
            found = self._client.count_records(by=counting.by, tenant=counting.tenant, since=since, until=until, hours=1)
        return tuple([Bar(_hour(bar.since), bar.value, bar.count) for bar in found.bars])

    def tail(self, options: Mapping[str, Any], tenant: str | None, *, lines: int, follow: bool) -> Iterator[StoredRecord]:
        """The newest, then those to come: of those, what fits among the newest `AT_ONCE` at each look."""
        asked = {**options, "tenant": tenant}
        found = self.search(asked, limit=max(lines, 1), before=None).records
        yield from reversed(found[:lines])
        seen = {record.log: record.index for record in reversed(found)}
        while follow:
            time.sleep(LOOK_S)
            newer = [one for one in self.search(asked, limit=AT_ONCE, before=None).records if one.index > seen.get(one.log, -1)]
            for record in reversed(newer):
                seen[record.log] = max(record.index, seen.get(record.log, -1))
                yield record

    def _ask(self, path: str, query: Mapping[str, Any], tenant: str | None) -> Shapes:
        with _no_log(tenant):
            return self._get(path, Shapes, query)

    def _get(self, path: str, wanted: type[T], query: Mapping[str, Any] | None = None) -> T:
        connection = self._client.connection
        return connection.decoded(connection.ask("GET", path, query=query), wanted)

    def _told(self, found: Shapes) -> Told:
        return Told(found.call, tuple([stored(one) for one in found.records]))


def stored(shape: Shape) -> StoredRecord:
    """The record. Raises `IntegrityBroken` where its leaf is not that of its bytes, or they are of another place."""
    envelope, payload = bytes(shape.envelope), bytes(shape.payload)
    if leaf_hash(envelope).hex() != shape.leaf or read_envelope(envelope, None).log != shape.log:
        raise IntegrityBroken(f"what the server says of record {shape.log}:{shape.index} is not of its bytes")
    call = None if shape.call is None else CallId(shape.call)
    opened = None if payload == b"null" else payload
    return StoredRecord(shape.log, shape.index, shape.kind, call, envelope, None, opened, shape.closed or "")


def _query(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `audit search` as parameters of the API. Raises `Refusal`."""
    now = utc_now()
    found = {name: value for name, value in options.items() if value not in (None, False, ())}
    if "kinds" in found:
        found["kind"] = found.pop("kinds")
    for name in ("since", "until"):
        at_us = moment_of(name, options.get(name), now)
        if at_us is not None:
            found[name] = _moment(at_us)
    return found


def _no_log(tenant: str | None) -> AbstractContextManager[None]:
    return missing(f"there is no log `{tenant}` in this ledger", "`licet doctor` says which logs this credential may read")


def _moment(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)


def _hour(text: str) -> int:
    return int((datetime.fromisoformat(text) - _EPOCH) / timedelta(microseconds=1)) // HOUR_US
