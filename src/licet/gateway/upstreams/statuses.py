"""What a status of HTTP that says no means for the request that it answers: whether anything can have been done, and what may follow.

Rules:

1. A request is made again only where it is certain that nobody acted on it: 401 (RFC 9110, 15.5.2: it "has not been applied"), 404 to a
   request within a session (2025-11-25, Session Management, 3 and 4), and the sentences of `FORGOTTEN` with a 400 that answers no request.
2. An error of JSON-RPC with the request's own id is its answer, whatever the status. One without is the transport's, and so is a page.
3. What the specification and both official SDKs answer before a tool can be reached is an error of the call (`STATUSES`). After any other
   status nobody knows what was done: a server, or whatever stands before it, may say 403, 429 or 307 behind what it has done as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSent
from licet.gateway.messages import INTERNAL_ERROR, MessageId
from licet.model import JsonObject

Meaning: TypeAlias = Literal["not_executed", "refused", "unknown"]

STATUSES: Final[Mapping[int, Meaning]] = {
    HTTPStatus.UNAUTHORIZED: "not_executed",  # basic/authorization: invalid or expired tokens; rule 1
    HTTPStatus.BAD_REQUEST: "refused",  # streamable-http: versions, headers, and bodies that are no message
    HTTPStatus.NOT_FOUND: "refused",  # streamable-http: there is no such method, or nothing of MCP
    HTTPStatus.METHOD_NOT_ALLOWED: "refused",  # streamable-http: no POST here
    HTTPStatus.NOT_ACCEPTABLE: "refused",  # both SDKs, of `Accept`
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "refused",  # the Python SDK, of a body that it has not read
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "refused",  # both SDKs, of `Content-Type`
    HTTPStatus.MISDIRECTED_REQUEST: "refused",  # the Python SDK, of `Host`
}
"""Those that say more than that nobody knows."""
FORGOTTEN: Final = frozenset(
    {
        # python-sdk, server/streamable_http_manager.py before its commit 85bac7c, and the servers written after typescript-sdk's examples
        "Bad Request: No valid session ID provided",
        # typescript-sdk, server/streamableHttp.ts, `validateSession`: a server that was started anew
        "Bad Request: Server not initialized",
    }
)
"""What official SDKs say with a 400, before they look at the message, of a session that they do not know."""
SENTENCE_BYTES: Final = 200
"""No sentence of `FORGOTTEN` is longer; a page of text that is, is not read."""
_HANDSHAKES: Final = frozenset({"initialize", "server/discover"})
"""They do nothing, whatever they are answered with."""


class Refusal(Struct, frozen=True):
    """An answer whose status says no. `error` is the error of JSON-RPC in it, `about` the id beside it; `text` a short page."""

    upstream: str
    status: int
    error: JsonObject | None = None
    about: object = None
    text: str | None = None

    def answers(self, request: MessageId) -> bool:
        """Whether somebody has looked at this very request (rule 2)."""
        return self.error is not None and type(self.about) is type(request) and self.about == request

    @property
    def forgets_session(self) -> bool:
        """Whether the session that the request named is not known, and nothing was done (rule 1)."""
        said = self.error["message"] if self.error is not None else self.text
        return self.status == HTTPStatus.NOT_FOUND or (self.status == HTTPStatus.BAD_REQUEST and said in FORGOTTEN)

    def answer(self, request: MessageId, method: str) -> JsonObject:
        """The error that its client is told. Raises `EndedAs` where it is not known to be one (rule 3)."""
        if not self.answers(request) and (meaning := STATUSES.get(self.status, "unknown")) != "refused":
            raise self._fault(meaning, method)
        error = self.error or {"code": INTERNAL_ERROR, "message": f"the upstream refused the request with HTTP status {self.status}"}
        return {"jsonrpc": "2.0", "id": request, "error": error}

    def _fault(self, meaning: Meaning, method: str) -> EndedAs:
        said = _sentence(self.upstream, self.status)
        is_page_of_greeting = method in _HANDSHAKES and self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return NotSent(said) if meaning == "not_executed" or is_page_of_greeting else Garbage("upstream_not_understood", said)


def _sentence(upstream: str, status: int) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"`{upstream}` sends requests elsewhere (HTTP status {status}), which is not followed; write the right `url`"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"`{upstream}` refuses the gateway's credential (HTTP status {status}); look at its `headers`"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return f"`{upstream}` takes no more requests at the moment (HTTP status {status})"
    return f"`{upstream}` answered with HTTP status {status}"
