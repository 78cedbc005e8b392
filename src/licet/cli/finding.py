"""One line of `licet doctor`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """Something that was looked at: what about, how it is, and what to do where it is not well."""

    level: Literal["ok", "warn", "fail"]
    about: str
    message: str
    next: str | None = None
