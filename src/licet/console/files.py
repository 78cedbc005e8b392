"""Styles, scripts and the icon. Their addresses hold a digest of what they are, so a browser keeps them for ever.

They go out as gzip to whoever takes that: they are the same for everybody and hold no secret, which a page does.

What is not ours (htmx and two of its extensions) is here as its package has it; tests/console/test_files.py holds it against its digest.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from typing import Final

from msgspec import Struct

from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import not_found

_MEDIA: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOR_EVER: Final = (("Cache-Control", "public, max-age=31536000, immutable"),)


class _File(Struct, frozen=True):
    content: bytes
    packed: bytes
    """The same, as gzip."""
    media_type: str
    digest: str


def _read() -> dict[str, _File]:
    found = {}
    for entry in resources.files("licet.console").joinpath("static").iterdir():
        if (kind := entry.name.rpartition(".")[2]) in _MEDIA:
            content = entry.read_bytes()
            found[entry.name] = _File(content, gzip.compress(content, mtime=0), _MEDIA[kind], hashlib.sha256(content).hexdigest()[:16])
    return found


FILES: Final = _read()


def address(name: str) -> str:
    """Where a file is asked for, as it is now."""
    return f"/console/static/{FILES[name].digest}/{name}"


class OneFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file, and the digest that its address had when the page was written."""

    digest: str
    name: str


def _show(asked: Asked) -> Answer:
    found = FILES.get(asked.params.name)
    if found is None:
        raise not_found()
    kept = _FOR_EVER if asked.params.digest == found.digest else (("Cache-Control", "no-cache"),)
    headers = (*kept, ("Vary", "Accept-Encoding"))
    if _takes_gzip(asked.header("accept-encoding") or ""):
        return Answer(content=found.packed, media_type=found.media_type, headers=(*headers, ("Content-Encoding", "gzip")))
    return Answer(content=found.content, media_type=found.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` names it (RFC 9110, 12.5.3)."""
    for part in accepted.split(","):
        coding, _, weight = part.replace(" ", "").lower().partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


PAGES: Final = (
    Endpoint(
        method="GET",
        path="/console/static/{digest}/{name}",
        operation="consoleFile",
        summary="A style, a script or the icon",
        tag="console",
        action=None,
        handler=_show,
        params=OneFile,
        public=True,
    ),
)
