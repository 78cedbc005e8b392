"""What both drivers share: look-ups, resolvers' answers, and how the end of a tool is told.

A driver performs the steps that the pipeline asks for, in the calling thread (`sync_driver.py`) or on the calling event loop
(`async_driver.py`). Neither decides anything. Rules of both:

1. A step that makes something durable is never abandoned: a cancellation or interrupt that arrives meanwhile waits until it has ended.
2. Cancelled before the tool ran: it does not run, and the outcome `not_executed` is recorded. Cancelled while it runs: an asynchronous
   tool is cancelled; a synchronous one in a thread goes on, since a thread cannot be stopped, and its late outcome is recorded.
3. After everything is recorded, the cancellation goes on to whoever sent it.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Any

from msgspec import Struct

from licet.errors import LicetError
from licet.gate.effects import collecting
from licet.gate.freeze_view import FreezeView
from licet.gate.scene import Resolver
from licet.gate.steps import EndedAs, Execute, FindKey, FindOutcome, FindRequest, Preview, Ran, ResolverFailed
from licet.gate.workers import Workers
from licet.ledger.writer import Writer
from licet.model import Caller, CallId, EntityRef, OutcomeStatus, Target
from licet.store.contract import Store


class Services(Struct, frozen=True, kw_only=True):
    """What a driver performs steps with. Timeouts are in seconds."""

    store: Store
    freezes: FreezeView
    writer: Writer
    workers: Workers
    environment: str
    resolver_timeout_s: float
    store_timeout_s: float


def look_up(store: Store, step: FindKey | FindOutcome | FindRequest) -> Any:
    """A read of the store."""
    if isinstance(step, FindKey):
        return store.find_key(step.log, step.scope, step.key, step.digest)
    if isinstance(step, FindOutcome):
        return store.records_of_call(CallId(step.call))
    return store.find_dossier(step.tenant, step.key)


def target_of(environment: str, ref: EntityRef, resolver: Resolver, answer: Answer) -> Target | None:
    """A target from what its resolver answered. Raises `ResolverFailed` where it failed or that is not what it declared."""
    if answer.error is not None:
        # Without its message, which may hold secrets.
        failure = type(answer.error).__name__
        raise ResolverFailed(f"{ref} cannot be resolved: its resolver failed with `{failure}`") from answer.error
    try:
        facts = resolver.resource.facts(answer.returned)
    except LicetError as error:
        raise ResolverFailed(f"{ref} cannot be resolved: {error}") from error
    if facts is None:
        return None
    return Target(
        type=ref.type,
        id=ref.id,
        tenant=facts.tenant,
        environment=facts.environment or environment,
        attributes=facts.attributes,
    )


def target_of_caller(environment: str, ref: EntityRef, caller: Caller) -> Target:
    """A target whose type belongs to whoever asks."""
    return Target(type=ref.type, id=ref.id, tenant=caller.tenant, environment=environment)


def resolver_slow(ref: EntityRef, timeout_s: float) -> ResolverFailed:
    """A resolver that did not answer in time."""
    return ResolverFailed(f"{ref} cannot be resolved: no answer within {timeout_s:g} s")


def positional(step: Execute | Preview) -> tuple[Any, ...]:
    """The instance that a method is called on."""
    return (step.instance,) if step.tool.is_method else ()


def elapsed_us(started_ns: int) -> int:
    """Microseconds since `started_ns`, on the monotonic clock."""
    return (time.perf_counter_ns() - started_ns) // 1_000


def run_now(step: Execute | Preview, started_ns: int) -> Ran:
    """Run a synchronous tool here. Never raises: whatever a tool raises ends in a recorded outcome, `SystemExit` included."""
    try:
        with collecting(step.effects if isinstance(step, Execute) else None):
            value = step.tool.function(*positional(step), **step.arguments)
    except BaseException as error:  # noqa: BLE001 - as the docstring says
        return Ran(status=_ended_as(error), duration_us=elapsed_us(started_ns), error=error)
    return Ran(status="ok", duration_us=elapsed_us(started_ns), value=value)


async def run_awaited(step: Execute | Preview, started_ns: int) -> Ran:
    """Run an asynchronous tool on this loop, within its time. Never raises; a cancellation is in `Ran.error`."""
    deadline: asyncio.Timeout | None = None
    try:
        with collecting(step.effects if isinstance(step, Execute) else None):
            if step.timeout_s is None or step.tool.keeps_time:
                value = await step.tool.function(*positional(step), **step.arguments)
            else:
                async with asyncio.timeout(step.timeout_s) as deadline:
                    value = await step.tool.function(*positional(step), **step.arguments)
    except asyncio.CancelledError as error:
        return ran_unseen(error, started_ns)
    except BaseException as error:  # noqa: BLE001 - as the docstring says
        if isinstance(error, TimeoutError) and deadline is not None and deadline.expired():
            return ran_too_long(started_ns)
        return Ran(status=_ended_as(error), duration_us=elapsed_us(started_ns), error=error)
    return Ran(status="ok", duration_us=elapsed_us(started_ns), value=value)


def _ended_as(error: BaseException) -> OutcomeStatus:
    return error.status if isinstance(error, EndedAs) else "error"


def ran_not(error: BaseException) -> Ran:
    """Cancelled or interrupted before the tool was started."""
    return Ran(status="not_executed", duration_us=0, error=error)


def ran_never(started_ns: int) -> Ran:
    """Its time ran out while it waited for a thread, so it was not started."""
    return Ran(status="not_executed", duration_us=elapsed_us(started_ns))


def ran_unseen(error: BaseException, started_ns: int) -> Ran:
    """Cancelled or interrupted while the tool ran: what it did is not known."""
    return Ran(status="unknown", duration_us=elapsed_us(started_ns), error=error)


def ran_too_long(started_ns: int) -> Ran:
    """The tool did not end within its time: what it did, or will do, is not known."""
    return Ran(status="timeout", duration_us=elapsed_us(started_ns))


def tell_late(future: Future[Ran], step: Execute | Preview) -> None:
    """When a tool that nobody waits for any more ends, say so."""
    if isinstance(step, Execute):
        late = step.late
        future.add_done_callback(lambda done: None if done.cancelled() else late(done.result()))


class Answer(Struct, frozen=True):
    """What a resolver returned or raised: an exception that travels as a value cannot be mistaken for one of the thread's or loop's own."""

    returned: Any = None
    error: BaseException | None = None


def ask_now(resolver: Resolver, ref: EntityRef) -> Answer:
    """Ask a synchronous resolver here."""
    try:
        with collecting(None):
            return Answer(resolver.resource.function(ref.id))
    except (Exception, GeneratorExit) as error:  # noqa: BLE001 - as the class says; the pipeline would take the latter for its own end
        return Answer(error=error)


async def ask_awaited(resolver: Resolver, ref: EntityRef) -> Answer:
    """Ask an asynchronous resolver on this loop."""
    try:
        with collecting(None):
            return Answer(await resolver.resource.function(ref.id))
    except (Exception, GeneratorExit) as error:  # noqa: BLE001 - as the class says; the pipeline would take the latter for its own end
        return Answer(error=error)
