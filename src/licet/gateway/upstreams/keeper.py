"""The process between the gateway and an upstream's command: it starts the command, and sees to it that nothing of it is left.

Run by itself (`python -I -S keeper.py LIFELINE GRACE_S COMMAND...`), it imports the standard library alone. It never touches what the
command reads and writes, which goes straight from and to the gateway.

Rules:

1. It lives as long as the command or the gateway, whichever ends first: the gateway's end of the lifeline, a socket, closes with the
   gateway, however that ends (SIGKILL, a crash). A command that should end is treated alike whether the gateway closed it or died.
2. The command is given time to end by itself, its input being closed; then SIGTERM, to its process group; then SIGKILL.
3. Whatever the command has started ends with it, in its process group or not: on Linux the keeper is the reaper of all its descendants,
   and ends when there is none. Elsewhere what left the process group is not seen.
4. A keeper that is killed takes the command with it (Linux).

On the lifeline it says `running`, or `failed` with the reason, and in the end `ended` with the exit status (negative: the signal).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform.startswith("linux")
_LOST_S = 10.0
"""How long a process may take to die of SIGKILL before the keeper gives up waiting: it hangs in the kernel."""
_CANNOT_EXECUTE = 127


class Keeper:
    """Keeps one command."""

    def __init__(self, lifeline: int, grace_s: float, command: list[str]) -> None:
        self._lifeline = lifeline
        self._grace_s = grace_s
        self._command = command
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(wakeup, False)
        os.set_inheritable(lifeline, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        # Handlers and not SIG_IGN, which the command would inherit. What is sent to a whole terminal or group is not for the keeper.
        for one in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(one, lambda *_: None)
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl if _LINUX else None
        self._pid = 0
        self._status: int | None = None

    def run(self) -> None:
        """Until the command has ended, and everything that it started."""
        if self._prctl is not None:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if (problem := self._start()) is not None:
            self._say(f"failed {problem}")
            return
        self._say("running")
        _let_go()
        self._wait(None, until_closed=True)
        if self._status is None:  # the gateway has closed the command's input, or is dead: the same thing to it
            self._wait(self._grace_s)
        if self._status is None:
            self._signal_group(signal.SIGTERM)
            self._wait(self._grace_s)
        self._kill_all()
        self._say(f"ended {self._status}")

    def _start(self) -> str | None:
        """The command runs, in a session of its own; else why it does not."""
        read, write = os.pipe()  # closed by a successful exec
        keeper = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._become_command(write, keeper)
        os.close(write)
        with open(read, "rb") as told:  # noqa: PTH123  a descriptor
            problem = told.read()
        if problem:
            os.waitpid(self._pid, 0)
            return problem.decode(errors="replace")
        return None

    def _become_command(self, problem: int, keeper: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            for one in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
                signal.signal(one, signal.SIG_DFL)
            os.setsid()
            if self._prctl is not None:
                self._prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
                if os.getppid() != keeper:  # it died before it could be said that its death matters
                    os._exit(_CANNOT_EXECUTE)
            os.execvp(self._command[0], self._command)  # noqa: S606  a command is what licet.toml names; no shell reads it
        except OSError as error:
            os.write(problem, (error.strerror or "it cannot be executed").encode())
        finally:
            os._exit(_CANNOT_EXECUTE)

    def _wait(self, seconds: float | None, *, until_closed: bool = False) -> None:
        """Until the command has ended, so much time is over, or (where that is waited for) the lifeline is closed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if until_closed:
            poll.register(self._lifeline, select.POLLIN)
        while self._status is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = dict(poll.poll(None if left is None else left * 1_000))
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, 4_096)
            self._reap()
            if self._lifeline in ready or (left is not None and not ready and left == 0):
                return

    def _reap(self) -> bool:
        """Take note of who has ended; whether there is a child left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _kill_all(self) -> None:
        """Nothing is left (rule 3): whoever loses its parent becomes a child of the keeper, until there is none."""
        if self._status is None or not _LINUX:
            self._signal_group(signal.SIGKILL)
        deadline = time.monotonic() + _LOST_S
        while self._reap() and time.monotonic() < deadline:
            for child in _children():
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.002)

    def _signal_group(self, number: signal.Signals) -> None:
        """To the command's group, whose number nobody else can have while the command is not reaped."""
        with contextlib.suppress(OSError):
            os.killpg(self._pid, number)

    def _say(self, word: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._lifeline, word.encode() + b"\n")


def _let_go() -> None:
    """Of what the command reads and writes, so that its end is seen at the other end."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def _children() -> list[int]:
    """The keeper's own, from /proc; none where there is no such thing."""
    me = os.getpid()
    found = []
    for name in os.listdir("/proc") if _LINUX else ():  # noqa: PTH208  as below
        if name.isdigit() and name != str(me):
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123  nothing more than needed is imported here
                    stat = file.read()
            except OSError:  # it has ended since
                continue
            if int(stat[stat.rindex(b")") + 2 :].split()[1]) == me:
                found.append(int(name))
    return found


if __name__ == "__main__":
    Keeper(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]).run()
