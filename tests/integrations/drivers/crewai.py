"""CrewAI: a `Crew` with a `BaseLLM` that follows a script, by calls of tools or, where tools are retried, by text."""

from __future__ import annotations

import os
import tempfile

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "OTEL_SDK_DISABLED": "true"}
os.environ |= {"CREWAI_STORAGE_DIR": "licet-tests", "XDG_DATA_HOME": tempfile.mkdtemp(prefix="licet-crewai-")}  # read when it is imported

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import crewai
from crewai import Crew, Task
from crewai.events import crewai_event_bus
from crewai.events.types.crew_events import CrewKickoffStartedEvent
from crewai.events.types.tool_usage_events import ToolUsageStartedEvent
from crewai.llms.base_llm import BaseLLM
from crewai.security import Fingerprint, SecurityConfig
from crewai.tools import tool
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from pydantic import Field

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ask, Ended, Setting, Turn, Way

NO_PAUSE = "the framework cannot pause a crew: the result names the request for approval, and the same call again goes on"
_OBSERVED = "\nObservation:"
_events: dict[str, str] = {}


def _see(source: Any, event: Any) -> None:
    _events[event.event_id] = event.type


for _kind in (CrewKickoffStartedEvent, ToolUsageStartedEvent):
    crewai_event_bus.on(_kind)(_see)


class Scripted(BaseLLM):
    """Says the turn after those that are in the conversation. `told` is what it was told of its calls."""

    script: Sequence[Any] = ()
    writes: bool = False
    builtin_tools: list[str] | None = None
    told: dict[str, str] = Field(default_factory=dict)

    def supports_function_calling(self) -> bool:
        return not self.writes

    def call(self, messages: Any, *_: Any, **__: Any) -> Any:
        said = [one for one in messages if one["role"] == "assistant"]
        self._listen(messages, said)
        turn: Turn = self.script[min(len(said), len(self.script) - 1)]
        if isinstance(turn, str):
            return f"Thought: I know it\nFinal Answer: {turn}" if self.writes else turn
        return self._written(turn[0]) if self.writes else [self._called(ask) for ask in turn]

    async def acall(self, messages: Any, *given: Any, **named: Any) -> Any:
        return self.call(messages, *given, **named)

    def _called(self, ask: Ask) -> Any:
        function = {"name": ask.tool, "arguments": json.dumps(dict(ask.arguments))}
        return {"id": ask.id, "type": "function", "function": function}

    def _written(self, ask: Ask) -> str:
        return f"Thought: I need it\nAction: {ask.tool}\nAction Input: {json.dumps(dict(ask.arguments))}"

    def _listen(self, messages: Any, said: Any) -> None:
        for one in messages:
            if one["role"] == "tool":
                self.told[one["tool_call_id"]] = str(one["content"])
        if self.writes and said:
            self.told[self.script[len(said) - 1][0].id] = str(said[-1]["content"]).partition(_OBSERVED)[2].strip()


class AskHelper(BaseAgentTool):
    """Delegation as the framework does it, under a name of its own."""

    name: str = "ask_helper"
    description: str = "Ask another agent."

    def _run(self, text: str) -> str:
        return self._execute(self.agents[0].role, text)


class HandOver(BaseAgentTool):
    """As `AskHelper`, with nothing to say."""

    name: str = "hand_over"
    description: str = "Hand the work to another agent."

    def _run(self) -> str:
        return self._execute(self.agents[0].role, "take over")


class Agent(driving.Agent):
    """A governed crew of one, and of those that it asks."""

    def __init__(self, setting: Setting) -> None:
        self.llm, self.crew = make(setting)

    def run(self, way: Way = "async") -> Ended:
        result: Any
        if way == "sync":
            result = self.crew.kickoff()
        elif way == "async":
            result = asyncio.run(self.crew.akickoff())
        else:
            self.crew.stream = True
            streaming: Any = self.crew.kickoff()
            for _ in streaming:
                pass
            result = streaming.result
        return Ended(dict(self.llm.told), said=result.raw)

    def resume(self, way: Way = "async") -> Ended:
        raise NotImplementedError

    def saved(self) -> bytes:
        raise NotImplementedError

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def cancel_when(self, started: threading.Event) -> None:
        raise NotImplementedError


def _caller(gate: Gate) -> Callable[[Any], ActingBlock | None]:
    return lambda call: gate.acting(agent="shop-bot", user=call.crew.fingerprint.metadata["user"])


def agent_of(setting: Setting, role: str = "shop", *, options: Mapping[str, Any] | None = None) -> tuple[Scripted, crewai.Agent]:
    """An agent that is not governed yet; those that it asks are of the same crew."""
    llm = Scripted(
        model="scripted", script=setting.script, writes=setting.retries, builtin_tools=["web_search"] if setting.hosted else None
    )
    tools: list[Any] = [tool(one) for one in setting.functions]
    return llm, crewai.Agent(role=role, goal="work", backstory="none", llm=llm, tools=tools, **(options or {}))


def make(setting: Setting) -> tuple[Scripted, Crew]:
    llm, agent = agent_of(setting)
    agents: list[Any] = [agent]
    for kind, other in ((AskHelper, setting.helper), (HandOver, setting.successor)):
        if other is not None:
            agents.append(agent_of(other, role="other")[1])
            assert agent.tools is not None
            agent.tools.append(kind(agents=[agents[-1]]))
    security = SecurityConfig(fingerprint=Fingerprint(metadata={"user": setting.user} if setting.user else {}))
    task = Task(description="go on", expected_output="words", agent=agent)
    crew = Crew(agents=agents, tasks=[task], security_config=security)
    caller = None if setting.user is None else _caller(setting.gate)
    governed: Crew = setting.gate.crewai(crew, caller=caller)
    return llm, governed


class Driver(driving.Driver):
    name = "crewai"
    package = "crewai"
    hooks = ("GovernedTool.call",)
    within = ("call_brought",)
    cannot: ClassVar = {
        "hold and resume": NO_PAUSE,
        "hold, rejected": NO_PAUSE,
        "parallel batch with a hold": NO_PAUSE,
        "resume twice": NO_PAUSE,
        "resume in another process": NO_PAUSE,
        "arguments changed after approval": NO_PAUSE,
        "cancellation": "a tool runs in a thread, which nobody can cancel: the run ends, the tool goes on, and how it ends is recorded",
    }

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.crew

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        crewai_event_bus.flush()
        return _events.get(str(trace_id)) == "crew_kickoff_started" and _events.get(str(span_id)) == "tool_usage_started"
