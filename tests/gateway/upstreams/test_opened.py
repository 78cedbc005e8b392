"""A request while it is open: its time stands still while its client is asked, and goes on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from licet.gateway.upstreams.opened import Clock


async def limited(limit: asyncio.Timeout, then: Callable[[Clock], None]) -> None:
    """A request within this limit, that nobody answers."""
    async with limit:
        then(Clock(limit))
        if limit.when() is not None:
            await asyncio.Event().wait()


def test_a_limit_that_has_just_passed_ends_the_request_after_its_client_was_asked() -> None:
    async def main() -> None:
        limit = asyncio.timeout_at(asyncio.get_running_loop().time() - 1)  # the loop has not come to end it yet

        def ask(clock: Clock) -> None:
            clock.stop()
            clock.go_on()

        with pytest.raises(TimeoutError):
            await limited(limit, ask)

    asyncio.run(main())


def test_a_limit_stands_still_until_the_last_question_is_answered() -> None:
    async def main() -> None:
        limit = asyncio.timeout_at(asyncio.get_running_loop().time() - 1)
        seen: list[float | None] = []

        def ask(clock: Clock) -> None:
            for turn in (clock.stop, clock.stop, clock.go_on):
                turn()
                seen.append(limit.when())
            clock.go_on()

        with pytest.raises(TimeoutError):
            await limited(limit, ask)
        assert seen == [None, None, None]

    asyncio.run(main())


def test_a_request_without_a_limit_gets_none_by_a_question() -> None:
    async def main() -> None:
        limit = asyncio.timeout(None)

        def ask(clock: Clock) -> None:
            clock.stop()
            clock.go_on()

        await limited(limit, ask)
        assert limit.when() is None

    asyncio.run(main())
