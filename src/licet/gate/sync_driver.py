"""Performs the pipeline's steps in the calling thread. The rules are those of `drivers.py`."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from typing import Any, TypeVar, assert_never

from licet.gate.drivers import (
    Services,
    ask_awaited,
    ask_now,
    look_up,
    ran_never,
    ran_not,
    ran_too_long,
    ran_unseen,
    resolver_slow,
    run_awaited,
    run_now,
    target_of,
    target_of_caller,
    tell_late,
)
from licet.gate.scene import Resolver
from licet.gate.steps import Append, Execute, FindFreezes, FindKey, FindOutcome, FindRequest, Preview, Ran, Resolve, Step
from licet.gate.workers import Workers
from licet.model import Caller, EntityRef, Receipt, Target

R = TypeVar("R")
V = TypeVar("V")

CANCEL_FOR_S = 1.0
"""How long what runs in the portal has to end when its gate is closed."""

_local = threading.local()
"""`portal`: the one whose loop runs in this thread."""


class Portal:
    """An event loop in a thread of its own, for asynchronous code that is called from synchronous code. Started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inner: Portal | None = None

    def submit(self, coroutine: Coroutine[Any, Any, V]) -> Future[V]:
        """Run a coroutine there, in the caller's context; or one portal further in, where the caller itself runs in one and blocks it."""
        here: Portal | None = getattr(_local, "portal", None)
        loop = self.started() if here is None else here.further_in().started()
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def further_in(self) -> Portal:
        """The portal for what is called from within this one; only its own thread asks."""
        if self._inner is None:
            self._inner = Portal()
        return self._inner

    def close(self) -> None:
        """Stop the loop. What still runs there is cancelled, so that nobody waits for it for ever."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None
            if self._inner is not None:
                self._inner.close()

    def started(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="licet-portal", daemon=True).start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        _local.portal = self
        asyncio.set_event_loop(loop)
        try:
            _run_until_stopped(loop)
            if tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_FOR_S))
        finally:
            loop.close()


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    """A `SystemExit` in a task that a tool has started flies through the loop; whoever awaits the task gets it too, if the loop goes on."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue
        return


class SyncResolver:
    """Asks resolvers from the calling thread, each within its deadline (seconds)."""

    def __init__(self, workers: Workers, portal: Portal, environment: str, timeout_s: float) -> None:
        self._workers = workers
        self._portal = portal
        self._environment = environment
        self._timeout_s = timeout_s

    def resolve(self, step: Resolve) -> tuple[Target | None, ...]:
        """The targets, in order. Raises `ResolverFailed`."""
        return tuple([self._resolve(ref, resolver, step.caller) for ref, resolver in step.targets])

    def _resolve(self, ref: EntityRef, resolver: Resolver | None, caller: Caller) -> Target | None:
        if resolver is None:
            return target_of_caller(self._environment, ref, caller)
        if resolver.answers_at_once:
            return target_of(self._environment, ref, resolver, ask_now(resolver, ref))
        if resolver.resource.is_async:
            future = self._portal.submit(ask_awaited(resolver, ref))
        else:
            future = self._workers.submit(functools.partial(ask_now, resolver, ref))
        try:
            answer = future.result(self._timeout_s)
        except TimeoutError:
            future.cancel()
            raise resolver_slow(ref, self._timeout_s) from None
        return target_of(self._environment, ref, resolver, answer)


class SyncDriver:
    """One call's driver; made anew for each call."""

    def __init__(self, services: Services, portal: Portal) -> None:
        self._services = services
        self._portal = portal
        self._resolver = SyncResolver(services.workers, portal, services.environment, services.resolver_timeout_s)
        self._interrupted: BaseException | None = None

    def run(self, steps: Generator[Step, Any, R]) -> R:
        """Drive the steps to their end. Raises what interrupted it, after everything has been recorded."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as stop:
                if self._interrupted is not None:
                    raise self._interrupted from None
                result: R = stop.value
                return result
            answer = error = None
            try:
                answer = self._perform(step)
            except BaseException as raised:  # noqa: BLE001 - the pipeline decides what it means
                error = raised

    def _perform(self, step: Step) -> Any:
        match step:
            case FindFreezes():
                return self._services.freezes.look() if step.anew else self._services.freezes.current()
            case Append():
                return self._append(step)
            case Execute() | Preview():
                return self._execute(step)
            case Resolve():
                return self._resolver.resolve(step)
            case FindKey() | FindOutcome() | FindRequest():
                return look_up(self._services.store, step)
        assert_never(step)

    def _append(self, step: Append) -> tuple[Receipt, ...]:
        ticket = self._services.writer.submit(step.filing)
        while True:
            try:
                return ticket.wait(self._services.store_timeout_s)
            except KeyboardInterrupt as interrupt:
                self._interrupted = interrupt  # a durable step is not abandoned; it is bounded by the store's deadline

    def _execute(self, step: Execute | Preview) -> Ran:
        if self._interrupted is not None:
            return ran_not(self._interrupted)
        started_ns = time.perf_counter_ns()
        if step.tool.is_async:
            return self._outlast(self._portal.submit(run_awaited(step, started_ns)), step, started_ns)
        if step.timeout_s is None:
            return run_now(step, started_ns)
        return self._outlast(self._services.workers.submit(functools.partial(run_now, step, started_ns)), step, started_ns)

    def _outlast(self, future: Future[Ran], step: Execute | Preview, started_ns: int) -> Ran:
        try:
            return future.result(None if step.tool.is_async else step.timeout_s)
        except TimeoutError:
            if future.cancel():
                return ran_never(started_ns)
            tell_late(future, step)
            return ran_too_long(started_ns)
        except BaseException as error:  # noqa: BLE001 - an interrupt of this thread; the tool raises nothing into the future
            if future.cancel() and not step.tool.is_async:
                return ran_not(error)
            tell_late(future, step)
            return ran_unseen(error, started_ns)
