"""Requests to one Licet server, and what comes back.

Rules:

1. To the configured address alone: https with a verified certificate, or http to this machine itself. No redirect is followed and no proxy
   of the process environment is used, so a credential goes nowhere else (`licet.wire`).
2. A request ends by its deadline, and no more is read than said.
3. Only what may safely be made twice is made again by itself: what reads, and what carries an idempotency key. Anything else whose answer
   did not arrive is `ServerUnreachable(sent=True)`: whether it happened is unknown.
4. What a server says is not believed beyond its shape: an answer that is not as the API has it is `ServerProblem("bad_answer")`.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from licet.errors import ConfigInvalid, ServerProblem, ServerUnreachable
from licet.wire import Address, Answered, Streamed, Unreachable, clean

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
ANSWER_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""A page of a thousand records with their payloads stays below it. Exports are streamed, and have no limit."""
ATTEMPTS: Final = 3
PAUSE_S: Final = 0.2
"""Before the second attempt; twice that before the third."""
LONGEST_PAUSE_S: Final = 10
"""A server that asks for more patience than that is not waited for."""
KEY_LIMIT_BYTES: Final = 64 * 1024
_TRANSIENT: Final = frozenset({429, 502, 503, 504})


class Reply(Struct, frozen=True):
    """An answer that is no problem. `etag` is None where it has none; names of `headers` are in lower case."""

    status: int
    body: bytes
    etag: str | None
    request_id: str
    headers: Mapping[str, str] = {}


class _Problem(Struct, frozen=True):
    code: str
    detail: str = ""
    request_id: str = ""
    errors: tuple[str, ...] = ()
    retry_after_s: int | None = None


_decoding = threading.Lock()
"""Two threads that meet a type first at one moment crash in msgspec 0.22."""
_decode_problem = msgspec.json.Decoder(_Problem).decode


class Connection:
    """A server and the credential that is shown to it. May be used from many threads."""

    def __init__(self, url: str, credential: str | None, *, timeout_s: float = TIMEOUT_S, ca: Path | None = None) -> None:
        """`url` is that of the server, without `/api`. `ca`: a file of certificates to trust in place of the system's.

        Raises `ConfigInvalid` for an address that rule 1 forbids, and a credential that cannot stand in a header.
        """
        if credential is not None and (not credential or any(not "!" <= char <= "~" for char in credential)):
            raise ConfigInvalid("the credential is empty, or holds what no credential holds")
        self.url: Final = url.rstrip("/")
        self.timeout_s: Final = timeout_s
        self._address: Final = Address.parse(url, "a Licet server")
        self._credential: Final = credential
        self._tls: Final = ssl.create_default_context(cafile=None if ca is None else str(ca))

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        waits_s: float = 0.0,
    ) -> Reply:
        """One request and its answer. Raises `ServerProblem` for a problem, `ServerUnreachable` where there is no answer.

        `repeatable` says whether it may be made again where no answer came; by default a GET is. `waits_s` is how long the server was
        asked to wait for something to happen, beside the time that an answer may take.
        """
        attempts = ATTEMPTS if (method == "GET" if repeatable is None else repeatable) else 1
        until = time.monotonic() + self.timeout_s + waits_s
        while True:
            attempts -= 1
            try:
                return self._once(method, path + _query(query), body, headers or {}, max(until - time.monotonic(), 0.001))
            except (ServerProblem, ServerUnreachable) as error:
                pause_s = _pause_s(error, ATTEMPTS - attempts)
                if attempts == 0 or pause_s is None or time.monotonic() + pause_s >= until:
                    raise
            time.sleep(pause_s)

    def decoded(self, reply: Reply, wanted: type[T]) -> T:
        """The body of an answer as this type. Raises `ServerProblem` where it is something else."""
        try:
            with _decoding:
                return msgspec.json.decode(reply.body, type=wanted)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _bad_answer(reply.status, f"the server's answer cannot be read: {error}", reply.request_id) from error

    @contextmanager
    def stream(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None) -> Iterator[Iterator[bytes]]:
        """The body of an answer, in parts; `timeout_s` is for each part. Raises as `ask`, and while it is read."""
        content = None if body is None else msgspec.json.encode(body)
        with self._address.stream(
            method, path + _query(query), content, self._headers(content, {}), timeout_s=self.timeout_s, tls=self._tls
        ) as answer:
            if isinstance(answer, Unreachable):
                raise ServerUnreachable(self.url, answer.message, sent=answer.sent)
            if not _is_success(answer.status):
                raise _problem(Answered(answer.status, answer.headers, b"".join(_first(answer, KEY_LIMIT_BYTES))))
            yield self._parts(answer)

    def _parts(self, answer: Streamed) -> Iterator[bytes]:
        try:
            yield from answer.parts
        except OSError as error:
            raise ServerUnreachable(self.url, clean(str(error)), sent=True) from error

    def _once(self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float) -> Reply:
        content = None if body is None else msgspec.json.encode(body)
        answer = self._address.exchange(
            method,
            path,
            content,
            self._headers(content, headers),
            timeout_s=timeout_s,
            limit_bytes=ANSWER_LIMIT_BYTES,
            tls=self._tls,
        )
        if isinstance(answer, Unreachable):
            raise ServerUnreachable(self.url, answer.message, sent=answer.sent)
        if answer.problem is not None:
            raise ServerUnreachable(self.url, answer.problem, sent=True)
        if not _is_success(answer.status):
            raise _problem(answer)
        tag = answer.headers.get("etag")
        return Reply(answer.status, answer.body, tag, _request_id(answer.headers), answer.headers)

    def _headers(self, content: bytes | None, more: Mapping[str, str]) -> dict[str, str]:
        found = {"Accept": "application/json, application/problem+json;q=0.9, */*;q=0.1", "User-Agent": "licet-client", **more}
        if content is not None:
            found["Content-Type"] = "application/json"
        if self._credential is not None:
            found["Authorization"] = f"Bearer {self._credential}"
        return found


def read_credential(environment: Mapping[str, str] = os.environ, *, file: Path | None = None) -> str | None:
    """The credential: of this file, or of `LICET_API_KEY`, or of the file that `LICET_API_KEY_FILE` names. None where there is none.

    Never from an argument of the command line, which every user of the machine can read. Raises `ConfigInvalid`.
    """
    text = environment.get("LICET_API_KEY")
    named = environment.get("LICET_API_KEY_FILE")
    if file is None and text:
        return text.strip()
    if file is None and not named:
        return None
    path = file or Path(named or "")
    try:
        with path.open("rb") as stream:
            found = stream.read(KEY_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"the credential cannot be read from `{path}`: {(error.strerror or '').lower()}") from error
    if len(found) > KEY_LIMIT_BYTES or not found.strip().isascii() or not found.strip():
        raise ConfigInvalid(f"`{path}` holds no credential")
    return found.strip().decode("ascii")


def in_path(value: str | int) -> str:
    """A value as one segment of a path: no slash, no dots and no question mark in it make it another path."""
    escaped = quote(str(value), safe="")
    return escaped.replace(".", "%2E") if escaped.strip(".") == "" else escaped


def _query(query: Mapping[str, Any] | None) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        values = value if isinstance(value, list | tuple) else (value,)
        pairs += [(name, _text(one)) for one in values if one is not None]
    return f"?{urlencode(pairs)}" if pairs else ""


def _text(value: Any) -> str:
    found = msgspec.to_builtins(value)
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _problem(answer: Answered) -> ServerProblem:
    """What a server says is wrong. A proxy in between may answer with anything."""
    request_id = _request_id(answer.headers)
    try:
        found = _decode_problem(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _bad_answer(answer.status, f"the server answered with {answer.status}, and nothing that Licet says", request_id)
    return ServerProblem(
        answer.status,
        clean(found.code),
        clean(found.detail),
        request_id=clean(found.request_id) or request_id,
        errors=tuple([clean(one) for one in found.errors]),
        retry_after_s=found.retry_after_s,
    )


def _bad_answer(status: int, message: str, request_id: str) -> ServerProblem:
    return ServerProblem(status, "bad_answer", clean(message), request_id=request_id)


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _request_id(headers: Mapping[str, str]) -> str:
    return clean(headers.get("x-request-id", ""))


def _first(answer: Streamed, limit_bytes: int) -> Iterator[bytes]:
    """The first parts of a body that is a problem."""
    for part in answer.parts:
        yield part[:limit_bytes]
        limit_bytes -= len(part)
        if limit_bytes <= 0:
            return


def _pause_s(error: ServerProblem | ServerUnreachable, attempt: int) -> float | None:
    """How long to wait before it is tried again; None where that would not help."""
    if isinstance(error, ServerUnreachable):
        return PAUSE_S * attempt
    if error.status not in _TRANSIENT:
        return None
    wait_s = error.retry_after_s
    return None if wait_s is not None and wait_s > LONGEST_PAUSE_S else wait_s or PAUSE_S * attempt
