"""Policies over HTTP: what is in force, whether a proposed bundle would load, and a reload.

Policies are of the installation: their texts name every tenant's people and targets, so they are for whoever may read them there.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from msgspec import Struct

from licet.errors import OperatorError, PolicyInvalid
from licet.gate.reloading import Reloaded
from licet.model import OPERATOR_LOG
from licet.policy.bundle import OWN_FILE, Bundle
from licet.policy.engine import Engine
from licet.policy.own import OwnPolicies
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem


class PolicyShape(Struct, frozen=True, kw_only=True):
    """One policy, where it stands, and its exact text."""

    id: str
    effect: Literal["permit", "forbid"]
    file: str
    line: int
    text: str
    digest: str
    reason: str | None
    annotations: dict[str, str]


class Policies(Struct, frozen=True, kw_only=True):
    """What decides: `scene` names all of it, `bundle` the policies and `schema` what they are checked against (SHA-256, hex)."""

    environment: str
    scene: str
    bundle: str
    schema: str
    catalog: str
    directory: str
    policies: tuple[PolicyShape, ...]


class ProposedBundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts of policies by their file names, all of them; with `licet.cedar`, where that is to be looked at too."""

    files: dict[str, str]


class Validated(Struct, frozen=True, kw_only=True):
    """Whether the bundle would load under the catalog and directory of now, and everything that is wrong with it."""

    loads: bool
    bundle: str | None
    problems: tuple[str, ...]


def list_policies(asked: Asked) -> Answer:
    """What is in force."""
    asked.allow("policies.read", OPERATOR_LOG)
    scene = asked.gate.scene
    bundle = scene.engine.bundle
    found = [
        PolicyShape(
            id=one.id,
            effect="permit" if str(one.effect) == "permit" else "forbid",
            file=one.file,
            line=one.line,
            text=one.text,
            digest=one.digest,
            reason=one.reason,
            annotations=one.annotations,
        )
        for one in bundle.policies
    ]
    body = Policies(
        environment=scene.environment,
        scene=scene.digest,
        bundle=bundle.digest,
        schema=scene.engine.schema_digest,
        catalog=scene.catalog.digest,
        directory=scene.directory.version,
        policies=tuple(found),
    )
    return Answer(body=body, etag=scene.digest)


def validate(asked: Asked) -> Answer:
    """Whether a bundle would load. Nothing is put into force."""
    asked.allow("policies.validate", OPERATOR_LOG)
    scene = asked.gate.scene
    own = {name: text for name, text in asked.body.files.items() if PurePosixPath(name).name == OWN_FILE}
    texts = {name: text for name, text in asked.body.files.items() if name not in own}
    digest, problems = None, list[str]()
    try:
        bundle = Bundle.from_texts(texts)
        Engine.load(bundle, scene.catalog, scene.directory, meters=tuple(scene.settings.meters))
        digest = bundle.digest
    except PolicyInvalid as error:
        problems += error.problems
    for name, text in own.items():
        try:
            OwnPolicies.from_text(text, name, scene.directory)
        except PolicyInvalid as error:
            problems += error.problems
    return Answer(body=Validated(loads=not problems, bundle=None if problems else digest, problems=tuple(problems)))


def reload(asked: Asked) -> Answer:
    """What licet.toml and the policies say now is in force; or what was stays, and the problem says why."""
    asked.allow("policies.reload", OPERATOR_LOG)
    try:
        return Answer(body=asked.gate.reload())
    except PolicyInvalid as error:
        message = "the policies do not load; those that were in force stay"
        raise Problem("policy_invalid", message, status=422, errors=error.problems) from error
    except OperatorError as error:
        raise Problem("not_reloaded", f"what was in force stays: {error}", status=422) from error


_TAG = "policies"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/policies",
        operation="listPolicies",
        summary="The policies in force, with the digests that name them",
        tag=_TAG,
        action="policies.read",
        handler=list_policies,
        returns=Policies,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/policies/validate",
        operation="validatePolicies",
        summary="Whether a bundle of policies would load; nothing is put into force",
        tag=_TAG,
        action="policies.validate",
        handler=validate,
        body=ProposedBundle,
        returns=Validated,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/policies/reload",
        operation="reloadPolicies",
        summary="Put into force what licet.toml and the policies say now",
        tag=_TAG,
        action="policies.reload",
        handler=reload,
        returns=Reloaded,
        statuses=(422,),
    ),
)
