"""Measures one framework in its own environment: `python -m benchmarks.integrations_measured`, with `LICET_FRAMEWORK`. Prints JSON.

An agent works through calls of one tool, one in each turn of its model. How long the adapter's hooks take for a call and its turn is held
against how long the gate takes within them: the rest is the adapter's own, with what it asks the gate beside. Beside it stands `gate.acall`
of a function that does the same, with a key. What is looked at once when an agent starts is not measured.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from itertools import count
from typing import Any

from licet import Gate
from tests.integrations.driving import FRAMEWORK, Ask, Setting, driver_of
from tests.integrations.shop import Shop, gate_in_memory

CALLS = 8
"""In a run: some frameworks end one after ten turns."""
ROUNDS = 100
WARMING = 20
"""Rounds that are not counted: the first open the store and fill caches."""
_numbers = count()


def script() -> list[Any]:
    """One call a turn, so that none waits for another."""
    return [*[[Ask(f"call_{next(_numbers)}", "look", {"customer": f"C-{number}"})] for number in range(CALLS)], "done"]


def work(gate: Gate) -> None:
    """An agent's whole run."""
    assert FRAMEWORK is not None
    agent = driver_of(FRAMEWORK).agent(Setting(gate, Shop().tools("look"), script(), thread=f"thread-{next(_numbers)}"))
    with gate.acting(agent="shop-bot", user="alice"):
        agent.run()


def call(gate: Gate) -> None:
    """The same calls of a function that the gate governs."""

    async def calls() -> None:
        for number in range(CALLS):
            await gate.acall("shop.look", {"customer": f"C-{number}"}, idempotency_key=f"key-{next(_numbers)}")

    with gate.acting(agent="shop-bot", user="alice", session="session"):
        asyncio.run(calls())


def timed(owner: Any, name: str) -> list[float]:
    """Every call of a function from now on, in microseconds."""
    function: Callable[..., Any] = getattr(owner, name)
    taken: list[float] = []

    def since(began: int) -> None:
        taken.append((time.perf_counter_ns() - began) / 1_000)

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter_ns()
        try:
            return await function(*args, **kwargs)
        finally:
            since(began)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter_ns()
        try:
            return function(*args, **kwargs)
        finally:
            since(began)

    setattr(owner, name, awaited if inspect.iscoroutinefunction(function) else called)
    return taken


def hooks() -> list[list[float]]:
    """The adapter's functions that the framework enters for each call, as its driver names them."""
    assert FRAMEWORK is not None
    module = import_module(f"licet.integrations.{FRAMEWORK}")
    found = []
    for dotted in driver_of(FRAMEWORK).hooks:
        owner, _, name = dotted.rpartition(".")
        found.append(timed(getattr(module, owner) if owner else module, name))
    return found


def main() -> None:
    """Agent and function in turn; medians of each function, times how often a call has it entered."""
    assert FRAMEWORK is not None
    entered, inside, direct = hooks(), [timed(Gate, name) for name in driver_of(FRAMEWORK).within], timed(Gate, "acall")
    with gate_in_memory() as gate:
        gate.tool("shop.look", access="read")(Shop().make_look())
        for number in range(ROUNDS + WARMING):
            work(gate)
            call(gate)
            if number < WARMING:
                for taken in (*entered, *inside, direct):
                    taken.clear()
    assert all(len(taken) == ROUNDS * CALLS for taken in (*inside, direct)), [len(taken) for taken in (*entered, *inside, direct)]
    asked = sum(statistics.median(taken) * len(taken) / (ROUNDS * CALLS) for taken in entered)
    print(json.dumps({"share": asked - sum(map(statistics.median, inside)), "call": statistics.median(direct)}))


if __name__ == "__main__":
    main()
