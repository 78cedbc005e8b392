"""How soon a freeze stops another process, and what looking for freezes costs every call.

Another process makes reads or writes one after the other. The time runs from the receipt of the freeze here to the moment at which the
first call there is denied, so the call that was on its way is in it; both are read from the machine's steady clock. Step 0 is the part of
it that looks for freezes, with the store's view fresh, beside the whole decision on a call without a target, the cheapest there is.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.rows import Row
from licet.gate import checks
from licet.gate.acting import Acting
from licet.gate.draft import Draft
from licet.gate.house import OpenHouse
from licet.gate.results import Denied
from licet.model import Caller, CallId
from tests.gate.freezing import call, tell
from tests.world import World, world, world_on

HERE = Path(__file__).parent
FREEZES = 30
TARGET_MS = 1_000
CALLS, ROUNDS = 2_000, 9
MANY = 100
SHARE = 0.1
_CALLER = Caller(tenant="acme", agent="support-bot", user="alice")
_ACTING = Acting(agent="support-bot", user="alice", session="s-of-another-run")


def run() -> list[Row]:
    """Receipt to first denial elsewhere, by kind of call; and step 0 without a freeze and with a hundred."""
    rows: list[Row] = []
    for what in ("read", "write"):
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            rows += elsewhere(Path(folder), what)
    with world() as w:
        return rows + step_0(w)


def elsewhere(folder: Path, what: str) -> list[Row]:
    """Freezes here, one after the other, and how long after each the other process was denied its first call."""
    command = [sys.executable, "-m", "benchmarks.bench_freeze", str(folder), what]
    took_ms = []
    with (
        world_on(folder) as w,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(FREEZES):
            process.stdout.readline()  # it runs
            time.sleep(0.013 * number % 0.25)  # anywhere between two looks of its view
            freeze = w.gate.freeze("agent", "support-bot", reason="measured")
            began = time.monotonic_ns()
            took_ms.append((int(process.stdout.readline()) - began) / 1e6)
            w.gate.lift(freeze.id, reason="measured")
        process.stdin.close()
        process.terminate()
    took_ms.sort()
    p50, p95 = took_ms[len(took_ms) // 2], took_ms[int(len(took_ms) * 0.95)]
    name = f"receipt of a freeze to the first {what} that another process denies"
    return [
        {"name": f"{name}: p50", "value": p50, "unit": "ms"},
        {"name": f"{name}: p95", "value": p95, "unit": "ms", "target": f"at most {TARGET_MS} ms", "ok": p95 <= TARGET_MS},
    ]


def keep_calling(folder: Path, what: str) -> None:
    """The other process: says when it runs, and the moment of the first denial after that, until it is ended."""
    with world_on(folder) as w:
        while True:
            while isinstance(call(w, what), Denied):
                time.sleep(0.005)
            tell("running")
            while not isinstance(call(w, what), Denied):
                pass
            tell(str(time.monotonic_ns()))


def step_0(w: World) -> list[Row]:
    """What a call pays for freezes that do not stop it, beside what its decision costs."""
    w.gate.seal()
    house = w.gate._house  # noqa: SLF001  the figure is of a part
    assert house is not None
    rows: list[Row] = []
    with w.alice():
        decision = measure_us(lambda: w.gate.check("odd.now", {}))
        for count in (0, MANY):
            for number in range(count):
                w.gate.freeze("session", f"s-{number}", reason="measured")
            took = measure_us(lambda: look(house))
            rows.append(
                {
                    "name": f"step 0, of it what looks for freezes, {count} standing",
                    "value": took,
                    "unit": "us",
                    "base": decision,
                    "ratio": took / decision,
                    "target": f"at most {SHARE} of a decision",
                    "ok": took <= SHARE * decision,
                }
            )
    return rows


def look(house: OpenHouse) -> None:
    """As the pipeline and a driver do it."""
    draft = Draft(CallId("measured"), 0, _ACTING, "crm.lookup", {})
    draft.caller = _CALLER
    steps = checks.refuse_frozen(draft, house.scene)
    next(steps)
    try:
        steps.send(house.services.freezes.current())
    except StopIteration:
        return


def measure_us(act: Callable[[], object]) -> float:
    """The median over rounds of what one costs."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(CALLS):
            act()
        rounds.append((time.perf_counter_ns() - began) / CALLS / 1_000)
    return statistics.median(rounds)


if __name__ == "__main__":
    keep_calling(Path(sys.argv[1]), sys.argv[2])
