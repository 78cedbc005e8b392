"""Two upstreams with resources, templates and prompts, for tests of lists, routes and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licet.gateway.connection import Refused
from licet.gateway.link import Voyage
from licet.model import JsonObject
from tests.gateway.world import CONFIG, POLICIES, GatewayWorld

LISTS_CONFIG = (
    CONFIG
    + '\n[agents.outsider]\ntenants = ["acme"]\n[agents.scribe]\ntenants = ["acme"]\nroles = ["notes-only"]\n[users.sam]\ntenants = ["acme"]\nroles = ["notes-only"]\n'
)
LISTS_POLICIES = (
    POLICIES
    + """
@id("no-secrets")
forbid (principal, action == Action::"crm.resources.read", resource)
when { context.input.uri == "crm://secret" };

@id("contracts-need-lead")
@require_approval("1 of Group::\\"leads\\"")
@reason("contracts need a lead")
forbid (principal, action == Action::"crm.resources.read", resource)
when { context.input.uri == "crm://contract" };

@id("no-farewells")
forbid (principal, action == Action::"crm.prompts.get", resource)
when { context.input.name == "farewell" };

@id("notes-only")
permit (principal in Role::"notes-only", action in [Action::"notes.resources.read", Action::"notes.prompts.get"], resource);
"""
)


def resource(uri: str, **more: Any) -> JsonObject:
    return {"uri": uri, "name": uri.rpartition("/")[2], **more}


class Shelf:
    """What an upstream lists, in pages; and what it answers to the rest."""

    def __init__(self, lists: Mapping[str, list[Any]], *, page: int = 1_000) -> None:
        self.lists = dict(lists)
        self.page = page
        self.failing: Exception | None = None
        self.more: JsonObject = {}
        self.asked: list[tuple[str, JsonObject]] = []

    async def __call__(self, method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        del voyage
        self.asked.append((method, dict(params)))
        if self.failing is not None:
            raise self.failing
        member = {"resources/list": "resources", "resources/templates/list": "resourceTemplates", "prompts/list": "prompts"}.get(method)
        if member is None:
            return {"echo": dict(params)}
        if member not in self.lists:
            raise Refused({"code": -32_601, "message": "no such method"})
        cursor = params.get("cursor", "0")
        if not cursor.isdecimal():
            raise Refused({"code": -32_602, "message": "no such cursor"})
        start = int(cursor)
        page: JsonObject = {member: self.lists[member][start : start + self.page], **self.more}
        if start + self.page < len(self.lists[member]):
            page["nextCursor"] = str(start + self.page)
        return page

    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


def stock(w: GatewayWorld) -> tuple[Shelf, Shelf]:
    """Fill both upstreams."""
    crm = Shelf(
        {
            "resources": [resource("crm://a", future=1), resource("crm://secret"), resource("crm://contract"), resource("both://x")],
            "resourceTemplates": [{"uriTemplate": "crm://customer/{id}", "name": "customer"}],
            "prompts": [{"name": "greet", "arguments": [{"name": "who"}]}, {"name": "farewell"}],
        }
    )
    notes = Shelf(
        {
            "resources": [resource("notes://1"), resource("both://x")],
            "resourceTemplates": [{"uriTemplate": "notes://{+path}", "name": "note"}],
            "prompts": [{"name": "greet"}],
        }
    )
    w.upstreams.crm.answering, w.upstreams.notes.answering = crm, notes
    for one in (w.upstreams.crm, w.upstreams.notes):
        one.capabilities = {
            "tools": {},
            "resources": {"subscribe": True, "listChanged": True},
            "prompts": {"listChanged": True},
            "completions": {},
            "logging": {},
        }
    return crm, notes
