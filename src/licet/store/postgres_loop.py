"""One event loop in one thread, on which everything that asyncpg does for one store happens.

Rules:

1. The store's methods are called from any thread and wait here; a coroutine on the loop never calls such a method: it would wait for
   itself for ever, so `run` refuses it.
2. Nobody waits longer than the time that was given: what has not ended by then is cancelled and is `StoreUnavailable` (`TimeOverError`).
3. Nothing here survives a fork: the store refuses in the child (store/forks.py), which has no such thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from licet.errors import GateClosed, StoreUnavailable

T = TypeVar("T")

_JOIN_S = 5.0
_ROUNDS = 3
_ROUND_S = 1.0


class TimeOverError(StoreUnavailable):
    """Nobody waited any longer. How far the coroutine came is not known."""


class Loop:
    """Runs coroutines for threads that wait for them. `close` ends the thread, after `abort` has cut what is still open."""

    def __init__(self, name: str, abort: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self._name = name
        self._abort = abort
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._serve, name="licet-postgres", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """What the coroutine returns or raises.

        Raises `TimeOverError` after `timeout_s`, when it was cancelled; `GateClosed` once closed.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a coroutine of the store's loop waited for the loop")
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop was closed
            work.close()
            raise GateClosed(f"the ledger `{self._name}` was closed") from None
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise  # the coroutine's own
            future.cancel()
            raise TimeOverError(f"the ledger `{self._name}` has not answered within {timeout_s:g} s") from None
        except concurrent.futures.CancelledError:
            raise GateClosed(f"the ledger `{self._name}` was closed") from None
        except BaseException:
            future.cancel()
            raise

    def call(self, do: Callable[[], None]) -> None:
        """`do` is called on the loop soon, unless that was closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(do)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """The coroutine goes on by itself until it ends or the loop is closed. Called on the loop."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Whatever still runs is cancelled, and the thread has ended. Safe to call twice."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_JOIN_S)

    # the loop's thread

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        """Nothing runs, and no connection is open."""
        this = asyncio.current_task()
        for _ in range(_ROUNDS):  # what is cancelled may begin something in order to end
            if left := [task for task in asyncio.all_tasks() if task is not this]:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=_ROUND_S)
            self._abort(self._loop)
            await asyncio.sleep(0)  # transports that were just closed say so
        await self._loop.shutdown_default_executor()
