"""`licet approvals notify`: a process that tells people of requests, and does nothing else.

For installations whose applications come and go: a request that expires while none of them runs is expired, and told, here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, utc_now
from licet.cli.wording import counted, listed
from licet.config import Settings
from licet.gate.opening import OpenLedger
from licet.identity.directory import Directory

if TYPE_CHECKING:
    from licet.approvals.notify.deliverer import Deliverer

LOOK_S = 0.5


class Told(Struct, frozen=True):
    """What is printed with `--json`: how many notifications went out, and how many wait or have failed by now."""

    sent: int
    waiting: int
    failed: int


@click.command()
@click.option("--once", is_flag=True, help="Send what is due, and end.")
@click.pass_obj
def notify(invocation: Invocation, /, once: bool) -> int:  # noqa: FBT001 - click's
    """Tell people of requests, through the channels under `[notify]`, until interrupted.

    One process tells at a time: while an application does, this one stands by. Ends with 1 if another one does and `--once` was said.
    """
    settings = load_settings(invocation)
    if not settings.notify.channels:
        message = "nobody can be told: there is no channel under `[notify]` in licet.toml"
        raise Refusal(Exit.USAGE, "no_channels", message, next_step="docs/notifications.md shows one of each kind")
    with OpenLedger(settings, utc_now, create=False) as ledger:
        return _once(invocation, settings, ledger) if once else _stay(invocation, settings, ledger)


def _once(invocation: Invocation, settings: Settings, ledger: OpenLedger) -> int:
    deliverer = _deliverer(settings, ledger)
    try:
        if not deliverer.turn():
            message = "another process on this ledger tells people of requests"
            raise Refusal(Exit.ERROR, "delivering_taken", message, next_step="`licet approvals deliveries` shows what it has told")
        sent = deliverer.send()
    finally:
        deliverer.close()
    log = ledger.store.deliveries(states=("waiting", "failed"), limit=10_000)
    waiting = sum(delivery.state == "waiting" for delivery in log)
    told = Told(sent, waiting, len(log) - waiting)
    text = f"{counted(told.sent, 'notification')} sent, {told.waiting} waiting, {told.failed} failed"
    return invocation.answer(told, lambda output: output.line(text))


def _stay(invocation: Invocation, settings: Settings, ledger: OpenLedger) -> int:
    names = [channel.name for channel in settings.notify.channels]
    deliverer = _deliverer(settings, ledger)
    with _interrupted() as end:
        deliverer.start()
        try:
            said: bool | None = None
            while not end.wait(LOOK_S):
                if said is not deliverer.holds:
                    said = deliverer.holds
                    by_us, by_others = f"telling people through {listed(names)}", "another process tells people; standing by"
                    invocation.hint(by_us if said else by_others)
        finally:
            deliverer.close()
    return int(Exit.OK)


def _deliverer(settings: Settings, ledger: OpenLedger) -> Deliverer:
    from licet.approvals.notify.deliverer import Deliverer  # noqa: PLC0415 - mail, TLS and more, loaded where somebody is told
    from licet.approvals.notify.office import Office  # noqa: PLC0415 - as above

    directory = Directory.from_settings(settings)
    office = Office(ledger.store, ledger.writer, lambda: directory, settings.environment, utc_now)
    return Deliverer(office, settings.notify, environ=os.environ)


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM, which is how this ends well."""
    end = threading.Event()
    before = {one: signal.signal(one, lambda *_: end.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
