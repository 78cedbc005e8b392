"""Asking which subjects, resources or actions would be permitted: candidates, each decided as a question about it would be.

Rules:

1. A candidate is a result if and only if a question about it is answered with a permission at this moment, by the same checks.
2. Candidates are what is known: users, agents and services of the directory; tools of the catalog; resources that the application or
   licet.toml lists. Where a type cannot be listed, that is said, and no result is made up.
3. The work of one search is bounded: so many candidates at most, whatever comes of them. The next page begins behind the last one that
   was looked at; it is told by its place, since its name may be nobody's business.
4. A search is one `evaluation` record, durable before it is answered: the question, how many were looked at, how many were found.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from licet.errors import CallerRefused, ResolverRefused, SearchRefused
from licet.gate.draft import Refused
from licet.gate.evaluating import asked_for, people_of
from licet.gate.house import OpenHouse
from licet.gate.inquiry import KINDS, Inquirer, Inquiry, draft_of, tenant_of, type_of
from licet.gate.pipeline import House, examine
from licet.gate.scene import Scene
from licet.gate.steps import Append, Step
from licet.gate.sync_driver import SyncDriver
from licet.gate.text import readable
from licet.identity.content import EVERY_TENANT, Agent, Service, User
from licet.ledger.entropy import new_id
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject as About
from licet.model import CallId, Receipt

CANDIDATES_LIMIT = 1_000
"""Candidates looked at for one page, some 0.2 ms each."""
PAGE_LIMIT = 100
"""Results of one page, unless fewer were asked for."""
LISTED_LIMIT = 10_000
"""Resources of one type that a search looks through."""

Sought: TypeAlias = Literal["subject", "resource", "action"]


class Found(Struct, frozen=True, kw_only=True):
    """One page of a search. `names` are ids, or names of actions, in order; `next` is where the next page begins, None where there is none.

    `id` names the search in the log.
    """

    names: tuple[str, ...]
    next: int | None
    id: CallId
    receipt: Receipt


class Searching:
    """Searches under one open house."""

    def __init__(self, house: OpenHouse, listers: dict[str, Callable[[str], Iterable[str]]]) -> None:
        self._house = house
        self._listers = listers

    def find(self, sought: Sought, inquiry: Inquiry, inquirer: Inquirer, *, start: int = 0, limit: int = PAGE_LIMIT) -> Found:
        """One page of what is permitted, where the question leaves one of its three parts open, from the candidate at `start` on.

        That part's id (or name) is not read. Raises `SearchRefused` where a type cannot be listed, `CallerRefused` where the tenant is
        not said, `ResolverRefused` where a lister fails, `StoreError` where the search cannot be recorded.
        """
        scene = self._house.scene
        tenant = _tenant(inquiry, inquirer, scene)
        names = sorted(self._names(sought, inquiry, scene, tenant))
        page = _Page(sought, inquiry, inquirer, tenant, start, min(limit, PAGE_LIMIT))
        driver = SyncDriver(self._house.services, self._house.portal)
        return driver.run(_search(page, names, self._house.house))

    def _names(self, sought: Sought, inquiry: Inquiry, scene: Scene, tenant: str) -> Iterable[str]:
        if sought == "subject":
            return _subjects(inquiry.subject.type, scene, tenant)
        if sought == "action":
            return _actions(inquiry.resource.type, scene)
        return self._resources(inquiry.resource.type, scene, tenant)

    def _resources(self, resource_type: str, scene: Scene, tenant: str) -> Iterable[str]:
        settings = scene.settings.authzen
        name = type_of(resource_type, settings)
        if name == "Tenant":
            return (tenant,)
        lister = self._listers.get(name)
        if lister is None:
            if name in settings.resources:
                return set(settings.resources[name])
            if scene.catalog.find_resource(name) is None:
                return ()
            raise SearchRefused(f"resources of the type `{name}` cannot be listed here: ask about one of them")
        try:
            listed = set(islice(lister(tenant), LISTED_LIMIT + 1))
        except Exception as error:
            raise ResolverRefused(f"the lister of `{name}` failed with `{type(error).__name__}`") from error
        if not all(isinstance(identifier, str) for identifier in listed):
            raise ResolverRefused(f"the lister of `{name}` gave an id that is not text")
        if len(listed) > LISTED_LIMIT:
            raise SearchRefused(f"there are more than {LISTED_LIMIT} resources of the type `{name}` to look through")
        return listed


class _Page(Struct, frozen=True):
    """What one page of a search is about."""

    sought: Sought
    inquiry: Inquiry
    inquirer: Inquirer
    tenant: str
    start: int
    limit: int

    def about(self, name: str) -> Inquiry:
        """The question about one candidate."""
        inquiry = self.inquiry
        if self.sought == "subject":
            return replace(inquiry, subject=replace(inquiry.subject, id=name))
        if self.sought == "resource":
            return replace(inquiry, resource=replace(inquiry.resource, id=name))
        return replace(inquiry, action=replace(inquiry.action, name=name))


def _search(page: _Page, names: list[str], house: House) -> Generator[Step, Any, Found]:
    grounds = house.grounds()
    at_us = microseconds(grounds.now)
    found: list[str] = []
    looked_at = 0
    for name in names[page.start : page.start + CANDIDATES_LIMIT]:
        if len(found) >= page.limit:
            break
        looked_at += 1
        decision = yield from examine(draft_of(page.about(name), page.inquirer, grounds.scene, at_us), grounds, ask=False)
        if decision.verdict == "allow":
            found.append(name)
    behind = page.start + looked_at
    following = behind if behind < len(names) else None
    call = CallId(new_id(at_us))
    detail = {
        "search": page.sought,
        "asked": asked_for(page.inquiry, page.inquirer, without=page.sought),
        "start": page.start,
        "looked_at": looked_at,
        "found": len(found),
        "more": following is not None,
    }
    record = house.recorder.event("evaluation", page.tenant, at_us, detail, call, about=_about(page, grounds.scene))
    receipts = yield Append(Filing((record,)))
    return Found(names=tuple(found), next=following, id=call, receipt=receipts[0])


def _about(page: _Page, scene: Scene) -> tuple[About, ...]:
    """Who and what the question names: their erasure takes the readable part of its record."""
    named = list(people_of(page.tenant, page.inquirer))
    if page.sought != "subject" and KINDS.get(page.inquiry.subject.type) == "User":
        named.append(About(page.tenant, "User", readable(page.inquiry.subject.id)))
    kind = type_of(page.inquiry.resource.type, scene.settings.authzen)
    # A type that nobody knows is a client's own text, and no subject can be told from it.
    if page.sought != "resource" and scene.catalog.find_resource(kind) is not None:
        named.append(About(page.tenant, kind, readable(page.inquiry.resource.id)))
    return tuple(dict.fromkeys(named))


def _tenant(inquiry: Inquiry, inquirer: Inquirer, scene: Scene) -> str:
    try:
        tenant = tenant_of(inquiry, inquirer)
    except Refused as refused:
        raise CallerRefused(refused.code, refused.message) from refused
    if tenant is None and len(scene.directory.tenants) == 1:
        (tenant,) = scene.directory.tenants
    if tenant is None:
        raise CallerRefused("no_tenant", "say for which tenant: there are several")
    if tenant not in scene.directory.tenants:
        raise CallerRefused("unknown_tenant", "there is no such tenant")
    return tenant


def _subjects(kind: str, scene: Scene, tenant: str) -> Iterable[str]:
    directory = scene.directory
    tables: dict[str, Mapping[str, User | Agent | Service]]
    tables = {"User": directory.users, "Agent": directory.agents, "Service": directory.services}
    entries = tables.get(KINDS.get(kind, ""), {})
    return [name for name, entry in entries.items() if tenant in entry.tenants or EVERY_TENANT in entry.tenants]


def _actions(resource_type: str, scene: Scene) -> Iterable[str]:
    """The tools that act on such a resource, as clients name them."""
    settings = scene.settings.authzen
    wanted = type_of(resource_type, settings)
    named = {tool: action for action, tool in settings.actions.items()}
    for name, spec in scene.catalog.tools.items():
        types = {template.type for template in spec.targets} or {"Tenant"}
        # A client's name that stands for another tool hides the tool that is really called so.
        if wanted in types and (name in named or name not in settings.actions):
            yield named.get(name, name)
