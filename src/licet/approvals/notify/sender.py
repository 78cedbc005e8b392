"""One channel's deliveries, one after the other.

Rules:

1. Before anything is sent the request is looked at anew: what is over, erased, or not what its records say is not told.
2. An attempt is counted before it is made, and its end is kept before the next one begins. An end that could not be kept (the store was
   away) is kept first when it can be: nothing more is sent until then, so that nobody is told twice because of it.
3. A channel that fails is left alone for a while, longer each time, so that a thousand deliveries do not each wait for it.
4. What a channel raises beyond `DeliveryFailed` is a failure like any other. Its text is not kept: it may hold a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import Literal

from licet.approvals.notify.channel import Channel
from licet.approvals.notify.compose import compose, outdated
from licet.approvals.notify.message import Message
from licet.approvals.notify.office import Office
from licet.approvals.notify.retries import ATTEMPTS, pause_s
from licet.errors import ConditionLost, DeliveryFailed, IntegrityBroken, KeyUnavailable, NobodyToTell
from licet.store.outbox import BeginAttempt, Delivery, EndAttempt, Notice

HANDLE_LIMIT = 2_000
LONGEST_REST_S = 30.0
_SECOND_US = 1_000_000

_log = logging.getLogger("licet.notify")


class Sender:
    """Sends what is due through one channel. `link` is the template of links to requests."""

    def __init__(self, office: Office, channel: Channel, *, link: str | None, max_age_s: int, randomness: Random) -> None:
        self.channel = channel
        self._office = office
        self._link = link
        self._max_age_s = max_age_s
        self._randomness = randomness
        self._unkept: EndAttempt | None = None
        self._failures = 0
        self._rests_until_us = 0

    def send_due(self, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Everything that is due is attempted, unless the channel fails; how much was sent. Raises `StoreError`, `GateClosed`."""
        sent = 0
        self._keep()
        while goes_on() and self._office.now_us() >= self._rests_until_us:
            due = self._office.store.due_deliveries(self.channel.name, self._office.now_us())
            if not due:
                break
            for delivery in due:
                if not goes_on() or self._office.now_us() < self._rests_until_us:
                    return sent
                sent += self._attempt(delivery)
        return sent

    def idle_s(self, at_most: float) -> float:
        """How long nothing is due, up to this many seconds. Raises `StoreError`."""
        due = self._office.store.next_due(self.channel.name)
        if due is None:
            return at_most
        left_s = (max(due, self._rests_until_us) - self._office.now_us()) / _SECOND_US
        return min(max(left_s, 0.0), at_most)

    def close(self) -> None:
        """What became of the last attempt is kept, if it can be; the channel is closed. Raises as `send_due`, and what a channel may."""
        try:
            self._keep()
        finally:
            self.channel.close()

    def _attempt(self, delivery: Delivery) -> bool:
        """Whether it was sent. What another process has begun meanwhile is left to it."""
        prepared = self._prepare(delivery)
        try:
            end = prepared if isinstance(prepared, EndAttempt) else self._send(delivery, *prepared)
        except ConditionLost:
            return False
        self._unkept = end
        self._keep()
        return end.state == "sent"

    def _keep(self) -> None:
        """The end of the last attempt is in the store (rule 2)."""
        if self._unkept is not None:
            try:
                self._office.submit(self._unkept).wait()
            except ConditionLost:
                _log.info("licet: delivery %d of channel `%s` was ended by somebody else", self._unkept.delivery, self.channel.name)
            self._unkept = None

    def _prepare(self, delivery: Delivery) -> EndAttempt | tuple[Message, str | None]:
        """The message and what it rewrites; or the end of a delivery of which nobody is to be told."""
        at = self._office.now_us()
        if delivery.at < at - self._max_age_s * _SECOND_US:
            return _ended(delivery, "skipped", at, f"older than {self._max_age_s} s (`max_age`)")
        try:
            steps = self._office.look(delivery.request)
        except (IntegrityBroken, KeyUnavailable) as error:
            return _ended(delivery, "failed", at, str(error))
        notice = Notice(delivery.notice, delivery.request, delivery.tenant, delivery.event, delivery.at)
        if not steps:
            return _ended(delivery, "skipped", at, "the request was erased")
        if outdated(notice, steps):
            return _ended(delivery, "skipped", at, "things have gone on since")
        try:
            message = compose(notice, steps, self._office.directory(), self._link)
        except (ValueError, TypeError, LookupError) as error:  # of this request: the others are told of all the same
            _log.exception("licet: request `%s` cannot be told", delivery.request)
            return _ended(delivery, "failed", at, f"the request cannot be told ({type(error).__name__})")
        return message, self._office.store.find_handle(self.channel.name, delivery.subject)

    def _send(self, delivery: Delivery, message: Message, earlier: str | None) -> EndAttempt:
        """Raises `ConditionLost` where somebody else has begun this attempt."""
        office, attempt = self._office, delivery.attempts + 1
        began = office.now_us()
        again_s = pause_s(attempt, self._randomness)
        office.submit(BeginAttempt(delivery.number, attempt, began, began + int(again_s * _SECOND_US))).wait()
        # A crash from here on leaves a delivery that may have been sent, and is sent again with the same id.
        try:
            handle = self.channel.deliver(message, earlier)
        except NobodyToTell as nobody:
            return EndAttempt(delivery=delivery.number, attempt=attempt, state="skipped", at=office.now_us(), error=str(nobody))
        except DeliveryFailed as failed:
            return self._failed(delivery, attempt, failed, again_s)
        except Exception as error:  # noqa: BLE001  rule 4
            _log.debug("licet: channel `%s` failed unexpectedly", self.channel.name, exc_info=True)
            return self._failed(delivery, attempt, DeliveryFailed(f"an unexpected `{type(error).__name__}`", retry=True), again_s)
        self._failures = 0
        if handle is not None and len(handle) > HANDLE_LIMIT:
            _log.error("licet: channel `%s` gave a handle of %d characters, which is not kept", self.channel.name, len(handle))
            handle = None
        return EndAttempt(delivery=delivery.number, attempt=attempt, state="sent", at=office.now_us(), handle=handle)

    def _failed(self, delivery: Delivery, attempt: int, failed: DeliveryFailed, again_s: float) -> EndAttempt:
        at = self._office.now_us()
        gives_up = not failed.retry or attempt >= ATTEMPTS
        if failed.retry:
            self._failures += 1
            rest_s = min(pause_s(self._failures, self._randomness), LONGEST_REST_S)
            self._rests_until_us = at + int(max(rest_s, failed.retry_after_s or 0.0) * _SECOND_US)  # rule 3
        told = _log.error if gives_up else _log.warning
        told("licet: channel `%s`, delivery %d, attempt %d: %s", self.channel.name, delivery.number, attempt, failed)
        return EndAttempt(
            delivery=delivery.number,
            attempt=attempt,
            state="failed" if gives_up else "waiting",
            at=at,
            due_at=at + int(max(again_s, failed.retry_after_s or 0.0) * _SECOND_US),
            error=str(failed),
        )


def _ended(delivery: Delivery, state: Literal["failed", "skipped"], at: int, why: str) -> EndAttempt:
    return EndAttempt(delivery=delivery.number, attempt=delivery.attempts, state=state, at=at, error=why)
