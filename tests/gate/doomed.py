"""Processes that govern calls until they are killed: `python -m tests.gate.doomed FOLDER`, told by lines of JSON on its input.

The process that is started opens nothing: for each round it forks one that does, so that a round costs an opening and not a start of Python.
What a process has reached it writes, unbuffered, one line for each step, into the pipe that it was given; what its tools have done, into the
file `effects`. Both survive it, as the world outside would.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from licet import Effect
from licet.gate.results import Held, Ok
from licet.store.contract import Batch
from licet.store.sqlite import SqliteStore
from licet.testing import vote
from tests.world import POLICIES, World, world_on

STEPS = (
    "opened",
    "resolving",
    "previewing",
    "appending an intent",
    "intent appended",
    "in the tool",
    "effect made",
    "appending an outcome",
    "outcome appended",
    "released",
)
"""Of a governed write, in order. `opened` is before everything: the ledger is being recovered, and what is in force recorded."""

DOOMED_POLICIES = (
    POLICIES
    + """
@id("till-writes")
permit (principal in Role::"billing", action in [Action::"till.pay", Action::"till.note"], resource);

@id("pay-needs-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"till.pay", resource);
"""
)
THREADS = 2
DWELL_S = 0.02


class Job(NamedTuple):
    """One call: `pay` is held and approved, `keyed` has an idempotency key, `note` has neither, `read` is a merged read."""

    kind: str
    number: int


class _Dwelling:
    """A step that takes a while when it is reached for the nth time, so that a kill can meet the process there."""

    step = ""
    times = 0


def line(*words: object) -> None:
    """In one write, so that it is there whole or not at all."""
    text = " ".join(map(str, words))
    os.write(sys.stdout.fileno(), f"{text}\n".encode())
    if _Dwelling.step and text.startswith(_Dwelling.step):
        _Dwelling.times -= 1
        if _Dwelling.times == 0:
            time.sleep(DWELL_S)


class Till(Struct, frozen=True):
    """What resolvers return for `Till::"T-1"`."""

    tenant: str


class Doomed:
    """One process: its world, and tools whose effects lie in a file."""

    def __init__(self, w: World, folder: Path) -> None:
        self.w = w
        self._effects = os.open(folder / "effects", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        self._register()

    def _register(self) -> None:
        gate = self.w.gate

        @gate.resource("Till")
        def till(_identifier: str) -> Till:
            line("resolving")
            return Till("acme")

        @gate.tool("till.pay", access="write", touches={"money"}, targets="Till::T-1")
        def pay(number: int) -> str:
            return self._act(number)

        @pay.preview
        def preview(number: int) -> list[Effect]:
            line("previewing")
            return [Effect(target='Till::"T-1"', field="paid", before=0, after=number)]

        @gate.tool("till.note", access="write", touches={"money"}, targets="Till::T-1")
        def note(number: int) -> str:
            return self._act(number)

        @gate.tool("till.read", access="read", targets="Till::T-1")
        def read(number: int) -> int:
            return number

    def _act(self, number: int) -> str:
        line("in the tool")
        os.write(self._effects, f"{number}\n".encode())
        line("effect made")
        return "done"

    def do(self, job: Job) -> None:
        """The call, made as an agent makes it; what its caller learns is said."""
        line("began", job.kind, job.number)
        result = self._call(job)
        if isinstance(result, Held) and job.kind == "pay":
            vote(self.w.gate, result.request, "lena")
            line("approved", job.number)
            result = self._call(job)
        if isinstance(result, Ok):
            assert result.receipt is not None
            line("released", job.number, result.receipt.log, result.receipt.index, result.receipt.leaf)
        else:
            line("refused", job.number, type(result).__name__)

    def again(self, job: Job) -> None:
        """A call of a process that died, repeated with the same arguments and key; nobody votes."""
        line("repeated", job.number, type(self._call(job)).__name__)

    def _call(self, job: Job) -> Any:
        tool = {"pay": "till.pay", "read": "till.read"}.get(job.kind, "till.note")
        with self.w.alice():
            return self.w.gate.call(tool, {"number": job.number}, idempotency_key=f"k-{job.number}" if job.kind == "keyed" else None)


def live(folder: Path, first: int, seed: float, repeats: Sequence[Job]) -> None:
    """Repeat calls of processes that died, then make calls without end, in threads, numbered from `first`."""
    _watch_commits()
    line("opened")
    with world_on(folder, policies=DOOMED_POLICIES) as w:
        doomed = Doomed(w, folder)
        for job in repeats:
            doomed.again(job)

        def work(thread: int) -> None:
            chance = random.Random(f"{seed} {thread}")
            number = first + thread
            try:
                while True:
                    doomed.do(Job(chance.choice(["pay", "keyed", "note", "read"]), number))
                    number += THREADS
            except BaseException as error:  # noqa: BLE001  nobody else would say so
                line("failed", repr(error))

        for thread in range(THREADS):
            threading.Thread(target=work, args=(thread,), daemon=True).start()
        threading.Event().wait()


def _watch_commits() -> None:
    commit = SqliteStore.commit

    def watched(self: SqliteStore, batches: Sequence[Batch]) -> Any:
        kinds = {record.kind for batch in batches for record in batch.records}
        for kind in ("intent", "outcome"):
            if kind in kinds:
                line(f"appending an {kind}")
        answers = commit(self, batches)
        for kind in ("intent", "outcome"):
            if kind in kinds:
                line(f"{kind} appended")
        return answers

    SqliteStore.commit = watched  # type: ignore[method-assign]  # this process is about nothing else


def main(folder: Path) -> None:
    """Fork a process for each line of input, and say how it ended."""
    for told in sys.stdin:
        order = json.loads(told)
        child = os.fork()
        if child == 0:
            line("process", os.getpid())
            _Dwelling.step, _Dwelling.times = order["dwell"], order["times"]
            try:
                live(folder, order["first"], order["seed"], [Job(*job) for job in order["repeats"]])
            except BaseException as error:  # noqa: BLE001  it is told to whoever started this, and the process ends
                line("failed", repr(error))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        line("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
