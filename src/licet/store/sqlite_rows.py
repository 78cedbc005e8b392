"""Rows of the SQLite schema as values, and values as what its columns hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from licet.model import Request, RequestState, Vote

_decode_request = msgspec.json.Decoder(Request).decode
_decode_vote = msgspec.json.Decoder(Vote).decode


def fetch(con: apsw.Connection, text: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows, each a tuple of what its columns' STRICT types say."""
    return con.execute(text, values).fetchall()


def request_of(state: str, body: bytes) -> Request:
    """The request as it was opened, in the state that it is in now."""
    return msgspec.structs.replace(_decode_request(body), state=RequestState(state))


def vote_of(body: bytes) -> Vote:
    """The vote as it was cast."""
    return _decode_vote(body)
