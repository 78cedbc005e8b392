"""OpenAI Agents SDK: an `Agent` with a `Model` that follows a script."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import agents
from agents import HandoffInputData, ModelResponse, RunConfig, Runner, RunState, Usage, function_tool, handoff
from agents.models.interface import Model
from agents.tracing import set_trace_processors
from openai.types.responses import Response, ResponseCompletedEvent, ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from licet import Gate
from licet.gate.acting import ActingBlock
from licet.integrations.openai import asked_for
from tests.integrations import driving
from tests.integrations.driving import Ended, Setting, Turn, Way

set_trace_processors([])  # nothing is sent anywhere


@dataclass
class Context:
    """What the host program tells the framework about the run."""

    user: str | None = None


class Scripted(Model):
    """Says the turn after those that are in the conversation."""

    def __init__(self, script: Sequence[Turn]) -> None:
        self._script = script

    async def get_response(self, *given: Any, **named: Any) -> ModelResponse:
        return ModelResponse(
            output=self._said(named.get("input", given[1] if len(given) > 1 else None)), usage=Usage(requests=1), response_id=None
        )

    async def stream_response(self, *given: Any, **named: Any) -> AsyncIterator[Any]:
        response = Response(
            id="r",
            created_at=0,
            model="scripted",
            object="response",
            output=self._said(named.get("input", given[1] if len(given) > 1 else None)),
            tool_choice="none",
            tools=[],
            parallel_tool_calls=True,
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)

    def _said(self, given: Any) -> list[Any]:
        turn = self._script[_turns(given)]
        if isinstance(turn, str):
            text = ResponseOutputText(type="output_text", text=turn, annotations=[])
            return [ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])]
        return [
            ResponseFunctionToolCall(type="function_call", call_id=ask.id, name=ask.tool, arguments=json.dumps(dict(ask.arguments)))
            for ask in turn
        ]


def _turns(given: Any) -> int:
    """How often the model has spoken: what it says at once stands together."""
    spoke, turns = False, 0
    for item in given if isinstance(given, list) else ():
        speaks = item.get("type") == "function_call" or item.get("role") == "assistant"
        turns += speaks and not spoke
        spoke = speaks
    return turns


class Agent(driving.Agent):
    """A governed agent, and where its run stands."""

    def __init__(self, setting: Setting) -> None:
        self._gate = setting.gate
        self._context = Context(setting.user)
        self._config = RunConfig(group_id=setting.thread, tracing_disabled=False)
        caller = None if setting.user is None else _caller(setting.gate)
        self.agent = setting.gate.openai(make(setting), caller=caller, pause=setting.pause)
        self._result: Any = None
        self._state: Any = None
        self._asked: dict[str, str] = {}
        if setting.saved is not None:
            saved = json.loads(setting.saved)
            self._asked = saved["asked"]
            self._state = asyncio.run(RunState.from_json(self.agent, saved["state"], context_override=self._wrapped()))

    def _wrapped(self) -> Any:
        return self._context

    def run(self, way: Way = "async") -> Ended:
        return self._go("go on", way)

    def resume(self, way: Way = "async") -> Ended:
        for one in self._state.get_interruptions():
            if self._gate.poll(self._asked[one.raw_item.call_id]) != "open":  # type: ignore[arg-type]
                self._state.approve(one)
        return self._go(self._state, way)

    def saved(self) -> bytes:
        return json.dumps({"state": self._state.to_json(context_serializer=lambda _: {}), "asked": self._asked}).encode()

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        """Somebody edits the state while it waits."""
        state = json.loads(json.dumps(self._state.to_json(context_serializer=lambda _: {})))

        def edited(value: Any) -> Any:
            if isinstance(value, dict):
                found = {name: edited(inner) for name, inner in value.items()}
                return (
                    found | {"arguments": json.dumps(dict(arguments))} if found.get("call_id") == call and "arguments" in found else found
                )
            return [edited(one) for one in value] if isinstance(value, list) else value

        self._state = asyncio.run(RunState.from_json(self.agent, edited(state), context_override=self._wrapped()))

    def cancel_when(self, started: threading.Event) -> None:
        async def work() -> None:
            task = asyncio.create_task(Runner.run(self.agent, "go on", context=self._context, run_config=self._config))
            await asyncio.to_thread(started.wait, 30)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended

        asyncio.run(work())

    def _go(self, given: Any, way: Way) -> Ended:
        options: dict[str, Any] = {"run_config": self._config} | ({} if isinstance(given, RunState) else {"context": self._context})
        if way == "sync":
            asyncio.set_event_loop(asyncio.new_event_loop())
            result: Any = Runner.run_sync(self.agent, given, **options)
        elif way == "async":
            result = asyncio.run(Runner.run(self.agent, given, **options))
        else:
            result = asyncio.run(self._stream(given, options))
        self._state = result.to_state()
        return self._ended(result)

    async def _stream(self, given: Any, options: Mapping[str, Any]) -> Any:
        result = Runner.run_streamed(self.agent, given, **options)
        async for _ in result.stream_events():
            pass
        return result

    def _ended(self, result: Any) -> Ended:
        items = [item for item in result.to_input_list() if isinstance(item, dict)]
        told = {item["call_id"]: str(item["output"]) for item in items if item.get("type") == "function_call_output"}
        for one in result.interruptions:
            asked = asked_for(result, one)
            if asked is not None:
                self._asked[one.raw_item.call_id] = str(asked["request"])
        waiting = tuple(self._asked[one.raw_item.call_id] for one in result.interruptions)
        return Ended(told, waiting, None if waiting else str(result.final_output))


def _caller(gate: Gate) -> Callable[[Any], ActingBlock | None]:
    return lambda ctx: gate.acting(agent="shop-bot", user=ctx.context.user)


def make(setting: Setting) -> agents.Agent[Any]:
    tools: list[Any] = [function_tool(one) for one in setting.functions]
    if setting.hosted:
        tools.append(agents.WebSearchTool())
    if setting.helper is not None:
        inner = setting.gate.openai(make(setting.helper))
        tools.append(_named(inner.as_tool(tool_name="ask_helper", tool_description="Ask another agent."), "text"))
    handoffs: list[Any] = []
    if setting.successor is not None:
        handoffs.append(handoff(make(setting.successor), tool_name_override="hand_over", input_filter=_anew))
    return agents.Agent(name="shop", instructions="work", model=Scripted(setting.script), tools=tools, handoffs=handoffs)


def _named(tool: Any, argument: str) -> Any:
    """An agent behind a tool takes `input`; the suite calls it with another name."""
    given = tool.on_invoke_tool

    async def invoke(ctx: Any, arguments: str) -> Any:
        return await given(ctx, json.dumps({"input": json.loads(arguments)[argument]}))

    schema = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument], "additionalProperties": False}
    tool.on_invoke_tool = invoke
    tool.params_json_schema = schema
    return tool


def _anew(_: HandoffInputData) -> HandoffInputData:
    """The successor begins a conversation of its own."""
    return HandoffInputData(input_history="take over", pre_handoff_items=(), new_items=())


class Driver(driving.Driver):
    name = "openai"
    package = "openai-agents"
    hooks = ("_Hold.exchanged", "_Hold.needs_approval", "_Hold.invoke")
    cannot: ClassVar = {
        "call ids that repeat": "the framework ends a run whose model uses a call id twice, before anything runs",
        "retries": "the framework never runs a call again by itself; it tells the model, whose next call is decided as one of its own",
    }

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.agent

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return trace_id is not None and trace_id.startswith("trace_") and span_id == call
