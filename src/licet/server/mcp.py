"""The MCP gateway's place in the server: `/mcp` and `/mcp/{upstream}` go to its door, everything else to the API.

Rules:

1. Who asks, how often, how many at once, and whether they may propose calls at all (`calls.propose` of licet.cedar) is looked at as for
   the API (`app.py`), before anything of a message is read. A token may be for the gateway, or one upstream behind it, alone
   (`identity/resources.py`).
2. Credentials and cookies go no further than this: the door, and whatever stands behind it, does not see them.
3. Each request is told to whoever counts, logs or traces, as those of the API are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from licet.config import Settings
from licet.errors import NotAuthenticated
from licet.gateway.challenges import challenge
from licet.gateway.cross_origin import shared_with
from licet.gateway.messages import INTERNAL_ERROR, INVALID_REQUEST, NOT_PERMITTED, UNAVAILABLE, RpcError
from licet.gateway.requested import refusal
from licet.gateway.visit import Left, Visit
from licet.identity.authenticated import Authenticated
from licet.identity.resources import GATEWAY_PATH, gateway_resource
from licet.ledger.entropy import new_id
from licet.server import problems
from licet.server.app import Api
from licet.server.endpoint import Asked
from licet.server.exchange import GONE, NOBODY, PEER_CERTIFICATE, REQUEST_ID_FORM, Scope, Send
from licet.server.limits import AtOnce
from licet.server.observing import CREDENTIAL, REQUEST_ID, Answered
from licet.server.problems import Problem
from licet.server.reading import Disconnected, Receive, check_media_type, read_body

R = TypeVar("R")

REQUESTS_PART: Final = 4
"""One credential has this part of all connections at most for its calls: a quarter. Its streams that only listen have half."""
_BELOW: Final = f"{GATEWAY_PATH}/"
_ROUTES: Final = (GATEWAY_PATH, f"{GATEWAY_PATH}/{{upstream}}")
_KEPT_BACK: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_log = logging.getLogger("licet.server")


class Door(Protocol):
    """Serves MCP clients."""

    async def serve(self, visit: Visit) -> None:
        """Answer one request."""
        ...


class WithGateway:
    """The application of a server that has a gateway."""

    def __init__(self, api: Api, door: Door, settings: Callable[[], Settings]) -> None:
        self._api = api
        self._door = door
        self._settings = settings
        self._requests = AtOnce(max(1, api.settings.connections // REQUESTS_PART))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path == GATEWAY_PATH or path.startswith(_BELOW)):
            places = self._api.waiting if scope["method"] == "GET" else self._requests
            await _Visited(self._api, self._settings(), places, scope, receive, send).answer_by(self._door)
        else:
            await self._api(scope, receive, send)


class _Visited:
    """One request to the gateway, and its answer (`licet.gateway.visit.Visit`)."""

    def __init__(self, api: Api, settings: Settings, places: AtOnce, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0917  as ASGI has it
        self._api = api
        self._places = places
        self._settings = settings
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._raw: dict[bytes, bytes] = dict(scope["headers"])
        self.verb: Final[str] = scope["method"]
        path: str = scope["path"]
        self.upstream: Final = None if len(path) <= len(_BELOW) else path[len(_BELOW) :]
        self.headers: Final = {
            name: value.decode("latin-1") for key, value in self._raw.items() if (name := key.decode("latin-1")) not in _KEPT_BACK
        }
        self.twice: Final = _twice(scope["headers"], len(self._raw))
        given = self._raw.get(b"x-request-id", b"")
        self._request_id = given.decode("ascii") if REQUEST_ID_FORM.fullmatch(given) else new_id()
        self._who = NOBODY
        self._place = False
        self._status, self._code = 0, ""
        self._over = False
        self._shared: Mapping[str, str] = _NONE

    async def answer_by(self, door: Door) -> None:
        """Whatever happens, there is one answer, and it is told of."""
        REQUEST_ID.set(self._request_id)
        self._api.observer.began()
        try:
            await door.serve(self)
        except (Left, Disconnected):
            self._status = self._status or GONE
        except Exception as error:  # noqa: BLE001 - the edge: an error that nobody expected is logged, and tells its asker nothing else
            await self._fail(error)
        finally:
            if self._place:
                self._places.leave(self._who.credential)
            self._tell()

    # what the door asks for

    def share_with(self, origin: str) -> None:
        """The answer may be read by this page."""
        self._shared = shared_with(origin)

    async def enter(self) -> Authenticated:
        """Rule 1. Raises `Problem`, `NotAuthenticated`."""
        resource = gateway_resource(self._settings, self.upstream)
        self._who = await self._api.authenticate(self._authorization(), self._certificate(), self._client(), resource)
        CREDENTIAL.set(self._who.credential)
        self._api.count(self._who)
        if not self._places.enter(self._who.credential):
            raise Problem("too_many_requests", "too many requests of this credential are open at once", retry_after_s=1)
        self._place = True
        return self._who

    def permit(self, tenant: str | None) -> None:
        """Raises `Problem` where `licet.cedar` does not let the credential propose calls there."""
        asked = Asked(
            self._api.serving, self._who, params=None, body=None, raw_body=b"", headers={}, path=GATEWAY_PATH, request_id=self._request_id
        )
        asked.allow("calls.propose", tenant or "")

    async def look_again(self) -> None:
        """Raises `NotAuthenticated` where the credential does not hold any more."""
        await self._api.check_still(self._who, self._authorization(), self._certificate())

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `Problem`, `Disconnected`."""
        check_media_type(self._raw)
        return await read_body(self._receive, self._raw, limit_bytes, self._api.settings.request_timeout_s)

    async def run(self, function: Callable[[], R]) -> R:
        """What a function returns, in a thread."""
        return await self._api.run(function)

    async def gone(self) -> None:
        """Returns when the peer goes away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None, code: str = "") -> None:
        """The whole answer."""
        self._code = code
        named = dict(headers or _NONE)
        if content:
            named.setdefault("content-type", "application/json")
        if status != HTTPStatus.NO_CONTENT:
            named["content-length"] = str(len(content))
        named.setdefault("cache-control", "no-store")
        await self._start(status, named)
        await self.end(content)

    async def begin(self, headers: Mapping[str, str]) -> None:
        """An answer that comes in parts."""
        await self._start(HTTPStatus.OK, headers)

    async def part(self, content: bytes) -> None:
        """A part of it."""
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self, content: bytes = b"") -> None:
        """That was all."""
        self._over = True
        await self._send({"type": "http.response.body", "body": content})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = int(status)
        sent = [(b"x-request-id", self._request_id.encode("ascii")), (b"x-content-type-options", b"nosniff")]
        sent += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*headers.items(), *self._shared.items())]
        await self._send({"type": "http.response.start", "status": int(status), "headers": sent})

    # who asks

    def _authorization(self) -> str | None:
        if "authorization" in self.twice:
            raise NotAuthenticated("invalid_credential", "header_twice")  # which one counts, two readers could see differently
        shown = self._raw.get(b"authorization")
        return None if shown is None else shown.decode("latin-1")

    def _certificate(self) -> bytes | None:
        found: bytes | None = (self._scope.get("extensions") or {}).get(PEER_CERTIFICATE)
        return found

    def _client(self) -> str:
        client = self._scope.get("client")
        return client[0] if client else ""

    # what goes wrong, and what is told

    async def _fail(self, error: Exception) -> None:
        problem = problems.problem_of(error)
        if problem is None:
            _log.error("licet: the gateway failed (request `%s`)", self._request_id, exc_info=error)
            problem = Problem("internal_error", "something went wrong here; the server's log has it under this request's id")
        elif problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("licet: request `%s`: %s", self._request_id, error)
        if self._status:
            self._code = problem.code
            if not self._over:
                await self.end()  # a stream that is cut off: what it was begun with cannot be taken back
            return
        await self.answer(problem.status, refusal(self._error_of(problem)), self._problem_headers(problem), problem.code)

    def _error_of(self, problem: Problem) -> RpcError:
        """A problem as clients of MCP show it to people: as an error of JSON-RPC."""
        number = INVALID_REQUEST if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR else INTERNAL_ERROR
        if problem.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            number = NOT_PERMITTED
        elif problem.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            number = UNAVAILABLE
        return RpcError(number, problem.detail, data={"code": problem.code, "request_id": self._request_id})

    def _problem_headers(self, problem: Problem) -> dict[str, str]:
        headers = {name.lower(): value for name, value in problem.headers}
        if problem.retry_after_s is not None:
            headers["retry-after"] = str(problem.retry_after_s)
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = challenge(self._settings, self.upstream)
        return headers

    def _tell(self) -> None:
        self._api.observer.answered(
            Answered(
                request_id=self._request_id,
                method=self.verb,
                route=_ROUTES[self.upstream is not None],
                status=self._status or GONE,
                duration_s=time.perf_counter() - self._started,
                code=self._code,
                credential=self._who.credential,
                client=self._client(),
            )
        )


def _twice(headers: list[tuple[bytes, bytes]], distinct: int) -> frozenset[str]:
    if len(headers) == distinct:
        return frozenset()
    seen: set[bytes] = set()
    return frozenset([name.decode("latin-1") for name, _ in headers if name in seen or seen.add(name)])  # type: ignore[func-returns-value]
