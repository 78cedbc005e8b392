"""What a directory says, as a value: its entries, what may contradict what, and what is left of it when something is removed.

The canonical JSON of a `DirectoryContent` is what is hashed, stored and read back when a decision is replayed. Its fields are append-only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from licet.config import AgentSettings, ServiceSettings, Settings, UserSettings
from licet.model import OPERATOR_LOG
from licet.names import look, name_problem, quoted

ActsFor = Literal["user", "self", "both"]
Scope = Literal["tenant", "operator"]

EVERY_TENANT = "*"


class Agent(Struct, frozen=True, kw_only=True):
    """A program that a model drives. `owner` is the user who answers for it."""

    tenants: tuple[str, ...]
    roles: tuple[str, ...] = ()
    acts_for: ActsFor = "user"
    owner: str | None = None


class Service(Struct, frozen=True, kw_only=True):
    """A program that no model drives; it acts for itself or for a user."""

    tenants: tuple[str, ...]
    roles: tuple[str, ...] = ()


class User(Struct, frozen=True, kw_only=True):
    """A person's id. Ids with the same `person` are one person."""

    tenants: tuple[str, ...]
    roles: tuple[str, ...] = ()
    person: str
    disabled: bool = False


class Group(Struct, frozen=True, kw_only=True):
    """People who may approve, named by policies. Scope `operator`: on requests of every tenant."""

    members: tuple[str, ...]
    scope: Scope = "tenant"


class DirectoryContent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a directory says. Lists are sorted, so that equal directories have equal bytes."""

    v: Literal[1] = 1
    tenants: tuple[str, ...]
    agents: dict[str, Agent]
    services: dict[str, Service]
    users: dict[str, User]
    groups: dict[str, Group]
    roles: tuple[str, ...]
    cross_tenant: tuple[tuple[str, str], ...]


def content_of(settings: Settings) -> DirectoryContent:
    """What a licet.toml says of people and programs."""
    actors: tuple[AgentSettings | ServiceSettings | UserSettings, ...]
    actors = (*settings.agents.values(), *settings.services.values(), *settings.users.values())
    return DirectoryContent(
        tenants=_ordered(settings.tenants),
        agents={
            name: Agent(tenants=_ordered(agent.tenants), roles=_ordered(agent.roles), acts_for=agent.acts_for, owner=agent.owner)
            for name, agent in settings.agents.items()
        },
        services={name: Service(tenants=_ordered(entry.tenants), roles=_ordered(entry.roles)) for name, entry in settings.services.items()},
        users={
            name: User(tenants=_ordered(user.tenants), roles=_ordered(user.roles), person=user.person or name, disabled=user.disabled)
            for name, user in settings.users.items()
        },
        groups={name: Group(members=_ordered(group.members), scope=group.scope) for name, group in settings.groups.items()},
        roles=_ordered({*settings.roles, *(role for actor in actors for role in actor.roles)}),
        cross_tenant=tuple(sorted(set(settings.cross_tenant))),
    )


def problems_of(content: DirectoryContent) -> Iterator[str]:
    """Everything that is wrong in a directory, one sentence each."""
    yield from _bad_names(content)
    yield from _bad_tenants(content)
    yield from _unknown_users(content)
    for caller, target in content.cross_tenant:
        for tenant in {caller, target} - {*content.tenants}:
            yield f"`cross_tenant` names the unknown tenant {quoted(tenant)}"
        if caller == target:
            yield f"`cross_tenant` pairs the tenant {quoted(caller)} with itself"


def without_removed(old: DirectoryContent, new: DirectoryContent) -> DirectoryContent:
    """`old` less everything that `new` does not have. An entry that was changed in a way that is neither more nor less is shut out.

    Names stay, since policies name them: what is gone keeps its name and has no tenant, no role and no member.
    """
    tenants = _both(old.tenants, new.tenants)
    users = {name: _less_user(user, new.users.get(name), tenants) for name, user in old.users.items()}
    return replace(
        old,
        tenants=tenants,
        agents={name: _less_agent(agent, new.agents.get(name), tenants) for name, agent in old.agents.items()},
        services={name: _less_service(service, new.services.get(name), tenants) for name, service in old.services.items()},
        users=users,
        groups={name: _less_group(group, new.groups.get(name)) for name, group in old.groups.items()},
        cross_tenant=tuple(pair for pair in old.cross_tenant if pair in new.cross_tenant and {*pair} <= {*tenants}),
    )


def _bad_names(content: DirectoryContent) -> Iterator[str]:
    tables: dict[str, Collection[str]] = {
        "tenants": content.tenants,
        "agents": content.agents,
        "services": content.services,
        "users": content.users,
        "groups": content.groups,
        "roles": content.roles,
    }
    for table, names in tables.items():
        seen: dict[str, str] = {}
        for name in names:
            if problem := name_problem(name):
                yield f"`{table}` has {quoted(name)}, which cannot be a name: {problem}"
            elif other := seen.get(look(name)):
                yield f"`{table}` has both {quoted(other)} and {quoted(name)}, which differ in case only"
            seen[look(name)] = name
    for tenant in content.tenants:
        # The operator's log and a tenant's log would be one.
        if look(tenant) in {OPERATOR_LOG, EVERY_TENANT}:
            yield f"no tenant can be called {quoted(tenant)}: the name is taken"


def _bad_tenants(content: DirectoryContent) -> Iterator[str]:
    tables: dict[str, Mapping[str, Agent | Service | User]] = {
        "agents": content.agents,
        "services": content.services,
        "users": content.users,
    }
    for table, entries in tables.items():
        for name, entry in entries.items():
            if EVERY_TENANT in entry.tenants and len(entry.tenants) > 1:
                yield f"{quoted(f'{table}.{name}.tenants')} has `*` and other tenants: write one or the other"
            for tenant in entry.tenants:
                if tenant not in content.tenants and tenant != EVERY_TENANT:
                    yield f"{quoted(f'{table}.{name}.tenants')} names the unknown tenant {quoted(tenant)}"


def _unknown_users(content: DirectoryContent) -> Iterator[str]:
    for name, agent in content.agents.items():
        if agent.owner is not None and agent.owner not in content.users:
            yield f"{quoted(f'agents.{name}.owner')} names the unknown user {quoted(agent.owner)}"
    for name, group in content.groups.items():
        for member in group.members:
            if member not in content.users:
                yield f"{quoted(f'groups.{name}')} names the unknown user {quoted(member)}"
    people: dict[str, str] = {}
    for name, user in content.users.items():
        if (other := people.setdefault(look(user.person), user.person)) != user.person:
            yield f"{quoted(f'users.{name}.person')} is {quoted(user.person)}, which differs from the person {quoted(other)} in case only"
        if user.person != name and (problem := name_problem(user.person)):
            yield f"{quoted(f'users.{name}.person')} is {quoted(user.person)}, which cannot be a name: {problem}"
        namesake = content.users.get(user.person)
        # Otherwise one name would stand for two people: the user of that id, and the person of this one.
        if namesake is not None and namesake.person != user.person:
            yield f"{quoted(f'users.{name}.person')} is the user {quoted(user.person)}, who is the person {quoted(namesake.person)}"


def _less_agent(old: Agent, new: Agent | None, tenants: tuple[str, ...]) -> Agent:
    if new is None or ("both" not in (old.acts_for, new.acts_for) and old.acts_for != new.acts_for):
        return replace(old, tenants=(), roles=())
    return replace(
        old,
        tenants=_less_tenants(old.tenants, new.tenants, tenants),
        roles=_both(old.roles, new.roles),
        acts_for=new.acts_for if old.acts_for == "both" else old.acts_for,
    )


def _less_service(old: Service, new: Service | None, tenants: tuple[str, ...]) -> Service:
    if new is None:
        return Service(tenants=())
    return Service(tenants=_less_tenants(old.tenants, new.tenants, tenants), roles=_both(old.roles, new.roles))


def _less_user(old: User, new: User | None, tenants: tuple[str, ...]) -> User:
    # Who became somebody else could otherwise vote twice, as the person of before and as the person of now.
    if new is None or new.person != old.person:
        return replace(old, tenants=(), roles=(), disabled=True)
    return replace(
        old,
        tenants=_less_tenants(old.tenants, new.tenants, tenants),
        roles=_both(old.roles, new.roles),
        disabled=old.disabled or new.disabled,
    )


def _less_group(old: Group, new: Group | None) -> Group:
    if new is None:
        return Group(members=())
    return Group(members=_both(old.members, new.members), scope=old.scope if old.scope == new.scope else "tenant")


def _less_tenants(old: tuple[str, ...], new: tuple[str, ...], left: tuple[str, ...]) -> tuple[str, ...]:
    """The tenants in both, of those that are left; `*` stays only where both have it."""
    if EVERY_TENANT in old:
        return (EVERY_TENANT,) if EVERY_TENANT in new else _both(new, left)
    return _both(old, left) if EVERY_TENANT in new else _both(_both(old, new), left)


def _both(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in left if name in right)


def _ordered(names: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
