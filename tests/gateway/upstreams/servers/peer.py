"""A scripted MCP server over stdin and stdout, for both eras: lines in, lines out, each request in a thread of its own.

It knows nothing of Licet and imports nothing but the standard library, so that it is a peer and starts at once.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


class Failure(Exception):
    """An answer that is an error of JSON-RPC."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message} | ({} if data is None else {"data": data})


class Silent(Exception):
    """No answer."""


class Request:
    """One request of the client, for whoever answers it."""

    def __init__(self, peer: Peer, message: Json) -> None:
        self.peer = peer
        self.id = message["id"]
        self.method: str = message["method"]
        self.params: Json = message.get("params", {})
        self.meta: Json = self.params.get("_meta", {})
        self.cancelled = threading.Event()

    def progress(self, done: float, total: float, text: str) -> None:
        token = self.meta.get("progressToken")
        if token is not None:
            self.peer.notify("notifications/progress", {"progressToken": token, "progress": done, "total": total, "message": text})

    def answer(self, result: Json) -> None:
        self.peer.write({"jsonrpc": "2.0", "id": self.id, "result": result})


class Peer:
    """Reads requests until its input ends. `write_line` is where lines go; another door than stdout may give its own."""

    def __init__(self, modes: set[str], write_line: Callable[[str], None] | None = None) -> None:
        self.modes = modes
        self.running: dict[Any, Request] = {}
        self.notified: list[Json] = []
        self._waiting: dict[Any, queue.Queue[Json]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._write_line = write_line or self._to_stdout

    def _to_stdout(self, line: str) -> None:
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def write(self, message: Json) -> None:
        self._write_line(json.dumps(message))

    def write_raw(self, line: str) -> None:
        self._write_line(line)

    def notify(self, method: str, params: Json) -> None:
        self.write({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: Json, timeout_s: float = 60) -> Json:
        """Send a request to the client, as servers of the legacy era do; its whole answer."""
        number = f"ask-{next(self._numbers)}"
        answers: queue.Queue[Json] = queue.Queue()
        self._waiting[number] = answers
        self.write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            return answers.get(timeout=timeout_s)
        finally:
            del self._waiting[number]

    def handle(self, request: Request) -> Json:
        """The result of a request. Raises `Failure` or `Silent`."""
        raise NotImplementedError

    def take(self, message: Json) -> None:
        """One message of the client."""
        if "method" not in message:
            if (waiting := self._waiting.get(message.get("id"))) is not None:
                waiting.put(message)
        elif "id" in message:
            request = Request(self, message)
            self.running[request.id] = request
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()
        else:
            self.notified.append(message)
            if message["method"] == "notifications/cancelled" and (found := self.running.get(message["params"]["requestId"])):
                found.cancelled.set()

    def _answer(self, request: Request) -> None:
        try:
            result = self.handle(request)
            if not request.cancelled.is_set():
                request.answer(result)
        except Failure as failure:
            self.write({"jsonrpc": "2.0", "id": request.id, "error": failure.error})
        except Silent:
            pass
        finally:
            self.running.pop(request.id, None)

    def run(self) -> None:
        """Until the input ends; what it does then and at its start is a matter of its modes."""
        for mode, begin in _BEGINNINGS.items():
            if mode in self.modes:
                begin(self)
        for line in sys.stdin:
            self.take(json.loads(line))
        if "ignores-end" in self.modes:
            time.sleep(3_600)


def _garbage(peer: Peer) -> None:
    peer.write_raw("Server running on stdio")
    peer.write_raw("{not json")


def _only_garbage(peer: Peer) -> None:
    while True:
        peer.write_raw("what is this")


def _no_newline(_peer: Peer) -> None:
    while True:
        sys.stdout.write("x" * 65_536)


_BEGINNINGS: dict[str, Callable[[Peer], object]] = {
    "ignores-sigterm": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "dies-at-start": lambda _: sys.exit(3),
    "complains": lambda _: sys.exit("first\n" * 20 + "\x1b[2Jno `TOKEN` is set\n" + "x" * 5_000),
    "slow-start": lambda _: time.sleep(1),
    "garbage-first": _garbage,
    "only-garbage": _only_garbage,
    "no-newline": _no_newline,
    "deaf": lambda _: time.sleep(3_600),
}


def spawn(path: str) -> None:
    """A grandchild that wants to survive: a session of its own, deaf to SIGTERM. Its number stands in the file once it runs."""
    if os.fork():
        while not (os.path.exists(path) and open(path).read()):  # noqa: PTH110, PTH123, SIM115
            time.sleep(0.005)
        return
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open(path, "w") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    time.sleep(3_600)
    os._exit(0)
