"""Which upstream tools are not what was pinned any more. Asked before each call, fed by what upstreams list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from licet.catalog.pins import pins_of
from licet.catalog.upstream import tool_name
from licet.errors import CatalogInvalid
from licet.gate.gate import Gate


class Drift:
    """The board of drifted tools."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._drifted: dict[str, str] = {}

    def compare(self, upstream: str, unverified_definitions: Sequence[Any]) -> None:
        """Hold what an upstream lists now against what is pinned."""
        try:
            live = pins_of(unverified_definitions)
        except CatalogInvalid:
            live = {}
        for name, tool in self._gate.registry.offered.tools.items():
            if tool.upstream != upstream or tool.pin is None:
                continue
            now = live.get(tool.name)
            self._drifted.pop(name, None)
            if now is None or now.sha256 != tool.pin.sha256:
                self._drifted[tool_name(upstream, tool.name)] = f"`{name}` is not what was accepted: run `licet catalog diff {upstream}`"

    def find(self, name: str) -> str | None:
        """Why this tool is not called, if it has drifted."""
        return self._drifted.get(name)
