"""`tools/list` as a caller sees it, and what an administrator is told of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.catalog.pins import LOCK_FILE, pins_of, read_lock
from licet.errors import CallerRefused, CatalogInvalid
from licet.gate.acting import Acting
from licet.gate.results import Denied
from licet.gate.watching import files_of
from licet.gateway import toolbox
from licet.gateway.link import ClientFacts, Voyage
from licet.gateway.messages import INVALID_PARAMS, NOT_PERMITTED, RpcError
from licet.gateway.toolbox import Hidden
from tests.gateway.world import CONFIG, CRM, FakeLink, GatewayWorld, gateway_world

BOT = Acting(tenant="acme", agent="bot", user="alice")


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path) as world:
        yield world


def listed(w: GatewayWorld, params: Any = None, **how: Any) -> Any:
    return asyncio.run(w.ask("tools/list", params, **how))


def names(w: GatewayWorld, **how: Any) -> list[str]:
    return [tool["name"] for tool in listed(w, **how)["tools"]]


def drifted(name: str, **changed: Any) -> list[Any]:
    return [{**one, **changed} if one["name"] == name else one for one in CRM]


def test_a_drifted_tool_is_listed_for_nobody_until_it_is_what_was_accepted_again(w: GatewayWorld) -> None:
    assert "crm__get" in names(w)
    w.gateway.drift.compare("crm", drifted("get", description="Send me the customer."))
    assert "crm__get" not in names(w)
    w.gateway.drift.compare("crm", CRM)
    assert "crm__get" in names(w)


def test_the_order_is_that_of_the_names_whatever_the_upstream_said(tmp_path: Path) -> None:
    with gateway_world(tmp_path, pinned={"crm": CRM[::-1], "notes": [*NOTES_]}) as w:
        assert names(w, agent="writer") == ["crm__ask", "crm__get", "crm__set", "notes__get"]


NOTES_ = [{"name": "get", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}]


def test_a_long_list_comes_in_pages(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolbox, "PAGE_TOOLS", 2)
    first = listed(w, agent="writer")
    second = listed(w, {"cursor": first["nextCursor"]}, agent="writer")
    assert [[tool["name"] for tool in page["tools"]] for page in (first, second)] == [["crm__ask", "crm__get"], ["crm__set", "notes__get"]]
    assert "nextCursor" not in second


@pytest.mark.parametrize("cursor", ["###", 7, "gICA", ["a"]])
def test_a_cursor_of_somebody_else_is_refused(w: GatewayWorld, cursor: Any) -> None:
    with pytest.raises(RpcError, match="`cursor` is none that this list gave") as caught:
        listed(w, {"cursor": cursor})
    assert caught.value.code == INVALID_PARAMS


def test_a_list_is_made_once_for_a_caller_and_a_scene(w: GatewayWorld) -> None:
    first = listed(w)["tools"]
    assert all(one is other for one, other in zip(first, listed(w)["tools"], strict=True))


def test_a_list_is_that_of_the_policies_in_force(w: GatewayWorld) -> None:
    assert "notes__get" in names(w)
    policies = w.folder / "policies" / "all.cedar"
    policies.write_text(policies.read_text() + '@id("no") forbid (principal, action == Action::"notes__get", resource);\n')
    before = names(w)
    text = policies.read_text().replace('permit (principal in Role::"support", action in Action::"read", resource);', PERMIT_GET)
    policies.write_text(text)
    w.gate.reload()
    assert (before, names(w)) == (["crm__ask", "crm__get", "notes__get"], ["crm__get"])


PERMIT_GET = 'permit (principal in Role::"support", action == Action::"crm__get", resource);'


def test_a_caller_that_is_none_is_shown_nothing(w: GatewayWorld) -> None:
    with pytest.raises(RpcError, match=r"denied \(unknown_agent\)") as caught:
        listed(w, agent="stranger")
    assert caught.value.code == NOT_PERMITTED


def test_a_reason_is_asked_for_where_it_is_required_and_nothing_else_of_the_definition_moves(tmp_path: Path) -> None:
    with gateway_world(tmp_path, config=f'require_reason = "writes"\n{CONFIG}') as w:
        shown = {tool["name"]: tool for tool in listed(w, agent="writer")["tools"]}
    assert "licet_reason" not in shown["crm__get"]["inputSchema"]["properties"]
    schema = shown["crm__set"]["inputSchema"]
    assert schema["required"] == ["id", "amount", "licet_reason"]
    assert schema["properties"].pop("licet_reason")["type"] == "string"
    schema["required"].remove("licet_reason")
    assert shown["crm__set"] == {**CRM[1], "name": "crm__set"}


def test_a_tool_that_has_an_argument_of_that_name_keeps_its_own(tmp_path: Path) -> None:
    own = {"name": "ask", "inputSchema": {"type": "object", "properties": {"licet_reason": {"type": "integer"}}}}
    pinned = {"crm": [own if one["name"] == "ask" else one for one in CRM], "notes": NOTES_}
    with gateway_world(tmp_path, config=f'require_reason = "always"\n{CONFIG}', pinned=pinned) as w:
        shown = {tool["name"]: tool for tool in listed(w)["tools"]}
    assert shown["crm__ask"]["inputSchema"] == own["inputSchema"]


def test_an_administrator_is_told_why_each_tool_is_hidden(w: GatewayWorld) -> None:
    w.gateway.drift.compare("crm", drifted("get", annotations={"readOnlyHint": True}))
    hidden = {one.name: one for one in w.gateway.toolbox.hidden(BOT)}
    assert {name: one.code for name, one in hidden.items()} == {
        "crm__get": "definition_drift",
        "crm__set": "no_permit",
        "crm__wipe": "unclassified_tool",
    }
    assert "`/annotations`" in hidden["crm__get"].why
    assert hidden["crm__set"].why == 'no permit could ever match Agent::"bot" for `crm__set`'
    assert "`[tools.crm__wipe]`" in hidden["crm__wipe"].why
    assert w.gateway.toolbox.hidden(BOT, "notes") == ()


def test_of_nobody_it_is_told_that_they_are_nobody(w: GatewayWorld) -> None:
    with pytest.raises(CallerRefused, match="stranger"):
        w.gateway.toolbox.hidden(Acting(tenant="acme", agent="stranger"))


def test_what_is_hidden_is_denied_by_the_same_code(w: GatewayWorld) -> None:
    w.gateway.drift.compare("crm", drifted("get", description="Send me the customer."))
    told: dict[str, Hidden] = {one.name: one for one in w.gateway.toolbox.hidden(BOT)}
    for name, one in told.items():
        with w.gate.acting(tenant="acme", agent="bot", user="alice"):
            denied = w.gate.call(name, {})
        assert isinstance(denied, Denied)
        assert (denied.decision.verdict, denied.decision.code, denied.decision.message) == ("deny", one.code, one.why)


def test_what_is_accepted_is_listed_again_after_a_reload_without_another_look(w: GatewayWorld) -> None:
    new = drifted("get", description="Find a customer, faster.")
    w.gateway.drift.compare("crm", new)
    assert "crm__get" not in names(w)
    path = w.folder / LOCK_FILE
    lock = read_lock(path)
    lock.with_pins("crm", pins_of(new)).write(path)
    w.gate.reload()
    shown = {tool["name"]: tool for tool in listed(w)["tools"]}
    assert shown["crm__get"]["description"] == "Find a customer, faster."


def test_a_lock_that_changes_is_read_by_whoever_watches(w: GatewayWorld) -> None:
    assert w.folder / LOCK_FILE in set(files_of(w.gate.settings))


def test_callers_whose_clients_can_do_more_may_be_offered_more(w: GatewayWorld) -> None:
    def voyage(capabilities: dict[str, Any]) -> Voyage:
        return Voyage(link=FakeLink(ClientFacts(era="legacy", version="2025-11-25", capabilities=capabilities)), tenant="acme", agent="bot")

    w.gateway.drift.compare("crm", CRM, voyage({"roots": {}}))
    w.gateway.drift.compare("crm", CRM[1:], voyage({}))
    assert w.gateway.drift.find("crm__get") is None
    w.gateway.drift.compare("crm", CRM[1:], voyage({"roots": {}}))
    assert "is not offered any more" in (w.gateway.drift.find("crm__get") or "")


@pytest.mark.parametrize("name", ["crm__mine", "crm.mine", "crm__get", "crm__wipe", "notes__get.preview.more"])
def test_no_python_tool_is_taken_for_one_of_an_upstream(w: GatewayWorld, name: str) -> None:
    with pytest.raises(CatalogInvalid, match=r"would be taken for one of the upstream `(crm|notes)`"):
        w.gate.tool(name, access="read")(lambda: None)
