"""Google's ADK where more runs than one agent with one user: workflows, agents side by side and behind each other, live mode, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.adk.agents import LlmAgent, LoopAgent, ParallelAgent
from google.adk.agents.live_request_queue import LiveRequestQueue
from google.adk.agents.run_config import RunConfig, ToolThreadPoolConfig
from google.adk.apps import ResumabilityConfig
from google.adk.code_executors import UnsafeLocalCodeExecutor
from google.adk.events.event import Event
from google.adk.models.base_llm_connection import BaseLlmConnection
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.tools import FunctionTool, exit_loop, google_search
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.workflow import RetryConfig, Workflow, node
from google.genai import types

from licet import Gate
from licet.errors import UngovernedTools
from licet.testing import records, vote
from tests.integrations.drivers.adk import CONFIRMATION, Scripted, _parts
from tests.integrations.driving import Turn
from tests.integrations.frameworks.test_adk import Native, Run, Toolset, agent_of, answer, ask, request_of
from tests.integrations.shop import Shop, kinds, of_tool

HELD = {"customer": "C-1", "cents": 500}


class Counting(Scripted):
    """Says the turn after the answers to calls that are in the conversation, whoever else speaks in it."""

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncGenerator[LlmResponse, None]:  # noqa: FBT001, FBT002
        answered = sum(part.function_response is not None for content in llm_request.contents for part in content.parts or ())
        yield LlmResponse(content=types.Content(role="model", parts=_parts(self.script[answered])))


def workflow(gate: Gate, *nodes: Any) -> Run:
    return Run(gate, Workflow(name="work", edges=[("START", *nodes)]))


def giving(value: Any) -> Callable[[], Any]:
    def first() -> Any:
        return value

    return first


def asked(events: list[Event]) -> Any:
    (found,) = [one for event in events for one in event.get_function_calls() if one.name == "adk_request_input"]
    return found


def request_in(question: Any) -> Any:
    return question.args["payload"]["confirmation_payload"]["request"]


# workflows


def test_a_tool_that_a_workflow_calls_is_governed(gate: Gate, shop: Shop) -> None:
    denied = workflow(gate, giving({"customer": "C-1", "cents": 20_000}), FunctionTool(shop.tools("pay")[0]))
    denied.events()
    assert (shop.ran, kinds(gate, "pay")) == ([], ["denial"])


@pytest.mark.parametrize("decided", [True, False])
def test_a_workflow_that_waits_goes_on_once_people_have_decided(gate: Gate, shop: Shop, *, decided: bool) -> None:
    run = workflow(gate, giving(HELD), FunctionTool(shop.tools("pay")[0]))
    question = asked(run.events())
    if decided:
        vote(gate, request_in(question), "lena")
    events = run.events(answer(question, confirmed=True))
    assert shop.ran == (["pay C-1 500"] if decided else [])
    if not decided:
        assert request_in(asked(events)) == request_in(question)  # it asks again, for the same decision


def test_an_answer_to_the_gates_question_in_a_workflow_is_none_to_the_tools_own(gate: Gate, shop: Shop) -> None:
    run = workflow(gate, giving(HELD), FunctionTool(shop.tools("pay")[0], require_confirmation=True))
    question = asked(run.events(answer(asked(run.events()), confirmed=True)))
    vote(gate, request_in(question), "lena")
    again = asked(run.events(answer(question, confirmed=True)))
    assert shop.ran == []
    run.events(answer(again, confirmed=True))
    assert shop.ran == ["pay C-1 500"]


def test_a_node_that_comes_again_is_another_call_and_one_that_is_retried_is_not(gate: Gate, shop: Shop) -> None:
    def again(node_input: Any) -> Event:
        return Event(output=node_input, route="more" if len(shop.ran) < 3 else "stop")

    def end(node_input: Any) -> None:
        """Nothing more."""

    first = giving({"text": "x"})
    note = FunctionTool(shop.tools("note")[0])
    Run(gate, Workflow(name="work", edges=[("START", first, note, again), (again, {"more": first, "stop": end})])).events()
    assert shop.ran == ["note x"] * 3
    retried = node(FunctionTool(shop.tools("broken")[0]), retry_config=RetryConfig(max_attempts=3, initial_delay=0.01))
    workflow(gate, first, retried).events()
    assert shop.ran[3:] == ["broken x"]


def test_agents_in_a_workflow_are_looked_at(gate: Gate, shop: Shop) -> None:
    run = workflow(gate, LlmAgent(name="inner", model=Scripted(), tools=[google_search]))
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(run.runner)
    assert raised.value.tools == ("google_search",)
    with pytest.raises(RuntimeError, match="do not pass through the gate"):
        run.events()


def test_an_agent_that_a_node_makes_is_looked_at_when_it_starts(gate: Gate, shop: Shop) -> None:
    inner = LlmAgent(name="inner", model=Scripted(), code_executor=UnsafeLocalCodeExecutor())

    @node(rerun_on_resume=True)
    async def start(ctx: Any, node_input: Any) -> Any:
        return await ctx.run_node(inner, node_input="x")

    run = workflow(gate, start)
    gate.coverage(run.runner)
    with pytest.raises(Exception, match="do not pass through the gate: `UnsafeLocalCodeExecutor`"):
        run.events()


# agents


@pytest.mark.parametrize("texts", ["abc", "aaa"])
def test_agents_side_by_side_whose_calls_have_one_id_are_not_taken_for_each_other(gate: Gate, shop: Shop, texts: str) -> None:
    def agent(number: int, text: str) -> LlmAgent:
        return LlmAgent(name=f"agent_{number}", model=Counting(script=([ask(1, "note", text=text)], "done")), tools=shop.tools("note"))

    Run(gate, ParallelAgent(name="all", sub_agents=[agent(*one) for one in enumerate(texts)])).events()
    assert sorted(shop.ran) == [f"note {text}" for text in texts]


def test_that_a_loop_ends_is_no_call_of_a_tool(gate: Gate, shop: Shop) -> None:
    inner = agent_of([exit_loop, *shop.tools("note")], [ask(1, "note", text="x")], [ask(2, "exit_loop")])
    Run(gate, LoopAgent(name="loop", sub_agents=[inner], max_iterations=3)).events()
    assert (shop.ran, [read.kind for read in records(gate, "acme")]) == (["note x"], ["intent", "outcome"])


def test_a_task_that_is_handed_over_is_no_call_of_a_tool_and_those_in_it_are(gate: Gate, shop: Shop) -> None:
    turns = ([ask(11, "note", text="x"), ask(12, "pay", customer="C-1", cents=20_000)], [ask(13, "finish_task", result="ok")])
    below = agent_below("task", shop, *turns)
    Run(gate, agent_of([], [ask(1, "below", request="do it")], sub_agents=[below])).events()
    assert shop.ran == ["note x"]
    assert sorted(read.kind for read in records(gate, "acme")) == ["denial", "intent", "outcome"]


def test_an_agent_that_is_called_as_a_tool_goes_on_when_a_call_in_it_was_held(gate: Gate, shop: Shop) -> None:
    gate.classify("below", access="write")
    run = Run(
        gate, agent_of([], [ask(1, "below", request="do it")], sub_agents=[agent_below("single_turn", shop, [ask(11, "pay", **HELD)])])
    )
    question = run.send()[CONFIRMATION]
    vote(gate, request_of(question), "lena")
    found = run.send(answer(question, confirmed=True))
    assert shop.ran == ["pay C-1 500"]
    ended = [read.envelope.outcome for read in of_tool(gate, "below") if read.envelope.outcome is not None]
    after = [("ok", None)] if "call_1" in found else []  # before 2.13 the framework does not come back to the call
    assert [(one.status, one.code) for one in ended] == [("error", "paused"), *after]


def agent_below(mode: Any, shop: Shop, *turns: Turn) -> LlmAgent:
    return LlmAgent(name="below", mode=mode, model=Scripted(script=(*turns, "done")), tools=shop.tools("note", "pay"))


def test_an_agent_with_a_runner_of_its_own_is_told_that_a_call_waits(gate: Gate, shop: Shop) -> None:
    gate.classify("inner", access="write")
    seen: list[Any] = []

    def after(tool: Any, args: dict[str, Any], tool_context: Any, tool_response: Any) -> None:
        seen.append(tool_response)

    model = Scripted(script=([ask(11, "pay", **HELD)], "somebody must agree"))
    inner = LlmAgent(name="inner", model=model, tools=shop.tools("pay"), after_tool_callback=after)
    found = Run(gate, agent_of([AgentTool(inner)], [ask(1, "inner", request="x")])).send()
    assert found["call_1"] == {"result": "somebody must agree"}
    (held,) = of_tool(gate, "pay")
    assert held.envelope.approval is not None
    assert str(held.envelope.approval.request) in seen[0]["error"]


# users and sessions


def test_two_users_at_once_are_two_callers(gate: Gate, shop: Shop) -> None:
    both = asyncio.Barrier(2)

    async def note(text: str) -> None:
        """Write a note, while somebody else does."""
        await both.wait()

    plugin = gate.adk(caller=lambda ctx: gate.acting(agent="shop-bot", user=ctx.session.user_id))
    agent = agent_of([FunctionTool(note)], [ask(1, "note", text="x")])
    service = InMemorySessionService()
    runner = Runner(app_name="shop", agent=agent, session_service=service, plugins=[plugin], auto_create_session=True)

    async def of(user: str) -> None:
        message = types.Content(role="user", parts=[types.Part(text="go on")])
        async for _ in runner.run_async(user_id=user, session_id="s", new_message=message):
            pass

    async def work() -> None:
        await asyncio.gather(of("alice"), of("bob"))

    asyncio.run(work())
    intents = [read for read in of_tool(gate, "note") if read.kind == "intent"]
    assert sorted(one.ref.id for read in intents for one in read.payload.principals if one.ref.type == "User") == ["alice", "bob"]


def test_a_resumable_app_pays_once(gate: Gate, shop: Shop) -> None:
    run = Run(gate, agent_of(shop.tools("pay", "note"), [ask(1, "pay", **HELD), ask(2, "note", text="x")]))
    run.runner.resumability_config = ResumabilityConfig(is_resumable=True)
    question = run.send()[CONFIRMATION]
    vote(gate, request_of(question), "lena")
    for _ in range(2):
        run.send(answer(question, confirmed=True))
    assert shop.ran == ["note x", "pay C-1 500"]


def test_a_session_that_is_rewound_has_no_use_of_what_was_approved_before(gate: Gate, shop: Shop) -> None:
    run = Run(gate, agent_of(shop.tools("pay"), [ask(1, "pay", **HELD)]))
    first = run.events()
    (question,) = [one for event in first for one in event.get_function_calls() if one.name == CONFIRMATION]
    vote(gate, request_of(question), "lena")
    run.send(answer(question, confirmed=True))
    asyncio.run(run.runner.rewind_async(user_id="u", session_id="s", rewind_before_invocation_id=first[0].invocation_id))
    assert request_of(run.send()[CONFIRMATION]) != request_of(question)
    assert shop.ran == ["pay C-1 500"]


# live mode


class Line(BaseLlmConnection):
    """A connection on which the model says a turn, and the next one once it has heard something."""

    def __init__(self, *turns: Turn) -> None:
        self.heard: list[Any] = []
        self._turns = list(turns)
        self._next = asyncio.Queue[None]()
        self._next.put_nowait(None)

    async def send_history(self, history: list[types.Content]) -> None:
        """Nothing was said before."""

    async def send_content(self, content: types.Content) -> None:
        self.heard += [part.function_response.response for part in content.parts or () if part.function_response]
        self._next.put_nowait(None)

    async def send_realtime(self, blob: Any) -> None:
        """Nobody speaks."""

    async def receive(self) -> AsyncGenerator[LlmResponse, None]:
        await self._next.get()
        if not self._turns:
            await asyncio.Event().wait()
        yield LlmResponse(content=types.Content(role="model", parts=_parts(self._turns.pop(0))), turn_complete=True)

    async def close(self) -> None:
        """It is closed."""


class Calling(Scripted):
    line: Any = None

    @asynccontextmanager
    async def connect(self, llm_request: Any) -> AsyncIterator[Any]:
        yield self.line


def live(gate: Gate, tools: list[Any], *turns: Turn, until: Callable[[Line], bool], **options: Any) -> Line:
    """What a live model hears of its calls, up to a moment."""

    async def work() -> Line:
        line = Line(*turns)
        agent = LlmAgent(name="shop_agent", model=Calling(line=line), tools=tools)
        service = InMemorySessionService()
        runner = Runner(app_name="shop", agent=agent, session_service=service, plugins=[gate.adk()], auto_create_session=True)

        async def consume() -> None:
            async for _ in runner.run_live(user_id="u", session_id="s", live_request_queue=LiveRequestQueue(), **options):
                pass

        running = asyncio.create_task(consume())
        async with asyncio.timeout(20):
            while not until(line) and not running.done():  # noqa: ASYNC110 - a record has no event
                await asyncio.sleep(0.01)
        running.cancel()
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
        return line

    with gate.acting(agent="shop-bot", user="alice"):
        return asyncio.run(work())


@pytest.mark.parametrize("pool", [None, ToolThreadPoolConfig()])
def test_calls_in_live_mode_are_governed_and_one_that_waits_is_refused(gate: Gate, shop: Shop, pool: Any) -> None:
    calls = [ask(1, "note", text="x"), ask(2, "pay", customer="C-1", cents=20_000), ask(3, "pay", **HELD)]
    config = RunConfig(tool_thread_pool_config=pool)
    line = live(gate, shop.tools("note", "pay"), calls, until=lambda line: len(line.heard) == 3, run_config=config)
    noted, denied, waits = line.heard
    assert noted == {"result": "noted x"}
    assert "nobody pays more than $100 at once" in denied["error"]
    (request,) = {
        read.envelope.approval.request for read in of_tool(gate, "pay") if read.kind == "hold" and read.envelope.approval is not None
    }
    assert str(request) in waits["error"]
    assert shop.ran == ["note x"]


def test_a_tool_of_live_mode_that_streams_ends_when_its_last_value_is_given(gate: Gate, shop: Shop) -> None:
    async def note(text: str) -> AsyncGenerator[str, None]:
        """Write notes."""
        for number in range(3):
            assert kinds(gate, "note") == ["intent"]
            yield f"{text}{number}"

    def is_over(_: Line) -> bool:
        return len(kinds(gate, "note")) == 2

    line = live(gate, [note], [ask(1, "note", text="x")], until=is_over)
    assert [one for one in line.heard if "result" in one] == [{"result": f"x{number}"} for number in range(3)]
    assert status_of(gate, "note") == "ok"


def test_a_tool_of_live_mode_that_fails_or_is_stopped_while_it_streams_is_recorded_so(gate: Gate, shop: Shop) -> None:
    async def broken(text: str) -> AsyncGenerator[str, None]:
        """Write a note, and fail."""
        yield text
        raise ValueError(text)

    async def slow(text: str) -> AsyncGenerator[str, None]:
        """Write notes without an end."""
        while True:
            yield text
            await asyncio.sleep(0.01)

    calls = [ask(1, "broken", text="x"), ask(2, "slow", text="y")]
    live(gate, [broken, slow], calls, until=lambda line: len(kinds(gate, "broken")) == 2 and {"result": "y"} in line.heard)
    assert [status_of(gate, name) for name in ("broken", "slow")] == ["error", "unknown"]


def test_a_tool_of_live_mode_that_streams_and_is_denied_gives_nothing(gate: Gate, shop: Shop) -> None:
    async def pay(customer: str, cents: int) -> AsyncGenerator[str, None]:
        """Pay a customer, bit by bit."""
        shop.ran.append(customer)
        yield customer

    def is_told(line: Line) -> bool:
        return any("error" in one for one in line.heard)

    assert "nobody pays" in str(live(gate, [pay], [ask(1, "pay", customer="C-1", cents=20_000)], until=is_told).heard)
    assert shop.ran == []


def test_tools_of_the_provider_that_only_a_toolset_knows_are_seen_before_a_live_model_is(gate: Gate, shop: Shop) -> None:
    class Hosted(Native):
        run_async = BaseTool.run_async

    with pytest.raises(RuntimeError, match="do not pass through the gate: `hosted`"):
        live(gate, [Toolset(Hosted(name="hosted", description="Elsewhere."))], "hello", until=lambda _: False)


def status_of(gate: Gate, tool: str) -> str:
    outcome = of_tool(gate, tool)[-1].envelope.outcome
    assert outcome is not None
    return outcome.status
