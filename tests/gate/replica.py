"""A replica: a process with a gate on a store that it shares with others. `python -m tests.gate.replica FOLDER`.

It reads orders from its input, one line of JSON each, and does each in a thread of its own; answers carry the order's number. What it was given
receipts for, it says at once, so that it is known whatever becomes of it. What its tools have done lies in the file `effects` beside the
folder, which all replicas share.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import Struct

from licet import Gate
from licet.gate.remote import CallReport
from licet.gate.results import Failed, Held, Ok, Permitted, Proposed
from licet.ledger.frozen import Scope
from licet.model import CallId, PlanId, RequestId
from licet.testing import Clock, vote
from tests.world import World, populate

_writing = threading.Lock()


def say(value: object) -> None:
    """In one write, so that it is there whole or not at all."""
    with _writing:
        os.write(sys.stdout.fileno(), (json.dumps(value) + "\n").encode())


class Till(Struct, frozen=True):
    """What resolvers return for `Till::"T-1"`."""

    tenant: str


def told(result: Proposed) -> dict[str, Any]:
    """A result for whoever reads this process's output."""
    receipt = result.receipt
    return {
        "result": type(result).__name__,
        "code": result.code if isinstance(result, Failed) else result.decision.code,
        "message": result.message if isinstance(result, Failed) else result.decision.message,
        "request": result.request if isinstance(result, Held) else None,
        "call": result.call if isinstance(result, Permitted) else None,
        "receipt": None if receipt is None else (receipt.log, receipt.index, receipt.leaf),
        "value": result.value if isinstance(result, Ok) else None,
        "at": time.monotonic(),
    }


class Replica:
    """Each public method is an order."""

    def __init__(self, folder: Path) -> None:
        self.w = World(Gate(folder / "licet.toml"), Clock())
        populate(self.w)
        self._effects = os.open(folder.parent / "effects", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        self._stopped = threading.Event()
        gate = self.w.gate

        @gate.resource("Till")
        def till(_identifier: str) -> Till:
            return Till("acme")

        @gate.tool("till.note", access="write", touches={"money"}, targets="Till::T-1")
        def note(number: int) -> str:
            os.write(self._effects, f"{number}\n".encode())
            return "noted"

        @gate.tool("till.hang", access="write", touches={"money"}, targets="Till::T-1", timeout_s=120.0)
        def hang(number: int) -> str:
            os.write(self._effects, f"{number}\n".encode())
            say({"hangs": number})
            threading.Event().wait()
            return "never"

        gate.seal()

    def boot(self) -> str:
        """Who this is in the log."""
        return self.w.gate.store.boot

    def call(self, tool: str, arguments: dict[str, Any], times: int = 1, **more: Any) -> list[dict[str, Any]]:
        """The same call so many times at once; every result."""
        barrier = threading.Barrier(times)

        def once(_: int) -> dict[str, Any]:
            barrier.wait()
            with self.w.alice():
                return told(self.w.gate.call(tool, arguments, **more))

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(once, range(times)))

    def load(self, first: int, threads: int = 4, count: int | None = None) -> dict[str, Any]:
        """Calls with numbers of their own, until `stop` or so many by each thread; how they ended, and how long the slowest took."""
        self._stopped.clear()
        found: dict[str, int] = {}
        slowest = [0.0]

        def work(thread: int) -> None:
            number, left = first + thread, count
            while not self._stopped.is_set() and left != 0:
                began = time.monotonic()
                with self.w.alice():
                    result = told(self.w.gate.call("till.note", {"number": number}))
                slowest[0] = max(slowest[0], time.monotonic() - began)
                if result["receipt"] is not None:
                    say({"receipt": result["receipt"], "number": number, "result": result["result"]})
                kind = f"{result['result']} {result['code']}"
                with _writing:
                    found[kind] = found.get(kind, 0) + 1
                if result["result"] != "Ok":
                    time.sleep(0.02)
                number += threads
                left = None if left is None else left - 1

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        return {"found": found, "slowest_s": slowest[0]}

    def stop(self) -> None:
        """The load ends."""
        self._stopped.set()

    def vote(self, request: str, voter: str) -> float:
        """Somebody approves; when that began, by the machine's steady clock."""
        began = time.monotonic()
        vote(self.w.gate, RequestId(request), voter)
        return began

    def waiting(self) -> str | None:
        """The request that is open, once there is one."""
        found = [shown.request.id for shown in self.w.gate.approvals.waiting()]
        return found[0] if found else None

    def freeze(self, scope: Scope, name: str) -> str:
        """A freeze, which is in force now."""
        return str(self.w.gate.freeze(scope, name, reason="stop").id)

    def lift(self, freeze: str) -> None:
        """It is in force no more."""
        self.w.gate.lift(freeze, reason="over")

    def propose(self, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A call that somebody else executes."""
        with self.w.alice():
            return told(self.w.gate.propose(tool, arguments, **more))

    def report(self, call: str, result: str) -> str:
        """How it ended; what was refused, if it was."""
        with self.w.alice():
            receipt = self.w.gate.report(CallId(call), CallReport(status="ok", result=json.dumps(result).encode()))
        return type(receipt).__name__

    def plan(self, calls: list[tuple[str, dict[str, Any]]], times: int = 1) -> list[dict[str, Any]]:
        """The same plan so many times at once."""
        barrier = threading.Barrier(times)

        def once(_: int) -> dict[str, Any]:
            barrier.wait()
            with self.w.alice():
                result = self.w.gate.plan([(tool, arguments) for tool, arguments in calls])
            return {"state": result.state, "plan": result.plan, "steps": [told(one.result) if one.result else None for one in result.steps]}

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(once, range(times)))

    def vote_plan(self, plan: str, voter: str, steps: list[int]) -> None:
        """Somebody approves these steps."""
        self.w.gate.approvals.vote_plan(PlanId(plan), voter, dict.fromkeys(steps, "approve"))

    def reload(self) -> bool:
        """What its own licet.toml and policies say now is in force."""
        return bool(self.w.gate.reload().changed)

    def bundle(self) -> str:
        """The digest of what decides here."""
        return self.w.gate.scene.digest

    def ran(self) -> list[str]:
        """The tools that ran here."""
        return [tool for tool, _ in self.w.ran]

    def delivers(self) -> bool:
        """Whether people are told by this process."""
        house = self.w.gate._house
        assert house is not None
        return house._deliverer is not None and house._deliverer.holds

    def do(self, order: dict[str, Any]) -> None:
        """The order is done and answered."""
        act: Callable[..., Any] = getattr(self, order["do"])
        try:
            say({"id": order["id"], "value": act(**order["with"])})
        except Exception as error:  # noqa: BLE001  it is told to whoever gave the order
            say({"id": order["id"], "error": f"{type(error).__name__}: {error}"})


def main(folder: Path) -> None:
    """Until the input ends."""
    replica = Replica(folder)
    say({"ready": os.getpid()})
    for line in sys.stdin:
        threading.Thread(target=replica.do, args=(json.loads(line),), daemon=True).start()
    replica.w.gate.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
