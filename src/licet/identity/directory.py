"""The directory: which tenants, agents, services, users, roles and groups there are, and what a caller is made of.

Rules:

1. A directory is a value. It never changes; another one takes its place, and `version` tells them apart.
2. Whatever is not in it is refused: `principals` gives every link of the caller or raises, never some of them.
3. A caller is an agent or a service, and the user it acts for if there is one. A user alone is not a caller: leaving the agent out would
   let it do what it may not. Leaving the user out is no way around either: an agent declares whom it acts for, and a call that differs is
   refused.
4. A disabled user is a principal of nothing, a member of nothing, and votes on nothing.
5. A verified credential may give its user roles beside the directory's: only such as the directory has, never a group, and never to the
   agent. Policy then sees them like the others; the record says which they are.
6. Removals need nobody's consent: `with_removals_of` is this directory less everything that another one does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from licet.config import Settings
from licet.errors import CallerRefused, DirectoryInvalid
from licet.identity.content import (
    EVERY_TENANT,
    Agent,
    DirectoryContent,
    Group,
    Service,
    User,
    content_of,
    problems_of,
    without_removed,
)
from licet.model import Caller, Principal
from licet.names import quoted

_decode_directory_content = msgspec.json.Decoder(DirectoryContent).decode

CACHED_CALLERS = 10_000
"""A caller takes about 1 KiB with its principals; past this many the cache starts anew."""

_Entry = TypeVar("_Entry", Agent, Service, User)


class Directory:
    """Who there is. Build it with `from_settings` or, from a stored snapshot, with `from_content`.

    `content` is its canonical JSON, `version` the SHA-256 of that (hex). Safe to use from many threads.
    """

    def __init__(self, content: DirectoryContent) -> None:
        if problems := tuple(problems_of(content)):
            raise DirectoryInvalid("; ".join(problems))
        self._content: Final = content
        self.content: Final = msgspec.json.encode(content, order="sorted")
        self.version: Final = hashlib.sha256(self.content).hexdigest()
        self.tenants: Final = frozenset(content.tenants)
        self.roles: Final = frozenset(content.roles)
        self.agents: Final[Mapping[str, Agent]] = MappingProxyType(content.agents)
        self.services: Final[Mapping[str, Service]] = MappingProxyType(content.services)
        self.users: Final[Mapping[str, User]] = MappingProxyType(content.users)
        self.groups: Final[Mapping[str, Group]] = MappingProxyType(content.groups)
        self._members: Final = {name: frozenset(group.members) for name, group in content.groups.items()}
        self._groups_of: Final = _groups_of(content)
        self._pairs: Final = frozenset(content.cross_tenant)
        # Only callers that were accepted enter, so strangers cannot push the known ones out.
        self._cache: dict[Caller, tuple[Principal, ...]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Directory:
        """The directory of a licet.toml. Raises `DirectoryInvalid` with everything that is wrong in it."""
        return cls(content_of(settings))

    @classmethod
    def from_content(cls, content: bytes) -> Directory:
        """The directory whose `content` this is. Raises `DirectoryInvalid` if it is not one."""
        try:
            return cls(_decode_directory_content(content))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DirectoryInvalid("the stored directory cannot be read") from error

    def with_removals_of(self, newer: Directory | DirectoryContent) -> Directory:
        """This directory less everything that `newer` does not have, and with nothing that only `newer` has.

        It stands in where `newer` cannot be used whole, so that a removal takes effect whatever else is wrong. Names stay known, since
        policies name them; what was removed under a name is gone. A content need not be valid: whatever is wrong in it, this is one.
        """
        content = newer if isinstance(newer, DirectoryContent) else newer._content  # noqa: SLF001  one of its own kind
        return Directory(without_removed(self._content, content))

    def principals(self, caller: Caller) -> tuple[Principal, ...]:
        """Every principal of the caller: the agent or service first, then the user it acts for.

        Raises `CallerRefused` with one of the codes `malformed_caller`, `unknown_tenant`, `no_agent`, `agent_and_service`,
        `unknown_agent`, `unknown_service`, `unknown_user`, `not_in_tenant`, `user_disabled`, `acts_for_user` (the agent acts for users
        only, and none is named), `acts_for_self` (it acts for itself only, and one is named).
        """
        try:
            known = self._cache.get(caller)
        except TypeError as error:  # an id that cannot even be hashed
            raise CallerRefused("malformed_caller", "the caller's ids are not text") from error
        return known if known is not None else self._identify(caller)

    def is_member(self, user: str, group: str) -> bool:
        """Whether the group has this user and the user is not disabled. For the right to vote ask `may_vote`."""
        entry = self.users.get(user)
        return entry is not None and not entry.disabled and user in self._members.get(group, ())

    def is_in_tenant(self, user: str, tenant: str) -> bool:
        """Whether this user, disabled or not, belongs to this tenant."""
        entry = self.users.get(user)
        return entry is not None and tenant in self.tenants and _belongs(entry, tenant)

    def may_vote(self, user: str, group: str, tenant: str) -> bool:
        """Whether the user may vote for this group on requests of this tenant."""
        return self.is_member(user, group) and (self.groups[group].scope == "operator" or self.is_in_tenant(user, tenant))

    def voters(self, group: str, tenant: str) -> frozenset[str]:
        """The users who may vote for this group on requests of this tenant."""
        return frozenset(user for user in self._members.get(group, ()) if self.may_vote(user, group, tenant))

    def people(self, group: str, tenant: str) -> frozenset[str]:
        """The people behind `voters`: at most this many distinct votes can be had."""
        return frozenset(self.users[user].person for user in self.voters(group, tenant))

    def serves(self, group: str, tenant: str) -> bool:
        """Whether anybody at all may vote for this group on requests of this tenant."""
        return bool(self.voters(group, tenant))

    def person_of(self, user: str) -> str:
        """The person behind a user id. An unknown id is its own person; it has no vote."""
        entry = self.users.get(user)
        return user if entry is None else entry.person

    def may_reach(self, tenant: str, target_tenant: str) -> bool:
        """Whether callers of `tenant` may act on targets of `target_tenant` at all: their own, or a pair that `cross_tenant` names."""
        return tenant == target_tenant or (tenant, target_tenant) in self._pairs

    def _identify(self, caller: Caller) -> tuple[Principal, ...]:
        if not isinstance(caller.tenant, str) or not all(
            unverified is None or isinstance(unverified, str) for unverified in (caller.agent, caller.service, caller.user)
        ):
            raise CallerRefused("malformed_caller", "the caller's ids are not text")
        if caller.tenant not in self.tenants:
            raise CallerRefused("unknown_tenant", f"there is no tenant {quoted(caller.tenant)}")
        actor = self._actor(caller)
        principals = (actor,) if caller.user is None else (actor, self._user(caller.user, caller))
        if len(self._cache) >= CACHED_CALLERS:
            self._cache.clear()
        self._cache[caller] = principals
        return principals

    def _actor(self, caller: Caller) -> Principal:
        if caller.agent is not None and caller.service is not None:
            raise CallerRefused("agent_and_service", "a caller is an agent or a service, not both")
        if caller.agent is not None:
            return self._agent(caller.agent, caller)
        if caller.service is not None:
            service = _find(self.services, "service", caller.service, caller.tenant)
            return Principal(kind="Service", id=caller.service, tenant=caller.tenant, roles=service.roles)
        raise CallerRefused("no_agent", "the caller names neither an agent nor a service")

    def _agent(self, name: str, caller: Caller) -> Principal:
        agent = _find(self.agents, "agent", name, caller.tenant)
        if agent.acts_for == "user" and caller.user is None:
            raise CallerRefused("acts_for_user", f"the agent {quoted(name)} acts for users only, and the caller names none")
        if agent.acts_for == "self" and caller.user is not None:
            raise CallerRefused("acts_for_self", f"the agent {quoted(name)} acts for itself only, and the caller names a user")
        return Principal(kind="Agent", id=name, tenant=caller.tenant, roles=agent.roles)

    def _user(self, name: str, caller: Caller) -> Principal:
        user = _find(self.users, "user", name, caller.tenant)
        if user.disabled:
            raise CallerRefused("user_disabled", f"the user {quoted(name)} is disabled")
        given = tuple([role for role in dict.fromkeys(caller.roles) if role in self.roles and role not in user.roles])
        return Principal(
            kind="User",
            id=name,
            tenant=caller.tenant,
            roles=user.roles + given,
            groups=self._groups_of.get(name, ()),
            given=given or UNSET,
        )


def _find(entries: Mapping[str, _Entry], kind: str, name: str, tenant: str) -> _Entry:
    """The entry of this name, which belongs to this tenant."""
    entry = entries.get(name)
    if entry is None:
        raise CallerRefused(f"unknown_{kind}", f"there is no {kind} {quoted(name)}")
    if not _belongs(entry, tenant):
        raise CallerRefused("not_in_tenant", f"the {kind} {quoted(name)} does not belong to the tenant {quoted(tenant)}")
    return entry


def _belongs(entry: Agent | Service | User, tenant: str) -> bool:
    return tenant in entry.tenants or EVERY_TENANT in entry.tenants


def _groups_of(content: DirectoryContent) -> dict[str, tuple[str, ...]]:
    """The groups of each user, in order of their names."""
    found: dict[str, list[str]] = {}
    for name in sorted(content.groups):
        for member in content.groups[name].members:
            found.setdefault(member, []).append(name)
    return {user: tuple(groups) for user, groups in found.items()}
