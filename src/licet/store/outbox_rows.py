"""What the rows of notices and deliveries mean, whatever database holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from licet.model import RequestId
from licet.store.contract import Lost
from licet.store.outbox import ERROR_LIMIT, Delivery, Notice

PRUNED_AT_A_TIME = 8
"""Rows that go for one that comes: more than come, and too few to be noticed."""
SUPERSEDED = "a later event of the same request was told instead"

NOTICE = "SELECT number, request, tenant, event, at FROM notices "
"""The beginning of a query for notices, as `notice_of` takes them."""
DELIVERY = (
    "SELECT deliveries.number, notice, notices.request, notices.tenant, notices.event, notices.at, channel, subject, state, attempts, "
    "due_at, done_at, error, handle FROM deliveries JOIN notices ON notices.number = deliveries.notice "
)
"""The beginning of a query for deliveries, as `delivery_of` takes them."""


def notice_of(row: Sequence[Any]) -> Notice:
    """A notice from its row."""
    number, request, tenant, event, at = row
    return Notice(number, RequestId(request), tenant, event, at)


def delivery_of(row: Sequence[Any]) -> Delivery:
    """A delivery from its row."""
    number, notice, request, tenant, event, at, channel, subject, state, attempts, due_at, done_at, error, handle = row
    return Delivery(
        number=number,
        notice=notice,
        request=RequestId(request),
        tenant=tenant,
        event=event,
        at=at,
        channel=channel,
        subject=subject,
        state=state,
        attempts=attempts,
        due_at=due_at,
        done_at=done_at,
        error=error,
        handle=handle,
    )


def cut(text: str | None) -> str | None:
    """An error in at most `ERROR_LIMIT` characters."""
    return text if text is None or len(text) <= ERROR_LIMIT else f"{text[: ERROR_LIMIT - 3]}..."


def delivery_moved(delivery: int) -> Lost:
    """The attempt is not the delivery's next, or its newest."""
    return Lost("delivery_moved", f"delivery {delivery} is somebody else's")


def notice_spread(notice: int) -> Lost:
    """The notice is not new any more."""
    return Lost("notice_spread", f"notice {notice} has its deliveries")


def delivering_taken() -> Lost:
    """Somebody has the deliverer's lease."""
    return Lost("delivering_taken", "another process delivers")
