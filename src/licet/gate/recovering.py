"""Closes the calls of processes that died as `unknown`: at opening, and for as long as this process lives.

Rules:

1. A process that opens takes what is orphaned at that moment. One that is open takes it once another's lease has been gone for
   `PATIENCE_S`, at each look: whoever has only lost its connection for a moment is not declared dead.
2. Taking is one transaction of the store: of several that look at one moment, one gets a call, and whoever is declared dead can commit
   nothing more. Whoever took calls must close them; should it die first, they are orphaned again.
3. A `recovery` record and the end of its open call are one transaction. What could not be written is asked for anew, after everything that
   was submitted has landed or never will, so that nothing is recorded twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from licet.gate.recorder import Recorder
from licet.ledger.seal import Filing
from licet.ledger.writer import Writer
from licet.store.contract import Store

PATIENCE_S = 5.0
"""Longer than a connection takes to be made anew. Calls of a process that died are `unknown` within ten seconds, if any other lives."""


class Recovering:
    """Looks for the dead, for one process. Used by one thread at a time."""

    def __init__(self, store: Store, writer: Writer, recorder: Recorder, now_us: Callable[[], int]) -> None:
        self._store = store
        self._writer = writer
        self._recorder = recorder
        self._now_us = now_us
        self._gone_since: dict[str, float] = {}
        self._is_owing = False

    def look(self) -> None:
        """The calls of whoever has been gone for `PATIENCE_S` are closed. One read where everybody lives. Raises `StoreError`."""
        now = time.monotonic()
        try:
            boots = self._store.boots()
        except BaseException:
            self._gone_since = {}  # nobody could show that it lives
            raise
        gone = [boot.id for boot in boots if boot.state == "running" and not boot.lives]
        self._gone_since = {boot: self._gone_since.get(boot, now) for boot in gone}
        if self._is_owing or any(now - since >= PATIENCE_S for since in self._gone_since.values()):
            self.recover()

    def recover(self) -> None:
        """The calls of whoever is gone now are closed. Raises `StoreError`; then `look` tries again."""
        if self._is_owing:
            self._writer.submit(Filing(())).wait()  # rule 3
        self._is_owing = True
        orphans = self._store.orphaned_calls()
        tickets = [self._writer.submit(self._recorder.recovery(orphan.log, orphan.call, self._now_us(), orphan.boot)) for orphan in orphans]
        for ticket in tickets:
            ticket.wait()
        self._is_owing = False
        self._gone_since = {}
