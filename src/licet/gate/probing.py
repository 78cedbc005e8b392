"""Asking a tool's probe whether a call happened.

Rules:

1. A probe gets the very arguments that the intent holds, as its tool got them. Where they are not all there (erased, locked, cut, hidden),
   or the tool as it is defined now reads others from them, it is not run.
2. `True` and `False` are answers, and settle; `None` is one too, and settles nothing. Anything else is none, nor is an exception or an
   answer that comes too late (the tool's time limit, or that of resolvers). What a probe says is never worth more than its code.
3. A probe's `False` settles nothing while the tool may still be at it: a function in a thread cannot be stopped, and the gate that made the
   call is open.

Not guaranteed: that nothing happens after a `False`. What the tool had sent may still be on its way, a coroutine may have begun a thread of
its own, and a process that closed its gate may go on with the thread. A late end is recorded beside the settlement.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from licet.errors import ArgumentsRefused
from licet.gate.drivers import Answer
from licet.gate.scene import Implementation, Scene
from licet.gate.sync_driver import Portal
from licet.gate.unknown import Case, Settled
from licet.gate.workers import Workers
from licet.model import CallId
from licet.store.contract import Boot


class Probed(Struct, frozen=True, kw_only=True):
    """What a probe answered, and the settlement that came of it; `why` says why there is none."""

    call: CallId
    answer: bool | None = None
    settled: Settled | None = None
    why: str | None = None


class _NoAnswer(Exception):
    """Why there is no answer."""


class Prober:
    """Runs probes under one scene. `timeout_s` (seconds) bounds those whose tool has no limit of its own."""

    def __init__(self, scene: Scene, workers: Workers, portal: Portal, timeout_s: float, boots: Callable[[], Iterable[Boot]]) -> None:
        self._scene = scene
        self._workers = workers
        self._portal = portal
        self._timeout_s = timeout_s
        self._boots = boots

    def ask(self, case: Case) -> Probed:
        """The answer of the probe, or why there is none. Raises nothing of the probe's."""
        try:
            answer = self._answer(case)
        except _NoAnswer as none:
            return Probed(call=case.call, why=str(none))
        if answer is None:
            return Probed(call=case.call, why="its probe cannot tell")
        if not answer and self._may_still_run(case):
            return Probed(call=case.call, answer=False, why="it has not happened yet, but its process lives and may still be at it")
        return Probed(call=case.call, answer=answer)

    def _answer(self, case: Case) -> bool | None:
        probe = self._scene.probes.get(case.tool)
        if probe is None:
            raise _NoAnswer(f"`{case.tool}` has no probe in this process")
        answer, limit_s = self._run(case.tool, probe, self._arguments(case, probe))
        if answer is None:
            raise _NoAnswer(f"its probe did not answer within {limit_s:g} s")
        if answer.error is not None:  # without its message, which may hold secrets
            raise _NoAnswer(f"its probe failed with `{type(answer.error).__name__}`")
        if answer.returned is not None and type(answer.returned) is not bool:
            raise _NoAnswer(f"its probe answered with a `{type(answer.returned).__name__}`, which is no answer")
        return answer.returned

    def _arguments(self, case: Case, probe: Implementation) -> Mapping[str, Any]:
        """Fresh values for the probe (rule 1)."""
        payload, tool = case.payload, case.tool
        if payload is None:
            raise _NoAnswer(f"{_CLOSED.get(case.closed, 'its arguments cannot be read')}, so its probe was not run")
        hidden = [entry for entry in case.stored.redactions if _hides_arguments(entry)]
        if hidden or not bytes(payload.arguments):
            raise _NoAnswer(f"the log does not hold all of its arguments ({', '.join(hidden) or 'none'}), so its probe was not run")
        try:
            arguments = self._scene.readers[tool].read(bytes(payload.arguments))
            if msgspec.json.decode(payload.arguments) == arguments.value:
                return probe.kwargs(arguments)
        except ArgumentsRefused as refused:
            raise _NoAnswer(f"`{tool}` as it is defined now does not take its arguments, so its probe was not run: {refused}") from refused
        raise _NoAnswer(f"`{tool}` as it is defined now reads other arguments than were sent, so its probe was not run")

    def _run(self, tool: str, probe: Implementation, arguments: Mapping[str, Any]) -> tuple[Answer | None, float]:
        """What the probe did, or None where it took longer than its limit (seconds)."""
        own_limit_s = self._scene.catalog.tools[tool].timeout_s
        limit_s = self._timeout_s if own_limit_s is None else own_limit_s
        if probe.is_async:
            future = self._portal.submit(_ask_awaited(probe.function, arguments))
        else:
            future = self._workers.submit(functools.partial(_ask_now, probe.function, arguments))
        try:
            return future.result(limit_s), limit_s
        except TimeoutError:
            future.cancel()
            return None, limit_s

    def _may_still_run(self, case: Case) -> bool:
        implementation = self._scene.implementations.get(case.tool)
        if implementation is not None and implementation.is_async:
            return False  # it was cancelled when it was given up
        return any(boot.lives for boot in self._boots() if boot.id == case.stored.boot)


_CLOSED = {
    "erased": "its arguments were erased",
    "locked": "its arguments are encrypted and there is no key",
    "damaged": "its arguments are damaged",
}


def _hides_arguments(redaction: str) -> bool:
    """Whether this entry of an envelope's `redactions` says that the arguments are not as they were sent."""
    field = redaction.partition(":")[2]
    return field in {"arguments", "payload"} or field.startswith("arguments.")


def _ask_now(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Answer:
    try:
        return Answer(function(**arguments))
    except BaseException as error:  # noqa: BLE001 - whatever a probe raises, `SystemExit` included, is no answer
        return Answer(error=error)


async def _ask_awaited(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Answer:
    try:
        return Answer(await function(**arguments))
    except BaseException as error:  # noqa: BLE001 - as above
        return Answer(error=error)
