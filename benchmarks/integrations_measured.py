"""Measures one framework in its own environment: `python -m benchmarks.integrations_measured`, with `LICET_FRAMEWORK`. Prints JSON.

An agent works through calls of one tool, one after the other. How long the adapter's hook takes for a call is held against how long the
gate takes within it: the rest is the adapter's own. Beside it stands `gate.acall` of a function that does the same, with a key.
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

CALLS = 60
ROUNDS = 15
WARMING = 5
"""Rounds that are not counted: the first open the store and fill caches."""
_numbers = count()


def script() -> list[Any]:
    """One call a turn, so that none waits for another."""
    return [*[[Ask(f"call_{next(_numbers)}", "look", {"customer": "C-1"})] for _ in range(CALLS)], "done"]


def work(gate: Gate) -> None:
    """An agent's whole run."""
    assert FRAMEWORK is not None
    agent = driver_of(FRAMEWORK).agent(Setting(gate, Shop().tools("look"), script(), thread=f"thread-{next(_numbers)}"))
    with gate.acting(agent="shop-bot", user="alice"):
        agent.run()


def call(gate: Gate) -> None:
    """The same calls of a function that the gate governs."""

    async def calls() -> None:
        for _ in range(CALLS):
            await gate.acall("shop.look", {"customer": "C-1"}, idempotency_key=f"key-{next(_numbers)}")

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
    """Agent and function in turn; medians."""
    entered, inside, direct = hooks(), timed(Gate, "acall_brought"), timed(Gate, "acall")
    with gate_in_memory() as gate:
        gate.tool("shop.look", access="read")(Shop().make_look())
        for number in range(ROUNDS + WARMING):
            work(gate)
            call(gate)
            if number < WARMING:
                for taken in (*entered, inside, direct):
                    taken.clear()
    medians = [statistics.median(taken) for taken in entered]
    assert len(inside) == len(direct) == ROUNDS * CALLS
    print(json.dumps({"hooks": sum(medians), "gate": statistics.median(inside), "call": statistics.median(direct)}))


if __name__ == "__main__":
    main()
