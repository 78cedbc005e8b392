"""What goes wrong, as RFC 9457 problem details: one shape for every endpoint.

Rules:

1. `code` is stable and for programs; `detail` is a sentence for people, and holds no secret and nothing that the asker may not see.
2. What is not expected is `internal_error`, what fails here `unavailable` or `integrity_broken`, with nothing of the error in it: paths,
   addresses of databases and names of other tenants' logs stand in the server's log alone, under the request's id.
3. What exists elsewhere and what does not exist answer alike: `not_found`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from licet.errors import (
    ArgumentsRefused,
    CallerRefused,
    ConditionLost,
    ErasureRefused,
    FreezeRefused,
    GateClosed,
    IntegrityBroken,
    LicetError,
    NotAuthenticated,
    PolicyInvalid,
    SettlementRefused,
    StoreError,
    TransitionRefused,
    UndoRefused,
    VoteRefused,
)

TYPE_PREFIX: Final = "urn:licet:problem:"
MEDIA_TYPE: Final = "application/problem+json"
PLAIN: Final = "text/plain; charset=utf-8"

STATUSES: Final[dict[str, int]] = {
    "bad_request": 400,
    "not_json": 400,
    "bad_cursor": 400,
    "invalid_credential": 401,
    "not_permitted": 403,
    "unknown_login": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "refused": 422,
    "too_many_requests": 429,
    "internal_error": 500,
    "integrity_broken": 500,
    "unavailable": 503,
}
"""The status of each code that the server itself gives. An endpoint names its further ones."""


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """RFC 9457. `type` is a URN of the code; `request_id` finds the request in the log; `errors` say where in the input."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: tuple[str, ...] = ()
    retry_after_s: int | None = None


class Problem(Exception):
    """An answer that is a problem. `headers` go out with it; `errors` name places in what was sent."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        errors: tuple[str, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = STATUSES[code] if status is None else status
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.retry_after_s = retry_after_s

    def details(self, request_id: str) -> ProblemDetails:
        """The body."""
        return ProblemDetails(
            type=f"{TYPE_PREFIX}{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
            retry_after_s=self.retry_after_s,
        )

    def encode(self, request_id: str) -> bytes:
        """The body's bytes."""
        return _encode(self.details(request_id))


_encode = msgspec.json.Encoder().encode


def not_found() -> Problem:
    """There is none, or none that this one may know of."""
    return Problem("not_found", "there is no such thing, or none that this credential may see")


def bad_request(detail: str, *errors: str) -> Problem:
    """The request cannot be understood."""
    return Problem("bad_request", detail, errors=errors)


_REFUSALS: Final[tuple[tuple[type[LicetError], str], ...]] = (
    (VoteRefused, "refused"),
    (SettlementRefused, "refused"),
    (FreezeRefused, "refused"),
    (ErasureRefused, "refused"),
    (UndoRefused, "refused"),
    (PolicyInvalid, "refused"),
    (ArgumentsRefused, "bad_request"),
    (TransitionRefused, "conflict"),
    (ConditionLost, "conflict"),
    (CallerRefused, "not_permitted"),
    (IntegrityBroken, "integrity_broken"),
    (StoreError, "unavailable"),
    (GateClosed, "unavailable"),
)


def problem_of(error: Exception) -> Problem | None:
    """What an error that Licet raises on purpose is for whoever asked; None for one that nobody expected."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, NotAuthenticated):
        return _unproved(error)
    for kind, code in _REFUSALS:
        if isinstance(error, kind):
            return _told(error, code)
    return None


def _unproved(error: NotAuthenticated) -> Problem:
    """All that a stranger is told: who proved a login that nobody mapped, and whom nobody can check now, may act on that."""
    if error.code in {"unknown_login", "unavailable"}:
        return Problem(error.code, str(error))
    return Problem("invalid_credential", "a valid credential is needed", headers=(("WWW-Authenticate", 'Bearer realm="licet"'),))


_FAILED: Final = {
    "integrity_broken": "what is stored is not what was written; the server's log says where, under this request's id",
    "unavailable": "this cannot be answered now; try again later",
}
"""What is told of our own failures (rule 2)."""


def _told(error: LicetError, code: str) -> Problem:
    if code in _FAILED:
        return Problem(code, _FAILED[code])
    status = STATUSES[code]
    own: Any = getattr(error, "code", None) or getattr(error, "condition", None)
    if not isinstance(own, str):
        own = code
    errors = error.problems if isinstance(error, PolicyInvalid) else ()
    if isinstance(error, ArgumentsRefused) and error.path:
        errors = (error.path,)
    text = "the policies do not load" if isinstance(error, PolicyInvalid) else str(error)
    return Problem(own, text, status=status, errors=errors)
