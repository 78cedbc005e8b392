"""What the adapters of all frameworks share: who calls, under which key, and what comes of it.

Rules:

1. An adapter decides, executes and records nothing: each call of a tool is one governed call of the gate.
2. Who calls is what the host program says: by `caller`, from the framework's own context, or with a `gate.acting` block around the agent.
   Where neither says anybody, the call is denied. Nothing is read from what a model writes.
3. One call of a model's is executed once, however often the framework comes back with it: its id, where the framework keeps it, is the
   idempotency key. Only what has changed nothing runs again under the same id: a read that failed, a tool that was not started, and a tool
   that the framework has stopped itself to go on with it later.
4. Whatever goes wrong in the gate or in an adapter is a refusal: no tool runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from licet.approvals.viewed import Viewed, stand
from licet.catalog.adopted import AdoptedTool
from licet.errors import LicetError, UngovernedTools
from licet.gate.acting import NOBODY, Acting, ActingBlock
from licet.gate.brought import NOTHING, PAUSED, Brought, Paused, Run, Tell
from licet.gate.gate import Gate
from licet.gate.governed import GovernedTool
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.gate.steps import EndedAs
from licet.gate.telling import denied_for, failed_for, held_for
from licet.gate.text import readable_or_none
from licet.model import JsonObject, Trace
from licet.names import quoted, visible

C = TypeVar("C")
_log = logging.getLogger("licet.integrations")
TRIES: Final = 100
"""How often one call of a model's may be executed anew (rule 3)."""

CallerOf: TypeAlias = Callable[[C], ActingBlock | None]
"""Says who calls: from the framework's own context to what `gate.acting` gives, or None where that is nobody."""


class Came(Struct, frozen=True):
    """The framework's own result, for the framework as it is."""

    result: Any


class Repeated(Struct, frozen=True):
    """The tool ran before for this very call: `value` is what was recorded of its result then. Nothing ran now."""

    value: Any


class Own(Struct, frozen=True):
    """A function that the gate governs by itself ran, now or before for this very call: `value` is what it returned, as JSON."""

    value: Any


class Refused(Struct, frozen=True):
    """Nothing came of it: `text` says to a model why, and whether calling again will help. `code` is the decision's or the failure's."""

    text: str
    code: str


class Waiting(Struct, frozen=True):
    """People must decide. `text` says so to a model; `asked` is what whoever runs the agent is told, as JSON.

    `stops` is how often the framework has stopped the tool itself in this call, before people were asked.
    """

    held: Held
    text: str
    asked: JsonObject
    stops: int = 0


Ending: TypeAlias = Came | Repeated | Own | Refused | Waiting


class Use(Struct, Generic[C], frozen=True, kw_only=True):
    """One call of a tool as a framework makes it.

    `tool` is its name as the model knows it; `adopt` gives its definition, or None where the framework has no such tool; `governed` is the
    name in the catalog of a function that the gate governs already, which needs neither `adopt` nor `run`. `run` runs the framework's tool
    with the arguments that were decided on, and `tell` says what is recorded of its result. `call` identifies the call for as long as the
    framework may come back with it, and is None where it has no identity. `context` is what the framework knows of the run, for `caller`.
    `session` and `trace` are the framework's own.
    """

    tool: str
    arguments: Mapping[str, Any] | str
    run: Run
    tell: Tell
    call: tuple[str | None, ...] | None
    context: C
    is_async: bool
    adopt: Callable[[], AdoptedTool | None]
    governed: str | None = None
    session: str | None = None
    trace: Trace = Trace()


class Governing(Generic[C]):
    """One adapter's hold on its gate.

    `caller` says who calls, by default whoever acts where the tool is called. `prefix` stands before the names of the tools in the catalog.
    `allow_ungoverned` are names of tools that may go past the gate, as somebody has decided.
    """

    def __init__(
        self,
        gate: Gate,
        framework: str,
        *,
        caller: CallerOf[C] | None = None,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
        paused: Paused = (),
    ) -> None:
        self.gate = gate
        self.framework = framework
        self.prefix = prefix
        self.allowed = frozenset({allow_ungoverned} if isinstance(allow_ungoverned, str) else allow_ungoverned)
        self._caller = caller
        self._taken: dict[str, AdoptedTool] = {}
        self._paused = paused

    def adopted(self, name: str, description: str | None, schema: JsonObject) -> AdoptedTool:
        """A tool of the framework, under its name in the catalog."""
        return AdoptedTool(name=self.prefix + name, description=description or "", schema=schema, framework=self.framework)

    def see(self, tools: Iterable[AdoptedTool], ungoverned: Iterable[str]) -> None:
        """Make these tools known. Raises `UngovernedTools` for others that nobody has let go past the gate, `CatalogInvalid`."""
        refuse_ungoverned(ungoverned, self.allowed)
        self.gate.adopt(tools)

    def settle(self, use: Use[C]) -> Ending:
        """The governed call, from a thread. Raises what the tool raised, once it is recorded."""
        brought: Brought | None = None
        stops = 0
        try:
            acting = self._prepare(use)
            for key in self._keys(use):
                brought = self._brought(use, stops)
                result = self.gate.call_brought(self._name(use), use.arguments, brought, idempotency_key=key, acting=acting)
                if not self._runs_again(use, result):
                    break
                stops += _is_stopped(result)
            ending = self._ending(result, brought, stops)
        except Exception as error:  # noqa: BLE001 - rule 4
            return self._broken(use, brought, error)
        return _released(ending)

    async def asettle(self, use: Use[C]) -> Ending:
        """As `settle`, on the running event loop."""
        brought: Brought | None = None
        stops = 0
        try:
            acting = self._prepare(use)
            for key in self._keys(use):
                brought = self._brought(use, stops)
                result = await self.gate.acall_brought(self._name(use), use.arguments, brought, idempotency_key=key, acting=acting)
                if not self._runs_again(use, result):
                    break
                stops += _is_stopped(result)
            # A request is looked up in the store, which may be far away.
            waits = isinstance(result, Held)
            ending = await asyncio.to_thread(self._ending, result, brought, stops) if waits else self._ending(result, brought, stops)
        except Exception as error:  # noqa: BLE001 - rule 4
            return self._broken(use, brought, error)
        return _released(ending)

    async def aask(self, use: Use[C]) -> Waiting | None:
        """Whether people must decide on this call, before it is made: they are asked then, and nothing runs.

        None where nobody is to be asked, or that cannot be told: then `asettle` says why.
        """
        try:
            acting = self._prepare(use)
            key = next(self._keys(use))
            held = await self.gate.aask_brought(self._name(use), use.arguments, idempotency_key=key, acting=acting)
            return None if held is None else await asyncio.to_thread(self.waiting, held, 0)
        except Exception as error:  # noqa: BLE001 - rule 4
            self._broken(use, None, error)
            return None

    def governed_name(self, function: object) -> str | None:
        """The name in the catalog of a function that this gate governs already; None for any other."""
        is_ours = isinstance(function, GovernedTool) and function.is_of(self.gate)
        return function.spec.name if isinstance(function, GovernedTool) and is_ours else None

    def _prepare(self, use: Use[C]) -> Acting:
        found = use.adopt() if use.governed is None else None
        if found is not None and self._taken.get(found.name) is not found:  # the same again is taken in once
            self.gate.adopt((found,))
            self._taken[found.name] = found
        return self.acting_for(use)

    def _name(self, use: Use[C]) -> str:
        return use.governed or self.prefix + use.tool

    def _brought(self, use: Use[C], stops: int) -> Brought | None:
        return None if use.governed is not None else Brought(use.run, use.tell, is_async=use.is_async, paused=self._paused, stops=stops)

    def acting_of(self, context: C) -> Acting:
        """Rule 2: who calls, from the framework's own context; or whoever acts here."""
        if self._caller is None:
            return self.gate.acting_now()
        block = self._caller(context)
        return NOBODY if block is None else self.gate.acting_in(block)

    def acting_for(self, use: Use[C]) -> Acting:
        """Who calls, and what the framework calls the run where the host program does not say otherwise."""
        acting = self.acting_of(use.context)
        trace, own = acting.trace, use.trace
        joined = Trace(
            trace_id=trace.trace_id or readable_or_none(own.trace_id),
            span_id=trace.span_id or readable_or_none(own.span_id),
            parent=trace.parent or readable_or_none(own.parent),
            workflow=trace.workflow or readable_or_none(own.workflow),
        )
        return replace(acting, session=acting.session or readable_or_none(use.session), trace=joined)

    def key_of(self, use: Use[C]) -> str | None:
        """The idempotency key of a call; None where it has no identity."""
        return next(self._keys(use))

    def refused(self, tool: str, error: Exception) -> Refused:
        """Rule 4, for an adapter whose tools run elsewhere: nothing has run."""
        _log.error("licet: the call of %s was refused: the gate failed", quoted(tool), exc_info=error)
        return _gate_failed(error, "Nothing was done, and calling again will not help")

    def _keys(self, use: Use[C]) -> Iterator[str | None]:
        if use.call is None:
            yield None
            return
        text = json.dumps([self.framework, *use.call])
        first = f"{self.framework}:{hashlib.sha256(text.encode()).hexdigest()}"
        yield first
        yield from (f"{first}~{number}" for number in range(2, TRIES + 1))

    def _runs_again(self, use: Use[C], result: Result) -> bool:
        """Rule 3. A function of the gate is stopped by no framework, whatever it raises."""
        if not isinstance(result, Failed) or not result.replayed:
            return False
        if result.status == "not_executed" or (_is_stopped(result) and use.governed is None):
            return True
        return result.status in {"error", "timeout"} and self._is_read(self._name(use))

    def _is_read(self, tool: str) -> bool:
        spec = self.gate.scene.catalog.find_tool(tool)
        return spec is not None and spec.access == "read"

    def _ending(self, result: Result, brought: Brought | None, stops: int) -> Ending | _Raised:
        if isinstance(result, Ok):
            if brought is None:
                return Own(result.value)
            return Repeated(result.value) if result.replayed else Came(brought.result)
        if isinstance(result, Denied):
            return Refused(denied_for(result), result.decision.code)
        if isinstance(result, Held):
            return self.waiting(result, stops)
        return _failed(result, brought)

    def waiting(self, held: Held, stops: int = 0) -> Waiting:
        """What a model, and whoever runs the agent, are told of a call that waits. Asks the store."""
        viewed = self._viewed(held)
        text = held_for(held, viewed, self.gate.settings, waited_s=held.waited_s)
        asked: JsonObject = {"type": "licet.approval", "request": held.request, "call": held.call, "message": text}
        if viewed is not None:
            asked |= {
                "tool": viewed.request.tool,
                "arguments": viewed.asked.arguments,
                "expires_at": viewed.request.expires_at.isoformat(),
            }
        return Waiting(held, text, asked, stops)

    def _viewed(self, held: Held) -> Viewed | None:
        if held.request is None:
            return None
        try:
            shown = self.gate.approvals.show(held.request)
        except (KeyError, LicetError):
            return None  # the request is there all the same: its id is told
        return stand(shown.request, shown.votes, self.gate.scene.directory, self.gate.now(), viewer=None)

    def _broken(self, use: Use[C], brought: Brought | None, error: Exception) -> Refused:
        """Rule 4."""
        _log.error("licet: the call of %s was refused: the gate failed", quoted(use.tool), exc_info=error)
        started = brought is not None and brought.is_taken
        done = "It may have been done: look before calling again" if started else "Nothing was done, and calling again will not help"
        return _gate_failed(error, done)


def _gate_failed(error: Exception, done: str) -> Refused:
    """Of an error that is not Licet's own the message is not told: it may hold secrets, and be anything."""
    kind = visible(type(error).__name__)
    what = f"{kind}: {visible(str(error))}" if isinstance(error, LicetError) else kind
    return Refused(f"denied (gate_failed): the gate cannot take this call ({what}). {done}", "gate_failed")


def _is_stopped(result: Result) -> bool:
    return isinstance(result, Failed) and result.code == PAUSED


class _Raised(Struct, frozen=True):
    error: BaseException


def _released(ending: Ending | _Raised) -> Ending:
    if isinstance(ending, _Raised):
        raise ending.error
    return ending


def _failed(failed: Failed, brought: Brought | None) -> Ending | _Raised:
    refused = Refused(failed_for(failed), failed.code)
    if failed.replayed or failed.receipt is None:
        return refused
    if failed.error is None:
        return refused  # nobody saw it end, or what it gave could not be recorded: what it has given since is not released
    if brought is None or not isinstance(failed.error, EndedAs):
        return _Raised(failed.error)
    if brought.raised is not None:
        return _Raised(brought.raised)
    return refused if brought.result is NOTHING else Came(brought.result)  # it says itself that it failed, in the framework's own words


def refuse_ungoverned(names: Iterable[str], allowed: frozenset[str]) -> None:
    """Raise `UngovernedTools` for tools that the gate cannot see, unless somebody has let them go past it."""
    found = tuple(sorted(set(names) - allowed))
    if found:
        told = ", ".join(map(quoted, found))
        how = "take them from the agent, or name them in `allow_ungoverned` if they may run without being decided or recorded"
        raise UngovernedTools(f"these tools do not pass through the gate: {told}; {how}", found)
