"""The servers that people use, over stdio, behind the gateway and behind `licet wrap`, with the official clients of both languages."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from click.testing import CliRunner
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from licet.cli import main as main_of_cli
from tests.gateway.peers.governed import Governed, Project, governed, upstream_command
from tests.gateway.peers.installed import HERE, Peers, installed

pytestmark = pytest.mark.heavy
MODES = ("legacy", "2026-07-28")
POLICIES = """
@id("anything")
permit (principal in Role::"anything", action, resource);

@id("changes-need-lead")
@require_approval("1 of Group::\\"leads\\"")
@reason("files are changed with a lead")
forbid (principal, action == Action::"files__write_file", resource);

@id("not-the-payroll")
@reason("the payroll is nobody's business")
forbid (principal, action == Action::"files__read_text_file", resource)
when { context.input.path like "*/payroll/*" };
"""
WRITES = ("files__write_file", "memory__create_entities")


@pytest.fixture(scope="module")
def peers() -> Peers:
    return installed()


@pytest.fixture(scope="module")
def served(peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    folder = tmp_path_factory.mktemp("servers")
    with governed(project(folder, peers)) as found:
        yield found


def project(folder: Path, peers: Peers) -> Project:
    data = folder / "data"
    for name in ("notes", "payroll"):
        (data / name).mkdir(parents=True)
        (data / name / "one.txt").write_text(f"of the {name}")
    source = folder / "memory-path"
    source.write_text(str(folder / "memory.jsonl"))
    source.chmod(0o600)
    package = "@modelcontextprotocol/server-"
    upstreams = (
        upstream_command("everything", peers.command(f"{package}everything", "stdio"))
        + upstream_command("files", peers.command(f"{package}filesystem", str(data)))
        + upstream_command("memory", peers.command(f"{package}memory"), env='{MEMORY_FILE_PATH = "file:memory-path"}')
    )
    return Project(folder, upstreams, access=dict.fromkeys(WRITES, "write"), policies=POLICIES, more="[gateway]\nhold_s = 0\n")


async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    said = types.TextContent(type="text", text="what a model says")
    return types.CreateMessageResult(role="assistant", content=said, model="none")


async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Ada"})


@asynccontextmanager
async def client(served: Governed, mode: str, upstream: str | None = None) -> AsyncIterator[Client]:
    """The official Python client, in this era."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {served.key}"}, timeout=60) as http:
            transport = streamable_http_client(served.mcp(upstream), http_client=http)
            async with Client(transport, mode=mode, sampling_callback=sample, elicitation_callback=elicit) as found:
                yield found


def said(result: Any) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, types.TextContent))


@pytest.mark.parametrize("mode", MODES)
def test_three_servers_are_one_to_a_client_of_either_era(served: Governed, mode: str) -> None:
    async def main() -> None:
        async with client(served, mode) as peer:
            names = {one.name for one in (await peer.list_tools()).tools}
            assert {"everything__echo", "files__read_text_file", "memory__read_graph"} <= names
            assert said(await peer.call_tool("everything__echo", {"message": "grüße"})) == "Echo: grüße"
            data = served.project.folder / "data"
            assert said(await peer.call_tool("files__read_text_file", {"path": str(data / "notes" / "one.txt")})) == "of the notes"
            denied = await peer.call_tool("files__read_text_file", {"path": str(data / "payroll" / "one.txt")})
            assert denied.is_error
            assert "the payroll is nobody's business" in said(denied)
            entity = {"name": mode, "entityType": "era", "observations": ["spoken"]}
            await peer.call_tool("memory__create_entities", {"entities": [entity]})
            assert mode in said(await peer.call_tool("memory__read_graph", {}))

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_what_is_held_is_told_and_runs_once_when_it_was_approved(served: Governed, mode: str) -> None:
    path = served.project.folder / "data" / "notes" / f"{mode}.txt"

    async def main() -> None:
        async with client(served, mode, "files") as peer:
            held = await peer.call_tool("write_file", {"path": str(path), "content": "new"})
            assert held.is_error
            assert "files are changed with a lead" in said(held)
            assert not path.exists()
            approve(served)
            assert "Successfully wrote" in said(await peer.call_tool("write_file", {"path": str(path), "content": "new"}))
            assert path.read_text() == "new"
            again = await peer.call_tool("write_file", {"path": str(path), "content": "new"})
            assert again.is_error, "an approval is used once"

    asyncio.run(main())


def approve(served: Governed) -> None:
    """The lead approves the one request that is open."""
    config = ("--config", str(served.project.config))
    listed = CliRunner().invoke(main_of_cli, [*config, "approvals", "list", "--json"])
    assert listed.exit_code == 0, listed.output
    for one in json.loads(listed.stdout)["data"]:
        done = CliRunner().invoke(main_of_cli, [*config, "approvals", "approve", one["request"]["id"], "--as", "lena"])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("mode", MODES)
def test_progress_and_everything_else_of_a_long_call_arrive(served: Governed, mode: str) -> None:
    async def main() -> None:
        told: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        async with client(served, mode, "everything") as peer:
            arguments = {"duration": 0.4, "steps": 4}
            result = await peer.call_tool("trigger-long-running-operation", arguments, progress_callback=note)
            assert "Long running operation completed" in said(result)
            assert told == sorted(told)
            assert told
            resources = (await peer.list_resources()).resources
            assert resources
            assert (await peer.read_resource(str(resources[0].uri))).contents
            prompts = {one.name for one in (await peer.list_prompts()).prompts}
            assert "simple-prompt" in prompts
            assert (await peer.get_prompt("simple-prompt")).messages

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_a_server_of_the_older_era_asks_a_client_of_either(served: Governed, mode: str) -> None:
    async def main() -> None:
        async with client(served, mode, "everything") as peer:
            sampled = await peer.call_tool("trigger-sampling-request", {"prompt": "hello", "maxTokens": 10})
            assert "what a model says" in said(sampled)
            asked = await peer.call_tool("trigger-elicitation-request", {})
            assert "Ada" in said(asked)

    asyncio.run(main())


@pytest.mark.parametrize("program", ["client_v1.mjs", "client_v2.mjs"])
def test_the_typescript_clients_are_served(served: Governed, peers: Peers, program: str) -> None:
    script = peers.folder / program  # packages are found beside the program that imports them
    script.write_text((HERE / program).read_text())
    told = json.loads(run([peers.node, str(script), served.mcp(), served.key, str(served.project.folder / "data")]))
    assert told["echo"] == "Echo: from TypeScript"
    assert told["note"] == "of the notes"
    assert "the payroll is nobody's business" in told["payroll"]
    assert "files__write_file" in told["tools"]


@pytest.mark.parametrize("mode", MODES)
def test_a_wrapped_server_speaks_under_its_own_names(peers: Peers, tmp_path: Path, mode: str) -> None:
    made = project(tmp_path, peers)
    made.more += '[wrap]\nupstream = "files"\nagent = "bot"\nuser = "alice"\n'
    made.write()

    async def main() -> None:
        arguments = ["-c", "from licet.cli import main; main()", "--config", str(made.config), "wrap"]
        started = StdioServerParameters(command=sys.executable, args=arguments, cwd=str(tmp_path))
        async with Client(stdio_client(started), mode=mode) as peer:
            assert "read_text_file" in {one.name for one in (await peer.list_tools()).tools}
            path = tmp_path / "data" / "notes" / "one.txt"
            assert said(await peer.call_tool("read_text_file", {"path": str(path)})) == "of the notes"
            denied = await peer.call_tool("read_text_file", {"path": str(tmp_path / "data" / "payroll" / "one.txt")})
            assert "the payroll is nobody's business" in said(denied)

    asyncio.run(main())


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
