"""Where a page ends, as an opaque text that continues it.

Rules:

1. A cursor grants nothing: what it continues is asked permission for again, and filtered again. So it need not be secret, nor signed.
2. It holds for the question that it came from: another endpoint, another filter and a changed byte are `bad_cursor` (400).
3. It names a place (keyset), never a number of rows to skip: what comes and goes meanwhile neither repeats nor hides a row.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from licet.server.problems import Problem

LIMIT_BYTES: Final = 8_192
"""Longer than any that is written: a query may not be longer anyway."""
_CHECK_BYTES: Final = 12
_UNPAGED: Final = frozenset({"cursor", "limit"})
_encode = msgspec.json.Encoder(order="deterministic").encode
_decoding = threading.Lock()
"""Two threads that meet a type first at one moment crash in msgspec 0.22."""
_P = TypeVar("_P")


def write_cursor(operation: str, params: Struct, place: object) -> str:
    """The cursor behind this place of what the operation answers to these parameters."""
    content = _encode(place)
    return base64.urlsafe_b64encode(_check(operation, params, content) + content).decode("ascii").rstrip("=")


def read_cursor(operation: str, params: Struct, cursor: str, place: type[_P]) -> _P:
    """The place. Raises `Problem` (`bad_cursor`) for what this operation gave to nobody for these parameters."""
    if len(cursor) > LIMIT_BYTES:
        raise bad_cursor()
    try:
        unverified = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, content = unverified[:_CHECK_BYTES], unverified[_CHECK_BYTES:]
        with _decoding:
            found = msgspec.json.decode(content, type=place)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise bad_cursor() from error
    if check != _check(operation, params, content) or write_cursor(operation, params, found) != cursor:
        raise bad_cursor()
    return found


def _check(operation: str, params: Struct, content: bytes) -> bytes:
    asked = {name: value for name, value in msgspec.structs.asdict(params).items() if name not in _UNPAGED}
    return hashlib.sha256(_encode((operation, asked)) + b"\0" + content).digest()[:_CHECK_BYTES]


def bad_cursor() -> Problem:
    """A cursor that was given to nobody for this question, or that names a place which whoever asks does not reach."""
    return Problem("bad_cursor", "this cursor was not given for this question; leave it out to begin anew")
