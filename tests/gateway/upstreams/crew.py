"""Sessions with the scripted servers, and clients to travel for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from licet.config.upstreams import UpstreamSettings
from licet.gateway.connection import Connection
from licet.gateway.eras import Era
from licet.gateway.link import CannotAsk, ClientFacts, Voyage
from licet.gateway.upstreams.pool import Pool
from licet.model import JsonObject

ALL: JsonObject = {"elicitation": {}, "sampling": {}, "roots": {"listChanged": True}}
Answer = Callable[[Mapping[str, JsonObject]], Awaitable[Mapping[str, JsonObject]]]


class FakeLink:
    """A client that remembers what it is told, and answers by a function."""

    def __init__(self, *, era: Era = "legacy", capabilities: JsonObject | None = None, answer: Answer | None = None) -> None:
        version = "2025-11-25" if era == "legacy" else "2026-07-28"
        self.client = ClientFacts(era=era, version=version, capabilities=capabilities or {}, info={"name": "test-client", "version": "1"})
        self.told: list[tuple[str, JsonObject]] = []
        self.asked: list[JsonObject] = []
        self.heard = asyncio.Event()
        self.answer = answer

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.told.append((method, dict(params)))
        self.heard.set()

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        self.asked.extend(requests.values())
        self.heard.set()
        if self.answer is None:
            raise CannotAsk("nobody is there")
        return await self.answer(requests)


def voyage(link: FakeLink | None = None, *, tenant: str = "acme", agent: str = "bot", **more: Any) -> Voyage:
    return Voyage(link=link or FakeLink(), tenant=tenant, agent=agent, **more)


async def call(connection: Connection, name: str, *, on: Voyage | None = None, timeout_s: float = 30, **arguments: Any) -> JsonObject:
    return await connection.request("tools/call", {"name": name, "arguments": arguments}, on or voyage(), timeout_s=timeout_s)


def said(result: JsonObject) -> str:
    text: str = result["content"][0]["text"]
    return text


@asynccontextmanager
async def pool_of(command: tuple[str, ...], folder: Path, **more: Any) -> AsyncIterator[Pool]:
    """A pool whose one upstream, `it`, is this command; each call of its tools leaves a line in the journal."""
    where = folder / "journal-path"
    where.write_text(str(folder / "journal"))
    where.chmod(0o600)
    settings = UpstreamSettings(command=command, env={"FAKE_JOURNAL": "file:journal-path"}, **more)
    pool = Pool({"it": settings}, folder=folder)
    try:
        yield pool
    finally:
        await pool.close()


def journal(folder: Path) -> list[JsonObject]:
    path = folder / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def until(is_so: Callable[[], object]) -> None:
    """Returns once it is so. It hangs where it never is; nothing is concluded from how long it took."""
    while not is_so():  # noqa: ASYNC110  as below
        await asyncio.sleep(0.005)  # what is waited for is in another process, and has no event


def is_running(pid: int) -> bool:
    """Whether a process with this number does anything; one that is dead and not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
