"""The gateway's end of an upstream's process.

Rules:

1. A process is started by a keeper (`keeper.py`), which ends it with everything that it has started, also where the gateway is killed.
2. Its environment is what licet.toml gives it and the few variables of `INHERITED`, never the gateway's own, in which secrets stand.
3. What it writes to stderr is read as fast as it comes, and only so much of it is kept in the log: an upstream can neither fill the disk
   nor stop because nobody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from licet.gateway.connection import NotSent
from licet.names import quoted, visible

INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""What a command needs to find its files and programs, and nothing that proves anything to anybody."""
GRACE_S: Final = 2.0
"""How long a process may take to end by itself, and again after SIGTERM."""
_LAST_S: Final = 15.0
"""Beyond both: a keeper that has not ended by now hangs, and is killed."""
_KEEPER: Final = str(Path(__file__).with_name("keeper.py"))
_LINE: Final = 2_000
_LINES: Final = 200
"""Of stderr that are logged within `_PERIOD_S`, each so many characters long."""
_PERIOD_S: Final = 60.0
_LAST_LINES: Final = 5
_LAST_CHARS: Final = 300
"""Of stderr that are told to whoever runs an upstream that could not be started: so many lines, each so long."""
_log = logging.getLogger("licet.gateway")


class Child:
    """One process, from its start until nothing of it is left. It is started at once; raises `NotSent` where that cannot be."""

    def __init__(self, upstream: str, command: Sequence[str], env: Mapping[str, str], cwd: Path, *, grace_s: float = GRACE_S) -> None:
        self._upstream = upstream
        self._program = command[0]
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        self._heard = b""
        self._watching: asyncio.Task[None] | None = None
        self._complaints: asyncio.BaseTransport | None = None
        self._said = Complaints(upstream)
        with theirs:
            try:
                self._keeper = subprocess.Popen(  # noqa: S603  licet.toml names the command
                    [sys.executable, "-I", "-S", _KEEPER, str(theirs.fileno()), str(grace_s), *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    pass_fds=(theirs.fileno(),),
                    env={**inherited(), **env},
                    cwd=cwd,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:  # no such folder; a null byte in a word
                self._lifeline.close()
                where = f" in {quoted(str(cwd))}" if isinstance(error, OSError) and error.filename == str(cwd) else ""
                raise NotSent(f"`{upstream}` cannot be started{where}: {getattr(error, 'strerror', None) or error}") from error

    @property
    def last_words(self) -> tuple[str, ...]:
        """What it said last on stderr."""
        return tuple(self._said.last)

    async def running(self) -> None:
        """The command runs. Raises `NotSent`, with why it does not; whoever gives up stops it all the same."""
        assert self._keeper.stderr is not None
        loop = asyncio.get_running_loop()
        self._complaints, _ = await loop.connect_read_pipe(lambda: self._said, self._keeper.stderr)
        word = await self._hear(b"\n")
        if word != "running":
            why = word.removeprefix("failed ") or "its keeper has died"
            raise NotSent(f"{quoted(self._program)} of `{self._upstream}` cannot be started: {why}")
        self._watching = asyncio.create_task(self._watch())

    async def connect_input(self, protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.WriteTransport:
        """Where it reads. Whoever has it closes it."""
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(protocol, self._keeper.stdin)
        self._keeper.stdin = None
        return transport

    async def connect_output(self, protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.ReadTransport:
        """What it writes. Whoever has it closes it."""
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(protocol, self._keeper.stdout)
        self._keeper.stdout = None
        return transport

    async def _hear(self, end: bytes | None) -> str:
        """What the keeper says next, up to `end`; without one, all that it still says."""
        loop = asyncio.get_running_loop()
        while end is None or end not in self._heard:
            more = await loop.sock_recv(self._lifeline, 4_096)
            if not more:
                end = None
                break
            self._heard += more
        said, _, self._heard = self._heard.partition(end) if end is not None else (self._heard, b"", b"")
        return said.decode(errors="replace").strip()

    async def _watch(self) -> None:
        status = (await self._hear(None)).removeprefix("ended ")
        _log.info(
            "the process of upstream `%s` has ended: %s", self._upstream, f"exit status {status}" if status else "its keeper was killed"
        )

    async def stop(self) -> None:
        """Nothing of it is left: its input should be closed by now, so it ends by itself, or it is ended."""
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_LAST_S):
                await (self._watching or self._hear(None))
        except TimeoutError:
            self._keeper.kill()
        finally:
            self._lifeline.close()
            await asyncio.to_thread(self._keeper.wait)
            self._release()

    def _release(self) -> None:
        if self._complaints is not None:
            self._complaints.close()
        elif self._keeper.stderr is not None:
            self._keeper.stderr.close()
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()


def inherited() -> Mapping[str, str]:
    """What a process gets of the gateway's environment (rule 2)."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class Complaints(asyncio.Protocol):
    """What a process writes to stderr (rule 3): lines of the log, cut and counted, with nothing in them that commands a terminal."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._begun = b""
        self._skipping = False
        self._said = 0
        self._withheld = 0
        self._period = 0.0

    def data_received(self, data: bytes) -> None:
        """Say it, as long as it is not too much."""
        self._turn_period()
        if self._said >= _LINES:
            self._withheld += data.count(b"\n")
            self._begun, self._skipping = b"", not data.endswith(b"\n")
            return
        *lines, last = data.split(b"\n")
        for line in lines:
            self._say(b"" if self._skipping else self._begun + line)
            self._begun, self._skipping = b"", False
        if not self._skipping:
            self._begun += last
        if len(self._begun) > _LINE:
            self._say(self._begun)
            self._begun, self._skipping = b"", True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  whatever ended it
        """The rest, and how much was not said."""
        self._say(self._begun)
        self._confess()

    def _say(self, line: bytes) -> None:
        text = visible(line[:_LINE].decode(errors="replace").strip())
        if not text:
            return
        if self._said >= _LINES:
            self._withheld += 1
            return
        self._said += 1
        self.last.append(text if len(text) <= _LAST_CHARS else f"{text[:_LAST_CHARS]}...")
        _log.info("upstream `%s` says: %s", self._upstream, text)

    def _turn_period(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._period >= _PERIOD_S:
            self._confess()
            self._period, self._said = now, 0

    def _confess(self) -> None:
        if self._withheld:
            _log.info("upstream `%s` has said %d lines more, which are not kept", self._upstream, self._withheld)
            self._withheld = 0
