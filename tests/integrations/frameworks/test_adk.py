"""What only Google's ADK has: traps that somebody fell into, and the example."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.code_executors import UnsafeLocalCodeExecutor
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.tools import FunctionTool, LongRunningFunctionTool, google_search
from google.adk.tools.agent_tool import AgentTool
from google.genai import types

from licet import Gate
from licet.errors import UngovernedTools
from licet.testing import records, vote
from tests.integrations.drivers.adk import CONFIRMATION, Scripted
from tests.integrations.driving import Ask, Turn
from tests.integrations.frameworks.example import example
from tests.integrations.shop import Shop, kinds

CREDIT = {"account_id": "A-2001", "amount_cents": 18_000}


def ask(number: int, name: str, **arguments: Any) -> Ask:
    return Ask(f"call_{number}", name, arguments)


class Run:
    """A runner and one session."""

    def __init__(self, gate: Gate, agent: LlmAgent, *plugins: BasePlugin) -> None:
        self.gate = gate
        self.sessions = InMemorySessionService()
        self.runner = Runner(app_name="shop", agent=agent, session_service=self.sessions, plugins=[*plugins, gate.adk()])
        asyncio.run(self.sessions.create_session(app_name="shop", user_id="u", session_id="s"))

    def send(self, *parts: types.Part) -> dict[str, Any]:
        async def work() -> dict[str, Any]:
            found: dict[str, Any] = {}
            message = types.Content(role="user", parts=list(parts) or [types.Part(text="go on")])
            async for event in self.runner.run_async(user_id="u", session_id="s", new_message=message):
                found |= {str(one.id): one.response for one in event.get_function_responses()}
                for one in event.get_function_calls():
                    if one.name == CONFIRMATION:
                        found[CONFIRMATION] = one
            return found

        with self.gate.acting(agent="shop-bot", user="alice"):
            return asyncio.run(work())


def agent_of(tools: Sequence[Any], *turns: Turn, **options: Any) -> LlmAgent:
    return LlmAgent(name="shop_agent", model=Scripted(script=(*turns, "done")), tools=[*tools], **options)


def answer(question: Any, *, confirmed: bool) -> types.Part:
    return types.Part(function_response=types.FunctionResponse(id=question.id, name=CONFIRMATION, response={"confirmed": confirmed}))


def test_callbacks_of_an_agent_cannot_change_what_was_decided_on(gate: Gate, shop: Shop) -> None:
    def raising(tool: Any, args: dict[str, Any], tool_context: Any) -> None:
        args["cents"] = 9_999

    agent = agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=50)], before_tool_callback=raising)
    Run(gate, agent).send()
    assert shop.ran == ["pay C-1 50"]


def test_a_plugin_before_the_gate_proposes_what_it_wants_and_that_is_decided(gate: Gate, shop: Shop) -> None:
    class Raising(BasePlugin):
        async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> None:
            tool_args["cents"] = 20_000

    agent = agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=50)])
    found = Run(gate, agent, Raising(name="raising")).send()
    assert "nobody pays more than $100 at once" in found["call_1"]["error"]
    assert shop.ran == []


@pytest.mark.parametrize("value", [None, "", 0, [], {}])
def test_a_tool_that_returns_nothing_runs_once(gate: Gate, shop: Shop, value: Any) -> None:
    def note(text: str) -> Any:
        """Write a note."""
        shop.ran.append(text)
        return value

    found = Run(gate, agent_of([note], [ask(1, "note", text="x")])).send()
    assert (shop.ran, found["call_1"]) == (["x"], {"result": value})


def test_a_confirmation_before_people_have_decided_grants_nothing(gate: Gate, shop: Shop) -> None:
    run = Run(gate, agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=500)]))
    question = run.send()[CONFIRMATION]
    found = run.send(answer(question, confirmed=True))
    assert question.args["toolConfirmation"]["payload"]["request"] in found["call_1"]["error"]
    assert shop.ran == []


def test_a_tool_that_wants_confirmation_itself_asks_and_is_decided_on_all_the_same(gate: Gate, shop: Shop) -> None:
    tool = FunctionTool(shop.tools("pay")[0], require_confirmation=True)
    run = Run(gate, agent_of([tool], [ask(1, "pay", customer="C-1", cents=20_000)]))
    question = run.send()[CONFIRMATION]
    assert kinds(gate, "pay") == []  # it was not proposed yet
    assert "nobody pays more than $100 at once" in run.send(answer(question, confirmed=True))["call_1"]["error"]
    assert shop.ran == []


def test_provider_tools_code_executors_and_agents_without_plugins_are_named(gate: Gate, shop: Shop) -> None:
    inner = LlmAgent(name="inner", model=Scripted(script=("done",)), tools=shop.tools("pay"))
    apart = AgentTool(inner, include_plugins=False)
    cases: list[tuple[LlmAgent, str]] = [
        (agent_of([google_search]), "google_search"),
        (agent_of([apart]), "inner (an agent that runs without the plugins)"),
        (agent_of(shop.tools("note"), code_executor=UnsafeLocalCodeExecutor()), "UnsafeLocalCodeExecutor"),
        (agent_of([], sub_agents=[LlmAgent(name="below", model=Scripted(), tools=[google_search])]), "google_search"),
    ]
    for agent, name in cases:
        run = Run(gate, agent)
        with pytest.raises(UngovernedTools) as raised:
            gate.coverage(run.runner)
        assert raised.value.tools == (name,)
        with pytest.raises(RuntimeError, match="do not pass through the gate"):
            run.send()


def test_a_runner_without_the_plugin_is_not_covered(gate: Gate, shop: Shop) -> None:
    runner = Runner(app_name="shop", agent=agent_of(shop.tools("note")), session_service=InMemorySessionService())
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(runner)
    assert raised.value.tools == ("note",)


def test_a_long_running_tool_is_recorded_when_it_is_started(gate: Gate, shop: Shop) -> None:
    def note(text: str) -> None:
        """Begin to write a note."""
        shop.ran.append(text)

    found = Run(gate, agent_of([LongRunningFunctionTool(note)], [ask(1, "note", text="x")])).send()
    assert ("call_1" in found, shop.ran, kinds(gate, "note")) == (False, ["x"], ["intent", "outcome"])


def test_a_tool_that_the_agent_does_not_have_is_a_recorded_denial(gate: Gate, shop: Shop) -> None:
    found = Run(gate, agent_of(shop.tools("note"), [ask(1, "delete_everything", force="yes")])).send()
    assert "denied (unknown_tool)" in json.dumps(found["call_1"])
    assert [read.kind for read in records(gate, "acme")] == ["denial"]


def test_the_example_credits_once_a_lead_has_agreed(tmp_path: Path) -> None:
    with example("with_adk", tmp_path) as module:
        turns = (
            [Ask("a", "lookup_customer", {"customer_id": "C-412"}), Ask("b", "lookup_customer", {"customer_id": "G-77"})],
            [Ask("c", "credit_account", CREDIT)],
            "credited",
        )
        runner = module.make_runner(Scripted(script=turns))
        (waiting,), _ = asyncio.run(module.ask(runner, module.question("ticket T-1002"), "ticket-1"))
        vote(module.gate, module.request_of(waiting), "lena")
        _, said = asyncio.run(module.ask(runner, module.confirmed([waiting]), "ticket-1"))
        assert said == "credited"
        assert sys.modules["support"].business.account("A-2001")["balance_cents"] == 1_200 + 18_000
        found = [read.kind for read in records(module.gate, "acme") if read.envelope.tool is not None]
        assert found.count("denial") == 1  # the other tenant's customer
        assert found[-2:] == ["intent", "outcome"]
