"""Keys of a terminal, one by one, as names: `a`, `up`, `enter`, `esc`.

The terminal is as it was before when `Keyboard` ends, whatever ended it. Interrupting it (Ctrl-C) still raises; suspending it does not
happen, since it would leave the screen behind in a shell that shows nothing.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

ESCAPE_S = 0.05
"""How long the rest of an escape sequence may take; a person who presses Esc alone does not notice it."""

_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "OA": "up",
    "OB": "down",
    "[5~": "page up",
    "[6~": "page down",
    "[H": "home",
    "[F": "end",
    "OH": "home",
    "OF": "end",
    "[1~": "home",
    "[4~": "end",
}
_CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "clear", "\x04": "quit"}


class Decoder:
    """Bytes to keys. A sequence may come in pieces; one that nobody knows is no key at all."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("ignore")
        self._pending = ""

    @property
    def is_waiting(self) -> bool:
        """Whether an escape sequence has begun."""
        return bool(self._pending)

    def feed(self, content: bytes) -> list[str]:
        """The keys that are complete now."""
        self._pending += self._utf8.decode(content)
        keys: list[str] = []
        while self._pending:
            key, used = self._next(self._pending)
            if not used:
                break
            self._pending = self._pending[used:]
            if key:
                keys.append(key)
        return keys

    def flush(self) -> list[str]:
        """Nothing more comes: an Esc by itself was that key."""
        alone, self._pending = self._pending, ""
        return ["esc"] if alone else []

    def _next(self, text: str) -> tuple[str, int]:
        if text[0] != "\x1b":
            return (_CONTROLS.get(text[0]) or (text[0] if text[0].isprintable() else "")), 1
        if len(text) > 1 and text[1] not in "[O":
            return "esc", 1
        end = next((at for at in range(2, len(text)) if "@" <= text[at] <= "~"), None)
        return ("", 0) if end is None else (_SEQUENCES.get(text[1 : end + 1], ""), end + 1)


class Keyboard:
    """The keys of the terminal behind a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = Decoder()

    def read(self, timeout_s: float) -> list[str]:
        """The keys that were pressed, after at most this long; `quit` where the terminal is gone."""
        if not self._ready(timeout_s):
            return []
        keys = self._take()
        while self._decoder.is_waiting:
            if not self._ready(ESCAPE_S):
                return keys + self._decoder.flush()
            keys += self._take()
        return keys

    def forget(self) -> None:
        """What was typed ahead counts for nothing."""
        termios.tcflush(self._descriptor, termios.TCIFLUSH)
        self._decoder.flush()

    def _ready(self, timeout_s: float) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout_s)[0])

    def _take(self) -> list[str]:
        try:
            content = os.read(self._descriptor, 4096)
        except OSError:
            content = b""
        return self._decoder.feed(content) if content else ["quit"]


@contextmanager
def keyboard(descriptor: int) -> Iterator[Keyboard]:
    """Keys come one by one and are not echoed. Signals that would end the process end this first."""
    before = termios.tcgetattr(descriptor)
    handlers = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(descriptor)
        unsuspendable = termios.tcgetattr(descriptor)
        unsuspendable[6][termios.VSUSP] = bytes([os.fpathconf(descriptor, "PC_VDISABLE")])
        termios.tcsetattr(descriptor, termios.TCSANOW, unsuspendable)
        yield Keyboard(descriptor)
    finally:
        # The terminal may be gone, which is why this ends.
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
