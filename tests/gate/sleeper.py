"""A process whose callers wait for people: `python -m tests.gate.sleeper FOLDER WAY CALLERS AMOUNT`.

It says `asleep` when all of them wait, then a line of JSON for each result: what it is, its code, its request, and when it was there (the
machine's steady clock, which all processes share). Each line of its input starts the callers once more, with the next amount.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from licet.gate.results import Denied, Failed, Held, Ok, Result
from tests.gate.asleep import LONG_S, asleep
from tests.world import World, world_on


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def told(result: Result) -> dict[str, object]:
    """A result for whoever reads this process's output."""
    seen = time.monotonic()
    match result:
        case Ok() | Denied() | Held():
            code = result.decision.code
        case Failed():
            code = result.code
    return {"result": type(result).__name__, "code": code, "at": seen}


def in_threads(w: World, callers: int, amount: int) -> None:
    def call(_: int) -> dict[str, object]:
        return told(w.adjust(amount, wait=LONG_S))

    with ThreadPoolExecutor(callers) as pool:
        found = [pool.submit(call, number) for number in range(callers)]
        asleep(w, callers)
        say("asleep")
        for one in found:
            say(one.result())


def in_tasks(w: World, callers: int, amount: int) -> None:
    async def call() -> dict[str, object]:
        with w.alice():
            return told(await w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": amount}, wait=LONG_S))

    async def main() -> None:
        found = [asyncio.ensure_future(call()) for _ in range(callers)]
        await asyncio.to_thread(asleep, w, callers)
        say("asleep")
        for one in found:
            say(await one)

    asyncio.run(main())


def main(folder: Path, way: str, callers: int, amount: int) -> None:
    with world_on(folder) as w:
        w.gate.seal()
        while True:
            w.customers["C-1"]["balance"] = 100  # as every other process has it, so that what is previewed is the same
            (in_threads if way == "thread" else in_tasks)(w, callers, amount)
            say({"ran": len(w.ran)})
            if not sys.stdin.readline():
                return
            amount += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
