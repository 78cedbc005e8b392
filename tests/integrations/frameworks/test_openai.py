"""What only the OpenAI Agents SDK has: traps that somebody fell into, and the example."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import agents
import pytest
from agents import RunConfig, Runner, RunState, SQLiteSession, function_tool, handoff, trace
from agents.mcp import MCPServer
from agents.realtime import RealtimeAgent
from mcp.types import CallToolResult, TextContent
from mcp.types import Tool as ServersTool

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


def tools(shop: Shop, *names: str) -> list[Any]:
    return [function_tool(one) for one in shop.tools(*names)]


def run(gate: Gate, agent: Any, given: Any = "go on", *, config: RunConfig | None = None) -> Any:
    with gate.acting(agent="shop-bot", user="alice"):
        return asyncio.run(Runner.run(agent, given, run_config=config or RunConfig(group_id="thread-1")))


def saved(paused: Any) -> str:
    return json.dumps(paused.to_state().to_json())


def resumed(gate: Gate, agent: Any, state: str, *, config: RunConfig | None = None) -> Any:
    return asyncio.run(go_on(gate, agent, state, config=config))


async def go_on(gate: Gate, agent: Any, state: str, *, config: RunConfig | None = None) -> Any:
    """The run from its state, with every interruption approved."""
    read = await RunState.from_json(agent, json.loads(state))
    for one in read.get_interruptions():
        read.approve(one)
    with gate.acting(agent="shop-bot", user="alice"):
        return await Runner.run(agent, read, run_config=config or RunConfig(group_id="thread-1"))


def request_of(paused: Any) -> Any:
    (one,) = paused.interruptions
    asked = asked_for(paused, one)
    assert asked is not None
    return asked["request"]


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


# who takes over


@pytest.mark.parametrize("how", ["append", "set", "clone"])
def test_an_agent_that_may_be_handed_over_to_later_is_governed(gate: Gate, shop: Shop, how: str) -> None:
    model = Scripted(([], [ask(2, "pay", customer="C-1", cents=20_000)], "done"))
    second = agents.Agent(name="second", model=model, tools=tools(shop, "pay"))
    agent = gate.openai(agent_of([], [ask(1, "transfer_to_second")]))
    if how == "append":
        agent.handoffs.append(handoff(second))
    elif how == "set":
        agent.handoffs = [second]
    else:
        agent = agent.clone(handoffs=[handoff(second)])
    run(gate, agent)
    assert (shop.ran, kinds(gate, "pay")) == ([], ["denial"])


@pytest.mark.parametrize("as_object", [False, True])
def test_a_state_in_which_a_successor_works_is_read_back_with_the_governed_one(gate: Gate, shop: Shop, *, as_object: bool) -> None:
    def build() -> Any:
        turn = [ask(2, "note", text="x"), ask(3, "pay", customer="C-1", cents=20_000)]
        own = [function_tool(one, needs_approval=True) for one in shop.tools("note", "pay")]
        second = agents.Agent(name="second", model=Scripted(([], turn, "done")), tools=own)
        return gate.openai(agent_of([], [ask(1, "transfer_to_second")], handoffs=[handoff(second) if as_object else second]))

    ended = resumed(gate, build(), saved(run(gate, build())))
    assert ended.final_output == "done"
    assert (shop.ran, kinds(gate, "note"), kinds(gate, "pay")) == (["note x"], ["intent", "outcome"], ["denial"])


def test_a_hosted_tool_of_a_successor_is_seen_at_the_start(gate: Gate) -> None:
    second = agents.Agent(name="second", tools=[agents.WebSearchTool()])
    for one in (second, handoff(second)):
        with pytest.raises(UngovernedTools, match="`web_search`"):
            gate.openai(agent_of([], handoffs=[one]))


def test_an_agent_that_is_not_governed_is_told_with_all_that_it_leads_to(gate: Gate, shop: Shop) -> None:
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(agent_of([], handoffs=[agent_of(tools(shop, "pay"))], mcp_servers=[Server(shop)]))
    assert raised.value.tools == ("pay", "srv")


# what leads past


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"model_settings": agents.ModelSettings(extra_body={"tools": [{"type": "web_search"}]})}, "model_settings.extra_body.tools"),
        ({"model_settings": agents.ModelSettings(extra_args={"tools": [{"type": "web_search"}]})}, "model_settings.extra_args.tools"),
        ({"tools": [agents.CodeInterpreterTool(tool_config={"type": "code_interpreter", "container": "c"})]}, "code_interpreter"),
        ({"tools": [agents.LocalShellTool(executor=lambda _: "")]}, "local_shell"),
        ({"tools": [agents.HostedMCPTool(tool_config={"type": "mcp", "server_label": "x", "server_url": "https://x"})]}, "hosted_mcp"),
    ],
)
def test_what_runs_at_the_provider_or_past_the_frameworks_tools_is_told(gate: Gate, options: dict[str, Any], name: str) -> None:
    with pytest.raises(UngovernedTools) as raised:
        gate.openai(agents.Agent(name="shop", **options))
    assert raised.value.tools == (name,)
    agent = gate.openai(agents.Agent(name="shop", model=Scripted(("done",)), **options), allow_ungoverned=name)
    assert gate.coverage(agent, allow_ungoverned=name).allowed == (name,)


def test_an_agent_that_no_runner_runs_is_not_taken(gate: Gate) -> None:
    with pytest.raises(UngovernedTools, match="a `RealtimeAgent` is no agent that a `Runner` runs"):
        gate.openai(RealtimeAgent(name="voice"))
    with pytest.raises(UngovernedTools, match="a `RealtimeAgent` is no agent that a `Runner` runs"):
        gate.coverage(RealtimeAgent(name="voice"))


class Server(MCPServer):
    """A server with one tool, that is asked when the agent runs."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop

    name = "srv"

    async def connect(self) -> None: ...

    async def cleanup(self) -> None: ...

    async def list_tools(self, *_: Any, **__: Any) -> list[ServersTool]:
        schema = {
            "type": "object",
            "properties": {"customer": {"type": "string"}, "cents": {"type": "integer"}},
            "required": ["customer", "cents"],
        }
        return [ServersTool.model_validate({"name": "pay", "description": "Pay.", "inputSchema": schema})]

    async def call_tool(self, name: str, arguments: Any, *_: Any, **__: Any) -> CallToolResult:
        self._shop.ran.append(f"{name} {arguments['cents']}")
        return CallToolResult(content=[TextContent(type="text", text="paid")])

    async def list_prompts(self) -> Any: ...

    async def get_prompt(self, *_: Any, **__: Any) -> Any: ...


def test_tools_of_a_server_are_governed(gate: Gate, shop: Shop) -> None:
    turn = [ask(1, "pay", customer="C-1", cents=20_000), ask(2, "pay", customer="C-1", cents=50)]
    found = told(run(gate, gate.openai(agent_of([], turn, mcp_servers=[Server(shop)]))))
    assert shop.ran == ["pay 50"]
    assert "nobody pays more than $100 at once" in found["call_1"]


def test_a_hook_that_runs_the_tool_itself_runs_it_once(gate: Gate, shop: Shop) -> None:
    said: list[str] = []

    class Eager(agents.RunHooks[Any]):
        async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
            said.append(await tool.on_invoke_tool(context, context.tool_arguments))
            said.append(await tool.on_invoke_tool(context, '{"customer": "C-1", "cents": 20000}'))

    agent = gate.openai(agent_of(tools(shop, "pay"), [ask(1, "pay", customer="C-1", cents=50)]))
    with gate.acting(agent="shop-bot", user="alice"):
        ended = asyncio.run(Runner.run(agent, "go on", hooks=Eager()))
    assert (shop.ran, told(ended)["call_1"], said[0]) == (["pay C-1 50"], "paid 50 to C-1", "paid 50 to C-1")
    assert "nobody pays more than $100 at once" in said[1]


# which call it is


def test_runs_in_one_trace_are_not_taken_for_one_another(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of(tools(shop, "note"), [ask(1, "note", text="x")]))

    async def both() -> None:
        with trace("a night's work"), gate.acting(agent="shop-bot", user="alice"):
            await Runner.run(agent, "go on")
            await Runner.run(agent, "go on")

    asyncio.run(both())
    assert shop.ran == ["note x", "note x"]


def test_conversations_that_go_on_in_a_session_may_number_their_calls_anew(gate: Gate, shop: Shop) -> None:
    session = SQLiteSession("conversation-1")
    for text in ("a", "b"):
        agent = gate.openai(agents.Agent(name="shop", model=InTurn([ask(1, "note", text=text)], "done"), tools=tools(shop, "note")))
        with gate.acting(agent="shop-bot", user="alice"):
            asyncio.run(Runner.run(agent, "go on", session=session))
    assert shop.ran == ["note a", "note b"]


class InTurn(Scripted):
    """Says its turns one after the other, whatever is in the conversation."""

    def __init__(self, *turns: Turn) -> None:
        super().__init__(turns)
        self._left = [Scripted((turn,)) for turn in turns]

    def _said(self, given: Any) -> list[Any]:
        return self._left.pop(0)._said(None)


def test_without_tracing_a_state_that_is_resumed_twice_executes_once(gate: Gate, shop: Shop) -> None:
    def build() -> Any:
        return gate.openai(agent_of([function_tool(shop.tools("note")[0], needs_approval=True)], [ask(1, "note", text="x")]))

    silent = RunConfig(tracing_disabled=True)
    state = saved(run(gate, build(), config=silent))
    ended = [resumed(gate, build(), state, config=silent) for _ in range(2)]
    assert shop.ran == ["note x"]
    assert [told(one)["call_1"] for one in ended] == ["noted x", "noted x"]


def test_a_state_that_is_resumed_five_times_at_once_executes_once(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of(tools(shop, "pay"), [ask(1, "pay", customer="C-1", cents=500)]))
    paused = run(gate, agent)
    vote(gate, request_of(paused), "lena")
    state = saved(paused)

    async def one() -> Any:
        return await go_on(gate, agent, state)

    async def five() -> list[Any]:
        return await asyncio.gather(*(one() for _ in range(5)))

    found = [told(ended)["call_1"] for ended in asyncio.run(five())]
    assert shop.ran == ["pay C-1 500"]
    assert "paid 500 to C-1" in found


def test_runs_that_wait_with_one_call_id_are_told_their_own_requests(gate: Gate, shop: Shop) -> None:
    paused = []
    for customer in ("C-1", "C-2"):
        agent = gate.openai(agent_of(tools(shop, "pay"), [ask(1, "pay", customer=customer, cents=500)]))
        paused.append(run(gate, agent))
    asked = [asked_for(one, one.interruptions[0]) for one in paused]
    assert [one is not None and one["arguments"]["customer"] for one in asked] == ["C-1", "C-2"]


def test_a_tool_that_wants_approval_itself_and_needs_people_interrupts_for_both(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of([function_tool(shop.tools("pay")[0], needs_approval=True)], [ask(1, "pay", customer="C-1", cents=500)]))
    paused = run(gate, agent)
    vote(gate, request_of(paused), "lena")
    assert told(resumed(gate, agent, saved(paused)))["call_1"] == "paid 500 to C-1"
    assert shop.ran == ["pay C-1 500"]


def test_an_agent_behind_a_tool_waits_and_goes_on_where_it_was(gate: Gate, shop: Shop) -> None:
    def build() -> Any:
        model = Scripted(([ask(11, "pay", customer="C-1", cents=500)], "inner done"))
        inner = agents.Agent(name="inner", model=model, tools=tools(shop, "pay"))
        behind = gate.openai(inner).as_tool(tool_name="ask_helper", tool_description="Ask another agent.")
        return gate.openai(agent_of([behind], [ask(1, "ask_helper", input="do it")]))

    paused = run(gate, build())
    state = saved(paused)
    read = asyncio.run(RunState.from_json(build(), json.loads(state)))
    asked = asked_for(read, read.get_interruptions()[0])
    assert asked is not None
    assert asked["request"] == request_of(paused)
    vote(gate, asked["request"], "lena")
    ended = [resumed(gate, build(), state) for _ in range(2)]
    assert [told(one)["call_1"] for one in ended] == ["inner done", "inner done"]
    assert shop.ran == ["pay C-1 500"]
    outcomes = [one.envelope.outcome.code for one in of_tool(gate, "ask_helper") if one.envelope.outcome is not None]
    assert outcomes[0] == "paused"


class Babbling(Scripted):
    """Writes arguments that are no JSON."""

    def _said(self, given: Any) -> list[Any]:
        said = super()._said(given)
        for one in said:
            if hasattr(one, "arguments"):
                one.arguments = '{"text": '
        return said


@pytest.mark.parametrize("pause", [True, False])
def test_arguments_that_are_no_json_are_a_recorded_denial(gate: Gate, shop: Shop, *, pause: bool) -> None:
    model = Babbling(([ask(1, "note", text="x")], "done"))
    agent = gate.openai(agents.Agent(name="shop", model=model, tools=tools(shop, "note")), pause=pause)
    ended = run(gate, agent)
    assert len(ended.interruptions) == pause  # the framework asks whoever runs the agent about what it cannot read
    if pause:
        assert asked_for(ended, ended.interruptions[0]) is None
        ended = resumed(gate, agent, saved(ended))
    assert "denied (not_json)" in told(ended)["call_1"]
    assert (shop.ran, kinds(gate, "note")) == ([], ["denial"])


# the rest


def test_two_users_at_once_are_not_taken_for_one_another(gate: Gate, shop: Shop) -> None:
    agent = gate.openai(agent_of(tools(shop, "look"), [ask(1, "look", customer="C-1")]))

    async def of(user: str) -> None:
        with gate.acting(agent="shop-bot", user=user):
            await Runner.run(agent, "go on", run_config=RunConfig(group_id=f"of-{user}"))

    async def both() -> None:
        await asyncio.gather(*(of(user) for user in ("alice", "bob") for _ in range(5)))

    asyncio.run(both())
    seen = {
        (one.ref.id, read.envelope.actor.session)
        for read in of_tool(gate, "look")
        for one in read.payload.principals
        if one.ref.type == "User" and read.envelope.actor is not None
    }
    assert (seen, len(shop.ran)) == ({("alice", "of-alice"), ("bob", "of-bob")}, 10)


def test_a_caller_that_cannot_be_told_is_a_denial(gate: Gate, shop: Shop) -> None:
    def caller(context: Any) -> Any:
        return gate.acting(agent="shop-bot", user=context.context.user)  # there is no context: this raises

    agent = gate.openai(agent_of(tools(shop, "note"), [ask(1, "note", text="x")]), caller=caller)
    assert "denied (gate_failed)" in told(run(gate, agent))["call_1"]
    assert shop.ran == []


def test_a_tool_that_does_not_end_in_its_time_is_recorded_as_unknown(gate: Gate, shop: Shop) -> None:
    async def note(text: str) -> str:
        """Write a note."""
        shop.ran.append(f"note {text}")
        await asyncio.sleep(30)
        return "too late"

    agent = gate.openai(agent_of([function_tool(note, timeout=0.3)], [ask(1, "note", text="x")]))
    assert "timed out" in told(run(gate, agent))["call_1"]
    outcome = of_tool(gate, "note")[-1].envelope.outcome
    assert outcome is not None
    assert (shop.ran, outcome.status) == (["note x"], "unknown")


def test_a_denial_may_be_the_last_word(gate: Gate, shop: Shop) -> None:
    turn = [ask(1, "pay", customer="C-1", cents=20_000)]
    agent = gate.openai(agent_of(tools(shop, "pay"), turn, tool_use_behavior="stop_on_first_tool"))
    assert "nobody pays more than $100 at once" in run(gate, agent).final_output


def test_tools_of_one_name_in_two_namespaces_are_two_tools(gate: Gate, shop: Shop) -> None:
    found = [one for space in ("crm", "erp") for one in agents.tool_namespace(name=space, description="x", tools=tools(shop, "note"))]
    agent = gate.openai(agent_of([*found, agents.ToolSearchTool()]))
    assert gate.coverage(agent).unclassified == ("crm.note", "erp.note")


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
