"""Rows of the SQLite schema as values, and values as what its columns hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from licet.errors import IntegrityBroken
from licet.model import Request, RequestState, Vote

_decode_request = msgspec.json.Decoder(Request).decode
_decode_vote = msgspec.json.Decoder(Vote).decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError)
"""What a row that was damaged or edited can raise on its way to a value."""


def fetch(con: apsw.Connection, text: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows, each a tuple of what its columns' STRICT types say."""
    return con.execute(text, values).fetchall()


def request_of(state: str, body: bytes) -> Request:
    """The request as it was opened, in the state that it is in now. Raises `IntegrityBroken` where the row cannot be read."""
    try:
        return msgspec.structs.replace(_decode_request(body), state=RequestState(state))
    except _UNREADABLE as error:
        raise IntegrityBroken(f"a stored request cannot be read: {error}") from error


def vote_of(body: bytes) -> Vote:
    """The vote as it was cast. Raises `IntegrityBroken` where the row cannot be read."""
    try:
        return _decode_vote(body)
    except _UNREADABLE as error:
        raise IntegrityBroken(f"a stored vote cannot be read: {error}") from error
