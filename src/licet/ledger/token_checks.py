"""What a pattern cannot say about a credential: is it random, a placeholder, a header that decodes, a payment card number?"""

from __future__ import annotations

import base64
import binascii
import re

MARKER = re.compile(r"\(secret [a-z_]{1,24}(?: of [0-9]{1,10} (?:characters|members|bytes))?, hmac [0-9a-f]{32}\)")
"""What stands in place of a secret. So narrow that no credential of a known shape fits into one that was made up."""

_PLACEHOLDER_WORDS = frozenset(
    [
        *(
            "null",
            "none",
            "nil",
            "undefined",
            "true",
            "false",
            "yes",
            "no",
            "on",
            "off",
            "str",
            "string",
            "text",
            "bytes",
            "object",
            "array",
        ),
        *("list", "dict", "int", "number", "bool", "boolean", "bearer", "basic", "required", "optional", "missing", "empty", "unknown"),
        *(
            "invalid",
            "incorrect",
            "wrong",
            "expired",
            "changed",
            "unchanged",
            "updated",
            "reset",
            "rotated",
            "removed",
            "revoked",
            "hidden",
        ),
        *("masked", "redacted", "secret", "password", "token", "your_password", "your-password"),
    ]
)
_PLACEHOLDER_FORMS = re.compile(
    r"\$[A-Z_][A-Z0-9_]*|\$[({].*|\{\{.*|<[^<>]*>?|%\(?\w*\)?s|%[A-Z0-9_]+%|:[a-z_]+|@[a-z_]+|\?+|\*+|\.+|[xX]{3,}|\[\w+\]?"
    r"|(?:os\.|process\.env|env\.|getenv|System\.).*",
    re.DOTALL | re.ASCII,
)
_RANDOM = re.compile(r"[A-Za-z0-9_+/=.~-]{16,}", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_IDENTIFIER_BEFORE = re.compile(
    r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?i:order|invoice|ticket|tracking|shipment|parcel|reference|ref|transaction|txn|trace|span|request|message|"
    r"event|session|customer|user|sku|ean|gtin|imei|isbn|iban|phone|tel|fax|version|build|commit|id|uid|uuid|no|nr)"
    r"[\"'\\]{0,4}[ _-]?(?i:id|no\.?|nr\.?|num|number)?[ \t#:=\"'\\(]{0,8}\Z",
    re.ASCII,
)
_SHORTEST_MIXED = 6
LOOK_BACK = 40
"""How many characters before a number may say what it is."""


def is_placeholder(value: str) -> bool:
    """Whether this stands where a secret would, and is none: `null`, `${PASSWORD}`, `<password>`, `****`, `required`."""
    return value.lower() in _PLACEHOLDER_WORDS or _PLACEHOLDER_FORMS.fullmatch(value) is not None


def is_random(value: str) -> bool:
    """Whether a text looks drawn at random: 16 characters or more with digits, capitals and small letters; or 32 hexadecimal digits."""
    if _HEX.fullmatch(value):
        return True
    return _RANDOM.fullmatch(value) is not None and all(any(map(kind, value)) for kind in (str.isdigit, str.isupper, str.islower))


def is_no_word(value: str) -> bool:
    """Whether a text of six characters or more is none of ordinary prose: a digit or sign in it, or capitals behind its first letter."""
    inner = value.rstrip(".,;:!?)")
    return len(inner) >= _SHORTEST_MIXED and (not inner.isalpha() or not (inner.islower() or inner.isupper() or inner.istitle()))


def is_basic_credentials(encoded: str) -> bool:
    """Whether this is `user:password` in base64 (RFC 7617), and not the word after `Basic` in a sentence."""
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return ":" in decoded and decoded.isprintable()


def is_card_number(number: str, before: str) -> bool:
    """Whether digits, perhaps in groups, are a payment card's: issuer, length and check digit fit, and `before` calls them no identifier.

    Of random numbers of 16 digits about one in fifty passes for a card: what is called an order, invoice, id and so on is left alone.
    """
    digits = number.replace(" ", "").replace("-", "")
    if not _has_issuer(digits) or len(set(digits)) == 1 or _IDENTIFIER_BEFORE.search(before[-LOOK_BACK:]):
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 * (value > 9) for value in doubled)) % 10 == 0  # noqa: PLR2004 - Luhn


def _has_issuer(digits: str) -> bool:
    """Visa, Mastercard, American Express, Discover, JCB, Diners Club, UnionPay: ISO/IEC 7812 ranges with their lengths."""
    size, four, two = len(digits), int(digits[:4]), digits[:2]
    if size == 16:  # noqa: PLR2004 - and so on: the table of issuers
        return (
            digits[0] == "4"
            or "51" <= two <= "55"
            or 2221 <= four <= 2720  # noqa: PLR2004
            or 3528 <= four <= 3589  # noqa: PLR2004
            or four == 6011  # noqa: PLR2004
            or two in {"62", "65"}
            or "644" <= digits[:3] <= "649"
        )
    if size == 19:  # noqa: PLR2004
        return digits[0] == "4" or two == "62"
    if size == 15:  # noqa: PLR2004
        return two in {"34", "37"}
    return size == 14 and (two in {"36", "38"} or "300" <= digits[:3] <= "305")  # noqa: PLR2004
