"""What looking at a million records costs: pages on the server, in a browser, and how soon an open tail shows a new record.

    python -m benchmarks console
    python -m benchmarks.bench_console --records 50000      # a look on the way

The ledger is a real one, sealed, signed and indexed, served as `licet serve` does; the browser is Debian's Chromium. Times on the server
are from the request to the end of its answer over a kept connection, the median of twenty; `base` is a style sheet asked for in the same
way. First contentful paint is what the browser reports of itself, in a fresh profile each time.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from msgspec import Raw
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.rows import Row
from licet import Gate
from licet.cli.console import link_address
from licet.config import loads
from licet.console.app import Console
from licet.gate.results import Ok
from licet.gate.signing_in import issue_link
from licet.ledger.entropy import new_id
from licet.ledger.keys import PREFIX
from licet.ledger.record import Actor, DecisionEntry, OutcomeEntry, Payload, ToolEntry, TraceEntry
from licet.ledger.seal import Filing, state
from licet.ledger.vault import Subject
from licet.model import CallId, DecidingPolicy
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.server.assembly import assemble
from licet.store.contract import CloseCall, OpenCall
from tests.console.browser.finding import ARGUMENTS, MISSING, find_browser

RECORDS = 1_000_000
STEP = 500
CUSTOMERS = 1_000
DAYS = 30
ROUNDS = 20
LOADS = 7
TAILED = 15
PAGE_BYTES = 120_000
CONFIG = """
environment = "production"
keys = "file:licet.key"
[tenants.acme]
[agents.support-bot]
tenants = ["acme"]
roles = ["support"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
[users.rita]
tenants = ["acme"]
roles = ["licet-admin", "licet-auditor"]
[tools."billing.adjust"]
access = "write"
[tools."account.suspend"]
access = "destructive"
[server]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
reload = false
requests_per_minute = 1000000
"""
POLICY = """@id("support-may")
permit (principal in Role::"support", action, resource) when { resource.tenant == principal.tenant };
"""
FILTERED: dict[str, str] = {
    "the newest": "",
    "one agent, denied": "agent=agent-3&verdict=deny",
    "one tool": "tool=billing.refund",
    "one customer": urlencode({"target": 'Customer::"C-412"'}),
    "full text": "text=charged",
}
DECIDED = DecidingPolicy(
    id="support-may", effect="permit", file="policies/all.cedar", line=1, principal='User::"alice"', target='Customer::"C-412"'
)


def run() -> list[Row]:
    return measured(RECORDS)


def measured(records: int) -> list[Row]:
    """All figures over so many records, which are gone afterwards."""
    program = find_browser()
    if program is None:
        raise RuntimeError(MISSING)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        with served(Path(folder), records) as (gate, address):
            rows = [*on_the_server(gate, address, records), *in_the_browser(gate, address, browser), *in_the_tail(gate, address, browser)]
        browser.close()
        return rows


@contextmanager
def served(folder: Path, records: int) -> Iterator[tuple[Gate, str]]:
    """A gate with such a ledger, and where it is served."""
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICY)
    (folder / "policies" / OWN_FILE).write_text(default_text())
    key = folder / "licet.key"
    key.write_text(PREFIX + base64.b64encode(bytes(range(32))).decode() + "\n")
    key.chmod(0o600)
    with Gate(loads(CONFIG, file=folder / "licet.toml")) as gate:
        gate.tool("crm.lookup", access="read")(lookup)
        gate.seal()
        fill(gate, records)
        gate.ledger.search().indexer.catch_up()
        server = assemble(gate, Console)
        thread = threading.Thread(target=server.run)
        thread.start()
        server.started.wait()
        try:
            yield gate, f"http://localhost:{server.address.port}"
        finally:
            server.stop()
            thread.join()


def lookup(customer_id: str) -> dict[str, str]:
    """Look a customer up."""
    return {"id": customer_id}


def fill(gate: Gate, records: int) -> None:
    """Sealed and committed as the writer does it, spread over a month."""
    store = gate.store
    began = time.time_ns() // 1_000 - DAYS * 86_400_000_000
    for start in range(0, records, STEP):
        store.commit(
            [store.seal(filing) for number in range(start, start + STEP, 2) for filing in one_call(store.boot, number, records, began)]
        )


def one_call(boot: str, number: int, records: int, began: int) -> Iterator[Filing]:
    """A call in two records: its intent and its outcome; one in twenty is denied, and its denial aggregated with nothing."""
    at = began + number * DAYS * 86_400_000_000 // records
    call, customer = number >> 1, f"C-{(number >> 1) * 31 % CUSTOMERS}"
    common: dict[str, Any] = {
        "log": "acme",
        "boot": boot,
        "environment": "production",
        "call": CallId(new_id(at)),
        "actor": Actor(agent=f"agent-{call % 20}", user="alice", session=f"ticket-{call // 10}"),
        "tool": ToolEntry(("billing.adjust", "billing.refund", "account.suspend", "crm.note")[call % 4], "write", "d" * 64),
        "trace": TraceEntry(trace_id=f"{call // 10:032x}", span_id=f"{call + 1:016x}", workflow=f"ticket-{call // 10}"),
        "targets": (Subject("acme", "Customer", customer),),
    }
    arguments = Raw(b'{"amount_cents":%d,"customer_id":"%s"}' % (call % 9_999, customer.encode()))
    said = Payload(arguments=arguments, reason=f"charged twice, see w{call % 5_000}", context={"calls": 7}, policies=(DECIDED,))
    if call % 20 == 3:
        denied = DecisionEntry(verdict="deny", code="not_permitted", policies=(), bundle="b" * 64)
        for more in (0, 1):
            yield Filing((state(kind="denial", at=at + more, payload=said, decision=denied, **common),))
        return
    allowed = DecisionEntry(verdict="allow", code="allowed", policies=("support-may",), bundle="b" * 64)
    yield Filing((state(kind="intent", at=at, payload=said, decision=allowed, **common),), (OpenCall(common["call"], "acme"),))
    ended = OutcomeEntry(status="timeout" if call % 100 == 7 else "ok", duration_us=1_200)
    done = Payload(result=Raw(b'{"status":"adjusted"}'))
    yield Filing((state(kind="outcome", at=at + 1_200, payload=done, outcome=ended, **common),), (CloseCall(common["call"]),))


class Session:
    """Somebody who is signed in, on a kept connection."""

    def __init__(self, gate: Gate, address: str) -> None:
        self._host = urlsplit(address).netloc
        self._connection = http.client.HTTPConnection("127.0.0.1", int(self._host.rpartition(":")[2]))
        secret = issue_link(gate.credentials, "rita").key
        form = urlencode({"link": secret, "next": "/console"})
        self._connection.request(
            "POST",
            "/console/sign-in",
            form,
            {"Host": self._host, "Origin": address, "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"},
        )
        answer = self._connection.getresponse()
        answer.read()
        self._cookie = str(answer.headers["set-cookie"]).partition(";")[0]

    def get(self, path: str) -> bytes:
        """A page."""
        self._connection.request("GET", path, headers={"Host": self._host, "Cookie": self._cookie})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return content

    def file(self) -> str:
        """The address of a style sheet."""
        page = self.get("/console/inbox").decode()
        return page.partition('rel="stylesheet" href="')[2].partition('"')[0]


def on_the_server(gate: Gate, address: str, records: int) -> Iterator[Row]:
    """Pages as they are asked for in turn."""
    session = Session(gate, address)
    file = session.file()
    record = f"/console/audit/acme/{records // 2}"
    asked = {f"audit, {name}": f"/console/audit?{query}" for name, query in FILTERED.items()}
    asked |= {"record with its proof": record, "overview": "/console/overview", "permissions": "/console/permissions"}
    base = median_ms(lambda: session.get(file))
    for name, path in asked.items():
        value = median_ms(lambda path=path: session.get(path))  # type: ignore[misc]
        row: Row = {"name": f"page on the server: {name}", "value": value, "unit": "ms", "base": base, "ratio": value / base}
        yield row | {"target": "under 60 ms", "ok": value < 60} if name.startswith("audit") else row


def median_ms(ask: Callable[[], object]) -> float:
    """After two that warm up."""
    ask(), ask()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


def in_the_browser(gate: Gate, address: str, browser: Browser) -> Iterator[Row]:
    """First contentful paint and weight of a first look."""
    for name, path in {"inbox": "/console/inbox", "audit": "/console/audit", "overview": "/console/overview"}.items():
        paints, sizes = [], []
        for _ in range(LOADS):
            page, close = entered(gate, address, browser)
            state = page.context.storage_state()
            close()
            context = browser.new_context(storage_state=state, bypass_csp=True)  # nothing is kept from before
            fresh = context.new_page()
            fresh.goto(f"{address}{path}", wait_until="load")
            fresh.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
            paints.append(float(fresh.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")))
            sizes.append(
                int(
                    fresh.evaluate(
                        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
                        ".reduce((sum, one) => sum + one.encodedBodySize, 0)"
                    )
                )
            )
            context.close()
        paint, size = statistics.median(paints), max(sizes)
        yield {"name": f"first contentful paint: {name}", "value": paint, "unit": "ms", "target": "under 600 ms", "ok": paint < 600}
        yield {
            "name": f"weight with all that it loads: {name}",
            "value": size / 1_000,
            "unit": "kB",
            "target": "under 120 kB",
            "ok": size < PAGE_BYTES,
        }


def in_the_tail(gate: Gate, address: str, browser: Browser) -> Iterator[Row]:
    """From the call's return until its row stands on an open page."""
    page, close = entered(gate, address, browser)
    page.goto(f"{address}/console/audit?live=1&tool=crm.lookup")
    page.wait_for_timeout(2_000)
    waited = []
    for number in range(1, TAILED + 1):
        with gate.acting(agent="support-bot", user="alice", workflow=f"tail-{number}"):
            assert isinstance(gate.call("crm.lookup", {"customer_id": "C-1"}), Ok)
        began = time.perf_counter()
        seen = "count => document.querySelectorAll('tr[data-row]').length >= count"
        page.wait_for_function(seen, arg=number, polling=10, timeout=20_000)
        waited.append((time.perf_counter() - began) * 1_000)
    close()
    value = max(waited)
    yield {
        "name": f"a new record in an open tail, the slowest of {TAILED}",
        "value": value,
        "unit": "ms",
        "base": statistics.median(waited),
        "target": "under 1,000 ms",
        "ok": value < 1_000,
    }


def entered(gate: Gate, address: str, browser: Browser) -> tuple[Page, Callable[[], None]]:
    """A page of a browser of somebody who is signed in."""
    context = browser.new_context(bypass_csp=True)  # which would have nothing evaluated here
    page = context.new_page()
    link = link_address(address, issue_link(gate.credentials, "rita").key)
    assert parse_qs(urlsplit(link).query)
    page.goto(link)
    page.click("main button.btn-main")
    page.wait_for_url(lambda url: "/sign-in" not in url)
    return page, context.close


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=RECORDS)
    for row in measured(options.parse_args().records):
        target = f"{row['target']}: {'met' if row['ok'] else 'SHORT'}" if row.get("target") else ""
        print(f"{row['name']:60} {row['value']:10.2f} {row['unit']:6} {target}")


if __name__ == "__main__":
    main()
