"""The words of a payload, by which its record can be found.

What is taken: arguments with their keys, reason, message, ids of principals and targets with attributes, effects, result, preview, and
what belongs to one kind. What is left out: roles, groups and context, which stand in every record of a caller, and the policies: a word
that is everywhere finds nothing.

JSON is handed on as it stands. An index that cuts text at whatever is no letter or digit takes `{"customer_id":"C-412"}` as `customer id
C 412`, so that `C-412` is found as one phrase and numbers as they are written; only escapes have to go.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

TEXT_LIMIT_BYTES = 16_384
"""Of one payload. A result that fills pages is found by how it begins."""

_NOTHING: Final = Raw()
_short_escape = re.compile(rb"\\[^u]")


class _Named(Struct, gc=False):
    id: str = ""
    type: str = ""
    attributes: Raw = _NOTHING


class _Effect(Struct, gc=False):
    target: str = ""
    field: str = ""
    before: Raw = _NOTHING
    after: Raw = _NOTHING


class _Payload(Struct, gc=False):
    reason: str | None = None
    message: str | None = None
    arguments: Raw = _NOTHING
    principals: tuple[_Named, ...] = ()
    targets: tuple[_Named, ...] = ()
    effects: tuple[_Effect, ...] = ()
    result: Raw = _NOTHING
    preview: Raw = _NOTHING
    detail: Raw = _NOTHING
    names: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Payload).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def searchable_text(payload: bytes) -> str:
    """The words of these bytes of a payload, at most `TEXT_LIMIT_BYTES` of them; empty where they cannot be read."""
    try:
        found = _decode(payload)
    except _UNREADABLE:
        return ""
    parts: list[bytes] = [text.encode() for text in (found.reason, found.message) if text]
    parts.append(_words(found.arguments))
    for named in found.principals + found.targets:
        parts += f"{named.type} {named.id}".encode(), _words(named.attributes)
    for effect in found.effects:
        parts += f"{effect.target} {effect.field}".encode(), _words(effect.before), _words(effect.after)
    parts += _words(found.result), _words(found.preview), _words(found.detail)
    if found.names:
        parts += [name.encode() for name in found.names.values()]
    return b"\n".join([part for part in parts if part])[:TEXT_LIMIT_BYTES].decode("utf-8", "ignore")


def _words(raw: Raw) -> bytes:
    """JSON without escapes."""
    text = bytes(raw)
    if b"\\" not in text:
        return text
    if b"\\u" in text:
        try:
            text = msgspec.json.encode(msgspec.json.decode(text))
        except _UNREADABLE:
            return b""
    return _short_escape.sub(b" ", text)
