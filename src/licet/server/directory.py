"""What there is, over HTTP: the directory, as far as whoever asks may know of it, and the catalog of tools.

Of the directory only what is of the tenants in which this one may read it is shown: names of other tenants stand nowhere in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from licet.identity.content import EVERY_TENANT, Agent, Group, Service, User
from licet.model import OPERATOR_LOG, Access, JsonObject
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.problems import not_found
from licet.server.shapes_records import Name

_E = TypeVar("_E", Agent, Service, User)


class ReadDirectory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which tenant."""

    tenant: Name | None = None


class DirectoryShape(Struct, frozen=True, kw_only=True):
    """Who there is. `version` names the whole directory; None where not all of it is shown."""

    version: str | None
    tenants: tuple[str, ...]
    agents: dict[str, Agent]
    services: dict[str, Service]
    users: dict[str, User]
    groups: dict[str, Group]
    roles: tuple[str, ...]


class ToolShape(Struct, frozen=True, kw_only=True):
    """A tool as it can be called. `definition` is the digest that decisions and records name."""

    name: str
    access: Access
    touches: tuple[str, ...]
    description: str
    input_schema: JsonObject
    targets: tuple[str, ...]
    timeout_s: float | None
    definition: str


class Tools(Struct, frozen=True, kw_only=True):
    """Every tool, by name."""

    catalog: str
    tools: tuple[ToolShape, ...]


class OneTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool."""

    name: Name


def read_directory(asked: Asked) -> Answer:
    """The directory of these tenants."""
    chosen = asked.chosen("directory.read", asked.params.tenant)
    tenants = tuple(name for name in chosen if name != OPERATOR_LOG)
    directory = asked.directory
    whole = {*directory.tenants, OPERATOR_LOG} <= set(chosen)
    users = _of(directory.users, tenants)
    agents, services = _of(directory.agents, tenants), _of(directory.services, tenants)
    agents = {name: agent if agent.owner in users else replace(agent, owner=None) for name, agent in agents.items()}
    given = [entry.roles for entry in users.values()] + [entry.roles for entry in agents.values()]
    given += [entry.roles for entry in services.values()]
    roles = {role for names in given for role in names}
    groups = {
        name: replace(group, members=tuple(member for member in group.members if member in users))
        for name, group in directory.groups.items()
        if whole or any(member in users for member in group.members)
    }
    body = DirectoryShape(
        version=directory.version if whole else None,
        tenants=tenants,
        agents=agents,
        services=services,
        users=users,
        groups=groups,
        roles=tuple(sorted(directory.roles if whole else roles)),
    )
    return Answer(body=body)


def list_tools(asked: Asked) -> Answer:
    """Every tool that is known."""
    _may_read_catalog(asked)
    catalog = asked.gate.scene.catalog
    tools = tuple([_tool(asked, name) for name in sorted(catalog.tools)])
    return Answer(body=Tools(catalog=catalog.digest, tools=tools), etag=catalog.digest)


def get_tool(asked: Asked) -> Answer:
    """One tool, with the schema of its arguments."""
    _may_read_catalog(asked)
    if asked.params.name not in asked.gate.scene.catalog.tools:
        raise not_found()
    return Answer(body=_tool(asked, asked.params.name))


def _may_read_catalog(asked: Asked) -> None:
    if not asked.tenants("catalog.read"):
        raise not_permitted("catalog.read")


def _tool(asked: Asked, name: str) -> ToolShape:
    spec = asked.gate.scene.catalog.tools[name]
    return ToolShape(
        name=spec.name,
        access=spec.access,
        touches=tuple(sorted(spec.touches)),
        description=spec.description,
        input_schema=spec.input_schema,
        targets=tuple([str(template) for template in spec.targets]),
        timeout_s=spec.timeout_s,
        definition=spec.definition,
    )


def _of(entries: Mapping[str, _E], tenants: tuple[str, ...]) -> dict[str, _E]:
    """Those of these tenants, with no other tenant named."""
    found = {}
    for name, entry in entries.items():
        kept = tenants if EVERY_TENANT in entry.tenants else tuple(tenant for tenant in entry.tenants if tenant in tenants)
        if kept:
            found[name] = replace(entry, tenants=kept)
    return found


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/directory",
        operation="readDirectory",
        summary="Tenants, agents, services, people, groups and roles, as far as this credential may know of them",
        tag="directory",
        action="directory.read",
        handler=read_directory,
        params=ReadDirectory,
        returns=DirectoryShape,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tools",
        operation="listTools",
        summary="Every tool, with the schema of its arguments",
        tag="catalog",
        action="catalog.read",
        handler=list_tools,
        returns=Tools,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tools/{name}",
        operation="getTool",
        summary="One tool, with the schema of its arguments",
        tag="catalog",
        action="catalog.read",
        handler=get_tool,
        params=OneTool,
        returns=ToolShape,
    ),
)
