"""Steps 0 to 4: who calls, with which tool, with what arguments, on what; and what policy says.

Each check fills the draft or raises `Refused`. None of them does I/O; `resolve` asks the driver for it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from licet.catalog.live import LiveDefinitions
from licet.catalog.spec import ToolSpec
from licet.catalog.upstream import UpstreamTool, table_of, tool_name
from licet.errors import ArgumentsRefused, CallerRefused
from licet.gate.acting import Acting
from licet.gate.adoptions import awaited_message
from licet.gate.draft import Draft, Inquired, Refused
from licet.gate.freeze_view import Stops
from licet.gate.scene import Resolver, Scene
from licet.gate.session import Sessions
from licet.gate.steps import FindFreezes, Resolve, ResolverFailed, Step
from licet.gate.undoing import is_undo, takes_back
from licet.identity.content import EVERY_TENANT
from licet.identity.directory import Directory
from licet.ledger.frozen import Called
from licet.model import Caller, EntityRef, Principal, Target
from licet.names import quoted
from licet.policy.engine import Question
from licet.policy.local_time import local_time

_FIND_FREEZES = FindFreezes()
ADMITTED_LIMIT = 10_000
"""Pairs of tool and caller for which step 1 is remembered; it depends on nothing but the scene."""


def identify(draft: Draft, scene: Scene) -> None:
    """Step 0: the caller and its principals, from what the host program said and the directory knows."""
    problem = draft.inquired.problem if draft.inquired is not None else None
    try:
        caller = caller_of(draft.acting, scene)
        draft.principals = scene.directory.principals(caller)
    except CallerRefused as refused:
        raise problem or Refused(refused.code, str(refused)) from refused
    draft.caller = caller
    if problem is not None:
        raise problem


def caller_of(acting: Acting, scene: Scene) -> Caller:
    """The caller that the host program states. Raises `CallerRefused` where it states none, or leaves the tenant open."""
    if acting.agent is None and acting.service is None and acting.user is None:
        raise CallerRefused("no_caller", "nobody is calling: open a block with `gate.acting(agent=..., user=...)` around the call")
    tenant = _tenant(acting, scene.directory)
    return Caller(tenant=tenant, agent=acting.agent, service=acting.service, user=acting.user, roles=acting.roles)


def _tenant(acting: Acting, directory: Directory) -> str:
    """The tenant that the caller named, or the only one that its agent or service has. More than one is not guessed."""
    if acting.tenant is not None:
        return acting.tenant
    entry = directory.agents.get(acting.agent or "") or directory.services.get(acting.service or "")
    if entry is None:
        name = acting.agent or acting.service or acting.user
        raise CallerRefused("unknown_caller", f"`{name}` is not an agent or a service of the directory")
    tenants = entry.tenants
    if len(tenants) != 1 or tenants[0] == EVERY_TENANT:
        raise CallerRefused("no_tenant", "the caller has more than one tenant: say which with `gate.acting(tenant=...)`")
    return tenants[0]


def called(draft: Draft) -> Called:
    """The call as far as a freeze can speak of it."""
    assert draft.caller is not None
    caller = draft.caller
    return Called(tenant=caller.tenant, tool=draft.tool, agent=caller.agent, service=caller.service, session=draft.acting.session)


def refuse_frozen(draft: Draft, scene: Scene) -> Generator[Step, Any, None]:
    """Still step 0: nothing that this call is of was stopped."""
    stops: Stops | None = yield _FIND_FREEZES
    found = stops.find(called(draft)) if stops else None
    if found is not None:
        _describe(draft, scene)
        raise Refused("frozen", frozen_message(found.sentence), detail={"freeze": found.id})


def frozen_message(sentence: str) -> str:
    """What whoever calls is told, who may be a model that would try again."""
    return f"{sentence}; calling again will not help until somebody lifts the freeze"


def _describe(draft: Draft, scene: Scene) -> None:
    """Which tool, and with what arguments, as far as they can be read: the record says what a frozen caller attempted, without secrets."""
    draft.spec = scene.catalog.find_tool(draft.tool)
    if draft.spec is not None and draft.refused is None:
        with suppress(ArgumentsRefused):
            draft.arguments = scene.readers[draft.spec.name].read(draft.unverified_arguments)


def find_tool(draft: Draft, scene: Scene) -> None:
    """Step 1: the tool is in the catalog, and some permit could match these principals; nothing is resolved for a call that cannot pass."""
    if draft.tool in scene.unclassified:
        raise Refused("unclassified_tool", unclassified_message(draft.tool))
    spec = scene.catalog.find_tool(draft.tool)
    if spec is None and draft.tool in scene.awaited:
        raise Refused("unknown_tool", awaited_message(draft.tool))
    if spec is None:
        raise Refused("unknown_tool", f"there is no tool {quoted(draft.tool)} in the catalog")
    draft.spec = spec
    draft.implementation = scene.implementations.get(draft.tool)
    if draft.tool in scene.adopted:  # no call brings code for a tool of somebody else
        draft.implementation = draft.brought
    if draft.undoes is None and _is_undo(draft, scene, spec):
        message = f"`{spec.name}` takes back what the log says that a call has changed: propose it with `licet undo CALL`, or `gate.undo`"
        raise Refused("only_as_undo", message)
    assert draft.caller is not None
    excluded = find_excluded(scene, spec, draft.caller, draft.principals)
    if excluded is not None:
        raise Refused("no_permit", no_permit_message(spec, excluded))
    refuse_drifted(scene, spec.name)  # who may never call it is not told what has changed
    if needs_reason(scene, spec) and draft.inquired is None and not (draft.acting.reason or "").strip():
        raise Refused("reason_required", reason_message(spec))


def find_excluded(scene: Scene, spec: ToolSpec, caller: Caller, principals: Sequence[Principal]) -> Principal | None:
    """The first of a caller's principals that no permit could ever match for this tool; None where it may be worth asking."""
    if (spec.name, caller) in scene.admitted:
        return None
    for principal in principals:
        if not scene.engine.could_permit(spec, principal):
            return principal
    if len(scene.admitted) < ADMITTED_LIMIT:
        scene.admitted.add((spec.name, caller))
    return None


def refuse_drifted(scene: Scene, name: str) -> None:
    """A tool that is not the one that somebody has accepted is none that anybody may call."""
    problem = find_drift(scene, name)
    if problem is not None:
        raise Refused("definition_drift", problem)


def find_drift(scene: Scene, name: str) -> str | None:
    """How the tool of this name is known to be another one than was accepted, as a sentence; None where it is not."""
    tool = scene.offered.find(name)
    return None if tool is None else find_drift_of(scene.live, tool)


def find_drift_of(live: LiveDefinitions, tool: UpstreamTool) -> str | None:
    """As `find_drift`, of this very tool: a call that was decided by one definition is not executed by one that was accepted since."""
    if tool.pin is None:
        return None
    drift = live.find(tool.upstream, tool.name, tool.pin)
    if drift is None:
        return None
    which = "" if tool.spec.name == tool_name(tool.upstream, tool.name) else f" (by which `{tool.spec.name}` is computed)"
    look = f"`licet catalog diff {tool.upstream}` shows it, and `licet catalog accept {tool.upstream} {tool.name}` takes it"
    return f"the tool `{tool.name}` of `{tool.upstream}`{which} is not the one that was accepted: it {drift}; {look}"


def unclassified_message(name: str) -> str:
    """Why a tool of an upstream or a framework that nobody classified is denied, and what to do about it."""
    return f"licet.toml does not say what {quoted(name)} can do: add {quoted(table_of(name))} with its `access`, and permit it in a policy"


def no_permit_message(spec: ToolSpec, excluded: Principal) -> str:
    """For whom no permit could ever match."""
    return f"no permit could ever match {excluded.ref} for `{spec.name}`"


def needs_reason(scene: Scene, spec: ToolSpec) -> bool:
    """Whether calls of this tool must say why they are made. What they say is a claim, and grants nothing."""
    wanted = scene.settings.require_reason
    return wanted == "always" or (wanted == "writes" and spec.access != "read")


def reason_message(spec: ToolSpec) -> str:
    """How a call says why it is made."""
    how = "in the argument `licet_reason` over MCP, as `reason` over HTTP, with `gate.acting(reason=...)` in Python"
    return f"a call of `{spec.name}` must say why it is made: {how}"


def _is_undo(draft: Draft, scene: Scene, spec: ToolSpec) -> bool:
    if draft.implementation is not None:
        return is_undo(draft.implementation.function)
    return draft.remote and takes_back(scene.catalog, spec)


def parse(draft: Draft, scene: Scene) -> None:
    """Step 2: the arguments become one canonical value, and the function's own values are built from its bytes."""
    assert draft.spec is not None
    try:
        if draft.refused is not None:
            raise draft.refused
        draft.arguments = scene.readers[draft.spec.name].read(draft.unverified_arguments)
        if draft.implementation is not None:
            draft.values = draft.implementation.kwargs(draft.arguments)
        draft.refs = draft.spec.expand(draft.arguments.value)
    except ArgumentsRefused as refused:
        raise Refused(refused.code, str(refused)) from refused
    if draft.inquired is not None:
        _agree(draft, draft.inquired)


def _agree(draft: Draft, inquired: Inquired) -> None:
    """An answer about another resource than the one that was asked about would be taken for one about it."""
    assert draft.caller is not None
    named = draft.refs or (EntityRef("Tenant", draft.caller.tenant),)
    if inquired.resource not in named:
        found = ", ".join(map(str, named[:3]))
        raise Refused("resource_mismatch", f"`{draft.tool}` with these arguments acts on {found}, not on {inquired.resource}")


def resolve(draft: Draft, scene: Scene) -> Generator[Step, Any, None]:
    """Step 3: tenant and attributes of every target. Missing and foreign answer alike, so that nobody learns what another tenant has."""
    assert draft.spec is not None
    assert draft.caller is not None
    tenant = draft.caller.tenant
    if not draft.spec.targets:
        draft.targets = (Target(type="Tenant", id=tenant, tenant=tenant, environment=scene.environment),)
        return
    try:
        found = yield Resolve(tuple([(ref, _resolver(scene, ref)) for ref in draft.refs]), draft.caller)
    except ResolverFailed as failed:
        raise Refused("target_unresolvable", failed.message) from failed
    for ref, target in zip(draft.refs, found, strict=True):
        if target is not None and target.tenant == tenant:
            continue
        if target is not None:
            draft.elsewhere = (*draft.elsewhere, target)
        if target is None or not scene.directory.may_reach(tenant, target.tenant):
            raise Refused("target_not_found", f"tenant `{tenant}` has no {ref}")
    inquired = draft.inquired
    if inquired is not None and inquired.attributes is not None:
        found = [replace(target, attributes=inquired.attributes) if target.ref == inquired.resource else target for target in found]
    draft.targets = tuple(found)


def _resolver(scene: Scene, ref: EntityRef) -> Resolver | None:
    """The resolver of a target's type; None where every id of the type belongs to whoever asks."""
    resolver = scene.resolvers.get(ref.type)
    if resolver is None:
        resource = scene.catalog.find_resource(ref.type)
        if resource is None or resource.tenant_from != "caller":
            raise Refused("target_unresolvable", f"{ref} cannot be resolved: this process has no resolver for `{ref.type}`")
    return resolver


def decide(draft: Draft, scene: Scene, sessions: Sessions, now: datetime) -> None:
    """Step 4: what policy says of every principal and target."""
    assert draft.caller is not None
    draft.facts = sessions.facts(draft.caller, draft.acting.session)
    draft.asked_at = now
    question = question_of(draft, scene, now)
    draft.local = question.local
    draft.decision = scene.engine.decide(question)


def question_of(draft: Draft, scene: Scene, now: datetime) -> Question:
    """What policy is asked about a call whose targets are resolved."""
    assert draft.spec is not None
    assert draft.arguments is not None
    return Question(
        tool=draft.spec,
        principals=draft.principals,
        targets=draft.targets,
        input=draft.arguments.value,
        environment=scene.environment,
        now=now,
        local=local_time(now, scene.zone) if scene.engine.reads_local(draft.spec.name) else None,
        session_labels=draft.facts.labels,
        session_calls=draft.facts.calls,
        meters={name: draft.facts.meters.get(name, 0) for name in scene.settings.meters},  # a reload may bring new ones
    )
