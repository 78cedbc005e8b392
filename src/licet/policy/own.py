"""Who may do what with Licet itself: the permissions of its own, Cedar policies in `policies/licet.cedar`.

Rules:

1. Default deny: an action that no policy permits is refused, and so is everything while a policy fails.
2. These policies decide about endpoints, never about tools: the file is no part of the bundle, and no tool policy is read here.
3. They load whole or not at all, validated strictly against the schema of this module.
4. A decision depends on nothing but its question and the file, so that it can be kept. A reload makes a new object, and keeps nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from cedarpy import _internal as cedar
from msgspec import Struct

from licet.errors import PolicyInvalid
from licet.identity.directory import Directory
from licet.model import OPERATOR_LOG, EntityRef, JsonObject
from licet.policy.bundle import OWN_FILE, Bundle
from licet.policy.evaluation import Answer, policy_set
from licet.policy.lint import complaints_of

AgentAction = Literal["calls.propose", "calls.report", "calls.read", "evaluations.ask", "evaluations.search"]
PersonAction = Literal["requests.read_own", "requests.withdraw_own", "requests.confirm_own"]
ApproverAction = Literal["requests.read", "requests.vote", "catalog.read"]
AuditorAction = Literal[
    "records.read",
    "records.export",
    "records.prove",
    "records.verify",
    "unknown.read",
    "freezes.read",
    "policies.read",
    "directory.read",
    "holds.read",
]
AdminAction = Literal[
    "requests.withdraw",
    "freezes.place",
    "freezes.lift",
    "policies.validate",
    "policies.reload",
    "erasures.perform",
    "holds.place",
    "holds.release",
    "credentials.read",
    "credentials.issue",
    "credentials.revoke",
    "unknown.settle",
    "calls.undo",
]
OwnAction = AgentAction | PersonAction | ApproverAction | AuditorAction | AdminAction
"""Everything that an endpoint may ask permission for."""

_AGENT, _PERSON, _APPROVER, _AUDITOR, _ADMIN = map(
    frozenset, map(get_args, (AgentAction, PersonAction, ApproverAction, AuditorAction, AdminAction))
)
GROUPS: Final[dict[str, frozenset[str]]] = {
    "agent": _AGENT | {"requests.read_own", "requests.withdraw_own", "catalog.read"},
    "person": _PERSON,
    "approver": _APPROVER,
    "auditor": _AUDITOR | {"requests.read", "catalog.read"},
    "admin": _ADMIN | _AUDITOR | {"requests.read", "catalog.read"},
}
"""The groups of actions, by what a person or program is to Licet."""
OWN_ACTIONS: Final[frozenset[OwnAction]] = _AGENT | _PERSON | _APPROVER | _AUDITOR | _ADMIN
PrincipalType: TypeAlias = Literal["User", "Client"]

DECISIONS = 4096
"""Decisions kept, the least recently used going first."""
_decode = msgspec.json.Decoder(Answer).decode
_ADMITTED = frozenset({"id", "reason", "description"})


class Asker(Struct, frozen=True, kw_only=True):
    """Who asks Licet for something: a person of the directory, or a program by the id of its credential. `method` is how that was shown."""

    type: PrincipalType
    id: str
    method: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class OwnDecision(Struct, frozen=True):
    """Whether it is permitted, and by which policies; `why` is a sentence for whoever operates, and names no tenant."""

    allowed: bool
    policies: tuple[str, ...]
    why: str


class OwnPolicies:
    """The policies of one `licet.cedar`, found valid. Build it with `read` or `from_text`. `digest` is the SHA-256 (hex) of the text."""

    def __init__(self, bundle: Bundle, text: str) -> None:
        self.bundle: Final = bundle
        self.digest: Final = hashlib.sha256(text.encode()).hexdigest()
        self._policies: Final = policy_set(policy.tree for policy in bundle.policies)
        self._permits: Final = frozenset(policy.id for policy in bundle.policies if policy.effect == "permit")
        self._decided: Final = lru_cache(maxsize=DECISIONS)(self._decide)

    @classmethod
    def read(cls, folder: Path, directory: Directory) -> OwnPolicies:
        """The policies in the folder of the bundle, which name no group or person that the directory does not have.

        Raises `PolicyInvalid` with every problem, also where the file is missing. A role may be one that nobody has yet.
        """
        path = folder / OWN_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            message = f"`{path}` is missing: it says who may do what with the server; `licet init --own-policies` writes one to start from"
            raise PolicyInvalid((message,)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyInvalid((f"`{path}` cannot be read: {error}",)) from error
        return cls.from_text(text, f"{folder.name}/{OWN_FILE}", directory)

    @classmethod
    def from_text(cls, text: str, file: str = OWN_FILE, directory: Directory | None = None) -> OwnPolicies:
        """The policies of this text; with a directory, they name nobody whom that does not have. Raises `PolicyInvalid`."""
        bundle = Bundle.from_texts({file: text})
        problems = [*_problems(bundle), *(() if directory is None else _unknown_names(bundle, directory))]
        if problems:
            raise PolicyInvalid(tuple(problems))
        return cls(bundle, text)

    def decide(self, asker: Asker, action: OwnAction, tenant: str, subject: EntityRef | None = None) -> OwnDecision:
        """May this one do that in this tenant? `subject` is whom an evaluation asks about. Whatever goes wrong is a refusal."""
        try:
            return self._decided(asker, action, tenant, subject)
        except BaseException as error:
            # A panic in Rust arrives as a BaseException of its own; KeyboardInterrupt and its like are not ours to swallow.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return OwnDecision(False, (), f"`{OWN_FILE}` could not be evaluated ({type(error).__name__})")

    def _decide(self, asker: Asker, action: str, tenant: str, subject: EntityRef | None) -> OwnDecision:
        context: JsonObject = {"method": asker.method}
        if subject is not None:
            context["subject"] = {"type": subject.type, "id": subject.id}
        request = {
            "principal": {"type": asker.type, "id": asker.id},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Tenant", "id": tenant},
            "context": msgspec.json.encode(context).decode(),
        }
        entities = cedar.Entities.from_json_str(msgspec.json.encode(_entities(asker, tenant)).decode(), _schema())
        (answer,) = map(_decode, cedar.is_authorized_batch([request], self._policies, entities, _schema(), False))
        reasons = tuple(sorted(answer.diagnostics.reason))
        if answer.diagnostics.errors:
            return OwnDecision(False, reasons, f"a policy of `{OWN_FILE}` failed")
        if answer.decision == "Allow" and reasons and self._permits.issuperset(reasons):
            return OwnDecision(True, reasons, f"permitted by `{'`, `'.join(reasons)}`")
        if reasons:
            return OwnDecision(False, reasons, f"forbidden by `{'`, `'.join(reasons)}`")
        return OwnDecision(False, (), f"no policy of `{OWN_FILE}` permits `{action}`")


def default_text() -> str:
    """The policies to start from."""
    return resources.files("licet.policy").joinpath("own.cedar").read_text(encoding="utf-8")


def _entities(asker: Asker, tenant: str) -> list[JsonObject]:
    parents = [("Role", name) for name in asker.roles]
    attrs: JsonObject = {}
    if asker.type == "User":
        parents += [("Group", name) for name in asker.groups]
        attrs = {"groups": list(asker.groups)}
    return [
        {"uid": {"type": asker.type, "id": asker.id}, "attrs": attrs, "parents": [{"type": kind, "id": name} for kind, name in parents]},
        *({"uid": {"type": kind, "id": name}, "attrs": {}, "parents": []} for kind, name in dict.fromkeys(parents)),
        {"uid": {"type": "Tenant", "id": tenant}, "attrs": {}, "parents": []},
    ]


@lru_cache(maxsize=1)
def _schema() -> cedar.Schema:
    return cedar.Schema.from_json_str(_schema_json())


def _schema_json() -> str:
    groups_attribute = {"groups": {"type": "Set", "element": {"type": "String"}}}
    subject = {"type": "Record", "required": False, "attributes": {"type": {"type": "String"}, "id": {"type": "String"}}}
    applies = {
        "principalTypes": ["User", "Client"],
        "resourceTypes": ["Tenant"],
        "context": {"type": "Record", "attributes": {"method": {"type": "String"}, "subject": subject}},
    }
    actions: dict[str, JsonObject] = {name: {} for name in GROUPS}
    for action in sorted(OWN_ACTIONS):
        groups = [{"id": name} for name, members in GROUPS.items() if action in members]
        actions[action] = {"memberOf": groups, "appliesTo": applies}
    entity_types: JsonObject = {
        "Role": {},
        "Group": {},
        "Tenant": {},
        "Client": {"memberOfTypes": ["Role"]},
        "User": {"memberOfTypes": ["Role", "Group"], "shape": {"type": "Record", "attributes": groups_attribute}},
    }
    return msgspec.json.encode({"": {"entityTypes": entity_types, "actions": actions}}).decode()


def _unknown_names(bundle: Bundle, directory: Directory) -> Iterator[str]:
    known = {"Group": directory.groups, "User": directory.users, "Tenant": {*directory.tenants, OPERATOR_LOG}}
    for policy in bundle.policies:
        for ref in policy.entities:
            if ref.type in known and ref.id not in known[ref.type]:
                yield f"{policy.place}: policy `{policy.id}`: the directory has no {ref.type.lower()} `{ref.id}`"


def _problems(bundle: Bundle) -> Iterator[str]:
    for policy in bundle.policies:
        extra = [name for name in policy.annotations if name not in _ADMITTED]
        if extra:
            yield f"{policy.place}: policy `{policy.id}`: `@{extra[0]}` has no place here: people approve calls of tools, not endpoints"
        yield from (
            f"{policy.place}: policy `{policy.id}`: there is no action `{ref.id}`"
            for ref in policy.entities
            if ref.type == "Action" and ref.id not in OWN_ACTIONS and ref.id not in GROUPS
        )
    found = complaints_of([policy.text for policy in bundle.policies], _schema())
    for place, policy in enumerate(bundle.policies):
        yield from (f"{policy.place}: policy `{policy.id}`: {complaint}" for complaint in found.get(place, ()))
