"""The corpus of calls as questions: which of them AuthZEN can ask, and how."""

from __future__ import annotations

from licet.catalog import strict
from licet.errors import ArgumentsRefused
from licet.gate.inquiry import Action, Inquiry, Resource, Subject
from licet.model import EntityRef, JsonObject
from tests.cases.corpus import Case
from tests.world import World


def asked(w: World, case: Case) -> Inquiry | None:
    """The case as a question; None where a question cannot say it."""
    caller = case.caller
    if not (caller.get("agent") or caller.get("service")) or (caller.get("agent") and caller.get("service")):
        return None
    try:
        arguments = strict.parse(case.json) if case.json is not None else case.arguments
    except ArgumentsRefused:
        return None
    if not isinstance(arguments, dict) or not isinstance(case.tool, str):
        return None
    if case.expect.code == "missing":
        return None  # what the arguments leave out, the resource says
    kind, name = ("agent", caller["agent"]) if "agent" in caller else ("service", caller["service"])
    subject = Subject(kind, name, {"on_behalf_of": caller["user"]} if "user" in caller else {})
    context: JsonObject = {"input": arguments, "session": case.name}
    if "tenant" in caller:
        context["tenant"] = caller["tenant"]
    return Inquiry(subject, Action(case.tool), _resource(w, case, arguments), context)


def _resource(w: World, case: Case, arguments: JsonObject) -> Resource:
    spec = w.gate.scene.catalog.find_tool(case.tool)
    refs: tuple[EntityRef, ...] = ()
    try:  # a question always names its resource
        refs = () if spec is None else spec.expand(w.gate.scene.readers[case.tool].read(arguments).value)
    except ArgumentsRefused:
        refs = (EntityRef("Customer", "any"),)
    return Resource(refs[0].type, refs[0].id) if refs else Resource("Tenant", case.caller.get("tenant", "acme"))
