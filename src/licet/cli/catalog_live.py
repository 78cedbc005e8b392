"""What upstreams offer now, beside what is pinned: for the verbs that compare and accept."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from licet.catalog.names import check_tool_name
from licet.catalog.pins import LOCK_FILE, Pin, pin_of
from licet.catalog.upstream import tool_name
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.config import Settings, UpstreamSettings
from licet.errors import CatalogInvalid
from licet.gate.steps import EndedAs
from licet.gateway.connection import Connections
from licet.names import quoted

NEEDED: Final = ("aiohttp",)
_LAST_LINES: Final = 10
"""Of what a server says of itself while it is asked: what ended it comes last, and a package manager needs several lines to say that there
is no such package."""
_log = logging.getLogger("licet.gateway")


def pool(settings: Mapping[str, UpstreamSettings], folder: Path) -> Connections:
    """The connections of this program, which end with it. Raises `Refusal` where the installation has none."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise Refusal(Exit.ERROR, "not_installed", "asking an upstream needs `aiohttp`", next_step="install `licet[server]`")
    from licet.gateway.upstreams.pool import Pool  # noqa: PLC0415  only where an upstream is asked

    return Pool(settings, folder=folder)


Connecting = Callable[[Mapping[str, UpstreamSettings], Path], Connections]


def folder_of(settings: Settings) -> Path:
    """Where licet.toml lies, and licet.lock beside it."""
    return settings.file.parent if settings.file is not None else Path.cwd()


def lock_of(settings: Settings) -> Path:
    """The file with what was accepted."""
    return folder_of(settings) / LOCK_FILE


def check_upstream(settings: Settings, name: str) -> None:
    """Raise `Refusal` unless licet.toml has this upstream."""
    if name not in settings.upstreams:
        known = ", ".join(f"`{one}`" for one in settings.upstreams) or "none"
        message = f"licet.toml has no upstream {quoted(name)}, but {known}"
        raise Refusal(Exit.USAGE, "unknown_upstream", message, next_step="write `[upstreams.NAME]` with its `command` or `url`")


def tenant_for(settings: Settings, asked: str | None) -> str:
    """For whose callers an upstream is asked: credentials may differ. Raises `Refusal`."""
    if asked is not None and asked not in settings.tenants:
        raise Refusal(Exit.USAGE, "unknown_tenant", f"licet.toml has no tenant {quoted(asked)}", next_step="name one that it has")
    return asked or next(iter(settings.tenants), "")


def look(upstreams: Mapping[str, UpstreamSettings], folder: Path, name: str, tenant: str, *, next_step: str | None = None) -> list[Any]:
    """The definitions that an upstream lists now, unverified. `next_step` is for whoever has no table of it yet. Raises `Refusal`."""
    from licet.gateway.definitions import offered_by  # noqa: PLC0415  as above

    async def ask() -> list[Any]:
        connections = pool(upstreams, folder)
        try:
            return await offered_by(connections, name, tenant)
        finally:
            await connections.close()

    with _heard() as lines:
        try:
            return asyncio.run(ask())
        except EndedAs as error:
            step = next_step or f"see that `[upstreams.{name}]` is right, and that the server can be started or reached from here"
            message = f"`{name}` could not be asked: {error}"
            raise Refusal(
                Exit.ERROR, error.code, message, next_step=step, lines=tuple([line for line in lines if str(error) not in line])
            ) from error


@contextmanager
def _heard() -> Iterator[deque[str]]:
    """The last lines that are logged of upstreams meanwhile, their own on stderr among them: no other log is kept by these verbs."""
    lines: deque[str] = deque(maxlen=_LAST_LINES)

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keeping, level = Keeping(), _log.level
    _log.addHandler(keeping)
    _log.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        _log.setLevel(level)
        _log.removeHandler(keeping)


def pinned(upstream: str, unverified_definitions: list[Any]) -> tuple[dict[str, Pin], list[str]]:
    """The pins of what an upstream lists, and what cannot be pinned, as sentences. Two tools of one name are neither."""
    pins: dict[str, Pin] = {}
    problems: list[str] = []
    twice: set[str] = set()
    for one in unverified_definitions:
        try:
            name, pin = pin_of(one)
            check_tool_name(tool_name(upstream, name))
        except CatalogInvalid as invalid:
            problems.append(str(invalid))
            continue
        if name in pins or name in twice:
            problems.append(f"two tools are called {quoted(name)}: nobody could say which one is called")
            twice.add(name)
            pins.pop(name, None)
        else:
            pins[name] = pin
    return pins, list(dict.fromkeys(problems))
