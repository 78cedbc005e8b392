"""The list of traces and the waterfall of one: nesting by what callers claim, folded waits, long workflows, and what is not within reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from licet import Trace
from licet.console.trace import ShowTrace
from licet.server.cursors import write_cursor
from licet.testing import vote
from tests.console.subjects import HOSTILE, look_up, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.server.world import Reply


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def span(served: ConsoleWorld, own: str | None = None, parent: str | None = None, tool: str = "crm.lookup", **more: Any) -> None:
    """A call of the workflow `w-1`, with what it says of itself and its parent."""
    arguments = more.pop("arguments", {"customer_id": "C-1"})
    with served.world.alice(workflow=more.pop("workflow", "w-1"), trace=Trace(span_id=own, parent=parent, **more)):
        served.gate.call(tool, arguments)
    served.world.clock.advance(0.01)


def rows(page: Reply) -> list[tuple[int, str]]:
    """Depth and words of each row."""
    found = re.findall(r'<tr class="call">.*?class="name d(\d)"(.*?)</a>', page.content.decode(), re.DOTALL)
    return [(int(depth), " ".join(re.sub(r"<[^>]+>", " ", rest.partition(">")[2]).split())) for depth, rest in found]


def trace(served: ConsoleWorld, name: str = "w-1", query: str = "", user: str = "lena") -> Reply:
    return served.enter(user).get(f"/console/traces/{quote(name, safe='')}{query}")


def test_calls_hang_below_the_span_that_they_name(served: ConsoleWorld) -> None:
    span(served, "a")
    span(served, "b", "a")
    span(served, "c", "b")
    span(served, "d", "a")
    page = trace(served)
    assert page.status == 200
    assert [depth for depth, _ in rows(page)] == [0, 1, 2, 1]


def test_a_trace_is_found_by_its_id_as_well(served: ConsoleWorld) -> None:
    with served.world.alice(trace=Trace(trace_id="ab" * 16, span_id="11" * 8)):
        served.gate.call("crm.lookup", {"customer_id": "C-1"})
    assert "trace of support-bot for alice" in text_of(trace(served, "ab" * 16))


@pytest.mark.parametrize(
    "claims",
    [
        [("a", "a")],
        [("a", "b"), ("b", "a")],
        [("a", "c"), ("b", "a"), ("c", "b"), ("d", "b")],
        [("x", None), ("a", "b"), ("b", "c"), ("c", "b")],
    ],
)
def test_circles_of_parents_are_told_and_no_call_is_lost(served: ConsoleWorld, claims: list[tuple[str, str | None]]) -> None:
    for own, parent in claims:
        span(served, own, parent)
    page = trace(served)
    assert len(rows(page)) == len(claims)
    assert sum("parents form a circle" in words for _, words in rows(page)) == 1


def test_a_parent_that_is_not_here_is_said(served: ConsoleWorld) -> None:
    span(served, "a", "gone")
    ((depth, words),) = rows(trace(served))
    assert depth == 0
    assert "parent not here" in words


def test_a_child_that_begins_before_its_parent_is_told_of_clocks(served: ConsoleWorld) -> None:
    span(served, "child", "parent")
    span(served, "parent")
    (_, first), (depth, second) = rows(trace(served))
    assert "clocks" not in first
    assert depth == 1
    assert "their clocks differ" in second


def test_another_tenants_calls_under_the_same_name_are_in_nothing(served: ConsoleWorld) -> None:
    span(served, "a")
    with served.gate.acting(agent="free-bot", user="gina", tenant="globex", workflow="w-1", trace=Trace(span_id="b", parent="a")):
        served.gate.call("crm.lookup", {"customer_id": "G-1"})
    page = trace(served)
    assert len(rows(page)) == 1
    for hidden in ("globex", "gina", "free-bot"):
        assert hidden not in page.content.decode()
    assert "All 1 calls" in text_of(page)
    other = trace(served, user="greta")
    assert len(rows(other)) == 1
    assert "acme" not in other.content.decode()
    assert "parent not here" in text_of(other)


def test_what_two_tenants_call_the_same_is_kept_apart(served: ConsoleWorld) -> None:
    span(served, "a")
    span(served, "b", "a")
    with served.gate.acting(agent="free-bot", user="gina", tenant="globex", workflow="w-1", trace=Trace(span_id="c", parent="a")):
        served.gate.call("crm.lookup", {"customer_id": "G-1"})
    rita = served.enter("rita")
    chosen = rita.get("/console/traces/w-1")
    assert rows(chosen) == []
    assert "a name that 2 tenants use" in text_of(chosen)
    links = re.findall(r'<a href="(/console/traces/w-1\?[^"]+)"', chosen.content.decode())
    assert links == ["/console/traces/w-1?tenant=acme", "/console/traces/w-1?tenant=globex"]
    acme, globex = (rita.get(path) for path in links)
    assert (len(rows(acme)), len(rows(globex))) == (2, 1)
    assert "globex" not in " ".join(words for _, words in rows(acme))
    assert "All 1 calls" in text_of(globex)
    assert "trace of" not in text_of(globex)
    assert set(links) <= set(re.findall(r'href="([^"]+)"', rita.get("/console/traces").content.decode()))
    assert served.world.kinds("globex").count("access") == 1  # of one tenant is told to that one alone


def test_a_tenant_out_of_reach_answers_as_one_that_is_not_there(served: ConsoleWorld) -> None:
    span(served, "a")
    assert trace(served, query="?tenant=acme").status == 200
    replies = [trace(served, query=f"?tenant={name}", user="greta") for name in ("acme", "nowhere")]
    assert {reply.status for reply in replies} == {404}
    assert trace(served, query="?tenant=globex", user="greta").status == 404


def test_a_page_goes_on_where_the_one_before_ended_whatever_happened_meanwhile(
    served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("licet.console.trace.ROWS", 4)
    for number in range(6):
        span(served, f"s{number}", "s0" if number else None)
    browser = served.enter("lena")
    first = browser.get("/console/traces/w-1?tenant=acme").content.decode()
    following = re.search(r'<tr class="rest"><td colspan="4"><a data-row href="([^"]+)"[^>]*>([^<]+)', first)
    assert following is not None
    assert following[2] == "2 more calls"
    path = following[1].replace("&amp;", "&")
    before = browser.get(path)
    assert len(rows(before)) == 2
    served.world.clock.advance(3_600)
    span(served, "late", "s0")
    span(served, "later")
    after = browser.get(path)
    assert rows(after) == rows(before)
    bars = [re.findall(r'<rect class="s-allow"[^>]+>', page.content.decode()) for page in (before, after)]
    assert bars[0] == bars[1]
    assert "All 8 calls" in text_of(browser.get("/console/traces/w-1?tenant=acme"))


def test_a_cursor_is_for_one_trace_as_it_was_asked_for(served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.console.trace.ROWS", 1)
    for number in range(3):
        span(served, f"s{number}")
        span(served, f"t{number}", workflow="w-2")
    browser = served.enter("lena")
    found = re.search(r"cursor=([\w-]+)", browser.get("/console/traces/w-1").content.decode())
    assert found is not None
    assert browser.get(f"/console/traces/w-1?tenant=acme&cursor={found[1]}").status == 200
    for path in (f"w-2?tenant=acme&cursor={found[1]}", f"w-1?tenant=acme&failed=1&cursor={found[1]}", "w-1?tenant=acme&cursor=AAAA"):
        assert browser.get(f"/console/traces/{path}").status == 400
    params = ShowTrace(id="w-1", tenant="acme")
    for place in ((0, 0, 0), (7, 99, 10**30), (10**15, 10**15, 1)):
        cursor = write_cursor("consoleTrace", params, place)
        assert browser.get(f"/console/traces/w-1?tenant=acme&cursor={cursor}").status in {200, 400}


def test_who_reaches_none_of_it_is_told_the_same_as_of_what_is_not_there(served: ConsoleWorld) -> None:
    span(served, "a")
    there, nowhere = trace(served, user="greta"), trace(served, "w-none", user="greta")
    assert (there.status, nowhere.status) == (404, 404)
    assert trace(served, user="carl").status == 403
    place = "/console/traces/w-1/acme/0"
    assert served.enter("greta").get(place).status == 404


def test_names_are_text(served: ConsoleWorld) -> None:
    span(served, HOSTILE, HOSTILE, workflow=HOSTILE)
    page = trace(served, HOSTILE)
    assert page.status == 200
    assert "<script>alert" not in page.content.decode()
    assert "onerror=alert(1)>" not in page.content.decode().replace("&gt;", "")
    listed = served.enter("lena").get("/console/traces")
    assert listed.status == 200
    assert "<script>alert" not in listed.content.decode()


def test_an_open_question_stands_above_and_what_waited_is_folded(served: ConsoleWorld) -> None:
    span(served, "a")
    span(served, "b", tool="billing.adjust", arguments={"customer_id": "C-1", "amount_cents": 50_000})
    served.world.clock.advance(600)
    page = trace(served)
    text = text_of(page)
    assert "billing.adjust waits for people" in text
    assert "/console/inbox/" in page.content.decode()
    assert "waiting is folded" in text
    assert "10 min" in text
    assert "s-wait" in page.content.decode()
    assert "waiting is in proportion" in text_of(trace(served, query="?unfold=1"))


def test_what_was_decided_is_no_question_any_more(served: ConsoleWorld) -> None:
    with served.world.alice(workflow="w-1"):
        held = served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
    served.world.clock.advance(180)
    vote(served.gate, held.request, "lena")  # type: ignore[union-attr]
    served.world.clock.advance(60)
    with served.world.alice(workflow="w-1"):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
    text = text_of(trace(served))
    assert "waits for people" not in text
    assert "waiting for people" in text


def test_only_what_went_wrong_is_shown_where_that_is_asked_for(served: ConsoleWorld) -> None:
    span(served, "a")
    span(served, "b", "a", arguments={"customer_id": "C-404"})
    page = trace(served, query="?failed=1")
    assert len(rows(page)) == 1
    assert "Denied, held, failed 1" in text_of(page)


@pytest.mark.heavy
def test_two_thousand_calls_come_in_pieces_that_miss_none(served: ConsoleWorld) -> None:
    for number in range(2_000):
        span(served, f"s{number}", f"s{number - 1}" if number % 5 else None)
    browser = served.enter("lena")
    path, seen = "/console/traces/w-1", 0
    while path:
        page = browser.get(path)
        assert len(page.content) < 120_000
        seen += len(rows(page))
        following = re.search(r'<tr class="rest"><td colspan="4"><a data-row href="([^"]+)"', page.content.decode())
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == 2_000


def test_looks_are_recorded(served: ConsoleWorld) -> None:
    span(served, "a")
    browser = served.enter("lena")
    browser.get("/console/traces/w-1")
    assert served.world.kinds("operator").count("access") == 1  # it was looked for in every log within reach
    browser.get("/console/traces/w-1/acme/0")
    assert served.world.kinds().count("access") == 1


def test_the_arguments_of_a_call_are_looked_at_one_by_one(served: ConsoleWorld) -> None:
    span(served, "a")
    assert "C-1" not in text_of(trace(served)).replace("w-1", "")
    page = served.enter("lena").get("/console/traces/w-1/acme/0")
    assert 'customer_id "C-1"' in text_of(page)


@pytest.mark.parametrize("query", ["?after=1", "?cursor=x", "?tenant=", "?failed=2", "?unknown=1"])
def test_absurd_parameters_are_refused(served: ConsoleWorld, query: str) -> None:
    span(served, "a")
    assert trace(served, query=query).status in {400, 422}


def test_the_list_has_workflows_and_says_where_there_are_none(served: ConsoleWorld) -> None:
    browser = served.enter("lena")
    assert "No call names a workflow" in text_of(browser.get("/console/traces"))
    span(served, "a")
    look_up(served)
    text = text_of(browser.get("/console/traces"))
    assert "w-1 support-bot for alice 1 call" in text
    assert browser.get("/console/trace?name=w-1").headers["location"] == "/console/traces/w-1"
    assert browser.get("/console/trace?name=//evil.example").headers["location"] == "/console/traces/%2F%2Fevil.example"


def test_no_call_is_lost_where_the_clock_stepped_back(served: ConsoleWorld) -> None:
    span(served, "a")
    span(served, "b")
    served.world.clock.advance(-1)
    span(served, "c")
    span(served, "d")
    page = trace(served)
    assert len(rows(page)) == 4
    assert "Running" not in text_of(page)
