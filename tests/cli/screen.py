"""A terminal of our own: a program runs on it, keys are pressed, and what a person would see is read off."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.cells import cell_len

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOME = "\x1b[H"
PROGRAM = "from licet.cli import main; main()"
PATIENCE_S = 60.0


class Terminal:
    """`with Terminal(folder, "approvals", "watch") as terminal`."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80, rows: int = 24, **environ: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._theirs)
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"}}
        env = kept | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environ
        program = [sys.executable, "-c", PROGRAM, *arguments]
        self.process = subprocess.Popen(
            program,
            cwd=folder,
            env=env,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            preexec_fn=self._own_terminal,  # noqa: PLW1509 - no thread of ours runs when it forks
        )
        self.sent = ""

    def _own_terminal(self) -> None:
        os.setsid()
        fcntl.ioctl(self._theirs, termios.TIOCSCTTY, 0)  # so that Ctrl-C arrives as a signal, as it does for a person

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        os.close(self._ours)

    def resize(self, columns: int, rows: int) -> None:
        """The window has this size from now on."""
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Keys, at once."""
        os.write(self._ours, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        """A signal to the program alone."""
        self.process.send_signal(number)

    @property
    def screen(self) -> str:
        """What is on the screen now, without colours."""
        return ESCAPE.sub("", self.drawn).replace("\r", "")

    @property
    def drawn(self) -> str:
        """The last whole screen as it was sent: as many lines as there are rows, the last one filled."""
        for frame in reversed(self.sent.split(HOME)[1:]):
            lines = ESCAPE.sub("", frame).replace("\r", "").split("\n")
            if len(lines) >= self.rows and cell_len(lines[self.rows - 1]) >= self.columns:
                return frame
        return ""

    def wait(self, *texts: str) -> str:
        """The screen, once it has all of these."""
        return self.wait_until(lambda screen: all(text in screen for text in texts), " and ".join(texts))

    def wait_until(self, is_there: Callable[[str], bool], what: str = "it") -> str:
        """The screen, once this holds of it."""
        ends = time.monotonic() + PATIENCE_S
        while not is_there(self.screen):
            assert time.monotonic() < ends, f"waited for {what}; the screen is:\n{self.screen}"
            assert self.process.poll() is None or self._read(0), f"it ended; the screen was:\n{self.screen}"
            self._read(0.05)
        return self.screen

    @property
    def frames(self) -> int:
        """How many screens were drawn."""
        return self.sent.count(HOME)

    def wait_drawn_since(self, frames: int) -> str:
        """The screen, once it was drawn again."""
        return self.wait_until(lambda _: self.frames > frames, "another screen")

    def end(self) -> int:
        """The exit code, once the program has ended."""
        while self.process.poll() is None:
            self._read(0.05)
        while self._read(0.05):
            pass
        return int(self.process.wait())

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was: modes, cursor, and the screen that was there before."""
        shown = self.sent.rfind("\x1b[?25h") > self.sent.rfind("\x1b[?25l")
        left = self.sent.rfind("\x1b[?1049l") > self.sent.rfind("\x1b[?1049h")
        return termios.tcgetattr(self._theirs) == self.before and shown and left

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        self.sent += os.read(self._ours, 65_536).decode(errors="replace")
        return True
