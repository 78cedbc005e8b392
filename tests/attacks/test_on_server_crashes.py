"""Servers killed under load, databases restarted under load: what a client was told is in the log, and what is used once was used once."""

from __future__ import annotations

import http.client
import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet.ledger.verify import verify
from licet.testing import Read, records
from tests.attacks.serving import Reply, Site, ask, site
from tests.store.postgres import Server, remove_server, start_server

pytestmark = pytest.mark.heavy

CLIENTS = 8
UNSEEN = (OSError, http.client.HTTPException)
"""What a client sees of a server that dies."""


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server(fsync="on")
    yield server
    remove_server(server)


class Load:
    """Clients that propose calls, each with a key of its own, report them, and repeat what was not answered."""

    def __init__(self, made: Site) -> None:
        self.site = made
        self.numbers = itertools.count()
        self.receipts: list[tuple[str, int, str]] = []
        self.permitted: set[str] = set()
        self.open: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.unseen = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """They go on until `stop`."""
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """They have ended."""
        self.over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def told(self) -> int:
        """How many receipts clients hold."""
        return len(self.receipts)

    def until(self, count: int) -> None:
        """So many more receipts."""
        wanted, until = self.told() + count, time.monotonic() + 60
        while self.told() < wanted:
            assert time.monotonic() < until, (self.statuses, self.unseen)
            time.sleep(0.01)

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        while not self.over.is_set():
            key = f"key-{next(self.numbers)}"
            answer = self._insist("/api/v1/calls", {"tool": "door.open", "arguments": {"number": 1}, "idempotency_key": key}, chance)
            if answer is None:
                return
            told = answer.json
            with self._lock:
                self.receipts.append((told["receipt"]["log"], told["receipt"]["index"], told["receipt"]["leaf"]))
                if told["decision"] == "allow":
                    self.permitted.add(told["call"])
            if told["decision"] != "allow":
                assert told["decision"] == "repeat", told
                continue
            if chance.random() < 0.2:
                with self._lock:
                    self.open.append(told["call"])
                continue
            self._report(told["call"], chance)

    def _report(self, call: str, chance: random.Random) -> None:
        answer = self._insist(f"/api/v1/calls/{call}/outcome", {"status": "ok", "result": "opened"}, chance)
        if answer is not None:
            receipt = answer.json["receipt"]
            with self._lock:
                self.receipts.append((receipt["log"], receipt["index"], receipt["leaf"]))

    def _insist(self, path: str, body: dict[str, Any], chance: random.Random) -> Reply | None:
        """The answer of whichever server gives one; None when it is over."""
        while not self.over.is_set():
            living = [one for one in self.site.replicas if one.port and one.process.poll() is None]
            if not living:
                time.sleep(0.05)
                continue
            connection = chance.choice(living).connect()
            try:
                answer = ask(connection, "POST", path, self.site.keys["bot"], body)
            except UNSEEN:
                self.unseen += 1
                time.sleep(0.01)
                continue
            finally:
                connection.close()
            self.statuses[answer.status] += 1
            if answer.status == 200:
                return answer
            assert answer.status == 503, (answer.status, answer.content)
            time.sleep(0.05)
        return None


def check(made: Site, load: Load) -> list[Read]:
    """Everything that clients were told is there and whole, and nothing was permitted twice."""
    with made.open() as gate:
        with gate.store.source() as source:
            report = verify(source)
        assert report.ok, [str(problem) for problem in report.problems]
        found = records(gate, "acme")
    leaves = {record.receipt.index: record.receipt.leaf for record in found}
    for log, index, leaf in load.receipts:
        assert (log, leaves[index]) == ("acme", leaf)
    keys = Counter(record.envelope.key for record in found if record.kind == "intent" and record.envelope.key is not None)
    assert set(keys.values()) <= {1}, "a key was permitted twice"
    intents = Counter(record.envelope.call for record in found if record.kind == "intent")
    assert set(intents.values()) <= {1}
    ends = Counter(record.envelope.call for record in found if record.kind in {"outcome", "recovery"})
    assert set(ends.values()) <= {1}
    return found


def settled(made: Site, load: Load) -> None:
    """Every call that is open still can be reported through any server."""
    reported = 0
    for call in load.open:
        answer = made.replicas[-1].ask("POST", f"/api/v1/calls/{call}/outcome", made.keys["bot"], {"status": "ok"})
        assert answer.status == 200, answer.content
        reported += 1
    assert reported == len(load.open) > 0


def race(made: Site, number: int) -> None:
    """One approval, and eight who want to use it at once, some of them at a server that dies."""
    body = {"tool": "safe.open", "arguments": {"number": number}}
    bot, lena = made.keys["bot"], made.keys["lena"]
    server = made.replicas[-1]
    request = server.ask("POST", "/api/v1/calls", bot, body).json["request"]
    binding = server.ask("GET", f"/api/v1/requests/{request}", lena).json["binding"]
    vote = {"verdict": "approve", "binding": binding}
    assert server.ask("POST", f"/api/v1/requests/{request}/votes", lena, vote).status == 200

    def use(_: int) -> str:
        try:
            return str(server.ask("POST", "/api/v1/calls", bot, body).json.get("decision"))
        except UNSEEN:
            return "unseen"

    with ThreadPoolExecutor(CLIENTS) as pool:
        uses = pool.map(use, range(CLIENTS))
        time.sleep(0.002 * (number % 8))
        if number % 2:
            server.end(signal.SIGKILL)
        assert Counter(uses)["allow"] <= 1
    if number % 2:
        made.serve()


def check_approvals(found: list[Read]) -> None:
    """Each approval was used once at most."""
    used = [record.envelope.approval.request for record in found if record.kind == "intent" and record.envelope.approval is not None]
    assert len(used) == len(set(used)) > 0


def test_a_server_that_is_killed_under_load_has_lost_nothing_that_it_told(tmp_path: Path) -> None:
    with site(tmp_path / "site") as made:
        made.serve()
        load = Load(made)
        load.start()
        for number in range(4):
            load.until(100)
            made.replicas[-1].end(signal.SIGKILL)
            made.serve()
            race(made, number)
        load.until(50)
        load.stop()
        settled(made, load)
        found = check(made, load)
        check_approvals(found)
        assert load.unseen > 0, "nobody was cut off, so nothing was shown"


def test_of_two_servers_on_one_database_one_is_killed_and_the_other_goes_on_with_its_calls(tmp_path: Path, database: Server) -> None:
    with site(tmp_path / "site", database.make_database()) as made:
        made.serve(2)
        load = Load(made)
        load.start()
        for number in range(3):
            load.until(100)
            made.replicas[number].end(signal.SIGKILL)
            load.until(50)
            made.serve()
            race(made, number)
        load.stop()
        settled(made, load)
        found = check(made, load)
        check_approvals(found)
        assert load.unseen > 0


@pytest.mark.parametrize("number", [2, 3], ids=["in order", "crash"])
def test_a_database_that_restarts_under_load_costs_nobody_more_than_a_wait(tmp_path: Path, database: Server, number: int) -> None:
    with site(tmp_path / "site", database.make_database()) as made:
        servers = made.serve(2)
        load = Load(made)
        load.start()
        for _ in range(2):
            load.until(100)
            database.stop(number)
            time.sleep(0.3)
            database.start()
            load.until(100)
        load.stop()
        settled(made, load)
        check(made, load)
        assert set(load.statuses) <= {200, 503}
        assert [one.process.poll() for one in servers] == [None, None], "both have recovered by themselves"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_server_that_is_told_to_end_under_load_has_answered_everybody_whom_it_permitted_something(
    tmp_path: Path, database: Server, kind: str
) -> None:
    with site(tmp_path / "site", database.make_database() if kind == "postgres" else "") as made:
        (server,) = made.serve()
        load = Load(made)
        load.start()
        load.until(100)
        assert server.end(signal.SIGTERM) == 0
        load.stop()
        found = check(made, load)
        assert {record.envelope.call for record in found if record.kind == "intent"} == load.permitted
        assert server.errors() == []
