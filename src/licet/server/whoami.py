"""`GET /api/v1/whoami`: what a credential is, and what it may do where."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from licet.model import OPERATOR_LOG
from licet.policy.own import OWN_ACTIONS
from licet.server.endpoint import Answer, Asked, Endpoint


class WhoAmI(Struct, frozen=True, kw_only=True):
    """Who asks, whom the credential may speak for, and the actions of `licet.cedar` that are permitted, by tenant."""

    method: str
    credential: str
    user: str | None
    tenants: tuple[str, ...]
    agents: tuple[str, ...]
    services: tuple[str, ...]
    users: tuple[str, ...]
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    permitted: Mapping[str, tuple[str, ...]]


def _whoami(asked: Asked) -> Answer:
    who, asker = asked.who, asked.asker
    names = (*sorted(asked.directory.tenants), OPERATOR_LOG)
    permitted = {
        name: found for name in names if (found := tuple(action for action in sorted(OWN_ACTIONS) if asked.decide(action, name).allowed))
    }
    return Answer(
        body=WhoAmI(
            method=who.method,
            credential=who.credential,
            user=who.user,
            tenants=who.tenants,
            agents=who.agents,
            services=who.services,
            users=who.users,
            roles=asker.roles,
            groups=asker.groups,
            permitted=permitted,
        )
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/whoami",
        operation="whoAmI",
        summary="What this credential is, and what it may do where",
        tag="meta",
        action=None,
        handler=_whoami,
        returns=WhoAmI,
    ),
)
