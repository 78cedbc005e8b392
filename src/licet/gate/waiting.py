"""Waiting for people: a caller sleeps until its request has moved, in this process or another, and then makes the same call again.

Rules:

1. Waiting decides nothing. What wakes a caller is the row of its request, which nobody believes: the call is made again through the
   pipeline, with the arguments that were read first, and is decided afresh.
2. Whoever waits holds no connection, no lock and no thread of the gate. One thread watches for all, and only while somebody waits.
3. A decision that is there when the time is over counts: the last thing that a caller does is look.
4. A call that waited and was woken opens no second request for what it waited for (gate/awaited.py). A freeze that stops it wakes it too.
5. While the store cannot be read, everybody goes on waiting: until it can, or until their time is over.
6. When the gate closes, everybody is woken. The requests stay; the same call, made after a restart, finds its request.

Limits are measured by the machine's steady clock, the expiry of requests by the gate's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from msgspec.structs import replace

from licet.errors import GateClosed, IntegrityBroken, StoreError
from licet.gate.checks import called
from licet.gate.draft import Draft
from licet.gate.freeze_view import FreezeView, Stops
from licet.gate.results import Held, Proposed
from licet.ledger.record import new_id
from licet.model import LIVE_STATES, CallId, RequestId, RequestState
from licet.store.contract import Store
from licet.store.versions import RequestStatus

T = TypeVar("T")
R = TypeVar("R", bound=Proposed)

POLL_S = 0.05
"""How often the watcher asks whether anything was committed: ten microseconds each time, and nobody notices a twentieth of a second."""
LONGEST_WAIT_S = 86_400.0
"""A day. Whatever waits longer is restarted, redeployed or cut off by something in between: the request outlives that, a wait does not."""
_NEVER = datetime.max.replace(tzinfo=UTC)
_log = logging.getLogger("licet.gate")


def seconds_to_wait(wait: float) -> float:
    """The limit, checked. Raises `ValueError` for one that is negative, not a number, or longer than a day."""
    if isinstance(wait, bool) or not isinstance(wait, int | float) or math.isnan(wait) or wait < 0:
        raise ValueError(f"`wait` is a number of seconds, and `{wait}` is none")
    if wait > LONGEST_WAIT_S:
        raise ValueError(f"`wait` is at most {LONGEST_WAIT_S:g} s, since a process may not live longer; call again instead")
    return float(wait)


def asked_for(result: Proposed) -> tuple[RequestId, ...]:
    """The request that a result waits on, if it does."""
    return (result.request,) if isinstance(result, Held) and result.request is not None else ()


def is_stopped(draft: Draft, stops: Stops) -> bool:
    """Whether a freeze stops this call."""
    return draft.caller is not None and stops.find(called(draft)) is not None


def _never(_: Stops) -> bool:
    return False


class Repeated:
    """One call that is made again and again while it waits: each time a call of its own, with the arguments of the first."""

    def __init__(self, draft: Draft, now_us: Callable[[], int]) -> None:
        self._draft = draft
        self._now_us = now_us

    def next(self, awaited: Sequence[RequestId]) -> Draft:
        """The draft to govern next: the one that was proposed, until it has waited for something."""
        if awaited:
            self._draft = self._draft.again(CallId(new_id()), self._now_us())
        return self._draft

    def is_stopped(self, stops: Stops) -> bool:
        """Whether a freeze stops it."""
        return is_stopped(self._draft, stops)

    def told(self, result: R, waited_s: float) -> R | Held:
        """The result, with how long it was waited for people, if it still waits for them."""
        return replace(result, waited_s=waited_s) if isinstance(result, Held) else result


class _Waiter:
    """Somebody who waits for one of these requests to move: a thread, or a task of a loop."""

    __slots__ = ("_event", "_future", "is_stopped", "is_woken", "loop", "requests")

    def __init__(
        self, requests: Sequence[RequestId], is_stopped: Callable[[Stops], bool], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.requests = requests
        self.is_stopped = is_stopped
        self.loop = loop
        self.is_woken = False
        self._event = threading.Event() if loop is None else None
        self._future: asyncio.Future[None] | None = None if loop is None else loop.create_future()

    def sleep(self, limit_s: float) -> None:
        """Blocks the thread until woken, or so long."""
        assert self._event is not None
        self._event.wait(limit_s)

    async def sleep_async(self, limit_s: float) -> None:
        """As `sleep`, in a task."""
        assert self._future is not None
        await asyncio.wait({self._future}, timeout=limit_s)

    def wake(self) -> None:
        """It goes on. For a task: called on its loop."""
        if self._event is not None:
            self._event.set()
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Waiting:
    """Everybody who waits in this process, and the one thread that watches for them."""

    def __init__(self, store: Store, now: Callable[[], datetime], freezes: FreezeView) -> None:
        self._store = store
        self._now = now
        self._freezes = freezes
        self._lock = threading.Lock()
        self._waiters: dict[_Waiter, None] = {}
        self._unseen: list[_Waiter] = []
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits any more."""
        return self._closed.is_set()

    # what callers use

    def poll(self, request: RequestId) -> RequestState:
        """Where a request stands, by its row and the time. Raises `KeyError` when there is none, `StoreError`."""
        status = self._store.states_of((request,)).get(request)
        if status is None:
            raise KeyError(f"no request `{request}`")
        return _state(status, self._now())

    async def poll_async(self, request: RequestId) -> RequestState:
        """As `poll`, in a task of an event loop."""
        return await self._aside(lambda: self.poll(request))

    def wait(self, requests: Sequence[RequestId], limit_s: float, is_stopped: Callable[[Stops], bool] = _never) -> bool:
        """Blocks the thread; whether one of the requests is not open any more, or who waits `is_stopped` by a freeze.

        Raises `GateClosed`, `StoreError` if it cannot tell.
        """
        waiter = _Waiter(requests, is_stopped)
        if limit_s > 0:
            self._join(waiter)
            try:
                waiter.sleep(limit_s)
            finally:
                self._leave(waiter)
        return self._has_moved(waiter)

    async def wait_async(self, requests: Sequence[RequestId], limit_s: float, is_stopped: Callable[[Stops], bool] = _never) -> bool:
        """As `wait`, in a task of an event loop."""
        waiter = _Waiter(requests, is_stopped, asyncio.get_running_loop())
        if limit_s > 0:
            self._join(waiter)
            try:
                await waiter.sleep_async(limit_s)
            finally:
                self._leave(waiter)
        return await self._aside(lambda: self._has_moved(waiter))

    def wait_out(
        self,
        run: Callable[[Sequence[RequestId]], T],
        asks: Callable[[T], Sequence[RequestId]],
        limit_s: float,
        is_stopped: Callable[[Stops], bool] = _never,
    ) -> tuple[T, float]:
        """Run, and run again whenever one of the requests that the result `asks` for has moved, until it asks for none or the time is over.

        A freeze by which the caller `is_stopped` counts as a move. `run` is given the requests that were waited for, none at first. Gives
        the last result, and how many seconds were waited. A gate that closes while it waits, and a store that cannot be read at the end,
        cost the waiting and not the result.
        """
        result = run(())
        limit = _Limit(limit_s)
        while requests := limit.goes_on_for(asks(result)):
            self._closed.wait(limit.pause_s)
            try:
                moved = self.wait(requests, limit.left_s, is_stopped)
            except (GateClosed, IntegrityBroken, StoreError):
                break
            if not moved:
                break
            result = run(requests)
        return result, limit.waited_s

    async def wait_out_async(
        self,
        run: Callable[[Sequence[RequestId]], Awaitable[T]],
        asks: Callable[[T], Sequence[RequestId]],
        limit_s: float,
        is_stopped: Callable[[Stops], bool] = _never,
    ) -> tuple[T, float]:
        """As `wait_out`, in a task of an event loop."""
        result = await run(())
        limit = _Limit(limit_s)
        while requests := limit.goes_on_for(asks(result)):
            await asyncio.sleep(limit.pause_s)
            try:
                moved = await self.wait_async(requests, limit.left_s, is_stopped)
            except (GateClosed, IntegrityBroken, StoreError):
                break
            if not moved:
                break
            result = await run(requests)
        return result, limit.waited_s

    def close(self) -> None:
        """Everybody is awake, and nobody watches any more."""
        self._closed.set()
        with self._lock:
            thread = self._thread
            waiters = list(self._waiters)
        _wake(waiters, moved=False)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # those who wait

    def _join(self, waiter: _Waiter) -> None:
        """It is watched for from now on; what its request has done before is seen in the next round."""
        with self._lock:
            if self._closed.is_set():
                raise GateClosed("this gate has been closed")
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="licet-waiting", daemon=True)
                thread.start()  # before anything says so: a machine that has no thread left fails this caller, and not those that follow
                self._thread = thread
            self._waiters[waiter] = None
            self._unseen.append(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters.pop(waiter, None)

    async def _aside(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, which asks the store: in a thread where that goes over a network."""
        return await asyncio.to_thread(ask) if self._store.is_remote else ask()

    def _has_moved(self, waiter: _Waiter) -> bool:
        """Whether it was woken, or would be now (rule 3)."""
        if self._closed.is_set():
            raise GateClosed("this gate was closed while a call waited for people")
        if waiter.is_woken:
            return True
        states, now = self._store.states_of(waiter.requests), self._now()
        return any(_has_moved(states.get(request), now) for request in waiter.requests)

    # the watcher's thread

    def _watch(self) -> None:
        """Until nobody waits any more or the gate is closed. No error ends it: somebody relies on it."""
        sight, is_blind = _Sight(), False
        while self._is_needed():
            try:
                self._look(sight)
            except Exception as error:  # noqa: BLE001 - rule 5, whatever the store raises
                sight = _Sight()  # everybody is looked at anew as soon as that is possible
                if not is_blind:
                    _log.warning("licet: whoever waits for an approval is not told of it for now: %s", error)
                is_blind = True
            else:
                is_blind = False
            self._closed.wait(POLL_S)

    def _is_needed(self) -> bool:
        with self._lock:
            if self._waiters and not self._closed.is_set():
                return True
            self._thread, self._unseen = None, []
            return False

    def _look(self, sight: _Sight) -> None:
        """Wake whose request has moved. Looks at those who came since the last round, or at all after a commit or when one expires."""
        version, now = self._store.version(), self._now()
        with self._lock:
            unseen, self._unseen = self._unseen, []
            everybody = version != sight.version or now >= sight.next_expiry
            waiters = list(self._waiters) if everybody else unseen
        if not waiters:
            return
        states = self._store.states_of({request for waiter in waiters for request in waiter.requests})
        moved = {request for waiter in waiters for request in waiter.requests if _has_moved(states.get(request), now)}
        _wake([waiter for waiter in waiters if not moved.isdisjoint(waiter.requests)], moved=True)
        if stops := self._freezes.look():
            _wake([waiter for waiter in waiters if waiter.is_stopped(stops)], moved=True)
        expiries = [status.expires_at for request, status in states.items() if request not in moved]
        sight.next_expiry = min(expiries if everybody else [*expiries, sight.next_expiry], default=_NEVER)
        sight.version = version  # INVARIANT: as it was before the states were read, so that no commit falls between two rounds


class _Sight:
    """What the watcher saw last: the store's version, and when the first of the requests expires."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.next_expiry = _NEVER


class _Limit:
    """How long a caller goes on waiting. Its time begins when its call was held first."""

    def __init__(self, limit_s: float) -> None:
        self._began = time.monotonic()
        self._limit_s = limit_s
        self._is_over = False
        self._before: Sequence[RequestId] = ()
        self.pause_s = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds since the call was held first."""
        return time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds, 0 when the time is over."""
        return max(0.0, self._limit_s - self.waited_s)

    def goes_on_for(self, requests: Sequence[RequestId]) -> Sequence[RequestId]:
        """The requests that are to be waited for; none if there are none, or the last look was taken with the time over already."""
        if self._is_over:
            return ()
        self._is_over = self.left_s == 0
        # Woken and held by the same request all the same (a vote was taken back just then): not to be asked in circles without a pause.
        self.pause_s = POLL_S if tuple(requests) == tuple(self._before) else 0.0
        self._before = requests
        return requests


def _state(status: RequestStatus, now: datetime) -> RequestState:
    is_over = status.state in LIVE_STATES and now >= status.expires_at
    return RequestState.EXPIRED if is_over else status.state


def _has_moved(status: RequestStatus | None, now: datetime) -> bool:
    """Whether a request is not open any more. One that is not there was erased."""
    return status is None or _state(status, now) is not RequestState.OPEN


def _wake(waiters: Iterable[_Waiter], *, moved: bool) -> None:
    """Threads at once, tasks by one call to each loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Waiter]] = {}
    for waiter in waiters:
        waiter.is_woken = moved
        if waiter.loop is None:
            waiter.wake()
        else:
            loops.setdefault(waiter.loop, []).append(waiter)
    for loop, tasks in loops.items():
        try:
            loop.call_soon_threadsafe(_wake_tasks, tasks)
        except RuntimeError:
            continue  # the loop was closed, so nobody waits there


def _wake_tasks(waiters: Iterable[_Waiter]) -> None:
    for waiter in waiters:
        waiter.wake()
