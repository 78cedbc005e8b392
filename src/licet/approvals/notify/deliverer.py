"""Tells people what happens to requests, for one process at a time.

A turn, in this order: the lease is taken or renewed; requests whose time is over are expired at the desk, so that people are told; new
notices are spread into deliveries. Beside it each channel has a thread of its own, which sends what is due.

Rules:

1. Only the holder of the lease expires, spreads and sends (store/outbox.py, rule 6). It opens its channels when it gets the lease, and
   closes them when it is gone.
2. Nothing here stops a call, and no call waits for it. A store that is away is tried again at the next turn.
3. A channel that hangs holds up nobody but itself. At the end what is due is still sent, and after `CLOSE_S` left for another process.
4. What happened longer ago than `max_age` (an old backup was put back, nobody delivered for days) is skipped and said, not sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from licet import process
from licet.approvals.notify.channel import Channel, Decide
from licet.approvals.notify.channels import open_channel
from licet.approvals.notify.office import Office
from licet.approvals.notify.sender import Sender
from licet.approvals.notify.spreading import spread
from licet.config.notify import AnyChannel, NotifySettings
from licet.errors import ConditionLost, GateClosed, IntegrityBroken, KeyUnavailable, LicetError, StoreError, TransitionRefused
from licet.model import RequestId
from licet.store.outbox import Deliverer as Holder
from licet.store.outbox import EndDelivering, SkipStale, TakeDelivering

EVERY_S = 0.5
SHORTEST_S = 0.02
"""Whatever is due: nobody looks at the store more often."""
RENEW_S = 20.0
SILENT_S = 60.0
"""Three renewals. Whoever has died is known at once by its boot; this is for a process that lives and does nothing."""
CLOSE_S = 5.0
_SECOND_US = 1_000_000

_log = logging.getLogger("licet.notify")

OpenChannel = Callable[[AnyChannel, Decide, Mapping[str, str]], Channel]


class Deliverer:
    """Delivers for one process. Its threads run from `start` to `close`; without them, `turn` and `send` do the same once."""

    def __init__(
        self,
        office: Office,
        settings: NotifySettings,
        *,
        environ: Mapping[str, str] = MappingProxyType({}),
        randomness: Random | None = None,
        open_channel: OpenChannel = open_channel,
    ) -> None:
        self._office = office
        self._settings = settings
        self._environ = environ
        self._randomness = randomness or Random()  # noqa: S311  spreads retries, and keeps no secret
        self._open_channel = open_channel
        self._process = process.number()
        self._renewed_us: int | None = None
        self._senders: tuple[_Running, ...] = ()
        self._unreadable: set[RequestId] = set()
        self._over = threading.Event()
        self._turning = threading.Lock()
        self._problem = ""
        self._thread: threading.Thread | None = None

    @property
    def holds(self) -> bool:
        """Whether this process delivers."""
        return self._renewed_us is not None

    def start(self) -> None:
        """From now on people are told, as soon as no other process does it."""
        self._thread = threading.Thread(target=self._run, name="licet-deliverer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nothing is sent any more, and another process may deliver. Safe to call twice; in a forked child nothing is touched."""
        if process.number() != self._process or self._over.is_set():
            return
        if self._thread is not None:
            self._try_turn()  # a process that asks and ends at once has told of it
        self._over.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        with self._turning:
            self._let_go(drain_s=CLOSE_S)

    def turn(self) -> bool:
        """Whether this process delivers; then requests are expired and notices spread. Raises `StoreError`, `GateClosed`."""
        with self._turning:
            if self._over.is_set() or not self._hold():
                return False
            self._expire()
            if spread(self._office, self._settings.channels):
                for running in self._senders:
                    running.wake.set()
            return True

    def send(self) -> int:
        """Everything that is due is attempted in this thread, by a process that delivers; how much was sent. Raises as `turn`."""
        return sum(running.sender.send_due() for running in self._senders) if self.holds else 0

    def _hold(self) -> bool:
        now = self._office.now_us()
        if self._renewed_us is not None and now - self._renewed_us < RENEW_S * _SECOND_US:
            return True
        if not self._take(now):
            if self._renewed_us is not None:
                _log.warning("licet: another process delivers notifications now")
                self._let_go()
            return False
        if self._renewed_us is None:
            self._senders = tuple([self._open(channel) for channel in self._settings.channels])
        self._renewed_us = now
        self._skip_stale(now)
        return True

    def _take(self, now: int) -> bool:
        store = self._office.store
        silent_since = now - int(SILENT_S * _SECOND_US)
        found = store.find_deliverer()
        gone = found is not None and found.boot != store.boot and self._is_gone(found)
        if found is not None and found.boot != store.boot and not gone and found.at > silent_since:
            return False
        try:
            self._office.submit(TakeDelivering(store.boot, now, silent_since, found.boot if gone and found is not None else None)).wait()
        except ConditionLost:
            return False
        return True

    def _is_gone(self, holder: Holder) -> bool:
        """Whether the process that delivered is no more."""
        boot = next((boot for boot in self._office.store.boots() if boot.id == holder.boot), None)
        return boot is None or not boot.lives

    def _open(self, channel: AnyChannel) -> _Running:
        settings = self._settings
        opened = self._open_channel(channel, self._office.decide, self._environ)
        sender = Sender(self._office, opened, link=settings.link, max_age_s=settings.max_age_s, randomness=self._randomness)
        running = _Running(sender)
        if self._thread is not None:
            running.start()
        return running

    def _skip_stale(self, now: int) -> None:
        """Rule 4."""
        before = now - self._settings.max_age_s * _SECOND_US
        notices, waiting = self._office.store.count_stale(before)
        if notices or waiting:
            reason = f"older than {self._settings.max_age_s} s (`max_age`)"
            self._office.submit(SkipStale(before, now, reason)).wait()
            _log.warning("licet: %d events and %d notifications are %s, and nobody is told of them", notices, waiting, reason)

    def _expire(self) -> None:
        store, now = self._office.store, self._office.now_us()
        desk = self._office.desk()
        for request in store.overdue_requests(now):
            if request in self._unreadable:
                continue
            try:
                desk.show(request)
            except (KeyError, TransitionRefused):
                continue  # erased, or decided at the same moment
            except (IntegrityBroken, KeyUnavailable) as error:  # of this request: the others are expired all the same
                self._unreadable.add(request)
                _log.error("licet: request `%s` cannot be expired: %s", request, error)

    def _let_go(self, drain_s: float = 0.0) -> None:
        """The lease is given back. What is due by then is still sent, for as long as said."""
        senders, self._senders, held = self._senders, (), self._renewed_us is not None
        self._renewed_us = None
        for running in senders:
            running.stop(drain_s)
        until = time.monotonic() + CLOSE_S
        for running in senders:
            running.leave(max(0.1, until - time.monotonic()))
        if held:
            try:
                self._office.submit(EndDelivering(self._office.store.boot)).wait()
            except LicetError as error:
                _log.info("licet: the lease of the deliverer runs out by itself: %s", error)

    def _run(self) -> None:
        while not self._over.is_set():
            self._try_turn()
            self._over.wait(EVERY_S)

    def _try_turn(self) -> None:
        try:
            self.turn()
            self._problem = ""
        except (StoreError, GateClosed) as error:
            if self._problem != str(error):  # said once, for as long as it lasts
                self._problem = str(error)
                _log.warning("licet: nobody is told of requests now: %s", error)
        except Exception:  # noqa: BLE001 - the thread must outlive whatever one turn meets
            _log.exception("licet: a turn of the deliverer failed")


class _Running:
    """A sender, and the thread that it may have."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.wake = threading.Event()
        self._stopped = threading.Event()
        self._until = 0.0
        self._thread: threading.Thread | None = None
        self._problem = ""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"licet-notify-{self.sender.channel.name}", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float) -> None:
        self._until = time.monotonic() + drain_s
        self._stopped.set()
        self.wake.set()

    def leave(self, timeout_s: float) -> None:
        """The thread has ended, or is left behind; the channel is closed."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                _log.error("licet: channel `%s` hangs, and is left behind", self.sender.channel.name)
        try:
            self.sender.close()
        except (StoreError, GateClosed) as error:
            _log.warning("licet: what channel `%s` sent last may be sent again: %s", self.sender.channel.name, error)
        except Exception:  # noqa: BLE001 - the others are to be closed all the same
            _log.exception("licet: channel `%s` cannot be closed", self.sender.channel.name)

    def _run(self) -> None:
        idle_s, is_last = EVERY_S, False
        while not is_last and self._goes_on():
            self.wake.clear()
            is_last = self._stopped.is_set()
            try:
                self.sender.send_due(self._goes_on)
                idle_s = self.sender.idle_s(EVERY_S)
                self._problem = ""
            except (StoreError, GateClosed) as error:
                idle_s = EVERY_S
                if self._problem != str(error):
                    self._problem = str(error)
                    _log.warning("licet: channel `%s` sends nothing now: %s", self.sender.channel.name, error)
            except Exception:  # noqa: BLE001 - as above
                idle_s = EVERY_S
                _log.exception("licet: channel `%s` sends nothing now", self.sender.channel.name)
            if not is_last:
                self.wake.wait(max(idle_s, SHORTEST_S))

    def _goes_on(self) -> bool:
        return not self._stopped.is_set() or time.monotonic() < self._until
