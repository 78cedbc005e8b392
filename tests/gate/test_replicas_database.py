"""The database goes away under replicas that are at work: it is restarted, it crashes, it stands still."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from licet.gate.results import Denied, Ok, Result
from tests.gate.asleep import until
from tests.gate.proof import assert_whole
from tests.gate.replicas import Replicas
from tests.server.serving import echo, running
from tests.store.postgres import Server, remove_server, start_server
from tests.world import CONFIG, world_on

if TYPE_CHECKING:
    from tests.gate.files import Files

pytestmark = pytest.mark.heavy

WITHOUT_DATABASE = {"Ok allowed", "Denied log_unavailable", "Denied freezes_unreadable", "Failed outcome_not_recorded"}
DOWN_S = 1.5


@pytest.fixture
def server() -> Iterator[Server]:
    """One that the test may stop."""
    made = start_server(fsync="on")
    yield made
    remove_server(made)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["in order", "as by a crash"])
def test_replicas_refuse_calls_while_the_database_is_away_and_lose_nothing(server: Server, tmp_path: Path, how: signal.Signals) -> None:
    replicas = Replicas(tmp_path, server.make_database())
    try:
        replicas.add(3)
        boots = replicas.at_once("boot")
        loads = [one.start("load", first=number * 1_000_000) for number, one in enumerate(replicas.all[:2])]
        until(lambda: all(len(one.receipts) > 20 for one in replicas.all[:2]))
        server.stop(how)
        refused = replicas[2].call("till.note", number=9_000_000)
        assert (refused["result"], refused["code"]) == ("Denied", "log_unavailable")
        time.sleep(DOWN_S)
        seen = [len(one.receipts) for one in replicas.all]
        server.start()
        until(lambda: all(len(one.receipts) > before + 20 for one, before in zip(replicas.all[:2], seen, strict=False)), 60)
        for one in replicas.all[:2]:
            one.ask("stop")
        found = [load.result(60)["found"] for load in loads]
        assert set().union(*found) <= WITHOUT_DATABASE
        assert replicas[2].call("till.note", number=9_000_001)["result"] == "Ok"
        assert replicas.at_once("boot") == boots, "nobody was started anew or declared dead"
        intents = {one.call for one in replicas.envelopes() if one.kind == "intent" and one.call is not None}
        replicas.until_ended(intents, 60)
        until(lambda: any(one.kind == "gap" for one in replicas.envelopes()))
    finally:
        replicas.close()
    records = replicas.assert_whole()
    assert 9_000_000 not in replicas.effects()
    assert replicas.effects()[9_000_001] == 1
    assert any(one.kind == "gap" for one in records)


def processes_of(server: Server) -> list[int]:
    """The server and all its backends; each is the leader of a group of its own."""
    found = [server.pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        if parent == server.pid:
            found.append(int(path.parent.name))
    return found


@contextmanager
def standing_still(server: Server) -> Iterator[None]:
    """Nothing of it answers, and no connection ends."""
    stopped = processes_of(server)
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)


def asked(port: int, path: str) -> int:
    """The status of an answer that must come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_server_whose_database_stands_still_lives_answers_and_says_that_it_is_not_ready(server: Server, tmp_path: Path) -> None:
    config = f'store = "{server.make_database()}"\n{CONFIG}\n[limits]\nstore_timeout_s = 2.0\n'
    with world_on(tmp_path, config) as w:
        assert isinstance(w.adjust(), Ok)
        with running(cast("Files", w), echo) as served:
            port = served.address.port
            until(lambda: asked(port, "/readyz") == 200)
            with standing_still(server), ThreadPoolExecutor(1) as pool:
                call = pool.submit(w.adjust)
                ready = pool.submit(asked, port, "/readyz")
                assert [asked(port, path) for path in ("/livez", "/anything")] == [200, 200]
                assert not call.done(), "the database had not answered by then"
                denied = call.result(60)
                assert isinstance(denied, Denied)
                assert denied.decision.code == "log_unavailable"
                assert ready.result(60) == 503
                assert asked(port, "/livez") == 200
            until(lambda: asked(port, "/readyz") == 200, 60)
            assert len(w.ran) == 1
            assert isinstance(w.adjust(), Ok)


def test_a_database_that_stands_still_holds_no_event_loop_up(server: Server, tmp_path: Path) -> None:
    config = f'store = "{server.make_database()}"\n{CONFIG}\n[limits]\nstore_timeout_s = 2.0\n'
    with world_on(tmp_path, config) as w:
        assert isinstance(w.adjust(), Ok)

        async def call() -> Result:
            with w.alice():
                return await w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": 100})

        async def main() -> tuple[list[Result], list[int]]:
            ticks = [0]

            async def tick() -> None:
                while True:
                    await asyncio.sleep(0.01)
                    ticks[-1] += 1

            ticking = asyncio.ensure_future(tick())
            with standing_still(server):
                results = await asyncio.gather(*[call() for _ in range(8)])
            ticking.cancel()
            return results, ticks

        results, ticks = asyncio.run(main())
        for result in results:
            assert isinstance(result, Denied)
            assert result.decision.code == "log_unavailable"
        assert ticks[0] > 20, "the loop went on while they waited"
        assert len(w.ran) == 1
        until(lambda: isinstance(w.adjust(), Ok), 60)
        until(lambda: not any(w.gate._house.unwritten) if w.gate._house is not None else False, 60)
        until(lambda: w.gate.store.open_calls() == ())
        assert_whole(w.gate)
