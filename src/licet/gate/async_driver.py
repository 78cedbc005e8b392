"""Performs the pipeline's steps on the calling event loop. The rules are those of `drivers.py`.

A store that is reached over a network is never asked on the loop: what waits for it waits in a thread. One in this machine answers sooner
than a thread would begin.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Generator
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
from licet.gate.freeze_view import Stops
from licet.gate.scene import Resolver
from licet.gate.steps import Append, Execute, FindFreezes, FindKey, FindOutcome, FindRequest, Preview, Ran, Resolve, Step
from licet.model import Caller, EntityRef, Receipt, Target

R = TypeVar("R")
T = TypeVar("T")


class AsyncDriver:
    """One call's driver; made anew for each call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cancelled: asyncio.CancelledError | None = None

    async def run(self, steps: Generator[Step, Any, R]) -> R:
        """Drive the steps to their end. Raises the cancellation that arrived meanwhile, after everything has been recorded."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as stop:
                if self._cancelled is not None:
                    raise self._cancelled from None
                result: R = stop.value
                return result
            answer = error = None
            try:
                answer = await self._perform(step)
            except BaseException as raised:  # noqa: BLE001 - the pipeline decides what it means
                error = raised

    async def _perform(self, step: Step) -> Any:
        match step:
            case FindFreezes():
                return await self._find_freezes(step)
            case Append():
                return await self._append(step)
            case Execute() | Preview():
                return await self._execute(step)
            case Resolve():
                if all(resolver is None or resolver.answers_at_once for _, resolver in step.targets):
                    return tuple([self._resolved(ref, resolver, step.caller) for ref, resolver in step.targets])
                return tuple([await self._resolve(ref, resolver, step.caller) for ref, resolver in step.targets])
            case FindKey() | FindOutcome() | FindRequest():
                return await self._asked(functools.partial(look_up, self._services.store, step))
        assert_never(step)

    async def _find_freezes(self, step: FindFreezes) -> Stops:
        freezes = self._services.freezes
        if step.anew:
            return await self._asked(freezes.look)
        return freezes.current() if freezes.is_fresh else await self._asked(freezes.current)

    async def _asked(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, which asks the store. It is bounded by the store's deadline, and not abandoned."""
        if not self._services.store.is_remote:
            return ask()
        asked = asyncio.get_running_loop().run_in_executor(None, ask)
        while True:
            try:
                return await asyncio.shield(asked)
            except asyncio.CancelledError as cancelled:
                if asked.cancelled():
                    raise
                self._cancelled = cancelled

    async def _append(self, step: Append) -> tuple[Receipt, ...]:
        ticket = await self._asked(functools.partial(self._services.writer.submit, step.filing))  # sealing may look for secrets
        while True:
            try:
                return await ticket.wait_async()
            except asyncio.CancelledError as cancelled:
                self._cancelled = cancelled  # a durable step is not abandoned; it is bounded by the store's deadline

    def _resolved(self, ref: EntityRef, resolver: Resolver | None, caller: Caller) -> Target | None:
        if resolver is None:
            return target_of_caller(self._services.environment, ref, caller)
        return target_of(self._services.environment, ref, resolver, ask_now(resolver, ref))

    async def _resolve(self, ref: EntityRef, resolver: Resolver | None, caller: Caller) -> Target | None:
        services = self._services
        if resolver is None or resolver.answers_at_once:
            return self._resolved(ref, resolver, caller)
        try:
            async with asyncio.timeout(services.resolver_timeout_s):
                if resolver.resource.is_async:
                    answer = await ask_awaited(resolver, ref)
                else:
                    answer = await asyncio.wrap_future(services.workers.submit(functools.partial(ask_now, resolver, ref)))
        except TimeoutError:
            raise resolver_slow(ref, services.resolver_timeout_s) from None
        return target_of(services.environment, ref, resolver, answer)

    async def _execute(self, step: Execute | Preview) -> Ran:
        if self._cancelled is not None:
            return ran_not(self._cancelled)
        started_ns = time.perf_counter_ns()
        if step.tool.is_async:
            return await run_awaited(step, started_ns)
        future = self._services.workers.submit(functools.partial(run_now, step, started_ns))
        waiter: asyncio.Future[Ran] = asyncio.wrap_future(future)
        cancelled: asyncio.CancelledError | None = None
        try:
            done, _ = await asyncio.wait({waiter}, timeout=step.timeout_s)
        except asyncio.CancelledError as error:
            done, cancelled = set(), error
        if done:
            return waiter.result()
        if future.cancel():
            return ran_never(started_ns) if cancelled is None else ran_not(cancelled)
        tell_late(future, step)
        return ran_too_long(started_ns) if cancelled is None else ran_unseen(cancelled, started_ns)
