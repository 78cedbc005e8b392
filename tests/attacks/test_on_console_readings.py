"""Attacks on what the console shows: without a record of it, of another tenant, or otherwise than it is."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from licet.errors import StoreError
from licet.gate.plans import PlannedCall
from licet.gate.results import Held, Ok
from licet.gate.story import records_of_story
from licet.ledger.exports.as_csv import plain_cell
from tests.attacks.console_site import HIDDEN, WRITTEN, attacked, held_note, write_note
from tests.console.test_every_endpoint import GETS, STREAMS, address
from tests.console.test_live import Heard, listening
from tests.console.world import HOST, Browser, ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.server.world import Reply

OF_THE_LOG = re.compile(r"support-bot|Customer C-1|ticket-1|alice|charged|crm\.lookup|billing")
NOT_OF_THE_LOG = frozenset({"consoleInbox", "consoleRequest", "consolePlan", "consolePolicies", "consoleErase"})
"""What waits, the policies, and a form that says what was typed into it: none is a reading of records."""
PAGES = [one for one in GETS if one.operation not in STREAMS]


class Known:
    """What somebody of the other tenant has come to know."""

    def __init__(self, served: ConsoleWorld) -> None:
        with served.world.alice(workflow="ticket-1", reason="charged twice", session="s-1"):
            served.gate.call("crm.lookup", {"customer_id": "C-1"})
            served.gate.call("crm.lookup", {"customer_id": "C-2"})
            done = served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50})
            held = served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
            found = served.gate.plan([PlannedCall("billing.adjust", {"customer_id": "C-1", "amount_cents": 60_000})])
        assert isinstance(done, Ok)
        assert isinstance(held, Held)
        self.call, self.request, self.plan = str(done.call), str(held.request), str(found.plan)
        rita = served.enter("rita")
        reply = rita.send(
            "/console/freezes/place", "/console/freezes/place", {"scope": "session", "name": "s-1", "tenant": "acme", "reason": "x"}
        )
        assert reply.status == 303, text_of(reply)
        self.freeze = str(served.gate.freezes()[0].id)


@pytest.fixture(scope="module")
def served() -> Iterator[ConsoleWorld]:
    with attacked() as made:
        yield made
        assert_whole(made.gate)


@pytest.fixture(scope="module")
def known(served: ConsoleWorld) -> Known:
    return Known(served)


def readings_in(served: ConsoleWorld) -> list[int]:
    return [served.world.kinds(log).count("access") for log in ("acme", "globex", "operator")]


def readings(served: ConsoleWorld) -> int:
    """Of looks alone, logs grow by readings alone."""
    return sum(state.size for state in served.gate.store.logs())


def lines_of(heard: Heard) -> str:
    """What a stream of the log shows first, however long it takes."""
    end = time.monotonic() + 60
    while "\n\n" not in heard.text.partition("data:")[2]:
        assert time.monotonic() < end
        time.sleep(0.02)
    return heard.text


def said(reply: Reply) -> str:
    return text_of(reply) if "html" in reply.headers["content-type"] else reply.content.decode("latin-1")


# another tenant

GUESSES = {
    "acme": "acmf",
    "ticket-1": "ticket-9",
    "support-bot": "support-bat",
    "night-bot": "night-bat",
    "C-1": "C-9",
    "alice": "alicf",
    "s-1": "s-9",
}
LOOKS = [
    ("/console/inbox/{}", "request"),
    ("/console/inbox/plans/{}", "plan"),
    ("/console/calls/{}", "call"),
    ("/console/calls/{}", "request"),
    ("/console/why/{}", "call"),
    ("/console/why/{}/0", "acme"),
    ("/console/why/{}/0/ask", "acme"),
    ("/console/unknown/{}", "call"),
    ("/console/undo/{}/0", "acme"),
    ("/console/undo/globex/{}", "call"),
    ("/console/erased/{}/0", "acme"),
    ("/console/traces/{}", "ticket-1"),
    ("/console/traces/ticket-1/{}/0", "acme"),
    ("/console/trace?name={}", "ticket-1"),
    ("/console/audit?range=all&tenant={}", "acme"),
    ("/console/audit?range=all&agent={}", "support-bot"),
    ("/console/audit?range=all&user={}", "alice"),
    ("/console/audit?range=all&workflow={}", "ticket-1"),
    ("/console/audit?range=all&session={}", "s-1"),
    ("/console/audit?range=all&target=Customer/{}", "C-1"),
    ("/console/audit?range=all&text={}", "ticket-1"),
    ("/console/audit/export?range=all&tenant={}", "acme"),
    ("/console/audit/export?range=all&agent={}", "support-bot"),
    ("/console/audit/tail?tenant={}", "acme"),
    ("/console/audit/{}/0", "acme"),
    ("/console/audit/{}/0/bytes", "acme"),
    ("/console/audit/{}/0/bytes?part=payload", "acme"),
    ("/console/audit/{}/0/proof", "acme"),
    ("/console/subjects?type=Customer&tenant={}&id=C-1", "acme"),
    ("/console/subjects?type=Customer&tenant=globex&id={}", "C-1"),
    ("/console/subjects?type=User&tenant=globex&id={}", "alice"),
    ("/console/subjects/export?type=Customer&tenant={}&id=C-1", "acme"),
    ("/console/subjects/export?type=Customer&tenant=globex&id={}", "C-1"),
    ("/console/subjects/erase?type=Customer&tenant={}&id=C-1", "acme"),
    ("/console/subjects/erase?type=Customer&tenant=globex&id={}", "C-1"),
    ("/console/permissions/cell?tool=crm.lookup&name={}", "support-bot"),
    ("/console/permissions/cell?tool=crm.lookup&name={}", "night-bot"),
    ("/console/freezes/place?tenant={}", "acme"),
]


def guess(value: str) -> str:
    """Something of the same form that nobody has."""
    return GUESSES.get(value) or value[:-6] + "".join("1" if one == "0" else "0" for one in value[-6:])


def alike(reply: Reply, value: str) -> tuple[int, str, str]:
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f-]{17}", "(id)", said(reply).replace(value, "(it)"))
    text = re.sub(r"Sealed to #[\d,]+|Not sealed yet", "", text)  # of the whole ledger, and public
    return reply.status, text, reply.headers.get("location", "").replace(quote(value, safe=""), "(it)")


@pytest.mark.parametrize(("path", "what"), LOOKS)
@pytest.mark.parametrize(
    "headers", [{}, {"hx-request": "true", "hx-target": "content", "hx-current-url": f"https://{HOST}/console/audit"}], ids=["page", "part"]
)
def test_what_is_out_of_reach_answers_as_what_is_not_there(
    served: ConsoleWorld, known: Known, path: str, what: str, headers: dict[str, str]
) -> None:
    otto, there = served.enter("otto"), getattr(known, what, what)
    otto.get(path.format(guess(there)))  # of two equal questions the second is answered more quickly
    found, recorded = [], []
    for value in (there, guess(there)):
        before = readings_in(served)
        found.append(alike(otto.get(path.format(value), headers), value))
        recorded.append([now - then for now, then in zip(readings_in(served), before, strict=True)])
    assert found[0] == found[1]
    assert recorded[0] == recorded[1]
    assert recorded[0][0] == 0  # nothing is written into the log of the other tenant
    assert "charged twice" not in found[0][1]


def test_what_is_done_to_what_is_out_of_reach_answers_as_to_what_is_not_there(served: ConsoleWorld, known: Known) -> None:
    otto = served.enter("otto")
    before = served.world.kinds("acme"), served.world.kinds("globex")
    vote = {"binding": "0" * 64, "verdict": "approve"}
    for path, what, fields in (
        ("/console/inbox/{}/vote", "request", vote),
        ("/console/inbox/{}/vote", "request", {**vote, "verdict": "reject"}),
        ("/console/inbox/{}/take-back", "request", {}),
        ("/console/inbox/{}/withdraw", "request", {}),
        ("/console/inbox/plans/{}/vote", "plan", {"step_1": f"approve.{'0' * 64}"}),
        ("/console/freezes/{}/lift", "freeze", {"reason": "x"}),
        ("/console/unknown/{}", "call", {"reason": "x", "outcome": "ok"}),
        ("/console/undo/globex/{}", "call", {"reason": "x"}),
        ("/console/undo/{}/0", "acme", {"reason": "x"}),
        ("/console/subjects/erase?type=Customer&tenant={}&id=C-1", "acme", {"typed": "C-1", "reason": "x"}),
        ("/console/place", "acme", {"tenant": "{}"}),
        ("/console/freezes/place", "acme", {"scope": "agent", "name": "support-bot", "tenant": "{}", "reason": "x"}),
        ("/console/freezes/place", "support-bot", {"scope": "agent", "name": "{}", "tenant": "globex", "reason": "x"}),
    ):
        there, found = getattr(known, what, what), []
        for value in (there, guess(there)):
            given = {name: one.format(value) for name, one in fields.items()}
            found.append(alike(otto.send("/console/inbox", path.format(value), given), value))
        assert found[0] == found[1], path
        assert found[0][0] in {400, 403, 404, 409, 422}, (path, found[0])
    assert served.world.kinds("acme") == before[0]
    assert [kind for kind in served.world.kinds("globex")[len(before[1]) :] if kind != "access"] == []
    assert len(served.gate.freezes()) == 1


def test_no_story_is_put_together_for_whoever_may_not_read_it(served: ConsoleWorld, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long an answer takes would tell that there is one."""
    asked: list[Any] = []

    def whole(*given: Any) -> Any:
        asked.append(given)
        return records_of_story(*given)

    monkeypatch.setattr("licet.server.records.records_of_story", whole)
    for path in (f"/console/calls/{known.call}", f"/console/why/{known.call}", f"/console/undo/globex/{known.call}"):
        assert served.enter("otto").get(path).status == 404
    assert asked == []
    assert served.enter("rita").get(f"/console/calls/{known.call}").status == 303
    assert len(asked) == 1


def test_a_cursor_of_one_tenant_shows_nothing_of_it_to_the_other(served: ConsoleWorld, known: Known) -> None:
    for number in range(60):
        write_note(served, "ok", f"note {number}", workflow=f"w-{number}")
    rita, otto = served.enter("rita"), served.enter("otto")
    tried = 0
    for here in ("/console/audit?range=all", "/console/traces", "/console/subjects?tenant=acme&type=Customer&id=C-1"):
        page = rita.get(here).content.decode().replace("&amp;", "&")
        for cursor in re.findall(r"cursor=([A-Za-z0-9_%-]+)", page):
            for there in (
                here,
                here.replace("acme", "globex"),
                "/console/audit?range=all&tenant=globex",
                "/console/inbox",
                "/console/freezes",
            ):
                reply = otto.get(f"{there}{'&' if '?' in there else '?'}cursor={cursor}")
                assert reply.status in {200, 400, 404}
                assert not OF_THE_LOG.search(said(reply)), there
                tried += 1
    assert tried > 0


def test_the_count_of_what_waits_and_the_streams_say_nothing_of_the_other_tenant(served: ConsoleWorld, known: Known) -> None:
    otto = served.enter("otto")
    rita = served.enter("rita")
    assert "waiting for you" not in text_of(otto.get("/console/you"))
    query = "range=all&agent=support-bot&workflow=ticket-1"
    with (
        listening(served, otto) as live,
        listening(served, otto, query, path="/console/audit/tail") as tail,
        listening(served, otto, last_event_id="1") as again,
        listening(served, rita, query, path="/console/audit/tail") as theirs,
    ):
        shown = lines_of(tail)
        lines_of(theirs)
        live.rest()
        live.forget()  # who has signed in since somebody last listened
        served.world.held(40_000)
        served.world.adjust()
        assert live.rest() == []
        assert set(again.events) <= {"requests", "records"}  # that something may have been missed
        assert tail.text == shown
    assert "/console/audit/acme/" in theirs.text
    assert "/console/audit/acme/" not in shown
    assert "data:" in shown
    count = re.compile(r'class="count"[^>]*>([^<]*)<')
    pages = [browser.get("/console/you").content.decode() for browser in (otto, served.enter("lena"))]
    assert count.findall(pages[0]) == []
    assert count.findall(pages[1]) != []


# without a record


UNUSUAL = {
    "range": "bytes=0-0",
    "if-none-match": "*",
    "if-modified-since": "Sat, 01 Jan 2050 00:00:00 GMT",
    "purpose": "prefetch",
    "sec-purpose": "prefetch;prerender",
    "accept": "application/json",
    "cache-control": "only-if-cached",
    "x-forwarded-for": "127.0.0.1",
    "x-original-url": "/console/you",
}


@pytest.mark.parametrize(
    "headers", [{}, UNUSUAL, {**UNUSUAL, "hx-request": "true", "hx-target": "content"}], ids=["plain", "unusual", "part"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_look_at_the_log_is_on_record_before_a_byte_of_it_goes_out(
    served: ConsoleWorld, known: Known, headers: dict[str, str], method: str
) -> None:
    rita = served.enter("rita")
    for endpoint in PAGES:
        there = address(served, endpoint).replace("/x", f"/{known.call}")
        before, at_first = readings(served), list[int]()
        reply = asked_by(served, rita, method, there, headers, lambda at=at_first: at.append(readings(served)))
        if reply.status == 200 and endpoint.operation not in NOT_OF_THE_LOG and OF_THE_LOG.search(said(reply)):
            assert at_first[0] > before, endpoint.operation
        assert reply.status not in {206, 304}, endpoint.operation
    for part in ("envelope", "payload"):
        before = readings(served)
        assert rita.get(f"/console/audit/acme/0/bytes?part={part}", headers).status == 200
        assert readings(served) == before + 1


def asked_by(served: ConsoleWorld, browser: Browser, method: str, path: str, headers: dict[str, str], began: Any) -> Reply:  # noqa: PLR0917  one request
    """What comes of one request, and what is so when the first byte of the answer goes out."""
    there, _, query = path.partition("?")
    pairs = {"host": HOST, "cookie": f"__Host-licet={browser.cookie}", **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": there,
        "raw_path": there.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
        "client": ("192.0.2.1", 50_000),
        "server": ("127.0.0.1", 8181),
        "scheme": "http",
    }
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if not sent:
            await asyncio.to_thread(began)
        sent.append(message)

    asyncio.run_coroutine_threadsafe(served.app(scope, receive, send), served._loop).result(60)
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], names, b"".join(one.get("body", b"") for one in sent[1:]))


def test_who_leaves_before_the_answer_or_in_the_middle_of_an_export_has_read(served: ConsoleWorld, known: Known) -> None:
    rita = served.enter("rita")
    for path in (
        "/console/audit?range=all",
        "/console/audit/acme/0",
        "/console/audit/export?range=all",
        "/console/audit/export?range=all&format=jsonl",
    ):
        for _ in range(4):  # more than may be made at once: who has left holds no place for long
            before, end = readings(served), time.monotonic() + 60
            while (found := left_early(served, rita, path))[0] == 429:
                assert time.monotonic() < end
                assert readings(served) == before
                time.sleep(0.05)
            assert found[0] == 200
            assert found[1] > before


def left_early(served: ConsoleWorld, browser: Browser, path: str) -> tuple[int, int]:
    """The status, and how many readings are on record when the peer goes away as soon as anything has come."""
    at_first: list[int] = []
    gone = asyncio.Event()
    there, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": there,
        "raw_path": there.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", HOST.encode()), (b"cookie", f"__Host-licet={browser.cookie}".encode())],
        "client": ("192.0.2.1", 50_000),
        "server": ("127.0.0.1", 8181),
        "scheme": "http",
    }

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if not at_first:
            at_first.extend((message["status"], await asyncio.to_thread(readings, served)))
        gone.set()

    asyncio.run_coroutine_threadsafe(served.app(scope, receive, send), served._loop).result(60)
    return at_first[0], at_first[1]


def test_nothing_of_the_log_is_shown_where_its_reading_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    with attacked() as served:
        Known(served)
        _shows_nothing_while_locked(served, monkeypatch)


def _shows_nothing_while_locked(served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    rita = served.enter("rita")
    paths = {endpoint.operation: address(served, endpoint) for endpoint in GETS}
    assert OF_THE_LOG.search(said(rita.get(paths["consoleAudit"])))

    def locked(*_: Any, **__: Any) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(served.gate.store, "commit", locked)
    shown = []
    for operation, path in paths.items():
        if operation == "consoleLive" or operation in NOT_OF_THE_LOG:
            continue
        reply = rita.get(path)
        assert reply.status != 500, operation
        if reply.status == 200:
            shown.append(operation)
            assert OF_THE_LOG.search(said(reply)) is None, operation
    assert set(shown) <= {
        "consoleFreezes",
        "consoleFreeze",
        "consoleYou",
        "consolePolicyFile",
        "consolePolicyDraft",
        "consoleComparePolicies",
    }
    assert rita.get(paths["consoleAuditTail"]).status == 503
    assert rita.get("/console/audit/acme/0/bytes?part=payload").status == 503


def test_who_follows_the_log_is_on_record_and_so_is_who_comes_back(served: ConsoleWorld, known: Known) -> None:
    rita = served.enter("rita")
    for headers in ({}, {"last_event_id": "1"}, {"last_event_id": "0\u0000"}):
        before = readings(served)
        with listening(served, rita, "range=all&tenant=acme", path="/console/audit/tail", **headers) as heard:
            assert heard.status == 200
            assert readings(served) == before + 1
            assert OF_THE_LOG.search(lines_of(heard))


# otherwise than it is


@pytest.fixture(scope="module")
def written(served: ConsoleWorld) -> list[str]:
    """Every page that shows what an agent has written; it wrote what is not seen wherever it could."""
    acting = {"workflow": f"w{WRITTEN}", "reason": f"r{WRITTEN}", "session": f"s{WRITTEN}"}
    begun = len(served.world.kinds())
    request = held_note(served, **acting)
    for way in ("ok", "failing"):
        write_note(served, way, **acting)
    with served.world.alice(**acting):
        served.gate.call("crm.lookup", {"customer_id": WRITTEN})
        served.gate.call(f"crm.{WRITTEN}", {WRITTEN: WRITTEN})
        served.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 5_000_000})
        found = served.gate.plan([PlannedCall("notes.write", {"customer_id": "C-1", "text": WRITTEN, "way": "held"})])
    trace = f"/console/traces/{quote(acting['workflow'], safe='')}"
    pages = [
        f"/console/inbox/{request}",
        f"/console/inbox/plans/{found.plan}",
        "/console/inbox?show=all",
        "/console/overview",
        "/console/audit?range=all",
        "/console/audit?" + urlencode({"range": "all", "workflow": acting["workflow"]}),
        "/console/audit?" + urlencode({"range": "all", "text": WRITTEN}),
        "/console/audit?" + urlencode({WRITTEN: WRITTEN}),  # refused, with a word of what was wrong
        "/console/traces",
        trace,
        "/console/subjects?tenant=acme&type=Customer&id=C-1",
        "/console/subjects?" + urlencode({"tenant": "acme", "type": "Customer", "id": WRITTEN}),
        "/console/freezes/place?" + urlencode({"scope": "session", "name": acting["session"]}),
    ]
    for index, kind in enumerate(served.world.kinds()):
        if index >= begun and kind != "access":
            pages += [f"/console/audit/acme/{index}", f"/console/audit/acme/{index}/bytes", f"/console/why/acme/{index}"]
            pages += [f"/console/why/acme/{index}/ask", f"{trace}/acme/{index}"]
    return pages


def test_what_is_not_seen_or_turns_text_around_is_written_out_on_every_page(served: ConsoleWorld, written: list[str]) -> None:
    seen = 0
    for user in ("rita", "lena"):
        browser = served.enter(user)
        for path in written:
            reply = browser.get(path)
            assert reply.status < 500, path
            page = reply.content.decode()
            shown = re.sub(r'(<(input|option)[^>]* value|data-voter|data-log)="[^"]*"', "", page)  # what is sent back as it is
            left = re.search(f"[{HIDDEN}]", shown)
            assert left is None, (path, ascii(shown[max(0, left.start() - 80) : left.end()]))
            assert "<b onx" not in page, path
            seen += "\\u202e" in page
    assert seen > 20  # it stands on these pages


def test_what_an_approver_is_shown_has_every_character_of_what_is_approved(served: ConsoleWorld, written: list[str]) -> None:
    page = served.enter("lena").get(written[0]).content.decode()
    expected = "\\u202e\\u2066\\u200b\\u2069\\u00ad\\ufeff\\u3164\\ue0041&lt;b onx=1&gt;{{7*7}}{% x %}"
    assert page.count(expected) >= 6  # reason, argument, and effects by field, before and after
    assert f"rx{expected}" in page
    for sign in "\u034f\u115f\u180b\u2028\u2060\ufe0f\U000e0100\u0085\x1b":
        request = held_note(served, f"a{sign}b", reason=f"c{sign}d")
        shown = served.enter("lena").get(f"/console/inbox/{request}").content.decode()
        assert sign not in shown
        assert re.search(r"c\\u[0-9a-f]{4,5}d", shown)


def test_the_stream_of_the_log_writes_them_out_too(served: ConsoleWorld, written: list[str]) -> None:
    query = urlencode({"range": "all", "tenant": "acme", "workflow": f"w{WRITTEN}"})
    with listening(served, served.enter("rita"), query, path="/console/audit/tail") as heard:
        assert "\\u202e" in lines_of(heard)
        assert not re.search(f"[{HIDDEN}]", re.sub(r'value="[^"]*"', "", heard.text))
        assert all(line.startswith(("data: ", "retry: ", ": ")) or not line for line in heard.text.split("\n"))


def test_no_cell_of_an_export_is_a_formula_and_no_line_of_one_is_another(served: ConsoleWorld) -> None:
    formulas = (
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r\n=1",
        '"=1',
        "=HYPERLINK(1)",
        "\uff1d1",
        "#end,rows_expected=0",
        "'=1",
        "a\r\n#end",
        "\u202e=1",
    )
    for formula in formulas:
        write_note(served, "failing", formula, workflow=formula.strip() or "w", reason=formula, session=formula.strip())
        with served.world.alice():
            served.gate.call(formula, {"customer_id": formula})
    rita = served.enter("rita")
    for path in ("/console/audit/export?range=all&tenant=acme",):
        text = rita.get(path).content.decode()
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert [row[0] for row in rows].count("#end") == 1
        assert rows[-1][0] == "#end"
        for row in rows[1:-1]:
            for cell in row:
                assert not re.match("[=+\\-@#\t\r\n\uff1d\uff0b\uff0d\uff20]", cell), cell
                assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", cell)
        assert any(plain_cell(cell) == "=HYPERLINK(1)" for row in rows for cell in row)
    lines = rita.get("/console/audit/export?range=all&tenant=acme&format=jsonl").content.split(b"\n")
    assert lines[-1] == b""
    assert [line.startswith(b"{") and line.endswith(b"}") for line in lines[:-1]] == [True] * (len(lines) - 1)


def test_no_name_of_a_download_is_what_somebody_else_wrote(served: ConsoleWorld, known: Known) -> None:
    rita = served.enter("rita")
    write = urlencode({"tenant": "acme", "type": "Customer", "id": 'C"\r\nSet-Cookie: a=b; filename=x.html'})
    for path in (
        f"/console/subjects/export?{write}",
        "/console/audit/acme/0/bytes?part=payload",
        "/console/audit/acme/0/proof",
        "/console/audit/export?range=all&" + urlencode({"text": '"; filename="x.html'}),
    ):
        reply = rita.get(path)
        assert reply.status == 200, path
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+\.(json|jsonl|csv)"', reply.headers["content-disposition"])
        assert reply.headers["content-type"].partition(";")[0] in {
            "application/x-ndjson",
            "application/octet-stream",
            "application/jsonl",
            "text/csv",
        }
        assert "set-cookie" not in reply.headers
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
