"""One HTTP request to a witness (licet/wire.py holds the rules): what it says ends as status and body, or as `Unreachable`."""

from __future__ import annotations

import ssl
from typing import Final

from msgspec import Struct

from licet import wire
from licet.wire import Unreachable as Unreachable  # noqa: PLC0414  one of the answers
from licet.wire import clean as clean  # noqa: PLC0414  what a witness says, for a message

RESPONSE_LIMIT_BYTES = 131_072
"""The size of the largest note (ledger/note.py)."""

_HEADERS: Final = {"Content-Type": "text/plain; charset=utf-8"}
_HTTP_TOO_MANY: Final = 429
_HTTP_SERVER_ERROR: Final = 500


class Address(Struct, frozen=True):
    """Where a witness is: a prefix of URLs."""

    peer: wire.Address

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address of this URL. Raises `ConfigInvalid` for one that is neither https nor on this machine."""
        return cls(wire.Address.parse(url, "a witness"))

    def exchange(
        self, method: str, path: str, body: bytes | None, *, timeout_s: float, tls: ssl.SSLContext
    ) -> tuple[int, bytes] | Unreachable:
        """Status and body of the answer to one request below this address; one that says to come back (429, 5xx) is none."""
        answer = self.peer.exchange(method, path, body, _HEADERS, timeout_s=timeout_s, limit_bytes=RESPONSE_LIMIT_BYTES, tls=tls)
        if isinstance(answer, Unreachable):
            return answer
        if answer.problem is not None:
            return Unreachable(answer.problem, sent=True)
        if answer.status == _HTTP_TOO_MANY or answer.status >= _HTTP_SERVER_ERROR:
            return Unreachable(clean(f"status {answer.status}: {answer.body.decode(errors='replace')}"), sent=True)
        return answer.status, answer.body
