"""Asks a framework what it tells only asynchronously, from a synchronous caller who may have an event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def awaited_elsewhere(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives, awaited on an event loop in a thread of its own. Raises what it raises."""
    found: list[T] = []
    failed: list[BaseException] = []

    async def work() -> None:
        found.append(await ask())

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, name="licet-coverage")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
