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


def caller_json(principals: tuple[Principal, ...], environment: str, targets_own: frozenset[str]) -> str:
    """The principals and their tenants, less the tenants that are targets themselves: those come with the targets.

    `environment` is that of a tenant that is no target.
    """
    found = [_principal(principal) for principal in principals]
    tenants = dict.fromkeys(principal.tenant for principal in principals)
    found += [_tenant(tenant, environment) for tenant in tenants if tenant not in targets_own]
    return _encode(found).decode()


def targets_json(targets: tuple[Target, ...], principals: tuple[Principal, ...], environment: str, types: Mapping[str, RecordShape]) -> str:
    """The targets, and the tenants of theirs that no principal has.

    Raises `ShapeMismatch` where a target is not what the catalog says, or is described in two ways.
    """
    found: dict[EntityRef, JsonObject] = {}
    for target in targets:
        entity = _target(target, types)
        if found.setdefault(target.ref, entity) != entity:
            raise ShapeMismatch(f"the target {target.ref} is described in two ways")
    known = {principal.tenant for principal in principals}
    for target in targets:
        if target.tenant not in known:
            found.setdefault(EntityRef(TENANT, target.tenant), _tenant(target.tenant, environment))
    return _encode(list(found.values())).decode()


def _tenant(tenant: str, environment: str) -> JsonObject:
    ref = EntityRef(TENANT, tenant)
    return _entity(ref, {"tenant": _uid(ref), "environment": environment})


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
