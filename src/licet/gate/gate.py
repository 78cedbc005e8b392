"""The gate: the Python door. It registers tools, says who acts, and sends every call through the one pipeline.

Rules:

1. The gate holds no rule of its own: what is decided is decided in `pipeline.py`.
2. A gate opens its store and validates everything at the first call or at `seal()`; until then it only collects. If the policies do not
   load, no call is made.
3. A tool registered later is validated with everything else at the next call; if that fails, the scene that stands keeps standing, the
   new tool stays unknown, and the reason is logged.
4. After a fork the child's gate refuses: lease, writer and threads belong to the parent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from msgspec import structs

from licet import config, process
from licet.approvals.desk import Cast
from licet.catalog.python import PythonTool
from licet.config import Settings
from licet.errors import ArgumentsRefused, GateClosed
from licet.gate.acting import NO_TRACE, Acting, ActingBlock, acting_for
from licet.gate.adopting import Adopting
from licet.gate.asking import Asking
from licet.gate.async_driver import AsyncDriver
from licet.gate.brought import Brought
from licet.gate.checks import caller_of
from licet.gate.condition import Conditions
from licet.gate.draft import Draft
from licet.gate.house import OpenHouse
from licet.gate.integrating import Integrating
from licet.gate.operating import Operating
from licet.gate.pipeline import examine
from licet.gate.plans import PlannedCall, Planning, PlanResult, govern_plan, planned_calls, released, wait_s
from licet.gate.plans import asked_for as asked_for_plan
from licet.gate.proposing import Proposing
from licet.gate.registering import Registering
from licet.gate.registry import Registry
from licet.gate.reloading import Reloading, ReloadStatus
from licet.gate.results import Failed, Permitted, Proposed, Result
from licet.gate.sync_driver import SyncDriver
from licet.gate.text import KEY_LIMIT, is_key, readable, readable_or_none
from licet.gate.undo import Reversal, reversal_of
from licet.gate.waiting import seconds_to_wait
from licet.ledger.record import microseconds, new_id
from licet.model import CallId, Decision, RequestId, RequestState, Trace

F = TypeVar("F", bound=Callable[..., Any])


class Clock(Protocol):
    """Gives the time: an aware datetime in UTC."""

    def __call__(self) -> datetime:
        """Now."""
        ...


def utc_now() -> datetime:
    """The system's time, aware, in UTC."""
    return datetime.now(UTC)


class Gate(Registering, Adopting, Integrating, Asking, Operating, Proposing, Reloading, Conditions):
    """Governs the tools that are registered with it.

    `settings` is the path of a licet.toml (never searched for in parent folders) or settings made in Python. Safe to use from threads and
    tasks. Close it, or use it as a context manager, to give the lease back at once; a process that ends without is recovered by the next.
    """

    def __init__(self, settings: str | os.PathLike[str] | Settings = "licet.toml", *, clock: Clock = utc_now) -> None:
        self._from_file = not isinstance(settings, Settings)
        self.settings = settings if isinstance(settings, Settings) else config.load(Path(settings))
        self._reloads = ReloadStatus()
        self._clock = clock
        self._registry = Registry(self.settings)
        self._lock = threading.RLock()
        self._house: OpenHouse | None = None
        self._closed = False
        self._pid = process.number()
        self._token = object()  # what `acting` blocks know this gate by; unlike an id(), it is never somebody else's later

    def acting(
        self,
        *,
        agent: str | None = None,
        service: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        session: str | None = None,
        workflow: str | None = None,
        reason: str | None = None,
        trace: Trace | None = None,
        wait: float = 0,
    ) -> ActingBlock:
        """A `with` block in which calls are made in this name. It comes from the host program; nothing a model writes may be put here.

        `reason` is recorded as a claim and grants nothing. `tenant` may be left out where the agent or service has only one. `wait` is how
        many seconds a call that is held, made as a function or with `call`, waits for people (as in `call`).
        """
        joined = trace or NO_TRACE
        acting = Acting(
            tenant=readable_or_none(tenant),
            agent=readable_or_none(agent),
            service=readable_or_none(service),
            user=readable_or_none(user),
            session=readable_or_none(session),
            reason=readable_or_none(reason),
            trace=Trace(
                trace_id=readable_or_none(joined.trace_id),
                span_id=readable_or_none(joined.span_id),
                parent=readable_or_none(joined.parent),
                workflow=readable_or_none(joined.workflow if workflow is None else workflow),
            ),
            wait_s=seconds_to_wait(wait),
        )
        return ActingBlock(self._token, acting)

    def label(self, label: str) -> None:
        """Put a label on the session that acts now, for policies to see from the next decision on. Labels are never taken off."""
        self._opened().label(acting_for(self._token), readable(label))

    def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        *,
        idempotency_key: str | None = None,
        reason: str | None = None,
        wait: float | None = None,
    ) -> Result:
        """Propose a call; returns `Ok`, `Denied`, `Held` or `Failed`. JSON text is read strictly.

        With an `idempotency_key`, unique per caller, a repeat returns the recorded outcome and executes nothing. A call that is held blocks
        up to `wait` seconds (at most a day) until people have decided, and is then made again; the `Held` is returned where they have not,
        or the gate is closed meanwhile. Without `wait`, what `acting` says holds. Raises `OperatorError` if the gate cannot be opened,
        `ValueError` for a `wait` that is none, and passes on control exceptions (`KeyboardInterrupt`, `SystemExit`) after they have been
        recorded.
        """
        return self._run(self._draft(tool, arguments, idempotency_key, reason, wait=wait))

    async def acall(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        *,
        idempotency_key: str | None = None,
        reason: str | None = None,
        wait: float | None = None,
        acting: Acting | None = None,
    ) -> Result:
        """As `call`, on the running event loop, which goes on while the call waits. Cancelled while it waits, the request stays open.

        `acting` is who calls, where a front door has verified it; by default who acts now.
        """
        with nullcontext() if acting is None else ActingBlock(self._token, acting):
            draft = self._draft(tool, arguments, idempotency_key, reason, wait=wait)
        return await self._arun(draft)

    def poll(self, request: RequestId) -> RequestState:
        """Where a request stands now, by its row and the time; microseconds. Raises `KeyError` when there is none, `StoreError`."""
        return self._opened().waiting.poll(request)

    def wait(self, request: RequestId, timeout_s: float) -> RequestState:
        """Where a request stands once it is not open any more, or after so many seconds (at most a day).

        Raises as `poll`, and `GateClosed` where the gate is closed meanwhile.
        """
        waiting = self._opened().waiting
        waiting.poll(request)
        waiting.wait((request,), seconds_to_wait(timeout_s))
        return waiting.poll(request)

    async def await_decision(self, request: RequestId, timeout_s: float) -> RequestState:
        """As `wait`, on the running event loop."""
        waiting = self._opened().waiting
        await waiting.poll_async(request)
        await waiting.wait_async((request,), seconds_to_wait(timeout_s))
        return await waiting.poll_async(request)

    def undo(self, call: CallId, *, reason: str | None = None, wait: float | None = None, acting: Acting | None = None) -> Result:
        """Propose the reverse of a call that reported its effects, as a governed call of its tool's undo, in the name of whoever acts now.

        `wait` as in `call`. `acting` is who proposes, where that was found out from a credential. At most one undo of a call is ever
        executed, whoever proposes it. Raises `UndoRefused` where nothing can be proposed (nothing is recorded then), `IntegrityBroken`
        where a record cannot be decoded, and as `call`.
        """
        return self._run(self._undo_draft(call, reason, wait, acting))

    async def aundo(self, call: CallId, *, reason: str | None = None, wait: float | None = None) -> Result:
        """As `undo`, on the running event loop."""
        return await self._arun(self._undo_draft(call, reason, wait))

    def reversal(self, call: CallId, *, acting: Acting | None = None) -> Reversal:
        """The call that `undo` would propose now. Records nothing, executes nothing. Raises as `undo`."""
        house = self._opened()
        return reversal_of(house.store, house.scene, acting or acting_for(self._token), call)

    def _undo_draft(self, call: CallId, reason: str | None, wait: float | None, acting: Acting | None = None) -> Draft:
        found = self.reversal(call, acting=acting)
        with nullcontext() if acting is None else ActingBlock(self._token, acting):
            return self._draft(found.tool, found.arguments, found.key, reason, wait=wait, undoes=found.undoes)

    def plan(
        self,
        calls: Iterable[PlannedCall | tuple[str, Mapping[str, Any]]],
        *,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> PlanResult:
        """Propose a list of calls at once: they run in order, and people are asked once about all that need them.

        A plan that is held goes on where it stopped when it is proposed again, unchanged. With an `idempotency_key` so does one that has
        ended. `wait` as for `call`. Raises `ValueError` for an empty plan or one of more than `STEPS_LIMIT` steps.
        """
        first = self._plan_drafts(calls, idempotency_key, wait)
        planning = Planning(first, self._now_us)
        if not first[0].acting.wait_s:
            return self._plan_once(first)
        return self._opened().waiting.wait_out(
            lambda awaited: self._plan_once(planning.next(awaited)), asked_for_plan, wait_s(first), planning.is_stopped
        )[0]

    async def aplan(
        self,
        calls: Iterable[PlannedCall | tuple[str, Mapping[str, Any]]],
        *,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> PlanResult:
        """As `plan`, on the running event loop."""
        first = self._plan_drafts(calls, idempotency_key, wait)
        planning = Planning(first, self._now_us)
        if not first[0].acting.wait_s:
            return await self._aplan_once(first)
        wait_out = self._opened().waiting.wait_out_async
        return (
            await wait_out(lambda awaited: self._aplan_once(planning.next(awaited)), asked_for_plan, wait_s(first), planning.is_stopped)
        )[0]

    def _plan_drafts(
        self, calls: Iterable[PlannedCall | tuple[str, Mapping[str, Any]]], idempotency_key: str | None, wait: float | None
    ) -> list[Draft]:
        planned = planned_calls(calls, idempotency_key)
        drafts = [self._draft(call.tool, call.arguments, None, call.reason, wait=wait) for call in planned]
        drafts[0].plan_key = idempotency_key
        return drafts

    def _plan_once(self, drafts: Sequence[Draft]) -> PlanResult:
        house = self._opened()
        return released(SyncDriver(house.services, house.portal).run(govern_plan(drafts, house.house)))

    async def _aplan_once(self, drafts: Sequence[Draft]) -> PlanResult:
        house = self._opened()
        return released(await AsyncDriver(house.services).run(govern_plan(drafts, house.house)))

    def withdraw(self, request: RequestId) -> Cast:
        """Take back a request of whoever acts now. Raises `VoteRefused`, `TransitionRefused`, `KeyError`, `StoreError`."""
        caller = caller_of(acting_for(self._token), self._opened().scene)
        return self.approvals.withdraw_as_caller(request, caller)

    def check(self, tool: str, arguments: Mapping[str, Any] | bytes | str) -> Decision:
        """What would happen: the decision on this call now. Records nothing, executes nothing (resolvers are asked, previews are not)."""
        house = self._opened()
        draft = self._draft(tool, arguments, None, None)
        return SyncDriver(house.services, house.portal).run(examine(draft, house.house.grounds(), run_preview=False))

    def _draft(
        self,
        tool: str,
        unverified_arguments: Mapping[str, Any] | bytes | str,
        idempotency_key: str | None,
        reason: str | None,
        *,
        instance: object | None = None,
        refused: ArgumentsRefused | None = None,
        wait: float | None = None,
        undoes: CallId | None = None,
        brought: Brought | None = None,
    ) -> Draft:
        acting = acting_for(self._token)
        if wait is not None:
            acting = structs.replace(acting, wait_s=seconds_to_wait(wait))
        if reason is not None:
            acting = structs.replace(acting, reason=readable(reason))
        if idempotency_key is not None and not is_key(idempotency_key):
            refused = ArgumentsRefused("bad_key", f"an idempotency key is text of 1 to {KEY_LIMIT} printable characters")
            idempotency_key = None
        return Draft(
            CallId(new_id()),
            microseconds(self._clock()),
            acting,
            readable(tool),
            unverified_arguments,
            idempotency_key=idempotency_key,
            instance=instance,
            refused=refused,
            undoes=undoes,
            brought=brought,
        )

    def _run(self, draft: Draft) -> Result:
        return _released(self._propose(draft))

    async def _arun(self, draft: Draft) -> Result:
        return _released(await self._apropose(draft))

    async def _arun_unwrapped(self, draft: Draft) -> Any:
        return (await self._arun(draft)).unwrap()

    def _opened(self) -> OpenHouse:
        """The open house, with everything in force that has been registered. Raises `GateClosed`, or why it cannot be opened."""
        house = self._house
        if house is not None and house.is_current and self._pid == process.number():
            return house
        if self._pid != process.number():  # before the lock, which another thread of the parent may have held at the fork
            raise GateClosed("this gate was opened before a fork: open one of its own in the child")
        with self._lock:
            if self._closed:
                raise GateClosed("this gate has been closed")
            if self._house is None:
                self._house = OpenHouse(self.settings, self._registry, self._clock)
            elif not self._house.is_current:
                self._house.renew()
            return self._house

    def call_governed(self, tool: PythonTool, instance: object | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A direct call of a decorated function: the value, or an exception. A coroutine where the function is asynchronous."""
        try:
            draft = self._draft(tool.spec.name, tool.propose(args, kwargs), None, None, instance=instance)
        except ArgumentsRefused as refused:
            draft = self._draft(tool.spec.name, {"args": args, "kwargs": kwargs}, None, None, instance=instance, refused=refused)
        if tool.is_async:
            return self._arun_unwrapped(draft)
        return self._run(draft).unwrap()

    @property
    def registry(self) -> Registry:
        """What has been registered so far, for tools that look at an application's gate without opening its store."""
        return self._registry

    def seal(self) -> None:
        """Open the store, recover what earlier processes left open, validate catalog, directory and policies, and record what is in force.

        Raises `OperatorError` with everything that is wrong.
        """
        self._opened()

    def close(self) -> None:
        """Write what is still to be written and give the lease back. Safe to call twice; calls made later raise `GateClosed`."""
        if self._pid != process.number():
            return
        with self._lock:
            self._closed = True
            house, self._house = self._house, None
        if house is not None:
            house.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _released(result: Proposed) -> Result:
    """Everything is recorded; what must not be swallowed goes on."""
    assert not isinstance(result, Permitted)  # this process has executed it
    if isinstance(result, Failed) and result.error is not None and not isinstance(result.error, Exception):
        raise result.error
    return result
