"""LangChain: `create_agent` with a model that follows a script."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain.tools import ToolRuntime
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ended, Setting, Turn, Way


class Scripted(BaseChatModel):
    """Says what its script says, whatever it is asked: the turn after those that are in the conversation."""

    script: Sequence[Any]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Scripted:  # type: ignore[override]
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        turn = self.script[sum(isinstance(message, AIMessage) for message in messages)]
        return ChatResult(generations=[ChatGeneration(message=_said(turn))])


@dataclass
class Context:
    """What the host program tells the framework about the run."""

    user: str | None = None


def _said(turn: Turn) -> AIMessage:
    if isinstance(turn, str):
        return AIMessage(turn)
    return AIMessage("", tool_calls=[{"id": ask.id, "name": ask.tool, "args": dict(ask.arguments), "type": "tool_call"} for ask in turn])


class Agent(driving.Agent):
    """A compiled graph in one thread of its checkpointer."""

    def __init__(self, setting: Setting) -> None:
        self._context = Context(setting.user)
        self._config: Any = {"configurable": {"thread_id": setting.thread}}
        self._saver = InMemorySaver()
        if setting.saved is not None:
            _load(self._saver, setting.saved)
        self.graph = make(setting, self._saver)
        self._state: Any = None

    def run(self, way: Way = "async") -> Ended:
        return self._go({"messages": [HumanMessage("go on")]}, way)

    def resume(self, way: Way = "async") -> Ended:
        waiting = self.graph.get_state(self._config).interrupts
        return self._go(Command(resume={one.id: "whatever" for one in waiting}), way)

    def saved(self) -> bytes:
        saver = self._saver
        storage = {thread: {ns: dict(found) for ns, found in spaces.items()} for thread, spaces in saver.storage.items()}
        return pickle.dumps((storage, dict(saver.writes), dict(saver.blobs)))

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        """The message that holds the call is replaced in the state, and the pending tasks made anew from it."""
        state = self.graph.get_state(self._config)
        message = next(one for one in reversed(state.values["messages"]) if isinstance(one, AIMessage))
        calls = [{**one, "args": dict(arguments)} if one["id"] == call else one for one in message.tool_calls]
        self._config = self.graph.update_state(
            {"configurable": {"thread_id": self._config["configurable"]["thread_id"]}},
            {"messages": [AIMessage(message.content, tool_calls=calls, id=message.id)]},
            as_node="model",
        )
        self._config = {"configurable": {"thread_id": self._config["configurable"]["thread_id"]}}
        self._is_changed = True

    def cancel_when(self, started: threading.Event) -> None:
        async def work() -> None:
            task = asyncio.create_task(self.graph.ainvoke({"messages": [HumanMessage("go on")]}, self._config, context=self._context))
            await asyncio.to_thread(started.wait, 30)
            task.cancel()
            with_error = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(with_error[0], asyncio.CancelledError), with_error

        asyncio.run(work())

    def _go(self, given: Any, way: Way) -> Ended:
        if getattr(self, "_is_changed", False):
            given = None  # from where the state was changed
        if way == "sync":
            self.graph.invoke(given, self._config, context=self._context)
        elif way == "async":
            asyncio.run(self.graph.ainvoke(given, self._config, context=self._context))
        else:
            for _ in self.graph.stream(given, self._config, context=self._context, stream_mode=["updates", "messages"]):
                pass
        return self._ended()

    def _ended(self) -> Ended:
        state = self.graph.get_state(self._config)
        messages = state.values["messages"]
        last = messages[-1]
        return Ended(
            told={one.tool_call_id: str(one.content) for one in messages if isinstance(one, ToolMessage)},
            waiting=tuple(one.value["request"] for one in state.interrupts),
            said=str(last.content) if isinstance(last, AIMessage) and not last.tool_calls else None,
        )


def _load(saver: InMemorySaver, saved: bytes) -> None:
    storage, writes, blobs = pickle.loads(saved)
    for thread, spaces in storage.items():
        saver.storage[thread] = defaultdict(dict, spaces)
    saver.writes.update(writes)
    saver.blobs.update(blobs)


def _caller(gate: Gate) -> Callable[[ToolRuntime[Any, Any]], ActingBlock | None]:
    def caller(runtime: ToolRuntime[Any, Any]) -> ActingBlock | None:
        return gate.acting(agent="shop-bot", user=runtime.context.user)

    return caller


def make(setting: Setting, saver: InMemorySaver | None) -> Any:
    """The agent, or with a successor the graph of the two, in which a tool sends the work on."""
    if setting.successor is None:
        return _agent(setting, saver)
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState, context_schema=Context)
    graph.add_node("first", _agent(setting, None))
    graph.add_node("second", _fresh(make(setting.successor, None)))
    graph.add_edge(START, "first")
    return graph.compile(checkpointer=saver)


def _fresh(agent: Any) -> Any:
    """The agent as a node: its script begins where the conversation is its own."""

    async def node(_: Any) -> Any:
        found = await agent.ainvoke({"messages": [HumanMessage("take over")]})
        return {"messages": found["messages"]}

    return node


@tool
def hand_over(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Hand the work to another agent."""
    told = ToolMessage("handed over", tool_call_id=runtime.tool_call_id)
    return Command(goto="second", graph=Command.PARENT, update={"messages": [told]})


def _agent(setting: Setting, saver: InMemorySaver | None) -> Any:
    gate = setting.gate
    caller = None if setting.user is None else _caller(gate)
    middleware: list[AgentMiddleware[Any, Any]] = (
        [ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)] if setting.retries else []
    )
    middleware.append(gate.langchain(caller=caller, pause=setting.pause))
    return create_agent(
        Scripted(script=setting.script),
        tools=[*_tools(setting), *([{"type": "web_search"}] if setting.hosted else [])],
        middleware=middleware,
        checkpointer=saver,
        context_schema=Context,
    )


def _tools(setting: Setting) -> list[BaseTool]:
    found = [tool(function) for function in setting.functions]
    if setting.helper is not None:
        found.append(_as_tool("ask_helper", make(setting.helper, None)))
    return [*found, hand_over] if setting.successor is not None else found


def _as_tool(name: str, graph: Any) -> BaseTool:
    """Another agent behind a tool."""

    async def ask(text: str) -> str:
        """Ask another agent."""
        found = await graph.ainvoke({"messages": [HumanMessage(text)]})
        return str(found["messages"][-1].content)

    def ask_now(text: str) -> str:
        """Ask another agent."""
        return str(graph.invoke({"messages": [HumanMessage(text)]})["messages"][-1].content)

    return StructuredTool.from_function(func=ask_now, coroutine=ask, name=name, description="Ask another agent.")


class Driver(driving.Driver):
    name = "langchain"
    package = "langchain"
    hooks = ("Governance.awrap_tool_call", "Governance._look_at")

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.graph

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return trace_id == "thread-1" and span_id == call
