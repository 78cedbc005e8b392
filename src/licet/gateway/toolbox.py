"""`tools/list`: the pinned definitions of the tools that a caller may ever call."""

from __future__ import annotations

from licet.gate.checks import caller_of
from licet.gate.gate import Gate
from licet.gateway.drift import Drift
from licet.gateway.incoming import Incoming
from licet.model import JsonObject


class Toolbox:
    """What callers are shown."""

    def __init__(self, gate: Gate, drift: Drift) -> None:
        self._gate = gate
        self._drift = drift

    def listed(self, incoming: Incoming) -> JsonObject:
        """The result of `tools/list`. Raises `RpcError`."""
        scene = self._gate.scene
        principals = scene.directory.principals(caller_of(incoming.acting, scene))
        tools = []
        for full, tool in sorted(self._gate.registry.offered.tools.items()):
            if tool.pin is None or incoming.upstream not in {None, tool.upstream} or self._drift.find(full) is not None:
                continue
            if all(scene.engine.could_permit(tool.spec, principal) for principal in principals):
                tools.append(tool.pin.definition | ({"name": full} if incoming.upstream is None else {}))
        return {"tools": tools}
