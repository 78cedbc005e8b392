"""The HTTP door, as one ASGI application: who asks, how often, for what, and the answer.

In this order, for every endpoint alike:

1. the endpoint, by path and method
2. the credential (`identity/authenticator.py`); who fails too often from one address waits
3. how often this credential may ask
4. parameters and body, within bounds, decoded strictly
5. the handler, which asks `licet.cedar` for permission by tenant; what it answers without having asked does not go out
6. the answer, or a problem (`problems.py`)

Rules:

1. Nothing here decides about a tool, records or approves: handlers go through the gate and the desk as everybody does.
2. An error that nobody expected is logged with the request's id, and tells its asker nothing else.
3. Answers are for whoever asked: `Cache-Control: no-store`, unless an endpoint says otherwise.
4. What takes long, waiting for people or a stream, ends when its peer goes away, and when the credential does not hold any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from licet.config.server import ServerSettings
from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.identity.authenticator import Authenticator
from licet.identity.resources import is_for
from licet.server.endpoint import Answer, Asked, Endpoint, Handler, Serving
from licet.server.exchange import Exchange, Scope, Send
from licet.server.limits import AtOnce, Buckets, neighbourhood
from licet.server.observing import Observer, Observers
from licet.server.problems import Problem
from licet.server.reading import Receive
from licet.server.routing import Routes

R = TypeVar("R")

WORKERS: Final = 32
"""Handlers that run at once in threads: most wait for the store."""
CHECKING: Final = 8
"""Threads that look whose credential it is. Whoever shows one that nobody knows waits for these, and takes none from handlers."""
_log = logging.getLogger("licet.server")


class Api:
    """The application. `close` it when it serves no more; the gate is closed by whoever opened it."""

    def __init__(
        self,
        serving: Serving,
        authenticator: Authenticator,
        endpoints: Iterable[Endpoint],
        settings: ServerSettings,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.serving: Final = serving
        self.routes: Final = Routes(endpoints)
        self._authenticator: Final = authenticator
        self.settings: Final = settings
        self.observer: Final = Observers(tuple(observers))
        self._requests: Final = Buckets(settings.requests_per_minute)
        self._refusals: Final = Buckets(settings.refusals_per_minute)
        self.waiting: Final = AtOnce(max(1, settings.connections // 2))
        self._workers: Final = ThreadPoolExecutor(WORKERS, thread_name_prefix="licet-http")
        self._checking: Final = ThreadPoolExecutor(CHECKING, thread_name_prefix="licet-who")

    def close(self) -> None:
        """The threads end with what they are at."""
        for pool in (self._checking, self._workers):
            pool.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "http":
            await Exchange(self, scope, receive, send).answer()
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1_003})

    async def authenticate(
        self, authorization: str | None, certificate: bytes | None, client: str, resource: str | None = None
    ) -> Authenticated:
        """Who asks. `resource` is that of the gateway that is asked for, None for the API. Raises `Problem` (429), `NotAuthenticated`."""
        who = await self._authenticated(authorization, certificate, client)
        if not is_for(who.only_for, resource):
            self.observer.not_authenticated("wrong_audience")
            raise NotAuthenticated("invalid_credential", "wrong_audience")
        return who

    async def _authenticated(self, authorization: str | None, certificate: bytes | None, client: str) -> Authenticated:
        known = self._authenticator.find_known(authorization, certificate)
        return await self._verified(known, lambda: self._authenticator.authenticate(authorization, certificate), client)

    async def _verified(self, known: Authenticated | None, verify: Callable[[], Authenticated], client: str) -> Authenticated:
        if known is not None:
            return known
        address = neighbourhood(client)
        if self._refusals.is_empty(address):
            raise Problem("too_many_requests", "too many credentials from this address were refused", retry_after_s=60)
        try:
            return await self.run(verify, self._checking)
        except NotAuthenticated as refused:
            if refused.code != "unavailable":  # an outage of ours is nobody's guessing
                self._refusals.take(address)
            self.observer.not_authenticated(refused.reason)
            raise

    async def authenticate_session(self, shown: str, client: str) -> Authenticated:
        """Whose browser this is, by its cookie. Raises as `authenticate`."""
        return await self._verified(
            self._authenticator.find_known_session(shown), lambda: self._authenticator.authenticate_session(shown), client
        )

    async def check_session_still(self, who: Authenticated, shown: str) -> None:
        """As `check_still`, for a browser."""
        await self._check_still(who, self._authenticator.find_known_session(shown), lambda: self._authenticator.authenticate_session(shown))

    async def check_still(self, who: Authenticated, authorization: str | None, certificate: bytes | None) -> None:
        """Who asked is still who they were. Raises `NotAuthenticated`; an outage of ours ends nothing that has begun."""
        known = self._authenticator.find_known(authorization, certificate)
        await self._check_still(who, known, lambda: self._authenticator.authenticate(authorization, certificate))

    async def _check_still(self, who: Authenticated, known: Authenticated | None, verify: Callable[[], Authenticated]) -> None:
        try:
            found = known or await self.run(verify, self._checking)
        except NotAuthenticated as refused:
            if refused.code == "unavailable":
                return
            self.observer.not_authenticated(refused.reason)
            raise
        if found != who:
            self.observer.not_authenticated("scope_changed")
            raise NotAuthenticated("invalid_credential", "scope_changed")

    def count(self, who: Authenticated) -> None:
        """One more request of this credential. Raises `Problem` (429)."""
        wait_s = self._requests.take(who.credential)
        if wait_s:
            raise Problem("too_many_requests", f"this credential may ask again in {wait_s} s", retry_after_s=wait_s)

    async def run(self, function: Callable[[], R], pool: ThreadPoolExecutor | None = None) -> R:
        """What a function returns that may block, in a thread, within the context of whoever asks."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(pool or self._workers, context.run, function)

    async def handle(self, endpoint: Endpoint, asked: Asked) -> Answer:
        """What the handler answers, if it has asked for permission."""
        if _waits(endpoint.handler):
            answer = await endpoint.handler(asked)  # type: ignore[misc]  # a coroutine function, as looked up
        else:
            answer = await self.run(lambda: endpoint.handler(asked))
        if endpoint.action is not None and not asked.checked:
            _log.error("licet: `%s` answered without asking for permission; the answer was kept back", endpoint.operation)
            raise Problem("internal_error", "the answer was kept back")
        assert isinstance(answer, Answer)
        return answer


@functools.cache
def _waits(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler)


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan protocol: whoever runs the application opens and closes the gate, so nothing is done here."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
