"""Server-sent events, read as they come in (WHATWG HTML, 9.2.6, "interpreting an event stream").

Rules:

1. Nothing is kept beyond `limit_bytes`: neither one long line nor many short ones of one event.
2. Pieces may end anywhere, within a character or between the two bytes of a line's end: what is told does not depend on where.
3. An event counts once the empty line behind it has come. What a broken stream leaves behind is no event.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MESSAGE: Final = "message"
"""The kind of event that carries a message of MCP, and of an event that says no kind."""
NAME_LIMIT_BYTES: Final = 1_024
"""Of an id or a kind of event: they are repeated to the server, or compared, and mean nothing else."""
_BOM: Final = b"\xef\xbb\xbf"
_RETRY_DIGITS: Final = 9
"""More would be a wait of years."""


class EventTooLarge(ValueError):
    """An event of the stream is longer than what is taken."""


class Event(Struct, frozen=True):
    """One event. `id` is that of the last event which gave one; it is None where none did."""

    data: bytes
    kind: str = MESSAGE
    id: str | None = None


class SseParser:
    """Reads one stream. `last_id` and `retry_ms` are what the server has said so far for whoever connects again."""

    def __init__(self, *, limit_bytes: int) -> None:
        self.last_id: str | None = None
        self.retry_ms: int | None = None
        self._limit = limit_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._kind = ""
        self._is_first = True
        self._ended_in_cr = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that this piece completes. Raises `EventTooLarge`, after which nothing more may be fed."""
        if self._ended_in_cr and piece:
            self._ended_in_cr = False
            if piece[:1] == b"\n":  # the second half of a line's end, the first half of which ended the line already
                piece = piece[1:]
        events: list[Event] = []
        for line in piece.splitlines(keepends=True):
            if line[-1] not in b"\r\n":
                self._keep(line)
            elif (event := self._end_line(line.rstrip(b"\r\n"))) is not None:
                events.append(event)
        self._ended_in_cr = piece[-1:] == b"\r"
        return events

    def _keep(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._limit + 16:  # the name of the field stands before its value
            raise EventTooLarge(f"a line of the event stream is longer than {self._limit} bytes")
        self._line += part

    def _end_line(self, line: bytes) -> Event | None:
        if self._line:
            self._keep(line)
            line = bytes(self._line)
            self._line.clear()
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        self._take(name, value[1:] if value[:1] == b" " else value)
        return None

    def _take(self, name: bytes, value: bytes) -> None:
        """One field. Those that nobody knows, and comments (no name), say nothing."""
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._limit + 1:
                raise EventTooLarge(f"an event is longer than {self._limit} bytes")
            self._data.append(value)
        elif name == b"event":
            self._kind = value[:NAME_LIMIT_BYTES].decode(errors="replace")
        elif name == b"id":
            if len(value) <= NAME_LIMIT_BYTES and value.isascii() and value.decode().isprintable():  # it goes into a header one day
                self.last_id = value.decode()
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self.retry_ms = int(value)

    def _dispatch(self) -> Event | None:
        data, kind = self._data, self._kind or MESSAGE
        self._data, self._size, self._kind = [], 0, ""
        return Event(data[0] if len(data) == 1 else b"\n".join(data), kind, self.last_id) if data else None
