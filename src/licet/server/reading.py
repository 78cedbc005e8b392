"""What a request says: parameters of path and query, and a body of JSON, each decoded strictly.

Rules:

1. A body is read up to a stated number of bytes and for a stated time; a larger one is refused before it lies in memory whole, and one
   of very many values before it is decoded. The rest of one that is not far too large is read and thrown away first: a peer that still
   sends would find its connection broken, and no answer.
2. It is `application/json` in UTF-8. A key twice in one object is refused at any depth (`catalog/strict.py`).
3. A parameter that is given twice is refused, unless it is a list; so is one that the endpoint does not have.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from licet.catalog import strict
from licet.errors import ArgumentsRefused
from licet.server.endpoint import Endpoint
from licet.server.problems import Problem, bad_request

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

B = TypeVar("B", bytes, bytearray)

BODY_VALUES_LIMIT = 60_000
"""As many as `limits.arguments_values` may allow, and room around them: what a call has too many of, the gate refuses and records."""
SKIPPED_BYTES = 16 * 1024 * 1024
"""Of a body that is too large, after which the peer is answered even if it still sends."""
QUERY_LIMIT_BYTES = 8_192
QUERY_FIELDS = 100


class Disconnected(Exception):
    """The peer went away; there is nobody to answer."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit_bytes: int, timeout_s: float) -> bytes:
    """The whole body. Raises `Problem` (408, 413), `Disconnected`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and (declared := int(length[:20])) > limit_bytes:
        if declared <= limit_bytes + SKIPPED_BYTES and b"expect" not in headers:
            await _skip(receive, deadline)
        raise _too_large(limit_bytes)
    message = await _next(receive, timeout_s)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return _bounded(body, limit_bytes)
    parts = bytearray(body)
    while message.get("more_body", False):
        if len(parts) > limit_bytes:
            await _skip(receive, deadline)
            raise _too_large(limit_bytes)
        message = await _next(receive, deadline - asyncio.get_running_loop().time())
        parts += message.get("body", b"")
    return _bounded(bytes(parts), limit_bytes)


async def _skip(receive: Receive, deadline: float) -> None:
    """Throw away what is left of a body, up to `SKIPPED_BYTES` and to the deadline."""
    left = SKIPPED_BYTES
    with suppress(Problem):
        while left > 0:
            message = await _next(receive, deadline - asyncio.get_running_loop().time())
            if not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))


async def _next(receive: Receive, timeout_s: float) -> MutableMapping[str, Any]:
    receiving = _Begun(receive())
    if not receiving.is_done:  # most bodies are here by now, and a timer for each would cost more than reading it
        try:
            async with asyncio.timeout(timeout_s):
                await receiving
        except TimeoutError as error:
            raise Problem("request_timeout", "the body did not arrive in time") from error
    message: MutableMapping[str, Any] = receiving.value
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message


class _Begun:
    """A coroutine that has been run up to where it waits, or to its end; awaited, it goes on from there. `value` is what it returned."""

    def __init__(self, coroutine: Awaitable[Any]) -> None:
        self._steps: Generator[Any, Any, Any] = coroutine.__await__()
        self.is_done = False
        self.value: Any = None
        self._waits_for = self._step(lambda: next(self._steps))

    def __await__(self) -> Generator[Any, Any, None]:
        while not self.is_done:
            try:
                said = yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's to know of
                self._waits_for = self._step(functools.partial(self._steps.throw, error))
            else:
                self._waits_for = self._step(functools.partial(self._steps.send, said))

    def _step(self, go_on: Callable[[], Any]) -> Any:
        try:
            return go_on()
        except StopIteration as end:
            self.is_done, self.value = True, end.value
            return None


def decode_body(endpoint: Endpoint, headers: Mapping[bytes, bytes], body: bytes, limit_bytes: int) -> Any:
    """The body as its type. Raises `Problem` (400, 415)."""
    if endpoint.body is None:
        if body:
            raise bad_request("this endpoint takes no body")
        return None
    if not body and endpoint.body_optional:
        return None
    check_media_type(headers)
    try:
        value = strict.parse(body, limit_bytes=limit_bytes, limit_values=BODY_VALUES_LIMIT)
    except ArgumentsRefused as refused:
        raise Problem("not_json", f"the body cannot be read: {refused}", errors=(refused.path,) if refused.path else ()) from refused
    return converted(value, endpoint.body, "the body is not as it must be")


def check_media_type(headers: Mapping[bytes, bytes]) -> None:
    """Raise `Problem` (415) for anything but JSON in UTF-8."""
    unverified = headers.get(b"content-type", b"").decode("latin-1").lower()
    media_type, _, parameters = unverified.partition(";")
    if media_type.strip() != "application/json" or (parameters.strip() not in {"", "charset=utf-8", 'charset="utf-8"'}):
        raise Problem("unsupported_media_type", "the body must be `application/json`", headers=(("Accept", "application/json"),))
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Problem("unsupported_media_type", "the body must not be compressed")


def decode_params(endpoint: Endpoint, path: Mapping[str, str], query: bytes) -> Any:
    """Parameters of path and query as their type. Raises `Problem` (400)."""
    if endpoint.params is None:
        if query:
            raise bad_request("this endpoint takes no parameters")
        return None
    values: dict[str, Any] = {name: _checked(text) for name, text in path.items()}
    lists = lists_of(endpoint.params)
    for name, text in _query(query):
        if name in lists:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise bad_request("a parameter is given twice", name[:100])
        else:
            values[name] = text
    return converted(values, endpoint.params, "a parameter is not as it must be", strictly=False)


def converted(value: Any, wanted: Any, sentence: str, *, strictly: bool = True) -> Any:
    """The value as this type. Raises `Problem` (400), which says where."""
    try:
        return msgspec.convert(value, wanted, strict=strictly)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise bad_request(sentence, str(error)) from error


def _query(query: bytes) -> list[tuple[str, str]]:
    if len(query) > QUERY_LIMIT_BYTES:
        raise bad_request("the query is too long")
    try:
        found = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=QUERY_FIELDS
        )
    except ValueError as error:
        raise bad_request("the query cannot be read") from error
    return [(name, _checked(text)) for name, text in found]


def _checked(text: str) -> str:
    """Text without what no name, id or filter holds, and databases choke on."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise bad_request("a parameter holds what is not text")
    return text


@functools.lru_cache(maxsize=512)
def lists_of(params: type[Struct]) -> frozenset[str]:
    """The fields that take several values."""
    return frozenset(name for name, kind in get_type_hints(params).items() if get_origin(kind) in {tuple, list})


def _bounded(body: B, limit_bytes: int) -> B:
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    return body


def _too_large(limit_bytes: int) -> Problem:
    return Problem("too_large", f"the body has more than {limit_bytes} bytes", headers=(("Connection", "close"),))
