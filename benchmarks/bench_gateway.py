"""The gateway beside a bare pass-through on the same stack, in front of the same trivial upstream.

CPU per call with 32 connections, added p50 with one, for reads and writes. Clients are wrk with requests of the modern era; CPU is that of
the whole gateway process. Every figure is the median of rounds that are interleaved. The same calls in process, and the
proxies of others, are not measured here.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from benchmarks.bench_server import CONNECTIONS, Process, Served
from benchmarks.gateway_upstream import TOOLS
from benchmarks.rows import Row
from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.cli import main
from licet.policy.own import default_text

ROUNDS = 5
GROWTH_CALLS = 100_000
GROWTH_MIB = 30
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


def run() -> list[Row]:
    """The rows."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(started("upstream"))
        passed = stack.enter_context(started("passed", f"{upstream.url}/mcp"))
        key = written(folder, f"{upstream.url}/mcp")
        governed = stack.enter_context(started("governed", str(folder)))
        scripts = {name: script(folder / f"{name}.lua", name, key) for name in ACCESS}
        rows = [row for name in ACCESS for row in compared(name, scripts[name], upstream, passed, governed)]
        return [*rows, grown(scripts["look"], governed)]


@contextmanager
def started(kind: str, *more: str) -> Iterator[Process]:
    """A process of `gateway_upstream.py`, ended afterwards."""
    process: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gateway_upstream", kind, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    found = Process(process, f"http://127.0.0.1:{int(process.stdout.readline())}")
    try:
        yield found
    finally:
        found.close()


def written(folder: Path, url: str) -> str:
    """A licet.toml with what it needs beside it; the key of an agent."""
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


def script(path: Path, tool: str, key: str) -> Path:
    """What wrk sends: calls of a tool, each with another argument."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"n": 12_345}, "_meta": META}}
    before, after = msgspec.json.encode(call).decode().split("12345")
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {key}",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    set_ = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers.items())
    path.write_text(
        f'wrk.method = "POST"\n{set_}local n = 0\nrequest = function()\n  n = n + 1\n'
        f"  return wrk.format(nil, \"/mcp/it\", nil, '{before}' .. n .. '{after}')\nend\n"
    )
    return path


def compared(name: str, asked: Path, upstream: Process, passed: Process, governed: Process) -> list[Row]:
    """One tool, through each."""
    sides = {"upstream": upstream, "passed": passed, "governed": governed}
    busy: dict[str, list[Served]] = {side: [] for side in sides}
    alone: dict[str, list[Served]] = {side: [] for side in sides}
    for process in sides.values():
        process.ask(asked, CONNECTIONS, 1)
    for _ in range(ROUNDS):
        for side, process in sides.items():
            busy[side].append(process.ask(asked, CONNECTIONS))
            alone[side].append(process.ask(asked, 1))
    cpu = {side: statistics.median(one.cpu for one in found) * 1e6 for side, found in busy.items()}
    rate = {side: statistics.median(one.rate for one in found) for side, found in busy.items()}
    p50 = {side: statistics.median(one.p50 for one in found) * 1e3 for side, found in alone.items()}
    kind = ACCESS[name]
    return [
        Row(name=f"{kind}: CPU per call, beside a pass-through", value=cpu["governed"], unit="us", base=cpu["passed"]),
        Row(name=f"{kind}: calls/s at {CONNECTIONS} connections", value=rate["governed"], unit="/s", base=rate["passed"]),
        Row(
            name=f"{kind}: added p50 at one connection",
            value=p50["governed"] - p50["upstream"],
            unit="ms",
            base=p50["passed"] - p50["upstream"],
        ),
    ]


def grown(asked: Path, governed: Process) -> Row:
    """What the process holds more after many calls."""
    governed.ask(asked, CONNECTIONS)
    before, done = governed.resident_mib(), 0
    while done < GROWTH_CALLS:
        done += governed.ask(asked, CONNECTIONS).done
    more = governed.resident_mib() - before
    return Row(name="growth over 100,000 calls", value=more, unit="MiB", target=f"<= {GROWTH_MIB} MiB", ok=more <= GROWTH_MIB)
