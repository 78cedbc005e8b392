"""What must still be written when the log could not be, and what is counted rather than written each time.

Rules:

1. A denial while the store is down is counted, and written as one `gap` record for each log when it returns.
2. An outcome that could not be appended is kept and appended when it can be. What may have landed is looked up by call first, so that
   nothing is written twice.
3. An intent that was refused may still be on disk: once the store answers, it is looked up and closed as `not_executed`.
4. The same denial (or hold) again and again is recorded `limit` times a minute for each caller, tool and code; beyond that, counted,
   and written as one record with its count when the minute is over or the gate closes.

All of this lives in memory. If the process dies first, its open intents are recovered as `unknown` by the next one; counts are lost.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from licet.errors import ConditionLost, GateClosed, LicetError, StoreError
from licet.gate.draft import Draft
from licet.gate.recorder import Recorder, log_of
from licet.ledger.record import decode_envelope
from licet.ledger.seal import Filing
from licet.ledger.writer import Writer
from licet.model import CallId, JsonObject, Outcome
from licet.store.contract import Store

TICK_S = 1.0
MINUTE_S = 60.0
KEPT_LIMIT = 10_000
"""Outcomes kept for a store that does not return; beyond it the oldest is given up (about 2 KiB each), and its intent stays open."""

_log = logging.getLogger("licet.gate")


class Repeats(Struct):
    """One kind of denial within one minute: how often it was recorded and how often only counted, with the last draft of them."""

    until: float
    recorded: int = 0
    counted: int = 0
    last: Draft | None = None


class Chore(Protocol):
    """Something to be written once the store answers; raises `StoreError` while it cannot be."""

    def __call__(self) -> None:
        """Do it, or raise `StoreError`."""
        ...


class Clerk:
    """Keeps what is not written yet. Its thread runs only while there is something to do. `limit` may be set at any time."""

    def __init__(self, store: Store, writer: Writer, recorder: Recorder, now_us: Callable[[], int], limit: int) -> None:
        self._store = store
        self._writer = writer
        self._recorder = recorder
        self._now_us = now_us
        self.limit = limit
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._at_work = threading.Lock()
        self._problem: str | None = None
        self._chores: deque[Chore] = deque()
        self._gaps: dict[str, JsonObject] = {}
        self._repeats: dict[tuple[object, ...], Repeats] = {}

    def admit(self, draft: Draft) -> bool:
        """Whether this denial is recorded by itself; if not, it has been counted."""
        assert draft.decision is not None
        key = (
            log_of(draft),
            draft.acting.agent,
            draft.acting.service,
            draft.acting.user,
            draft.spec and draft.spec.name,
            draft.decision.code,
        )
        with self._lock:
            now = time.monotonic()
            repeats = self._repeats.get(key)
            if repeats is None or (now >= repeats.until and not repeats.counted):
                self._repeats[key] = Repeats(now + MINUTE_S, 1)
                self._forget_old(now)
                return True
            if repeats.recorded < self.limit:
                repeats.recorded += 1
                return True
            repeats.counted += 1
            repeats.last = draft
        self._start()
        return False

    def gap(self, draft: Draft, reason: str) -> None:
        """A call was refused because the log could not be written."""
        with self._lock:
            at = self._now_us()
            gap = self._gaps.setdefault(log_of(draft), {"count": 0, "first_at": at, "last_at": at, "reason": reason})
            gap["count"] += 1
            gap["last_at"] = at
        self._start()

    def outcome_later(self, draft: Draft, filing: Filing) -> None:
        """The outcome of a call that ran and could not be recorded."""
        self._add(lambda: self._append_once(draft.id, filing))

    def close_intent_later(
        self, draft: Draft, code: str = "intent_refused", message: str = "the log refused the intent, so nothing ran"
    ) -> None:
        """An intent whose append was refused, or that nobody was told of: if it is there all the same, nothing ran: that is recorded."""
        self._add(lambda: self._close_intent(draft, Outcome(status="not_executed", code=code, message=message)))

    def abandoned(self, draft: Draft, *, merged: bool) -> None:
        """A call that was allowed and ended without a word: if no record says how, nobody saw it, and that is what is recorded."""
        self._add(lambda: self._close_abandoned(draft, merged=merged))

    def late(self, draft: Draft, outcome: Outcome) -> None:
        """A tool ended after its outcome had been recorded as `timeout`."""
        filing = self._recorder.outcome(draft, self._now_us(), outcome, late=True)
        self._add(lambda: self._append_once(draft.id, filing))

    @property
    def unwritten(self) -> tuple[int, int]:
        """How many refusals are counted for which no `gap` record is written yet, and how much else waits for the store."""
        with self._lock:
            return sum(gap["count"] for gap in self._gaps.values()), len(self._chores)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what can be written now, and stop. What cannot is said in the log of the process."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout_s)
        if self._at_work.acquire(blocking=False):  # else the thread waits for the store, in the middle of something that is its own
            try:
                with contextlib.suppress(LicetError):
                    self._work(everything=True)
            finally:
                self._at_work.release()
        left = len(self._chores) + len(self._gaps)
        if left:
            _log.error("licet: %d entries could not be written to the audit log before closing", left)

    def _add(self, chore: Chore) -> None:
        with self._lock:
            if len(self._chores) >= KEPT_LIMIT:
                self._chores.popleft()
            self._chores.append(chore)
        self._start()

    def _start(self) -> None:
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                self._wake.set()
                return
            self._thread = threading.Thread(target=self._run, name="licet-clerk", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(TICK_S)
            self._wake.clear()
            try:
                with self._at_work:
                    self._work(everything=False)
                self._problem = None
            except (StoreError, GateClosed) as error:
                if self._problem != str(error):  # said once: it is tried again every second, for as long as it lasts
                    self._problem = str(error)
                    _log.warning("licet: the audit log still cannot be written: %s", error)
                time.sleep(0 if self._closed else TICK_S)
            except Exception:  # noqa: BLE001 - the thread must outlive whatever one chore meets
                _log.exception("licet: the clerk met an error; what it keeps is tried again")
                time.sleep(0 if self._closed else TICK_S)
            with self._lock:
                if not (self._chores or self._gaps or any(repeats.counted for repeats in self._repeats.values())):
                    self._thread = None
                    return

    def _work(self, *, everything: bool) -> None:
        while (chore := self._find_chore()) is not None:
            try:
                chore()
            except (StoreError, GateClosed):
                with self._lock:
                    self._chores.appendleft(chore)
                raise
            except Exception:  # noqa: BLE001 - it would stand in the way of all others for ever
                _log.exception("licet: an entry cannot be written and is given up; its intent stays open until the next start")
        self._write_gaps()
        self._write_counts(everything=everything)

    def _find_chore(self) -> Chore | None:
        with self._lock:
            return self._chores.popleft() if self._chores else None

    def _write_gaps(self) -> None:
        with self._lock:
            gaps, self._gaps = self._gaps, {}
        for log in list(gaps):
            try:
                self._append(Filing((self._recorder.event("gap", log, self._now_us(), gaps[log]),)))
                del gaps[log]
            except LicetError:
                with self._lock:
                    self._gaps = _added(gaps, self._gaps)
                raise

    def _write_counts(self, *, everything: bool) -> None:
        now = time.monotonic()
        with self._lock:
            due = [repeats for repeats in self._repeats.values() if repeats.counted and (everything or now >= repeats.until)]
        for repeats in due:
            with self._lock:
                last, count = repeats.last, repeats.counted
            assert last is not None
            self._append(self._recorder.repeats(last, self._now_us(), count))
            with self._lock:
                repeats.counted -= count  # more may have been counted meanwhile
                if repeats.last is last:
                    repeats.last = None if not repeats.counted else last
        with self._lock:
            self._forget_old(now)

    def _forget_old(self, now: float) -> None:
        if len(self._repeats) > KEPT_LIMIT:
            self._repeats = {key: repeats for key, repeats in self._repeats.items() if repeats.counted or now < repeats.until}

    def _append_once(self, call: CallId, filing: Filing) -> None:
        self._settle()
        landed = {decode_envelope(record.envelope).id for record in self._store.records_of_call(call)}
        if filing.statements[0].id not in landed:
            self._append(filing)

    def _close_intent(self, draft: Draft, outcome: Outcome) -> None:
        self._settle()
        for _ in range(2):  # once more where a sweep says at this very moment that nobody reported it in time
            kinds = {record.kind for record in self._store.records_of_call(draft.id)}
            if "intent" not in kinds or "outcome" in kinds:
                return
            with contextlib.suppress(ConditionLost):
                self._append(self._recorder.outcome(draft, self._now_us(), outcome, late="recovery" in kinds))
                return

    def _close_abandoned(self, draft: Draft, *, merged: bool) -> None:
        self._settle()
        kinds = {record.kind for record in self._store.records_of_call(draft.id)}
        if kinds & {"outcome", "call"} or not (merged or "intent" in kinds):
            return
        message, reported = "the call was interrupted, and nobody saw how it ended", draft.reported()
        outcome = Outcome(status="unknown", code="interrupted", message=message, effects=reported.effects, reported=reported.count)
        ended = self._recorder.merged if merged else self._recorder.outcome
        self._append(ended(draft, self._now_us(), outcome))

    def _settle(self) -> None:
        """Whatever this process has submitted has landed or never will: a store that hung may still be about to write it."""
        self._append(Filing(()))

    def _append(self, filing: Filing) -> None:
        self._writer.submit(filing).wait()


def _added(earlier: dict[str, JsonObject], later: dict[str, JsonObject]) -> dict[str, JsonObject]:
    """Gaps that could not be written, with those that have come since."""
    both = {**earlier, **later}
    for log in earlier.keys() & later.keys():
        both[log] = {**earlier[log], "count": earlier[log]["count"] + later[log]["count"], "last_at": later[log]["last_at"]}
    return both
