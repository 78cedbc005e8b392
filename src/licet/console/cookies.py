"""The cookie that a browser is signed in by, and the proof that a form came from a page of ours.

Rules:

1. The cookie holds the secret of a session and nothing else. Scripts cannot read it (`HttpOnly`), other sites cannot send it
   (`SameSite=Strict`), and no other host or path can set it (`__Host-`). The one that waits for somebody to come back from an identity
   provider comes with a link from there as well (`Lax`), and opens nothing by itself.
2. A form carries a token that only whoever has the secret can make (HMAC-SHA256 under it), so that a page of somebody else's cannot.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

SESSION: Final = "__Host-licet"
THEME: Final = "__Host-licet-theme"
PLACE: Final = "__Host-licet-place"
VIEWS: Final = "__Host-licet-views"
CHALLENGE: Final = "__Host-licet-challenge"
PROVIDER: Final = "__Host-licet-provider"
_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite="


def read(headers: Mapping[bytes, bytes], name: str) -> str | None:
    """The cookie of this name; None if there is none, or it stands twice."""
    pairs = [part.strip().partition("=") for part in headers.get(b"cookie", b"").decode("latin-1").split(";")]
    found = [value for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 and found[0] else None


def write(name: str, value: str, *, max_age_s: int) -> tuple[str, str]:
    """The header that sets it."""
    return ("Set-Cookie", f"{name}={value}; Max-Age={max_age_s}; {_ATTRIBUTES}{'Lax' if name == PROVIDER else 'Strict'}")


def forget(name: str) -> tuple[str, str]:
    """The header that takes it away."""
    return write(name, "", max_age_s=0)


def form_token(secret: str) -> str:
    """What stands in the forms of whoever has this secret."""
    return hmac.new(secret.encode(), b"licet-console-form-1", hashlib.sha256).hexdigest()


def is_form_token(secret: str, shown: str) -> bool:
    """Whether it is that one."""
    return hmac.compare_digest(form_token(secret).encode(), shown.encode())
