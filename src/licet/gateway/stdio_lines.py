"""Messages on two descriptors, one a line: what a program that serves one client speaks on its stdin and stdout.

Rules:

1. Nothing but messages is ever written to the client. Whatever else this process or a child prints goes to stderr (`take_over`).
2. A line is bounded before it is kept; what is longer is skipped to its end, and said to be.
3. A client that does not read keeps nobody waiting but whoever has something to tell it. Nothing here blocks the event loop, and no
   thread here keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections import deque
from queue import SimpleQueue
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
AHEAD: Final = 4
"""Chunks that are read before anybody asks for them."""
AT_ONCE_BYTES: Final = 4_096
"""POSIX: what is no longer than this never blocks on a pipe that says it can be written to (PIPE_BUF of Linux)."""


class LineTooLong(Exception):
    """A line of the client that was longer than it may be. It is skipped, and the next can be read."""


class Gone(Exception):
    """The client does not listen any more."""


def take_over() -> tuple[int, int]:
    """Descriptors of the client, for nobody else: from now on stdin is empty, and stdout is stderr, here and in children (rule 1)."""
    incoming, outgoing = os.dup(0), os.dup(1)  # not inherited by children
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return incoming, outgoing


class Lines:
    """Lines that a client wrote, and a way to write to it. Made on the event loop that uses it; the descriptors stay their owner's."""

    def __init__(self, incoming: int, outgoing: int, *, limit_bytes: int) -> None:
        self.limit_bytes: Final = limit_bytes
        self._incoming = incoming
        self._outgoing = outgoing
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._part = bytearray()
        self._lines: deque[bytes | None] = deque()
        self._skipping = False
        self._over = False
        self._jobs: SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = SimpleQueue()
        self._waiting = 0
        self._poll = select.poll()
        self._poll.register(outgoing, select.POLLOUT)
        for work in (self._read_chunks, self._write_jobs):
            threading.Thread(target=work, name=f"licet-stdio-{work.__name__[1:5]}", daemon=True).start()

    async def read(self) -> bytes | None:
        """The next line that is not empty, without its end; None when the client has said all. Raises `LineTooLong`."""
        while not self._lines:
            if self._over:
                return None
            self._take(await self._chunks.get())
            self._room.release()
        line = self._lines.popleft()
        if line is None:
            raise LineTooLong(f"a message is longer than {self.limit_bytes} bytes")
        return line

    async def write(self, message: bytes) -> None:
        """The client has been handed this message, as one line, behind everything that was written before. Raises `Gone`."""
        line = message + b"\n"
        if not self._waiting and len(line) <= AT_ONCE_BYTES and self._is_ready():
            _write_all(self._outgoing, line)
            return
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting += 1
        self._jobs.put((line, done))
        # A line that is half written cannot be taken back: whoever is cancelled here leaves it to be written.
        done.add_done_callback(self._written)
        await asyncio.shield(done)

    def close(self) -> None:
        """Nobody is read or written to any more."""
        self._jobs.put(None)
        self._room.release()

    def _take(self, chunk: bytes) -> None:
        """Rule 2."""
        if not chunk:
            self._over = True
            if self._part.strip() and not self._skipping:
                self._lines.append(bytes(self._part))
            return
        first, *others = chunk.split(b"\n")
        self._extend(first)
        for other in others:
            if not self._skipping and self._part.strip():
                self._lines.append(bytes(self._part))
            self._part.clear()
            self._skipping = False
            self._extend(other)

    def _extend(self, piece: bytes) -> None:
        if self._skipping:
            return
        if len(self._part) + len(piece) > self.limit_bytes:
            self._skipping = True
            self._part.clear()
            self._lines.append(None)
            return
        self._part += piece

    def _is_ready(self) -> bool:
        ready = self._poll.poll(0)
        if ready and ready[0][1] & (select.POLLERR | select.POLLNVAL):
            raise Gone("the client has closed its end")
        return bool(ready)

    def _written(self, done: asyncio.Future[None]) -> None:
        self._waiting -= 1
        if not done.cancelled():
            done.exception()  # seen, also where whoever wrote has gone

    def _read_chunks(self) -> None:
        """In a thread of its own, which a client that says nothing keeps for ever."""
        while True:
            self._room.acquire()
            chunk = _read(self._incoming)
            try:
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            except RuntimeError:
                return  # the loop is over
            if not chunk:
                return

    def _write_jobs(self) -> None:
        """In a thread of its own, which a client that does not read keeps for ever."""
        while (job := self._jobs.get()) is not None:
            line, done = job
            failure: Gone | None = None
            try:
                _write_all(self._outgoing, line)
            except Gone as gone:
                failure = gone
            with contextlib.suppress(RuntimeError):  # the loop is over
                self._loop.call_soon_threadsafe(_settle, done, failure)


def _settle(done: asyncio.Future[None], failure: Gone | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _read(descriptor: int) -> bytes:
    """What comes next; nothing at the end, and where there is nobody any more."""
    while True:
        try:
            return os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:  # whoever started this process shares the descriptor, and wants it so
            select.select([descriptor], [], [])
        except OSError:
            return b""


def _write_all(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError as error:
            raise Gone("the client has closed its end") from error
