"""One writer thread for each process, which commits in groups.

Rules:

1. All batches that wait when the writer comes round join its next transaction; they become durable together or not at all.
2. Every ticket is answered: with receipts, with the condition that its batch lost, or with an error. A writer that dies answers all.
3. Who waits in threads is woken in turn (ledger/waking.py); who waits in an event loop by one `call_soon_threadsafe` for each loop
   and group.
4. `StoreUnavailable` is tried again for a bounded time, then the group's tickets fail; the next group is tried afresh. Every other error of
   the store, and every error that nobody expected, poisons: the writer refuses from then on, and says why.
5. A store that does not answer within `deadline_s` fails all waiting tickets with `StoreUnavailable`. The group that it was working on
   may still land, so its tickets' error is marked `ambiguous`: never run the tool, and reconcile by call id. Batches that were
   still queued are taken back and cannot land.
6. Cancelling a task that waits cancels nothing else: the batch was submitted and will land. Who must know shields the wait.
7. Nothing here survives a fork: the child has no writer thread, so it is refused.
8. A batch that was sealed under secrets that have moved since is sealed anew and committed with what follows, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from licet import process
from licet.errors import ConditionLost, GateClosed, KeyUnavailable, StoreError, StorePoisoned, StoreUnavailable
from licet.ledger.seal import Filing
from licet.ledger.waking import Sleeper, WakingQueue
from licet.model import Receipt
from licet.store.contract import Batch, Committed, Lost, Store

GROUP_LIMIT = 512
"""Batches in a transaction: bounds its time and memory; groups stop paying off at about 250."""
RETRY_PAUSES_S = (0.01, 0.05, 0.25)
"""Before an unavailable store is tried again. It has waited for locks by itself already."""
RETRY_FOR_S = 5.0
DEADLINE_S = 30.0
SEALED_ANEW = 5
"""Times. Secrets move when two processes write about somebody for the first time at one moment, or somebody is erased."""
LINGER_S = 0.002
LINGER_SHARE = 0.25
_WORTH_LINGERING_S = 0.0002
"""A sleep overshoots by about this much."""


class Ticket:
    """A batch on its way. Both ways of waiting may be used, again and by several."""

    __slots__ = ("_answer", "_waiters", "batch", "filing")

    def __init__(self, filing: Filing, batch: Batch) -> None:
        self.filing = filing
        self.batch = batch
        self._answer: _Answer | None = None
        self._waiters: list[_Waiter] = []

    @property
    def is_answered(self) -> bool:
        """Whether waiting would return at once."""
        return self._answer is not None

    def wait(self, timeout_s: float | None = None) -> tuple[Receipt, ...]:
        """The batch's receipts, once it is durable; blocks the thread.

        Raises `ConditionLost` if the batch was refused; `StoreError` if its group failed; `StoreUnavailable` (`ambiguous`: the batch may
        still land) after `timeout_s`. The writer's own deadline holds without a timeout.
        """
        if self._answer is None:
            sleeper = Sleeper()
            self._waiters.append(sleeper)
            # The writer answers first and reads the waiters then, so one of the two sees the other.
            if self._answer is not None:
                sleeper.leave()
            elif not sleeper.sleep(timeout_s):
                raise StoreUnavailable(f"the ledger has not answered within {timeout_s:g} s", ambiguous=True)
        return self._receipts()

    async def wait_async(self) -> tuple[Receipt, ...]:
        """As `wait`, without blocking the event loop.

        Cancelling it leaves the batch on its way; await it again, or shield it, to know what became of it.
        """
        if self._answer is None:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._waiters.append((loop, future))
            if self._answer is None:
                await future
        return self._receipts()

    def settle(self, answer: _Answer) -> Sequence[_Waiter]:
        """The writer's side: the ticket has its answer, the first one it was given. Who waits for it must now be woken."""
        if self._answer is not None:
            return ()
        self._answer = answer
        return self._waiters

    def _receipts(self) -> tuple[Receipt, ...]:
        answer = self._answer
        if isinstance(answer, Committed):
            return answer.receipts
        if isinstance(answer, Lost):
            raise ConditionLost(answer.condition, answer.message)
        assert answer is not None
        raise _again(answer) from answer


_Answer: TypeAlias = Committed | Lost | StoreError | GateClosed
_Waiter: TypeAlias = "Sleeper | tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]"


class Writer:
    """Commits batches from any number of threads and event loops to one store. It does not close the store.

    `linger_s` bounds how long a group waits for callers that were answered just now and are likely to be back; it is never more than a
    quarter of a commit. `deadline_s` is how long the store may take for a group.
    """

    def __init__(self, store: Store, *, linger_s: float = LINGER_S, deadline_s: float = DEADLINE_S) -> None:
        self._store = store
        self.barrier: Callable[[], str | None] = lambda: None  # why nothing may be recorded now
        self.committed: Callable[[int], None] = lambda records: None  # noqa: ARG005  told how many records each group has made durable
        self.observed: Callable[[Sequence[Filing], float], None] | None = None  # told what each group was, and how many seconds it took
        self._linger_s = linger_s
        self._deadline_s = deadline_s
        self._process = process.number()
        self._queue: deque[Ticket] = deque()
        self._wake = threading.Lock()  # free: there may be work
        self._answering = threading.Lock()
        self._working: list[Ticket] = []
        self._working_since: float | None = None
        self._stalled = False
        self._closing = False
        self._stopped: StoreError | GateClosed | None = None
        self._over = threading.Event()
        self._commit_s = 0.0
        self._known = 0
        self._wanted = 1
        self._waking = WakingQueue()
        self.poisoned: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name="licet-writer", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="licet-writer-watch", daemon=True).start()

    def submit(self, filing: Filing) -> Ticket:
        """The filing is sealed and on its way.

        Raises `GateClosed` or the poisoning error once stopped, `StoreUnavailable` while the store hangs, any `StoreError` of sealing.
        """
        if self._stopped is not None or self._closing or self._stalled or process.number() != self._process:
            raise self._refusal()
        if filing.statements and (problem := self.barrier()) is not None:
            raise StoreUnavailable(problem)
        ticket = Ticket(filing, self._store.seal(filing))
        self._queue.append(ticket)
        if len(self._queue) >= self._wanted and self._wake.locked():
            _release(self._wake)
        if self._stopped is not None:
            self._answer_queue(self._stopped)  # it stopped between the two looks: nobody else would answer
        return ticket

    def close(self, timeout_s: float = 10.0) -> None:
        """What was submitted is committed, and the thread has ended. Safe to call twice.

        After `timeout_s` those who still wait get `StoreUnavailable`.
        """
        self._closing = True
        if process.number() != self._process:
            return
        _release(self._wake)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._fail_all(f"the ledger has not finished within {timeout_s:g} s of closing")
        self._over.set()

    def _refusal(self) -> StoreError | GateClosed:
        if process.number() != self._process:
            return GateClosed(
                "this process was forked from one that had the ledger open; open it after the fork, or start the process afresh"
            )
        if self._stopped is not None:
            return _again(self._stopped)
        if self._closing:
            return GateClosed("the ledger's writer was closed")
        return StoreUnavailable(f"the ledger has not answered for more than {self._deadline_s:g} s")

    # the writer's thread

    def _run(self) -> None:
        """Until closed or poisoned. Whatever happens, everybody who waits is answered (rule 2)."""
        end: StoreError | GateClosed = GateClosed("the ledger's writer was closed")
        try:
            while True:
                self._wake.acquire()
                while self._queue:
                    self._linger()
                    self._commit(self._take_group())
                if self._closing:
                    break
        except StoreError as error:
            self.poisoned = end = error
        except BaseException as error:  # noqa: BLE001  rule 4: an error that nobody expected must not leave callers waiting
            self.poisoned = end = StorePoisoned(f"the ledger's writer stopped unexpectedly ({error!r}); restart", ambiguous=True)
            end.__cause__ = error
        finally:
            self._stopped = end
            self._answer(self._working, [end] * len(self._working))
            self._answer_queue(end)
            self._over.set()

    def _take_group(self) -> list[Ticket]:
        group: list[Ticket] = []
        try:
            while len(group) < GROUP_LIMIT:
                group.append(self._queue.popleft())
        except IndexError:
            return group
        return group

    def _linger(self) -> None:
        """Wait once for callers known to be on their way, until all are here or a quarter of a commit is over."""
        pause = min(self._linger_s, self._commit_s * LINGER_SHARE)
        if pause > _WORTH_LINGERING_S and len(self._queue) < self._known:
            self._wake.acquire(blocking=False)  # whoever was here already has freed it
            self._wanted = self._known
            if len(self._queue) < self._wanted:
                self._wake.acquire(timeout=pause)
            self._wanted = 1  # whoever came meanwhile is in the queue, which is looked at before the lock is waited for again

    def _commit(self, group: list[Ticket]) -> None:
        """The group is answered. Raises what poisons."""
        began = time.monotonic()
        self._working, self._working_since = group, began
        answers: Sequence[_Answer]
        try:
            answers = self._commit_moved(group, self._commit_patiently([ticket.batch for ticket in group], began), began)
        except StoreUnavailable as error:
            answers = [error] * len(group)
        self._working_since, self._stalled = None, False
        self._commit_s += (time.monotonic() - began - self._commit_s) / 8
        self._answer(group, answers)
        self._working = []
        self.committed(sum(len(answer.receipts) for answer in answers if isinstance(answer, Committed)))
        if self.observed is not None:
            landed = [ticket.filing for ticket, answer in zip(group, answers, strict=True) if isinstance(answer, Committed)]
            self.observed(landed, time.monotonic() - began)
        self._known = len(group) + len(self._queue)

    def _commit_moved(self, group: list[Ticket], answers: Sequence[Committed | Lost], began: float) -> Sequence[_Answer]:
        """The answers, with those instead that came of sealing anew (rule 8)."""
        final: list[_Answer] = list(answers)
        for _ in range(SEALED_ANEW):
            moved = [place for place, answer in enumerate(final) if isinstance(answer, Lost) and answer.condition == "secrets_moved"]
            if not moved:
                return final
            settled = [place for place in range(len(group)) if place not in moved]
            self._answer([group[place] for place in settled], [final[place] for place in settled])  # they are durable, whatever follows
            for place in moved:
                try:
                    group[place].batch = self._store.seal(group[place].filing)
                except KeyUnavailable as error:  # of a secret, not of the store: whoever else waits is not to suffer for it
                    final[place] = error
            sealed = [place for place in moved if not isinstance(final[place], KeyUnavailable)]
            anew = self._commit_patiently([group[place].batch for place in sealed], began) if sealed else []
            for place, answer in zip(sealed, anew, strict=True):
                final[place] = answer
        return [
            StoreUnavailable(answer.message) if isinstance(answer, Lost) and answer.condition == "secrets_moved" else answer
            for answer in final
        ]

    def _commit_patiently(self, batches: list[Batch], began: float) -> Sequence[Committed | Lost]:
        for pause in RETRY_PAUSES_S:
            try:
                return self._store.commit(batches)
            except StoreUnavailable as error:
                if error.ambiguous or time.monotonic() - began > RETRY_FOR_S:  # what may have landed would land twice
                    raise
                time.sleep(pause)
        return self._store.commit(batches)

    # answers, from any thread

    def _answer(self, tickets: Sequence[Ticket], answers: Sequence[_Answer]) -> None:
        """These tickets have their answer, the first one that they were given; all who wait for them are woken (rule 3)."""
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        sleepers: list[Sleeper] = []
        with self._answering:
            for ticket, answer in zip(tickets, answers, strict=True):
                for waiter in ticket.settle(answer):
                    if isinstance(waiter, tuple):
                        loops.setdefault(waiter[0], []).append(waiter[1])
                    else:
                        sleepers.append(waiter)
        self._waking.wake(sleepers)
        for loop, futures in loops.items():
            try:
                loop.call_soon_threadsafe(_wake, futures)
            except RuntimeError:
                continue  # the loop was closed, so nobody waits there

    def _answer_queue(self, error: StoreError | GateClosed) -> None:
        """Nobody is left in the queue; what was there has not been given to the store."""
        error = _again(error, ambiguous=False)
        while self._queue:
            try:
                self._answer([self._queue.popleft()], [error])
            except IndexError:
                return  # another thread had the same intention

    def _fail_all(self, message: str) -> None:
        self._answer(self._working, [StoreUnavailable(message, ambiguous=True)] * len(self._working))
        self._answer_queue(StoreUnavailable(message))

    def _watch(self) -> None:
        """Fail those who wait for a store that hangs (rule 5)."""
        while not self._over.wait(self._deadline_s / 4):
            self._waking.wake_next()
            since = self._working_since
            if since is not None and time.monotonic() - since > self._deadline_s:
                self._stalled = True
                if self._working_since == since:
                    self._fail_all(f"the ledger has not answered within {self._deadline_s:g} s")
                else:
                    self._stalled = False  # it answered between the two looks: nobody else would say so, and all would be refused for ever


def _wake(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _release(lock: threading.Lock) -> None:
    """The lock is free, whoever frees it."""
    try:
        lock.release()
    except RuntimeError:
        return  # somebody else was as quick


def _again(error: StoreError | GateClosed, *, ambiguous: bool | None = None) -> StoreError | GateClosed:
    """The same error, to be raised once more: an exception raised in many threads would gather all their tracebacks."""
    if isinstance(error, StoreError):
        return type(error)(str(error), ambiguous=error.ambiguous if ambiguous is None else ambiguous)
    return GateClosed(str(error))
