"""Whether this process lives, and whether it can take calls: `/livez` and `/readyz`.

Rules:

1. `/livez` asks nothing but the event loop: a process whose store is down is not restarted for it.
2. `/readyz` is a list of named checks. One that is required and fails answers 503; one that is told only (`reload`) does not: what stands
   goes on standing.
3. Everybody sees names and `ok` or `failed`. Why is told at the address of the metrics alone.
4. What was found is kept for a second, however often it is asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import msgspec

from licet.gate.condition import TOLD_ONLY, Condition
from licet.gate.gate import Gate

KEPT_S = 1.0
STOPPING = "the server is stopping"

Application: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Health:
    """The conditions of one process. `stopping` is set once it takes no more calls. Safe to use from many threads."""

    def __init__(self, gate: Gate, *, now: Callable[[], float] = time.monotonic) -> None:
        self.stopping = False
        self._gate = gate
        self._now = now
        self._lock = threading.Lock()
        self._found: tuple[Condition, ...] = ()
        self._until = 0.0

    def look(self) -> tuple[Condition, ...]:
        """Every condition, as it was found at most a second ago. May block for the store."""
        with self._lock:
            if not self.stopping and self._now() >= self._until:  # a gate that is being closed is not asked
                self._found = self._gate.conditions()
                self._until = self._now() + KEPT_S
            return (*self._found, Condition("stopping", STOPPING if self.stopping else None))


class Probes:
    """`/livez` and `/readyz` before an application; `detailed` where only those listen who may know why."""

    def __init__(self, app: Application, health: Health, run: Callable[[Callable[[], Any]], Awaitable[Any]], *, detailed: bool) -> None:
        self._app = app
        self._health = health
        self._run = run
        self._detailed = detailed

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "http" and scope["path"] == "/livez":
            await answer(scope, send, 200, {"status": "ok"})
        elif scope["type"] == "http" and scope["path"] == "/readyz":
            found = await self._run(self._health.look)
            failed = [one for one in found if one.problem is not None and one.name not in TOLD_ONLY]
            await answer(scope, send, 503 if failed else 200, self._told(found, is_ready=not failed))
        else:
            await self._app(scope, receive, send)

    def _told(self, found: tuple[Condition, ...], *, is_ready: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
            "status": "ok" if is_ready else "failed",
            "checks": {one.name: "ok" if one.problem is None else "failed" for one in found},
        }
        if self._detailed:
            told["problems"] = {one.name: one.problem for one in found if one.problem is not None}
        return told


async def answer(
    scope: MutableMapping[str, Any], send: Any, status: int, body: dict[str, Any] | bytes, media_type: str = "application/json"
) -> None:
    """A short answer to GET and HEAD; 405 to anything else."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    if scope["method"] not in {"GET", "HEAD"}:
        status, content = 405, b""
    headers = [
        (b"content-type", media_type.encode("ascii")),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 405:  # noqa: PLR2004  as above
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
