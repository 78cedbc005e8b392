"""Clients of both eras before one upstream."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.gateway.upstreams.crew import FakeLink, call, pool_of, said, voyage
from tests.gateway.upstreams.servers.commands import legacy, modern


@pytest.mark.parametrize("command", [legacy(), modern()])
@pytest.mark.parametrize("order", [("legacy", "modern"), ("modern", "legacy")])
def test_clients_of_both_eras_are_served_by_an_upstream_of_one_whoever_comes_first(
    tmp_path: Path, command: tuple[str, ...], order: tuple[str, str]
) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            for _ in range(2):
                for era in order:
                    on = voyage(FakeLink(era=era))  # type: ignore[arg-type]
                    assert said(await call(await pool.connect("it", on), "echo", on=on, text=era)) == era

    asyncio.run(main())


@pytest.mark.parametrize("command", [legacy(), modern()])
def test_an_upstream_of_one_era_has_one_session_for_a_caller_of_both(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            found = [await pool.connect("it", voyage(FakeLink(era=era))) for era in ("legacy", "modern", "legacy", "modern")]
            assert len({id(one) for one in found}) == 1

    asyncio.run(main())
