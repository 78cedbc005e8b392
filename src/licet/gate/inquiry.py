"""A question in the words of AuthZEN (subject, action, resource, context), and the call that it is about.

Rules:

1. A subject that is a user alone is no caller: the program that asks, or the one that the question names, is part of it. Leaving it out
   would let people ask past what their program may not do.
2. Of what a question says, ids select and properties grant nothing. Roles and groups come from the directory, attributes from the resolver;
   only a type that licet.toml names (`authzen.attributes_from_request`) has the attributes that the question states.
3. The arguments are `context.input` as they are, and of the action's properties those that the tool has; the one argument that names the
   resource is filled in. What then disagrees with itself is denied, never guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
from msgspec import Struct

from licet.catalog import strict
from licet.catalog.problem import find_problem
from licet.catalog.schema import validator
from licet.catalog.spec import ResourceSpec, ToolSpec
from licet.config import AuthzenSettings
from licet.errors import ArgumentsRefused
from licet.gate.acting import NOBODY, Acting
from licet.gate.draft import Draft, Inquired, Refused
from licet.gate.scene import Scene
from licet.gate.text import readable
from licet.ledger.entropy import new_id
from licet.model import CallId, EntityRef, JsonObject, PrincipalKind
from licet.names import quoted

KINDS: Final[dict[str, PrincipalKind]] = {
    "user": "User",
    "User": "User",
    "agent": "Agent",
    "Agent": "Agent",
    "service": "Service",
    "Service": "Service",
}
"""Types of subjects, as clients and as policies write them."""
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""The one way to write a whole number that surely fits 64 bits."""


class Subject(Struct, frozen=True):
    """Who would act: a user, an agent or a service. Of `properties`, `tenant`, `agent`, `service` and `on_behalf_of` are read."""

    type: str
    id: str
    properties: JsonObject = {}

    @property
    def ref(self) -> EntityRef:
        """The subject as policies write it; of a type that there is not, as it was given."""
        return EntityRef(KINDS.get(self.type, self.type), self.id)


class Action(Struct, frozen=True):
    """What would be done: a tool, and arguments among its `properties`."""

    name: str
    properties: JsonObject = {}


class Resource(Struct, frozen=True):
    """What it would be done to."""

    type: str
    id: str
    properties: JsonObject = {}


class Inquiry(Struct, frozen=True):
    """May this subject do this action on this resource? Of `context`, `input`, `session` and `tenant` are read."""

    subject: Subject
    action: Action
    resource: Resource
    context: JsonObject = {}


class Inquirer(Struct, frozen=True, kw_only=True):
    """Who asks: the program that the host program states, and the credential that was shown, where one was."""

    acting: Acting = NOBODY
    credential: str | None = None

    def content(self) -> JsonObject:
        """What a record says of it."""
        named = {"tenant": self.acting.tenant, "agent": self.acting.agent, "service": self.acting.service, "user": self.acting.user}
        return {key: value for key, value in {**named, "credential": self.credential}.items() if value is not None}


def draft_of(inquiry: Inquiry, inquirer: Inquirer, scene: Scene, at_us: int) -> Draft:
    """The call that the question is about, to be examined. What is wrong with the question is in it, and becomes its denial."""
    settings = scene.settings.authzen
    tool = tool_of(inquiry.action.name, settings)
    acting: Acting = NOBODY
    arguments: JsonObject = {}
    try:
        acting = _acting(inquiry, inquirer)
        resource = EntityRef(readable(type_of(inquiry.resource.type, settings)), readable(inquiry.resource.id))
        arguments = _arguments(inquiry, scene.catalog.find_tool(tool), resource)
        inquired = Inquired(resource, _attributes(inquiry.resource, resource, scene, settings))
    except Refused as refused:
        inquired = Inquired(problem=refused)
    draft = Draft(CallId(new_id(at_us)), at_us, acting, readable(tool), arguments)
    draft.inquired = inquired
    return draft


def tool_of(action: str, settings: AuthzenSettings) -> str:
    """The tool that a client's action stands for."""
    return settings.actions.get(action, action)


def type_of(resource_type: str, settings: AuthzenSettings) -> str:
    """The target type that a client's resource type stands for."""
    return settings.types.get(resource_type, resource_type)


def tenant_of(inquiry: Inquiry, inquirer: Inquirer) -> str | None:
    """The tenant that is asked about; None where it is left to the agent's or service's only one. Raises `Refused`."""
    named = (_text(inquiry.subject.properties, "tenant"), _text(inquiry.context, "tenant"), inquirer.acting.tenant)
    return next((tenant for tenant in named if tenant is not None), None)


def _acting(inquiry: Inquiry, inquirer: Inquirer) -> Acting:
    """The caller of the call that is asked about (rule 1)."""
    subject = inquiry.subject
    kind = KINDS.get(subject.type)
    if kind is None:
        raise Refused("unknown_subject_type", f"a subject is a `user`, an `agent` or a `service`, not {quoted(subject.type)}")
    agent, service, user = (_text(subject.properties, name) for name in ("agent", "service", "on_behalf_of"))
    if kind == "User":
        user = readable(subject.id)
        if agent is None and service is None:
            agent, service = inquirer.acting.agent, inquirer.acting.service
        if agent is None and service is None:
            message = "a user alone is not a caller: name the program in the subject's properties, as `agent` or `service`"
            raise Refused("no_agent", message)
    elif kind == "Agent":
        agent = readable(subject.id)
    else:
        service = readable(subject.id)
    return Acting(
        tenant=tenant_of(inquiry, inquirer),
        agent=agent,
        service=service,
        user=user,
        session=_text(inquiry.context, "session"),
        trace=inquirer.acting.trace,
    )


def _text(properties: JsonObject, name: str) -> str | None:
    value = properties.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused("bad_subject", f"`{name}` is not text")
    return None if value is None else readable(value)


def _arguments(inquiry: Inquiry, spec: ToolSpec | None, resource: EntityRef) -> JsonObject:
    """What the tool would be called with (rule 3)."""
    stated = inquiry.context.get("input", {})
    if not isinstance(stated, dict):
        raise Refused("bad_input", "`context.input` is not an object of arguments")
    if spec is None:
        return dict(stated)
    known = spec.input_schema.get("properties", {})
    arguments = {name: value for name, value in inquiry.action.properties.items() if name in known}
    for name, value in stated.items():
        if name in arguments and arguments[name] != value:
            raise Refused("arguments_disagree", f"{quoted(name)} is one thing in `context.input` and another in the action's properties")
        arguments[name] = value
    named = [template for template in spec.targets if template.type == resource.type and template.constant is None]
    if len(named) == 1 and len(named[0].path) == 1 and named[0].path[0] not in arguments:
        name = named[0].path[0]
        arguments[name] = _fitting(known.get(name, {}), resource.id)
    return arguments


def _fitting(schema: JsonObject, identifier: str) -> Any:
    """The id as this argument takes it: text, a whole number or a list of one."""
    kind = schema.get("type")
    if kind == "array":
        return [_fitting(schema.get("items", {}), identifier)]
    if kind == "integer" and _NUMBER.fullmatch(identifier):
        return int(identifier)
    return identifier


def _attributes(resource: Resource, ref: EntityRef, scene: Scene, settings: AuthzenSettings) -> JsonObject | None:
    """The attributes that the question states, where licet.toml believes it (rule 2); None where nothing but the resolver is believed."""
    spec = scene.catalog.find_resource(ref.type)
    if ref.type not in settings.attributes_from_request or spec is None:
        return None
    declared = spec.attributes.get("properties", {})
    try:  # a copy by the rules of arguments: what Cedar would read as an entity is no value, and nobody changes it meanwhile
        attributes: JsonObject = strict.copied({name: value for name, value in resource.properties.items() if name in declared})
    except ArgumentsRefused as refused:
        raise Refused("bad_properties", f"the properties of the resource cannot be read: {refused}") from refused
    wrong = find_problem(_validator(spec), attributes)
    if wrong is not None:
        raise Refused("bad_properties", f"the properties of the resource are not those of `{ref.type}`: {wrong}")
    return attributes


@lru_cache(maxsize=256)
def _validator(spec: ResourceSpec) -> jsonschema_rs.Draft202012Validator:
    return validator(spec.attributes)
