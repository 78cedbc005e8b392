"""Microsoft Agent Framework: an `Agent` with a client that follows a script."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar

import agent_framework as af
from agent_framework import (
    AgentSession,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    FunctionMiddleware,
    Message,
    ResponseStream,
)

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ended, Setting, Turn, Way


class Scripted(FunctionInvocationLayer[Any], ChatMiddlewareLayer[Any], BaseChatClient[Any]):
    """Says the turn after those that are in the conversation. The layers are those of the framework's own clients."""

    def __init__(self, script: Sequence[Turn], **options: Any) -> None:
        super().__init__(**options)
        self._script = script

    def _inner_get_response(self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_: Any) -> Any:
        contents = self._said(messages)

        async def updates() -> AsyncIterator[ChatResponseUpdate]:
            for one in contents:
                yield ChatResponseUpdate(contents=[one], role="assistant")

        async def response() -> ChatResponse[Any]:
            return ChatResponse(messages=[Message(role="assistant", contents=contents)])

        return ResponseStream(updates(), finalizer=ChatResponse.from_updates) if stream else response()

    def _said(self, messages: Sequence[Message]) -> list[Content]:
        turn = self._script[_turns(messages)]
        if isinstance(turn, str):
            return [Content.from_text(turn)]
        return [Content.from_function_call(call_id=ask.id, name=ask.tool, arguments=json.dumps(dict(ask.arguments))) for ask in turn]


def _turns(messages: Sequence[Message]) -> int:
    """How often the model has spoken: what it says at once stands together."""
    spoke, turns = False, 0
    for message in messages:
        speaks = message.role == "assistant" and any(one.type in {"function_call", "text"} for one in message.contents)
        turns += speaks and not spoke
        spoke = speaks
    return turns


class Again(FunctionMiddleware):
    """Tries a call three times in all, as the framework's users write it."""

    async def process(self, context: Any, call_next: Any) -> None:
        for left in (2, 1, 0):
            try:
                await call_next()
            except Exception:
                if not left:
                    raise
            else:
                return


class Agent(driving.Agent):
    """A governed agent in one session."""

    def __init__(self, setting: Setting) -> None:
        self._gate = setting.gate
        self._options: dict[str, Any] = {} if setting.user is None else {"function_invocation_kwargs": {"user": setting.user}}
        self.agent = make(setting)
        self._successor = None if setting.successor is None else make(setting.successor, name="successor")
        self._session = AgentSession(session_id=setting.thread)
        self._requests: list[Content] = []
        self._told: dict[str, str] = {}
        if setting.saved is not None:
            saved = json.loads(setting.saved)
            self._session = AgentSession.from_dict(saved["session"])
            self._requests = [Content.from_dict(one) for one in saved["requests"]]

    def run(self, way: Way = "async") -> Ended:
        return self._go("go on", way)

    def resume(self, way: Way = "async") -> Ended:
        answers = [one.to_function_approval_response(approved=True) for one in self._requests]
        return self._go([Message(role="user", contents=answers)], way)

    def saved(self) -> bytes:
        return json.dumps({"session": self._session.to_dict(), "requests": [one.to_dict() for one in self._requests]}).encode()

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        """Somebody edits the session while it waits."""

        def edited(value: Any) -> Any:
            if isinstance(value, dict):
                found = {name: edited(inner) for name, inner in value.items()}
                return found | {"arguments": dict(arguments)} if found.get("call_id") == call and "arguments" in found else found
            return [edited(one) for one in value] if isinstance(value, list) else value

        self._session = AgentSession.from_dict(edited(json.loads(json.dumps(self._session.to_dict()))))
        self._requests = [Content.from_dict(edited(one.to_dict())) for one in self._requests]

    def cancel_when(self, started: threading.Event) -> None:
        async def work() -> None:
            task = asyncio.ensure_future(self.agent.run("go on", session=self._session, **self._options))
            await asyncio.to_thread(started.wait, 30)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended

        asyncio.run(work())

    def _go(self, given: Any, way: Way) -> Ended:
        return asyncio.run(self._work(given, way))

    async def _work(self, given: Any, way: Way) -> Ended:
        if self._successor is not None:
            successor = af.AgentExecutor(self._successor, context_mode="custom", context_filter=lambda _: [])  # it begins anew
            await af.WorkflowBuilder(start_executor=self.agent, output_from="all").add_edge(self.agent, successor).build().run("go on")
            return Ended({})
        if way == "streaming":
            stream = self.agent.run(given, session=self._session, stream=True, **self._options)
            async for _ in stream:
                pass
            result = await stream.get_final_response()
        else:
            result = await self.agent.run(given, session=self._session, **self._options)
        return self._ended(result)

    def _ended(self, result: Any) -> Ended:
        for message in result.messages:
            for one in message.contents:
                if one.type == "function_result":
                    self._told[one.call_id] = str(one.result)
        self._requests = [one for one in result.user_input_requests if one.type == "function_approval_request"]
        waiting = tuple(str(one.additional_properties["licet"]["request"]) for one in self._requests)
        return Ended(dict(self._told), waiting, None if waiting else str(result.messages[-1].text))


def _caller(gate: Gate) -> Callable[[Any], ActingBlock | None]:
    return lambda context: gate.acting(agent="shop-bot", user=context.kwargs["user"])


def make(setting: Setting, *, name: str = "shop", pause: bool | None = None) -> af.Agent:
    gate = setting.gate
    tools: list[Any] = list(setting.functions)
    if setting.hosted:
        tools.append({"type": "web_search"})
    if setting.helper is not None:
        tools.append(make(setting.helper, pause=False).as_tool(name="ask_helper", description="Ask another agent.", arg_name="text"))
    if setting.successor is not None:
        tools.append(hand_over)
    caller = None if setting.user is None else _caller(gate)
    governance = gate.agent_framework(caller=caller, pause=setting.pause if pause is None else pause)
    middleware: list[Any] = [*([Again()] if setting.retries else []), governance]
    return af.Agent(Scripted(setting.script), instructions="work", name=name, tools=tools, middleware=middleware)


def hand_over() -> str:
    """Let another agent go on."""
    return "it goes on"


class Driver(driving.Driver):
    name = "agent_framework"
    package = "agent-framework-core"
    hooks = ("Functions.process", "Functions.look_at")
    cannot: ClassVar = {}

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.agent

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return trace_id == "thread-1" and span_id == call
