"""JSON-RPC 2.0 as MCP has it: messages, read strictly and written once.

Rules:

1. A message is one JSON object in which nothing stands twice; whose parsers disagree about a message could be told two things. What is
   passed on is always what was read, written anew.
2. An id is text or a whole number; nothing else is answered.
3. Errors say what to do, and nothing of what is behind the gateway that a client may not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeGuard

import msgspec

from licet.catalog import strict
from licet.errors import ArgumentsRefused, LicetError
from licet.model import JsonObject

PARSE_ERROR: Final = -32_700
INVALID_REQUEST: Final = -32_600
METHOD_NOT_FOUND: Final = -32_601
INVALID_PARAMS: Final = -32_602
INTERNAL_ERROR: Final = -32_603
NOT_PERMITTED: Final = -32_003
"""Ours, in the range that is left to implementations: policy says no to something that is no tool call."""
UNAVAILABLE: Final = -32_004
"""Ours: an upstream, or the audit log, cannot be reached."""
HEADER_MISMATCH: Final = -32_020
MISSING_CAPABILITY: Final = -32_021
UNSUPPORTED_VERSION: Final = -32_022

MessageId: TypeAlias = str | int
_encoder: Final = msgspec.json.Encoder()
_loose: Final = msgspec.json.Decoder()


class RpcError(LicetError):
    """An answer that is an error of JSON-RPC. `http_status` is that of the answer where it travels alone over HTTP."""

    def __init__(self, code: int, message: str, *, data: Any = None, http_status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        self.http_status = http_status

    def content(self) -> JsonObject:
        """The `error` member."""
        found: JsonObject = {"code": self.code, "message": str(self)}
        return found if self.data is None else found | {"data": self.data}


def read_client_message(unverified: bytes, *, limit_bytes: int) -> JsonObject:
    """One message of a client, which is nobody's friend (rule 1). Raises `RpcError`."""
    try:
        message = strict.parse(unverified, limit_bytes=limit_bytes)
    except ArgumentsRefused as refused:
        raise RpcError(PARSE_ERROR, f"the message cannot be read: {refused}", http_status=400) from refused
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'a message is one JSON object with `"jsonrpc": "2.0"`; batches are not taken', http_status=400)
    if "id" in message and not is_id(message["id"]):
        raise RpcError(INVALID_REQUEST, "an `id` is text or a whole number", http_status=400)
    if "method" in message:
        _check_request(message)
    elif "id" not in message or ("result" in message) == ("error" in message):
        raise RpcError(INVALID_REQUEST, "a message has a `method`, or is an answer with a `result` or an `error`", http_status=400)
    return message


def _check_request(message: JsonObject) -> None:
    if not isinstance(message["method"], str):
        raise RpcError(INVALID_REQUEST, "a `method` is text", http_status=400)
    params = message.get("params", {})
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "`params` is an object", http_status=400)
    if not isinstance(params.get("_meta", {}), dict):
        raise RpcError(INVALID_PARAMS, "`_meta` is an object", http_status=400)


def read_upstream_message(unverified: bytes) -> JsonObject:
    """One message of an upstream, of bounded size already. What stands twice is there once from now on. Raises `ValueError`."""
    try:
        message = _loose.decode(unverified)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise ValueError("no message of JSON-RPC")
    return message


def text_of(params: JsonObject, name: str, method: str) -> str:
    """A parameter that must be text. Raises `RpcError`."""
    value = params.get(name)
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, f"`{method}` needs a `{name}`, which is text")
    return value


def is_id(value: object) -> TypeGuard[MessageId]:
    """Whether this can name a request."""
    return type(value) in {str, int}


def request(number: MessageId, method: str, params: Mapping[str, Any]) -> JsonObject:
    """A request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str, params: Mapping[str, Any]) -> JsonObject:
    """A message that nobody answers."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(number: MessageId, value: Mapping[str, Any]) -> JsonObject:
    """An answer."""
    return {"jsonrpc": "2.0", "id": number, "result": value}


def failure(number: MessageId | None, error: RpcError) -> JsonObject:
    """An answer that is an error; without an id where the request could not be read."""
    found: JsonObject = {"jsonrpc": "2.0", "error": error.content()}
    return found if number is None else found | {"id": number}


def encode(message: Mapping[str, Any]) -> bytes:
    """The bytes of a message; no line break among them."""
    return _encoder.encode(message)
