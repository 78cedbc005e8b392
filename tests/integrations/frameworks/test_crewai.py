"""What only CrewAI has: traps that somebody fell into, and the example."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import crewai
import pytest

from licet import Gate
from licet.errors import ConfigInvalid, UngovernedTools
from licet.integrations.crewai import GovernedTool
from licet.testing import records, vote
from tests.integrations.drivers.crewai import Scripted
from tests.integrations.driving import Ask, Turn
from tests.integrations.frameworks.example import example
from tests.integrations.shop import Shop, kinds, of_tool

from crewai import Crew, Process, Task  # isort: skip - the driver says first that nothing is to be sent anywhere
from crewai.agents.agent_executor import AgentExecutor  # isort: skip
from crewai.agents.cache.cache_handler import CacheHandler  # isort: skip
from crewai.flow.flow import Flow, start  # isort: skip
from crewai.hooks import clear_all_tool_call_hooks, register_after_tool_call_hook, register_before_tool_call_hook  # isort: skip
from crewai.lite_agent import LiteAgent  # isort: skip
from crewai.tools import BaseTool, tool  # isort: skip
from crewai.tools.tool_failure import ToolFailure  # isort: skip

CREDIT = {"account_id": "A-2001", "amount_cents": 18_000}
DENIED, HELD = 20_000, 500
WRITES = pytest.mark.parametrize("writes", [False, True], ids=["native", "text"])


def ask(number: int, name: str, **arguments: Any) -> Ask:
    return Ask(f"call_{number}", name, arguments)


def llm_of(*turns: Turn, writes: bool = False, **options: Any) -> Scripted:
    return Scripted(model="scripted", script=(*turns, "done"), writes=writes, **options)


def agent_of(llm: Any, *functions: Any, role: str = "shop", **options: Any) -> crewai.Agent:
    tools = [one if isinstance(one, BaseTool) else tool(one) for one in functions]
    return crewai.Agent(role=role, goal="work", backstory="none", llm=llm, tools=tools, **options)


def crew_of(*agents: Any, tasks: Sequence[Any] = (), **options: Any) -> Crew:
    made = [Task(description="go on", expected_output="words", agent=agents[0])]
    return Crew(agents=list(agents), tasks=list(tasks) or made, **options)


def run(gate: Gate, crew: Any, user: str = "alice", **options: Any) -> Any:
    with gate.acting(agent="shop-bot", user=user):
        return crew.kickoff(**options)


@pytest.fixture
def _hooks() -> Iterator[None]:
    yield
    clear_all_tool_call_hooks()


# hooks


@pytest.mark.usefixtures("_hooks")
def test_a_hook_of_the_framework_that_raises_lets_a_tool_run_which_is_why_none_is_used(shop: Shop) -> None:
    def deny(_: Any) -> bool:
        raise RuntimeError("no answer")

    register_before_tool_call_hook(deny)
    crew_of(agent_of(llm_of([ask(1, "note", text="x")]), *shop.tools("note"))).kickoff()
    assert shop.ran == ["note x"]


@WRITES
@pytest.mark.usefixtures("_hooks")
def test_what_hooks_raise_and_return_changes_nothing_of_what_is_decided(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    def fail(_: Any) -> Any:
        raise RuntimeError("broken")

    register_before_tool_call_hook(fail)
    register_before_tool_call_hook(lambda _: True)
    register_after_tool_call_hook(fail)
    llm = llm_of([ask(1, "pay", customer="C-1", cents=DENIED)], writes=writes)
    run(gate, gate.crewai(crew_of(agent_of(llm, *shop.tools("pay")))))
    assert shop.ran == []
    assert "nobody pays more than $100 at once" in llm.told["call_1"]


@WRITES
@pytest.mark.usefixtures("_hooks")
def test_what_a_hook_makes_of_the_arguments_is_decided_on(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    register_before_tool_call_hook(lambda context: context.tool_input.update(cents=DENIED))
    llm = llm_of([ask(1, "pay", customer="C-1", cents=50)], writes=writes)
    run(gate, gate.crewai(crew_of(agent_of(llm, *shop.tools("pay")))))
    assert shop.ran == []
    assert b'"cents":20000' in bytes(of_tool(gate, "pay")[0].payload.arguments)


@pytest.mark.usefixtures("_hooks")
def test_a_hook_that_runs_the_tool_itself_makes_a_governed_call(gate: Gate, shop: Shop) -> None:
    found: list[Any] = []

    def again(context: Any) -> None:
        given = {"customer": "C-1", "cents": DENIED}
        found.extend((context.tool.invoke(given), context.tool.func(**given), context.tool._run(**given)))

    register_before_tool_call_hook(again)
    run(gate, gate.crewai(crew_of(agent_of(llm_of([ask(1, "pay", customer="C-1", cents=DENIED)]), *shop.tools("pay")))))
    assert shop.ran == []
    assert [isinstance(one, ToolFailure) for one in found] == [True, True, True]
    assert kinds(gate, "pay") == ["denial"] * 4


# what stands in for a call, and what runs again


@WRITES
def test_no_result_comes_from_the_cache_of_the_framework(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    turns = ([ask(1, "look", customer="C-1")], [ask(2, "note", text="x")], [ask(3, "look", customer="C-1")])
    crew = gate.crewai(crew_of(agent_of(llm_of(*turns, writes=writes), *shop.tools("look", "note")), cache=True))
    run(gate, crew)
    assert shop.ran == ["look C-1", "note x", "look C-1"]


@WRITES
def test_what_somebody_else_left_in_the_cache_is_not_told(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    cache = CacheHandler()
    for text in ('{"customer": "C-1"}', "{'customer': 'C-1'}"):
        cache.add(tool="look", input=text, output="of somebody else")
    llm = llm_of([ask(1, "look", customer="C-1")], writes=writes)
    crew = crew_of(agent_of(llm, *shop.tools("look"), cache_handler=cache), cache=True)
    run(gate, gate.crewai(crew))
    assert shop.ran == ["look C-1"]
    assert "of somebody else" not in llm.told["call_1"]


@WRITES
def test_a_write_that_raises_runs_once_and_is_told_with_what_it_raised(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    llm = llm_of([ask(1, "broken", text="x")], writes=writes)
    result = run(gate, gate.crewai(crew_of(agent_of(llm, *shop.tools("broken")))))
    assert shop.ran == ["broken x"]
    assert "it broke after it worked" in llm.told["call_1"]
    (failure,) = result.tasks_output[0].tool_failures
    assert (failure.failure.reason.value, failure.failure.code) == ("exception", "Unreachable")


def test_without_the_gate_a_write_that_raises_runs_six_times(shop: Shop) -> None:
    crew_of(agent_of(llm_of([ask(1, "broken", text="x")], writes=True), *shop.tools("broken"))).kickoff()
    assert shop.ran == ["broken x"] * 6


def test_a_call_that_is_denied_is_no_answer(gate: Gate, shop: Shop) -> None:
    pay = tool(shop.tools("pay")[0])
    pay.result_as_answer = True
    denied = [ask(1, "pay", customer="C-1", cents=DENIED)]
    allowed = [ask(2, "pay", customer="C-1", cents=50)]
    assert run(gate, gate.crewai(crew_of(agent_of(llm_of(denied), pay)))).raw == "done"
    assert run(gate, gate.crewai(crew_of(agent_of(llm_of(allowed), pay)))).raw == "paid 50 to C-1"


@WRITES
def test_a_tool_that_may_be_used_once_is_used_once(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    note = tool(shop.tools("note")[0])
    note.max_usage_count = 1
    llm = llm_of([ask(1, "note", text="a")], [ask(2, "note", text="b")], writes=writes)
    run(gate, gate.crewai(crew_of(agent_of(llm, note))))
    assert shop.ran == ["note a"]
    assert "usage limit" in llm.told["call_2"]


def test_a_call_that_waits_is_named_in_the_output_and_goes_on_later(gate: Gate, shop: Shop) -> None:
    llm = llm_of([ask(1, "pay", customer="C-1", cents=HELD)])
    crew = gate.crewai(crew_of(agent_of(llm, *shop.tools("pay"))))
    (failure,) = run(gate, crew).tasks_output[0].tool_failures
    vote(gate, failure.failure.details["request"], "lena")
    assert shop.ran == []
    assert run(gate, crew).tasks_output[0].tool_failures == []
    assert shop.ran == [f"pay C-1 {HELD}"]


def test_a_policy_of_the_framework_that_stops_at_failures_stops_at_denials(gate: Gate, shop: Shop) -> None:
    llm = llm_of([ask(1, "pay", customer="C-1", cents=DENIED)], [ask(2, "note", text="x")])
    crew = gate.crewai(crew_of(agent_of(llm, *shop.tools("pay", "note")), tool_failure_policy="raise"))
    with pytest.raises(Exception, match=r"nobody pays more than \$100 at once"):
        run(gate, crew)
    assert shop.ran == []


# every way in which agents work


def test_an_agent_by_itself_is_governed(gate: Gate, shop: Shop) -> None:
    script = [ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]
    agent = gate.crewai(agent_of(llm_of(script), *shop.tools("pay", "note")))
    with gate.acting(agent="shop-bot", user="alice"):
        agent.kickoff("go on")
        asyncio.run(agent.kickoff_async("go on"))
        asyncio.run(agent.akickoff("go on"))
        agent.copy().kickoff("go on")
        agent.message("go on")
    assert shop.ran == ["note x"] * 5
    assert kinds(gate, "pay") == ["denial"] * 5


def test_copies_of_a_crew_are_governed(gate: Gate, shop: Shop) -> None:
    script = [ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]
    crew = gate.crewai(crew_of(agent_of(llm_of(script), *shop.tools("pay", "note"))))
    with gate.acting(agent="shop-bot", user="alice"):
        crew.kickoff_for_each(inputs=[{}, {}])
        asyncio.run(crew.kickoff_for_each_async(inputs=[{}, {}]))
        asyncio.run(crew.akickoff_for_each(inputs=[{}]))
        crew.copy().copy().kickoff()
        asyncio.run(crew.kickoff_async())
    assert shop.ran == ["note x"] * 7
    assert kinds(gate, "pay") == ["denial"] * 7


def test_crews_and_agents_in_flows_are_governed(gate: Gate, shop: Shop) -> None:
    script = [ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]
    crew = gate.crewai(crew_of(agent_of(llm_of(script), *shop.tools("pay", "note"))))
    agent = gate.crewai(agent_of(llm_of(script), *shop.tools("pay", "note")))

    class Work(Flow[Any]):
        @start()
        def crews(self) -> str:
            return str(crew.kickoff().raw)

        @start()
        async def agents(self) -> str:
            return str((await agent.kickoff_async("go on")).raw)

    with gate.acting(agent="shop-bot", user="alice"):
        Work(suppress_flow_events=True).kickoff()
    assert shop.ran == ["note x"] * 2
    assert kinds(gate, "pay") == ["denial"] * 2


def test_tasks_in_threads_and_with_a_time_limit_are_governed_in_the_callers_name(gate: Gate, shop: Shop) -> None:
    script = [ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]
    agent = agent_of(llm_of(script), *shop.tools("pay", "note"), max_execution_time=30)
    task = Task(description="go on", expected_output="words", agent=agent, async_execution=True)
    run(gate, gate.crewai(crew_of(agent, tasks=[task])))
    assert shop.ran == ["note x"]
    assert kinds(gate, "pay") == ["denial"]


def test_tools_of_a_task_are_governed(gate: Gate, shop: Shop) -> None:
    agent = agent_of(llm_of([ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]))
    task = Task(description="go on", expected_output="words", agent=agent, tools=[tool(one) for one in shop.tools("pay", "note")])
    crew = gate.crewai(crew_of(agent, tasks=[task]))
    assert gate.coverage(crew).tools == ("note", "pay")
    run(gate, crew)
    assert shop.ran == ["note x"]


def test_delegation_is_a_governed_call_and_so_are_those_of_the_other(gate: Gate, shop: Shop) -> None:
    gate.classify("delegate_work_to_coworker", access="write")
    gate.classify("ask_question_to_coworker", access="write")
    work = {"task": "pay", "context": "none", "coworker": "other"}
    agent = agent_of(llm_of([Ask("call_1", "delegate_work_to_coworker", work)]), allow_delegation=True)
    other = agent_of(
        llm_of([ask(11, "pay", customer="C-1", cents=DENIED), ask(12, "note", text="x")]), *shop.tools("pay", "note"), role="other"
    )
    crew = gate.crewai(crew_of(agent, other))
    assert gate.coverage(crew).tools == ("ask_question_to_coworker", "delegate_work_to_coworker", "note", "pay")
    run(gate, crew)
    assert shop.ran == ["note x"]
    assert kinds(gate, "delegate_work_to_coworker") == ["intent", "outcome"]
    assert kinds(gate, "pay") == ["denial"]


def test_a_manager_that_the_crew_makes_itself_is_governed(gate: Gate, shop: Shop) -> None:
    work = {"task": "note", "context": "none", "coworker": "shop"}
    llm = llm_of([Ask("call_1", "delegate_work_to_coworker", work)])
    agent = agent_of(llm_of([ask(11, "note", text="x")]), *shop.tools("note"))
    task = Task(description="go on", expected_output="words", agent=agent)
    crew = gate.crewai(Crew(agents=[agent], tasks=[task], process=Process.hierarchical, manager_llm=llm))
    run(gate, crew)
    assert "(unclassified_tool)" in llm.told["call_1"]
    assert shop.ran == []
    gate.classify("delegate_work_to_coworker", access="write")
    llm.told.clear()
    run(gate, crew.copy())
    assert shop.ran == ["note x"]


def test_tools_that_an_agent_gets_when_it_starts_are_governed(gate: Gate, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def served(_: Any, mcps: Any) -> list[Any]:
        return [tool(one) for one in shop.tools("pay", "note")]

    monkeypatch.setattr(crewai.Agent, "get_mcp_tools", served)
    script = [ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]
    agent = agent_of(llm_of(script), mcps=["https://example.org/mcp"])
    crew = gate.crewai(crew_of(agent))
    run(gate, crew)
    with gate.acting(agent="shop-bot", user="alice"):
        agent.kickoff("go on")
    assert shop.ran == ["note x"] * 2
    assert kinds(gate, "pay") == ["denial"] * 2
    covered = gate.coverage(crew)
    assert (covered.tools, covered.later) == (("note", "pay"), ("https://example.org/mcp",))


def test_an_executor_has_governed_tools_alone_wherever_it_keeps_them(gate: Gate, shop: Shop) -> None:
    agent = agent_of(llm_of("done"), *shop.tools("pay"))
    run(gate, crew_of(agent))
    assert agent.agent_executor is not None
    agent.agent_executor._ensure_step_executor()  # type: ignore[attr-defined]  # what it plans with keeps its tools
    run(gate, gate.crewai(crew_of(agent)))
    executor: Any = agent.agent_executor
    assert executor._step_executor is None
    steps = executor._ensure_step_executor()
    executor._setup_native_tools()
    functions = [
        *executor._available_functions.values(),
        *steps._available_functions.values(),
        *(one.func for one in (*executor.tools, *steps.tools)),
    ]
    assert [isinstance(one.__self__, GovernedTool) for one in functions] == [True] * 4
    assert [type(one) for one in (*executor.original_tools, *steps.original_tools)] == [GovernedTool] * 2


def test_steps_of_a_plan_run_governed_tools(gate: Gate, shop: Shop) -> None:
    agent = gate.crewai(agent_of(llm_of([ask(1, "pay", customer="C-1", cents=DENIED)]), *shop.tools("pay")))
    with gate.acting(agent="shop-bot", user="alice"):
        agent.create_agent_executor()
        for function in agent.agent_executor._ensure_step_executor()._available_functions.values():
            assert isinstance(function(customer="C-1", cents=DENIED), ToolFailure)
    assert shop.ran == []


@WRITES
def test_an_asynchronous_tool_runs_once(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    shop.slow_s = 0
    llm = llm_of([ask(1, "slow", text="x")], writes=writes)
    crew = gate.crewai(crew_of(agent_of(llm, *shop.tools("slow"))))
    run(gate, crew)
    with gate.acting(agent="shop-bot", user="alice"):
        asyncio.run(crew.akickoff())
    assert shop.ran == ["slow x", "slow x done"] * 2
    assert "x" in llm.told["call_1"]


def test_a_governed_tool_can_be_awaited(gate: Gate, shop: Shop) -> None:
    shop.slow_s = 0
    agent = gate.crewai(agent_of(llm_of("done"), *shop.tools("slow", "pay")))
    agent.create_agent_executor()
    slow, pay = agent.agent_executor.original_tools

    async def work() -> Any:
        return await slow.arun(text="x"), await pay.arun(customer="C-1", cents=DENIED), await pay.to_structured_tool().ainvoke({"cents": 1})

    with gate.acting(agent="shop-bot", user="alice"):
        found = asyncio.run(work())
    assert found[0] == "x"
    assert [isinstance(one, ToolFailure) for one in found[1:]] == [True, True]
    assert shop.ran == ["slow x", "slow x done"]


def test_an_agent_that_joins_later_is_governed_when_the_crew_starts(gate: Gate, shop: Shop) -> None:
    crew = gate.crewai(crew_of(agent_of(llm_of("done"))))
    late = agent_of(llm_of([ask(1, "pay", customer="C-1", cents=DENIED)]), *shop.tools("pay"), role="late")
    crew.agents.append(late)
    crew.tasks.append(Task(description="go on", expected_output="words", agent=late))
    with pytest.raises(UngovernedTools):
        gate.coverage(crew)
    run(gate, crew)
    assert shop.ran == []
    assert gate.coverage(crew).tools == ("pay",)


def test_a_crew_that_is_read_back_from_a_checkpoint_is_governed(gate: Gate, shop: Shop, tmp_path: Path) -> None:
    from crewai.state.checkpoint_config import CheckpointConfig  # noqa: PLC0415

    crew = gate.crewai(crew_of(agent_of("gpt-4o-mini")))
    file = tmp_path / "checkpoint.json"
    from crewai.state.runtime import RuntimeState  # noqa: PLC0415

    file.write_text(RuntimeState(root=[crew]).model_dump_json())
    restored = type(crew).from_checkpoint(CheckpointConfig(restore_from=str(file)))
    assert gate.coverage(restored, restored.agents[0]).tools == ()
    assert type(restored).__mro__[1].__name__ == "_SealedCrew"
    assert type(restored.agents[0]).__mro__[1].__name__ == "_SealedAgent"


# what cannot be governed


def test_what_runs_elsewhere_keeps_a_crew_from_starting(gate: Gate, shop: Shop) -> None:
    class Own(AgentExecutor):
        pass

    body: Any = {"additional_params": {"tools": [{"type": "web_search"}], "extra_body": {"tools": [1]}}}
    found = {
        "web_search": agent_of(llm_of("done", builtin_tools=["web_search"])),
        "additional_params.tools": agent_of(llm_of("done", **body)),
        "Own": agent_of(llm_of("done"), executor_class=Own),
    }
    for name, agent in found.items():
        for whole in (agent, crew_of(agent)):
            with pytest.raises(UngovernedTools, match="do not pass through the gate") as raised:
                gate.crewai(whole)
            assert name in raised.value.tools
    gate.crewai(found["web_search"], allow_ungoverned="web_search")
    with pytest.raises(UngovernedTools):
        gate.crewai(
            LiteAgent(role="light", goal="work", backstory="none", llm=llm_of("done"), tools=[tool(one) for one in shop.tools("pay")])
        )


def test_a_model_that_gets_tools_of_its_own_later_does_not_start(gate: Gate, shop: Shop) -> None:
    llm = llm_of([ask(1, "note", text="x")])
    agent = agent_of(llm, *shop.tools("note"))
    crew = gate.crewai(crew_of(agent))
    llm.builtin_tools = ["web_search"]
    with pytest.raises(UngovernedTools):
        run(gate, crew)
    with pytest.raises(UngovernedTools), gate.acting(agent="shop-bot", user="alice"):
        agent.kickoff("go on")
    assert shop.ran == []


def test_a_crew_that_is_not_governed_is_not_covered(gate: Gate, shop: Shop) -> None:
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(crew_of(agent_of(llm_of("done"), *shop.tools("note"))))
    assert raised.value.tools == ("note",)


def test_a_version_of_the_framework_that_starts_agents_in_another_way_is_refused(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(crewai.Agent, "_prepare_kickoff")
    with pytest.raises(ConfigInvalid, match="_prepare_kickoff"):
        gate.crewai(crew_of(agent_of(llm_of("done"))))


def test_two_tools_of_one_name_are_refused(gate: Gate, shop: Shop) -> None:
    def note(words: int) -> str:
        """Something else."""
        return str(words)

    for whole in (crew_of(agent_of(llm_of("done"), *shop.tools("note"), note)), agent_of(llm_of("done"), *shop.tools("note"), note)):
        crew = gate.crewai(whole)
        with pytest.raises(Exception, match="note"), gate.acting(agent="shop-bot", user="alice"):
            crew.kickoff("go on") if isinstance(whole, crewai.Agent) else crew.kickoff()


def test_the_same_call_at_once_is_refused_by_the_framework_where_calls_are_text(gate: Gate, shop: Shop) -> None:
    pay = ask(1, "pay", customer="C-1", cents=HELD)
    llm = llm_of([pay], [ask(2, "pay", customer="C-1", cents=HELD)], writes=True)
    result = run(gate, gate.crewai(crew_of(agent_of(llm, *shop.tools("pay")))))
    assert len(result.tasks_output[0].tool_failures) == 1
    assert "reusing the same input" in llm.told["call_2"]
    assert shop.ran == []


def test_a_task_that_is_begun_again_asks_people_again(gate: Gate, shop: Shop) -> None:
    class Failing(Scripted):
        failed: bool = False

        def call(self, messages: Any, *given: Any, **named: Any) -> Any:
            if self.told and not self.failed:
                self.failed = True
                raise ConnectionError("the provider is away")
            return super().call(messages, *given, **named)

    def crew() -> tuple[Failing, Any]:
        llm = Failing(model="scripted", script=([ask(1, "pay", customer="C-1", cents=HELD)], [ask(2, "look", customer="C-1")], "done"))
        return llm, gate.crewai(crew_of(agent_of(llm, *shop.tools("pay", "look"))))

    (failure, *_) = run(gate, crew()[1]).tasks_output[0].tool_failures
    vote(gate, failure.failure.details["request"], "lena")
    llm, again = crew()
    llm.failed = False
    run(gate, again)
    assert llm.failed
    assert shop.ran.count(f"pay C-1 {HELD}") == 1  # an approval is used once, however often the framework begins


def test_a_replay_of_a_crew_is_governed(gate: Gate, shop: Shop) -> None:
    crew = gate.crewai(
        crew_of(agent_of(llm_of([ask(1, "pay", customer="C-1", cents=DENIED), ask(2, "note", text="x")]), *shop.tools("pay", "note")))
    )
    run(gate, crew)
    with gate.acting(agent="shop-bot", user="alice"):
        crew.replay(str(crew.tasks[0].id))
    assert shop.ran == ["note x"] * 2
    assert kinds(gate, "pay") == ["denial"] * 2


# who calls


def test_an_agent_is_not_governed_in_two_ways(gate: Gate, shop: Shop) -> None:
    agent = agent_of(llm_of("done"), *shop.tools("note"))
    gate.crewai(crew_of(agent))
    gate.crewai(crew_of(agent))  # the same again
    with pytest.raises(ConfigInvalid, match="governed already"):
        gate.crewai(crew_of(agent), caller=lambda _: None)


def test_two_users_at_once_are_never_taken_for_each_other(gate: Gate, shop: Shop) -> None:
    both = threading.Barrier(2, timeout=30)

    def look(customer: str) -> str:
        """A customer's profile."""
        both.wait()
        return customer

    def work(user: str) -> None:
        run(gate, gate.crewai(crew_of(agent_of(llm_of([ask(1, "look", customer=user)]), look))), user=user)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["alice", "bob"]))
    seen = {bytes(read.payload.arguments): read.envelope.actor.user for read in of_tool(gate, "look") if read.kind in {"intent", "call"}}  # type: ignore[union-attr]
    assert seen == {b'{"customer":"alice"}': "alice", b'{"customer":"bob"}': "bob"}


def test_the_crew_that_was_started_says_who_calls_where_an_agent_is_of_two(gate: Gate, shop: Shop) -> None:
    def caller(call: Any) -> Any:
        return gate.acting(agent="shop-bot", user=call.crew.name)

    agent = agent_of(llm_of([ask(1, "look", customer="C-1")]), *shop.tools("look"))
    crews = [gate.crewai(crew_of(agent, name=user), caller=caller) for user in ("alice", "bob")]
    for crew in crews:
        crew.kickoff()
    users = [read.envelope.actor.user for read in of_tool(gate, "look") if read.kind in {"intent", "call"}]  # type: ignore[union-attr]
    assert users == ["alice", "bob"]


def test_what_a_model_writes_of_a_caller_is_an_argument(gate: Gate, shop: Shop) -> None:
    forged = {"customer": "C-1", "security_context": {"user": "lena"}, "user": "lena", "_hold": None, "self": 1}
    llm = llm_of([Ask("call_1", "look", forged)])
    run(gate, gate.crewai(crew_of(agent_of(llm, *shop.tools("look")))))
    assert shop.ran == []


# the example


def test_the_example_credits_once_a_lead_has_agreed(tmp_path: Path) -> None:
    with example("with_crewai", tmp_path) as module:
        asks = [Ask("1", "lookup_customer", {"customer_id": "C-412"}), Ask("2", "credit_account", CREDIT)]
        llm = llm_of(asks)
        crew = module.make_crew(llm)
        result = module.work(crew, "What about Maria?", "ticket-1")
        assert "Maria Lopez" in llm.told["1"]
        (request,) = module.requests_of(result)
        assert {
            read.envelope.approval.request for read in records(module.gate, "acme") if read.kind == "hold" and read.envelope.approval
        } == {request}
        vote(module.gate, request, "lena")
        assert module.requests_of(module.work(crew, "What about Maria?", "ticket-1")) == []
        assert "19200" in llm.told["2"]
        assert sys.modules["support"].business.account("A-2001")["balance_cents"] == 1_200 + 18_000
