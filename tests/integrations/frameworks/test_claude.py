"""What only the Claude Agent SDK has: its real command line, what it does when hooks fail or are switched off, and the example."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, HookMatcher, create_sdk_mcp_server, query

from licet import Gate
from licet.errors import ConfigInvalid, UngovernedTools
from licet.testing import in_memory_gate, records, vote
from tests.integrations.drivers.claude import Agent, model
from tests.integrations.drivers.claude import _tools as sdk_tools
from tests.integrations.driving import Ask, Setting, Turn
from tests.integrations.frameworks.example import example
from tests.integrations.shop import CONFIG, POLICIES, Shop, kinds, of_tool

BASH = """
[tools.Bash]
access = "write"
input = {command = "string"}
"""


@pytest.fixture
def gate() -> Iterator[Gate]:
    with in_memory_gate(CONFIG.replace("{store_timeout_s}", "30.0") + BASH, POLICIES) as found:
        yield found


def ask(number: int, name: str, **arguments: Any) -> Ask:
    return Ask(f"call_{number}", name, arguments)


def run(gate: Gate, agent: Agent) -> dict[str, str]:
    with gate.acting(agent="shop-bot", user="alice"):
        return dict(agent.run().told)


def agent_of(gate: Gate, shop: Shop, names: tuple[str, ...], *turns: Turn) -> Agent:
    return Agent(Setting(gate, shop.tools(*names), (*turns, "done")))


def test_a_tool_of_the_command_line_is_governed_and_one_without_a_table_is_denied(gate: Gate, shop: Shop, tmp_path: Path) -> None:
    calls = [ask(1, "Bash", command=f"touch {tmp_path}/ran"), ask(2, "Write", file_path=f"{tmp_path}/no", content="x")]
    told = run(gate, agent_of(gate, shop, (), calls))
    assert ((tmp_path / "ran").exists(), (tmp_path / "no").exists()) == (True, False)
    assert kinds(gate, "Bash") == ["intent", "outcome"]
    assert "denied (unknown_tool)" in told["call_2"]


def test_an_argument_that_is_not_declared_is_refused(gate: Gate, shop: Shop, tmp_path: Path) -> None:
    call = ask(1, "Bash", command=f"touch {tmp_path}/ran", dangerouslyDisableSandbox=True)
    assert "unknown_argument" in run(gate, agent_of(gate, shop, (), [call]))["call_1"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("on_failure", "runs"), [(None, True), ("block", False)])
def test_a_hook_that_raises_runs_the_tool_unless_it_blocks(gate: Gate, shop: Shop, on_failure: Any, runs: bool) -> None:  # noqa: FBT001
    """The trap: the gate's own hook blocks."""

    async def fail(*_: Any) -> Any:
        raise RuntimeError("x")

    setting = Setting(gate, shop.tools("note"), ([ask(1, "note", text="x")], "done"))
    server = create_sdk_mcp_server("shop", tools=sdk_tools(setting))
    hooks = {"PreToolUse": [HookMatcher(hooks=[fail], on_failure=on_failure)]}

    async def work() -> None:
        with model(setting.script) as environ:
            options = ClaudeAgentOptions(
                mcp_servers={"shop": server},
                allowed_tools=["mcp__shop__note"],
                setting_sources=[],
                hooks=hooks,
                env=environ,
                cwd=environ["HOME"],  # type: ignore[arg-type]
            )
            async for _ in query(prompt="go on", options=options):
                pass

    asyncio.run(work())
    assert bool(shop.ran) is runs
    (ours,) = gate.claude()["hooks"]["PreToolUse"]
    assert (ours.matcher, ours.on_failure) == (None, "block")


@pytest.mark.parametrize(
    "option",
    [
        {"setting_sources": ["project"]},
        {"settings": '{"disableAllHooks": true}'},
        {"extra_args": {"bare": None}},
        {"can_use_tool": print},
        {"hooks": {"PreToolUse": [HookMatcher(hooks=[])]}},
        {"env": {"CLAUDE_CODE_SIMPLE": "1"}},
    ],
)
def test_options_that_lead_past_the_gate_are_refused(gate: Gate, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match="can change what was decided on, or switch hooks off"):
        gate.claude(**option)


def test_an_environment_in_which_no_hook_is_called_is_refused(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_CODE_SIMPLE", "1")
    with pytest.raises(ConfigInvalid, match="CLAUDE_CODE_SIMPLE"):
        gate.claude()


def test_a_second_hook_before_tools_is_not_covered(gate: Gate, shop: Shop) -> None:
    options = agent_of(gate, shop, ("note",)).options
    assert gate.coverage(options).tools == ("note",)
    assert options.hooks is not None
    options.hooks["PreToolUse"].append(HookMatcher(hooks=[]))
    with pytest.raises(UngovernedTools):
        gate.coverage(options)
    with pytest.raises(UngovernedTools):
        gate.coverage(ClaudeAgentOptions())


def test_a_tool_of_the_command_line_does_not_pass_for_one_of_this_process(gate: Gate, shop: Shop) -> None:
    def Bash(command: str) -> str:  # noqa: N802
        """Harmless."""
        return command

    agent = Agent(Setting(gate, [Bash], ([ask(1, "Bash", command="true")], "done")))
    assert "two tools are called `Bash`" in run(gate, agent)["call_1"]
    assert kinds(gate, "Bash") == []


def test_the_session_and_the_call_are_the_records(gate: Gate, shop: Shop) -> None:
    agent = agent_of(gate, shop, ("note",), [ask(1, "note", text="x")])
    run(gate, agent)
    actor = of_tool(gate, "note")[0].envelope.actor
    assert actor is not None
    assert actor.session == agent.options.session_id


def test_the_example_credits_once_a_lead_has_agreed(tmp_path: Path) -> None:
    credit = {"account_id": "A-2001", "amount_cents": 18_000}
    with example("with_claude", tmp_path) as module:

        def asks(*turns: Turn) -> None:
            with model(turns, server="support") as environ:
                asyncio.run(module.ask(module.make_options(env=environ, cwd=environ["HOME"]), "ticket T-1002"))

        asks([Ask("a", "lookup_customer", {"customer_id": "C-412"}), Ask("b", "lookup_customer", {"customer_id": "G-77"})], "looked")
        asks([Ask("c", "credit_account", credit)], "waiting")
        found = [read for read in records(module.gate, "acme") if read.kind == "hold" and read.envelope.approval is not None]
        vote(module.gate, found[-1].envelope.approval.request, "lena")  # type: ignore[union-attr, arg-type]
        asks([Ask("d", "credit_account", credit)], "credited")
        assert sys.modules["support"].business.account("A-2001")["balance_cents"] == 1_200 + 18_000
        seen = [read.kind for read in records(module.gate, "acme") if read.envelope.tool is not None]
        assert seen.count("denial") == 1  # the other tenant's customer
        assert seen[-2:] == ["intent", "outcome"]
