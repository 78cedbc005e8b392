"""`tools/list`: the tools that a caller may ever call, as they were accepted.

Rules:

1. A definition is the pinned one, whole and as it was given. Only its name is that of the door, and where a call must say why it is made
   its schema has one argument more (`licet_reason`).
2. Listed is what is in the catalog, is not known to have drifted, and could be permitted to every principal of the caller: what the
   pipeline asks in its step 1, by the same code. Being listed is no permission.
3. The order is that of the names, and a cursor is the last name before it: a list that changes meanwhile repeats nothing.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections import OrderedDict
from typing import Any, Final

from msgspec import Struct

from licet.catalog.upstream import CALL, UpstreamTool
from licet.errors import CallerRefused
from licet.gate import checks
from licet.gate.acting import Acting
from licet.gate.gate import Gate
from licet.gate.scene import Scene
from licet.gateway.calling import REASON, REASON_LIMIT
from licet.gateway.drift import Drift
from licet.gateway.incoming import Incoming
from licet.gateway.messages import INVALID_PARAMS, NOT_PERMITTED, RpcError
from licet.model import Caller, JsonObject, Principal

PAGE_TOOLS: Final = 1_000
"""Many clients never ask for a second page, so that the first is as long as any server's that they meet."""
REMEMBERED: Final = 10_000
"""Callers whose list is remembered."""
_REASON_SCHEMA: Final[JsonObject] = {
    "type": "string",
    "minLength": 1,
    "maxLength": REASON_LIMIT,
    "description": "Why you make this call, in a sentence. It is recorded, and shown to whoever approves the call.",
}


class Hidden(Struct, frozen=True, kw_only=True):
    """A pinned tool that a caller is not shown, by which code a call of it would be denied, and why."""

    name: str
    code: str
    why: str


class _Listed(Struct, frozen=True):
    names: tuple[str, ...]
    definitions: tuple[JsonObject, ...]


class Toolbox:
    """What callers are shown. Used on one event loop."""

    def __init__(self, gate: Gate, drift: Drift) -> None:
        self._gate = gate
        self._drift = drift
        self._known: OrderedDict[tuple[Caller, str | None], _Listed] = OrderedDict()
        self._known_of: tuple[Scene | None, int] = (None, 0)

    def listed(self, incoming: Incoming) -> JsonObject:
        """The result of `tools/list`: a page, and the cursor of the next one where there is one. Raises `RpcError`."""
        found = self._listed(incoming.acting, incoming.upstream)
        start = bisect_right(found.names, _after(incoming.params.get("cursor")))
        end = start + PAGE_TOOLS
        page: JsonObject = {"tools": list(found.definitions[start:end])}
        return page | {"nextCursor": _cursor(found.names[end - 1])} if end < len(found.names) else page

    def hidden(self, acting: Acting, upstream: str | None = None) -> tuple[Hidden, ...]:
        """The pinned tools that are not listed for this caller, each with why: for whoever runs the gateway. Raises `CallerRefused`."""
        return hidden_from(self._gate.scene, acting, upstream)

    def _listed(self, acting: Acting, upstream: str | None) -> _Listed:
        scene = self._gate.scene
        now = (scene, self._drift.revision)
        if self._known_of[0] is not scene or self._known_of[1] != now[1]:
            self._known.clear()
            self._known_of = now
        try:
            caller = checks.caller_of(acting, scene)
            found = self._known.get((caller, upstream)) or _made(scene, caller, upstream)
        except CallerRefused as refused:
            raise RpcError(NOT_PERMITTED, f"denied ({refused.code}): {refused}", data={"code": refused.code}) from refused
        self._known[caller, upstream] = found
        self._known.move_to_end((caller, upstream))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


def hidden_from(scene: Scene, acting: Acting, upstream: str | None = None) -> tuple[Hidden, ...]:
    """The pinned tools that are not listed for this caller, each with why. Raises `CallerRefused`."""
    caller = checks.caller_of(acting, scene)
    principals = scene.directory.principals(caller)
    found = [
        Hidden(name=name, code="unclassified_tool", why=checks.unclassified_message(name))
        for name in scene.offered.unclassified
        if upstream is None or name.startswith(f"{upstream}__")
    ]
    for full, tool in _tools(scene, upstream):
        reason = _why_hidden(scene, full, tool, caller, principals)
        if reason is not None:
            found.append(reason)
    return tuple(sorted(found, key=lambda one: one.name))


def shown_to(scene: Scene, acting: Acting, upstream: str | None = None) -> tuple[str, ...]:
    """The catalog's names of the tools that are listed for this caller. Raises `CallerRefused`."""
    hidden = {one.name for one in hidden_from(scene, acting, upstream)}
    return tuple(sorted(full for full, _ in _tools(scene, upstream) if full not in hidden))


def _made(scene: Scene, caller: Caller, upstream: str | None) -> _Listed:
    principals = scene.directory.principals(caller)
    shown = {
        tool.name if upstream is not None else full: _definition(scene, tool, full if upstream is None else tool.name)
        for full, tool in _tools(scene, upstream)
        if _why_hidden(scene, full, tool, caller, principals) is None
    }
    names = tuple(sorted(shown))
    return _Listed(names, tuple([shown[name] for name in names]))


def _tools(scene: Scene, upstream: str | None) -> list[tuple[str, UpstreamTool]]:
    """The classified tools of these upstreams; methods are no tools."""
    return [(full, tool) for full, tool in scene.offered.tools.items() if tool.method == CALL and upstream in {None, tool.upstream}]


def _why_hidden(scene: Scene, full: str, tool: UpstreamTool, caller: Caller, principals: tuple[Principal, ...]) -> Hidden | None:
    drift = checks.find_drift(scene, full)
    if drift is not None:
        return Hidden(name=full, code="definition_drift", why=drift)
    excluded = checks.find_excluded(scene, tool.spec, caller, principals)
    if excluded is not None:
        return Hidden(name=full, code="no_permit", why=checks.no_permit_message(tool.spec, excluded))
    return None


def _definition(scene: Scene, tool: UpstreamTool, name: str) -> JsonObject:
    """Rule 1."""
    assert tool.pin is not None
    definition: JsonObject = tool.pin.definition | {"name": name}
    if checks.needs_reason(scene, tool.spec) and REASON not in tool.spec.input_schema.get("properties", {}):
        definition["inputSchema"] = _with_reason(definition["inputSchema"])
    return definition


def _with_reason(schema: JsonObject) -> JsonObject:
    required = schema.get("required")
    properties = {**schema.get("properties", {}), REASON: _REASON_SCHEMA}
    return schema | {"properties": properties, "required": [*(required if isinstance(required, list) else []), REASON]}


def _cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _after(cursor: Any) -> str:
    if cursor is None:
        return ""
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (ValueError, TypeError) as error:
        raise RpcError(INVALID_PARAMS, "`cursor` is none that this list gave") from error
