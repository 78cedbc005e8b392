"""Which conditional rules nobody can meet, told before a call is denied for it.

Rules:

1. The count is that of a call: each caller that a rule can hold is put to `standing.find_unmeetable`, as the gate would.
2. A rule is told for an agent (or service) of a tenant if none of its callers there could ever have it met. Where only some callers cannot
   (the one lead of a group of one asks for themselves), the gate denies those and the rule stands.
3. A rule that holds no known call says nothing. A caller counts where permits admit the agent and the user; conditions of policies are not
   looked into, so what is told is certain, and what is not told may still be denied.
4. What a call would change must be shown to whoever votes: a preview that is never allowed keeps a rule from being met, too.
5. Rules add up only where that can be told from their scopes: beside every call that a rule holds, those without any condition hold it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from msgspec import Raw, Struct

from licet.approvals.standing import find_unmeetable
from licet.identity.content import EVERY_TENANT
from licet.identity.directory import Directory
from licet.model import Caller, CallId, Principal, Request, RequestId, RequestState
from licet.policy.rules import Rule

Code: TypeAlias = Literal[
    "group_empty", "group_too_small", "only_requesters", "agent_owner", "nobody_to_confirm", "preview_denied", "together"
]
Principals: TypeAlias = tuple[Principal, ...]
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Problem(Struct, frozen=True, kw_only=True):
    """A rule that nobody can meet for calls of these `actors` (as decisions write them) in one tenant.

    `everywhere` says that these are all the actors there whose calls it can hold, `hopeless` that it can be met in no tenant. Of its group
    `people` may vote there, and `asked` are needed. With code `together` it could be met alone, and cannot beside the rules `beside` on the
    tool `tool`; with `preview_denied` enough people could vote, and the preview of `tool` that they must see is never allowed.
    """

    policy: str
    place: str
    code: Code
    tenant: str
    actors: tuple[str, ...]
    everywhere: bool
    hopeless: bool
    group: str | None
    asked: int
    people: int
    tool: str | None = None
    beside: tuple[str, ...] = ()


class _Fate(Struct, frozen=True):
    """Why a rule cannot be met for an actor; without a code it can be."""

    code: Code | None = None
    tool: str | None = None
    beside: tuple[str, ...] = ()


def find_unsatisfiable(rules: Sequence[Rule], directory: Directory) -> tuple[Problem, ...]:
    """Every rule that nobody can meet, for each tenant where an agent or a service works, in order of rules and tenants."""
    found: list[Problem] = []
    callers = {tenant: _callers(rules, directory, tenant) for tenant in sorted(directory.tenants)}
    for at, rule in enumerate(rules):
        # Of two rules that always hold together, the later one is told.
        beside = [other for place, other in enumerate(rules) if other.always and (place < at if rule.always else place != at)]
        tools = _unlike(rule, beside)
        fates = {tenant: tuple(_fates(rule, tools, beside, of)) for tenant, of in callers.items()}
        hopeless = all(fate.code is not None and fate.tool is None for told in fates.values() for _, fate in told)
        for tenant, told in fates.items():
            found += _problems(rule, directory, tenant, told, hopeless=hopeless)
    return tuple(found)


def find_ownerless(rules: Sequence[Rule], directory: Directory) -> dict[str, tuple[str, ...]]:
    """The agents that name no owner whose calls a rule can hold that keeps the owner apart: it keeps nobody apart there. By policy."""
    found: dict[str, set[str]] = {}
    for tenant in sorted(directory.tenants):
        for of in _callers(rules, directory, tenant):
            if of.actor.kind != "Agent" or directory.agents[of.actor.id].owner is not None:
                continue
            for rule in rules:
                if rule.obligation.separation == "agent-owner" and any(any(of.held_by(rule, tool)) for tool in _unlike(rule, ())):
                    found.setdefault(rule.policy.id, set()).add(of.actor.id)
    return {policy: tuple(sorted(agents)) for policy, agents in found.items()}


class _Callers:
    """The callers that one actor can be in one tenant, for itself and for these users."""

    def __init__(self, directory: Directory, tenant: str, actor: Principal, users: Sequence[str]) -> None:
        self.actor = actor
        self._directory = directory
        self._tenant = tenant
        self._users = users
        self._met: dict[tuple[object, ...], bool] = {}
        self._voters: dict[str, frozenset[str]] = {}

    def held_by(self, rule: Rule, tool: str) -> Iterator[tuple[Caller, Principals]]:
        """Each caller whose calls of this tool a rule can hold."""
        for caller in self._all() if rule.could_be_permitted(tool, (self.actor,)) else ():
            principals = self._directory.principals(caller)
            if rule.can_hold(tool, principals):
                yield caller, principals

    def meets(self, rules: Sequence[Rule], caller: Caller, *, apart: bool = True) -> bool:
        """Whether a call of this caller that these rules hold could have them met; without `apart`, with the agent's owner counted too."""
        person = None if caller.user is None else self._directory.person_of(caller.user)
        # Callers whose person has no vote here differ in nothing that is counted.
        counted = person if any(person in self._people(rule.obligation.group) for rule in rules) else person is None
        key = (apart, counted, *(rule.policy.id for rule in rules))
        if key not in self._met:
            request = _request(rules, caller, self.actor, apart=apart)
            self._met[key] = find_unmeetable(request, self._directory) is None
        return self._met[key]

    def _people(self, group: str | None) -> frozenset[str]:
        if group is None:
            return frozenset()
        if group not in self._voters:
            self._voters[group] = self._directory.people(group, self._tenant)
        return self._voters[group]

    def _all(self) -> Iterator[Caller]:
        agent = self.actor.id if self.actor.kind == "Agent" else None
        service = self.actor.id if self.actor.kind == "Service" else None
        acts_for = "both" if agent is None else self._directory.agents[agent].acts_for
        if acts_for != "user":
            yield Caller(tenant=self._tenant, agent=agent, service=service)
        for user in self._users if acts_for != "self" else ():
            yield Caller(tenant=self._tenant, agent=agent, service=service, user=user)


def _callers(rules: Sequence[Rule], directory: Directory, tenant: str) -> tuple[_Callers, ...]:
    users = tuple(_users(rules, directory, tenant))
    return tuple(_Callers(directory, tenant, actor, users) for actor in _actors(directory, tenant))


def _actors(directory: Directory, tenant: str) -> Iterator[Principal]:
    for name, agent in sorted(directory.agents.items()):
        if tenant in agent.tenants or EVERY_TENANT in agent.tenants:
            yield Principal(kind="Agent", id=name, tenant=tenant, roles=agent.roles)
    for name, service in sorted(directory.services.items()):
        if tenant in service.tenants or EVERY_TENANT in service.tenants:
            yield Principal(kind="Service", id=name, tenant=tenant, roles=service.roles)


def _users(rules: Sequence[Rule], directory: Directory, tenant: str) -> Iterator[str]:
    """The tenant's users who differ in what is asked here; ten thousand clerks are a handful then.

    All whose person is in a group or whom a policy names, and of the others one for each selection of roles.
    """
    policies = {policy.id: policy for rule in rules for policy in (rule.policy, *(one for found in rule.tools.values() for one in found))}
    named = {uid.id for policy in policies.values() for uid in policy.entities if uid.type == "User"}
    grouped = {directory.person_of(member) for group in directory.groups.values() for member in group.members}
    seen: set[tuple[str, ...]] = set()
    for user, entry in sorted(directory.users.items()):
        if entry.disabled or not directory.is_in_tenant(user, tenant):
            continue
        if user in named or entry.person in grouped:
            yield user
        elif entry.roles not in seen:
            seen.add(entry.roles)
            yield user


def _unlike(rule: Rule, beside: Sequence[Rule]) -> tuple[str, ...]:
    """One tool of the rule for each way in which its tools differ here: permits, preview, rules beside it. A thousand are few."""
    found: dict[tuple[object, ...], str] = {}
    for tool, permits in rule.tools.items():
        preview = rule.previews.get(tool)
        shown = None if preview is None else tuple(policy.id for policy in preview)
        also = tuple(other.policy.id for other in beside if tool in other.tools)
        found.setdefault((tuple(policy.id for policy in permits), shown, also), tool)
    return tuple(found.values())


def _fates(rule: Rule, tools: Sequence[str], beside: Sequence[Rule], callers: Sequence[_Callers]) -> Iterator[tuple[str, _Fate]]:
    """Each actor whose calls the rule can hold, and how it fares."""
    for of in callers:
        fate = _fate(rule, tools, beside, of)
        if fate is not None:
            yield str(of.actor.ref), fate


def _fate(rule: Rule, tools: Sequence[str], beside: Sequence[Rule], callers: _Callers) -> _Fate | None:
    """How a rule fares with an actor; None where it can hold no call of it."""
    held = met = False
    stuck: dict[str, _Fate] = {}
    for tool in tools:
        for caller, principals in callers.held_by(rule, tool):
            held = True
            if not callers.meets([rule], caller):
                continue
            met = True
            fate = _fate_of_call(rule, tool, beside, callers, (caller, principals))
            if fate.code is None:
                stuck.pop(tool, None)
                break
            stuck[tool] = fate
    if not held:
        return None
    return next(iter(stuck.values()), _Fate()) if met else _Fate(_reason(rule, tools, callers))


def _fate_of_call(rule: Rule, tool: str, beside: Sequence[Rule], callers: _Callers, of: tuple[Caller, Principals]) -> _Fate:
    """How a rule fares with a call of one caller for which enough people could vote."""
    caller, principals = of
    if not rule.can_preview(tool, principals):
        return _Fate("preview_denied", tool)
    # One that cannot be met by itself is told by itself.
    others = [other for other in beside if other.can_hold(tool, principals) and callers.meets([other], caller)]
    if others and not callers.meets([*others, rule], caller):
        return _Fate("together", tool, tuple(other.policy.id for other in others))
    return _Fate()


def _reason(rule: Rule, tools: Sequence[str], callers: _Callers) -> Code:
    """Why none of these callers can have the rule met."""
    if rule.obligation.kind == "confirmation":
        return "nobody_to_confirm"
    if any(callers.meets([rule], caller, apart=False) for tool in tools for caller, _ in callers.held_by(rule, tool)):
        return "agent_owner"
    return "only_requesters"


def _problems(rule: Rule, directory: Directory, tenant: str, fates: Sequence[tuple[str, _Fate]], *, hopeless: bool) -> Iterator[Problem]:
    """One problem for each reason, with all the actors that it is about."""
    group = rule.obligation.group
    people = 0 if group is None else len(directory.people(group, tenant))
    by_fate: dict[_Fate, list[str]] = {}
    for actor, fate in fates:
        if fate.code in {"agent_owner", "only_requesters"} and people < rule.obligation.count:
            members = () if group is None else directory.groups[group].members
            fate = _Fate("group_too_small" if members else "group_empty")  # noqa: PLW2901 - whoever calls, there are too few
        by_fate.setdefault(fate, []).append(actor)
    for fate, actors in by_fate.items():
        if fate.code is not None:
            yield Problem(
                policy=rule.policy.id,
                place=rule.policy.place,
                code=fate.code,
                tenant=tenant,
                actors=tuple(actors),
                everywhere=len(actors) == len(fates),
                hopeless=hopeless,
                group=group,
                asked=rule.obligation.count,
                people=people,
                tool=fate.tool,
                beside=fate.beside,
            )


def _request(rules: Sequence[Rule], caller: Caller, actor: Principal, *, apart: bool) -> Request:
    """The request that a call held by these rules would open, as far as counting people goes."""
    return Request(
        id=RequestId(""),
        key="",
        tenant=caller.tenant,
        tool="",
        agent=caller.agent if apart else None,  # without an agent there is no owner
        service=caller.service,
        user=caller.user,
        call=CallId(""),
        state=RequestState.OPEN,
        opened_at=_NEVER,
        expires_at=_NEVER,
        obligations=tuple(rule.obligation_for(actor) for rule in rules),
        preview_digest=None,
        summary=Raw(b"{}"),
    )
