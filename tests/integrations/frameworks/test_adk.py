"""What only Google's ADK has: traps that somebody fell into, and the example."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import BaseAgent, LlmAgent
from google.adk.auth import AuthConfig, AuthCredential, AuthCredentialTypes
from google.adk.code_executors import BuiltInCodeExecutor, UnsafeLocalCodeExecutor
from google.adk.events.event import Event
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.plugins.reflect_retry_tool_plugin import ReflectAndRetryToolPlugin
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.tools import FunctionTool, LongRunningFunctionTool, google_search
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.tool_context import ToolContext
from google.genai import types

from licet import Gate
from licet.errors import UngovernedTools
from licet.testing import records, vote
from tests.integrations.drivers.adk import CONFIRMATION, Scripted
from tests.integrations.driving import Ask, Turn
from tests.integrations.frameworks.example import example
from tests.integrations.shop import Shop, Unreachable, kinds, of_tool

QUESTIONS = {CONFIRMATION, "adk_request_input", "adk_request_credential"}
CREDIT = {"account_id": "A-2001", "amount_cents": 18_000}


def ask(number: int, name: str, **arguments: Any) -> Ask:
    return Ask(f"call_{number}", name, arguments)


class Run:
    """A runner and one session. `root` is an agent, or a workflow."""

    def __init__(self, gate: Gate, root: Any, *plugins: BasePlugin) -> None:
        self.gate = gate
        self.sessions = InMemorySessionService()
        governed = [*plugins, gate.adk()]
        if isinstance(root, BaseAgent):
            self.runner = Runner(app_name="shop", agent=root, session_service=self.sessions, plugins=governed)
        else:
            self.runner = Runner(app_name="shop", node=root, session_service=self.sessions, plugins=governed)
        asyncio.run(self.sessions.create_session(app_name="shop", user_id="u", session_id="s"))

    def events(self, *parts: types.Part) -> list[Event]:
        async def work() -> list[Event]:
            message = types.Content(role="user", parts=list(parts) or [types.Part(text="go on")])
            return [event async for event in self.runner.run_async(user_id="u", session_id="s", new_message=message)]

        with self.gate.acting(agent="shop-bot", user="alice"):
            return asyncio.run(work())

    def send(self, *parts: types.Part) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self.events(*parts):
            found |= {str(one.id): one.response for one in event.get_function_responses()}
            found |= {str(one.name): one for one in event.get_function_calls() if str(one.name) in QUESTIONS}
        return found


def agent_of(tools: Sequence[Any], *turns: Turn, **options: Any) -> LlmAgent:
    return LlmAgent(name="shop_agent", model=Scripted(script=(*turns, "done")), tools=[*tools], **options)


def answer(question: Any, **response: Any) -> types.Part:
    return types.Part(function_response=types.FunctionResponse(id=question.id, name=question.name, response=response))


def request_of(question: Any) -> Any:
    return question.args["toolConfirmation"]["payload"]["request"]


class Native(BaseTool):
    """Runs here as far as anybody can see, and puts something of the provider into the request."""

    async def process_llm_request(self, *, tool_context: Any, llm_request: Any) -> None:
        llm_request.config.tools = [types.Tool(google_search=types.GoogleSearch())]

    async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> Any:
        return None


class Toolset(BaseToolset):
    """Has tools for a run that nobody sees before there is one."""

    def __init__(self, *tools: BaseTool, always: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._own = list(tools)
        self._always = always

    async def get_tools(self, readonly_context: Any = None) -> list[BaseTool]:
        return self._own if self._always or readonly_context is not None else []


class Foreign(BaseAgent):
    """Does whatever it does."""


class Executor(BuiltInCodeExecutor):
    """The provider's, for any model."""

    def process_llm_request(self, llm_request: Any) -> None:
        llm_request.config.tools = [*(llm_request.config.tools or ()), types.Tool(code_execution=types.ToolCodeExecution())]


class VertexAiRagRetrieval(Native):
    """As the framework's own is, which wants Google's libraries: for newer models it looks at the provider."""


# callbacks and other plugins


def test_callbacks_of_an_agent_cannot_change_what_was_decided_on(gate: Gate, shop: Shop) -> None:
    def raising(tool: Any, args: dict[str, Any], tool_context: Any) -> None:
        args["cents"] = 9_999

    agent = agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=50)], before_tool_callback=raising)
    Run(gate, agent).send()
    assert (shop.ran, kinds(gate, "pay")) == ([], ["hold"])
    (held,) = of_tool(gate, "pay")
    assert b'"cents":9999' in bytes(held.payload.arguments)


def test_a_plugin_before_the_gate_proposes_what_it_wants_and_that_is_decided(gate: Gate, shop: Shop) -> None:
    class Raising(BasePlugin):
        async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> None:
            tool_args["cents"] = 20_000

    agent = agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=50)])
    found = Run(gate, agent, Raising(name="raising")).send()
    assert "nobody pays more than $100 at once" in found["call_1"]["error"]
    assert shop.ran == []


def test_what_a_guardrail_answers_is_no_call_of_the_tool(gate: Gate, shop: Shop) -> None:
    def guard(tool: Any, args: dict[str, Any], tool_context: Any) -> dict[str, str]:
        return {"error": "not today"}

    class Guard(BasePlugin):
        async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> dict[str, Any]:
            return guard(tool, tool_args, tool_context)

    calls = [ask(1, "pay", customer="C-1", cents=50)]
    of_agent = Run(gate, agent_of(shop.tools("pay"), calls, before_tool_callback=guard))
    behind = Run(gate, agent_of(shop.tools("pay"), calls))
    behind.runner.plugin_manager.register_plugin(Guard(name="guard"))
    assert [run.send()["call_1"] for run in (of_agent, behind)] == [{"error": "not today"}] * 2
    assert (shop.ran, kinds(gate, "pay")) == ([], [])


def test_callbacks_get_what_the_tool_gave_and_raised(gate: Gate, shop: Shop) -> None:
    seen: list[Any] = []

    def after(tool: Any, args: dict[str, Any], tool_context: Any, tool_response: Any) -> None:
        seen.append(tool_response)

    def failed(tool: Any, args: dict[str, Any], tool_context: Any, error: Exception) -> dict[str, str]:
        seen.append(type(error))
        return {"error": "handled"}

    calls = [ask(1, "note", text="x"), ask(2, "broken", text="x")]
    agent = agent_of(shop.tools("note", "broken"), calls, after_tool_callback=after, on_tool_error_callback=failed)
    assert Run(gate, agent).send()["call_2"] == {"error": "handled"}
    assert seen == ["noted x", Unreachable, {"error": "handled"}]


def test_a_plugin_that_has_failed_tools_reflected_on_goes_on_doing_so(gate: Gate, shop: Shop) -> None:
    agent = agent_of(shop.tools("flaky"), [ask(1, "flaky", customer="C-1")], [ask(2, "flaky", customer="C-1")])
    found = Run(gate, agent, ReflectAndRetryToolPlugin()).send()
    assert "reflection_guidance" in found["call_1"]
    assert found["call_2"] == {"result": "C-1 at last"}


def test_a_plugin_that_calls_the_tool_itself_does_so_through_the_gate(gate: Gate, shop: Shop) -> None:
    class Calling(BasePlugin):
        async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> dict[str, Any]:
            return {"result": await tool.run_async(args=tool_args, tool_context=tool_context)}

    agent = agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=20_000)])
    assert "nobody pays more than $100 at once" in str(Run(gate, agent, Calling(name="calling")).send()["call_1"])
    assert shop.ran == []


def test_a_plugin_that_wraps_a_tool_again_and_again_has_it_called_once(gate: Gate, shop: Shop) -> None:
    class Wrapping(BasePlugin):
        async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> None:
            inner = tool.run_async

            async def wrapped(*, args: dict[str, Any], tool_context: Any) -> Any:
                return await inner(args=args, tool_context=tool_context)

            tool.run_async = wrapped

    tool = FunctionTool(shop.tools("note")[0])
    Run(gate, agent_of([tool], [ask(1, "note", text="a")], [ask(2, "note", text="b")]), Wrapping(name="wrapping")).send()
    assert (shop.ran, kinds(gate, "note")) == (["note a", "note b"], ["intent", "outcome"] * 2)


def test_a_plugin_that_another_one_calls_governs_all_the_same(gate: Gate, shop: Shop) -> None:
    inner = gate.adk()

    class Outer(BasePlugin):
        async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> Any:
            return await inner.before_tool_callback(tool=tool, tool_args=tool_args, tool_context=tool_context)

    run = Run(gate, agent_of(shop.tools("pay"), [ask(1, "pay", customer="C-1", cents=20_000)]))
    run.runner.plugin_manager.plugins[:] = [Outer(name="outer")]
    run.send()
    assert (shop.ran, kinds(gate, "pay")) == ([], ["denial"])


def test_a_tool_that_two_runners_share_is_governed_where_the_plugin_is(gate: Gate, shop: Shop) -> None:
    tool = FunctionTool(shop.tools("note")[0])
    Run(gate, agent_of([tool], [ask(1, "note", text="a")])).send()
    without = Run(gate, agent_of([tool], [ask(1, "note", text="b")]))
    without.runner.plugin_manager.plugins.clear()
    without.send()
    assert (shop.ran, kinds(gate, "note")) == (["note a", "note b"], ["intent", "outcome"])


def test_a_tool_and_its_copy_under_another_name_are_two(gate: Gate, shop: Shop) -> None:
    gate.classify("my_note", access="write")
    tool = FunctionTool(shop.tools("note")[0])
    agent = agent_of([tool, Toolset(tool, tool_name_prefix="my")], [ask(1, "note", text="a")], [ask(2, "my_note", text="b")])
    Run(gate, agent).send()
    assert shop.ran == ["note a", "note b"]
    assert (kinds(gate, "note"), kinds(gate, "my_note")) == (["intent", "outcome"], ["intent", "outcome"])


# results


@pytest.mark.parametrize("value", [None, "", 0, []])
def test_a_tool_that_returns_nothing_runs_once(gate: Gate, shop: Shop, value: Any) -> None:
    def note(text: str) -> Any:
        """Write a note."""
        shop.ran.append(text)
        return value

    found = Run(gate, agent_of([note], [ask(1, "note", text="x")])).send()
    assert (shop.ran, found["call_1"]) == (["x"], {"result": value})


@pytest.mark.parametrize("value", [None, "", 0, {}])
def test_a_long_running_tool_is_recorded_when_it_is_started(gate: Gate, shop: Shop, value: Any) -> None:
    def note(text: str) -> Any:
        """Begin to write a note."""
        shop.ran.append(text)
        return value

    found = Run(gate, agent_of([LongRunningFunctionTool(note)], [ask(1, "note", text="x")])).send()
    assert ("call_1" in found, shop.ran, kinds(gate, "note")) == (False, ["x"], ["intent", "outcome"])


# confirmations


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


def test_a_tool_that_wants_confirmation_itself_and_people_as_well_gets_both(gate: Gate, shop: Shop) -> None:
    tool = FunctionTool(shop.tools("pay")[0], require_confirmation=True)
    turns = [[ask(number, "pay", customer="C-1", cents=500)] for number in (1, 2)]
    run = Run(gate, agent_of([tool], *turns))
    told = run.send(answer(run.send()[CONFIRMATION], confirmed=True))  # the framework asks once about a call: then the model is told
    (held,) = of_tool(gate, "pay")
    assert held.envelope.approval is not None
    assert str(held.envelope.approval.request) in told["call_1"]["error"]
    vote(gate, held.envelope.approval.request, "lena")
    assert shop.ran == []
    assert run.send(answer(told[CONFIRMATION], confirmed=True))["call_2"] == {"result": "paid 500 to C-1"}


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_tool_that_asks_for_a_confirmation_as_it_runs_goes_on_with_the_answer(gate: Gate, shop: Shop, *, confirmed: bool) -> None:
    def note(text: str, tool_context: ToolContext) -> dict[str, Any]:
        """Write a note, once somebody has agreed."""
        if tool_context.tool_confirmation is None:
            tool_context.request_confirmation(hint="really?")
            return {"status": "waiting"}
        shop.ran.append(f"{text} {tool_context.tool_confirmation.confirmed}")
        return {"status": "ok"}

    run = Run(gate, agent_of([note], [ask(1, "note", text="x")]))
    first = run.send()
    assert first["call_1"] == {"status": "waiting"}
    assert run.send(answer(first[CONFIRMATION], confirmed=confirmed))["call_1"] == {"status": "ok"}
    assert shop.ran == [f"x {confirmed}"]
    ended = [read.envelope.outcome for read in of_tool(gate, "note") if read.envelope.outcome is not None]
    assert [(one.status, one.code) for one in ended] == [("error", "paused"), ("ok", None)]


def test_an_answer_to_the_gates_question_is_none_to_the_tools_own(gate: Gate, shop: Shop) -> None:
    def pay(customer: str, cents: int, tool_context: ToolContext) -> dict[str, Any]:
        """Pay a customer, once the user has agreed."""
        if tool_context.tool_confirmation is None:
            tool_context.request_confirmation(hint="really?")
            return {"status": "waiting"}
        shop.ran.append(customer)
        return {"status": "ok"}

    run = Run(gate, agent_of([pay], [ask(1, "pay", customer="C-1", cents=500)]))
    question = run.send()[CONFIRMATION]
    vote(gate, request_of(question), "lena")
    assert run.send(answer(question, confirmed=True))["call_1"] == {"status": "waiting"}
    assert shop.ran == []


def test_a_tool_that_asks_for_credentials_goes_on_with_them(gate: Gate, shop: Shop) -> None:
    key = AuthCredential(auth_type=AuthCredentialTypes.API_KEY, api_key="k")
    scheme = {"type": "apiKey", "in": "header", "name": "x"}
    config = AuthConfig.model_validate({"auth_scheme": scheme, "raw_auth_credential": key, "credential_key": "of-notes"})

    def note(text: str, tool_context: ToolContext) -> dict[str, Any]:
        """Write a note as somebody."""
        if tool_context.get_auth_response(config) is None:
            tool_context.request_credential(config)
            return {"status": "waiting"}
        shop.ran.append(text)
        return {"status": "ok"}

    run = Run(gate, agent_of([note], [ask(1, "note", text="x")]))
    question = run.send()["adk_request_credential"]
    given = AuthConfig.model_validate(question.args["authConfig"]).model_copy(update={"exchanged_auth_credential": key})
    run.send(answer(question, **given.model_dump(mode="json", by_alias=True, exclude_none=True)))
    assert shop.ran == ["x"]


# what passes through


def test_provider_tools_code_executors_and_agents_without_plugins_are_named(gate: Gate, shop: Shop) -> None:
    inner = LlmAgent(name="inner", model=Scripted(script=("done",)), tools=shop.tools("pay"))
    apart = AgentTool(inner, include_plugins=False)
    cases: list[tuple[LlmAgent, str]] = [
        (agent_of([google_search]), "google_search"),
        (agent_of([apart]), "inner (an agent that runs without the plugins)"),
        (agent_of(shop.tools("note"), code_executor=UnsafeLocalCodeExecutor()), "UnsafeLocalCodeExecutor"),
        (agent_of([], sub_agents=[LlmAgent(name="below", model=Scripted(), tools=[google_search])]), "google_search"),
        (agent_of([], sub_agents=[Foreign(name="foreign")]), "foreign (an agent of another make)"),
        (agent_of([VertexAiRagRetrieval(name="rag", description="Documents.")]), "rag"),
    ]
    for agent, name in cases:
        run = Run(gate, agent)
        with pytest.raises(UngovernedTools) as raised:
            gate.coverage(run.runner)
        assert raised.value.tools == (name,)
        with pytest.raises(RuntimeError, match="do not pass through the gate"):
            run.send()


def test_tools_of_the_provider_that_nobody_could_see_before_are_seen_in_the_request(gate: Gate, shop: Shop) -> None:
    native = Native(name="native", description="Looks like any other.")
    for agent in (agent_of([native]), agent_of([Toolset(native)])):
        run = Run(gate, agent)
        gate.coverage(run.runner, allow_ungoverned=["native"])
        with pytest.raises(RuntimeError, match="do not pass through the gate: `google_search`"):
            run.send()


def test_what_was_let_past_the_gate_by_its_name_runs(gate: Gate, shop: Shop) -> None:
    agent = agent_of(shop.tools("note"), [ask(1, "note", text="x")], code_executor=Executor())
    plugin = gate.adk(allow_ungoverned=["Executor", "BuiltInCodeExecutor"])
    run = Run(gate, agent)
    run.runner.plugin_manager.plugins[:] = [plugin]
    run.send()
    assert shop.ran == ["note x"]


def test_a_tool_that_a_toolset_has_only_for_this_run_is_governed(gate: Gate, shop: Shop) -> None:
    agent = agent_of([Toolset(FunctionTool(shop.tools("pay")[0]))], [ask(1, "pay", customer="C-1", cents=20_000)])
    Run(gate, agent).send()
    assert (shop.ran, kinds(gate, "pay")) == ([], ["denial"])


def test_an_agent_behind_a_tool_of_a_toolset_is_looked_at(gate: Gate, shop: Shop) -> None:
    inner = LlmAgent(name="inner", model=Scripted(), tools=[google_search])
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(Run(gate, agent_of([Toolset(AgentTool(inner), always=True)])).runner)
    assert raised.value.tools == ("google_search",)


def test_a_toolset_that_does_not_answer_is_named_and_asked_only_where_its_agent_runs(gate: Gate, shop: Shop) -> None:
    class Far(Toolset):
        async def get_tools(self, readonly_context: Any = None) -> list[BaseTool]:
            shop.ran.append("asked")
            raise ConnectionError("nobody answers")

    below = LlmAgent(name="below", model=Scripted(), tools=[Far()])
    run = Run(gate, agent_of(shop.tools("note"), [ask(1, "note", text="x")], sub_agents=[below]))
    run.send()
    assert shop.ran == ["note x"]
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(run.runner)
    assert raised.value.tools == ("Far",)


def test_a_runner_without_the_plugin_is_not_covered(gate: Gate, shop: Shop) -> None:
    runner = Runner(app_name="shop", agent=agent_of(shop.tools("note")), session_service=InMemorySessionService())
    with pytest.raises(UngovernedTools) as raised:
        gate.coverage(runner)
    assert raised.value.tools == ("note",)


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
