"""What is asked of a framework on an event loop of its own."""

from __future__ import annotations

import asyncio

import pytest

from licet.errors import ConfigInvalid
from licet.integrations import elsewhere
from licet.integrations.elsewhere import awaited_elsewhere


async def answer() -> str:
    await asyncio.sleep(0)
    return "tools"


async def fail() -> str:
    await asyncio.sleep(0)
    raise KeyError("tools")


def test_it_is_asked_with_and_without_an_event_loop_here() -> None:
    async def here() -> str:
        await asyncio.sleep(0)
        return awaited_elsewhere(answer)

    assert awaited_elsewhere(answer) == asyncio.run(here()) == "tools"


def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(KeyError):
        awaited_elsewhere(fail)


def test_who_waits_for_the_very_loop_that_waits_here_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "ANSWER_S", 0.2)

    async def here() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def ask() -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ended.wait(), loop))

        with pytest.raises(ConfigInvalid, match=r"asyncio.to_thread\(gate.coverage, agent\)"):
            awaited_elsewhere(ask)
        ended.set()

    asyncio.run(here())
