"""The part of a store's contract that remembers what people are still to be told: notices, and their deliveries.

Rules:

1. A notice stands for one thing that happened to a request: it was opened, somebody voted or took a vote back, it moved. It is inserted in
   the very transaction of that change, by the store itself, so that nobody can forget it and no crash loses it.
2. A notice holds ids, an event, a tenant and a time. What it means is read from the request when it is told, so that nobody is told what
   is over, and nothing is left here when somebody is erased.
3. A notice is spread once: into one delivery for each channel that wants it, or into none.
4. An attempt is counted before it is made. A crash within it leaves a delivery that is due again, with one attempt less to go.
5. Of the deliveries of one request (or plan) to one channel that wait, the newest is attempted; the older ones are then skipped.
6. One process delivers at a time: the one that holds the lease, which is renewed, and passes on when its holder is dead or silent. It is
   no fence: two that believe in it at one moment are told apart by rule 4, since only one of them begins an attempt.

Both are operational, not records: `verify` has no use for them, and what is older than `KEPT_S` goes when something new comes.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

from licet.model import RequestId

KEPT_S = 60 * 86_400
"""Twice the longest life of a request, so that its messages can be rewritten as long as it lives."""
ERROR_LIMIT = 500
"""Characters of an error, or of the reason why something was skipped."""

NoticeEvent = Literal["opened", "vote", "approved", "rejected", "expired", "withdrawn", "superseded", "reopened", "consumed"]
"""What has happened to a request."""

DeliveryState = Literal["waiting", "sent", "failed", "skipped"]


class Notice(Struct, frozen=True, gc=False):
    """One thing that happened to a request, in the order of happening (`number`); `at` is UTC microseconds."""

    number: int
    request: RequestId
    tenant: str
    event: NoticeEvent
    at: int


class Delivery(Struct, frozen=True, kw_only=True):
    """A notice on its way through one channel. `subject` is its request, or the plan of which that is a step. Times are UTC microseconds.

    `at` is when it happened, `due_at` when the next attempt is due, `done_at` when it was sent, given up or skipped. `error` says why the
    last attempt failed, or why it was skipped. `handle` is what the channel needs to rewrite what it sent.
    """

    number: int
    notice: int
    request: RequestId
    tenant: str
    event: NoticeEvent
    at: int
    channel: str
    subject: str
    state: DeliveryState
    attempts: int
    due_at: int
    done_at: int | None = None
    error: str | None = None
    handle: str | None = None


class Deliverer(Struct, frozen=True):
    """The boot that delivers, and when it said so last (UTC microseconds)."""

    boot: str
    at: int


class TakeDelivering(Struct, frozen=True):
    """From now on this boot delivers, or goes on delivering.

    Condition `delivering_taken`: nobody else does, or the one who does is `gone`, has ended, or has said nothing since `silent_since`.
    """

    boot: str
    at: int
    silent_since: int
    gone: str | None = None


class EndDelivering(Struct, frozen=True):
    """This boot delivers no more. Without condition."""

    boot: str


class NewDelivery(Struct, frozen=True, kw_only=True):
    """A delivery to be: waiting, or ended as it begins, with the reason."""

    channel: str
    subject: str
    state: DeliveryState = "waiting"
    error: str | None = None


class Spread(Struct, frozen=True):
    """A notice becomes these deliveries, due at `at`. Condition `notice_spread`: it is not spread yet."""

    notice: int
    deliveries: tuple[NewDelivery, ...]
    at: int


class BeginAttempt(Struct, frozen=True):
    """The attempt of this number begins; should nobody end it, the next one is due at `due_at`. Older deliveries that wait are skipped.

    Condition `delivery_moved`: the delivery waits, and this is its next attempt.
    """

    delivery: int
    attempt: int
    at: int
    due_at: int


class EndAttempt(Struct, frozen=True, kw_only=True):
    """The delivery is in this state now. Condition `delivery_moved`: it waits, and this is its newest attempt (0: none was made)."""

    delivery: int
    attempt: int
    state: DeliveryState
    at: int
    due_at: int | None = None
    error: str | None = None
    handle: str | None = None


class SkipStale(Struct, frozen=True):
    """What waits since before `before` is skipped, for this reason: notices are spread into nothing. Without condition."""

    before: int
    at: int
    reason: str


OutboxChange = TakeDelivering | EndDelivering | Spread | BeginAttempt | EndAttempt | SkipStale
OUTBOX_CHANGES = (TakeDelivering, EndDelivering, Spread, BeginAttempt, EndAttempt, SkipStale)


class Outbox(Protocol):
    """What a store can be asked about notices and deliveries."""

    def find_deliverer(self) -> Deliverer | None:
        """Who delivers, or did last."""
        ...

    def new_notices(self, limit: int = 256) -> tuple[Notice, ...]:
        """Notices that are not spread yet, the oldest first."""
        ...

    def get_notice(self, number: int) -> Notice:
        """One notice. Raises `KeyError` when there is none, or not any more."""
        ...

    def due_deliveries(self, channel: str, at: int, limit: int = 64) -> tuple[Delivery, ...]:
        """Of each subject the newest delivery that waits, where it is due by `at`; the oldest of these first."""
        ...

    def next_due(self, channel: str) -> int | None:
        """When the next delivery of this channel is due; None where none waits."""
        ...

    def find_handle(self, channel: str, subject: str) -> str | None:
        """The handle of what was sent last through this channel about this subject."""
        ...

    def deliveries(self, *, channel: str | None = None, states: tuple[DeliveryState, ...] = (), limit: int = 100) -> tuple[Delivery, ...]:
        """The delivery log, the newest first."""
        ...

    def count_stale(self, before: int) -> tuple[int, int]:
        """How many notices are not spread, and how many deliveries wait, since before this moment."""
        ...

    def overdue_requests(self, at: int, limit: int = 256) -> tuple[RequestId, ...]:
        """Live requests whose time is over at this moment, the longest overdue first."""
        ...
