"""Lists of resources, templates and prompts: what callers see of what upstreams list."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.gateway import listing
from licet.gateway.connection import NotSent, Refused, TooLong
from licet.gateway.listing import META_UNAVAILABLE, META_UPSTREAM
from licet.gateway.messages import INVALID_PARAMS, UNAVAILABLE, RpcError
from tests.gateway.lists_world import LISTS_CONFIG, LISTS_POLICIES, Shelf, resource, stock
from tests.gateway.world import LEGACY, MODERN, GatewayWorld, gateway_world


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=LISTS_CONFIG, policies=LISTS_POLICIES) as world:
        yield world


def ask(w: GatewayWorld, method: str, params: Any = None, **how: Any) -> Any:
    return asyncio.run(w.ask(method, params, **how))


def refused(w: GatewayWorld, method: str, params: Any = None, **how: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        ask(w, method, params, **how)
    return caught.value


def uris(result: Any) -> list[str]:
    return [item["uri"] for item in result["resources"]]


def test_resources_of_all_upstreams_are_one_list_and_keep_their_uris(w: GatewayWorld) -> None:
    stock(w)
    result = ask(w, "resources/list")
    assert uris(result) == ["crm://a", "crm://contract", "both://x", "notes://1", "both://x"]
    assert "nextCursor" not in result


def test_an_item_is_carried_whole_and_says_whose_it_is(w: GatewayWorld) -> None:
    stock(w)
    assert ask(w, "resources/list")["resources"][0] == resource("crm://a", future=1, _meta={META_UPSTREAM: "crm"})


def test_at_one_upstream_items_are_exactly_its_own(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.more = {"com.example/extra": [1]}
    result = ask(w, "resources/list", upstream="crm")
    assert result["resources"][0] == resource("crm://a", future=1)
    assert result["com.example/extra"] == [1]


def test_what_would_be_denied_is_hidden_and_what_would_be_held_is_shown(w: GatewayWorld) -> None:
    stock(w)
    assert uris(ask(w, "resources/list", upstream="crm")) == ["crm://a", "crm://contract", "both://x"]


def test_looking_at_a_list_records_nothing(w: GatewayWorld) -> None:
    stock(w)
    ask(w, "resources/list")
    assert w.records() == []


def test_an_upstream_is_not_even_asked_for_whom_nothing_of_it_could_ever_be_permitted(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    assert uris(ask(w, "resources/list", agent="scribe", user="sam")) == ["notes://1", "both://x"]
    assert ask(w, "prompts/list", agent="outsider")["prompts"] == []
    assert crm.asked == []
    assert notes.methods() == ["resources/list"]


def test_somebody_whom_the_directory_does_not_know_sees_nothing(w: GatewayWorld) -> None:
    crm, notes = stock(w)
    assert ask(w, "resources/list", agent="nobody")["resources"] == []
    assert (crm.asked, notes.asked) == ([], [])


def test_templates_are_listed_for_whom_some_read_could_be_permitted(w: GatewayWorld) -> None:
    stock(w)
    shown = ask(w, "resources/templates/list")["resourceTemplates"]
    assert [item["uriTemplate"] for item in shown] == ["crm://customer/{id}", "notes://{+path}"]
    assert ask(w, "resources/templates/list", agent="outsider")["resourceTemplates"] == []


def test_prompts_have_their_upstreams_name_before_theirs_and_the_denied_are_hidden(w: GatewayWorld) -> None:
    stock(w)
    shown = ask(w, "prompts/list")["prompts"]
    assert shown == [{"name": "crm__greet", "arguments": [{"name": "who"}]}, {"name": "notes__greet"}]
    assert [item["name"] for item in ask(w, "prompts/list", upstream="crm")["prompts"]] == ["greet"]


def test_only_a_modern_list_says_for_how_long_and_for_whom_it_holds(w: GatewayWorld) -> None:
    stock(w)
    modern = ask(w, "resources/list", client=MODERN)
    assert (modern["resultType"], modern["ttlMs"], modern["cacheScope"]) == ("complete", 30_000, "private")
    assert not {"resultType", "ttlMs", "cacheScope"} & set(ask(w, "resources/list", client=LEGACY))


def test_a_list_that_its_upstream_lets_be_kept_for_less_is_kept_for_less_and_is_never_public(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.more = {"ttlMs": 5, "cacheScope": "public", "resultType": "complete"}
    modern = ask(w, "resources/list", client=MODERN, upstream="crm")
    assert (modern["ttlMs"], modern["cacheScope"]) == (5, "private")


def everything(w: GatewayWorld, method: str = "resources/list", **how: Any) -> list[list[str]]:
    """The URIs of each page."""
    pages: list[list[str]] = []
    params: dict[str, str] = {}
    while True:
        result = ask(w, method, params, **how)
        pages.append(uris(result))
        if "nextCursor" not in result:
            return pages
        params = {"cursor": result["nextCursor"]}


def test_pages_go_through_all_upstreams_and_miss_nothing(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_ITEMS", 3)
    crm, notes = stock(w)
    crm.lists["resources"] = [resource(f"crm://{n}") for n in range(8)]
    notes.lists["resources"] = [resource(f"notes://{n}") for n in range(4)]
    crm.page, notes.page = 5, 2
    pages = everything(w)
    assert [uri for page in pages for uri in page] == [f"crm://{n}" for n in range(8)] + [f"notes://{n}" for n in range(4)]
    assert max(map(len, pages)) == 3


def test_a_request_looks_at_a_bounded_number_of_pages_however_little_is_visible(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.lists["resources"] = [resource("crm://secret")] * 25 + [resource("crm://a")]
    crm.page = 1
    assert everything(w, upstream="crm") == [[], [], ["crm://a"]]


def test_an_upstream_that_repeats_its_cursor_does_not_go_on_for_ever(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.more = {"nextCursor": "0"}
    pages = everything(w, upstream="crm")
    assert len(pages) == 1
    assert crm.methods() == ["resources/list"] * 2


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", 7, "W10", "A" * 20_000, "WyJyZXNvdXJjZXMvbGlzdCIsbnVsbCxbImNybSIsbnVsbCwtMV1d"])
def test_a_cursor_that_is_none_is_an_error(w: GatewayWorld, cursor: Any) -> None:
    stock(w)
    error = refused(w, "resources/list", {"cursor": cursor})
    assert (error.code, str(error)) == (INVALID_PARAMS, "the `cursor` does not continue this list: list again from the start")


def test_a_cursor_continues_only_the_list_that_it_came_with(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_ITEMS", 1)
    stock(w)
    cursor = {"cursor": ask(w, "resources/list")["nextCursor"]}
    assert uris(ask(w, "resources/list", cursor)) == ["crm://contract"]
    for method, how in [("prompts/list", {}), ("resources/templates/list", {}), ("resources/list", {"upstream": "crm"})]:
        assert refused(w, method, cursor, **how).code == INVALID_PARAMS


def test_a_cursor_into_an_upstream_of_which_the_caller_may_read_nothing_is_none(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_ITEMS", 1)
    crm, _ = stock(w)
    cursor = {"cursor": ask(w, "resources/list")["nextCursor"]}
    crm.asked.clear()
    assert refused(w, "resources/list", cursor, agent="scribe", user="sam").code == INVALID_PARAMS
    assert crm.asked == []


def test_a_cursor_that_the_upstream_does_not_take_is_an_error(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    crm, _ = stock(w)
    monkeypatch.setattr(listing, "PAGE_ITEMS", 2)
    crm.page = 2
    cursor = ask(w, "resources/list")["nextCursor"]
    crm.failing = Refused({"code": INVALID_PARAMS, "message": "expired"})
    assert refused(w, "resources/list", {"cursor": cursor}).code == INVALID_PARAMS


@pytest.mark.parametrize("fault", [NotSent("it is down"), TooLong("it says nothing"), Refused({"code": -32_603, "message": "broken"})])
def test_an_upstream_that_cannot_be_asked_leaves_the_others_whole_and_is_named(
    w: GatewayWorld, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    crm, _ = stock(w)
    crm.failing = fault
    with caplog.at_level(logging.WARNING, "licet.gateway"):
        results = [ask(w, "resources/list", client=MODERN) for _ in range(2)]
    assert [uris(result) for result in results] == [["notes://1", "both://x"]] * 2
    assert results[0]["_meta"][META_UNAVAILABLE] == {"crm": fault.code}
    assert results[0]["ttlMs"] == 0
    assert [record.getMessage() for record in caplog.records if record.name == "licet.gateway"] == [
        f"licet: lists are without `crm`, which cannot be asked: {fault}"
    ]


def test_an_upstream_that_cannot_be_reached_leaves_the_others_whole(w: GatewayWorld) -> None:
    stock(w)
    connect = w.upstreams.connect

    async def down(upstream: str, voyage: Any) -> Any:
        if upstream == "crm":
            raise NotSent("it is down")
        return await connect(upstream, voyage)

    w.upstreams.connect = down  # type: ignore[method-assign]
    result = ask(w, "prompts/list")
    assert [item["name"] for item in result["prompts"]] == ["notes__greet"]
    assert result["_meta"][META_UNAVAILABLE] == {"crm": "upstream_unavailable"}


def test_at_its_own_address_an_upstream_that_is_down_is_an_error(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.failing = NotSent("it is down")
    error = refused(w, "resources/list", upstream="crm")
    assert (error.code, str(error)) == (UNAVAILABLE, "what `crm` offers cannot be listed now: it is down")


def test_at_its_own_address_an_upstreams_error_is_its_clients(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.failing = Refused({"code": -32_050, "message": "quota", "data": {"retry": 5}})
    error = refused(w, "resources/list", upstream="crm")
    assert (error.code, str(error), error.data) == (-32_050, "quota", {"retry": 5})


def test_a_list_that_an_upstream_does_not_have_is_missed_by_nobody(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    del crm.lists["resourceTemplates"]
    result = ask(w, "resources/templates/list")
    assert [item["uriTemplate"] for item in result["resourceTemplates"]] == ["notes://{+path}"]
    assert "_meta" not in result


def test_an_upstream_that_declares_no_prompts_is_not_asked_for_any(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    w.upstreams.crm.capabilities = {"tools": {}}
    assert [item["name"] for item in ask(w, "prompts/list")["prompts"]] == ["notes__greet"]
    assert crm.asked == []


def test_what_has_no_name_is_left_out(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.lists["resources"] = [None, {}, {"uri": 1}, {"uri": ""}, {"uri": "x" * 10_000}, resource("crm://a")]
    assert uris(ask(w, "resources/list", upstream="crm")) == ["crm://a"]


def test_something_that_is_no_list_is_said_to_be_none(w: GatewayWorld) -> None:
    crm, _ = stock(w)
    crm.more = {"resources": "all of them"}
    assert ask(w, "resources/list")["_meta"][META_UNAVAILABLE] == {"crm": "upstream_not_understood"}


def test_of_a_page_without_measure_only_a_part_is_looked_at(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.offers.ITEMS_LIMIT", 5)
    w.upstreams.notes.answering = Shelf({"resources": [resource(f"notes://{n}") for n in range(9)]})
    assert len(uris(ask(w, "resources/list", upstream="notes"))) == 5
