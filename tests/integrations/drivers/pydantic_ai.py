"""Pydantic AI: an `Agent` with a `FunctionModel` that follows a script."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pydantic_ai
from pydantic_ai import DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    RetryPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ended, Setting, Turn, Way


@dataclass
class Deps:
    """What the host program tells the framework about the run."""

    user: str | None = None


def scripted(script: Sequence[Turn]) -> FunctionModel:
    """A model that says the turn after those that are in the conversation."""

    def turn_of(messages: list[ModelMessage]) -> Turn:
        return script[sum(isinstance(one, ModelResponse) for one in messages)]

    def say(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turn = turn_of(messages)
        if isinstance(turn, str):
            return ModelResponse([TextPart(turn)])
        return ModelResponse([ToolCallPart(ask.tool, dict(ask.arguments), tool_call_id=ask.id) for ask in turn])

    async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        turn = turn_of(messages)
        if isinstance(turn, str):
            yield turn
        else:
            for number, ask in enumerate(turn):
                yield {number: DeltaToolCall(name=ask.tool, json_args=json.dumps(dict(ask.arguments)), tool_call_id=ask.id)}

    return FunctionModel(say, stream_function=stream)


class Agent(driving.Agent):
    """An agent, and the history of its conversation."""

    def __init__(self, setting: Setting) -> None:
        self._deps = Deps(setting.user)
        self._conversation = setting.thread
        self.agent = make(setting)
        self._history: list[ModelMessage] = []
        self._waiting: dict[str, str] = {}
        self._approvals: dict[str, Any] = {}
        if setting.saved is not None:
            saved = json.loads(setting.saved)
            self._history = ModelMessagesTypeAdapter.validate_python(saved["history"])
            self._waiting = saved["waiting"]

    def run(self, way: Way = "async") -> Ended:
        return self._go(way, {"user_prompt": "go on"})

    def resume(self, way: Way = "async") -> Ended:
        approvals = {call: self._approvals.get(call, True) for call in self._waiting}
        return self._go(way, {"deferred_tool_results": DeferredToolResults(approvals=approvals)})

    def saved(self) -> bytes:
        history = ModelMessagesTypeAdapter.dump_python(self._history, mode="json")
        return json.dumps({"history": history, "waiting": self._waiting}).encode()

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        self._approvals[call] = pydantic_ai.ToolApproved(override_args=dict(arguments))

    def cancel_when(self, started: threading.Event) -> None:
        async def work() -> None:
            task = asyncio.create_task(self.agent.run("go on", deps=self._deps))
            await asyncio.to_thread(started.wait, 30)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended

        asyncio.run(work())

    def _go(self, way: Way, given: Mapping[str, Any]) -> Ended:
        options = {**given, "message_history": self._history or None, "deps": self._deps, "conversation_id": self._conversation}
        if way == "sync":
            result: Any = self.agent.run_sync(**options)
            output, self._history = result.output, result.all_messages()
        elif way == "async":
            result = asyncio.run(self.agent.run(**options))
            output, self._history = result.output, result.all_messages()
        else:
            output, self._history = asyncio.run(self._stream(options))
        return self._ended(output)

    async def _stream(self, options: Mapping[str, Any]) -> tuple[Any, list[ModelMessage]]:
        async with self.agent.run_stream(**options) as stream:
            output = await stream.get_output()
            return output, stream.all_messages()

    def _ended(self, output: Any) -> Ended:
        parts = [part for message in self._history if isinstance(message, ModelRequest) for part in message.parts]
        told = {one.tool_call_id: one.model_response_str() for one in parts if isinstance(one, ToolReturnPart)}
        told |= {one.tool_call_id: one.model_response() for one in parts if isinstance(one, RetryPromptPart)}
        if isinstance(output, DeferredToolRequests):
            self._waiting = {one.tool_call_id: output.metadata[one.tool_call_id]["request"] for one in output.approvals}
            return Ended(told, tuple(self._waiting.values()))
        self._waiting = {}
        return Ended(told, said=str(output))


def _caller(gate: Gate) -> Callable[[RunContext[Deps]], ActingBlock | None]:
    return lambda ctx: gate.acting(agent="shop-bot", user=ctx.deps.user)


def make(setting: Setting) -> pydantic_ai.Agent[Deps, Any]:
    gate = setting.gate
    caller = None if setting.user is None else _caller(gate)
    functions = list(setting.functions)
    for name, other in (("ask_helper", setting.helper), ("hand_over", setting.successor)):
        if other is not None:
            functions.append(_as_tool(name, make(other)))
    native = [pydantic_ai.capabilities.NativeTool(pydantic_ai.WebSearchTool())] if setting.hosted else []
    return pydantic_ai.Agent(
        scripted(setting.script),
        deps_type=Deps,
        output_type=[str, DeferredToolRequests],
        tools=functions,
        capabilities=[gate.pydantic_ai(caller=caller, pause=setting.pause), *native],
    )


def _as_tool(name: str, agent: pydantic_ai.Agent[Deps, Any]) -> Callable[..., Any]:
    """Another agent behind a tool: the framework's way to delegate, and to hand over."""

    async def ask_helper(ctx: RunContext[Deps], text: str) -> str:
        """Ask another agent."""
        return str((await agent.run(text, deps=ctx.deps, usage=ctx.usage)).output)

    async def hand_over(ctx: RunContext[Deps]) -> str:
        """Hand the work to another agent."""
        return str((await agent.run("take over", deps=ctx.deps, usage=ctx.usage)).output)

    return ask_helper if name == "ask_helper" else hand_over


class Driver(driving.Driver):
    name = "pydantic_ai"
    package = "pydantic-ai-slim"
    hooks = ("GovernedToolset.call_tool", "GovernedToolset.see", "Governance.before_model_request")
    cannot: ClassVar = {
        "retries": "the framework never runs a call again by itself; it asks the model, whose next call is decided as one of its own",
    }

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.agent

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return trace_id is not None and len(trace_id) == 36 and span_id == call
