"""What a scene is built from, as one value: whoever swaps it swaps settings, functions and people together."""

from __future__ import annotations

from msgspec import Struct

from licet.config import Settings
from licet.gate.registry import Registry
from licet.identity.directory import Directory


class Basis(Struct, frozen=True, kw_only=True):
    """Settings, what was registered, and the directory that stands in where people were removed and the rest did not load."""

    settings: Settings
    registry: Registry
    directory: Directory | None = None
