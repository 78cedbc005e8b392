"""Which upstream tools are not what was accepted any more: fed by what upstreams list, asked by the pipeline before each call.

Rules:

1. What is compared is the whole definition. A tool that differs in anything is denied, and shown to nobody, until somebody accepts it.
2. Callers who share their sessions of an upstream share what it lists; what it lists for others says nothing good of theirs
   (`catalog/live.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from licet.catalog.upstream import UpstreamTool
from licet.gate.checks import find_drift, find_drift_of
from licet.gate.gate import Gate
from licet.gateway.eras import ASKED_OF_CLIENTS
from licet.gateway.link import Voyage
from licet.gateway.origins import scope_of
from licet.names import quoted

_log = logging.getLogger("licet.gateway")


class Drift:
    """The board of drifted tools, which is the gate's."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.changed: Callable[[str], None] = lambda _: None  # told of an upstream whose tools have drifted, or have not any more

    @property
    def revision(self) -> int:
        """Moves whenever a tool has drifted, or has not any more."""
        return self._gate.registry.live.revision

    def compare(self, upstream: str, unverified_definitions: Sequence[Any], voyage: Voyage | None = None) -> None:
        """Hold what an upstream lists now, for whoever this voyage is of, against what is pinned."""
        live = self._gate.registry.live
        before, drifted = live.revision, self._drifted(upstream)
        problem = live.take(upstream, unverified_definitions, scope=self._scope(upstream, voyage))
        if problem is not None:
            _log.error("licet: the tools of `%s` cannot be compared with what is pinned, so that none is called: %s", upstream, problem)
        if live.revision != before:
            found = self._drifted(upstream)
            for name, drift in found.items():
                _log.warning("licet: %s is denied: %s", quoted(name), drift)
            if found.keys() != drifted.keys():
                self.changed(upstream)

    def find(self, name: str) -> str | None:
        """How the tool of this name of the catalog has drifted, as a sentence; None if nobody has seen that it did."""
        return find_drift(self._gate.scene, name)

    def find_of(self, tool: UpstreamTool) -> str | None:
        """As `find`, by the definition that this tool was decided by: what was accepted since is another tool."""
        return find_drift_of(self._gate.registry.live, tool)

    def knows(self, upstream: str, voyage: Voyage) -> bool:
        """Whether what the upstream lists for whoever this voyage is of was compared, and is remembered."""
        return self._gate.registry.live.knows(upstream, self._scope(upstream, voyage))

    def _scope(self, upstream: str, voyage: Voyage | None) -> str:
        """Who is shown the same list: servers offer some tools only to clients that can be asked something."""
        settings = self._gate.settings.upstreams.get(upstream)
        if voyage is None or settings is None:
            return ""
        client = voyage.link.client
        asked = [one for one in ASKED_OF_CLIENTS.values() if one in client.capabilities]  # no name that a client has made up
        return "\0".join([client.era, *asked, "", *scope_of(settings, voyage)])

    def _drifted(self, upstream: str) -> dict[str, str]:
        tools = [name for name, tool in self._gate.scene.offered.tools.items() if tool.upstream == upstream]
        return {name: drift for name in tools if (drift := self.find(name)) is not None}
