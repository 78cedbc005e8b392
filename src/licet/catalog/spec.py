"""What the catalog knows: tools, resource types, and the catalog itself with its snapshots.

Rules:

1. A name means one definition. The same definition twice is one; another definition under a known name is refused, unless the operator says
   in `merge` which one wins.
2. `ToolSpec.definition` is the SHA-256 of everything a decision or an approver relies on. A spec whose stated definition is not that of its
   content does not exist.
3. A snapshot is canonical JSON: equal catalogs have equal bytes, in any process.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import force_setattr

from licet.catalog import strict
from licet.catalog.names import check_resource_type, check_tool_name
from licet.catalog.schema import checked
from licet.catalog.secret_paths import hides, parse, secrets_of, written
from licet.catalog.templates import TargetTemplate, expand_all
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import Access, EntityRef, JsonObject, Touch

SNAPSHOT_VERSION = 1
SNAPSHOT_LIMIT_BYTES = 64 * 1024 * 1024
DEFINITION_LIMIT_BYTES = 4 * 1024 * 1024
DESCRIPTION_LIMIT = 65_536
TenantSource = Literal["resolver", "caller"]
RESERVED_ATTRIBUTES = frozenset({"tenant", "environment"})
"""Every target has these; they are not attributes."""


class ToolSpec(Struct, frozen=True, kw_only=True):
    """One tool: what it is called, what it can harm, which arguments it takes and which targets they name.

    `timeout_s` is in seconds. `keep_result` None means the default: the results of writes are kept, those of reads only as a salted digest
    and a size. `secrets` are the paths of arguments that no record may hold (see `secret_paths`): those given and those that the schema
    marks. `pinned` is the SHA-256 (hex) of the whole definition that an upstream gave, where the tool is one's. `definition` is computed
    (SHA-256, hex) over all the rest. Raises CatalogInvalid when it cannot be governed.
    """

    name: str
    access: Access
    input_schema: JsonObject
    touches: frozenset[Touch] = frozenset()
    description: str = ""
    targets: tuple[TargetTemplate, ...] = ()
    timeout_s: float | None = None
    keep_result: bool | None = None
    secrets: tuple[str, ...] = ()
    pinned: str = ""
    definition: str = ""

    def __post_init__(self) -> None:
        check_tool_name(self.name)
        try:
            self._check_words()
            force_setattr(self, "input_schema", checked(self.input_schema))
            for template in self.targets:
                template.check(self.input_schema)
            force_setattr(self, "secrets", secrets_of(self.input_schema, self.secrets))
            self._check_targets()
        except CatalogInvalid as invalid:
            raise CatalogInvalid(f"tool `{self.name}`: {invalid}") from invalid
        definition = _digest(self.content())
        if self.definition not in {"", definition}:
            raise CatalogInvalid(f"tool `{self.name}`: the definition is not the one it claims to be")
        force_setattr(self, "definition", definition)

    def __hash__(self) -> int:
        return hash(self.definition)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolSpec) and self.definition == other.definition

    def expand(self, value: JsonObject) -> tuple[EntityRef, ...]:
        """The targets that these arguments name, each once, in order of the templates; none without a template. Raises ArgumentsRefused."""
        return expand_all(self.targets, value)

    def content(self) -> JsonObject:
        """The definition as JSON, without its digest. `pinned` stands in it only where there is one: other digests are what they were."""
        pinned = {"pinned": self.pinned} if self.pinned else {}
        return pinned | {
            "name": self.name,
            "access": self.access,
            "touches": sorted(self.touches),
            "description": self.description,
            "input_schema": self.input_schema,
            "targets": [str(template) for template in self.targets],
            "timeout_s": self.timeout_s,
            "keep_result": self.keep_result,
            "secrets": list(self.secrets),
        }

    def _check_targets(self) -> None:
        secrets = [parse(secret) for secret in self.secrets]
        for template in self.targets:
            hidden = hides(secrets, template.path) if template.constant is None else None
            if hidden is not None:
                raise CatalogInvalid(f"the target `{template}` would name the secret `{written(hidden)}` in policies and in the log")

    def _check_words(self) -> None:
        if self.access not in get_args(Access):
            raise CatalogInvalid(f"access `{self.access}` is none of {', '.join(get_args(Access))}")
        if isinstance(self.touches, str) or not set(self.touches) <= set(get_args(Touch)):
            raise CatalogInvalid(f"touches must be some of {', '.join(get_args(Touch))}")
        force_setattr(self, "touches", frozenset(self.touches))
        force_setattr(self, "targets", tuple(self.targets))
        if self.timeout_s is not None and not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise CatalogInvalid("timeout_s must be a positive number of seconds")
        if len(self.description) > DESCRIPTION_LIMIT:
            raise CatalogInvalid(f"the description is longer than {DESCRIPTION_LIMIT} characters")


class ResourceSpec(Struct, frozen=True, kw_only=True):
    """One type of target. `attributes` is the JSON Schema of its attributes, without tenant and environment.

    `tenant_from` says who knows the tenant of an id: a resolver, or nobody, in which case every id belongs to whoever asks (`caller`).
    """

    type: str
    attributes: JsonObject
    tenant_from: TenantSource = "resolver"
    definition: str = ""

    def __post_init__(self) -> None:
        check_resource_type(self.type)
        if self.tenant_from not in get_args(TenantSource):
            raise CatalogInvalid(f"resource `{self.type}`: the tenant comes from {' or '.join(get_args(TenantSource))}")
        try:
            force_setattr(self, "attributes", checked(self.attributes))
        except CatalogInvalid as invalid:
            raise CatalogInvalid(f"resource `{self.type}`: {invalid}") from invalid
        taken = sorted(RESERVED_ATTRIBUTES & set(self.attributes.get("properties", {})))
        if taken:
            raise CatalogInvalid(f"resource `{self.type}`: `{taken[0]}` is not an attribute, every target has it")
        definition = _digest(self.content())
        if self.definition not in {"", definition}:
            raise CatalogInvalid(f"resource `{self.type}`: the definition is not the one it claims to be")
        force_setattr(self, "definition", definition)

    def __hash__(self) -> int:
        return hash(self.definition)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSpec) and self.definition == other.definition

    def content(self) -> JsonObject:
        """The definition as JSON, without its digest."""
        return {"type": self.type, "attributes": self.attributes, "tenant_from": self.tenant_from}


class Catalog:
    """The tools and resource types that a process knows. Safe to use from many threads; what is in it never changes, it only grows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tools: dict[str, ToolSpec] = {}
        self._resources: dict[str, ResourceSpec] = {}
        self._snapshot: bytes | None = None

    def add_tool(self, spec: ToolSpec) -> None:
        """Make a tool known. The same definition again changes nothing. Raises CatalogInvalid if the name has another one."""
        with self._lock:
            known = self._tools.get(spec.name)
            if known is not None and known.definition != spec.definition:
                raise CatalogInvalid(f"the tool `{spec.name}` is already in the catalog with another definition")
            # A new dict, so that a mapping handed out before stays as it was.
            self._tools = {**self._tools, spec.name: spec}
            self._snapshot = None

    def replace_tool(self, spec: ToolSpec) -> None:
        """Put another definition in the place of one that did not say what the tool takes."""
        with self._lock:
            self._tools = {**self._tools, spec.name: spec}
            self._snapshot = None

    def without(self, names: Container[str]) -> Catalog:
        """A new catalog with everything but the tools of these names."""
        found = Catalog()
        found._tools = {name: spec for name, spec in self._tools.items() if name not in names}
        found._resources = dict(self._resources)
        return found

    def add_resource(self, spec: ResourceSpec) -> None:
        """Make a resource type known. The same definition again changes nothing. Raises CatalogInvalid if the type has another one."""
        with self._lock:
            known = self._resources.get(spec.type)
            if known is not None and known.definition != spec.definition:
                raise CatalogInvalid(f"the resource `{spec.type}` is already in the catalog with another definition")
            self._resources = {**self._resources, spec.type: spec}
            self._snapshot = None

    def find_tool(self, name: str) -> ToolSpec | None:
        """The tool of this name."""
        return self._tools.get(name)

    def find_resource(self, name: str) -> ResourceSpec | None:
        """The resource type of this name."""
        return self._resources.get(name)

    @property
    def tools(self) -> Mapping[str, ToolSpec]:
        """The tools by name, as they are now; later additions do not show in it."""
        return MappingProxyType(self._tools)

    @property
    def resources(self) -> Mapping[str, ResourceSpec]:
        """The resource types by name, as they are now; later additions do not show in it."""
        return MappingProxyType(self._resources)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the snapshot."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def undeclared_types(self) -> Mapping[str, tuple[str, ...]]:
        """Resource types that tools act on and nobody declared, with the names of those tools: their calls cannot be resolved."""
        missing: dict[str, list[str]] = {}
        for name, spec in sorted(self._tools.items()):
            for type_name in sorted({template.type for template in spec.targets} - set(self._resources)):
                missing.setdefault(type_name, []).append(name)
        return {type_name: tuple(names) for type_name, names in missing.items()}

    def snapshot(self) -> bytes:
        """The whole catalog as canonical JSON; equal catalogs give equal bytes."""
        with self._lock:
            if self._snapshot is None:
                content = {
                    "v": SNAPSHOT_VERSION,
                    "tools": [spec.content() for _, spec in sorted(self._tools.items())],
                    "resources": [spec.content() for _, spec in sorted(self._resources.items())],
                }
                self._snapshot = strict.encode(strict.copied(content, limit_bytes=SNAPSHOT_LIMIT_BYTES, limit_values=SNAPSHOT_LIMIT_BYTES))
            return self._snapshot

    @classmethod
    def from_snapshot(cls, unverified: bytes) -> Catalog:
        """Read a snapshot back, checking every definition afresh. Raises CatalogInvalid."""
        catalog = cls()
        try:
            content = strict.parse(unverified, limit_bytes=SNAPSHOT_LIMIT_BYTES, limit_values=SNAPSHOT_LIMIT_BYTES)
            if content["v"] != SNAPSHOT_VERSION:
                raise CatalogInvalid(f"the catalog snapshot has the unknown version `{content['v']}`")
            for tool in content["tools"]:
                catalog.add_tool(tool_from_content(tool))
            for resource in content["resources"]:
                catalog.add_resource(ResourceSpec(**resource))
        except (ArgumentsRefused, KeyError, TypeError, AttributeError) as error:
            raise CatalogInvalid(f"the catalog snapshot cannot be read: {error}") from error
        return catalog

    def merge(self, other: Catalog, *, prefer: Literal["mine", "theirs"] | None = None) -> Catalog:
        """A new catalog with what both know.

        Equal definitions are one. Where definitions differ, `prefer` says which one wins; without it, CatalogInvalid names all of them.
        """
        merged = Catalog()
        tools, tool_conflicts = _merged(self._tools, other.tools, prefer)
        resources, resource_conflicts = _merged(self._resources, other.resources, prefer)
        conflicts = tool_conflicts + resource_conflicts
        if conflicts:
            raise CatalogInvalid(f"defined differently by two processes: {', '.join(f'`{name}`' for name in conflicts)}")
        merged._tools, merged._resources = tools, resources
        return merged


def tool_from_content(content: JsonObject) -> ToolSpec:
    """A spec from what `ToolSpec.content` gave. Raises CatalogInvalid, TypeError or KeyError."""
    return ToolSpec(
        **{
            **content,
            "touches": frozenset(content["touches"]),
            "targets": tuple(TargetTemplate.parse(text) for text in content["targets"]),
            "secrets": tuple(content.get("secrets", ())),
        },
    )


def _merged(mine: Mapping[str, Any], theirs: Mapping[str, Any], prefer: str | None) -> tuple[dict[str, Any], list[str]]:
    shared = sorted(name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name])
    winner, loser = (theirs, mine) if prefer == "theirs" else (mine, theirs)
    return {**loser, **winner}, [] if prefer else shared


def _digest(content: JsonObject) -> str:
    try:
        copy = strict.copied(content, limit_bytes=DEFINITION_LIMIT_BYTES, limit_values=DEFINITION_LIMIT_BYTES)
        return hashlib.sha256(strict.encode(copy)).hexdigest()
    except ArgumentsRefused as refused:
        raise CatalogInvalid(f"`{content.get('name') or content.get('type')}` cannot be defined so: {refused}") from refused
