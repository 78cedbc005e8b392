"""Waking many threads one after another, each by the one before it.

Threads that are woken all at once fight for the interpreter lock, with each other and with the writer that wants to go on: a quarter of
the CPU of a commit by 64 threads went there. So the writer wakes one, and each wakes the next before it does anything else.

Rules:

1. A sleeper is woken once, by whoever takes it from the queue.
2. A sleeper that leaves (timeout, `KeyboardInterrupt`, or because it need not sleep any more) does not break the chain. It first says that
   it has left, then looks whether it was woken meanwhile; who wakes first wakes, then looks whether the sleeper has left. So at
   least one of the two goes on with the next; if both do, two are awake, which harms nobody.
3. A signal between waking and passing on could still break it, in the main thread only. Each group of the writer starts at the head of the
   same queue, and so does each tick of its watch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable


class Sleeper:
    """One thread that waits to be woken."""

    __slots__ = ("_gate", "_left", "_queue")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._left = False
        self._queue: WakingQueue | None = None

    def sleep(self, timeout_s: float | None = None) -> bool:
        """Blocks until woken, and wakes the next; False after `timeout_s`."""
        try:
            woken = self._gate.acquire(timeout=-1 if timeout_s is None else timeout_s)
        except BaseException:
            self.leave()
            raise
        if not woken:
            self.leave()
        elif self._queue is not None:
            self._queue.wake_next()
        return woken

    def leave(self) -> None:
        """This thread does not sleep, or not any more."""
        self._left = True
        if self._gate.acquire(blocking=False) and self._queue is not None:  # woken at the last moment: somebody relies on us
            self._queue.wake_next()

    def wake(self, queue: WakingQueue) -> bool:
        """The thread goes on, and with it the queue. False where it has left, so that it may wake nobody."""
        self._queue = queue
        self._gate.release()
        return not self._left


class WakingQueue:
    """Sleepers that are to be woken, in order."""

    def __init__(self) -> None:
        self._sleepers: deque[Sleeper] = deque()

    def wake(self, sleepers: Iterable[Sleeper]) -> None:
        """These will all be woken, after those that came before them."""
        self._sleepers.extend(sleepers)
        self.wake_next()

    def wake_next(self) -> None:
        """One more is awake, if there is any that has not left."""
        while self._sleepers:
            try:
                sleeper = self._sleepers.popleft()
            except IndexError:
                return  # another thread took the last
            if sleeper.wake(self):
                return
