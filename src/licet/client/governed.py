"""A call that this process executes under a server's control: proposed, run where it is permitted, and reported, whatever happens.

Rules:

1. Nothing runs but on `allow`, and then once, with exactly the arguments that were decided on: those of the answer.
2. What ran is reported before its result is given out. Where the report does not arrive, the result is withheld (`CallFailed`).
3. An exception is reported as an error, and raised on. An interrupt says that nobody knows how it ended (`unknown`).
4. A process that dies reports nothing; the server then says so itself once the time to report is over.

Not guaranteed: that what `run` does is what its tool's name says. The server believes the report, and records who made it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import msgspec
from msgspec import UNSET, Struct

from licet.client import types
from licet.errors import CallDenied, CallFailed, CallHeld, ServerError
from licet.model import CallId, Decision, Receipt, RequestId

if TYPE_CHECKING:
    from licet.client.operations import Operations

MESSAGE_LIMIT: Final = 1_000
"""Characters of an exception's words that are reported."""
_CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")


class Ran(Struct, frozen=True, kw_only=True):
    """What `run` may return in place of its result alone: the result, and what it has changed."""

    result: Any = None
    effects: tuple[types.EffectReported, ...] = ()


Run: TypeAlias = Callable[..., Any]


def govern(client: Operations, proposal: types.ProposeCall, run: Run) -> Any:
    """What `run(**arguments)` returns, if the call is permitted; with a key that was used before, what was recorded then.

    Raises `CallDenied`, `CallHeld` (the same proposal, made again once people have decided, goes on), `CallFailed`, `ServerError` where
    the server does not permit anything, and what `run` raises.
    """
    answer = client.propose_call(proposal)
    if answer.decision == "repeat":
        return _repeated(answer)
    if answer.decision != "allow" or answer.call is None or answer.arguments is UNSET:  # rule 1
        _refused(answer)
    return _run(client, CallId(answer.call), answer.arguments, run)


def _run(client: Operations, call: CallId, arguments: Mapping[str, Any], run: Run) -> Any:
    began = time.perf_counter_ns()
    status = "unknown"
    try:
        found = run(**arguments)
        status = "ok"
    except Exception as error:
        status = "error"
        _report(client, call, types.ReportEnd(status="error", duration_us=_since(began), **_told(error)), error)
        raise
    finally:
        if status == "unknown":  # rule 3: an interrupt, which is no `Exception`
            _report_unseen(client, call, _since(began))
    ran = found if isinstance(found, Ran) else Ran(result=found)
    end = types.ReportEnd(status="ok", result=_as_json(ran.result), effects=ran.effects, duration_us=_since(began))
    _report(client, call, end, None)
    return ran.result


def _report(client: Operations, call: CallId, end: types.ReportEnd, cause: Exception | None) -> None:
    """Rule 2. Raises `CallFailed`."""
    try:
        client.report_outcome(call, end)
    except ServerError as error:
        message = f"it ran, and how it ended could not be recorded: {error}"
        raise CallFailed(message, call, executed=True, retry=False) from (cause or error)


def _report_unseen(client: Operations, call: CallId, duration_us: int) -> None:
    try:
        client.report_outcome(call, types.ReportEnd(status="unknown", code="interrupted", duration_us=duration_us))
    except ServerError:
        return  # rule 4: the server says so itself


def _repeated(answer: types.CallAnswer) -> Any:
    """What was recorded when this key was used first."""
    end, call = answer.end, CallId(answer.repeats or answer.call or "")
    if end is not None and end.status == "ok":
        return end.result
    executed = end is None or end.status != "not_executed"
    raise CallFailed(f"a call with this key was made before: {answer.message}", call, executed=executed, retry=False)


def _refused(answer: types.CallAnswer) -> NoReturn:
    call = CallId(answer.call or "")
    receipt = None if answer.receipt is None else msgspec.convert(msgspec.to_builtins(answer.receipt), Receipt)
    if answer.decision == "hold":
        decision = Decision(verdict="hold", code=answer.code, message=answer.message)
        raise CallHeld(decision, call, None if answer.request is None else RequestId(answer.request), receipt)
    raise CallDenied(Decision(verdict="deny", code=answer.code, message=answer.message), call, receipt)


def _told(error: Exception) -> dict[str, Any]:
    name = type(error).__name__
    return {"code": name if _CODE.fullmatch(name) else "error", "message": str(error)[:MESSAGE_LIMIT]}


def _as_json(result: Any) -> Any:
    """The result as it is recorded; nothing of one that JSON cannot hold."""
    try:
        return msgspec.json.decode(msgspec.json.encode(result))
    except (TypeError, ValueError, OverflowError):
        return UNSET


def _since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1_000
