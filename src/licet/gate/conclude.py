"""What a tool's end becomes: an outcome to record, and a result to release.

Rules:

1. A result that is not JSON is not released: it could not be recorded as it is.
2. Messages of exceptions may hold secrets: the record keeps the class name as `code`; the message goes into the payload only.
3. What a read returned is kept as salted digest and size unless its tool opts in; what a write returned is kept unless it opts out.
4. What a tool reported that it changed is recorded however it ended, and held against the preview that people approved.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from pydantic import BaseModel

from licet.catalog.spec import ToolSpec
from licet.gate.effects import NOTHING_REPORTED, Reported, compare, returned_effects, with_returned
from licet.gate.steps import EndedAs, Ran
from licet.gate.text import readable
from licet.ledger.entropy import draw_salt
from licet.model import Effect, JsonObject, Outcome

RESULT_LIMIT_BYTES = 1024 * 1024
"""A larger result is recorded as its digest and size."""
MESSAGE_LIMIT = 2_000


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a value of type `{type(value).__name__}` is not JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain, decimal_format="string").encode
_skip = msgspec.json.Decoder(Raw).decode


def outcome_of(
    ran: Ran, spec: ToolSpec, *, keep: bool, reported: Reported = NOTHING_REPORTED, approved: tuple[Effect, ...] | None = None
) -> Outcome:
    """The outcome to record. `keep` says that the result must be kept whatever the tool's default, since a repeat will ask for it.

    `reported` are the effects that the tool reported, however it ended; `approved` those of the preview that people approved, if they did.
    """
    ended = _ended(ran, spec, keep=keep)
    if ended.status == "ok" and spec.access != "read":  # what a read returns it has found, not changed: a preview's effects above all
        reported = with_returned(reported, returned_effects(ran.value))
    return with_effects(ended, reported, approved)


def with_effects(ended: Outcome, reported: Reported, approved: tuple[Effect, ...] | None) -> Outcome:
    """The outcome with the effects that were reported, held against those that people approved, if they did."""
    compared = approved if ended.status != "not_executed" else None
    if not reported.count and compared is None and not reported.missing:
        return ended
    found = None if compared is None else compare(compared, reported, ended.status)
    said: JsonObject = {} if found is None else found.detail()
    if not reported.is_whole:
        said = {**said, "reported": reported.count, "kept": len(reported.effects)}
    if reported.missing:
        said = {**said, "not_in_result": list(reported.missing)}
    return replace(
        ended,
        effects=reported.effects,
        reported=reported.count,
        as_previewed=None if found is None else found.as_previewed,
        detail={**(ended.detail or {}), "effects": said} if said else ended.detail,
    )


def _ended(ran: Ran, spec: ToolSpec, *, keep: bool) -> Outcome:
    """How the tool ended, without its effects."""
    if ran.error is not None or ran.status != "ok":
        error = ran.error
        code = error.code if isinstance(error, EndedAs) else type(error).__name__ if error is not None else ran.status
        message = _message(error) if error is not None else _WORDS[ran.status]
        return Outcome(status=ran.status, code=code, message=message, duration_us=ran.duration_us)
    try:
        encoded = _encode(ran.value)
        if b"null" in encoded:
            _refuse_nan(ran.value)  # msgspec writes NaN and infinities as null: what is recorded would not be what was returned
        _refuse_broken(encoded)
    except Exception as error:  # noqa: BLE001 - a model's own code may raise anything
        message = f"what the tool returned is not JSON: {_message(error)}"
        return Outcome(status="error", code="result_not_json", message=message, duration_us=ran.duration_us)
    return ended_well(encoded, ran.duration_us, keep=keep or keeps_result(spec))


def keeps_result(spec: ToolSpec) -> bool:
    """Whether what the tool returns is kept (rule 3)."""
    return spec.access != "read" if spec.keep_result is None else spec.keep_result


def ended_well(encoded: bytes, duration_us: int | None, *, keep: bool) -> Outcome:
    """The outcome of a call that returned this JSON: kept, or as salted digest and size."""
    if keep and len(encoded) <= RESULT_LIMIT_BYTES:
        return Outcome(status="ok", duration_us=duration_us, result=Raw(encoded))
    return Outcome(status="ok", duration_us=duration_us, detail=_digest(encoded))


class Latecomer:
    """The end of a tool that had been given up, passed on only once the end that was recorded in its place is on its way.

    Otherwise a tool that ends just after its time could stand in the log before the outcome that says `timeout`.
    """

    def __init__(self, tell: Callable[[Ran], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._admitted = False
        self._waiting: Ran | None = None

    def __call__(self, ran: Ran) -> None:
        """The tool has ended, in whatever thread."""
        with self._lock:
            if not self._admitted:
                self._waiting = ran
                return
        self._tell(ran)

    def admit(self) -> None:
        """What took its place is recorded, or with the clerk, who keeps the order."""
        with self._lock:
            self._admitted, ran = True, self._waiting
        if ran is not None:
            self._tell(ran)


def _digest(encoded: bytes) -> JsonObject:
    salt = draw_salt()
    return {"result_bytes": len(encoded), "result_salt": salt.hex(), "result_sha256": hashlib.sha256(salt + encoded).hexdigest()}


def _message(error: BaseException) -> str:
    try:
        return readable(str(error)[:MESSAGE_LIMIT]) or type(error).__name__
    except BaseException:  # noqa: BLE001 - a `__str__` from outside may raise anything, and the outcome is recorded all the same
        return "(its message cannot be shown)"


def _refuse_broken(encoded: bytes) -> None:
    """A `Raw` in the result is embedded as it is: it must not break out of the payload that it becomes part of."""
    _skip(encoded)
    if not encoded.isascii():
        encoded.decode()


def _refuse_nan(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"`{value}` has no JSON form")
    elif isinstance(value, dict):
        for inner in value.values():
            _refuse_nan(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            _refuse_nan(inner)
    elif not isinstance(value, str | int | bytes | None):
        _refuse_nan(msgspec.to_builtins(value, enc_hook=_plain))


_WORDS = {
    "timeout": "the tool did not end within its time; what it did is not known",
    "not_executed": "the tool was not started within its time",
    "unknown": "nobody saw how the tool ended",
}
