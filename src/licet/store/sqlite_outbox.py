"""Notices and deliveries in SQLite; see store/outbox.py for what is promised of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import apsw

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
from licet.store.sqlite_rows import fetch


class OutboxReads:
    """The reading half."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def find_deliverer(self) -> Deliverer | None:
        """Who delivers, or did last."""
        rows = self._rows("SELECT boot, at FROM deliverer")
        return Deliverer(*rows[0]) if rows else None

    def new_notices(self, limit: int = 256) -> tuple[Notice, ...]:
        """Notices that are not spread yet, the oldest first."""
        return tuple([notice_of(row) for row in self._rows(f"{NOTICE}WHERE spread = 0 ORDER BY number LIMIT ?", (limit,))])

    def get_notice(self, number: int) -> Notice:
        """One notice. Raises `KeyError` when there is none, or not any more."""
        rows = self._rows(f"{NOTICE}WHERE number = ?", (number,))
        if not rows:
            raise KeyError(f"no notice {number}")
        return notice_of(rows[0])

    def due_deliveries(self, channel: str, at: int, limit: int = 64) -> tuple[Delivery, ...]:
        """Of each subject the newest delivery that waits, where it is due by `at`; the oldest of these first."""
        text = (
            f"{DELIVERY}WHERE channel = ?1 AND state = 'waiting' AND due_at <= ?2 AND NOT EXISTS (SELECT 1 FROM deliveries AS newer "  # noqa: S608  a constant
            "WHERE newer.channel = ?1 AND newer.state = 'waiting' AND newer.subject = deliveries.subject "
            "AND newer.number > deliveries.number) ORDER BY deliveries.number LIMIT ?3"
        )
        return tuple([delivery_of(row) for row in self._rows(text, (channel, at, limit))])

    def next_due(self, channel: str) -> int | None:
        """When the next delivery of this channel is due; None where none waits."""
        due: int | None = self._rows("SELECT min(due_at) FROM deliveries WHERE channel = ? AND state = 'waiting'", (channel,))[0][0]
        return due

    def find_handle(self, channel: str, subject: str) -> str | None:
        """The handle of what was sent last through this channel about this subject."""
        text = (
            "SELECT handle FROM deliveries WHERE channel = ? AND subject = ? AND state = 'sent' AND handle IS NOT NULL "
            "ORDER BY number DESC LIMIT 1"
        )
        rows = self._rows(text, (channel, subject))
        return str(rows[0][0]) if rows else None

    def deliveries(self, *, channel: str | None = None, states: tuple[DeliveryState, ...] = (), limit: int = 100) -> tuple[Delivery, ...]:
        """The delivery log, the newest first."""
        wanted = states or ("waiting", "sent", "failed", "skipped")
        text = f"{DELIVERY}WHERE state IN ({', '.join('?' * len(wanted))}) "
        text += "" if channel is None else "AND channel = ? "
        values = wanted if channel is None else (*wanted, channel)
        return tuple([delivery_of(row) for row in self._rows(f"{text}ORDER BY deliveries.number DESC LIMIT ?", (*values, limit))])

    def count_stale(self, before: int) -> tuple[int, int]:
        """How many notices are not spread, and how many deliveries wait, since before this moment."""
        text = (
            "SELECT (SELECT count(*) FROM notices WHERE spread = 0 AND at < ?1), (SELECT count(*) FROM deliveries "
            "JOIN notices ON notices.number = deliveries.notice WHERE state = 'waiting' AND notices.at < ?1)"
        )
        notices, waiting = self._rows(text, (before,))[0]
        return int(notices), int(waiting)

    def overdue_requests(self, at: int, limit: int = 256) -> tuple[RequestId, ...]:
        """Live requests whose time is over at this moment, the longest overdue first."""
        text = "SELECT id FROM requests WHERE state IN ('open', 'approved') AND expires_at <= ? ORDER BY expires_at LIMIT ?"
        return tuple([RequestId(row[0]) for row in self._rows(text, (at, limit))])


def note(con: apsw.Connection, request: str, event: NoticeEvent, at: int) -> None:
    """The event is among the notices, as a part of the transaction that made it happen; some of those that are too old are gone."""
    con.execute("INSERT INTO notices (request, tenant, event, at) SELECT id, tenant, ?, ? FROM requests WHERE id = ?", (event, at, request))
    # From the oldest on, and never the newest: a number is not used twice.
    text = "SELECT number FROM (SELECT number, at FROM notices ORDER BY number LIMIT ?) WHERE at < ?"
    for (number,) in fetch(con, text, (PRUNED_AT_A_TIME, at - KEPT_S * 1_000_000)):
        con.execute("DELETE FROM deliveries WHERE notice = ?", (number,))
        con.execute("DELETE FROM notices WHERE number = ?", (number,))


def change_outbox(con: apsw.Connection, change: OutboxChange) -> Lost | None:
    """The change is made, or what it lost."""
    match change:
        case TakeDelivering():
            return _take(con, change)
        case EndDelivering():
            con.execute("DELETE FROM deliverer WHERE boot = ?", (change.boot,))
            return None
        case Spread():
            return _spread(con, change)
        case BeginAttempt():
            return _begin(con, change)
        case EndAttempt():
            return _end(con, change)
        case SkipStale():
            return _skip_stale(con, change)
    assert_never(change)


def _take(con: apsw.Connection, change: TakeDelivering) -> Lost | None:
    text = (
        "INSERT INTO deliverer (one, boot, at) VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE SET boot = ?1, at = ?2 "
        "WHERE boot = ?1 OR boot = ?3 OR at <= ?4 OR boot NOT IN (SELECT id FROM boots WHERE state = 'running')"
    )
    if _changed(con, text, (change.boot, change.at, change.gone, change.silent_since)):
        return None
    return delivering_taken()


def _spread(con: apsw.Connection, change: Spread) -> Lost | None:
    if not _changed(con, "UPDATE notices SET spread = 1 WHERE number = ? AND spread = 0", (change.notice,)):
        return notice_spread(change.notice)
    text = "INSERT INTO deliveries (notice, channel, subject, state, due_at, done_at, error) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for new in change.deliveries:
        done_at = None if new.state == "waiting" else change.at
        con.execute(text, (change.notice, new.channel, new.subject, new.state, change.at, done_at, cut(new.error)))
    return None


def _begin(con: apsw.Connection, change: BeginAttempt) -> Lost | None:
    text = "UPDATE deliveries SET attempts = ?2, due_at = ?3 WHERE number = ?1 AND state = 'waiting' AND attempts = ?2 - 1"
    if not _changed(con, text, (change.delivery, change.attempt, change.due_at)):
        return delivery_moved(change.delivery)
    con.execute(
        "UPDATE deliveries SET state = 'skipped', done_at = ?2, error = ?3 WHERE state = 'waiting' AND number < ?1 "
        "AND (channel, subject) = (SELECT channel, subject FROM deliveries WHERE number = ?1)",
        (change.delivery, change.at, SUPERSEDED),
    )
    return None


def _end(con: apsw.Connection, change: EndAttempt) -> Lost | None:
    text = (
        "UPDATE deliveries SET state = ?3, done_at = ?4, due_at = coalesce(?5, due_at), error = ?6, handle = ?7 "
        "WHERE number = ?1 AND state = 'waiting' AND attempts = ?2"
    )
    done_at = None if change.state == "waiting" else change.at
    values = (change.delivery, change.attempt, change.state, done_at, change.due_at, cut(change.error), change.handle)
    if _changed(con, text, values):
        return None
    return delivery_moved(change.delivery)


def _skip_stale(con: apsw.Connection, change: SkipStale) -> Lost | None:
    con.execute("UPDATE notices SET spread = 1 WHERE spread = 0 AND at < ?", (change.before,))
    con.execute(
        "UPDATE deliveries SET state = 'skipped', done_at = ?2, error = ?3 WHERE state = 'waiting' "
        "AND notice IN (SELECT number FROM notices WHERE at < ?1)",
        (change.before, change.at, cut(change.reason)),
    )
    return None


def _changed(con: apsw.Connection, text: str, values: tuple[object, ...]) -> bool:
    con.execute(text, values)
    return con.changes() > 0
