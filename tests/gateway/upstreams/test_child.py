"""The processes of upstreams: what they are given, and that nothing of them is ever left."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from licet.gateway.connection import NotSeen
from licet.gateway.upstreams import child
from licet.gateway.upstreams.child import Complaints
from licet.model import JsonObject
from tests.gateway.upstreams.crew import call, is_running, pool_of, said, until, voyage
from tests.gateway.upstreams.servers.commands import legacy

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(autouse=True)
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.upstreams.stdio.GRACE_S", 0.2)


async def started(folder: Path, *modes: str, end: Callable[[JsonObject], object]) -> JsonObject:
    """What a server says of itself, with its grandchild's number; `end` has been called with it before the pool ended."""
    async with pool_of(legacy(*modes), folder) as pool:
        connection = await pool.connect("it", voyage())
        await call(connection, "fork", pidfile=str(folder / "pid"))
        found: JsonObject = (await call(connection, "whoami"))["structuredContent"]
        found["grandchild"] = int((folder / "pid").read_text())
        end(found)
        return found


def run(work: object, loop: Loop = asyncio.new_event_loop) -> JsonObject:
    with asyncio.Runner(loop_factory=loop) as runner:
        found: JsonObject = runner.run(work)  # type: ignore[arg-type]
        return found


@LOOPS
@pytest.mark.parametrize("modes", [(), ("ignores-end",), ("ignores-sigterm",), ("ignores-end", "ignores-sigterm")], ids="-".join)
def test_nothing_is_left_of_a_process_that_was_ended_however_it_resists(tmp_path: Path, modes: tuple[str, ...], loop: Loop) -> None:
    def check(found: JsonObject) -> None:
        assert is_running(found["pid"])
        assert is_running(found["grandchild"])

    found = run(started(tmp_path, *modes, end=check), loop)
    assert [is_running(found[name]) for name in ("pid", "parent", "grandchild")] == [False] * 3


def test_a_process_that_obeys_ends_by_itself_when_its_input_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "licet.gateway")
    run(started(tmp_path, end=lambda _: None))
    assert "the process of upstream `it` has ended: exit status 0" in caplog.messages


def test_a_process_that_ignores_its_end_is_told_and_one_that_ignores_that_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "licet.gateway")
    run(started(tmp_path, "ignores-end", end=lambda _: None))
    run(started(tmp_path, "ignores-end", "ignores-sigterm", end=lambda _: None))
    ends = [line for line in caplog.messages if "has ended: " in line]
    assert ends == [f"the process of upstream `it` has ended: exit status {-number}" for number in (signal.SIGTERM, signal.SIGKILL)]


def test_nothing_is_left_when_the_process_dies_by_itself(tmp_path: Path) -> None:
    async def main() -> JsonObject:
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            await call(connection, "fork", pidfile=str(tmp_path / "pid"))
            grandchild = int((tmp_path / "pid").read_text())
            with pytest.raises(NotSeen):
                await call(connection, "die")
            await until(lambda: not is_running(grandchild))
            return {}

    run(main())


def test_a_keeper_that_is_killed_takes_the_process_with_it_and_the_call_is_unknown(tmp_path: Path) -> None:
    async def main() -> JsonObject:
        async with pool_of(legacy("ignores-end", "ignores-sigterm"), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            found: JsonObject = (await call(connection, "whoami"))["structuredContent"]
            waiting = asyncio.create_task(call(connection, "never"))
            await asyncio.sleep(0)
            os.kill(found["parent"], signal.SIGKILL)
            with pytest.raises(NotSeen):
                await waiting
            await until(lambda: not is_running(found["pid"]))
            assert said(await call(await pool.connect("it", voyage()), "add", a=1, b=2)) == "3"
            return found

    run(main())


def test_a_gateway_that_is_killed_leaves_neither_process_nor_grandchild(tmp_path: Path) -> None:
    script, pidfile = Path(__file__).with_name("gateway_process.py"), tmp_path / "pid"
    with subprocess.Popen([sys.executable, str(script), str(tmp_path), str(pidfile)], stdout=subprocess.PIPE) as gateway:
        assert gateway.stdout is not None
        found = json.loads(gateway.stdout.readline())
        found["grandchild"] = int(pidfile.read_text())
        assert all(is_running(pid) for pid in found.values())
        gateway.kill()
        gateway.wait()
    while any(is_running(pid) for pid in found.values()):  # it is left alone twice for `GRACE_S` before it is killed
        time.sleep(0.01)


def test_signals_of_the_terminal_do_not_reach_it(tmp_path: Path) -> None:
    """It is the gateway that ends its processes, when their calls have ended: they are in sessions of their own."""

    def check(found: JsonObject) -> None:
        assert os.getsid(found["pid"]) == found["pid"]
        assert os.getsid(found["parent"]) != os.getsid(0)

    run(started(tmp_path, end=check))


def test_a_process_gets_what_it_is_given_and_nothing_of_the_gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICET_SECRET", "the gateway's own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the gateway's own")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = run(started(tmp_path, end=lambda _: None))
    assert set(found["environment"]) <= {*child.INHERITED, "FAKE_JOURNAL"}
    assert {"PATH", "FAKE_JOURNAL"} <= set(found["environment"])
    assert found["cwd"] == str(tmp_path)


def test_a_process_starts_in_its_own_folder(tmp_path: Path) -> None:
    async def main() -> JsonObject:
        async with pool_of(legacy(), tmp_path, cwd=tmp_path.parent) as pool:
            found: JsonObject = (await call(await pool.connect("it", voyage()), "whoami"))["structuredContent"]
            return found

    assert run(main())["cwd"] == str(tmp_path.parent)


def test_who_gives_up_while_a_process_starts_leaves_none(tmp_path: Path) -> None:
    async def main() -> JsonObject:
        for turns in range(12):
            async with pool_of(legacy(), tmp_path) as pool:
                connecting = asyncio.create_task(pool.connect("it", voyage()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                connecting.cancel()
                await asyncio.wait({connecting})
        return {}

    run(main())
    assert _children() == []


def _children() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append((path.parent / "cmdline").read_text())
    return [one for one in found if "keeper.py" in one]


def test_complaints_are_lines_of_the_log_with_nothing_in_them_that_commands_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "licet.gateway")

    async def main() -> JsonObject:
        complaints = Complaints("it")
        for piece in (b"be", b"gun\nand \x1b[31mred\n\n", b"\xff\n", b"x" * 3_000, b"x" * 3_000 + b"\nla", b"st"):
            complaints.data_received(piece)
        complaints.connection_lost(None)
        return {}

    run(main())
    said_lines = [line.removeprefix("upstream `it` says: ") for line in caplog.messages]
    assert said_lines == ["begun", "and \\u{1b}[31mred", "\N{REPLACEMENT CHARACTER}", "x" * 2_000, "last"]
