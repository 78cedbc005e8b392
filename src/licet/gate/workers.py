"""Threads for code that may block or hang: resolvers and tools with a time limit.

The threads are daemons, unlike those of `concurrent.futures`: a tool that hangs for ever must not keep the process from ending. Their
number is bounded, so code that hangs in all of them makes later calls time out while they queue: they are refused, not run unbounded.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from msgspec import Struct

WORKERS_LIMIT = 64


class _Job(Struct, frozen=True):
    context: contextvars.Context
    work: Callable[[], Any]
    future: Future[Any]


class Workers:
    """A pool that starts threads as they are needed, up to `WORKERS_LIMIT`."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = 0

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Run `work` in the caller's context; the future gets its result or whatever it raises, `SystemExit` included."""
        future: Future[Any] = Future()
        self._jobs.put(_Job(contextvars.copy_context(), work, future))
        if not self._idle.acquire(blocking=False):
            self._grow()
        return future

    def close(self) -> None:
        """Let idle threads end. Those that hang are left to the end of the process."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _grow(self) -> None:
        with self._lock:
            if self._threads >= WORKERS_LIMIT:
                return
            self._threads += 1
        threading.Thread(target=self._run, name="licet-worker", daemon=True).start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                try:
                    job.future.set_result(job.context.run(job.work))
                except BaseException as error:  # noqa: BLE001 - what a tool raises is its caller's to see, `SystemExit` included
                    job.future.set_exception(error)
            del job
            self._idle.release()
