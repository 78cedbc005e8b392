"""Notices and deliveries in PostgreSQL; see store/outbox.py for what is promised of them.

Rules, beside those there:

1. Groups that change deliveries or the deliverer take turns (`OUTBOX` of store/postgres_locks.py): there is one deliverer in earnest, and
   two only while a lease passes on.
2. A notice that rides in the transaction of a request collides with nothing. Old ones go on that occasion, if the outbox is free: it waits
   for nobody.
3. Numbers are given before their transactions end, so a smaller one may show later: what is new is told by `spread`, never by number.
"""

from __future__ import annotations

from typing import assert_never

from licet.model import RequestId
from licet.store.contract import Lost
from licet.store.outbox import (
    KEPT_S,
    BeginAttempt,
    Deliverer,
    Delivery,
    DeliveryState,
    EndAttempt,
    EndDelivering,
    Notice,
    NoticeEvent,
    OutboxChange,
    SkipStale,
    Spread,
    TakeDelivering,
)
from licet.store.outbox_rows import (
    DELIVERY,
    NOTICE,
    PRUNED_AT_A_TIME,
    SUPERSEDED,
    cut,
    delivering_taken,
    delivery_moved,
    delivery_of,
    notice_of,
    notice_spread,
)
from licet.store.postgres_locks import TRY_OUTBOX
from licet.store.postgres_reading import Connection, Reading
from licet.store.postgres_rows import changed, storable


class OutboxReads(Reading):
    """The reading half."""

    def find_deliverer(self) -> Deliverer | None:
        """Who delivers, or did last."""
        rows = self._rows("SELECT boot, at FROM deliverer")
        return Deliverer(*rows[0]) if rows else None

    def new_notices(self, limit: int = 256) -> tuple[Notice, ...]:
        """Notices that are not spread yet, the oldest first."""
        return tuple([notice_of(row) for row in self._rows(f"{NOTICE}WHERE spread = 0 ORDER BY number LIMIT $1", limit)])

    def get_notice(self, number: int) -> Notice:
        """One notice. Raises `KeyError` when there is none, or not any more."""
        rows = self._rows(f"{NOTICE}WHERE number = $1", number)
        if not rows:
            raise KeyError(f"no notice {number}")
        return notice_of(rows[0])

    def due_deliveries(self, channel: str, at: int, limit: int = 64) -> tuple[Delivery, ...]:
        """Of each subject the newest delivery that waits, where it is due by `at`; the oldest of these first."""
        text = (
            f"{DELIVERY}WHERE channel = $1 AND state = 'waiting' AND due_at <= $2 AND NOT EXISTS (SELECT 1 FROM deliveries AS newer "  # noqa: S608  a constant
            "WHERE newer.channel = $1 AND newer.state = 'waiting' AND newer.subject = deliveries.subject "
            "AND newer.number > deliveries.number) ORDER BY deliveries.number LIMIT $3"
        )
        return tuple([delivery_of(row) for row in self._rows(text, channel, at, limit)])

    def next_due(self, channel: str) -> int | None:
        """When the next delivery of this channel is due; None where none waits."""
        due: int | None = self._rows("SELECT min(due_at) FROM deliveries WHERE channel = $1 AND state = 'waiting'", channel)[0][0]
        return due

    def find_handle(self, channel: str, subject: str) -> str | None:
        """The handle of what was sent last through this channel about this subject."""
        text = (
            "SELECT handle FROM deliveries WHERE channel = $1 AND subject = $2 AND state = 'sent' AND handle IS NOT NULL "
            "ORDER BY number DESC LIMIT 1"
        )
        rows = self._rows(text, channel, subject)
        return str(rows[0][0]) if rows else None

    def deliveries(self, *, channel: str | None = None, states: tuple[DeliveryState, ...] = (), limit: int = 100) -> tuple[Delivery, ...]:
        """The delivery log, the newest first."""
        text = (
            f"{DELIVERY}WHERE ($1::TEXT[] = '{{}}' OR state = ANY($1)) AND ($2::TEXT IS NULL OR channel = $2) "
            "ORDER BY deliveries.number DESC LIMIT $3"
        )
        return tuple([delivery_of(row) for row in self._rows(text, list(states), channel, limit)])

    def count_stale(self, before: int) -> tuple[int, int]:
        """How many notices are not spread, and how many deliveries wait, since before this moment."""
        text = (
            "SELECT (SELECT count(*) FROM notices WHERE spread = 0 AND at < $1), (SELECT count(*) FROM deliveries "
            "JOIN notices ON notices.number = deliveries.notice WHERE state = 'waiting' AND notices.at < $1)"
        )
        notices, waiting = self._rows(text, before)[0]
        return int(notices), int(waiting)

    def overdue_requests(self, at: int, limit: int = 256) -> tuple[RequestId, ...]:
        """Live requests whose time is over at this moment, the longest overdue first."""
        text = "SELECT id FROM requests WHERE state IN ('open', 'approved') AND expires_at <= $1 ORDER BY expires_at LIMIT $2"
        return tuple([RequestId(row[0]) for row in self._rows(text, at, limit)])


async def note(con: Connection, request: str, event: NoticeEvent, at: int) -> None:
    """The event is among the notices, as a part of the transaction that made it happen; some of those that are too old are gone."""
    text = (
        "WITH new AS (INSERT INTO notices (request, tenant, event, at) SELECT id, tenant, $2, $3 FROM requests WHERE id = $1) "
        "SELECT number FROM (SELECT number, at FROM notices ORDER BY number LIMIT $4) AS oldest WHERE at < $5"
    )
    old = await con.fetch(text, request, event, at, PRUNED_AT_A_TIME, at - KEPT_S * 1_000_000)
    if old:
        await _prune(con, [number for (number,) in old])


async def _prune(con: Connection, old: list[int]) -> None:
    """These notices are gone with their deliveries, unless somebody is at the outbox (rule 2): then the next one comes to them."""
    if await con.fetchval(TRY_OUTBOX):
        await con.execute("DELETE FROM deliveries WHERE notice = ANY($1::BIGINT[])", old)
        await con.execute("DELETE FROM notices WHERE number = ANY($1::BIGINT[])", old)


async def change_outbox(con: Connection, change: OutboxChange) -> Lost | None:
    """The change is made, or what it lost."""
    match change:
        case TakeDelivering():
            return await _take(con, change)
        case EndDelivering():
            await con.execute("DELETE FROM deliverer WHERE boot = $1", change.boot)
            return None
        case Spread():
            return await _spread(con, change)
        case BeginAttempt():
            return await _begin(con, change)
        case EndAttempt():
            return await _end(con, change)
        case SkipStale():
            return await _skip_stale(con, change)
    assert_never(change)


async def _take(con: Connection, change: TakeDelivering) -> Lost | None:
    text = (
        "INSERT INTO deliverer (one, boot, at) VALUES (1, $1, $2) ON CONFLICT (one) DO UPDATE SET boot = $1, at = $2 "
        "WHERE deliverer.boot = $1 OR deliverer.boot = $3 OR deliverer.at <= $4 "
        "OR NOT EXISTS (SELECT 1 FROM boots WHERE id = deliverer.boot AND state = 'running')"
    )
    return None if await changed(con, text, change.boot, change.at, change.gone, change.silent_since) else delivering_taken()


async def _spread(con: Connection, change: Spread) -> Lost | None:
    if not await changed(con, "UPDATE notices SET spread = 1 WHERE number = $1 AND spread = 0", change.notice):
        return notice_spread(change.notice)
    text = "INSERT INTO deliveries (notice, channel, subject, state, due_at, done_at, error) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    rows = [
        (change.notice, new.channel, new.subject, new.state, change.at, None if new.state == "waiting" else change.at, _said(new.error))
        for new in change.deliveries
    ]
    await con.executemany(text, rows)
    return None


async def _begin(con: Connection, change: BeginAttempt) -> Lost | None:
    text = "UPDATE deliveries SET attempts = $2, due_at = $3 WHERE number = $1 AND state = 'waiting' AND attempts = $2 - 1"
    if not await changed(con, text, change.delivery, change.attempt, change.due_at):
        return delivery_moved(change.delivery)
    await con.execute(
        "UPDATE deliveries SET state = 'skipped', done_at = $2, error = $3 WHERE state = 'waiting' AND number < $1 "
        "AND (channel, subject) = (SELECT channel, subject FROM deliveries WHERE number = $1)",
        change.delivery,
        change.at,
        SUPERSEDED,
    )
    return None


async def _end(con: Connection, change: EndAttempt) -> Lost | None:
    text = (
        "UPDATE deliveries SET state = $3, done_at = $4, due_at = coalesce($5, due_at), error = $6, handle = $7 "
        "WHERE number = $1 AND state = 'waiting' AND attempts = $2"
    )
    done_at = None if change.state == "waiting" else change.at
    values = (change.delivery, change.attempt, change.state, done_at, change.due_at, _said(change.error), storable(change.handle))
    return None if await changed(con, text, *values) else delivery_moved(change.delivery)


async def _skip_stale(con: Connection, change: SkipStale) -> Lost | None:
    await con.execute("UPDATE notices SET spread = 1 WHERE spread = 0 AND at < $1", change.before)
    await con.execute(
        "UPDATE deliveries SET state = 'skipped', done_at = $2, error = $3 WHERE state = 'waiting' "
        "AND notice IN (SELECT number FROM notices WHERE at < $1)",
        change.before,
        change.at,
        _said(change.reason),
    )
    return None


def _said(text: str | None) -> str | None:
    """What a peer said, as it can be kept."""
    return cut(storable(text))
