"""Filling the search index from the ledger: in a thread behind the writer's back, or in the foreground until it is full.

Rules:

1. One process at a time fills an index. Who does holds a lock of the operating system beside the file (store/leases.py), which the kernel
   drops with the process; the others wait, and one of them goes on.
2. Whoever begins looks first whether the index fits the ledger: a restored, cut or other ledger makes it begin anew.
3. The writer is never waited for and never waits. The thread gives way: for as long as each of its steps took while it is far behind, and
   then until the next poll.
4. What an erasure names is forgotten before its record is taken: whoever erased, on whatever host, reaches every index of the ledger.
5. Nothing here stops the ledger. What goes wrong is kept in `problem`, and tried again; a damaged index is emptied and filled anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from licet.errors import LicetError
from licet.ledger.forgotten import gone_by
from licet.store.index import Index
from licet.store.index_open import IndexDamaged
from licet.store.index_take import IndexRow
from licet.store.leases import _LockFile

STEP_ROWS = 8_000
"""Records of one transaction: enough to make it cheap for each, few enough to be given up quickly."""
LOG_ROWS = 1_000
"""Records of one log in a step, while others have older ones."""
POLL_S = 0.2
_RETRY_S = 2.0
_REST_S = 0.05


class Source(Protocol):
    """The ledger, as the indexer reads it. Any thread may ask."""

    def sizes(self) -> Mapping[str, int]:
        """How many records each log has."""
        ...

    def rows(self, log: str, start: int, stop: int) -> Sequence[IndexRow]:
        """The records of a log from `start` up to `stop`; fewer only where there are no more."""
        ...


class Indexer:
    """Keeps an index filled. `start` begins a thread, which ends with `close`; or `catch_up` does it once and here."""

    def __init__(self, index: Index, source: Source, *, poll_s: float = POLL_S) -> None:
        self._index = index
        self._source = source
        self._poll_s = poll_s
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        self._lock: _LockFile | None = None
        self._filling = False
        self._next: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self.problem: str | None = None
        """What keeps the index from being filled, in words; None when nothing does."""

    def start(self) -> None:
        """A thread fills the index from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="licet-indexer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """The thread has ended, and another process may go on. What it had begun is in the index or not, never half. Safe to call twice."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        with self._turn:
            self._release()

    def behind(self) -> int:
        """How many records the ledger has that the index has not."""
        cursors = self._index.cursors()
        return sum(max(0, size - cursors.get(log, 0)) for log, size in self._source.sizes().items())

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Every record that the ledger has now is in the index. `progress` is told how many are done, and of how many.

        While another process fills it, this waits for that one. An index that turns out to be damaged is filled anew, once.
        """
        whole, anew = 0, False
        while not self._closed.is_set():
            try:
                with self._turn:
                    taken = self._step()
                left = self.behind()
            except IndexDamaged:
                if anew:
                    raise
                anew = True
                continue
            whole = max(whole, left + (taken or 0))
            if progress is not None:
                progress(whole - left, whole)
            if not left:
                return
            if taken is None:
                self._closed.wait(self._poll_s)

    def _run(self) -> None:
        while not self._closed.is_set():
            began = time.perf_counter()
            try:
                with self._turn:
                    taken = self._step()
                self.problem = None
                rest_s = self._rest_s(taken, time.perf_counter() - began)
            except Exception as error:  # noqa: BLE001  rule 5
                self.problem = str(error) if isinstance(error, LicetError) else f"{type(error).__name__}: {error}"
                rest_s = _RETRY_S
            self._closed.wait(rest_s)

    def _rest_s(self, taken: int | None, took_s: float) -> float:
        """Who has caught up waits for more at once, busy or not: one transaction for each record would keep the calls waiting."""
        return min(took_s, _REST_S) if taken is not None and taken >= LOG_ROWS else self._poll_s

    def _step(self) -> int | None:
        """How many records were taken; None where another process does it."""
        if not self._filling and not self._acquire():
            return None
        try:
            return self._take()
        except BaseException:
            self._release()  # whoever goes on looks again at what there is
            raise

    def _take(self) -> int:
        sizes = self._source.sizes()
        if any(following > sizes.get(log, 0) for log, following in self._next.items()):
            self._begin_anew()
        behind = [log for log, size in sizes.items() if size > self._next.get(log, 0)]
        taken: list[tuple[str, Sequence[IndexRow]]] = []
        count = 0
        for log in sorted(behind, key=lambda log: self._times.get(log, 0)):  # oldest first: docs then come about in order
            if count >= STEP_ROWS:
                break
            start = self._next.get(log, 0)
            room = STEP_ROWS - count if len(behind) == 1 else min(LOG_ROWS, STEP_ROWS - count)
            rows = self._source.rows(log, start, min(sizes[log], start + room))
            taken.append((log, rows))
            count += len(rows)
        if count:
            self._forget_erased(taken)
            self._index.take_all(taken)
            self._next |= {log: rows[-1].index + 1 for log, rows in taken if rows}
            self._times = self._index.times() if len(behind) > 1 else self._times
        return count

    def _forget_erased(self, taken: Sequence[tuple[str, Sequence[IndexRow]]]) -> None:
        """Rule 4. A crash before they are taken leaves the records to be taken, and so to be forgotten, again."""
        said = [(log, gone) for log, rows in taken for row in rows if (gone := gone_by(row.envelope, row.index)) is not None]
        if said:
            self._index.forget_erased(said, [log for log, _ in taken])

    def _acquire(self) -> bool:
        """Whether this process now fills the index (rules 1 and 2)."""
        path = self._index.path
        if path is not None:
            lock = _LockFile(path.with_name(f"{path.name}-lock"), 0o600)
            if not lock.try_lock():
                lock.close()
                return False
            self._lock = lock
        self._filling = True
        try:
            self._begin()
        except BaseException:
            self._release()
            raise
        return True

    def _release(self) -> None:
        self._filling = False
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _begin(self) -> None:
        """The index fits the ledger, as it is or empty."""
        if self._index.damaged:
            self._index.rebuild()
        self._index.finish_forgetting()
        self._remember()
        sizes = self._source.sizes()
        if not all(self._fits(log, following, sizes.get(log, 0)) for log, following in self._next.items()):
            self._begin_anew()

    def _fits(self, log: str, following: int, size: int) -> bool:
        if following == 0:
            return True
        if following > size:
            return False
        last = self._source.rows(log, following - 1, following)
        return bool(last) and self._index.verify_against(log, following - 1, last[0].leaf)

    def _begin_anew(self) -> None:
        self._index.rebuild()
        self._remember()

    def _remember(self) -> None:
        self._next, self._times = self._index.cursors(), self._index.times()
