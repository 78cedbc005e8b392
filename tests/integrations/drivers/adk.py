"""Google ADK: a `Runner` whose agents have a model that follows a script."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, ClassVar

from google.adk.agents import LlmAgent
from google.adk.agents._streaming_mode import StreamingMode
from google.adk.agents.run_config import RunConfig
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService, Session
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.google_search_tool import google_search
from google.genai import types

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ended, Setting, Turn, Way

APP, USER = "shop", "host"
CONFIRMATION = "adk_request_confirmation"


class Scripted(BaseLlm):
    """Says the turn after those that are in the conversation."""

    model: str = "scripted"
    script: Any = ()

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncGenerator[LlmResponse, None]:  # noqa: FBT001, FBT002
        turns = sum(content.role == "model" and not _asks(content) for content in llm_request.contents)
        yield LlmResponse(content=types.Content(role="model", parts=_parts(self.script[turns])))


def _asks(content: Any) -> bool:
    """Whether this is the framework's question for a confirmation, which the model did not say."""
    return any(part.function_call and part.function_call.name == CONFIRMATION for part in content.parts or ())


def _parts(turn: Turn) -> list[types.Part]:
    if isinstance(turn, str):
        return [types.Part(text=turn)]
    found = []
    for ask in turn:
        name, arguments = ("transfer_to_agent", {"agent_name": "successor"}) if ask.tool == "hand_over" else (ask.tool, dict(ask.arguments))
        found.append(types.Part(function_call=types.FunctionCall(id=ask.id, name=name, args=arguments)))
    return found


class Agent(driving.Agent):
    """A runner, and the session of one conversation."""

    def __init__(self, setting: Setting) -> None:
        caller = None if setting.user is None else _caller(setting.gate)
        self._gate = setting.gate
        self._user = setting.user or USER
        self._thread = setting.thread
        self.sessions = InMemorySessionService()
        plugin = setting.gate.adk(caller=caller, pause=setting.pause)
        self.runner = Runner(app_name=APP, agent=make(setting), session_service=self.sessions, plugins=[plugin])
        if setting.saved is None:
            asyncio.run(self.sessions.create_session(app_name=APP, user_id=self._user, session_id=self._thread))
        else:
            asyncio.run(self._load(Session.model_validate_json(setting.saved)))

    async def _load(self, saved: Session) -> None:
        session = await self.sessions.create_session(app_name=APP, user_id=self._user, session_id=self._thread)
        for event in saved.events:
            await self.sessions.append_event(session, event)

    def run(self, way: Way = "async") -> Ended:
        return self._go(types.Content(role="user", parts=[types.Part(text="go on")]), way)

    def resume(self, way: Way = "async") -> Ended:
        """Confirm what people have decided; an answer given sooner would be of no use, and could not be given again."""
        decided = [one for one, request in self._waiting() if self._gate.poll(request) != "open"]  # type: ignore[arg-type]
        if not decided:
            return self._ended()
        answers = [types.FunctionResponse(id=one.id, name=CONFIRMATION, response={"confirmed": True}) for one in decided]
        return self._go(types.Content(role="user", parts=[types.Part(function_response=one) for one in answers]), way)

    def saved(self) -> bytes:
        return self._session().model_dump_json().encode()

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        """Somebody edits the call in the session while it waits, and the question that was asked about it."""
        session = self.sessions.sessions[APP][self._user][self._thread]
        for event in session.events:
            for one in event.get_function_calls():
                if one.id == call:
                    one.args = dict(arguments)
                elif one.name == CONFIRMATION and one.args and one.args["originalFunctionCall"]["id"] == call:
                    one.args["originalFunctionCall"]["args"] = dict(arguments)

    def cancel_when(self, started: threading.Event) -> None:
        async def work() -> None:
            task = asyncio.create_task(self._work(types.Content(role="user", parts=[types.Part(text="go on")]), "async"))
            await asyncio.to_thread(started.wait, 30)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended

        asyncio.run(work())

    def _go(self, message: Any, way: Way) -> Ended:
        if way == "sync":
            for _ in self.runner.run(user_id=self._user, session_id=self._thread, new_message=message):
                pass
        else:
            asyncio.run(self._work(message, way))
        return self._ended()

    def _ended(self) -> Ended:
        session = self._session()
        told = {
            str(one.id): json.dumps(one.response, ensure_ascii=False)
            for event in session.events
            for one in event.get_function_responses()
            if one.name != CONFIRMATION
        }
        waiting = tuple(request for _, request in self._waiting())
        last = session.events[-1]
        said = "".join(part.text or "" for part in (last.content.parts or ())) if last.content else ""
        return Ended(told, waiting, None if waiting else said)

    async def _work(self, message: Any, way: Way) -> None:
        mode = StreamingMode.SSE if way == "streaming" else StreamingMode.NONE
        config = RunConfig(streaming_mode=mode)
        async for _ in self.runner.run_async(user_id=self._user, session_id=self._thread, new_message=message, run_config=config):
            pass

    def _session(self) -> Session:
        found = asyncio.run(self.sessions.get_session(app_name=APP, user_id=self._user, session_id=self._thread))
        assert found is not None
        return found

    def _waiting(self) -> list[tuple[Any, str]]:
        """The questions that nobody has answered, each with the request that it is about."""
        events = self._session().events
        answered = {one.id for event in events for one in event.get_function_responses() if one.name == CONFIRMATION}
        asked = [one for event in events for one in event.get_function_calls() if one.name == CONFIRMATION and one.id not in answered]
        return [(one, one.args["toolConfirmation"]["payload"]["request"]) for one in asked if one.args]


def _caller(gate: Gate) -> Callable[[Any], ActingBlock | None]:
    return lambda ctx: gate.acting(agent="shop-bot", user=ctx.session.user_id)


def make(setting: Setting, name: str = "shop_agent") -> LlmAgent:
    tools: list[Any] = list(setting.functions)
    if setting.hosted:
        tools.append(google_search)
    if setting.helper is not None:
        tools.append(_Helper(make(setting.helper, "ask_helper")))
    below: list[Any] = [] if setting.successor is None else [make(setting.successor, "successor")]
    return LlmAgent(name=name, model=Scripted(script=setting.script), tools=tools, sub_agents=below)


class _Helper(AgentTool):
    """The suite calls a helper with `text`; the framework's own name for it is `request`."""

    def _get_declaration(self) -> Any:
        schema = types.Schema(type=types.Type.OBJECT, properties={"text": types.Schema(type=types.Type.STRING)}, required=["text"])
        return types.FunctionDeclaration(name=self.name, description=self.description, parameters=schema)

    async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> Any:
        return await super().run_async(args={"request": args["text"]}, tool_context=tool_context)


class Driver(driving.Driver):
    name = "adk"
    package = "google-adk"
    hooks = ("Governance.before_model_callback", "Governance.before_tool_callback", "Governance.call")
    cannot: ClassVar = {
        "retries": "the framework never runs a call again by itself; a plugin that retries asks the model, whose next call is decided as one of its own",
    }

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.runner

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return trace_id is not None and span_id == call
