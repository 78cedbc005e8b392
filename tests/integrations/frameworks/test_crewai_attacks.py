"""What somebody who did not write the integration of CrewAI tried against it."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet import Gate
from licet.errors import UngovernedTools
from licet.testing import vote
from tests.integrations.drivers.crewai import Scripted
from tests.integrations.driving import Ask
from tests.integrations.frameworks.test_crewai import DENIED, HELD, WRITES, agent_of, ask, crew_of, llm_of, run
from tests.integrations.shop import Shop, kinds, of_tool

from crewai import Crew, Process, Task  # isort: skip - the driver says first that nothing is to be sent anywhere
from crewai.agent.planning_config import PlanningConfig  # isort: skip
from crewai.agents.cache.cache_handler import CacheHandler  # isort: skip
from crewai.tools import tool  # isort: skip
from crewai.tools.agent_tools.agent_tools import AgentTools  # isort: skip

PAY = ask(1, "pay", customer="C-1", cents=DENIED)
ASKED = Ask("call_1", "ask_question_to_coworker", {"question": "pay", "context": "none", "coworker": "late"})


def task_of(agent: Any, **options: Any) -> Task:
    return Task(description="go on", expected_output="words", agent=agent, **options)


@pytest.fixture
def late(gate: Gate, shop: Shop) -> Any:
    """An agent that nobody has governed, and that tries what is denied. Others may ask it."""
    for name in ("ask_question_to_coworker", "delegate_work_to_coworker"):
        gate.classify(name, access="write")
    return agent_of(llm_of([PAY]), *shop.tools("pay"), role="late")


# agents that nobody has governed


@pytest.mark.parametrize("when", ["before it starts", "between two tasks"])
def test_an_agent_that_joins_a_crew_at_work_is_governed(gate: Gate, shop: Shop, late: Any, when: str) -> None:
    crew = crew_of(agent_of(llm_of("done")))

    def join(given: Any) -> Any:
        crew.agents.append(late)
        crew.tasks.append(task_of(late))
        return given

    if when == "before it starts":
        crew.before_kickoff_callbacks.append(join)
    else:
        crew.tasks[0].callback = join
    run(gate, gate.crewai(crew), inputs={})
    assert shop.ran == []
    assert kinds(gate, "pay") == ["denial"]


def test_an_agent_that_joins_a_crew_at_work_and_is_asked_is_governed(gate: Gate, shop: Shop, late: Any) -> None:
    crew = crew_of(agent_of(llm_of([ASKED]), allow_delegation=True), agent_of(llm_of("done"), role="other"))

    def join(given: Any) -> Any:
        crew.agents.append(late)
        return given

    crew.before_kickoff_callbacks.append(join)
    run(gate, gate.crewai(crew), inputs={})
    assert shop.ran == []
    assert kinds(gate, "pay") == ["denial"]


@pytest.mark.parametrize("of", ["an agent", "a crew", "a task"])
def test_an_agent_that_is_asked_by_a_tool_alone_is_governed_and_covered(gate: Gate, shop: Shop, late: Any, of: str) -> None:
    tools = AgentTools(agents=[late]).tools()
    agent = agent_of(llm_of([ASKED]), *(() if of == "a task" else tools))
    whole: Any = agent if of == "an agent" else crew_of(agent, tasks=[task_of(agent, tools=tools)])
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(whole)
    assert "pay" in raised.value.tools
    gate.crewai(whole)
    assert gate.coverage(whole).tools == ("ask_question_to_coworker", "delegate_work_to_coworker", "pay")
    with gate.acting(agent="shop-bot", user="alice"):
        whole.kickoff("go on") if of == "an agent" else whole.kickoff()
    assert shop.ran == []
    assert kinds(gate, "pay") == ["denial"]


def test_an_agent_that_cannot_be_governed_is_asked_by_no_tool(gate: Gate, late: Any) -> None:
    late.llm.builtin_tools = ["web_search"]
    with pytest.raises(UngovernedTools, match="web_search"):
        gate.crewai(agent_of(llm_of([ASKED]), *AgentTools(agents=[late]).tools()))


# tools that the framework has itself


@WRITES
def test_a_long_result_is_not_put_aside_for_a_tool_that_nobody_governs(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    class Small(Scripted):
        def is_tool_result_overflowing_threshold(self, result: str) -> tuple[bool, int]:
            return len(result) > 9, 100

        def get_context_window_size(self) -> int:
            return 100

    llm = Small(model="scripted", script=([ask(1, "look", customer="C-1")], "done"), writes=writes)
    agent = agent_of(llm, *shop.tools("look"))
    run(gate, gate.crewai(crew_of(agent)))
    with gate.acting(agent="shop-bot", user="alice"):
        agent.kickoff("go on")
    assert llm.told["call_1"] == "C-1 is a good customer"
    assert shop.ran == ["look C-1"] * 2


def test_a_tool_for_images_is_governed_and_covered(gate: Gate) -> None:
    llm = llm_of([Ask("call_1", "add_image_to_content", {"image_url": "https://example.org/x.png"})])
    crew = gate.crewai(crew_of(agent_of(llm, multimodal=True)))
    assert gate.coverage(crew).unclassified == ("add_image_to_content",)
    run(gate, crew)
    assert "(unclassified_tool)" in llm.told["call_1"]


def test_what_a_manager_will_have_is_covered_before_there_is_one(gate: Gate, shop: Shop) -> None:
    task = Task(description="go on", expected_output="words", tools=[tool(one) for one in shop.tools("pay")])
    agent = agent_of(llm_of("done"))
    crew = gate.crewai(Crew(agents=[agent], tasks=[task], process=Process.hierarchical, manager_llm=llm_of([PAY])))
    before = gate.coverage(crew)
    assert before.tools == ("pay",)
    assert before.unclassified == ("ask_question_to_coworker", "delegate_work_to_coworker")
    run(gate, crew)
    assert gate.coverage(crew) == before
    assert shop.ran == []


@pytest.mark.parametrize(
    "given",
    [
        {"mcp_servers": [{"url": "https://example.org"}]},
        {"web_search_options": {}},
        {"search_parameters": {"mode": "on"}},
        {"extra_body": {"tools": [1]}},
        {"extra_body": {"plugins": [{"id": "web"}]}},
    ],
    ids=str,
)
def test_a_request_with_tools_of_the_provider_is_not_sent(gate: Gate, given: Any) -> None:
    with pytest.raises(UngovernedTools, match="additional_params"):
        gate.crewai(agent_of(llm_of("done", additional_params=given)))
    gate.crewai(agent_of(llm_of("done", additional_params={"temperature": 0, "tools": [], "extra_body": {"plugins": []}})))


# one agent for several at once, and what is left behind


@WRITES
def test_an_agent_at_work_goes_on_in_the_name_of_its_own_task(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    started, goes_on = threading.Event(), threading.Event()

    def note(text: str) -> str:
        """Write a note."""
        started.set()
        assert goes_on.wait(30)
        return text

    agent = agent_of(llm_of([ask(1, "note", text="x")], [ask(2, "look", customer="C-1")], writes=writes), note, *shop.tools("look"))
    crews = [
        gate.crewai(crew_of(agent, tasks=[task_of(agent, name=user)]), caller=caller)
        for caller in [lambda call: gate.acting(agent="shop-bot", user=call.task.name)]
        for user in ("alice", "bob")
    ]
    with ThreadPoolExecutor(1) as pool:
        works = pool.submit(crews[0].kickoff)
        assert started.wait(30)
        with pytest.raises(RuntimeError, match="at work already"):
            crews[1].kickoff()
        goes_on.set()
        works.result(30)
    assert shop.ran == ["look C-1"]
    users = {read.envelope.actor.user for name in ("note", "look") for read in of_tool(gate, name) if read.kind in {"intent", "call"}}  # type: ignore[union-attr]
    assert users == {"alice"}


def test_the_cache_of_an_agent_is_left_to_it(gate: Gate, shop: Shop) -> None:
    cache = CacheHandler()
    agent = agent_of(llm_of([ask(1, "look", customer="C-1")]), *shop.tools("look"), cache_handler=cache)
    run(gate, gate.crewai(crew_of(agent, cache=True)))
    assert agent.tools_handler.cache is not None
    assert agent.tools_handler.cache.read(tool="look", input='{"customer": "C-1"}') is None


@WRITES
def test_a_call_that_is_refused_is_no_use_of_a_tool(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    pay = tool(shop.tools("pay")[0])
    pay.max_usage_count = 1
    llm = llm_of([PAY], [ask(2, "pay", customer="C-1", cents=50)], [ask(3, "pay", customer="C-1", cents=51)], writes=writes)
    run(gate, gate.crewai(crew_of(agent_of(llm, pay))))
    assert shop.ran == ["pay C-1 50"]
    assert "usage limit" in llm.told["call_3"]


def test_a_batch_that_asks_the_same_twice_runs_once_on_one_approval(gate: Gate, shop: Shop) -> None:
    llm = llm_of([ask(number, "pay", customer="C-1", cents=HELD) for number in (1, 2)])
    crew = gate.crewai(crew_of(agent_of(llm, *shop.tools("pay"))))
    requests = {one.failure.details["request"] for one in run(gate, crew).tasks_output[0].tool_failures}
    assert len(requests) == 1
    vote(gate, requests.pop(), "lena")
    run(gate, crew)
    assert shop.ran == [f"pay C-1 {HELD}"]
    assert sorted(told.startswith("paid") for told in llm.told.values()) == [False, True]


# other ways to start


@pytest.mark.parametrize("how", [copy.copy, lambda whole: whole.model_copy()], ids=["copy", "model_copy"])
def test_however_it_is_copied_it_is_governed(gate: Gate, shop: Shop, how: Callable[[Any], Any]) -> None:
    agent = gate.crewai(agent_of(llm_of([PAY]), *shop.tools("pay")))
    crew = gate.crewai(crew_of(agent))
    with gate.acting(agent="shop-bot", user="alice"):
        how(crew).kickoff()
        how(agent).kickoff("go on")
    assert shop.ran == []
    assert kinds(gate, "pay") == ["denial"] * 2


def test_training_and_testing_are_governed(gate: Gate, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "fine")
    crew = gate.crewai(crew_of(agent_of(llm_of([PAY]), *shop.tools("pay"))))
    with gate.acting(agent="shop-bot", user="alice"):
        with pytest.raises(Exception, match="Pydantic model"):  # this model cannot say how good it was
            crew.test(1, eval_llm=llm_of("done"))
        assert kinds(gate, "pay") == ["denial"]
        with pytest.raises(AttributeError):  # as above, of what it was told
            crew.train(1, str(tmp_path / "trained.pkl"))
    assert kinds(gate, "pay") == ["denial"] * 2
    assert shop.ran == []


def test_what_a_guardrail_has_done_again_is_governed(gate: Gate, shop: Shop) -> None:
    seen: list[str] = []

    def guard(output):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the framework reads annotations that are no text
        seen.append(output.raw)
        return len(seen) % 2 == 0, "once more" if len(seen) % 2 else output.raw

    agent = agent_of(llm_of([PAY]), *shop.tools("pay"))
    run(gate, gate.crewai(crew_of(agent, tasks=[task_of(agent, guardrail=guard)])))
    alone = gate.crewai(agent_of(llm_of([PAY]), *shop.tools("pay"), guardrail=guard))
    with gate.acting(agent="shop-bot", user="alice"):
        alone.kickoff("go on")
    assert len(seen) == 4
    assert shop.ran == []
    assert set(kinds(gate, "pay")) == {"denial"}


def test_what_people_have_done_again_is_governed(gate: Gate, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["once more", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(said))
    agent = agent_of(llm_of("first", [PAY], "second"), *shop.tools("pay"))
    run(gate, gate.crewai(crew_of(agent, tasks=[task_of(agent, human_input=True)])))
    assert kinds(gate, "pay") == ["denial"]
    assert shop.ran == []


@WRITES
def test_the_steps_of_a_plan_that_a_model_makes_are_governed(gate: Gate, shop: Shop, writes: bool) -> None:  # noqa: FBT001 - a parameter
    class Planning(Scripted):
        def call(self, messages: Any, *given: Any, **named: Any) -> Any:
            if "create_reasoning_plan" in str(named.get("tools")):
                step = '{"step_number": 1, "description": "pay", "tool_to_use": "pay", "depends_on": []}'
                return f'{{"plan": "pay", "ready": true, "steps": [{step}]}}'
            return super().call(messages, *given, **named)

    llm = Planning(model="scripted", script=([PAY], "done"), writes=writes)
    agent = agent_of(llm, *shop.tools("pay"), planning_config=PlanningConfig(max_attempts=1, reasoning_effort="low"))
    run(gate, gate.crewai(crew_of(agent)))
    assert kinds(gate, "pay") == ["denial"]
    assert shop.ran == []


def test_the_crew_says_who_calls_where_its_words_are_streamed(gate: Gate, shop: Shop) -> None:
    agent = agent_of(llm_of([ask(1, "look", customer="C-1")]), *shop.tools("look"))
    crew = gate.crewai(crew_of(agent, stream=True, name="alice"), caller=lambda call: gate.acting(agent="shop-bot", user=call.crew.name))

    async def read() -> None:
        async for _ in await crew.akickoff():
            pass

    for _ in crew.kickoff():
        pass
    asyncio.run(read())
    assert shop.ran == ["look C-1"] * 2


@pytest.mark.parametrize("steps", [{"name": "x"}, {"name": None}], ids=["another", "nobody"])
def test_a_crew_whose_caller_raises_or_says_nobody_does_nothing(gate: Gate, shop: Shop, steps: Mapping[str, Any]) -> None:
    def caller(call: Any) -> Any:
        if call.crew.name is None:
            return None
        raise LookupError(call.crew.name)

    llm = llm_of([ask(1, "note", text="x")])
    gate.crewai(crew_of(agent_of(llm, *shop.tools("note")), **steps), caller=caller).kickoff()
    assert shop.ran == []
    assert llm.told["call_1"].startswith("denied (")
