"""`licet.lock`: the definitions of upstream tools that somebody has looked at and accepted, whole.

Rules:

1. A pin holds the whole definition as the upstream gave it (name, title, description, schemas, annotations, `_meta`, unknown fields) and
   its SHA-256 over canonical JSON. A file in which one does not fit the other is refused.
2. What agents are shown, and what arguments are validated by, is the pinned definition, never what an upstream says now. One that says
   something else now is drift: its tool is denied until somebody accepts the new definition.
3. The file is written whole or not at all. It belongs under version control: who accepted what is in its history.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from licet.catalog import strict
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import JsonObject

LOCK_FILE: Final = "licet.lock"
LOCK_VERSION: Final = 1
LOCK_LIMIT_BYTES: Final = 64 * 1024 * 1024
DEFINITION_LIMIT_BYTES: Final = 1024 * 1024
"""A longer definition is no description of a tool."""


class Pin(Struct, frozen=True):
    """One accepted definition and its SHA-256 (hex)."""

    sha256: str
    definition: JsonObject


class Lock(Struct, frozen=True):
    """The accepted definitions, by upstream and by the upstream's own name of the tool."""

    upstreams: Mapping[str, Mapping[str, Pin]] = MappingProxyType({})

    def of(self, upstream: str) -> Mapping[str, Pin]:
        """The pins of one upstream; none where nothing was accepted."""
        return self.upstreams.get(upstream, MappingProxyType({}))

    def with_pins(self, upstream: str, pins: Mapping[str, Pin]) -> Lock:
        """The same with these as the whole of one upstream's pins."""
        return Lock({**self.upstreams, upstream: dict(pins)})

    def write(self, path: Path) -> None:
        """Replace the file, at once. Raises `OSError`."""
        content = {
            "v": LOCK_VERSION,
            "upstreams": {
                upstream: {name: {"sha256": pin.sha256, "definition": pin.definition} for name, pin in sorted(pins.items())}
                for upstream, pins in sorted(self.upstreams.items())
            },
        }
        text = msgspec.json.format(strict.encode(content), indent=2) + b"\n"
        beside = path.with_name(f"{path.name}.new")
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


NOTHING_PINNED: Final = Lock()


def pin_of(unverified_definition: object) -> tuple[str, Pin]:
    """The name and the pin of a definition as an upstream gave it. Raises `CatalogInvalid`."""
    if not isinstance(unverified_definition, dict) or not isinstance(unverified_definition.get("name"), str):
        raise CatalogInvalid("a tool without a name")
    name: str = unverified_definition["name"]
    try:
        definition = strict.copied(unverified_definition, limit_bytes=DEFINITION_LIMIT_BYTES, limit_values=DEFINITION_LIMIT_BYTES)
    except ArgumentsRefused as refused:
        raise CatalogInvalid(f"the definition of {strict.shown(name)} cannot be pinned: {refused}") from refused
    return name, Pin(sha256=hashlib.sha256(strict.encode(definition)).hexdigest(), definition=definition)


def pins_of(unverified_definitions: Iterable[object]) -> dict[str, Pin]:
    """The pins of a whole `tools/list`. Raises `CatalogInvalid`, also where two tools have one name."""
    found: dict[str, Pin] = {}
    for one in unverified_definitions:
        name, pin = pin_of(one)
        if name in found:
            raise CatalogInvalid(f"two tools are called {strict.shown(name)}")
        found[name] = pin
    return found


def read_lock(path: Path) -> Lock:
    """The lock in this file; an empty one where there is none. Raises `CatalogInvalid`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return NOTHING_PINNED
    except OSError as error:
        raise CatalogInvalid(f"`{path}` cannot be read: {error.strerror}") from error
    try:
        parsed = strict.parse(content, limit_bytes=LOCK_LIMIT_BYTES, limit_values=LOCK_LIMIT_BYTES)
        return _lock_of(parsed)
    except (ArgumentsRefused, CatalogInvalid, KeyError, TypeError, AttributeError) as error:
        step = "take it back from version control, or move it away and accept the tools of each upstream anew"
        raise CatalogInvalid(f"`{path}` cannot be read: {error}; {step}") from error


def _lock_of(parsed: JsonObject) -> Lock:
    if parsed["v"] != LOCK_VERSION:
        raise CatalogInvalid(f"it has the unknown version {strict.shown(parsed['v'])}")
    upstreams: dict[str, Mapping[str, Pin]] = {}
    for upstream, tools in parsed["upstreams"].items():
        pins = {}
        for name, entry in tools.items():
            named, pin = pin_of(entry["definition"])
            if named != name or pin.sha256 != entry["sha256"]:
                raise CatalogInvalid(f"the pin of {strict.shown(name)} of {strict.shown(upstream)} does not fit its definition")
            pins[name] = pin
        upstreams[upstream] = MappingProxyType(pins)
    return Lock(MappingProxyType(upstreams))
