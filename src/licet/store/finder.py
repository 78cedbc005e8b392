"""One search over a ledger, by readable names: which become pseudonyms here, so that the index never holds a person's name in a term.

Rules:

1. A name finds nothing where its subject was never written about, or was erased: nothing is made by looking.
2. Without the ledger's key nobody is found by name; a pseudonym finds its records without it.
3. What is found is read from the ledger, never from the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from licet.ledger.vault import Subject
from licet.model import EntityRef
from licet.store.contract import Store, StoredRecord
from licet.store.index import PATIENCE_S, Index
from licet.store.index_ask import Count, Moments, Page, Query
from licet.store.index_take import IndexRow
from licet.store.index_terms import Field


class Wanted(Struct, frozen=True, kw_only=True):
    """What is looked for. None is not compared; times are UTC microseconds, `until_us` itself not included.

    `actor` is an agent, service or user. `target` is a type and an id. `plain` holds values of further fields (`store/index_terms.py`) that
    stand in envelopes as they are.
    """

    tenant: str | None = None
    actor: str | None = None
    user: str | None = None
    voter: str | None = None
    targets: tuple[EntityRef, ...] = ()
    plain: Mapping[Field, tuple[str, ...]] = {}
    text: str | None = None
    since_us: int | None = None
    until_us: int | None = None


class Found(Struct, frozen=True):
    """A page, the newest record first; `next` continues it."""

    records: tuple[StoredRecord, ...]
    next: str | None


class LedgerRows:
    """The ledger as its indexer reads it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sizes(self) -> dict[str, int]:
        """How many records each log has."""
        return {state.log: state.size for state in self._store.logs()}

    def rows(self, log: str, start: int, stop: int) -> Sequence[IndexRow]:
        """The records of a log from `start` up to `stop`."""
        return self._store.index_rows(log, start, stop)


class Finder:
    """Asks one ledger through its index."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index

    def find(self, wanted: Wanted, *, limit: int = 100, after: str | None = None, logs: Sequence[str] | None = None) -> Found:
        """A page of what is looked for, in no other logs than these where they are given.

        Raises `ValueError` for a cursor that no page gave, `KeyUnavailable`, `StoreError`.
        """
        page = self.places(wanted, limit=limit, after=after, logs=logs)
        return Found(tuple([self._store.get_record(place.log, place.index) for place in page.places]), page.next)

    def moments(self, wanted: Wanted, *, limit: int, logs: Sequence[str], patience_s: float = PATIENCE_S) -> Moments:
        """When what is looked for was made and what it decided, the newest first. Raises as `find` does."""
        return self._index.moments(self.query_of(wanted, logs), limit=limit, patience_s=patience_s)

    def places(self, wanted: Wanted, *, limit: int = 100, after: str | None = None, logs: Sequence[str] | None = None) -> Page:
        """Where a page of it is; no record is read. Raises as `find` does."""
        return self._index.search(self.query_of(wanted, logs), limit=limit, after=after)

    def count(self, wanted: Wanted, *, limit: int, logs: Sequence[str], patience_s: float = PATIENCE_S) -> Count:
        """How many records it is, counted up to `limit`. Raises as `find` does."""
        return self._index.count(self.query_of(wanted, logs), limit=limit, patience_s=patience_s)

    def query_of(self, wanted: Wanted, logs: Sequence[str] | None = None) -> Query:
        """What the index is asked, of these logs alone where they are given."""
        filters: dict[Field, tuple[str, ...]] = dict(wanted.plain)
        if wanted.tenant is not None:
            filters["log"] = (wanted.tenant,)
        if wanted.actor is not None:
            filters["actor"] = (wanted.actor, *self._pseudonyms(wanted, [EntityRef("User", wanted.actor)]))
        if wanted.user is not None:
            filters["user"] = self._pseudonyms(wanted, [EntityRef("User", wanted.user)])
        if wanted.voter is not None:
            filters["voter"] = self._pseudonyms(wanted, [EntityRef("User", wanted.voter)])
        if wanted.targets:
            filters["target"] = tuple([text for ref in wanted.targets for text in self._targets(wanted, ref)])
        if logs is not None:
            filters["log"] = tuple(logs)
        return Query(filters=filters, text=wanted.text, since_us=wanted.since_us, until_us=wanted.until_us)

    def _targets(self, wanted: Wanted, ref: EntityRef) -> Iterable[str]:
        if ref.type == "Tenant":
            return (f"Tenant::{ref.id}",)
        return [f"{ref.type}::{pseudonym}" for pseudonym in self._pseudonyms(wanted, [ref])]

    def _pseudonyms(self, wanted: Wanted, refs: Sequence[EntityRef]) -> tuple[str, ...]:
        """Those of these people or targets: of people in the tenant that is asked for, if one is; a target may be another tenant's."""
        one = wanted.tenant is not None and all(ref.type == "User" for ref in refs)
        tenants = [str(wanted.tenant)] if one else self._store.tenants_of_secrets()
        found = [self._store.find_pseudonym(Subject(tenant, ref.type, ref.id)) for tenant in tenants for ref in refs]
        return tuple([pseudonym for pseudonym in found if pseudonym is not None])
