"""The vocabulary of policies: the Cedar schema that a catalog makes.

Rules:

1. Principals are `User in [Role, Group]`, `Agent in [Role]` and `Service in [Role]`, each with `tenant`. Targets have `tenant`,
   `environment` and their declared attributes. A `Tenant` is a target like any other; its `tenant` is itself.
2. Every tool is an action in the group of its access and of each thing it touches; `destructive` is in `write`.
3. A group without tools gets one reserved member, so that policies about it can be checked like others. Its name begins with `touches-`,
   which no tool may: it can never be called. A group with tools has none, because policies would have to fit a tool that does not exist.
4. `context` is what `CONTEXT` says plus the tool's input, so that two tools differ in `input` only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, get_args

import msgspec
from msgspec import Struct

from licet.catalog.spec import Catalog, ToolSpec
from licet.model import JsonObject, PrincipalKind, Touch
from licet.policy.shape import DatetimeShape, EntityShape, Field, RecordShape, Scalar, SetShape
from licet.policy.views import Path, view_of

PRINCIPALS: tuple[PrincipalKind, ...] = get_args(PrincipalKind)
TENANT = "Tenant"
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"read": (), "write": (), "destructive": ("write",), **{f"touches-{touch}": () for touch in get_args(Touch)}}
)
"""The action groups with the groups they are in."""
RESERVED = "touches-nothing-"
"""How the names of reserved members begin; the group's name follows."""
_STRING, _LONG = Scalar("String"), Scalar("Long")
_BASE = {"tenant": Field(EntityShape(TENANT), required=True), "environment": Field(_STRING, required=True)}
_TENANT_ONLY = RecordShape({"tenant": _BASE["tenant"]})
_MEMBER_OF: Mapping[str, list[str]] = {"User": ["Role", "Group"], "Agent": ["Role"], "Service": ["Role"]}
_LOCAL = RecordShape(
    {name: Field(shape, required=True) for name, shape in (("weekday", _LONG), ("hour", _LONG), ("minute", _LONG), ("date", _STRING))}
)


class Action(Struct, frozen=True):
    """A tool (or a reserved member) as policies see it: its groups, the types it acts on, its context and what of it they do not see."""

    name: str
    groups: frozenset[str]
    types: tuple[str, ...]
    context: RecordShape
    left_out: dict[Path, str]

    @property
    def parents(self) -> frozenset[str]:
        """Every group it is in, directly or not."""
        return self.groups | {above for group in self.groups for above in GROUPS[group]}


class Vocabulary:
    """Everything that a policy can speak of. `content` is the Cedar schema (JSON bytes)."""

    def __init__(self, catalog: Catalog, meters: Iterable[str] = ()) -> None:
        meter_shape = RecordShape({name: Field(_LONG, required=True) for name in sorted(meters)})
        self.types: Final[dict[str, RecordShape]] = {TENANT: RecordShape(_BASE)}
        self.type_left_out: Final[dict[str, dict[Path, str]]] = {}
        for name, resource in sorted(catalog.resources.items()):
            view = view_of(resource.attributes, defaults_filled=False)
            self.types[name] = RecordShape({**view.shape.fields, **_BASE})
            self.type_left_out[name] = view.left_out
        self.tools: Final[dict[str, Action]] = {name: _action(tool, meter_shape) for name, tool in sorted(catalog.tools.items())}
        for action in self.tools.values():
            for name in action.types:
                self.types.setdefault(name, RecordShape(_BASE))
        used = {name for action in self.tools.values() for name in action.types} or {TENANT}
        filled = {group for action in self.tools.values() for group in action.parents}
        self.reserved: Final[dict[str, Action]] = {
            f"{RESERVED}{group}": Action(
                f"{RESERVED}{group}", frozenset({group}), tuple(sorted(used)), context_shape(RecordShape({}), meter_shape), {}
            )
            for group in GROUPS
            if group not in filled
        }
        self.actions: Final[dict[str, Action]] = {**self.tools, **self.reserved}
        self.content: Final = msgspec.json.encode(cedar_schema(self.actions.values(), self.types), order="sorted")

    def attributes_of(self, entity_type: str) -> RecordShape:
        """The attributes of an entity type; roles and groups have none."""
        return self.types.get(entity_type) or (_TENANT_ONLY if entity_type in PRINCIPALS else RecordShape({}))


def context_shape(tool_input: RecordShape, meters: RecordShape) -> RecordShape:
    """What `context` holds. The last three are the caller's other links: a user sees `agent` or `service`, those see `on_behalf_of`."""
    session = RecordShape({"labels": Field(SetShape(_STRING), required=True), "calls": Field(_LONG, required=True)})
    return RecordShape(
        {
            "environment": Field(_STRING, required=True),
            "now": Field(DatetimeShape(), required=True),
            "local": Field(_LOCAL, required=True),
            "input": Field(tool_input, required=True),
            "session": Field(session, required=True),
            "meters": Field(meters, required=True),
            "agent": Field(EntityShape("Agent"), required=False),
            "service": Field(EntityShape("Service"), required=False),
            "on_behalf_of": Field(EntityShape("User"), required=False),
        }
    )


def cedar_schema(actions: Iterable[Action], types: Mapping[str, RecordShape], groups: Collection[str] = GROUPS) -> JsonObject:
    """The Cedar schema (JSON form) of these actions, target types and action groups, with every principal type."""
    entities: JsonObject = {"Role": {}, "Group": {}}
    for kind in PRINCIPALS:
        entities[kind] = {"memberOfTypes": _MEMBER_OF[kind], "shape": _TENANT_ONLY.cedar()}
    entities.update({name: {"shape": shape.cedar()} for name, shape in types.items()})
    declared: JsonObject = {group: {"memberOf": _members(above)} for group, above in GROUPS.items() if group in groups}
    for action in actions:
        applies = {"principalTypes": list(PRINCIPALS), "resourceTypes": list(action.types), "context": action.context.cedar()}
        declared[action.name] = {"memberOf": _members(sorted(action.groups)), "appliesTo": applies}
    return {"": {"entityTypes": entities, "actions": declared}}


def _members(groups: Iterable[str]) -> list[JsonObject]:
    return [{"id": group} for group in groups]


def _action(tool: ToolSpec, meters: RecordShape) -> Action:
    view = view_of(tool.input_schema, defaults_filled=True)
    groups = frozenset({tool.access, *(f"touches-{touch}" for touch in tool.touches)})
    types = tuple(sorted({template.type for template in tool.targets} or {TENANT}))
    return Action(tool.name, groups, types, context_shape(view.shape, meters), view.left_out)
