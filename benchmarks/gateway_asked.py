"""The world of the gateway's benchmark, and what is asked in it: the same requests of each, checked before they are measured."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from click.testing import CliRunner

from benchmarks.gateway_upstream import CALLS, TOOLS
from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.cli import main
from licet.policy.own import default_text

ACCESS = {"look": "read", "change": "write"}
CONFIG = """
environment = "bench"
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["anything"]
[users.alice]
tenants = ["acme"]
roles = ["anything"]
[tools.it__look]
access = "read"
[tools.it__change]
access = "write"
[upstreams.it]
url = "URL"
protocol = "2026-07-28"
"""
POLICY = '@id("anything")\npermit (principal in Role::"anything", action, resource);\n'
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
NUMBER = 12_345


def written(folder: Path, url: str) -> str:
    """A licet.toml with what it needs beside it; the key of an agent."""
    folder.mkdir()
    (folder / "policies").mkdir()
    (folder / "policies" / "policies.cedar").write_text(POLICY)
    (folder / "policies" / "licet.cedar").write_text(default_text())
    (folder / "licet.toml").write_text(CONFIG.replace("URL", url))
    Lock().with_pins("it", pins_of(TOOLS)).write(folder / LOCK_FILE)
    options = ("--tenant", "acme", "--agent", "bot", "--for", "alice", "--role", "licet-agent", "--json")
    issued = CliRunner().invoke(main, ["--config", str(folder / "licet.toml"), "credentials", "issue", "bench", *options])
    assert issued.exit_code == 0, issued.output
    key: str = msgspec.json.decode(issued.stdout)["data"]["key"]
    return key


def call_of(tool: str) -> dict[str, Any]:
    """A call."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"n": NUMBER}, "_meta": META}}


def headers_of(tool: str, key: str) -> dict[str, str]:
    """What every client of the modern era sends with it. Whoever has no callers reads no key."""
    return {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {key}",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }


def script(folder: Path, path: str, tool: str, key: str) -> Path:
    """What wrk sends to this path: calls of a tool, each with another argument."""
    before, after = msgspec.json.encode(call_of(tool)).decode().split(str(NUMBER))
    set_ = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers_of(tool, key).items())
    file = folder / f"{tool}{path.replace('/', '-')}.lua"
    file.write_text(
        f'wrk.method = "POST"\n{set_}local n = 0\nrequest = function()\n  n = n + 1\n'
        f"  return wrk.format(nil, \"{path}\", nil, '{before}' .. n .. '{after}')\nend\n"
    )
    return file


def check(url: str, tool: str, key: str) -> None:
    """One such call is answered with what the upstream answers. Raises `AssertionError`."""
    told = _posted(url, call_of(tool), headers_of(tool, key))
    result = told.get("result", {})
    assert result.get("content") == [{"type": "text", "text": "done"}], (url, told)
    assert not result.get("isError"), (url, told)


def calls_at(upstream: str) -> int:
    """How many calls the upstream has had."""
    calls: int = _posted(f"{upstream}/mcp", {"jsonrpc": "2.0", "id": 1, "method": CALLS}, {"Content-Type": "application/json"})["result"][
        "calls"
    ]
    return calls


def _posted(url: str, message: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.netloc, timeout=30)
    try:
        connection.request("POST", at.path, msgspec.json.encode(message), headers)
        answer: dict[str, Any] = msgspec.json.decode(connection.getresponse().read())
        return answer
    finally:
        connection.close()
