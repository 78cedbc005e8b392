"""What only the OpenAI Agents SDK has: traps that somebody fell into, and the example."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import agents
import pytest
from agents import RunConfig, Runner, function_tool, handoff

from licet import Gate
from licet.errors import UngovernedTools
from licet.integrations.openai import asked_for
from licet.testing import records, vote
from tests.integrations.drivers.openai import Scripted
from tests.integrations.driving import Ask, Turn
from tests.integrations.frameworks.example import example
from tests.integrations.shop import Shop, kinds, of_tool

CREDIT = {"account_id": "A-2001", "amount_cents": 18_000}


def ask(number: int, name: str, **arguments: Any) -> Ask:
    return Ask(f"call_{number}", name, arguments)


def agent_of(tools: Sequence[Any], *turns: Turn, **options: Any) -> agents.Agent[Any]:
    return agents.Agent(name="shop", model=Scripted((*turns, "done")), tools=[*tools], **options)


def run(gate: Gate, agent: Any, given: Any = "go on") -> Any:
    with gate.acting(agent="shop-bot", user="alice"):
        return asyncio.run(Runner.run(agent, given, run_config=RunConfig(group_id="thread-1")))


def told(result: Any) -> dict[str, str]:
    return {one["call_id"]: str(one["output"]) for one in result.to_input_list() if one.get("type") == "function_call_output"}


def test_that_somebody_approves_the_interruption_grants_nothing(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of([function_tool(one) for one in shop.tools("pay")], [ask(1, "pay", customer="C-1", cents=500)]))
    paused = run(gate, agent)
    state = paused.to_state()
    state.approve(paused.interruptions[0], always_approve=True)
    ended = run(gate, agent, state)
    asked = asked_for(paused, paused.interruptions[0])
    assert asked is not None
    assert asked["request"] in told(ended)["call_1"]
    assert shop.ran == []


def test_a_tool_that_wants_approval_itself_is_decided_on_all_the_same(gate: Gate, shop: Shop) -> None:
    (pay,) = shop.tools("pay")
    agent = gate.openai(agent_of([function_tool(pay, needs_approval=True)], [ask(1, "pay", customer="C-1", cents=20_000)]))
    paused = run(gate, agent)
    state = paused.to_state()
    state.approve(paused.interruptions[0])
    assert "nobody pays more than $100 at once" in told(run(gate, agent, state))["call_1"]
    assert shop.ran == []


def test_a_clone_of_a_governed_agent_is_governed_and_the_agent_that_was_given_is_not(gate: Gate, shop: Shop) -> None:
    given = agent_of([function_tool(one) for one in shop.tools("pay")], [ask(1, "pay", customer="C-1", cents=20_000)])
    agent = gate.openai(given)
    run(gate, agent.clone(name="copy"))
    assert shop.ran == []
    assert gate.coverage(agent.clone()).tools == ("pay",)
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(given)
    assert raised.value.tools == ("pay",)


def test_tools_that_are_added_later_are_governed(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of([], [ask(1, "pay", customer="C-1", cents=20_000)]))
    agent.tools.append(function_tool(shop.tools("pay")[0]))
    assert "nobody pays more than $100 at once" in told(run(gate, agent))["call_1"]
    assert shop.ran == []


def test_a_hosted_tool_that_is_added_later_ends_the_run(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of([function_tool(shop.tools("note")[0])], [ask(1, "note", text="x")]))
    agent.tools.append(agents.WebSearchTool())
    with pytest.raises(UngovernedTools):
        run(gate, agent)
    assert shop.ran == []


def test_an_agent_behind_a_tool_must_be_governed_itself(gate: Gate, shop: Shop) -> None:
    inner = agent_of([function_tool(shop.tools("pay")[0])], [ask(11, "pay", customer="C-1", cents=20_000)])
    with pytest.raises(UngovernedTools, match="an agent that is not governed"):
        gate.openai(agent_of([inner.as_tool(tool_name="ask_helper", tool_description="x")]))


def test_agents_that_hand_over_to_one_another_in_a_circle_are_governed(gate: Gate, shop: Shop) -> None:
    pay = function_tool(shop.tools("pay")[0])
    first = agent_of([pay], [ask(1, "transfer_to_second")])
    second = agents.Agent(name="second", model=Scripted(([], [ask(2, "pay", customer="C-1", cents=20_000)], "done")), tools=[pay])
    first.handoffs, second.handoffs = [second], [handoff(first)]
    run(gate, gate.openai(first))
    assert (shop.ran, kinds(gate, "pay")) == ([], ["denial"])


def test_what_a_failing_tool_tells_the_model_is_its_own_and_the_failure_is_on_record(gate: Gate, shop: Shop) -> None:
    def sorry(_: Any, error: Exception) -> str:
        return f"sorry: {error}"

    (broken,) = shop.tools("broken")
    agent = gate.openai(agent_of([function_tool(broken, failure_error_function=sorry)], [ask(1, "broken", text="x")]))
    assert told(run(gate, agent))["call_1"] == "sorry: it broke after it worked"
    outcome = of_tool(gate, "broken")[-1].envelope.outcome
    assert outcome is not None
    assert outcome.code == "Unreachable"


def test_a_tool_that_is_not_enabled_is_not_offered_and_guardrails_still_hold(gate: Gate, shop: Shop) -> None:
    @agents.tool_input_guardrail
    def never(_: Any) -> agents.ToolGuardrailFunctionOutput:
        return agents.ToolGuardrailFunctionOutput.reject_content("the guardrail says no")

    pay, note = shop.tools("pay", "note")
    guarded = function_tool(note, tool_input_guardrails=[never])
    agent = gate.openai(agent_of([function_tool(pay, is_enabled=False), guarded], [ask(1, "note", text="x")]))
    assert told(run(gate, agent))["call_1"] == "the guardrail says no"
    assert shop.ran == []


def test_the_example_credits_once_a_lead_has_agreed(tmp_path: Path) -> None:
    with example("with_openai", tmp_path) as module:
        turns = (
            [Ask("a", "lookup_customer", {"customer_id": "C-412"}), Ask("b", "lookup_customer", {"customer_id": "G-77"})],
            [Ask("c", "credit_account", CREDIT)],
            "credited",
        )
        agent = module.make_agent(Scripted(turns))
        paused = module.ask(agent, "ticket T-1002", "ticket-1")
        (request,) = module.requests_of(paused)
        vote(module.gate, request, "lena")
        assert module.go_on(agent, paused, "ticket-1").final_output == "credited"
        assert sys.modules["support"].business.account("A-2001")["balance_cents"] == 1_200 + 18_000
        found = [read.kind for read in records(module.gate, "acme") if read.envelope.tool is not None]
        assert found.count("denial") == 1  # the other tenant's customer
        assert found[-2:] == ["intent", "outcome"]
