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

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from licet.catalog.declared import ToolSettings, tool_from_settings
from licet.catalog.dialects import modernised
from licet.catalog.pins import Lock, Pin
from licet.catalog.spec import ToolSpec
from licet.errors import CatalogInvalid
from licet.model import JsonObject

CALL: Final = "tools/call"
_ANY: Final[JsonObject] = {"type": "object"}
METHODS: Final[Mapping[str, JsonObject]] = {
    "resources/read": {
        "type": "object",
        "properties": {"uri": {"type": "string", "minLength": 1, "maxLength": 8_192}},
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

    `pin` is None for a method that is not `tools/call`.
    """

    spec: ToolSpec
    upstream: str
    method: str
    name: str
    pin: Pin | None = None


class Offered(Struct, frozen=True):
    """All that the upstreams offer. `unclassified` are names of the catalog that are pinned, and that no table classifies.

    `previews` say what calls would change, each under its own name of the catalog (`crm__set.preview`).
    """

    tools: Mapping[str, UpstreamTool]
    unclassified: frozenset[str]
    previews: Mapping[str, UpstreamTool] = MappingProxyType({})

    def find(self, name: str) -> UpstreamTool | None:
        """The tool or the preview of this name of the catalog."""
        return self.tools.get(name) or self.previews.get(name)


def tool_name(upstream: str, name: str) -> str:
    """The catalog's name of an upstream's tool."""
    return f"{upstream}__{name}"


def method_name(upstream: str, method: str) -> str:
    """The catalog's name of an upstream's method."""
    return f"{upstream}.{method.replace('/', '.')}"


def is_of_upstream(name: str, upstream: str) -> bool:
    """Whether this is a name that only an upstream's tool or method may have."""
    return name.startswith((f"{upstream}__", f"{upstream}."))


def offered(upstreams: Mapping[str, float], lock: Lock, tables: Mapping[str, ToolSettings], *, folder: Path) -> Offered:
    """What these upstreams offer, each with the seconds that a call of it may take. Raises `CatalogInvalid`."""
    tools: dict[str, UpstreamTool] = {}
    unclassified: set[str] = set()
    for upstream, timeout_s in upstreams.items():
        for name, pin in lock.of(upstream).items():
            full = tool_name(upstream, name)
            if full not in tables:
                unclassified.add(full)
                continue
            tools[full] = UpstreamTool(
                spec=_pinned_spec(full, pin, tables[full], timeout_s, folder), upstream=upstream, method=CALL, name=name, pin=pin
            )
        for full, method, schema, table in _methods(upstream, tables):
            spec = tool_from_settings(full, replace(table, schema=schema, timeout_s=table.timeout_s or timeout_s), folder=folder)
            tools[full] = UpstreamTool(spec=spec, upstream=upstream, method=method, name=method)
        _refuse_unpinned(upstream, tables, tools)
    return Offered(tools, frozenset(unclassified))


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
