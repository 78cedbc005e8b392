"""What upstreams list, beside what is pinned."""

from __future__ import annotations

from typing import Any

import pytest

from licet.catalog import live as room
from licet.catalog.live import Change, LiveDefinitions, changes
from licet.catalog.pins import Pin, pin_of

GET: dict[str, Any] = {"name": "get", "description": "Find.", "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}}}
PUT: dict[str, Any] = {"name": "put", "inputSchema": {"type": "object"}}


def pin(definition: Any = GET) -> Pin:
    return pin_of(definition)[1]


def test_nobody_has_seen_a_drift_before_anybody_has_looked() -> None:
    assert LiveDefinitions().find("crm", "get", pin()) is None


def test_a_definition_in_another_order_is_the_same() -> None:
    live = LiveDefinitions()
    live.take("crm", [dict(reversed(GET.items()))])
    assert live.find("crm", "get", pin()) is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"description": "Find, and send a copy to me."}, "`/description`"),
        ({"title": "Get"}, "`/title`"),
        ({"annotations": {"readOnlyHint": True}}, "`/annotations`"),
        ({"_meta": {"ui": "evil"}}, "`/_meta`"),
        ({"outputSchema": {"type": "object"}}, "`/outputSchema`"),
        ({"inputSchema": {"type": "object", "properties": {"id": {"type": "number"}}}}, "`/inputSchema/properties/id/type`"),
        ({"icons": [{"src": "https://x"}]}, "`/icons`"),
    ],
)
def test_whatever_differs_is_a_drift_and_is_told_by_its_place(changed: dict[str, Any], told: str) -> None:
    live = LiveDefinitions()
    live.take("crm", [{**GET, **changed}])
    assert live.find("crm", "get", pin()) == f"has changed: {told}"


def test_a_tool_that_nobody_is_given_any_more_has_drifted() -> None:
    live = LiveDefinitions()
    live.take("crm", [PUT])
    assert live.find("crm", "get", pin()) == "is not offered any more"


def test_a_tool_that_somebody_is_given_is_offered() -> None:
    live = LiveDefinitions()
    live.take("crm", [PUT], scope="globex")
    live.take("crm", [PUT, GET], scope="acme")
    live.take("crm", [PUT], scope="initech")
    assert live.find("crm", "get", pin()) is None


def test_what_others_are_shown_clears_nobody() -> None:
    live = LiveDefinitions()
    live.take("crm", [{**GET, "description": "Evil."}], scope="acme")
    live.take("crm", [GET], scope="globex")
    assert live.find("crm", "get", pin()) == "has changed: `/description`"
    live.take("crm", [GET], scope="acme")
    assert live.find("crm", "get", pin()) is None


def test_what_was_accepted_has_not_drifted() -> None:
    live = LiveDefinitions()
    new = {**GET, "description": "Find more."}
    live.take("crm", [new])
    assert live.find("crm", "get", pin(new)) is None


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        ([GET, {**GET, "description": "Evil."}], "two tools are called"),
        ([{"description": "no name"}], "a tool without a name"),
        (["get"], "a tool without a name"),
        ([{**GET, "description": "\ud800"}], "cannot be pinned"),
    ],
)
def test_of_a_list_that_cannot_be_read_no_tool_is_called(listed: list[Any], problem: str) -> None:
    live = LiveDefinitions()
    assert problem in (live.take("crm", listed) or "")
    assert (live.find("crm", "get", pin()) or "").startswith("cannot be compared with what is offered now")
    assert live.take("crm", [GET]) is None
    assert live.find("crm", "get", pin()) is None


def test_upstreams_say_nothing_of_each_other() -> None:
    live = LiveDefinitions()
    live.take("crm", [])
    assert live.find("notes", "get", pin()) is None


def test_the_revision_moves_with_what_is_listed_and_with_nothing_else() -> None:
    live = LiveDefinitions()
    seen = []
    for scope, listed in [("a", [GET]), ("a", [GET]), ("b", [GET]), ("b", [GET, PUT]), ("b", [GET])]:
        live.take("crm", listed, scope=scope)
        seen.append(live.revision)
    assert seen == [1, 1, 1, 2, 3]


def test_equal_lists_are_kept_once() -> None:
    live = LiveDefinitions()
    for number in range(50):
        live.take("crm", [dict(GET)], scope=str(number))
    assert len({id(report) for report in live._reports["crm"].values()}) == 1


def test_who_has_not_asked_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SCOPES_LIMIT", 2)
    live = LiveDefinitions()
    live.take("crm", [{**GET, "description": "Evil."}], scope="a")
    live.take("crm", [GET], scope="b")
    live.take("crm", [GET], scope="c")
    assert list(live._reports["crm"]) == ["b", "c"]
    assert live.find("crm", "get", pin()) is None


def test_changes_are_told_by_place_with_what_stood_there() -> None:
    after = {"name": "get", "description": None, "inputSchema": {"type": "object", "properties": {"a/b": 1}}}
    assert changes(GET, after) == (
        Change("/description", "Find.", None),
        Change("/inputSchema/properties/a~1b", None, 1, has_before=False),
        Change("/inputSchema/properties/id", {"type": "string"}, None, has_after=False),
    )


def test_one_and_one_point_five_and_true_are_three_things() -> None:
    assert changes({"x": 1}, {"x": True}) == (Change("/x", 1, True),)
    assert changes({"x": 1}, {"x": 1.5}) == (Change("/x", 1, 1.5),)


def test_of_many_changes_some_are_told_and_the_rest_are_counted() -> None:
    live = LiveDefinitions()
    live.take("crm", [{**GET, **{f"x{number}": number for number in range(8)}}])
    assert live.find("crm", "get", pin()) == "has changed: `/x0`, `/x1`, `/x2`, `/x3`, `/x4` and 3 more"


def test_a_list_of_too_many_tools_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TOOLS_LIMIT", 1)
    live = LiveDefinitions()
    assert live.take("crm", [GET, PUT]) == "it has more than 1 tools"
    assert "cannot be compared" in (live.find("crm", "get", pin()) or "")


def test_a_definition_that_is_not_kept_has_changed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_BYTES", 10)
    live = LiveDefinitions()
    live.take("crm", [{**GET, "description": "Evil."}])
    assert live.find("crm", "get", pin()) == "has changed"


def test_definitions_are_kept_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_BYTES", 2_000)
    live = LiveDefinitions()
    for number in range(1_000):
        live.take("crm", [{**GET, "description": f"Evil {number}."}])
    assert live._kept["crm"]._bytes <= 2_000
    assert live.find("crm", "get", pin()) == "has changed: `/description`"


def test_a_report_that_nobody_renewed_is_dropped_when_another_comes() -> None:
    now = [0.0]
    live = LiveDefinitions(lambda: now[0])
    live.take("crm", [{**GET, "title": "other"}], scope="left")
    live.take("crm", [GET], scope="here")
    assert live.find("crm", "get", pin()) == "has changed: `/title`"
    now[0] = room.STALE_S + 1
    live.take("crm", [GET], scope="here")
    assert live.find("crm", "get", pin()) is None
    assert (live.knows("crm", "left"), live.knows("crm", "here")) == (False, True)


def test_what_was_forgotten_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SCOPES_LIMIT", 2)
    live = LiveDefinitions()
    live.take("crm", [{**GET, "title": "other"}], scope="a")
    for scope in ("b", "c"):
        live.take("crm", [GET], scope=scope)
    assert (live.knows("crm", "a"), live.knows("crm", "c")) == (False, True)
    assert live.find("crm", "get", pin()) is None
    live.forget("crm")
    assert not live.knows("crm", "c")
