"""What proves the gateway to its upstreams: values from the environment, a file or a command, per upstream and tenant.

Rules:

1. A credential is the gateway's own. Nothing that a caller sends is one, and the credential of one tenant is shown for no other.
2. It is in no message, no log and no `repr`. A file that others than its owner can read is refused.
3. It is read when it is needed first, kept, and read again where the upstream refuses it: once for all who met that refusal, and at most
   once in `AGAIN_S`. A process gets what is there when it starts. What could not be read is not tried again for `AGAIN_S`: one run of a
   command that fails is enough for all who wait for it.
4. What cannot go into a header as it is, goes into none.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from licet.config.upstreams import UpstreamSettings
from licet.gateway.connection import NotSent

COMMAND_TIMEOUT_S: Final = 20.0
"""Long enough for a token to be fetched from somewhere; a call waits for it."""
SOURCE_LIMIT_BYTES: Final = 16_384
"""No header is longer at any server."""
AGAIN_S: Final = 5.0
"""An upstream that refuses every credential makes no command run for each call, and neither does a command that fails."""
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_VARIABLE_VALUE: Final = re.compile(r"[^\0]+")


class Shown(Struct, frozen=True):
    """The headers that are shown now. `generation` counts how often they were read, so that nobody renews what was renewed already."""

    headers: Mapping[str, str]
    generation: int

    def __repr__(self) -> str:
        return f"Shown({sorted(self.headers)}, generation={self.generation})"  # rule 2


class _Kept(Struct):
    shown: Shown
    read_at: float


class _Failed(Struct):
    message: str
    at: float
    """The end of the attempt: a command may take longer than `AGAIN_S` to fail, and others have waited for it."""


class Credentials:
    """Those of one upstream, for every tenant. Used on one event loop."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._kept: dict[str | None, _Kept] = {}
        self._failed: dict[tuple[str | None, str], _Failed] = {}
        self._locks: dict[str | None, asyncio.Lock] = {}

    def whose(self, tenant: str | None) -> str | None:
        """The tenant, where this upstream has credentials of its own for it; None where they are those of everybody else.

        INVARIANT: sessions and processes are shared only among callers for whom this says the same (rule 1).
        """
        return tenant if tenant in self._settings.tenants else None

    async def headers(self, tenant: str | None) -> Shown:
        """What requests for callers of this tenant show. Raises `NotSent` where it cannot be had."""
        whose = self.whose(tenant)
        kept = self._kept.get(whose)
        return kept.shown if kept is not None else await self._read(whose, refused=None)

    async def renewed(self, tenant: str | None, refused: Shown) -> Shown | None:
        """What to show after the upstream refused that; None where there is nothing newer (rule 3). Raises `NotSent`."""
        whose = self.whose(tenant)
        if not refused.headers:
            return None
        again = await self._read(whose, refused=refused)
        return again if again.headers != refused.headers else None

    async def environment(self, tenant: str | None) -> Mapping[str, str]:
        """The variables that a process for callers of this tenant is given, as they are now. Raises `NotSent`."""
        whose = self.whose(tenant)
        return await self._values(whose, "env", {**self._settings.env, **self._own(whose, "env")}, _VARIABLE_VALUE)

    async def _read(self, whose: str | None, *, refused: Shown | None) -> Shown:
        async with self._locks.setdefault(whose, asyncio.Lock()):
            kept = self._kept.get(whose)
            if kept is not None and (refused is None or self._is_newer(kept, refused)):
                return kept.shown
            now = self._clock()
            values = await self._values(whose, "headers", _merged(self._settings.headers, self._own(whose, "headers")), _HEADER_VALUE)
            shown = Shown(values, 0 if kept is None else kept.shown.generation + 1)
            self._kept[whose] = _Kept(shown, now)
            return shown

    async def _values(self, whose: str | None, kind: str, sources: Mapping[str, str], allowed: re.Pattern[str]) -> Mapping[str, str]:
        """What these sources say now. Raises `NotSent`, at once where they could not be read a moment ago (rule 3)."""
        failed = self._failed.get((whose, kind))
        if failed is not None and self._clock() - failed.at < AGAIN_S:
            raise NotSent(failed.message)
        try:
            values = {name: await self._value(source, allowed) for name, source in sources.items()}
        except NotSent as error:
            self._failed[whose, kind] = _Failed(str(error), self._clock())
            raise
        self._failed.pop((whose, kind), None)
        return values

    def _is_newer(self, kept: _Kept, refused: Shown) -> bool:
        return kept.shown.generation > refused.generation or (kept.shown.generation > 0 and self._clock() - kept.read_at < AGAIN_S)

    def _own(self, whose: str | None, kind: str) -> Mapping[str, str]:
        found: Mapping[str, str] = {} if whose is None else getattr(self._settings.tenants[whose], kind)
        return found

    async def _value(self, source: str, allowed: re.Pattern[str]) -> str:
        scheme, _, rest = source.partition(":")
        if scheme == "env":
            text = self._from_environment(rest)
        elif scheme == "file":
            text = await asyncio.to_thread(_from_file, self._folder / rest)
        else:
            text = await asyncio.to_thread(_from_command, rest, self._folder)
        value = text.strip()
        if not allowed.fullmatch(value):
            what = "is empty" if not value else "has characters that cannot be sent"
            raise NotSent(f"the upstream's credential at `{_named(source)}` {what}")
        return value

    def _from_environment(self, name: str) -> str:
        text = self._environ.get(name)
        if text is None:
            raise NotSent(f"the environment variable `{name}`, which should hold the upstream's credential, is not set")
        return text


def _merged(general: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
    """A tenant's headers in place of those of everybody, whatever case they are written in."""
    replaced = {name.lower() for name in own}
    return {**{name: source for name, source in general.items() if name.lower() not in replaced}, **own}


def _named(source: str) -> str:
    """A source as a message may name it: of a command its program only, since a command line may hold secrets."""
    scheme, _, rest = source.partition(":")
    return f"command:{_program(rest)}" if scheme == "command" else source


def _program(command: str) -> str:
    return command.split(maxsplit=1)[0] if command.strip() else ""


def _from_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read(SOURCE_LIMIT_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "unknown error").lower() if isinstance(error, OSError) else "it is no text"
        raise NotSent(f"the upstream's credential cannot be read from `{path}`: {reason}") from error
    if mode & 0o077:
        raise NotSent(
            f"the upstream's credential at `{path}` can be read by others (mode {mode:o}); run `chmod 600 {shlex.quote(str(path))}`"
        )
    if len(text) > SOURCE_LIMIT_BYTES:
        raise NotSent(f"the upstream's credential at `{path}` is longer than {SOURCE_LIMIT_BYTES} bytes")
    return text


def _from_command(command: str, folder: Path) -> str:
    """What the command prints, run in the configuration's folder. It gets no shell, and its own messages are shown to nobody (rule 2)."""
    what = f"the command `{_program(command)}`, which should print the upstream's credential,"
    try:
        done = subprocess.run(  # noqa: S603  the operator's own
            shlex.split(command), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        text = done.stdout[: SOURCE_LIMIT_BYTES + 1].decode()
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:  # `IndexError`: there is nothing to run
        raise NotSent(f"{what} failed ({type(error).__name__})") from None  # its arguments stand in the error
    if done.returncode:
        raise NotSent(f"{what} ended with exit code {done.returncode}")
    if len(text) > SOURCE_LIMIT_BYTES:
        raise NotSent(f"{what} printed more than {SOURCE_LIMIT_BYTES} bytes")
    return text
