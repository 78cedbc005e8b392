"""The words of a payload, by which its record can be found.

What is taken: reason, message, arguments with their keys, names of people and targets, attributes of targets, effects, result, preview, and
what belongs to one kind. What is left out: principals and context, which stand in every record of a caller, and the policies: a word that
is everywhere finds nothing.

JSON is handed on as it stands, without its escapes. An index that cuts text at whatever is no letter or digit takes
`{"customer_id":"C-412"}` as `customer id C 412`, so that `C-412` is found as one phrase and numbers as they are written.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

TEXT_LIMIT_BYTES = 16_384
"""Of one payload. A result that fills pages is found by how it begins."""

_NOTHING: Final = Raw()
_ESCAPES: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+|\\.", re.DOTALL)


class _Target(Struct, gc=False):
    attributes: Raw = _NOTHING


class _Effect(Struct, gc=False):
    target: Raw = _NOTHING
    field: Raw = _NOTHING
    before: Raw = _NOTHING
    after: Raw = _NOTHING


class _Payload(Struct, gc=False):
    reason: Raw = _NOTHING
    message: Raw = _NOTHING
    arguments: Raw = _NOTHING
    names: dict[str, str] | None = None
    targets: tuple[_Target, ...] = ()
    effects: tuple[_Effect, ...] = ()
    result: Raw = _NOTHING
    preview: Raw = _NOTHING
    detail: Raw = _NOTHING


_decode = msgspec.json.Decoder(_Payload).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def searchable_text(payload: bytes) -> str:
    """The words of these bytes of a payload, at most `TEXT_LIMIT_BYTES` of them; empty where they cannot be read."""
    try:
        found = _decode(payload)
    except _UNREADABLE:
        return ""
    parts = [found.reason, found.message, found.arguments, *[target.attributes for target in found.targets]]
    for effect in found.effects:
        parts += effect.target, effect.field, effect.before, effect.after
    parts += found.result, found.preview, found.detail
    text = b"\n".join(parts)
    if b"\\" in text:
        text = _ESCAPES.sub(_plain, text)
    if found.names:
        text = b"\n".join([*[name.encode("utf-8", "replace") for name in found.names.values()], text])
    return text[:TEXT_LIMIT_BYTES].decode("utf-8", "ignore")


def _plain(escapes: re.Match[bytes]) -> bytes:
    r"""The characters of a run of `\uXXXX`; a space for quotes, line ends and the like, which part words."""
    if not escapes[0].startswith(b"\\u"):
        return b" "
    halves = escapes[0].decode("unicode_escape").encode("utf-16", "surrogatepass")
    return halves.decode("utf-16", "replace").encode()
