"""What a client is told of a governed call: the upstream's own result, or why there is none.

Rules:

1. A result of the upstream is passed on as it is, with the call's receipt beside it in `_meta`; what an era does not have is left out.
2. What was not executed, and why, is told in words for a model: whether calling again can help, and what must happen first.
3. Of an upstream's failures a client is told what the record says, and nothing of the gateway's inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from licet.catalog.upstream import CALL
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.gate.steps import EndedAs
from licet.gate.telling import denied_for, failed_for
from licet.gateway.connection import NotSent, Refused, with_last_words
from licet.gateway.eras import CACHEABLE
from licet.gateway.incoming import Incoming
from licet.gateway.messages import INTERNAL_ERROR, INVALID_PARAMS, MISSING_CAPABILITY, NOT_PERMITTED, UNAVAILABLE, RpcError
from licet.model import CallId, JsonObject, Receipt

META_CALL: Final = "dev.licet/call"
"""Where a result says which call it is of, and by which receipt its record is found."""
_UNKNOWN_TOOL: Final = "unknown_tool"
_MODERN_ONLY: Final = ("resultType", "ttlMs", "cacheScope")


class ToolFailed(EndedAs):
    """The tool ran and says itself that it failed (`isError`): its result is the client's all the same."""

    def __init__(self, result: JsonObject) -> None:
        super().__init__("error", "tool_error", _first_text(result))
        self.result = result


def answer_of(result: Result, incoming: Incoming, *, held: str | None = None) -> JsonObject:
    """The `result` for the client. Raises `RpcError`. `held` is what a client is told of a call that waits for people."""
    if isinstance(result, Ok):
        return dressed(result.value, incoming, told(result.call, result.receipt, result.decision.code))
    if isinstance(result, Failed):
        return _failed(result, incoming)
    if isinstance(result, Held):
        meta = told(result.call, result.receipt, "held")
        if result.request is not None:
            meta[META_CALL]["request"] = result.request
        return _refused(incoming, held or result.decision.message, meta, "held")
    return _denied(result, incoming)


def dressed(value: object, incoming: Incoming, meta: Mapping[str, Any] | None = None) -> JsonObject:
    """An upstream's result as this client's era has it, whole."""
    if not isinstance(value, dict):
        raise RpcError(INTERNAL_ERROR, "the upstream answered with something that is no result")
    shown: JsonObject = {name: one for name, one in value.items() if name not in _MODERN_ONLY}
    if incoming.is_modern:
        shown["resultType"] = "complete"
        if incoming.method in CACHEABLE:
            ttl = value.get("ttlMs")
            shown["ttlMs"] = ttl if type(ttl) is int and ttl >= 0 else 0
            shown["cacheScope"] = "private"  # what passes here was decided for one caller
    if meta:
        own = value.get("_meta")
        shown["_meta"] = {**(own if isinstance(own, dict) else {}), **meta}
    return shown


def told(call: CallId, receipt: Receipt | None, code: str) -> JsonObject:
    """The call, its decision and its receipt, as `_meta` of a result."""
    found: JsonObject = {"id": call, "code": code}
    if receipt is not None:
        found["receipt"] = {"log": receipt.log, "index": receipt.index, "leaf": receipt.leaf}
    return {META_CALL: found}


def tool_error(text: str, incoming: Incoming, meta: Mapping[str, Any]) -> JsonObject:
    """A result of `tools/call` that says why nothing came of it."""
    return dressed({"content": [{"type": "text", "text": text}], "isError": True}, incoming, meta)


def _denied(denied: Denied, incoming: Incoming) -> JsonObject:
    code, message = denied.decision.code, denied.decision.message
    meta = told(denied.call, denied.receipt, code)
    if code == _UNKNOWN_TOOL and incoming.method == CALL:
        raise RpcError(INVALID_PARAMS, f"unknown tool: {message}", data=meta)
    if code == "log_unavailable":
        why = "the audit log cannot be used at the moment" if _is_outside(incoming) else None  # its message says where the ledger is
        return _refused(incoming, denied_for(denied, why), meta, code)
    return _refused(incoming, denied_for(denied), meta, code)


def _refused(incoming: Incoming, text: str, meta: JsonObject, code: str) -> JsonObject:
    if incoming.method == CALL:
        return tool_error(text, incoming, meta)
    number = UNAVAILABLE if code == "log_unavailable" else INVALID_PARAMS if code == "invalid_arguments" else NOT_PERMITTED
    raise RpcError(number, text, data=meta)


def _failed(failed: Failed, incoming: Incoming) -> JsonObject:
    meta = told(failed.call, failed.receipt, failed.code)
    if isinstance(failed.error, ToolFailed) and failed.receipt is not None:
        return dressed(failed.error.result, incoming, meta)
    if isinstance(failed.error, Refused) and failed.receipt is not None:
        error = failed.error.error
        code = error.get("code")
        status = 400 if code == MISSING_CAPABILITY else 200  # over HTTP the specification wants this one to be seen without reading it
        number = code if type(code) is int else INTERNAL_ERROR
        raise RpcError(number, str(error.get("message", "")), data=error.get("data"), http_status=status)
    why = reason_told(failed.error, failed.message, incoming)
    if failed.code == "outcome_not_recorded" and _is_outside(incoming):
        why = "it ran, but its outcome cannot be recorded at the moment, so its result is withheld"
    text = failed_for(failed, why)
    if incoming.method == CALL:
        return tool_error(text, incoming, meta)
    raise RpcError(UNAVAILABLE, text, data=meta)


def reason_told(error: BaseException | None, message: str, incoming: Incoming) -> str:
    """Why an upstream gave nothing, as far as this client may know (rule 3).

    Where it cannot be reached, the record or the log says which address or secret is at fault. Clients from outside are not told that;
    whoever wrapped a server for themselves is.
    """
    if isinstance(error, NotSent) and _is_outside(incoming):
        return "the server behind this cannot be reached at the moment; whoever runs the gateway finds why in its records and its log"
    return with_last_words(error, message)


def _is_outside(incoming: Incoming) -> bool:
    """Whether the client is not of whoever runs the gateway: it shows a credential."""
    return incoming.acting.credential is not None


def _first_text(result: JsonObject) -> str:
    content = result.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return str(part["text"])
    return "the tool says that it failed"
