"""What an upstream's result says that it changed, and what it says that it would change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet import Gate
from licet.catalog.effects_map import EffectSettings, effect_maps, mapped
from licet.errors import CatalogInvalid
from licet.model import Effect, JsonObject
from tests.gateway.world import CONFIG, CRM, POLICIES, GatewayWorld, gateway_world

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "ids": {"type": "array", "items": {"type": "string"}}, "amount": {"type": "integer"}},
}
EFFECTS = 'effects = [{target = "Customer::{id}", field = "limit", before = "limit.old", after = "limit.new"}]'
ARGUMENTS = {"id": "C-1", "amount": 500}
SAID = {"limit": {"old": 100, "new": 500}}


def read(*entries: EffectSettings, arguments: Any = None, content: Any = None) -> Any:
    return mapped(effect_maps(entries, SCHEMA), arguments or {"id": "C-1"}, {"structuredContent": content})


def entry(**given: Any) -> EffectSettings:
    return EffectSettings(**{"target": "Customer::{id}", "field": "limit", **given})


def test_before_and_after_are_read_by_their_paths() -> None:
    found = read(entry(before="a.0.old", after="a.0.new"), content={"a": [{"old": 1, "new": {"x": 2}}]})
    assert found.effects == (Effect(target='Customer::"C-1"', field="limit", before=1, after={"x": 2}),)
    assert found.missing == ()


def test_without_before_nobody_knows_what_was_there_and_without_after_there_is_nothing() -> None:
    first, second = read(entry(after="new"), entry(field="file", before="old"), content={"new": 1, "old": 2}).effects
    assert (first.has_before, first.after) == (False, 1)
    assert (second.has_before, second.before, second.after) == (True, 2, None)


def test_null_is_a_value() -> None:
    assert read(entry(before="old", after="new"), content={"old": None, "new": 1}).effects[0].has_before is True


@pytest.mark.parametrize("content", [None, [], "text", {}, {"limit": 1}, {"limit": {"old": 1}}, {"limit": [1, 2]}])
def test_a_path_that_leads_nowhere_is_no_effect_and_is_said(content: Any) -> None:
    found = read(entry(before="limit.old", after="limit.new"), content=content)
    assert found.effects == ()
    assert "limit.new" in found.missing


def test_a_list_of_targets_is_an_effect_on_each() -> None:
    found = read(entry(target="Customer::{ids}", after="new"), arguments={"ids": ["C-1", "C-2"]}, content={"new": 1})
    assert [one.target for one in found.effects] == ['Customer::"C-1"', 'Customer::"C-2"']


def test_an_argument_that_was_left_out_names_nothing() -> None:
    found = read(entry(target="Customer::{ids}", after="new"), content={"new": 1})
    assert (found.effects, found.missing) == ((), ("Customer::{ids}",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "says neither `before` nor `after`"),
        ({"after": "a..b"}, "is no path"),
        ({"after": ""}, "is no path"),
        ({"after": ".".join("a" * 40)}, "is no path"),
        ({"after": "a", "target": "Customer::{nobody}"}, "which the input schema does not have"),
        ({"after": "a", "target": "Customer"}, "is not a target template"),
        ({"after": "a", "field": " "}, "is text that can be read"),
        ({"after": "a", "field": "a\x1b[31m"}, "is text that can be read"),
    ],
)
def test_a_mapping_that_can_mean_nothing_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogInvalid, match=message):
        effect_maps([entry(**given)], SCHEMA)


# through the gateway


def with_table(text: str) -> str:
    return CONFIG.replace('[tools.crm__set]\naccess = "write"\n', f'[tools.crm__set]\naccess = "write"\n{text}\n')


DRY = {
    **CRM[1],
    "inputSchema": {
        "type": "object",
        "properties": {"id": {"type": "string"}, "amount": {"type": "integer"}, "dry_run": {"type": "boolean"}},
        "required": ["id", "amount"],
    },
}
PREVIEW = {**CRM[1], "name": "preview_set"}
WITH_DRY = {"crm": [DRY if one["name"] == "set" else one for one in CRM]}
WITH_PREVIEW = {"crm": [*CRM, PREVIEW]}
BY_DRY_RUN = with_table(f'{EFFECTS}\npreview_argument = "dry_run"\ndry_run_trusted = true')
BY_TOOL = with_table(f'{EFFECTS}\npreview = "crm__preview_set"')


def world(folder: Path, config: str, crm: Mapping[str, list[Any]] | None = None) -> Any:
    pinned = {"crm": CRM, "notes": [{"name": "get", "inputSchema": {"type": "object"}}], **(crm or {})}
    return gateway_world(folder, config=config, pinned=pinned)


def call(w: GatewayWorld, arguments: Any = None, *, content: Any = None, tools: Any = None, fails: bool = False) -> Any:
    def answering(said: Any) -> Callable[..., Any]:
        async def answer(*_: Any) -> JsonObject:
            return {"content": [], "structuredContent": said} | ({"isError": True} if fails else {})

        return answer

    w.upstreams.crm.answering = answering(SAID if content is None else content)
    w.upstreams.crm.tools = tools or w.upstreams.crm.tools
    w.upstreams.notes.tools = [{"name": "get", "inputSchema": {"type": "object"}}]
    return asyncio.run(w.ask("tools/call", {"name": "crm__set", "arguments": arguments or {**ARGUMENTS, "amount": 50}}, agent="writer"))


def test_what_a_result_says_stands_in_the_outcome(tmp_path: Path) -> None:
    with world(tmp_path, with_table(EFFECTS)) as w:
        call(w)
        outcome = w.records()[-1]
    assert outcome.envelope.outcome is not None
    assert outcome.envelope.outcome.effects == 1
    assert outcome.payload.effects == (Effect(target='Customer::"C-1"', field="limit", before=100, after=500),)


def test_what_a_tool_has_changed_before_it_failed_stands_in_the_outcome_too(tmp_path: Path) -> None:
    with world(tmp_path, with_table(EFFECTS)) as w:
        assert call(w, fails=True)["isError"] is True
        outcome = w.records()[-1]
    assert outcome.envelope.outcome is not None
    assert (outcome.envelope.outcome.status, outcome.envelope.outcome.code) == ("error", "tool_error")
    assert outcome.payload.effects == (Effect(target='Customer::"C-1"', field="limit", before=100, after=500),)


def test_what_a_result_should_have_said_is_told(tmp_path: Path) -> None:
    with world(tmp_path, with_table(EFFECTS)) as w:
        call(w, content={"limit": {"old": 1}})
        outcome = w.records()[-1]
    assert outcome.payload.effects in {None, ()}
    assert outcome.payload.detail == {"effects": {"not_in_result": ["limit.new"]}}


def test_a_call_that_only_asks_has_changed_nothing(tmp_path: Path) -> None:
    with world(tmp_path, BY_DRY_RUN, WITH_DRY) as w:
        call(w, {"id": "C-1", "amount": 5, "dry_run": True}, tools=WITH_DRY["crm"])
        outcome = w.records()[-1]
    assert outcome.payload.effects in {None, ()}


@pytest.mark.parametrize(
    ("config", "crm", "sent"),
    [
        (BY_DRY_RUN, WITH_DRY, {"name": "set", "arguments": {**ARGUMENTS, "dry_run": True}}),
        (BY_TOOL, WITH_PREVIEW, {"name": "preview_set", "arguments": ARGUMENTS}),
    ],
)
def test_a_held_call_is_previewed_by_its_upstream_as_a_read_of_its_own(
    tmp_path: Path, config: str, crm: dict[str, list[Any]], sent: JsonObject
) -> None:
    with world(tmp_path, config, crm) as w:
        call(w, ARGUMENTS, tools=crm["crm"])
        assert w.upstreams.crm.sent == [("tools/call", sent)]
        records = w.records()
        assert [(one.envelope.kind, one.envelope.tool.name if one.envelope.tool else None) for one in records] == [
            ("call", "crm__set.preview"),
            ("hold", "crm__set"),
        ]
        shown = records[-1].payload.preview
        assert shown is not None
        assert msgspec.json.decode(bytes(shown), type=list[Effect]) == [
            Effect(target='Customer::"C-1"', field="limit", before=100, after=500)
        ]


def test_a_preview_that_says_nothing_lets_nobody_decide(tmp_path: Path) -> None:
    with world(tmp_path, BY_TOOL, WITH_PREVIEW) as w:
        result = call(w, ARGUMENTS, content={"text": "trust me"}, tools=WITH_PREVIEW["crm"])
        assert result["content"][0]["text"].startswith("denied (preview_failed): ")
        assert w.records()[-1].envelope.kind == "denial"


TWO = 'effects = [{target = "Customer::{id}", field = "limit", after = "limit.new"}, {target = "Customer::{id}", field = "owner", after = "owner"}]'


@pytest.mark.parametrize(
    ("content", "shown"), [({"limit": {"new": 2}}, None), ({"owner": "eve"}, None), ({"limit": {"new": 2}, "owner": None}, 2)]
)
def test_a_preview_of_which_a_part_is_missing_lets_nobody_decide(tmp_path: Path, content: JsonObject, shown: int | None) -> None:
    with world(tmp_path, with_table(f'{TWO}\npreview = "crm__preview_set"'), WITH_PREVIEW) as w:
        result = call(w, ARGUMENTS, content=content, tools=WITH_PREVIEW["crm"])
        last = w.records()[-1]
    if shown is None:
        assert result["content"][0]["text"].startswith(
            "denied (preview_failed): the preview of `crm__set` failed (preview_incomplete), so nobody can"
        )
        assert last.envelope.kind == "denial"
    else:
        assert last.envelope.kind == "hold"
        assert len(msgspec.json.decode(bytes(last.payload.preview or b""), type=list[Effect])) == shown


def test_a_preview_with_more_than_is_read_lets_nobody_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.catalog.effects_map.MAPPED_LIMIT", 1)
    with world(tmp_path, with_table(f'{TWO}\npreview = "crm__preview_set"'), WITH_PREVIEW) as w:
        result = call(w, ARGUMENTS, content={"limit": {"new": 2}, "owner": "eve"}, tools=WITH_PREVIEW["crm"])
        assert result["content"][0]["text"].startswith(
            "denied (preview_failed): the preview of `crm__set` failed (preview_too_long), so nobody can"
        )
        assert w.records()[-1].envelope.kind == "denial"


def test_a_preview_that_has_drifted_is_not_asked(tmp_path: Path) -> None:
    with world(tmp_path, BY_TOOL, WITH_PREVIEW) as w:
        evil = {**PREVIEW, "description": "Also sends a mail."}
        w.gateway.drift.compare("crm", [*CRM, evil])
        result = call(w, ARGUMENTS, tools=[*CRM, evil])
        assert result["content"][0]["text"].startswith("denied (preview_denied): ")
        assert "`preview_set` of `crm`" in result["content"][0]["text"]
        assert w.upstreams.crm.sent == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (f'{EFFECTS}\npreview_argument = "dry_run"', "`dry_run_trusted = true` says that you answer for it"),
        (f'{EFFECTS}\npreview_argument = "amount"\ndry_run_trusted = true', "is no argument of it that is true or false"),
        ('preview_argument = "dry_run"\ndry_run_trusted = true', "a preview needs `effects`"),
        (f'{EFFECTS}\npreview = "crm__nothing"', "is no tool of `crm` that was accepted"),
        (f'{EFFECTS}\npreview = "notes__get"', "is no tool of `crm` that was accepted"),
        (f'{EFFECTS}\npreview = "crm__get"', "must take the same arguments"),
        (f'{EFFECTS}\npreview = "crm__get"\npreview_argument = "dry_run"', "and not both"),
        ('effects = [{target = "Customer::{id}", field = "x"}]', "neither `before` nor `after`"),
    ],
)
def test_a_table_that_cannot_be_kept_does_not_load(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(CatalogInvalid, match=message), world(tmp_path, with_table(table), WITH_DRY):
        pass  # pragma: no cover - it does not open


def test_a_preview_by_a_tool_that_writes_is_none(tmp_path: Path) -> None:
    config = f'{BY_TOOL}\n[tools.crm__preview_set]\naccess = "write"\n'
    with pytest.raises(CatalogInvalid, match="changes something by its own table"), world(tmp_path, config, WITH_PREVIEW):
        pass  # pragma: no cover - it does not open


def test_effects_are_read_of_upstreams_alone(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/all.cedar").write_text(POLICIES)
    (tmp_path / "licet.toml").write_text(
        f'environment = "test"\n[tools."own.tool"]\naccess = "write"\ninput = {{id = "string"}}\n{EFFECTS}\n'
    )
    with pytest.raises(CatalogInvalid, match="this is no tool of one"):
        Gate(tmp_path / "licet.toml")
