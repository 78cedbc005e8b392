"""From a notice to deliveries: one for each channel that wants it."""

from __future__ import annotations

from collections.abc import Sequence

from licet.approvals.desk import Shown
from licet.approvals.notify.compose import groups_of, subject_of
from licet.approvals.notify.office import Office
from licet.config.notify import AnyChannel
from licet.errors import ConditionLost, IntegrityBroken, KeyUnavailable
from licet.store.outbox import NewDelivery, Notice, Spread


def spread(office: Office, channels: Sequence[AnyChannel]) -> int:
    """Every new notice has its deliveries; how many notices there were. Raises `StoreError`, `GateClosed`."""
    done = 0
    while notices := office.store.new_notices():
        tickets = [office.submit(Spread(notice.number, _deliveries(office, channels, notice), office.now_us())) for notice in notices]
        for ticket in tickets:
            try:
                ticket.wait()
            except ConditionLost:
                continue  # another process was as quick
            done += 1
    return done


def _deliveries(office: Office, channels: Sequence[AnyChannel], notice: Notice) -> tuple[NewDelivery, ...]:
    candidates = [channel for channel in channels if _could_want(channel, notice)]
    if not candidates:
        return ()
    try:
        steps = office.look(notice.request)
    except (IntegrityBroken, KeyUnavailable) as error:  # of this request: the others are told of all the same
        return tuple([NewDelivery(channel=c.name, subject=notice.request, state="failed", error=str(error)) for c in candidates])
    about = next((shown.request for shown in steps if shown.request.id == notice.request), None)
    if about is None:
        return ()  # erased, or a step that was held anew: its successor has a notice of its own
    return tuple([NewDelivery(channel=c.name, subject=subject_of(about)) for c in candidates if _wants(c, steps)])


def _could_want(channel: AnyChannel, notice: Notice) -> bool:
    return notice.event in channel.told and (not channel.tenants or notice.tenant in channel.tenants)


def _wants(channel: AnyChannel, steps: Sequence[Shown]) -> bool:
    return not channel.groups or not groups_of(steps).isdisjoint(channel.groups)
