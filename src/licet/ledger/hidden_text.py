r"""Credentials of a known shape out of text and out of JSON: what stands there instead, and what is left as it was.

Rules:

1. Only strings change, keys of objects among them; every other byte of a document stays. What was JSON is JSON, of the same structure.
2. A string is looked at as what it means, not as it is written: `\u0067hp_...` is found. JSON within a string is looked at once more with
   its own escapes undone, and stored so if something was found.
3. The text of a member whose key says what it is (`password`, `clientSecret`, `authorization`) is hidden whole.
4. What is no JSON is text.
5. The HMAC is over `text:` and the UTF-8 of the secret, or `json:` and the canonical JSON of a secret that is no text; its first 16 bytes
   are shown in hex. The same secret shows the same HMAC wherever it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from licet.ledger.token_checks import MARKER, is_placeholder
from licet.ledger.token_shapes import find_tokens, is_secret_key, json_could_hold_token

Hmac = Callable[[bytes], bytes]
"""HMAC-SHA256 under the tenant's pepper."""
Known = Mapping[str, str]
"""Secrets that are known already, such as the marked fields of the same call, and what stands in their place."""

NONE_KNOWN: Final[Known] = {}
SHOWN_BYTES = 16
_SHORTEST_OF_KEY = 4
_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?', re.DOTALL)
_OUTSIDE = re.compile(r"[\s{}\[\]:,0-9+\-.eEtrufalsn]*+")
_INNER_ESCAPE = re.compile(r"\\+u00([2-7][0-9a-fA-F])")


def marker(what: str, secret: bytes, hmac: Hmac) -> str:
    """`(secret github_token, hmac 5f2c...)`: what stands in place of a secret."""
    return f"(secret {what}, hmac {hmac(secret)[:SHOWN_BYTES].hex()})"


def text_marker(what: str, secret: str, hmac: Hmac) -> str:
    """The marker of a secret that is text."""
    return marker(what, b"text:" + secret.encode("utf-8", "surrogatepass"), hmac)


def hide_in_text(text: str, hmac: Hmac, known: Known = NONE_KNOWN, before: str = "") -> tuple[str, frozenset[str]]:
    """The text without credentials, and the names of the shapes that were found (`known` for a known secret)."""
    names: set[str] = set()
    for secret, stands in known.items():
        if secret in text and not MARKER.fullmatch(secret):
            text = text.replace(secret, stands)
            names.add("known")
    undone = _INNER_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "\\u00" in text else text
    if undone != text and find_tokens(undone, before) != find_tokens(text, before):
        text = undone
    parts, last = [], 0
    for found in find_tokens(text, before):
        parts += [text[last : found.start], text_marker(found.name, text[found.start : found.end], hmac)]
        last = found.end
        names.add(found.name)
    return "".join([*parts, text[last:]]), frozenset(names)


def hide_in_json(document: bytes, hmac: Hmac, known: Known = NONE_KNOWN) -> tuple[bytes, frozenset[str]]:
    """The JSON document without credentials, and the names of the shapes that were found. What is no JSON is taken as text."""
    text = document.decode("utf-8", "surrogateescape")
    if not known and not json_could_hold_token(text):
        return document, frozenset()
    names: set[str] = set()
    parts: list[str] = []
    key, key_end, last = "", -1, 0
    for match in _STRING.finditer(text):
        if not _OUTSIDE.fullmatch(text, last, match.start()):
            return _as_text(text, hmac, known)
        meant, is_key = _meant(match[1]), match[2] is not None
        own_key = key if not is_key and key_end == last else ""
        written, found = _hide_string(meant, own_key, hmac, known)
        parts += [text[last : match.start()], match[0] if not found else _quoted(written) + (match[2] or "")]
        names |= found
        last = match.end()
        key, key_end = meant, last
    if not _OUTSIDE.fullmatch(text, last):
        return _as_text(text, hmac, known)
    return "".join([*parts, text[last:]]).encode("utf-8", "surrogateescape") if names else document, frozenset(names)


def _hide_string(meant: str, key: str, hmac: Hmac, known: Known) -> tuple[str, frozenset[str]]:
    if key and is_secret_key(key) and len(meant) >= _SHORTEST_OF_KEY and not is_placeholder(meant) and not MARKER.fullmatch(meant):
        stands = known.get(meant)
        return (stands, frozenset({"known"})) if stands else (text_marker("password", meant, hmac), frozenset({"password"}))
    return hide_in_text(meant, hmac, known, f"{key}: " if key else "")


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


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=any("\ud800" <= character <= "\udfff" for character in text))
