"""The log of a process that serves: one line for each thing that happened, as JSON or as text, on stderr.

Rules:

1. One event is one line. Whatever a message holds, a line break, a control character or half of a character in it is written escaped:
   nobody forges a second event.
2. What is being answered stands beside each message: the request's id, the credential's id, the trace. No secret is written: no header,
   no body, no argument, no token; paths are written as the template of their endpoint.
3. A message is cut at `MESSAGE_LIMIT` characters.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Final, Literal

import msgspec

from licet.model import JsonObject
from licet.server.observing import CREDENTIAL, REQUEST_ID, Answered
from licet.server.tracing import trace_ids

Format = Literal["json", "text"]
MESSAGE_LIMIT: Final = 10_000
_ACCESS: Final = "licet.access"
_access = logging.getLogger(_ACCESS)
_LINE_ENDS: Final = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""JSON lets them stand; some readers end a line there."""
_encode = msgspec.json.Encoder().encode


class Lines(logging.Formatter):
    """Turns an event into its line."""

    def __init__(self, kind: Format) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        event = event_of(record)
        if self._kind == "json":
            return _encode(event).decode("utf-8").translate(_LINE_ENDS)
        beside = " ".join(f"{name}={_plain(value)}" for name, value in event.items() if name not in _FIRST)
        line = f"{event['time']} {event['level']} {event['logger']}: {_plain(event['message'])}"
        return f"{line} {beside}" if beside else line


_FIRST: Final = ("time", "level", "logger", "message")


def event_of(record: logging.LogRecord) -> JsonObject:
    """What is written of an event."""
    event: JsonObject = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _sound(_message_of(record)),
    }
    for name, value in (("request_id", REQUEST_ID.get()), ("credential", CREDENTIAL.get()), *trace_ids()):
        if value:
            event[name] = _sound(value)
    extra = getattr(record, "licet", None)
    if isinstance(extra, dict):
        event.update({name: _sound(value) if isinstance(value, str) else value for name, value in extra.items()})
    if record.exc_info is not None and record.exc_info[1] is not None:
        error = record.exc_info[1]
        event["error"] = type(error).__name__
        event["traceback"] = _sound("".join(_frames(error)))
    return event


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  what is logged must not fail whoever logs
        return str(record.msg)


def _frames(error: BaseException) -> list[str]:
    """Where it came from: files and lines, without the messages, in which arguments may stand."""
    return [f"{frame.filename}:{frame.lineno} in {frame.name}\n" for frame in traceback.extract_tb(error.__traceback__)[-20:]]


def _sound(text: str) -> str:
    """Text that can be encoded, not too long."""
    return text[:MESSAGE_LIMIT].encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: object) -> str:
    """On one line of a terminal: what is not printable is escaped (rule 1)."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in str(value))


class AccessLog:
    """Logs each answer: method, template of the path, status, time. Health and metrics are not among them."""

    def began(self) -> None:
        """Nothing is logged yet."""

    def answered(self, answered: Answered) -> None:
        """One line."""
        _access.info(
            "%s %s %d",
            answered.method or "-",
            answered.route or "-",
            answered.status,
            extra={
                "licet": {
                    "request_id": answered.request_id,
                    "method": answered.method,
                    "route": answered.route,
                    "status": answered.status,
                    "duration_ms": round(answered.duration_s * 1_000, 3),
                    "client": answered.client,
                    **({"credential": answered.credential} if answered.credential else {}),
                    **({"code": answered.code} if answered.code else {}),
                }
            },
        )

    def not_authenticated(self, reason: str) -> None:
        """Why, which is told to no stranger."""
        _access.warning("a credential was refused: %s", reason)


def set_up(kind: Format, *, level: int = logging.INFO, stream: IO[str] | None = None) -> None:
    """Everything that is logged in this process goes to stderr as these lines, and nowhere else."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(kind))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("licet").setLevel(level)
