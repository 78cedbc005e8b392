"""What only the Claude Agent SDK has: its real command line, what it does when hooks fail or are switched off, and the example."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, HookMatcher, create_sdk_mcp_server, query

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

[tools.local_Write]
access = "write"
input = {file_path = "string", content = "string"}

[tools.Agent]
access = "write"
input = {prompt = "string", description = "string", subagent_type = "string", run_in_background = "boolean"}
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
        {"permission_prompt_tool_name": "mcp__shop__agree"},
        {"hooks": {"PreToolUse": [HookMatcher(hooks=[])]}},
        {"hooks": {"PermissionRequest": [HookMatcher(hooks=[])]}},
        {"env": {"CLAUDE_CODE_SIMPLE": "1"}},
    ],
)
def test_options_that_lead_past_the_gate_are_refused(gate: Gate, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match="can change what was decided on, or switch hooks off"):
        gate.claude(**option)


@pytest.mark.parametrize(
    "option",
    [
        {"setting_sources": None},
        {"settings": '{"disableAllHooks": true}'},
        {"plugins": [{"type": "local", "path": "."}]},
        {"env": {"CLAUDE_CODE_SIMPLE": "1"}},
        {"hooks": {"PermissionRequest": [HookMatcher(hooks=[])]}},
    ],
)
def test_options_that_are_changed_afterwards_are_not_covered(gate: Gate, option: dict[str, Any]) -> None:
    given = gate.claude()
    assert gate.coverage(ClaudeAgentOptions(**given)).tools == ()
    hooks = given["hooks"] | option.get("hooks", {})
    with pytest.raises(UngovernedTools, match="every tool of the command line, by"):
        gate.coverage(ClaudeAgentOptions(**(given | option | {"hooks": hooks})))


def test_what_ran_with_other_arguments_is_recorded_so(gate: Gate, shop: Shop) -> None:
    """The command line asks again for a sensitive file, and whoever answers may change what is written: so such a hook is refused."""

    async def agree(hook: Any, *_: Any) -> Any:
        decision = {"behavior": "allow", "updatedInput": hook["tool_input"] | {"file_path": f"{hook['cwd']}/other"}}
        return {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}}

    agent = agent_of(gate, shop, (), [ask(1, "Write", file_path=".claude/settings.json", content="{}")])
    hooks = {"PermissionRequest": [HookMatcher(hooks=[agree])]}
    agent.options = ClaudeAgentOptions(**gate.claude(prefix="local_", hooks=hooks, allow_ungoverned=["hooks"]))
    assert "/other" in run(gate, agent)["call_1"]
    outcome = of_tool(gate, "local_Write")[-1].envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("error", "not_as_decided")


def test_a_hook_that_does_not_answer_in_time_lets_nothing_run(gate: Gate, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(5)

    agent = agent_of(gate, shop, ("note",), [ask(1, "note", text="x")])
    assert agent.options.hooks is not None
    agent.options.hooks["PreToolUse"][0].timeout = 0.5
    monkeypatch.setattr(gate, "apropose", hang)
    assert "call_1" in run(gate, agent)
    assert shop.ran == []


def test_a_client_acts_for_whoever_connected_it_whoever_asks_it_later(gate: Gate, shop: Shop) -> None:
    """Hooks are called in the context of the connection: another user needs another client, or `caller`."""
    calls = [[ask(number, "note", text=str(number))] for number in (1, 2)]
    setting = Setting(gate, shop.tools("note"), (calls[0], "done", calls[1], "done"))
    server = create_sdk_mcp_server("shop", tools=sdk_tools(setting))

    async def say(client: ClaudeSDKClient, text: str) -> None:
        await client.query(text)
        async for _ in client.receive_response():
            pass

    async def work() -> None:
        with model(setting.script) as environ:
            options = ClaudeAgentOptions(**gate.claude(mcp_servers={"shop": server}), env=environ, cwd=environ["HOME"])
            client = ClaudeSDKClient(options)
            with gate.acting(agent="shop-bot", user="alice"):
                await client.connect()
                await say(client, "one")
            with gate.acting(agent="shop-bot", user="bob"):
                await client.set_permission_mode("acceptEdits")
                await say(client, "two")
            await client.disconnect()

    asyncio.run(work())
    users = [read.envelope.actor.user for read in of_tool(gate, "note") if read.kind == "intent" and read.envelope.actor is not None]
    assert users == ["alice", "alice"]


def test_an_end_that_cannot_be_recorded_ends_the_session(gate: Gate, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(gate, "areport", fail)
    run(gate, agent_of(gate, shop, ("note",), [ask(1, "note", text="x")], [ask(2, "note", text="y")]))
    assert len(shop.ran) == 1


def test_a_sub_agents_tools_are_governed_and_its_calls_name_it(gate: Gate, shop: Shop, tmp_path: Path) -> None:
    helper = {"prompt": "do it", "description": "a helper", "subagent_type": "general-purpose", "run_in_background": False}
    call = ask(2, "Bash", command=f"touch {tmp_path}/ran")
    run(gate, agent_of(gate, shop, (), [ask(1, "Agent", **helper)], [call], "done"))
    assert (tmp_path / "ran").exists()
    parents = [read.envelope.trace.parent for read in of_tool(gate, "Bash") if read.kind == "intent" and read.envelope.trace is not None]
    assert parents[0] is not None


def test_servers_and_tools_go_by_the_names_that_the_command_line_makes_of_them(gate: Gate, shop: Shop) -> None:
    setting = Setting(gate, shop.tools("note"), ([ask(1, "note", text="x")], "done"))
    servers = {"my shop": create_sdk_mcp_server("shop", tools=sdk_tools(setting))}
    options = ClaudeAgentOptions(**gate.claude(mcp_servers=servers))

    async def work() -> None:
        with model(setting.script, server="my_shop") as environ, gate.acting(agent="shop-bot", user="alice"):
            options.env, options.cwd = environ, environ["HOME"]
            async for _ in query(prompt="go on", options=options):
                pass

    asyncio.run(work())
    assert kinds(gate, "note") == ["intent", "outcome"]


@pytest.mark.parametrize("other", ["my_shop", "my shop__more"])
def test_servers_whose_tools_could_share_a_name_are_refused(gate: Gate, shop: Shop, other: str) -> None:
    server = create_sdk_mcp_server("shop", tools=sdk_tools(Setting(gate, shop.tools("note"), ())))
    with pytest.raises(ConfigInvalid, match="could have one name"):
        gate.claude(mcp_servers={"my shop": server, other: {"command": "true"}})


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
