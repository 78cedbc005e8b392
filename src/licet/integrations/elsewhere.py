"""Asks a framework what it tells only asynchronously, from a synchronous caller who may have an event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from licet.errors import ConfigInvalid

T = TypeVar("T")
ANSWER_S = 30.0
"""A server that is asked for its tools may have to be started first."""


def awaited_elsewhere(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives, awaited on an event loop in a thread of its own.

    Raises what it raises, and `ConfigInvalid` where it takes longer than `ANSWER_S`.
    """
    found: list[T] = []
    failed: list[BaseException] = []

    async def work() -> None:
        found.append(await ask())

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, name="licet-coverage", daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    if thread.is_alive():  # it may wait for the very event loop that waits here
        how = "in an event loop, `await asyncio.to_thread(gate.coverage, agent)`"
        raise ConfigInvalid(f"the agent's tools were not told in {ANSWER_S:g} s; {how}")
    if failed:
        raise failed[0]
    return found[0]
