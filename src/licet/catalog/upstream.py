"""What an upstream offers, as tools of the catalog.

Names: the tool `get` of the upstream `crm` is `crm__get`; the method `resources/read` of it is `crm.resources.read`. An upstream's name has
neither `_` nor `.`, so no two of them meet.

Rules:

1. Access and touches come from `[tools."crm__get"]` in licet.toml. An upstream's annotations are its own opinion, and are never read here.
2. What is pinned and not classified is in no catalog: it is denied, and the denial says what is missing.
3. The schema is the pinned one, read as JSON Schema 2020-12 and closed (`dialects.py`); a table that gives another is refused.
4. Reading resources, getting prompts and completing arguments are reads, unless a table says more. Any other method is carried only where
   a table classifies it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from licet.catalog.declared import ToolSettings, tool_from_settings
from licet.catalog.dialects import modernised
from licet.catalog.effects_map import EffectMap, effect_maps
from licet.catalog.pins import Lock, Pin
from licet.catalog.spec import ToolSpec
from licet.errors import CatalogInvalid
from licet.model import JsonObject
from licet.names import quoted

CALL: Final = "tools/call"
PREVIEW: Final = ".preview"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ANY: Final[JsonObject] = {"type": "object"}
METHODS: Final[Mapping[str, JsonObject]] = {
    "resources/read": {
        "type": "object",
        "properties": {"uri": {"type": "string", "minLength": 1, "maxLength": 8_192, "format": "resolved-uri"}},
        "required": ["uri"],
    },
    "prompts/get": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "arguments": {"type": "object", "additionalProperties": {"type": "string"}}},
        "required": ["name"],
    },
    "completion/complete": {
        "type": "object",
        "properties": {
            "ref": {"type": "object"},
            "argument": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
                "required": ["name", "value"],
            },
            "context": {"type": "object"},
        },
        "required": ["ref", "argument"],
    },
}
"""Methods that every upstream may have, with the schema of their parameters (without `_meta`)."""
EXTRA: Final = "licet_extra"
"""The argument under which parameters of `tools/call` travel that no revision of the protocol known here has: they are recorded, and an
approval binds them, as it does every argument."""


class UpstreamTool(Struct, frozen=True, kw_only=True):
    """A tool of the catalog that an upstream executes: by which `method`, under which of its own names, as it was accepted.

    `pin` is None for a method that is not `tools/call`. `effects` are how its result tells of changes, `preview_argument` is the one with
    which it makes none.
    """

    spec: ToolSpec
    upstream: str
    method: str
    name: str
    pin: Pin | None = None
    effects: tuple[EffectMap, ...] = ()
    preview_argument: str | None = None


class UpstreamPreview(Struct, frozen=True, kw_only=True):
    """What tells what a call would change: a tool of the upstream, with the spec of the preview, called with the arguments of the call.

    `takes` is what that tool itself takes, `argument` the one that is set so that nothing is changed.
    """

    tool: UpstreamTool
    takes: ToolSpec
    argument: str | None = None


class Offered(Struct, frozen=True):
    """All that the upstreams offer. `unclassified` are names of the catalog that are pinned, and that no table classifies.

    `previews` say what calls would change, by the names of the catalog of the tools that they are of.
    """

    tools: Mapping[str, UpstreamTool]
    unclassified: frozenset[str]
    previews: Mapping[str, UpstreamPreview] = MappingProxyType({})

    def find(self, name: str) -> UpstreamTool | None:
        """The tool or the preview of this name of the catalog."""
        preview = self.previews.get(name.removesuffix(PREVIEW)) if name.endswith(PREVIEW) else None
        return self.tools.get(name) if preview is None else preview.tool

    def pins_of(self, upstream: str) -> Mapping[str, str]:
        """The SHA-256 (hex) of what is pinned of one upstream, by the catalog's names."""
        return {name: tool.pin.sha256 for name, tool in self.tools.items() if tool.upstream == upstream and tool.pin is not None}


def tool_name(upstream: str, name: str) -> str:
    """The catalog's name of an upstream's tool."""
    return f"{upstream}__{name}"


def method_name(upstream: str, method: str) -> str:
    """The catalog's name of an upstream's method."""
    return f"{upstream}.{method.replace('/', '.')}"


def table_of(full: str) -> str:
    """The head of a tool's table in licet.toml."""
    return f"[tools.{full}]" if _BARE_KEY.fullmatch(full) else f'[tools."{full}"]'


def is_of_upstream(name: str, upstream: str) -> bool:
    """Whether this is a name that only an upstream's tool or method may have."""
    return name.startswith((f"{upstream}__", f"{upstream}."))


def offered(upstreams: Mapping[str, float], lock: Lock, tables: Mapping[str, ToolSettings], *, folder: Path) -> Offered:
    """What these upstreams offer, each with the seconds that a call of it may take. Raises `CatalogInvalid`."""
    tools: dict[str, UpstreamTool] = {}
    previews: dict[str, UpstreamPreview] = {}
    unclassified: set[str] = set()
    for upstream, timeout_s in upstreams.items():
        for name, pin in lock.of(upstream).items():
            full = tool_name(upstream, name)
            if full not in tables:
                unclassified.add(full)
                continue
            tools[full] = _pinned_tool(upstream, name, pin, tables[full], timeout_s=timeout_s, folder=folder)
        for full, method, schema, table in _methods(upstream, tables):
            spec = tool_from_settings(full, replace(table, schema=schema, timeout_s=table.timeout_s or timeout_s), folder=folder)
            tools[full] = UpstreamTool(spec=spec, upstream=upstream, method=method, name=method)
        _refuse_unpinned(upstream, tables, tools)
        previews |= _previews(upstream, lock, tables, tools)
    return Offered(tools, frozenset(unclassified), previews)


def _pinned_tool(upstream: str, name: str, pin: Pin, table: ToolSettings, *, timeout_s: float, folder: Path) -> UpstreamTool:
    full = tool_name(upstream, name)
    spec = _pinned_spec(full, pin, table, timeout_s, folder)
    try:
        effects = effect_maps(table.effects, spec.input_schema)
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"tool `{full}`: {invalid}") from invalid
    return UpstreamTool(
        spec=spec, upstream=upstream, method=CALL, name=name, pin=pin, effects=effects, preview_argument=table.preview_argument
    )


def _previews(
    upstream: str, lock: Lock, tables: Mapping[str, ToolSettings], tools: Mapping[str, UpstreamTool]
) -> dict[str, UpstreamPreview]:
    found = {}
    for full, tool in tools.items():
        table = tables.get(full)
        if tool.upstream != upstream or table is None or not (table.preview or table.preview_argument):
            continue
        try:
            found[full] = _preview(tool, table, lock, tables)
        except CatalogInvalid as invalid:
            raise CatalogInvalid(f"tool `{full}`: {invalid}") from invalid
    return found


def _preview(tool: UpstreamTool, table: ToolSettings, lock: Lock, tables: Mapping[str, ToolSettings]) -> UpstreamPreview:
    if not tool.effects:
        raise CatalogInvalid("a preview needs `effects`, by which its result is read")
    if table.preview is None:
        argument = _dry_run(tool, table)
        return UpstreamPreview(tool=_previewing(tool, tool.name, tool.pin), takes=tool.spec, argument=argument)
    if table.preview_argument is not None:
        raise CatalogInvalid("give `preview` or `preview_argument`, and not both")
    name = table.preview.removeprefix(tool_name(tool.upstream, ""))
    pin = lock.of(tool.upstream).get(name)
    if pin is None or table.preview != tool_name(tool.upstream, name):
        raise CatalogInvalid(f"its preview {quoted(table.preview)} is no tool of `{tool.upstream}` that was accepted")
    if table.preview in tables and tables[table.preview].access != "read":
        raise CatalogInvalid(f"its preview `{table.preview}` changes something by its own table")
    takes = _pinned_spec(table.preview, pin, ToolSettings(access="read"), tool.spec.timeout_s or 0, Path())
    theirs, ours = (set(spec.input_schema["properties"]) for spec in (takes, tool.spec))
    if theirs != ours:
        odd = min(theirs ^ ours)
        raise CatalogInvalid(f"its preview `{table.preview}` must take the same arguments, and {quoted(odd)} is of one of them alone")
    return UpstreamPreview(tool=_previewing(tool, name, pin), takes=takes)


def _dry_run(tool: UpstreamTool, table: ToolSettings) -> str:
    """The argument by which the tool changes nothing; that it does so nobody but its author knows, so somebody must answer for it."""
    argument = table.preview_argument
    assert argument is not None
    if not table.dry_run_trusted:
        problem = f"an upstream that ignores `{argument}` would do what it is to show: `dry_run_trusted = true` says that you answer for it"
        raise CatalogInvalid(problem)
    if tool.spec.input_schema["properties"].get(argument, {}).get("type") != "boolean":
        raise CatalogInvalid(f"{quoted(argument)} is no argument of it that is true or false")
    return argument


def _previewing(tool: UpstreamTool, name: str, pin: Pin | None) -> UpstreamTool:
    """The upstream's tool as the preview of this one: a read under the name of the preview."""
    spec = ToolSpec(
        name=f"{tool.spec.name}{PREVIEW}",
        access="read",
        description=f"What `{tool.spec.name}` would change.",
        input_schema=tool.spec.input_schema,
        targets=tool.spec.targets,
        timeout_s=tool.spec.timeout_s,
        keep_result=True,
        secrets=tool.spec.secrets,
        pinned="" if pin is None else pin.sha256,
    )
    return replace(tool, spec=spec, name=name, pin=pin)


def _pinned_spec(full: str, pin: Pin, table: ToolSettings, timeout_s: float, folder: Path) -> ToolSpec:
    if table.input is not None or table.schema is not None or table.schema_file is not None:
        raise CatalogInvalid(f"tool `{full}`: its schema is the pinned one, so the table can give no other")
    schema = _with_extra(full, pin.definition.get("inputSchema"))
    described = table.description or pin.definition.get("description") or ""
    written = replace(table, schema=schema, description=str(described), timeout_s=table.timeout_s or timeout_s)
    return tool_from_settings(full, written, folder=folder, pinned=pin.sha256)


def _with_extra(full: str, schema: object) -> JsonObject:
    """The pinned schema, and room for what `EXTRA` says."""
    properties = schema.get("properties", {}) if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        raise CatalogInvalid(f"tool `{full}`: the pinned definition has no schema of an object")
    if EXTRA in properties:
        raise CatalogInvalid(f"tool `{full}`: the argument `{EXTRA}` is reserved")
    try:
        closed = modernised(schema)
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"tool `{full}`: {invalid}") from invalid
    return {**closed, "properties": {**closed.get("properties", {}), EXTRA: {"type": "object"}}}


def _methods(upstream: str, tables: Mapping[str, ToolSettings]) -> list[tuple[str, str, JsonObject, ToolSettings]]:
    """Those that every upstream has, and those that a table classifies."""
    found = [
        (full := method_name(upstream, method), method, schema, tables.get(full, ToolSettings(access="read")))
        for method, schema in METHODS.items()
    ]
    known = {full for full, *_ in found}
    for full, table in tables.items():
        if full.startswith(f"{upstream}.") and full not in known:
            method = full.removeprefix(f"{upstream}.").replace(".", "/")
            found.append((full, method, table.schema or _ANY, table))
    return found


def _refuse_unpinned(upstream: str, tables: Mapping[str, ToolSettings], tools: Mapping[str, UpstreamTool]) -> None:
    for full in tables:
        if is_of_upstream(full, upstream) and full not in tools:
            step = f"look at what the upstream offers, and run `licet catalog accept {upstream}`"
            raise CatalogInvalid(f"tool `{full}`: `licet.lock` has no definition of it; {step}")
