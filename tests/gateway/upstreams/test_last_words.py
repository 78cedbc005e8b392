"""Why a server ended at once is told by the server itself: to whoever runs it, in a few lines, and to nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from licet.gateway.answers import reason_told
from licet.gateway.connection import NotSent, with_last_words
from licet.gateway.upstreams.pool import Pool
from tests.gateway.upstreams.crew import pool_of, voyage
from tests.gateway.upstreams.servers.commands import legacy
from tests.gateway.world import gateway_world

SHOWN = ("first", "first", "first", "\\u{1b}[2Jno `TOKEN` is set", "x" * 300 + "...")


async def refused(pool: Pool) -> NotSent:
    with pytest.raises(NotSent) as caught:
        await pool.connect("it", voyage())
    return caught.value


def test_a_server_that_ends_at_once_has_its_last_words(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy("complains"), tmp_path) as pool:
            error = await refused(pool)
        assert error.last_words == SHOWN
        assert str(error) == "`it` did not answer its handshake: `it` ended before it answered"  # what is recorded
        assert with_last_words(error, "no") == f"no; it said last: {' / '.join(SHOWN)}"

    asyncio.run(main())


def test_what_a_server_said_is_told_to_whoever_runs_it_and_never_outside(tmp_path: Path) -> None:
    error = NotSent("`it` ended")
    error.last_words = ("no `TOKEN` is set",)
    with gateway_world(tmp_path) as w:
        mine = w.incoming("tools/list")
        outside = replace(mine, acting=replace(mine.acting, credential="key-1"))
        assert reason_told(error, str(error), mine) == "`it` ended; it said last: no `TOKEN` is set"
        assert "TOKEN" not in reason_told(error, str(error), outside)
