"""What is frozen, as the calls of one process see it.

Rules:

1. A view is at most `FRESH_S` old when a call is held against it, so that a freeze of another process is seen within a second; one of
   this process is seen at once.
2. A store that cannot be read denies: no call passes on a view older than `STALE_S`.
3. What rows and records say is added up. A row that was deleted or edited lifts nothing, since its record stands; and what this process
   has seen frozen stays so until a record lifts it. What differs is said in the log of the process.
4. All calls share one view. One of them reads, the others go on with what was there, as long as rule 2 lets them.

What this does not stop: a read without an intent (a merged read) that was decided before the freeze was seen ends. A call with an intent
is refused in the transaction of its intent, however old the view (store/freezes.py).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from msgspec import Struct

from licet.errors import IntegrityBroken, StoreUnavailable
from licet.ledger.frozen import Called, Freeze, Frozen, Scope, Standing
from licet.ledger.record import decode_payload
from licet.model import JsonObject
from licet.store.contract import Store
from licet.store.freezes import FreezeRows

FRESH_S = 0.2
STALE_S = 1.0

_EPOCH = datetime.fromtimestamp(0, UTC)
_log = logging.getLogger("licet.gate")


class StandingFreeze(Struct, frozen=True, kw_only=True):
    """A freeze that stands. `tenant` is None where it is of every tenant, `name` where it is of everything.

    `by` is the user of the directory in whose name it was placed, if there was one; beside it stands either the `credential` that was
    shown or `operating_user`, who ran the process. All of them and `reason` are None where its record cannot be opened: it was erased, or
    there is no key.
    """

    id: str
    scope: Scope
    name: str | None
    tenant: str | None
    since: datetime
    reason: str | None
    by: str | None
    operating_user: str | None
    what: str
    credential: str | None = None

    @property
    def sentence(self) -> str:
        """What is frozen, since when, by whom and why."""
        since = f"{self.what} is frozen since {self.since:%Y-%m-%d %H:%M} UTC"
        known = self.by or self.operating_user or self.credential
        if known is None:
            return f"{since}; by whom and why cannot be read"
        return f"{since} by `{known}`: {self.reason}"


class Stops:
    """What stands, as of one moment. False where nothing is frozen."""

    __slots__ = ("_standing", "_told")

    def __init__(self, standing: Standing = Standing(), told: Mapping[str, StandingFreeze] = MappingProxyType({})) -> None:  # noqa: B008  frozen
        self._standing = standing
        self._told = told

    def __bool__(self) -> bool:
        return bool(self._standing)

    @property
    def told(self) -> tuple[StandingFreeze, ...]:
        """Every freeze, the oldest first."""
        return tuple(dict.fromkeys([self._told[freeze.id] for freeze in self._standing.freezes]))

    def find(self, call: Called) -> StandingFreeze | None:
        """What stops this call; None where nothing does."""
        freeze = self._standing.find(call)
        return None if freeze is None else self._told[freeze.id]


class _Seen(Struct, frozen=True):
    at: float
    stops: Stops


class FreezeView:
    """The view of one process. Safe to use from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looking = threading.Lock()
        self._seen = _Seen(-math.inf, Stops())
        self._count = -1
        self._recorded = Frozen()
        self._standing: frozenset[Freeze] = frozenset()
        self._told: dict[str, StandingFreeze] = {}
        self._doubted: frozenset[Freeze] = frozenset()

    @property
    def is_fresh(self) -> bool:
        """Whether `current` would answer without asking the store."""
        return _age_s(self._seen) < FRESH_S

    def current(self) -> Stops:
        """What is frozen, as far as rule 1 asks for. Raises `StoreError` where that cannot be told (rule 2)."""
        seen = self._seen
        return seen.stops if _age_s(seen) < FRESH_S else self._look()

    def look(self) -> Stops:
        """What is frozen now. Raises `StoreError`."""
        with self._looking:
            self._read()
            return self._seen.stops

    def forget(self) -> None:
        """Something was frozen or lifted here: the next call is held against what is there then, or denied where that cannot be read."""
        with self._looking:
            self._seen = _Seen(-math.inf, self._seen.stops)

    def _look(self) -> Stops:
        if not self._looking.acquire(blocking=False):
            seen = self._seen
            if _age_s(seen) < STALE_S:
                return seen.stops  # rule 4
            if not self._looking.acquire(timeout=STALE_S):
                raise StoreUnavailable(f"what is frozen could not be read within {STALE_S:g} s")
        try:
            if _age_s(self._seen) >= FRESH_S:
                self._read_patiently()
            return self._seen.stops
        finally:
            self._looking.release()

    def _read_patiently(self) -> None:
        try:
            self._read()
        except Exception:
            if _age_s(self._seen) >= STALE_S:
                raise

    def _read(self) -> None:
        began = time.monotonic()  # before the store is asked: a freeze that lands meanwhile is not taken for seen
        try:
            found = self._store.freezes(self._count)
            self._take(found)
        except IntegrityBroken as error:
            raise StoreUnavailable(f"what is frozen cannot be read: {error}") from error
        self._seen = _Seen(began, Stops(Standing(self._standing), MappingProxyType(dict(self._told))))

    def _take(self, found: FreezeRows) -> None:
        if found.envelopes is not None:
            self._recorded, self._count = replay_freezes(found), found.count
        rows, recorded = frozenset(found.rows), frozenset(self._recorded.standing)
        kept = {freeze for freeze in self._standing if freeze.id not in self._recorded.lifted}  # rule 3
        standing = rows | recorded | kept
        self._doubt((rows ^ recorded) | (standing - recorded))
        self._told = {freeze.id: self._told.get(freeze.id) or tell(self._store, freeze) for freeze in standing}
        self._standing = standing

    def _doubt(self, doubted: frozenset[Freeze]) -> None:
        for freeze in sorted(doubted - self._doubted):
            _log.error("licet: freeze `%s` of %s is not what the log says; it holds: run `licet audit verify`", freeze.id, freeze.what)
        self._doubted = doubted


def standing_freezes(store: Store) -> tuple[StandingFreeze, ...]:
    """Every freeze that stands by its row or by its record, the oldest first. Raises `StoreError`."""
    return FreezeView(store).look().told


def tell(store: Store, freeze: Freeze) -> StandingFreeze:
    """The freeze, with what its record says of it."""
    record = store.find_freeze_record(freeze.id)
    payload = None if record is None or record.payload is None else decode_payload(record.payload)
    said: JsonObject = (payload.detail if payload is not None else None) or {}
    return StandingFreeze(
        id=freeze.id,
        scope=freeze.scope,
        name=None if freeze.scope == "all" else freeze.name,
        tenant=freeze.tenant,
        since=_EPOCH + timedelta(microseconds=freeze.at),
        reason=said.get("reason"),
        by=said.get("by"),
        operating_user=said.get("operating_user"),
        what=freeze.what,
        credential=said.get("credential"),
    )


def replay_freezes(found: FreezeRows) -> Frozen:
    """What the records say of freezes. They must be among what was found."""
    assert found.envelopes is not None
    frozen = Frozen()
    for envelope in found.envelopes:
        frozen.take(envelope)
    return frozen


def _age_s(seen: _Seen) -> float:
    return time.monotonic() - seen.at
