"""Several replicas (tests/gate/replica.py) on one ledger, and what must be true of that ledger whatever was done to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from licet.config import load
from licet.gate.opening import open_reading
from licet.ledger.keys import create_key_file
from licet.ledger.record import Envelope, decode_envelope
from licet.ledger.verify import verify
from licet.model import CallId
from tests.gate.asleep import until
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES

ROOT = Path(__file__).parents[2]
HEARD_S = 120.0
CONFIG = (
    REMOTE_CONFIG
    + """
[tools."wire.quick"]
access = "write"
touches = ["money"]
targets = "Customer::{customer_id}"
input = {customer_id = "string"}
timeout_s = 0.5
[notify]
max_age = "10m"
[[notify.channels]]
name = "screen"
kind = "terminal"
stream = "stderr"
"""
)
POLICIES = (
    REMOTE_POLICIES
    + """
@id("tills")
permit (principal in Role::"billing", action in [Action::"till.note", Action::"till.hang", Action::"wire.quick"], resource);
"""
)


class Far:
    """A replica, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receipts: list[tuple[str, int, str]] = []
        self.hanging: list[int] = []
        self._answers: dict[int, Future[Any]] = {}
        self._number = 0
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.gate.replica", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> None:
        assert self._ready.wait(HEARD_S)

    def start(self, do: str, **arguments: Any) -> Future[Any]:
        """Its answer, some time."""
        self._number += 1
        answer = self._answers[self._number] = Future()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": self._number, "do": do, "with": arguments}) + "\n")
        self.process.stdin.flush()
        return answer

    def ask(self, do: str, **arguments: Any) -> Any:
        """Its answer."""
        return self.start(do, **arguments).result(HEARD_S)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of one call."""
        (found,) = self.ask("call", tool=tool, arguments=arguments)
        assert isinstance(found, dict)
        return found

    def kill(self) -> None:
        """As the machine would."""
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait(30) == -9
        self._reader.join(30)

    def close(self) -> None:
        """It has ended in order, if it was not killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            ended = self.process.wait(60)
            assert ended in {0, -signal.SIGKILL}, f"a replica ended with {ended}"
        except BaseException:
            self.process.kill()
            raise
        finally:
            self._reader.join(30)
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                heard = json.loads(line)
            except json.JSONDecodeError:
                break  # it was killed within the line
            self._hear(heard)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(RuntimeError("the replica has ended"))

    def _hear(self, heard: dict[str, Any]) -> None:
        if "ready" in heard:
            self._ready.set()
        elif "receipt" in heard:
            log, index, leaf = heard["receipt"]
            self.receipts.append((log, index, leaf))
        elif "hangs" in heard:
            self.hanging.append(heard["hangs"])
        elif "error" in heard:
            self._answers[heard["id"]].set_exception(RuntimeError(heard["error"]))
        else:
            self._answers[heard["id"]].set_result(heard["value"])


class Replicas:
    """Replicas on one ledger, each on a host of its own as far as its files go; they share the key."""

    def __init__(self, folder: Path, store: str, config: str = CONFIG) -> None:
        self.folder = folder
        self.all: list[Far] = []
        self._store = store
        self._config = config
        create_key_file(folder / "licet.key")

    def __getitem__(self, number: int) -> Far:
        return self.all[number]

    def add(self, count: int = 1) -> None:
        """So many more of them are ready."""
        new = [Far(self._host(len(self.all) + number)) for number in range(count)]
        self.all += new
        for one in new:
            one.ready()

    def at_once(self, do: str, **arguments: Any) -> list[Any]:
        """The answers of all of them to the same order."""
        return [answer.result(HEARD_S) for answer in [one.start(do, **arguments) for one in self.all if one.process.poll() is None]]

    def envelopes(self, log: str = "acme") -> list[Envelope]:
        """What the log says, read without being a replica."""
        with self._reading() as store:
            return [decode_envelope(record.envelope) for record in store.records(log)]

    def until_ended(self, calls: set[CallId], limit_s: float) -> None:
        """Each of these calls has an end in the log."""
        until(lambda: calls <= {one.call for one in self.envelopes() if one.kind in {"outcome", "recovery"}}, limit_s)

    def effects(self) -> Counter[int]:
        """What the tools have done, by number."""
        path = self.folder / "effects"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def assert_whole(self) -> list[Envelope]:
        """No fork, nothing lost, nothing doubled; the records of the tenant's log."""
        with self._reading() as store:
            with store.source() as source:
                report = verify(source)
                leaves = [row[5].hex() for rows in source.rows("acme") for row in rows]
            assert report.ok, [str(problem) for problem in report.problems]
            records = list(store.records("acme"))
        assert [record.index for record in records] == list(range(len(records)))
        given = [receipt for one in self.all for receipt in one.receipts]
        assert len({index for _, index, _ in given}) == len(given), "an index was given twice"
        for log, index, leaf in given:
            assert (log, leaves[index]) == ("acme", leaf), "what was answered is lost"
        envelopes = [decode_envelope(record.envelope) for record in records]
        intents = Counter(one.call for one in envelopes if one.kind == "intent")
        ends = Counter(one.call for one in envelopes if one.kind in {"outcome", "recovery"})
        assert ends == intents, "each intent has one end"
        effects = self.effects()
        assert all(count == 1 for count in effects.values()), "something was done twice"
        assert effects.total() <= intents.total(), "something was done without an intent"
        used = Counter(one.approval.request for one in envelopes if one.kind == "intent" and one.approval is not None)
        assert all(count == 1 for count in used.values()), "an approval was used twice"
        return envelopes

    def close(self) -> None:
        """All of them have ended."""
        problems = []
        for one in self.all:
            try:
                one.close()
            except BaseException as error:  # noqa: BLE001  the others must end too
                problems.append(error)
        assert not problems, problems

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        store = open_reading(load(self.all[0].folder / "licet.toml"), lambda: datetime.now(UTC))
        try:
            yield store
        finally:
            store.close()

    def _host(self, number: int) -> Path:
        folder = self.folder / f"host-{number}"
        (folder / "policies").mkdir(parents=True)
        (folder / "policies" / "all.cedar").write_text(POLICIES)
        (folder / "licet.toml").write_text(f'store = "{self._store}"\nkeys = "file:{self.folder / "licet.key"}"\n{self._config}')
        return folder
