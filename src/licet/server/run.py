"""One process that serves: the API at one address, metrics and health at another, and an end that loses nothing.

Rules:

1. The gate is open, and everything validated, before anybody is listened to.
2. The first SIGTERM or SIGINT: no new connection, `/readyz` answers 503, whoever waits for people is answered with how things stand, and
   requests in flight have `shutdown_s` to end. Then the gate is closed: what was decided is written, the lease given back.
3. The second: requests in flight are cut off at once. What they began is recorded as what it is; the gate is closed all the same.
4. SIGHUP reads policies and licet.toml again.
5. Metrics and health are answered to the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from licet.config.server import Address
from licet.errors import LicetError
from licet.gate.gate import Gate
from licet.gate.watching import Watcher
from licet.server.health import Health, Probes, answer
from licet.server.listening import Application, Listener, tls_of

R = TypeVar("R")

ASIDE = 4
"""Threads for health, metrics and the end."""
BESIDE_S = 20.0
"""For processes of upstreams, which are asked first, and killed then."""
HURRIED_S = 5.0
"""For threads that are at work when everybody else has ended."""
_log = logging.getLogger("licet.server")


class Closes(Protocol):
    """Something with threads of its own."""

    def close(self) -> None:
        """They end with what they are at."""
        ...


class Beside(Protocol):
    """Something that lives on the server's event loop beside its requests."""

    async def stop(self) -> None:
        """Whoever only listens is let go; what is under way goes on."""
        ...

    async def close(self) -> None:
        """What is under way has ended, and nothing is left behind."""
        ...


class Server:
    """Serves an application and its gate until it is told to stop. The gate is closed by then.

    Raises `ConfigInvalid` where an address or a certificate cannot be used. `metrics` gives what is shown at the second address.
    """

    def __init__(
        self,
        gate: Gate,
        app: Application,
        *,
        closes: Closes | None = None,
        beside: Beside | None = None,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
    ) -> None:
        gate.seal()
        self.gate = gate
        self.health = Health(gate)
        settings = gate.settings.server
        self._settings = settings
        self._closes = closes
        self._beside = beside
        self._metrics = metrics
        self._watcher = Watcher(gate, watch=settings.reload)
        tls = tls_of(settings)
        self._aside = ThreadPoolExecutor(ASIDE, thread_name_prefix="licet-aside")
        self._door = Listener(Probes(app, self.health, self._in_thread, detailed=False), settings.address, settings, tls=tls)
        inside = settings.metrics_address
        probes = Probes(self._show, self.health, self._in_thread, detailed=True)
        self._inside = None if inside is None else Listener(probes, inside, settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self.started = threading.Event()
        self.scheme = "http" if tls is None else "https"

    @property
    def address(self) -> Address:
        """Where the API listens, with the port that was found where any was asked for."""
        return self._door.address

    @property
    def metrics_address(self) -> Address | None:
        """Where metrics are shown."""
        return None if self._inside is None else self._inside.address

    def run(self) -> bool:
        """Serve until a signal or `stop` ends it. Whether every request that was in flight then was answered."""
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(self._serve())

    def stop(self) -> None:
        """As the first signal; called again, as the second. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    async def _serve(self) -> bool:
        self._loop = asyncio.get_running_loop()
        self._listen_to_signals(self._loop)
        self._watcher.start()
        try:
            if self._inside is not None:
                await self._inside.start()
            _spare_the_collector()
            await self._door.start()
            self._say_where()
            self.started.set()
            await self._stopping.wait()
            return await self._end()
        finally:
            if self._inside is not None:
                await self._inside.stop(0, self._hurry)
            self._aside.shutdown(wait=False, cancel_futures=True)

    def _say_where(self) -> None:
        _log.info("licet: serving at %s://%s", self.scheme, self.address)
        if self.metrics_address is not None:
            _log.info("licet: metrics and health at http://%s", self.metrics_address)

    async def _end(self) -> bool:
        """Rule 2."""
        self.health.stopping = True
        _log.info("licet: stopping: requests in flight have %g s", self._settings.shutdown_s)
        waiting = asyncio.ensure_future(self._in_thread(self._answer_waiting))
        await self._told_beside(lambda beside: beside.stop())
        answered = await self._door.stop(self._settings.shutdown_s, self._hurry)
        await waiting
        await self._told_beside(lambda beside: beside.close())
        if self._closes is not None:
            answered = await _ended(self._closes.close, HURRIED_S) and answered
        await self._in_thread(self._watcher.close)
        await self._in_thread(self.gate.close)
        _log.info("licet: stopped")
        return answered

    async def _told_beside(self, tell: Callable[[Beside], Awaitable[None]]) -> None:
        """What lives beside the requests ends, or is left behind: the gate is closed all the same."""
        if self._beside is None:
            return
        try:
            async with asyncio.timeout(BESIDE_S):
                await tell(self._beside)
        except Exception:  # noqa: BLE001 - whatever it is, the gate must be closed
            _log.exception("licet: what was beside the requests did not end as it should")

    def _answer_waiting(self) -> None:
        try:
            self.gate.stop_waiting()
        except LicetError as error:
            _log.warning("licet: who waits for people is not answered: %s", error)

    def _listen_to_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # whoever runs this in a thread has signals of their own
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._watcher.ask)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def _in_thread(self, function: Callable[[], R]) -> R:
        """What a function returns that may block, in a thread that no handler and no call can occupy: theirs may all wait for the store."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, function)

    async def _show(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002  an ASGI application
        if scope["path"] == "/metrics" and self._metrics is not None:
            content, media_type = await self._in_thread(self._metrics)
            await answer(scope, send, 200, content, media_type)
        else:
            await answer(scope, send, 404, {"status": "not found"})


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415  not on every system, and only where something is served

    return uvloop.new_event_loop()


def _spare_the_collector() -> None:
    """What is there before the first request stays until the end: no request pays for looking through all of it for garbage."""
    gc.collect()
    gc.freeze()


async def _ended(close: Callable[[], None], within_s: float) -> bool:
    """Whether this has ended within so many seconds; in a thread that nobody waits for, since a handler may hang for ever."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        close()
        with contextlib.suppress(RuntimeError):  # the loop is over: nobody waited that long
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="licet-http-close", daemon=True).start()
    try:
        async with asyncio.timeout(within_s):
            await done.wait()
    except TimeoutError:
        _log.error("licet: handlers that are still at work are left behind")
        return False
    return True
