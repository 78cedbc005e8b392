"""Which tools of upstreams a caller is shown by the gateway, and why it is not shown the others: for whoever answers for the policies.

A list that leaves tools out says nothing of them to its caller. Here it is said which those are, and by which check of the pipeline.
"""

from __future__ import annotations

from msgspec import Struct

from licet.errors import CallerRefused
from licet.gate.acting import Acting
from licet.gateway.toolbox import hidden_from, shown_to
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem
from licet.server.shapes_records import Name


class WhoseTools(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller, and the upstream that it asks, if it asks one alone."""

    tenant: Name | None = None
    agent: Name | None = None
    service: Name | None = None
    user: Name | None = None
    upstream: Name | None = None


class HiddenTool(Struct, frozen=True, kw_only=True):
    """A tool that is not shown: by which code a call of it would be denied, and why."""

    name: str
    code: str
    why: str


class ShownTools(Struct, frozen=True, kw_only=True):
    """What a caller is shown, and what it is not."""

    shown: tuple[str, ...]
    hidden: tuple[HiddenTool, ...]


def read(asked: Asked) -> Answer:
    """The tools of upstreams, as a caller is shown them."""
    params: WhoseTools = asked.params
    tenants = [name for name in asked.chosen("policies.read", params.tenant) if name != OPERATOR_LOG]
    if len(tenants) != 1:
        raise Problem("tenant_needed", "say for a caller of which tenant: the credential reaches more than one", status=422)
    acting = Acting(tenant=tenants[0], agent=params.agent, service=params.service, user=params.user)
    scene = asked.gate.scene
    try:
        hidden = hidden_from(scene, acting, params.upstream)
        shown = shown_to(scene, acting, params.upstream)
    except CallerRefused as refused:
        raise Problem(refused.code, str(refused), status=422) from refused
    return Answer(body=ShownTools(shown=shown, hidden=tuple([HiddenTool(name=one.name, code=one.code, why=one.why) for one in hidden])))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/gateway/tools",
        operation="listGatewayTools",
        summary="Which tools of upstreams a caller is shown, and why not the others",
        tag="gateway",
        action="policies.read",
        handler=read,
        params=WhoseTools,
        returns=ShownTools,
        statuses=(422,),
    ),
)
