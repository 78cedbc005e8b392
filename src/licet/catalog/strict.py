"""Strict JSON: what may become an argument at all, and the one way its bytes are written.

Rules:

1. Text is UTF-8 JSON of RFC 8259. A key twice in one object is refused at any depth, however it is escaped: parsers disagree on which
   value wins, so policy could see one and the tool another.
2. Numbers are finite, integers fit 64 bits, and a float without fraction is the integer it equals (1.0 and 1 are one value); from 2^53 up
   such a float no longer says which integer was meant and is refused.
3. The keys `__entity` and `__extn` are refused anywhere: Cedar reads them as entities and extension calls, not as data.
4. Strings are Unicode text: a lone surrogate cannot be written as UTF-8 and is refused.
5. Nesting is at most 64 deep and the whole at most a stated number of bytes and of values (every member of an object and item of a list
   is one), checked before work that grows with the input: a megabyte of tiny values costs a hundred times what one long text does.
6. What comes out is a fresh copy of plain `dict`, `list`, `str`, `int`, `float`, `bool` and None: nobody else holds a reference to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from licet.errors import ArgumentsRefused
from licet.model import JsonObject

LIMIT_BYTES = 1024 * 1024
"""Larger arguments are not data for one call; a file's content belongs behind a reference."""
VALUES_LIMIT = 10_000
"""More values are a data set, which belongs behind a reference; reading, deciding on and recording so many takes some 10 to 50 ms."""
DEPTH_LIMIT = 64
"""No tool of the real world nests deeper, and every recursive reader behind us survives it."""
FORBIDDEN_KEYS = frozenset({"__entity", "__extn"})
INT_MAX = 2**63 - 1
INT_MIN = -(2**63)
EXACT_FLOAT_LIMIT = 2.0**53
"""From here up neighbouring integers share one float."""
SHOWN_CHARACTERS = 40
"""How much of a value an error message quotes."""

_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A text of JSON. Possessive, and one that does not end is one too: nothing is looked at twice."""

_UNUSUAL = re.compile(r"[0-9](?:(?<!\x22[0-9])[.eE]|[0-9]{18})")
"""What a text of JSON may hold that needs a second look: long integers, fractions and exponents.

No number stands directly behind a quote: `"2.0"`, which every message of JSON-RPC holds, is none.
"""

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()


def parse(unverified: bytes | str, *, limit_bytes: int = LIMIT_BYTES, limit_values: int = VALUES_LIMIT) -> Any:
    """Decode JSON text by the rules of this module. The result is fresh. Raises ArgumentsRefused."""
    if len(unverified) > limit_bytes:
        raise _too_large(limit_bytes)
    text = _text_of(unverified)
    value = _decoded(text, limit_values)
    return value if _is_plain(text, limit_values) else copied(value, limit_bytes=limit_bytes, limit_values=limit_values)


def copied(unverified: Any, *, limit_bytes: int = LIMIT_BYTES, limit_values: int = VALUES_LIMIT) -> Any:
    """A deep copy of a value that JSON can express, checked by the rules of this module.

    Mappings become dicts, tuples become lists, subclasses of `str` and `int` become plain; nothing else is converted. Raises
    ArgumentsRefused with the JSON Pointer of the culprit.
    """
    trail: list[str] = []
    try:
        return _copied(unverified, 1, [limit_bytes, limit_values], trail)
    except ArgumentsRefused as refused:
        if refused.code == "too_many_values":
            raise too_many_values(limit_values) from None
        if trail and not refused.path:
            refused.path = pointer(reversed(trail))
        raise


def encode(value: Any) -> bytes:
    """The canonical bytes of a value that `copied` or `parse` made: compact, keys sorted by code point."""
    return _encoder.encode(value)


def decode(canonical: bytes) -> Any:
    """A fresh value from bytes that `encode` made."""
    return _decoder.decode(canonical)


def pointer(parts: Any) -> str:
    """A JSON Pointer (RFC 6901) from keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def shown(value: Any) -> str:
    """A value as an error message may quote it: one line, in backticks, at most 40 characters of it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value[: SHOWN_CHARACTERS + 1] if isinstance(value, str) else value)
    return f"`{text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + '...'}`"


def too_many_values(limit_values: int) -> ArgumentsRefused:
    """The refusal of more values than this."""
    return ArgumentsRefused("too_many_values", f"more than {limit_values} values; send less at once, or put them behind a reference")


def _text_of(unverified: bytes | str) -> str:
    try:
        return unverified if isinstance(unverified, str) else bytes(unverified).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentsRefused("bad_text", f"the text is not UTF-8 at byte {error.start}") from error


def _is_plain(text: str, limit_values: int) -> bool:
    """Whether JSON that was decoded holds nothing that `copied` would refuse or write otherwise, by a look at its text alone.

    It is no more than the bounds allow whatever it says: a value takes two characters, and a level one bracket.
    """
    if len(text) > limit_values or text.count("{") + text.count("[") > DEPTH_LIMIT:
        return False
    return text.isascii() and "\\" not in text and "__e" not in text and _UNUSUAL.search(text) is None


def _decoded(text: str, limit_values: int) -> Any:
    try:
        _check_marks(text, limit_values)
        return _json.decode(text)
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise ArgumentsRefused("not_json", f"malformed JSON at character {error.pos}: {error.msg.lower()}") from error
    except ValueError as error:
        # int() refuses more than some thousand digits, because reading them takes quadratic time.
        raise ArgumentsRefused("number_too_large", "an integer does not fit 64 bits") from error


def _check_marks(text: str, limit_values: int) -> None:
    """Refuse what surely has too many values before any of them is built; `copied` counts what passes."""
    # A text of many commas is no list of many values, so only what seems too much is looked at, as far as the limit reaches.
    if len(text) <= limit_values or text.count(",") + text.count("[") + text.count("{") <= limit_values:
        return
    # A value has a comma before it at most, opens one bracket at most, and is two texts at most, with its name; one has no name.
    most = 2 * limit_values + 1
    marks = texts = at = 0
    while at < len(text):
        opening = text.find('"', at)
        end = opening if opening >= 0 else len(text)
        marks += text.count(",", at, end) + text.count("[", at, end) + text.count("{", at, end)
        texts += opening >= 0
        if max(marks, texts) > most:
            raise too_many_values(limit_values)
        found = _TEXT.match(text, end)
        at = len(text) if found is None else found.end()


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ArgumentsRefused("duplicate_key", f"the key {shown(twice)} stands twice in one object")
    return value


def _constant(text: str) -> Any:
    raise ArgumentsRefused("not_finite", f"`{text}` is not a number of JSON")


_json = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _copied(value: Any, depth: int, budget: list[int], trail: list[str]) -> Any:  # noqa: PLR0911 - one return for each kind of value
    kind = type(value)
    if kind is str:
        budget[0] -= len(value) + 2
        return value if value.isascii() else _text(value)
    if kind is int:
        if INT_MIN <= value <= INT_MAX:
            return value
        raise ArgumentsRefused("number_too_large", "an integer does not fit 64 bits")
    if kind is bool or value is None:
        return value
    if kind is float:
        return _number(value)
    if kind is dict:
        return _copied_object(value, depth, budget, trail)
    if kind is list or kind is tuple:
        return _copied_list(value, depth, budget, trail)
    return _copied(_plain(value), depth, budget, trail)


def _copied_object(value: JsonObject, depth: int, budget: list[int], trail: list[str]) -> JsonObject:
    # list() takes the items in one step of the interpreter: another thread that changes the dict meanwhile changes its own copy only.
    items = list(value.items())
    _spend(4 * len(items), len(items), depth, budget)
    copy: JsonObject = {}
    for key, item in items:
        if type(key) is not str or not key.isascii():
            key = _key(key)  # noqa: PLW2901 - one name for one thing
        if key in FORBIDDEN_KEYS:
            trail.append(key)
            raise ArgumentsRefused("forbidden_key", f"the key `{key}` is reserved and may stand nowhere in arguments")
        if key in copy:
            raise ArgumentsRefused("duplicate_key", f"the key {shown(key)} stands twice in one object")
        budget[0] -= len(key)
        try:
            copy[key] = _copied(item, depth + 1, budget, trail)
        except ArgumentsRefused:
            trail.append(key)
            raise
    _check_budget(budget)
    return copy


def _copied_list(value: list[Any] | tuple[Any, ...], depth: int, budget: list[int], trail: list[str]) -> list[Any]:
    items = list(value)
    _spend(len(items), len(items), depth, budget)
    copy: list[Any] = []
    for item in items:
        try:
            copy.append(_copied(item, depth + 1, budget, trail))
        except ArgumentsRefused:
            trail.append(str(len(copy)))
            raise
    _check_budget(budget)
    return copy


def _spend(size_bytes: int, values: int, depth: int, budget: list[int]) -> None:
    if depth > DEPTH_LIMIT:
        raise _too_deep()
    # A list that holds one list twice, which holds one list twice ... is small in memory and endless in JSON.
    # What is spent is never more than the bytes it takes: brackets, commas, and of an object quotes and colons.
    budget[0] -= 1 + size_bytes
    budget[1] -= values
    _check_budget(budget)


def _check_budget(budget: list[int]) -> None:
    if budget[0] < 0:
        raise ArgumentsRefused("too_large", "the arguments are larger than allowed")
    if budget[1] < 0:
        raise ArgumentsRefused("too_many_values", "more values than allowed")


def _number(value: float) -> int | float:
    if not math.isfinite(value):
        raise ArgumentsRefused("not_finite", f"`{value}` is not a number of JSON")
    if not value.is_integer():
        return value
    if abs(value) >= EXACT_FLOAT_LIMIT:
        raise ArgumentsRefused("number_too_large", "a number of 2^53 or more must be written as an integer, and fit 64 bits")
    return int(value)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ArgumentsRefused("bad_text", "a string holds half of a surrogate pair, which is no Unicode text") from error
    return value


def _plain(value: Any) -> Any:
    # The base class's own conversion: a subclass may lie in its __str__ or __int__.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    try:
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, list | tuple):
            return list(value)
    except Exception as error:
        # Somebody else's container, read by its own code, perhaps while another thread changes it.
        raise ArgumentsRefused("not_json_value", f"a value of type `{type(value).__name__}` could not be read") from error
    raise ArgumentsRefused("not_json_value", f"a value of type `{type(value).__name__}` is not JSON")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _text(str.__str__(key))
    raise ArgumentsRefused("not_json_value", "a key of an object must be a string")


def _too_large(limit_bytes: int) -> ArgumentsRefused:
    return ArgumentsRefused("too_large", f"the arguments are larger than {limit_bytes} bytes")


def _too_deep() -> ArgumentsRefused:
    return ArgumentsRefused("too_deep", f"the arguments are nested more than {DEPTH_LIMIT} deep")
