"""Secrets never enter the ledger: what a record holds in their place.

Rules:

1. A marked field (`ToolSpec.secrets`) is hidden whatever is in it: `(secret text of 24 characters, hmac 5f2c...)`. The HMAC is under a
   secret of the tenant: equal secrets show equal HMACs, so that an approver can compare two requests; without that key nobody can guess.
2. Where a value stands in the way that is not what a marked path expects (arguments that were refused), that value is hidden: what cannot
   be followed is not stored. Null is stored: it says that there is no secret.
3. The text of a marked field is hidden wherever else the record repeats it (message, result, effects, preview ...), from
   `ECHO_SHORTEST` characters up. Shorter ones would make ordinary words vanish.
4. The well-known shapes of credentials (`token_shapes`) are hidden in every string, marked or not.
5. What was hidden is said, by the path that was marked or the shape that was found, never by a value: `secret:arguments.auth.token`,
   `github_token:result`.
6. Principals, policies, obligations, and type, id, tenant and environment of targets stay: they are what was decided on.
7. Whatever is cut is cut after it was redacted, and never within a marker or an escape.

8. A payload that cannot be read (nested some thousand deep) is hidden whole: what cannot be looked at is not stored.

Not guaranteed: a secret of unknown shape in an unmarked field is stored. So is one that was encoded, encrypted or cut before it came here;
one in a name that policy decides on (the id of a target); a marked number, or a marked text shorter than rule 3 says, where it is repeated
elsewhere. Of more than a hundred marked texts in one call the shorter ones are found elsewhere only where they are a whole text. The length
of a marked text is shown. A text can pretend to be a marker: `redactions` says what was hidden.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Raw

from licet.catalog.secret_paths import Every, Path, parse
from licet.ledger.hidden_text import KNOWN, Hmac, Known, hide_in_json, marker, text_marker
from licet.ledger.record import Payload, decode_payload, encode_payload
from licet.ledger.token_checks import MARKER
from licet.ledger.token_shapes import json_could_hold_token

__all__ = ["Hmac", "cut_json", "redact_encoded", "redact_marked", "redact_payload", "redact_tokens"]

ECHO_SHORTEST = 6
CUT_START_CHARACTERS = 2_048
CUT_LIMIT_LEAST_BYTES = 16_384
"""What is cut is at most half as large; a lower limit could not be kept."""
ARGUMENTS_LIMIT_BYTES = 65_536
"""Arguments over this stand in a record by their beginning and the digest of the whole; who decides on them reads that much."""

_AS_DECIDED = frozenset({"principals", "policies", "obligations"})
_TARGET_AS_DECIDED = frozenset({"type", "id", "tenant", "environment"})
# Where else in a payload the arguments stand: the summary that approvers are shown, and the input that policy saw.
_COPIES = (("arguments",), ("detail", "request", "summary", "arguments"), ("context", "input"))
_UNREAD = ("detail", "unread_arguments")

_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.",
    re.DOTALL,
)
"""One character of a JSON text, as it is written: a surrogate pair is two escapes."""

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_any = msgspec.json.Decoder().decode
_canonical = msgspec.json.Encoder(order="sorted").encode
_encode = msgspec.json.Encoder().encode
_parsed = functools.lru_cache(maxsize=4_096)(parse)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def redact_marked(json: bytes, paths: Iterable[str], hmac: Hmac) -> tuple[bytes, tuple[str, ...]]:
    """The arguments without the values at these paths (`ToolSpec.secrets`), and an entry of `redactions` for each path that hid one.

    Everything else keeps its bytes. What is no JSON object is hidden whole, under every path.
    """
    hiding = _Hiding(paths, hmac)
    hidden = hiding.arguments(json)
    return hidden, tuple(sorted(f"secret:arguments.{path}" for path in hiding.used))


def redact_tokens(json: bytes, hmac: Hmac) -> tuple[bytes, tuple[str, ...]]:
    """The JSON document without the credentials of known shapes in its strings, and the sorted names of those shapes."""
    hidden, names = hide_in_json(json, hmac)
    return hidden, tuple(sorted(names))


def redact_payload(payload: Payload, secrets: tuple[str, ...], hmac: Hmac) -> tuple[Payload, tuple[str, ...]]:
    """As `redact_encoded`, of a payload that is not encoded yet; the same payload where there is nothing to hide."""
    body, redactions = redact_encoded(encode_payload(payload), hmac, secrets)
    return (decode_payload(body) if redactions else payload), redactions


def redact_encoded(body: bytes, hmac: Hmac, secrets: tuple[str, ...] = (), arguments: bytes | None = None) -> tuple[bytes, tuple[str, ...]]:
    """An encoded payload by the rules of this module, and the sorted entries for the envelope's `redactions`.

    `secrets` are the tool's marked paths. `arguments` (JSON) are those of the call where the payload does not hold them (an outcome): their
    marked texts are hidden in what it holds. The same bytes where there is nothing to hide.
    """
    look = json_could_hold_token(body.decode("utf-8", "surrogateescape"))
    if not look and not secrets:
        return body, ()
    try:
        return _redacted(body, hmac, secrets, arguments, look=look)
    except _UNREADABLE:
        unread = marker(f"payload of {len(body)} bytes", b"json:" + body, hmac)
        return _encode({"detail": {"unread": unread}}), ("secret:payload",)


def _redacted(body: bytes, hmac: Hmac, secrets: tuple[str, ...], arguments: bytes | None, *, look: bool) -> tuple[bytes, tuple[str, ...]]:
    members = _object(body)
    redactions: set[str] = set()
    hiding = _Hiding(secrets, hmac)
    if secrets:
        if arguments is not None:
            hiding.arguments(arguments)
            hiding.used.clear()
        for copy in _COPIES:
            _replace_at(members, copy, hiding.arguments)
        redactions |= {f"secret:arguments.{path}" for path in hiding.used}
        if _replace_at(members, _UNREAD, lambda unread: _without_text(unread, hmac)):
            redactions.add("secret:unread_arguments")
    known = Known({text: stands for text, stands in hiding.texts.items() if len(text) >= ECHO_SHORTEST})
    for name, value in members.items() if look or known else ():
        hide = _hide_in_targets if name == "targets" else hide_in_json
        hidden, names = (bytes(value), frozenset[str]()) if name in _AS_DECIDED else hide(bytes(value), hmac, known)
        members[name] = Raw(hidden)
        redactions |= {f"secret:{name}" if shape == KNOWN else f"{shape}:{name}" for shape in names}
    return _joined(members) if redactions else body, tuple(sorted(redactions))


def cut_json(json: bytes, limit_bytes: int) -> bytes:
    """The document; over the limit `{"cut":true,"bytes":N,"sha256":hex of the whole,"start":its first 2,048 characters}` in its place.

    The start ends before a marker or an escape that it would cut through. Raises ValueError for a limit under 16,384 bytes.
    """
    if limit_bytes < CUT_LIMIT_LEAST_BYTES:
        raise ValueError(f"a limit of {limit_bytes} bytes is less than what is cut may need")
    if len(json) <= limit_bytes:
        return json
    # A character has four bytes at most: enough for the start and for the longest marker across its end.
    text = json[: 4 * (CUT_START_CHARACTERS + 200)].decode("utf-8", "replace")
    start = text[: _cut_at(text, CUT_START_CHARACTERS)]
    cut = {"cut": True, "bytes": len(json), "sha256": hashlib.sha256(json).hexdigest(), "start": start}
    return _encode(cut)


def cut_arguments(body: bytes, redactions: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
    """An encoded payload whose arguments, wherever they stand, are cut where they are over the limit; and the entries with that said."""
    members = _object(body)
    was_cut = [copy for copy in _COPIES if _replace_at(members, copy, lambda json: cut_json(json, ARGUMENTS_LIMIT_BYTES))]
    cut = _joined(members) if was_cut else body
    return (cut, (*redactions, "cut:arguments")) if len(cut) < len(body) else (body, redactions)


def _cut_at(text: str, limit: int) -> int:
    at = next((match.start() for match in MARKER.finditer(text) if match.start() < limit < match.end()), limit)
    position = 0
    while position < at:
        match = _CHARACTER.match(text, position)
        assert match is not None
        if match.end() > at:
            return position
        position = match.end()
    return at


class _Hiding:
    """Hides what stands at marked paths, and remembers which paths hid something, and every text that was hidden."""

    def __init__(self, paths: Iterable[str], hmac: Hmac) -> None:
        self._hmac = hmac
        self._paths = [(path, _parsed(path)) for path in paths]
        self.used: set[str] = set()
        self.texts: dict[str, str] = {}

    def arguments(self, raw: bytes) -> bytes:
        if not self._paths:
            return raw
        try:
            return self._hidden(raw, self._paths)
        except _UNREADABLE:
            return self._whole(raw, self._paths)

    def _hidden(self, raw: bytes, paths: list[tuple[str, Path]]) -> bytes:
        raw = raw.strip()
        opening = raw[:1]
        if raw == b"null":
            return raw
        if any(not path for _, path in paths):
            return self._whole(raw, paths)
        if opening == b"{" and not any(path[0] is Every.ITEM for _, path in paths):
            members = _object(raw)
            for name, value in members.items():
                below = [(text, path[1:]) for text, path in paths if path[0] in {Every.MEMBER, name}]
                if below:
                    members[name] = Raw(self._hidden(bytes(value), below))
            return _joined(members)
        if opening == b"[" and all(path[0] is Every.ITEM for _, path in paths):
            below = [(text, path[1:]) for text, path in paths]
            return b"[%b]" % b",".join([self._hidden(bytes(item), below) for item in _list(raw)])
        return self._whole(raw, paths)

    def _whole(self, raw: bytes, paths: list[tuple[str, Path]]) -> bytes:
        self.used |= {text for text, _ in paths}
        try:
            value = _any(raw)
        except _UNREADABLE:
            return _encode(marker(f"unreadable of {len(raw)} bytes", b"json:" + raw, self._hmac))
        self._remember(value)
        return _encode(self.texts[value] if isinstance(value, str) else _marker_of(value, self._hmac))

    def _remember(self, value: object) -> None:
        for text in _texts(value):
            if text not in self.texts:  # an HMAC for each of many equal ones would be most of the time that a record takes
                self.texts[text] = _marker_of(text, self._hmac)


def _marker_of(value: object, hmac: Hmac) -> str:
    if isinstance(value, str):
        return text_marker(f"text of {len(value)} characters", value, hmac)
    what = "boolean" if isinstance(value, bool) else "number"
    if isinstance(value, dict | list):
        what = f"{'object' if isinstance(value, dict) else 'list'} of {len(value)} members"
    return marker(what, b"json:" + _canonical(value), hmac)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _joined(members: dict[str, Raw]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (_encode(name), bytes(value)) for name, value in members.items())


def _replace_at(members: dict[str, Raw], place: tuple[str, ...], change: Callable[[bytes], bytes]) -> bool:
    """Change what stands at this place, if anything does; whether it did."""
    value = members.get(place[0])
    if value is None:
        return False
    if len(place) == 1:
        members[place[0]] = Raw(change(bytes(value)))
        return True
    if not bytes(value).startswith(b"{"):
        return False
    inner = _object(value)
    found = _replace_at(inner, place[1:], change)
    if found:
        members[place[0]] = Raw(_joined(inner))
    return found


def _without_text(unread: bytes, hmac: Hmac) -> bytes:
    """Arguments that nobody could read have no paths: where some would be secret, all of their text is, and its digest invites guesses."""
    sent = _any(unread)
    text = sent.pop("text", "")
    sent.pop("sha256", None)
    return _encode({**sent, "text": text_marker(f"text of {len(text)} characters", text, hmac)})


def _hide_in_targets(targets: bytes, hmac: Hmac, known: Known) -> tuple[bytes, frozenset[str]]:
    hidden, names = [], frozenset[str]()
    for target in _list(targets):
        members = _object(target)
        for name in members.keys() - _TARGET_AS_DECIDED:
            value, found = hide_in_json(bytes(members[name]), hmac, known)
            members[name] = Raw(value)
            names |= found
        hidden.append(_joined(members))
    return b"[%b]" % b",".join(hidden), names
