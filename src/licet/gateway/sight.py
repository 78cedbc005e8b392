"""What a caller may see of what upstreams offer, before anything is called.

Rules:

1. Who may never read anything of an upstream is not told what there is: the upstream is not even asked.
2. What a read would be denied is not shown. What people would have to approve is.
3. Seeing is no permission: every read is decided by itself.
"""

from __future__ import annotations

from licet.catalog.spec import ToolSpec
from licet.catalog.upstream import method_name
from licet.errors import CallerRefused
from licet.gate.acting import Acting
from licet.gate.checks import caller_of
from licet.gate.gate import Gate
from licet.model import JsonObject


class Sight:
    """Asks the gate, and records nothing: nothing has happened."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def may_ever(self, acting: Acting, upstream: str, method: str) -> bool:
        """Whether some permit could match this caller for this method of the upstream (rule 1)."""
        tool = self._gate.scene.catalog.find_tool(method_name(upstream, method))
        return tool is not None and self.could(acting, tool)

    def could(self, acting: Acting, tool: ToolSpec) -> bool:
        """Whether some permit could match this caller for this tool."""
        scene = self._gate.scene
        try:
            principals = scene.directory.principals(caller_of(acting, scene))
        except CallerRefused:
            return False
        return all(scene.engine.could_permit(tool, principal) for principal in principals)

    def uses(self, acting: Acting, upstream: str) -> bool:
        """Whether some permit could match this caller for anything of this upstream."""
        offered = self._gate.scene.offered.tools.values()
        return any(self.could(acting, tool.spec) for tool in offered if tool.upstream == upstream)

    def upstreams(self, acting: Acting, only: str | None, method: str) -> list[str]:
        """Of which upstreams this caller may ever read something, in the order of licet.toml; `only` this one, if it is named."""
        names = self._gate.settings.upstreams if only is None else (only,)
        return [name for name in names if self.may_ever(acting, name, method)]

    async def shows(self, acting: Acting, upstream: str, method: str, arguments: JsonObject) -> bool:
        """Whether this may be shown (rule 2)."""
        return await self._verdict(acting, upstream, method, arguments) != "deny"

    async def allows(self, acting: Acting, upstream: str, method: str, arguments: JsonObject) -> bool:
        """Whether this very call would run now."""
        return await self._verdict(acting, upstream, method, arguments) == "allow"

    async def _verdict(self, acting: Acting, upstream: str, method: str, arguments: JsonObject) -> str:
        return (await self._gate.acheck(method_name(upstream, method), arguments, acting=acting)).verdict
