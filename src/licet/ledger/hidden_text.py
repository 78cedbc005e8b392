r"""Credentials of a known shape out of text and out of JSON: what stands there instead, and what is left as it was.

Rules:

1. Only strings change, keys of objects among them; every other byte of a document stays. What was JSON is JSON, of the same structure.
2. A string is looked at as what it means, not as it is written: `\u0067hp_...` is found. JSON within a string is looked at once more with
   its own escapes undone, and stored so if something was found.
3. The text of a member whose key says what it is (`password`, `clientSecret`, `authorization`) is hidden whole;
   that of a `token` or `secret` where it looks drawn at random.
4. What is no JSON is text.
5. The HMAC is over `text:` and the UTF-8 of the secret, or `json:` and the canonical JSON of a secret that is no text; its first 16 bytes
   are shown in hex. The same secret shows the same HMAC wherever it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from licet.ledger.token_checks import MARKER
from licet.ledger.token_shapes import find_tokens, is_credential_by_key, json_could_hold_token

Hmac = Callable[[bytes], bytes]
"""HMAC-SHA256 under the tenant's pepper."""

NAMED = "credential"
KNOWN = "known"
SHOWN_BYTES = 16
KNOWN_WITHIN_LIMIT = 100
"""So many known secrets are looked for within longer texts; beyond that each is only found where it is a whole text."""
_SHORTEST = 4
"""No credential has fewer characters; documents may have very many short strings."""
_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?', re.DOTALL)
_OUTSIDE = re.compile(r"[\s{}\[\]:,0-9+\-.eEtrufalsn]*+")
_INNER_ESCAPE = re.compile(r"(?<!\\)\\++u00([2-7][0-9a-fA-F])")


def marker(what: str, secret: bytes, hmac: Hmac) -> str:
    """`(secret github_token, hmac 5f2c...)`: what stands in place of a secret."""
    return f"(secret {what}, hmac {hmac(secret)[:SHOWN_BYTES].hex()})"


def text_marker(what: str, secret: str, hmac: Hmac) -> str:
    """The marker of a secret that is text."""
    return marker(what, b"text:" + secret.encode("utf-8", "surrogatepass"), hmac)


class Known:
    """Secrets that are known already, such as the marked fields of the same call, each with what stands in its place."""

    def __init__(self, stands: Mapping[str, str]) -> None:
        self._stands = dict(stands)
        longest = sorted(stands, key=lambda secret: (-len(secret), secret))[:KNOWN_WITHIN_LIMIT]
        self._within = {form: stands[secret] for secret in longest for form in _forms(secret)}
        # A secret that JSON writes with escapes may stand in a document in many ways, one of many perhaps as a whole text only.
        self._is_plain = len(stands) == len(self._within)
        self._pattern: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return bool(self._stands)

    def may_be_in(self, document: str) -> bool:
        """False where none of these secrets is in a JSON document, however it is written. True says only that somebody has to look."""
        if not self._stands:
            return False
        return not self._is_plain or "\\u" in document or any(form in document for form in self._within)

    def hide(self, text: str) -> str:
        """The text without any of these secrets."""
        if text in self._stands:
            return self._stands[text]
        if MARKER.fullmatch(text):
            return text  # most texts of a record with many secrets: to look for each in each would be most of the time it takes
        if not any(form in text for form in self._within):
            return text
        if self._pattern is None:
            # Markers first, so that a secret such as `secret` is not looked for in them; then the longest, which may hold others.
            self._pattern = re.compile("|".join([MARKER.pattern, *map(re.escape, self._within)]))
        return self._pattern.sub(lambda match: self._within.get(match[0], match[0]), text)


NONE_KNOWN: Final = Known({})


def hide_in_text(text: str, hmac: Hmac, known: Known = NONE_KNOWN, before: str = "") -> tuple[str, frozenset[str]]:
    """The text without credentials, and the names of the shapes that were found (`known` for a known secret)."""
    hidden = known.hide(text)
    names = {KNOWN} if hidden != text else set()
    undone = _INNER_ESCAPE.sub(lambda match: chr(int(match[1], 16)), hidden) if "\\u00" in hidden else hidden
    found = find_tokens(undone, before)
    if undone != hidden and not found:
        undone, found = hidden, find_tokens(hidden, before)
    parts, last = [], 0
    for token in found:
        parts += [undone[last : token.start], text_marker(token.name, undone[token.start : token.end], hmac)]
        last = token.end
        names.add(token.name)
    return "".join([*parts, undone[last:]]), frozenset(names)


def hide_in_json(document: bytes, hmac: Hmac, known: Known = NONE_KNOWN) -> tuple[bytes, frozenset[str]]:
    """The JSON document without credentials, and the names of the shapes that were found. What is no JSON is taken as text."""
    text = document.decode("utf-8", "surrogateescape")
    if not json_could_hold_token(text) and not known.may_be_in(text):
        return document, frozenset()
    names: set[str] = set()
    parts: list[str] = []
    key, is_value, last, copied = "", False, 0, 0
    while (opening := text.find('"', last)) >= 0:
        match = _STRING.match(text, opening)
        if match is None or not _OUTSIDE.fullmatch(text, last, opening):
            return _as_text(text, hmac, known)
        meant, is_key = _meant(match[1]), match[2] is not None
        if len(meant) >= _SHORTEST:
            # A text is called by the key right before it; what stands in a list or an object is not.
            called = key if is_value and not text[last:opening].strip() else ""
            written, found = _hide_string(meant, called, hmac, known)
            if found:
                parts += [text[copied:opening], _quoted(written, match[1]), match[2] or ""]
                copied = match.end()
                names |= found
        key, is_value, last = meant, is_key, match.end()
    if not _OUTSIDE.fullmatch(text, last):
        return _as_text(text, hmac, known)
    return "".join([*parts, text[copied:]]).encode("utf-8", "surrogateescape") if names else document, frozenset(names)


def _hide_string(meant: str, key: str, hmac: Hmac, known: Known) -> tuple[str, frozenset[str]]:
    hidden = known.hide(meant)
    if MARKER.fullmatch(hidden):
        return hidden, frozenset({KNOWN}) if hidden != meant else frozenset()
    if key and is_credential_by_key(key, meant):
        return text_marker(NAMED, meant, hmac), frozenset({NAMED})
    return hide_in_text(meant, hmac, known, f"{key}: " if key else "")


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as it stands in JSON within a text."""
    return list(dict.fromkeys([secret, json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(secret)[1:-1]]))


def _as_text(text: str, hmac: Hmac, known: Known) -> tuple[bytes, frozenset[str]]:
    hidden, names = hide_in_text(text, hmac, known)
    return hidden.encode("utf-8", "surrogateescape"), names


def _meant(written: str) -> str:
    """What a string means, lone surrogates included; a string that is none means itself."""
    if "\\" not in written:
        return written
    try:
        return str(json.loads(f'"{written}"', strict=False))
    except ValueError:
        return written


def _quoted(text: str, was: str) -> str:
    """A text as JSON. Half of a surrogate pair came from an escape, and goes back into one; without one it is a byte that is no UTF-8."""
    return json.dumps(text, ensure_ascii="\\" in was and any("\ud800" <= character <= "\udfff" for character in text))
