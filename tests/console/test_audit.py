"""The audit explorer: one filter for table, chart and export, every look recorded, and nothing shown of what is out of reach."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import time
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from licet.console import audit_found
from licet.console.audit_chart import HEIGHT, LEAST, draw
from licet.ledger.exports.as_csv import verify_csv
from tests.console.test_live import Heard, listening
from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.world import CONFIG

AUDITORS = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-auditor"]
[users.otto]
tenants = ["globex"]
roles = ["licet-auditor"]
"""
MARKUP = """'"><script>alert(1)</script>"""
ROW = re.compile(r"<tr id=")


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world(CONFIG.replace("[groups]", AUDITORS + "[groups]")) as found:
        with found.world.alice(workflow="ticket-1", reason=MARKUP):
            found.gate.call("crm.lookup", {"customer_id": "C-1"})
            found.gate.call("crm.lookup", {"customer_id": "C-2"})
            found.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500})
            found.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
            found.gate.call("crm.lookup", {"customer_id": MARKUP})
        yield found


@pytest.fixture
def rita(served: ConsoleWorld) -> Browser:
    return served.enter("rita")


def table(browser: Browser, **query: str) -> str:
    reply = browser.get(f"/console/audit?{urlencode(query)}")
    assert reply.status == 200, text_of(reply)
    return reply.content.decode()


def count(browser: Browser, **query: str) -> int:
    return len(ROW.findall(table(browser, **query)))


def test_every_record_is_a_line_and_filters_narrow_it(rita: Browser) -> None:
    everything = count(rita)
    assert everything > 8
    assert 0 < count(rita, verdict="deny") < everything
    assert count(rita, verdict="deny", tool="crm.lookup") == 2
    assert count(rita, tool="billing.adjust", verdict="hold") == 1
    assert count(rita, target="Customer/C-2") == 1
    assert count(rita, workflow="ticket-1") > 4
    assert count(rita, workflow="nothing") == 0
    assert count(rita, text="C-2") >= 1


def test_the_chart_counts_what_the_table_lists(rita: Browser) -> None:
    shown = text_of(rita.get("/console/audit?tool=crm.lookup"))
    assert re.search(r"Allow 1 Hold 0 Deny 2\b", shown), shown
    assert re.search(r"Allow 0 Hold 0 Deny 2\b", text_of(rita.get("/console/audit?tool=crm.lookup&verdict=deny")))


def test_every_value_is_a_link_that_filters_by_it(rita: Browser) -> None:
    page = table(rita, tool="billing.adjust")
    links = set(re.findall(r'href="(/console/audit\?[^"]*)"', page))
    assert "/console/audit?tool=billing.adjust&amp;agent=support-bot" in links
    assert "/console/audit?tool=billing.adjust&amp;verdict=hold" in links
    for link in links:
        assert rita.get(link.replace("&amp;", "&")).status == 200, link


def test_one_look_is_one_reading(served: ConsoleWorld, rita: Browser) -> None:
    before = (
        served.world.kinds().count("access") + served.world.kinds("operator").count("access") + served.world.kinds("globex").count("access")
    )
    table(rita, tool="crm.lookup", target="Customer/C-1")
    after = (
        served.world.kinds().count("access") + served.world.kinds("operator").count("access") + served.world.kinds("globex").count("access")
    )
    assert after == before + 1


def test_pages_go_on_where_they_ended_and_a_cursor_is_of_its_own_question(served: ConsoleWorld, rita: Browser) -> None:
    for _ in range(60):
        with served.world.alice():
            served.gate.call("crm.lookup", {"customer_id": "C-1"})
    first = table(rita, tool="crm.lookup")
    older = re.search(r'href="(/console/audit\?[^"]*cursor=[^"]*)"', first)
    assert older is not None
    second = rita.get(older[1].replace("&amp;", "&")).content.decode()
    ids = [set(re.findall(r'<tr id="([^"]+)"', one)) for one in (first, second)]
    assert len(ids[0]) == 50
    assert ids[1]
    assert not ids[0] & ids[1]
    cursor = older[1].partition("cursor=")[2].partition("&")[0]
    assert rita.get(f"/console/audit?tool=billing.adjust&cursor={cursor}").status == 400


def test_nothing_of_another_tenant_is_shown_by_any_filter(served: ConsoleWorld) -> None:
    otto = served.enter("otto")
    for query in ({}, {"target": "Customer/C-1"}, {"workflow": "ticket-1"}, {"text": "C-1"}, {"range": "all"}):
        assert "support-bot" not in table(otto, **query)
    assert otto.get("/console/audit?tenant=acme").status == 404
    assert otto.get("/console/audit?tenant=nowhere").status == 404
    assert otto.get("/console/audit/export?tenant=acme").status == 404


def test_whoever_may_not_read_the_log_sees_none_of_it(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    for path in ("/console/audit", "/console/audit/export"):
        assert lena.get(path).status == 403
    assert "/console/audit" not in lena.get("/console/inbox").content.decode()


@pytest.mark.parametrize(
    "query",
    ["verdict=maybe", "outcome=fine", "kind=nothing", "since=yesterday", "range=1y", "nope=1", "cursor=abc", "tool=a&tool=b", "live=2"],
)
def test_what_is_no_filter_is_refused_in_words(rita: Browser, query: str) -> None:
    reply = rita.get(f"/console/audit?{query}")
    assert reply.status == 400
    assert "Back to the start" in text_of(reply)


def test_what_agents_write_is_text(rita: Browser) -> None:
    page = table(rita)
    assert "<script>alert" not in page
    page = table(rita, tool=MARKUP, text=MARKUP)
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_an_export_has_what_the_table_has(served: ConsoleWorld, rita: Browser) -> None:
    lines = rita.get("/console/audit/export?tool=crm.lookup&format=jsonl").content.decode().splitlines()
    records, end = [json.loads(line) for line in lines[:-1]], json.loads(lines[-1])
    assert end == {"licet_excerpt": {"records": len(records), "complete": True}}
    assert {record["envelope"]["tool"]["name"] for record in records} == {"crm.lookup"}
    assert len(records) == count(rita, tool="crm.lookup")
    content = rita.get("/console/audit/export?tool=crm.lookup").content
    assert not verify_csv(io.BytesIO(content)).problems
    rows = list(csv.reader(io.StringIO(content.decode())))
    assert len(rows) == len(records) + 2
    said = [record for record in served.world.records("operator") + served.world.records() if record.kind == "access"]
    assert any("audit export" in str(record.payload) for record in said)


def test_views_are_kept_in_this_browser_and_nothing_else_is(rita: Browser) -> None:
    kept = rita.send("/console/audit", "/console/audit/views", {"name": MARKUP[:40], "query": "verdict=deny&tool=crm.lookup"})
    assert kept.status == 303
    cookie = kept.headers["set-cookie"].partition(";")[0]
    page = rita.get("/console/audit", {"cookie": f"__Host-licet={rita.cookie}; {cookie}"}).content.decode()
    assert "&lt;script&gt;" in page
    assert "/console/audit?tool=crm.lookup&amp;verdict=deny" in page
    for name, query in (("x", "nope=1"), ("", "verdict=deny"), ("x", "tool=a&tool=b"), ("x" * 61, "")):
        assert rita.send("/console/audit", "/console/audit/views", {"name": name, "query": query}).status == 400
    for value in ("abc", "e30", quote("[{}]"), "A" * 5_000):
        assert rita.get("/console/audit", {"cookie": f"__Host-licet={rita.cookie}; __Host-licet-views={value}"}).status == 200


def test_a_view_whose_name_has_what_nobody_sees_is_forgotten_as_well(rita: Browser) -> None:
    name = "\U0001f469\u200d\U0001f4bb mine"
    kept = rita.send("/console/audit", "/console/audit/views", {"name": name, "query": "verdict=deny"})
    cookie = kept.headers["set-cookie"].partition(";")[0]
    mine = {"cookie": f"__Host-licet={rita.cookie}; {cookie}"}
    page = rita.get("/console/audit", mine).content.decode()
    sent = [html.unescape(value) for value in re.findall(r'name="name" value="([^"]*mine)"', page)]
    assert sent == [name]
    token = re.search(r'name="form_token" value="([^"]+)"', page)
    assert token is not None
    forgot = rita.post("/console/audit/views", {"form_token": token[1], "name": sent[0], "query": "", "act": "forget"}, mine)
    assert forgot.status == 303
    assert "Max-Age=0" in forgot.headers["set-cookie"]


def test_bars_that_stand_for_anything_are_seen_and_none_is_too_high() -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    since = datetime(2026, 1, 1, tzinfo=UTC)
    at = int(since.timestamp()) * 1_000_000
    chart = draw({"allow": [at] * 100_000, "hold": [at], "deny": [at]}, since, since + timedelta(days=1))
    parts = {part.verdict: part for part in chart.bars[0].parts}
    assert parts["hold"].height >= LEAST * 0.9
    assert sum(part.height for part in parts.values()) <= HEIGHT + 0.2
    assert all(part.y >= -0.1 for part in parts.values())
    assert chart.bars[0].label.endswith("1 deny, 1 hold, 100,000 allow")
    empty = draw({}, since, since)
    assert empty.totals == {"allow": 0, "hold": 0, "deny": 0}
    years = draw({"deny": [at]}, since - timedelta(days=9_000), since + timedelta(days=1))
    assert len(years.bars) <= 200
    assert years.totals["deny"] == 1


def test_where_there_is_much_the_chart_is_counted_by_the_hour(rita: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = re.search(r"Allow \d+ Hold \d+ Deny \d+", text_of(rita.get("/console/audit")))
    assert exact is not None
    decided = sum(map(int, re.findall(r"\d+", exact[0])))
    for drawn in (decided, 1):  # fewer decisions than are drawn, but more records; and more decisions
        monkeypatch.setattr(audit_found, "DRAWN", drawn)
        for query in ("", "?range=all", "?range=30d"):
            shown = text_of(rita.get(f"/console/audit{query}"))
            assert exact[0] in shown, shown
            assert re.search(r"per (1 h|\d+ h|day|\d+ days);", shown), shown
    assert re.search(r"Allow 0 Hold 0 Deny [1-9]", text_of(rita.get("/console/audit?verdict=deny")))
    assert re.search(r"drawn from where", text_of(rita.get("/console/audit?tool=crm.lookup&range=all")))


def test_the_tail_shows_what_comes_in_and_is_one_reading(served: ConsoleWorld, rita: Browser) -> None:
    def readings() -> int:
        return sum(served.world.kinds(log).count("access") for log in ("acme", "globex", "operator"))

    before = readings()
    with listening(served, rita, "tool=crm.lookup", path="/console/audit/tail") as heard:
        assert (heard.status, heard.media_type) == (200, "text/event-stream")
        wait_for(heard, 'id="found"')
        assert readings() == before + 1
        for name in ("C-77", "C-78"):
            heard.forget()
            with served.world.alice():
                served.gate.call("crm.lookup", {"customer_id": name})
            wait_for(heard, name)
        newest = re.findall(r'<tr id="([^"]+)"', heard.text)
        assert len(newest) == len(set(newest))
        heard.rest(1.0)
        heard.forget()
        rita.get("/console/audit")
        assert '<tr id="' not in "".join(heard.rest(1.0)) + heard.text  # a reading is no news
        assert readings() == before + 2
    said = [record for log in ("acme", "operator") for record in served.world.records(log) if record.kind == "access"]
    assert any("audit tail" in str(record.payload) for record in said)


def test_a_tail_shows_no_other_tenant_and_ends_with_its_session(served: ConsoleWorld) -> None:
    otto = served.enter("otto")
    assert otto.get("/console/audit/tail?tenant=acme").status == 404
    assert otto.get("/console/audit/tail?nope=1").status == 400
    assert served.enter("lena").get("/console/audit/tail").status == 403
    with listening(served, otto, path="/console/audit/tail") as heard:
        wait_for(heard, 'id="found"')
        with served.world.alice():
            served.gate.call("crm.lookup", {"customer_id": "C-79"})
        heard.rest(1.0)
        assert "support-bot" not in heard.text
        assert "C-79" not in heard.text
        assert otto.send("/console/you", "/console/sign-out").status == 303
        end = time.monotonic() + 3
        while not heard.has_ended:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize(
    "query",
    [
        "since=0001-01-01T00:00&until=9999-12-31T23:59",
        "since=2026-01-01T00:00&until=1999-01-01T00:00",
        "since=9999-12-31T23:59",
        "until=0001-01-01T00:00",
        "since=0001-01-01T00:00%2B14:00",
        "until=9999-12-31T23:59-14:00",
    ],
)
def test_absurd_times_are_answered(rita: Browser, query: str) -> None:
    assert rita.get(f"/console/audit?{query}").status in {200, 400}


def test_where_nothing_is_found_each_filter_can_be_taken_off(rita: Browser) -> None:
    page = table(rita, tool="crm.lookup", workflow="nothing", text="C-2")
    assert 'href="/console/audit?text=C-2&amp;tool=crm.lookup">Take off workflow' in page
    assert 'href="/console/audit?tool=crm.lookup&amp;workflow=nothing">Take off text' in page


def test_thousands_of_parameters_are_refused(rita: Browser) -> None:
    assert rita.get("/console/audit?" + "&".join(f"p{number}=1" for number in range(3_000))).status in {400, 414}
    assert rita.get("/console/audit?kind=" + ",".join(["intent"] * 5_000)).status in {200, 400}


def wait_for(heard: Heard, text: str, within_s: float = 3.0) -> None:
    end = time.monotonic() + within_s
    while text not in heard.text:
        assert time.monotonic() < end, (text, heard.text[-500:])
        time.sleep(0.02)


def test_signing_in_is_told_in_words(served: ConsoleWorld, rita: Browser) -> None:
    served.enter("lena")
    shown = text_of(rita.get("/console/audit"))
    assert "lena signed in to the console by a link" in shown
    assert "made a link by which lena can sign in once" in shown
    assert "cannot be read" not in shown


def test_every_filter_of_the_address_has_a_chip_and_is_kept_by_a_search(rita: Browser) -> None:
    page = table(rita, tenant="acme", actor="support-bot")
    for name, value in (("tenant", "acme"), ("actor", "support-bot")):
        assert f'aria-label="Take the filter {name} off"' in page
        assert f'<input type="hidden" name="{name}" value="{value}">' in page
