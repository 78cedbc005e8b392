"""One message a line, as stdio has it: cut out of what comes, and never more kept than one message may have."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_ENDS: Final = 200
"""Bytes that are kept of both ends of a line that is too long, for the id that may stand there."""
_ENDLESS_BYTES: Final = 256 * 1024 * 1024
"""A line that is longer than this, and than any message may be, never ends."""
_ID_FIRST: Final = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*,')
_ID_LAST: Final = re.compile(rb'[}\]"\w]\s*,\s*"id"\s*:\s*(\d{1,18})\s*\}\s*\Z')


class Lines:
    """Takes bytes as they come.

    `line` is called with each line, `too_long` with the id that an overlong one is the answer to (None: it stands where only a parser
    would find it), and `endless` where a line does not end.
    """

    def __init__(
        self, limit_bytes: int, line: Callable[[bytes], None], too_long: Callable[[int | None], None], endless: Callable[[], None]
    ) -> None:
        self._limit = limit_bytes
        self._line = line
        self._too_long = too_long
        self._endless = endless
        self._kept = bytearray()
        self._size = 0
        self._head = b""
        self._tail = b""
        """Of a line that is too long; `_head` is empty for any other."""

    def feed(self, data: bytes) -> None:
        """Some more bytes."""
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            self._take(data[begin:end])
            self._end()
            begin = end + 1
        if begin < len(data):
            self._take(data[begin:])

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._head:
            self._tail = (self._tail + part[-_ENDS:])[-_ENDS:]
            if self._size > max(_ENDLESS_BYTES, self._limit):
                self._size = 0
                self._endless()
            return
        self._kept += part
        if self._size > self._limit:
            self._head, self._tail = bytes(self._kept[:_ENDS]), bytes(self._kept[-_ENDS:])
            self._kept.clear()

    def _end(self) -> None:
        if self._head:
            found = _ID_FIRST.match(self._head) or _ID_LAST.search(self._tail)
            self._head, self._tail, self._size = b"", b"", 0
            self._too_long(int(found[1]) if found else None)
            return
        whole = bytes(self._kept)
        self._kept.clear()
        self._size = 0
        if whole.strip():
            self._line(whole)
