"""CrewAI: a crew whose agents run every tool through the gate.

    gate.crewai(crew).kickoff()

Rules:

1. The tool itself goes through the gate, whoever runs it: an agent's executor is given tools that do, and no others. The framework's hooks
   are not used: one that raises lets the tool run.
2. What an agent gets only when it starts is governed as well: tools for delegation, memory, skills, files, and of MCP servers and apps; and
   so are agents that join a crew at work, and those that a tool asks. What it would get at work, it does not get: a tool that reads long
   results, which the framework puts aside in files.
3. Nothing is taken from the framework's cache of results: it would stand in for a call that nobody decided on.
4. The framework gives a call of a tool no identity that its tool could see: each time that a tool is run is a call of its own. Where the
   framework would run a tool again because it raised (agents that write their calls as text), only a read raises; what a write raised
   is told as the framework's own `ToolFailure`.
5. A call that is refused or waits is told as a `ToolFailure`: it is no answer, and `task_output.tool_failures` names the request. There is
   no pause: the same call again goes on.
6. Tools that run at the provider of the model, agents elsewhere (A2A), other classes of agents and other executors cannot be seen: the crew
   does not start.

Source: crewai 1.15, `agent/core.py`, `agents/agent_executor.py`, `agents/step_executor.py`, `tools/tool_usage.py`, `hooks/dispatch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from crewai import Agent, Crew, Process
from crewai.agents.agent_executor import AgentExecutor
from crewai.agents.tools_handler import ToolsHandler
from crewai.context import capture_execution_context
from crewai.tools import BaseTool
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.tools.memory_tools import create_memory_tools
from crewai.tools.structured_tool import CrewStructuredTool
from crewai.tools.tool_failure import ToolFailure, failure_from_exception
from crewai.utilities.agent_utils import parse_tools
from crewai.utilities.string_utils import sanitize_tool_name
from msgspec import Struct
from pydantic import PrivateAttr

from licet.catalog.adopted import AdoptedTool
from licet.errors import ConfigInvalid, UngovernedTools
from licet.gate.brought import Run, Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Refused, Repeated, Use, refuse_ungoverned
from licet.integrations.hosted import hosted_in
from licet.integrations.recorded import plain, text_of
from licet.model import Trace

_SETTINGS: Final = ("name", "description", "args_schema", "result_schema", "result_as_answer", "max_usage_count", "tool_failure_policy")
"""What a tool that stands for another says of itself."""
_crew: ContextVar[Crew | None] = ContextVar("licet_crew", default=None)
if TYPE_CHECKING:
    _OfAgent: TypeAlias = Agent
    _OfCrew: TypeAlias = Crew
else:  # what stands before a class has no fields: they would hide those that the class has changed
    _OfAgent = _OfCrew = object


class Call(Struct, frozen=True):
    """What the framework knows of a call of a tool. `crew` is the one that was started; None where an agent works by itself."""

    tool: str
    agent: Any
    task: Any = None
    crew: Any = None


class GovernedTool(BaseTool):
    """A tool of an agent, in its place."""

    _tool: BaseTool = PrivateAttr()
    _hold: _Hold = PrivateAttr()
    _of: tuple[Any, Any] = PrivateAttr()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The governed call. Raises what the tool raised."""
        return self.call(self._named(args, kwargs))

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """As `run`, on the running event loop."""
        use = self._use(self._named(args, kwargs), lambda decided, _: self._tool.arun(**decided), is_async=True)
        return self._answer(await self._hold.governing.asettle(use))

    def call(self, arguments: Mapping[str, Any] | str) -> Any:
        """As `run`, with the arguments as the model wrote them."""
        use = self._use(arguments, lambda decided, _: self._tool.run(**decided), is_async=False)
        return self._answer(self._hold.governing.settle(use))

    def is_read(self) -> bool:
        """Whether the catalog says that it changes nothing, so that it may run again."""
        governing = self._hold.governing
        name = self._hold.governed_name(self._tool) or governing.prefix + sanitize_tool_name(self.name)
        spec = governing.gate.scene.catalog.find_tool(name)
        return spec is not None and spec.access == "read"

    def to_structured_tool(self) -> CrewStructuredTool:
        """The tool in the form that agents use who write their calls as text."""
        found = _Structured(func=self._run, **_settings(self))
        found._original_tool = self  # noqa: SLF001 - as the framework's own `to_structured_tool`
        return found

    def format_output_for_agent(self, raw_result: Any) -> str:
        """As the tool itself does."""
        return self._tool.format_output_for_agent(raw_result)

    _run, _arun = run, arun

    def _use(self, arguments: Mapping[str, Any] | str, run: Run, *, is_async: bool) -> Use[Call]:
        name, (agent, task) = sanitize_tool_name(self.name), self._of
        return Use(
            tool=name,
            arguments=arguments,
            run=run,
            tell=_told,
            call=None,  # rule 4
            context=Call(name, agent, task, _crew.get()),
            is_async=is_async,
            adopt=lambda: self._hold.adopted(self._tool),
            governed=self._hold.governed_name(self._tool),
            trace=_trace(),
        )

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**dict(zip(self.args_schema.model_fields, args, strict=False)), **kwargs}

    def _answer(self, ending: Ending) -> Any:
        self.current_usage_count = self._tool.current_usage_count
        if isinstance(ending, Came):
            return ending.result
        if isinstance(ending, Repeated | Own):
            return text_of(ending.value)
        details = {"code": ending.code} if isinstance(ending, Refused) else ending.asked
        return ToolFailure(message=ending.text, details=details)  # rule 5


class _Structured(CrewStructuredTool):
    """Rule 4: `ToolUsage` runs a tool that raised up to six times."""

    def invoke(self, input: str | dict[str, Any], config: dict[str, Any] | None = None, **kwargs: Any) -> Any:  # noqa: A002, ARG002 - the framework's
        tool: GovernedTool = self._original_tool
        try:
            return tool.call(input)
        except Exception as error:
            if tool.is_read():
                raise
            return failure_from_exception(error)

    async def ainvoke(self, input: str | dict[str, Any], config: dict[str, Any] | None = None, **kwargs: Any) -> Any:  # noqa: A002
        return await asyncio.to_thread(self.invoke, input, config, **kwargs)

    def _increment_usage_count(self) -> None:
        self.current_usage_count = self._original_tool.current_usage_count  # the tool's own: a call that is refused is no use of it


class _Hold:
    """One `gate.crewai(...)`: what it holds is governed by classes that name it."""

    def __init__(self, governing: Governing[Call], caller: CallerOf[Call] | None) -> None:
        self.governing = governing
        self.caller = caller
        self._classes: dict[type, Any] = {}

    def take(self, held: Any) -> Any:
        """The agent, or the crew, with all agents in it, in this hold. Raises `UngovernedTools`, `ConfigInvalid`."""
        for agent in _agents(held):
            refuse_ungoverned(_elsewhere(agent), self.governing.allowed)  # rule 6
            self._take(agent)
        if isinstance(held, Crew):
            self._take(held)
        return held

    def _take(self, held: Any) -> None:
        before = _hold_of(held)
        if before is not None and not before.is_like(self):
            raise ConfigInvalid("a crew or an agent is governed already, by another gate or in another way: make one for each")
        if before is None and isinstance(held, Agent | Crew):
            made = self._classes.get(type(held)) or self._sealed(type(held))
            object.__setattr__(held, "__class__", made)

    def is_like(self, other: _Hold) -> bool:
        """Whether both govern in the same way: an agent may be of several crews, but is never governed in somebody else's name."""
        mine, its = self.governing, other.governing
        return mine.gate is its.gate and (mine.prefix, mine.allowed, self.caller) == (its.prefix, its.allowed, other.caller)

    def seal(self, executor: Any, agent: Any, task: Any) -> None:
        """Rules 1 to 3, for an executor that is about to work."""
        if not isinstance(executor, AgentExecutor):
            raise UngovernedTools(f"a `{type(executor).__name__}` runs tools in a way that is not known here", ())
        executor.original_tools = [self.tool(one, agent, task) for one in executor.original_tools]
        executor.tools = parse_tools(executor.original_tools)
        executor._step_executor = None  # noqa: SLF001 - it keeps the tools that it was made with
        executor.use_better_compaction = False  # rule 2
        executor.tools_handler = ToolsHandler()  # rule 3: one that nobody gives a cache
        seen = self.look_at(agent, executor.original_tools)
        self.governing.see(seen.adopted, seen.ungoverned)

    def look_at(self, agent: Any, tools: Iterable[BaseTool]) -> Surveyed:
        """What of an agent's tools passes through here, as far as that is known before it starts."""
        found = [_bare(one) for one in tools]
        return Surveyed(
            adopted=tuple(self.adopted(one) for one in found if self.governed_name(one) is None),
            governed=tuple(name for one in found if (name := self.governed_name(one)) is not None),
            ungoverned=tuple(_elsewhere(agent)),
            later=tuple(str(one) for one in (*(agent.mcps or ()), *(agent.apps or ()))),
        )

    def tool(self, tool: BaseTool, agent: Any, task: Any) -> BaseTool:
        """The tool, governed once."""
        tool = _bare(tool)
        for other in _asked(tool):
            self.take(other)
        found = GovernedTool(**_settings(tool))
        tool.current_usage_count = 0  # as the framework does with the tools of each task
        found._tool, found._hold, found._of = tool, self, (agent, task)  # noqa: SLF001 - our own
        return found

    def _sealed(self, base: type) -> Any:
        meta: Any = type(base)
        mixin = _SealedCrew if issubclass(base, Crew) else _SealedAgent
        made: Any = meta(base.__name__, (mixin, base), {"__module__": __name__, "__doc__": base.__doc__})
        made._licet_hold, made._licet_base = self, base  # noqa: SLF001 - our own
        self._classes[base] = made
        return made

    def adopted(self, tool: BaseTool) -> AdoptedTool:
        """The tool, under its name in the catalog."""
        return self.governing.adopted(sanitize_tool_name(tool.name), tool.description, tool.args_schema.model_json_schema())

    def governed_name(self, tool: BaseTool) -> str | None:
        """The name in the catalog of a function that the gate governs already, where the tool is one."""
        return self.governing.governed_name(getattr(tool, "func", None))


class _Sealed:
    """Before the class of what is governed."""

    _licet_hold: ClassVar[_Hold]
    _licet_base: ClassVar[Any]

    @classmethod
    def from_checkpoint(cls, config: Any) -> Any:
        """What is read back is governed as well."""
        return cls._licet_hold.take(cls._licet_base.from_checkpoint(config))


class _SealedAgent(_Sealed, _OfAgent):
    """Before the class of an agent: whichever way it is started, its executor has governed tools alone. Copies are of this class too."""

    def create_agent_executor(self, tools: list[BaseTool] | None = None, task: Any = None) -> None:
        self._licet_hold.take(self)
        if getattr(self.agent_executor, "_is_executing", False):  # its tools would go on in the name of the other task
            raise RuntimeError(f"the agent `{self.role}` is at work already")
        super().create_agent_executor(tools, task)
        self._licet_hold.seal(self.agent_executor, self, task)

    def _prepare_kickoff(self, *args: Any, **kwargs: Any) -> Any:
        self._licet_hold.take(self)
        executor, *others, _ = super()._prepare_kickoff(*args, **kwargs)
        self._licet_hold.seal(executor, self, None)
        return (executor, *others, executor.tools)


class _SealedCrew(_Sealed, _OfCrew):
    """Before the class of a crew: agents that it makes or gets later are governed as well, and so are its copies."""

    def kickoff(self, *args: Any, **kwargs: Any) -> Any:
        with self._started():
            return super().kickoff(*args, **kwargs)

    async def akickoff(self, *args: Any, **kwargs: Any) -> Any:
        with self._started():
            return await super().akickoff(*args, **kwargs)

    def replay(self, *args: Any, **kwargs: Any) -> Any:
        with self._started():
            return super().replay(*args, **kwargs)

    def copy(self) -> Any:  # type: ignore[override]  # as the framework's own
        """A copy, governed as this one."""
        return self._licet_hold.take(super().copy())

    def _get_agent_to_use(self, task: Any) -> Any:
        found = super()._get_agent_to_use(task)
        return None if found is None else self._licet_hold.take(found)

    @contextmanager
    def _started(self) -> Iterator[None]:
        hold = self._licet_hold
        seen = survey(hold.governing.gate, hold.take(self))  # policies speak of the tools of all, whoever works first
        hold.governing.see(seen.adopted, seen.ungoverned)
        token = _crew.set(self)
        try:
            yield
        finally:
            _crew.reset(token)


def govern(gate: Gate, crew: Any, *, caller: CallerOf[Call] | None = None, prefix: str = "", allow_ungoverned: Iterable[str] = ()) -> Any:
    """What `gate.crewai(crew)` gives: the same crew, or agent. Raises `UngovernedTools`, `ConfigInvalid`."""
    for kind, name in ((Agent, "create_agent_executor"), (Agent, "_prepare_kickoff"), (Crew, "_get_agent_to_use")):
        if not callable(getattr(kind, name, None)):  # a version of the framework that starts its agents in another way
            raise ConfigInvalid(f"this version of CrewAI has no `{kind.__name__}.{name}`: its agents cannot be governed")
    governing: Governing[Call] = Governing(gate, "crewai", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned)
    return _Hold(governing, caller).take(crew)


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of a crew, or of an agent by itself."""
    found = Surveyed()
    for one in _agents(agent):
        hold, tools = _hold_of(one), _tools(agent, one)
        if hold is None or hold.governing.gate is not gate:
            found += Surveyed(ungoverned=(*(sanitize_tool_name(tool.name) for tool in tools), *_elsewhere(one)))
        else:
            found += hold.look_at(one, tools)
    return found


def _hold_of(held: Any) -> _Hold | None:
    return held._licet_hold if isinstance(held, _Sealed) else None  # noqa: SLF001 - our own


def _settings(tool: BaseTool) -> dict[str, Any]:
    return {name: getattr(tool, name) for name in _SETTINGS}


def _bare(tool: BaseTool) -> BaseTool:
    return tool._tool if isinstance(tool, GovernedTool) else tool  # noqa: SLF001 - our own


def _agents(whole: Any) -> list[Any]:
    """All agents of a crew, or an agent, and those that their tools ask; each of them once."""
    is_crew, found = isinstance(whole, Crew), list[Any]()
    waiting = [*whole.agents, *(task.agent for task in whole.tasks), whole.manager_agent] if is_crew else [whole]
    waiting += [other for task in (whole.tasks if is_crew else ()) for tool in task.tools or () for other in _asked(tool)]
    while waiting:
        agent = waiting.pop(0)
        if agent is not None and not any(agent is other for other in found):
            found.append(agent)
            waiting += [other for tool in getattr(agent, "tools", None) or () for other in _asked(tool)]
    return found


def _asked(tool: Any) -> list[Any]:
    """The agents that a tool asks."""
    return list(tool.agents) if isinstance(tool, BaseAgentTool) else []


def _tools(whole: Any, agent: Any) -> list[BaseTool]:
    """An agent's tools, as far as they are known before it starts. The framework merges those of the same name in this way."""
    found = list(getattr(agent, "tools", None) or ())
    memory = getattr(agent, "memory", None)
    if isinstance(whole, Crew):
        is_led = whole.process == Process.hierarchical  # by a manager, who may be made when it starts, and is given the tools of the tasks
        found += [tool for task in whole.tasks if is_led or task.agent is agent for tool in task.tools or ()]
        others = [one for one in whole.agents if is_led or one is not agent]
        found += agent.get_delegation_tools(others) if others and (is_led or agent.allow_delegation) else []
        found += agent.get_multimodal_tools() if vars(agent).get("multimodal") else []  # the attribute warns that it will go
        memory = memory or whole._memory  # noqa: SLF001 - as the framework does
    if memory:
        found += create_memory_tools(memory)
    return list({sanitize_tool_name(one.name): one for one in found}.values())


def _elsewhere(agent: Any) -> list[str]:
    """Rule 6: what of an agent runs where it cannot be seen."""
    if not isinstance(agent, Agent):
        return [f"{getattr(agent, 'role', None) or 'agent'} (a {type(agent).__name__})"]
    found = [] if agent.executor_class is AgentExecutor else [agent.executor_class.__name__]
    if agent.a2a is not None:
        found.append("a2a")
    for llm in (agent.llm, vars(agent).get("function_calling_llm")):  # as above
        found += [str(one) for one in getattr(llm, "builtin_tools", None) or ()]
        found += hosted_in({"additional_params": getattr(llm, "additional_params", None)})
    return found


def _told(result: Any) -> Told:
    return Told(failed=result.as_agent_message()) if isinstance(result, ToolFailure) else Told({"value": plain(result)})


def _trace() -> Trace:
    """The framework's own events: the run's first, the call's, and the one that it is in."""
    ids: list[str | None] = [event for event, _ in capture_execution_context().event_id_stack]
    return Trace(trace_id=ids[0], span_id=ids[-1], parent=ids[-2] if len(ids) > 1 else None) if ids else Trace()
