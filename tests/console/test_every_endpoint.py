"""Every page and every form of the console against whoever should not get anything out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from licet.console.pages import PAGES
from licet.gate.results import Held
from licet.server.endpoint import Endpoint
from tests.console.world import HOST, SAME, Browser, ConsoleWorld, console_world, text_of
from tests.world import CONFIG

PEOPLE = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-admin", "licet-auditor"]
[users.otto]
tenants = ["globex"]
roles = ["licet-admin", "licet-auditor", "licet-approver"]
"""
STREAMS = frozenset({"consoleLive", "consoleAuditTail"})
QUERIES = {
    "consoleSubject": "tenant=acme&type=Customer&id=C-1",
    "consoleErase": "tenant=acme&type=Customer&id=C-1",
    "consoleEraseSubject": "tenant=acme&type=Customer&id=C-1",
    "consoleExportSubject": "tenant=acme&type=Customer&id=C-1",
    "consoleAudit": "tenant=acme&range=all",
    "consoleAuditExport": "tenant=acme&range=all",
    "consoleAuditTail": "tenant=acme",
    "consoleCell": "name=support-bot&tool=crm.lookup",
    "consoleFindTrace": "name=ticket-1",
}
"""What names something of acme's in the query."""
OF_ACME = re.compile(r"support-bot|Customer C-1|ticket-1|alice|charged")
GETS = [one for one in PAGES if one.method == "GET" and not one.public]
POSTS = [one for one in PAGES if one.method == "POST"]


@pytest.fixture(scope="module")
def served() -> Iterator[ConsoleWorld]:
    with console_world(CONFIG.replace("[groups]", PEOPLE + "[groups]")) as found:
        with found.world.alice(workflow="ticket-1", reason="charged twice"):
            found.gate.call("crm.lookup", {"customer_id": "C-1"})
            found.gate.call("crm.lookup", {"customer_id": "C-2"})
            held = found.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
        assert isinstance(held, Held)
        yield found


@pytest.fixture(scope="module")
def otto(served: ConsoleWorld) -> Browser:
    """Everything is permitted to him, in the other tenant."""
    return served.enter("otto")


def address(served: ConsoleWorld, endpoint: Endpoint) -> str:
    """Where this endpoint has something of acme's."""
    records = served.world.records()
    request = next(record for record in records if record.kind == "hold")
    assert request.envelope.approval is not None
    names = {
        "log": "acme",
        "index": str(len(records) - 1),
        "call": str(request.envelope.call),
        "name": "ticket-1",
        "digest": "a" * 64,
        "id": str(request.envelope.approval.request) if "/inbox" in endpoint.path else str(request.envelope.call),
    }
    if "/traces/" in endpoint.path:
        names["id"] = "ticket-1"
    path = re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], "x"), endpoint.path)
    query = QUERIES.get(endpoint.operation)
    return f"{path}?{query}" if query else path


def named(endpoint: Endpoint) -> str:
    return endpoint.operation


@pytest.mark.parametrize("endpoint", GETS, ids=named)
def test_nobody_who_is_not_signed_in_sees_a_page(served: ConsoleWorld, endpoint: Endpoint) -> None:
    there = address(served, endpoint)
    for cookie in ("", "__Host-licet=abc", "__Host-licet=a; __Host-licet=b", "licet=x"):
        reply = served.get(there, headers={"host": HOST, "cookie": cookie})
        assert (reply.status, reply.headers["location"].partition("?")[0]) == (303, "/console/sign-in")
        assert not OF_ACME.search(text_of(reply))


@pytest.mark.parametrize("endpoint", [one for one in GETS if one.operation not in STREAMS], ids=named)
def test_nothing_of_another_tenant_is_on_any_page(served: ConsoleWorld, otto: Browser, endpoint: Endpoint) -> None:
    reply = otto.get(address(served, endpoint))
    assert reply.status < 500
    found = OF_ACME.search(text_of(reply).replace("support-bot and crm.lookup", ""))
    assert found is None or reply.status in {303, 404}, (found, text_of(reply))
    if reply.status in {200, 303}:
        assert "C-1" not in reply.content.decode().replace("id=C-1", ""), text_of(reply)


@pytest.mark.parametrize("endpoint", [one for one in GETS if one.operation not in STREAMS], ids=named)
def test_no_page_is_kept_framed_or_run_by_others(served: ConsoleWorld, endpoint: Endpoint) -> None:
    reply = served.enter("rita").get(address(served, endpoint))
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-frame-options"] == "DENY"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("endpoint", POSTS, ids=named)
def test_a_form_from_elsewhere_does_nothing(served: ConsoleWorld, endpoint: Endpoint) -> None:
    rita = served.enter("rita")
    there = address(served, endpoint)
    before = served.world.kinds(), served.world.kinds("operator")
    cookie = {"host": HOST, "cookie": f"__Host-licet={rita.cookie}"}
    for headers in (
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": f"https://{HOST}", "sec-fetch-site": "cross-site"},
        {"origin": f"https://{HOST}", "sec-fetch-site": "same-site"},
        {"origin": f"https://{HOST}:8443"},
        {},
    ):
        reply = served.form(there, {"form_token": "0" * 64}, {**cookie, **headers})
        assert reply.status == 403, (headers, text_of(reply))
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        sent = served.request("POST", there, raw=b"a=b", headers={**cookie, **SAME, "content-type": kind})
        assert sent.status in {403, 415}, kind
    if not endpoint.public:
        other = served.enter("lena")
        shown = other.get("/console/inbox").content.decode()
        token = re.search(r'name="form_token" value="([0-9a-f]{64})"', shown)
        assert token is not None
        assert served.form(there, {"form_token": token[1]}, {**cookie, **SAME}).status == 403  # the token of somebody else
    after = served.world.kinds(), served.world.kinds("operator")
    assert [one for one in after[0][len(before[0]) :] if one != "access"] == []
    assert [one for one in after[1][len(before[1]) :] if one not in {"access", "admin"}] == []  # `admin`: lena has signed in


@pytest.mark.parametrize("endpoint", [*GETS, *POSTS], ids=named)
def test_no_other_method_does_anything(served: ConsoleWorld, endpoint: Endpoint) -> None:
    rita = served.enter("rita")
    others = {"GET", "POST", "PUT", "DELETE", "PATCH"} - {one.method for one in PAGES if one.path == endpoint.path}
    for method in others:
        reply = served.request(method, address(served, endpoint), headers={**SAME, "cookie": f"__Host-licet={rita.cookie}"}, raw=b"")
        assert reply.status in {404, 405}, method


@pytest.mark.parametrize("endpoint", [one for one in GETS if one.operation not in STREAMS], ids=named)
def test_absurd_parameters_are_answered_in_words(served: ConsoleWorld, endpoint: Endpoint) -> None:
    """No error of ours, whatever stands in the address."""
    rita = served.enter("rita")
    path = address(served, endpoint).partition("?")[0]
    for query in ("x=1", "cursor=%00", "index=99999999999999999999", "range=1e400", "start=-1", "id=" + "A" * 5_000, "tenant=%F0%9F%92%A9"):
        assert rita.get(f"{path}?{query}").status < 500, query
    for changed in (path.replace("acme", "%2e%2e"), path.replace("acme", "a%00b"), f"{path}/%3Cscript%3E", path.replace("ticket-1", "%22")):
        reply = rita.get(changed)
        assert reply.status < 500, changed
        assert b"<script>alert" not in reply.content
