"""The entities of one call: its principals, its targets and their tenants, always built under the schema.

Building without the schema loses the action groups, and every policy about a group would be skipped in silence. Roles and groups need no
entities of their own: they are parents by name. Literals that no entity stands for (another user, another customer) are refused when
policies load.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from licet.model import EntityRef, JsonObject, Principal, Target
from licet.policy.schema import TENANT
from licet.policy.shape import RecordShape, ShapeMismatch

_encode = msgspec.json.Encoder().encode


def entities_json(
    principals: tuple[Principal, ...], targets: tuple[Target, ...], environment: str, types: Mapping[str, RecordShape]
) -> str:
    """The entities as Cedar's JSON; `environment` is that of tenants that are no targets themselves.

    Raises `ShapeMismatch` where a target is not what the catalog says, or is described in two ways.
    """
    found: dict[EntityRef, JsonObject] = {}
    for target in targets:
        entity = _target(target, types)
        if found.setdefault(target.ref, entity) != entity:
            raise ShapeMismatch(f"the target {target.ref} is described in two ways")
    for principal in principals:
        found[principal.ref] = _principal(principal)
    for tenant in {principal.tenant for principal in principals} | {target.tenant for target in targets}:
        ref = EntityRef(TENANT, tenant)
        found.setdefault(ref, _entity(ref, {"tenant": _uid(ref), "environment": environment}))
    return _encode(list(found.values())).decode()


def _uid(ref: EntityRef) -> JsonObject:
    return {"type": ref.type, "id": ref.id}


def _entity(ref: EntityRef, attributes: JsonObject, parents: list[JsonObject] | None = None) -> JsonObject:
    return {"uid": _uid(ref), "attrs": attributes, "parents": parents or []}


def _principal(principal: Principal) -> JsonObject:
    roles = [{"type": "Role", "id": role} for role in principal.roles]
    groups = [{"type": "Group", "id": group} for group in principal.groups]
    return _entity(principal.ref, {"tenant": _uid(EntityRef(TENANT, principal.tenant))}, roles + groups)


def _target(target: Target, types: Mapping[str, RecordShape]) -> JsonObject:
    shape = types.get(target.type)
    if shape is None:
        raise ShapeMismatch(f"the catalog has no resource type `{target.type}`")
    described = {**target.attributes, "tenant": EntityRef(TENANT, target.tenant), "environment": target.environment}
    try:
        return _entity(target.ref, shape.encode(described))
    except ShapeMismatch as error:
        raise ShapeMismatch(f"the target {target.ref}: {error}") from None
