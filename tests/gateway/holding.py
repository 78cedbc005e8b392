"""Calls that are held, made through a gateway by clients of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from licet.gateway.incoming import Incoming
from licet.model import JsonObject, RequestId
from tests.gateway.world import CONFIG, LEGACY, MODERN, POLICIES, GatewayWorld

SLOW = CONFIG + "[gateway]\nhold_s = 600\n"
CONFIRMED = (
    POLICIES
    + """
@id("ask-the-user")
@require_confirmation
@reason("it is your customer")
forbid (principal, action == Action::"crm__set", resource)
when { context.input.id == "C-5" };
"""
)
SET: JsonObject = {"name": "crm__set", "arguments": {"id": "C-1", "amount": 500}}
SURE: JsonObject = {"name": "crm__set", "arguments": {"id": "C-5", "amount": 5}}
BOTH: JsonObject = {"name": "crm__set", "arguments": {"id": "C-5", "amount": 500}}
FORMS = replace(LEGACY, capabilities={"elicitation": {}})
MODERN_FORMS = replace(MODERN, capabilities={"elicitation": {"form": {}}})
YES: JsonObject = {"action": "accept", "content": {"confirm": True}}


def incoming(w: GatewayWorld, params: JsonObject = SET, *, is_named: bool = True, credential: str | None = "k-1", **how: Any) -> Incoming:
    asked = w.incoming("tools/call", params, agent="writer", **how)
    return replace(asked, acting=replace(asked.acting, is_named=is_named, credential=credential))


def call(w: GatewayWorld, params: JsonObject = SET, **how: Any) -> JsonObject:
    return asyncio.run(w.gateway.answer(incoming(w, params, **how)))


def text(result: JsonObject) -> str:
    assert result["isError"] is True, result
    return str(result["content"][0]["text"])


def open_request(w: GatewayWorld) -> RequestId:
    (shown,) = w.gate.approvals.waiting("acme")
    return shown.request.id


def retried(
    w: GatewayWorld, told: JsonObject, params: JsonObject = SET, responses: Mapping[str, Any] | None = None, **how: Any
) -> Incoming:
    again = params | {"requestState": told["requestState"]} | ({} if responses is None else {"inputResponses": responses})
    return incoming(w, again, **({"client": MODERN} | how))


def ran(w: GatewayWorld) -> list[JsonObject]:
    return [params["arguments"] for _, params in w.upstreams.crm.sent]
