"""The log over HTTP: found, looked at, counted and exported; each look a record of its own, and only of one's own tenant."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from licet.ledger.export import ExportSource, verify_open_export
from licet.ledger.exports.formats import verify_file
from licet.ledger.file_kinds import lines_of
from licet.ledger.record import leaf_hash
from licet.server import exporting
from tests.gate.asleep import until
from tests.gate.proof import assert_whole
from tests.server.world import KNOWN, ServerWorld, server_world
from tests.world import CONFIG


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world() as made:
        made.world.adjust(2_500)
        made.world.adjust(2_000_000)
        with made.gate.acting(agent="free-bot", user="gina", tenant="globex"):
            made.gate.call("billing.adjust", {"customer_id": "G-1", "amount_cents": 700})
        yield made
        assert_whole(made.gate)


def looks(served: ServerWorld, log: str) -> list[dict[str, Any]]:
    records = served.gate.store.records(log)
    return [json.loads(record.payload or b"{}")["detail"] for record in records if record.kind == "access"]


def test_records_are_found_newest_first_with_what_they_say(served: ServerWorld) -> None:
    reply = served.get("/api/v1/records", "auditor")
    assert reply.status == 200
    found = reply.json["records"]
    assert [one["kind"] for one in found] == ["denial", "outcome", "intent"]
    assert [one["place"] for one in found] == ["acme:2", "acme:1", "acme:0"]
    assert found[0]["sentence"].startswith("support-bot for alice was denied `billing.adjust`")
    assert found[2]["envelope"]["tool"]["name"] == "billing.adjust"
    assert found[2]["payload"]["arguments"] == {"amount_cents": 2_500, "customer_id": "C-1"}
    assert found[2]["leaf"] == leaf_hash(served.gate.store.get_record("acme", 0).envelope).hex()


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("verdict=deny", ["denial"]),
        ("user=alice&kind=intent", ["intent"]),
        ("target=Customer/C-1", ["denial", "outcome", "intent"]),
        ("target=C-1&outcome=ok", ["outcome"]),
        ("actor=support-bot&kind=denial&kind=intent", ["denial", "intent"]),
        ("tool=no.such", []),
        ("user=gina", []),
        ("until=2000-01-01T00:00:00Z", []),
    ],
)
def test_every_filter_narrows(served: ServerWorld, query: str, kinds: list[str]) -> None:
    assert [one["kind"] for one in served.get(f"/api/v1/records?{query}", "auditor").json["records"]] == kinds


@pytest.mark.parametrize("query", ["tennant=acme", "verdict=maybe", "since=yesterday", "since=2026-11-22", "limit=0", "limit=201", "tool="])
def test_what_cannot_be_understood_is_refused_and_shows_nothing(served: ServerWorld, query: str) -> None:
    reply = served.get(f"/api/v1/records?{query}", "auditor")
    assert (reply.status, reply.code) == (400, "bad_request")
    assert looks(served, "acme") == []


def test_pages_hold_every_record_once(served: ServerWorld) -> None:
    seen: list[str] = []
    query = ""
    while True:
        page = served.get(f"/api/v1/records?limit=2{query}", "auditor").json
        seen += [one["place"] for one in page["records"]]
        if page["next"] is None:
            break
        query = f"&cursor={page['next']}"
    assert seen == ["acme:2", "acme:1", "acme:0"]
    assert served.get(f"/api/v1/records?limit=2&tool=x{query}", "auditor").code == "bad_cursor"


def test_a_look_is_recorded_with_its_credential_before_it_is_shown(served: ServerWorld) -> None:
    served.get("/api/v1/records?verdict=deny", "auditor")
    assert looks(served, "acme") == [
        {
            "verb": "audit search",
            "filter": {"tenant": "acme", "verdict": "deny"},
            "records": 1,
            "payloads": True,
            "operating_user": None,
            "credential": "key-auditor",
        }
    ]
    (told,) = served.get("/api/v1/records?kind=access", "auditor").json["records"]
    assert told["sentence"] == "key-auditor read 1 record, with `licet audit search --tenant acme --verdict deny`"


def test_without_payloads_nothing_is_shown_that_they_say(served: ServerWorld) -> None:
    reply = served.get("/api/v1/records?payloads=false", "auditor")
    assert [one["payload"] for one in reply.json["records"]] == [None, None, None]
    assert "C-1" not in reply.content.decode()
    assert "alice" not in reply.content.decode()


def test_one_record_is_found_by_its_place(served: ServerWorld) -> None:
    assert served.get("/api/v1/records/acme/0", "auditor").json["kind"] == "intent"
    assert served.get("/api/v1/records/acme/99", "auditor").code == "not_found"
    assert served.get("/api/v1/records/acme/-1", "auditor").code == "bad_request"
    assert [one["filter"] for one in looks(served, "acme")] == [{"tenant": "acme", "reference": "acme:0"}]


def test_a_decision_is_explained_and_policies_are_quoted_to_who_may_read_them(served: ServerWorld) -> None:
    reply = served.get("/api/v1/records/acme/2/reasons", "admin")
    assert (reply.status, reply.json["record"], reply.json["note"]) == (200, "acme:2", None)
    assert (reply.json["decision"]["verdict"], reply.json["decision"]["code"]) == ("deny", "no_permit")
    assert {tuple(one["nearest"]["failed"]) for one in reply.json["unpermitted"]} == {("context.input.amount_cents <= 1000000",)}
    allowed = served.get("/api/v1/records/acme/0/reasons", "admin").json
    assert all(allowed["texts"][policy["id"]].startswith("@id(") for policy in allowed["decision"]["policies"])
    assert allowed["texts"]
    assert looks(served, "acme")[-1]["verb"] == "audit why"
    within = served.get("/api/v1/records/acme/2/reasons", "auditor").json
    assert (within["texts"], within["unpermitted"], within["shut"]) == ({}, [], [])
    assert within["decision"] == reply.json["decision"]
    theirs, nowhere = [served.get(f"/api/v1/records/{log}/2/reasons", "auditor-globex") for log in ("acme", "nowhere")]
    assert (theirs.status, theirs.code) == (404, "not_found")
    assert {**theirs.json, "request_id": ""} == {**nowhere.json, "request_id": ""}
    undecided = served.get("/api/v1/records/acme/1/reasons", "admin")
    assert (undecided.status, undecided.code) == (404, "no_decision")


def test_a_call_is_told_whole(served: ServerWorld) -> None:
    call = served.get("/api/v1/records/acme/0", "auditor").json["call"]
    story = served.get(f"/api/v1/stories/{call}", "auditor").json
    assert (story["call"], [one["kind"] for one in story["records"]]) == (call, ["intent", "outcome"])
    assert served.get(f"/api/v1/stories/{call}", "auditor-globex").code == "not_found"
    assert served.get("/api/v1/stories/no-such", "auditor-globex").code == "not_found"


def test_records_are_counted(served: ServerWorld) -> None:
    found = served.get("/api/v1/records/count?by=verdict", "auditor").json
    assert found["totals"] == {"": 1, "allow": 1, "deny": 1}
    assert sum(bar["count"] for bar in found["bars"]) == 3
    assert all(bar["since"].endswith("Z") for bar in found["bars"])


@pytest.mark.parametrize("path", ["records?tenant={}", "records/{}/0", "records/count?tenant={}", "export?tenant={}"])
def test_whether_another_tenant_exists_cannot_be_told(served: ServerWorld, path: str) -> None:
    there, nowhere = (served.get(f"/api/v1/{path.format(name)}", "auditor") for name in ("globex", "nowhere"))
    assert (there.status, there.code) == (404, "not_found")
    assert {**there.json, "request_id": ""} == {**nowhere.json, "request_id": ""}
    assert looks(served, "globex") == []
    assert looks(served, "operator") == []


def test_nothing_of_another_tenant_is_in_any_answer(served: ServerWorld) -> None:
    for path in ("records", "records?user=gina", "records?target=Customer/G-1", "records/count", "records?text=globex", "export"):
        content = served.get(f"/api/v1/{path}", "auditor").content.decode()
        assert "G-1" not in content, path
        assert "gina" not in content, path
    assert {one["log"] for one in served.get("/api/v1/records", "auditor-globex").json["records"]} == {"globex"}
    assert {one["log"] for one in served.get("/api/v1/records?limit=200", "admin").json["records"]} >= {"acme", "globex", "operator"}


def test_a_name_that_another_tenant_knows_is_recorded_as_one_that_nobody_does(served: ServerWorld) -> None:
    """Else who searches could read in the record of their own search whether somebody else has such a customer."""
    for name in ("G-1", "X-9"):
        served.get(f"/api/v1/records?target=Customer/{name}", "auditor")
    assert [set(one["filter"]["target"]) for one in looks(served, "acme")] == [{"unknown"}, {"unknown"}]


def test_an_export_of_a_tenant_whose_name_no_header_takes_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "auditor", replace(KNOWN["auditor"], tenants=("東京",)))
    with server_world(CONFIG.replace("[tenants.globex]\n", '[tenants.globex]\n[tenants."東京"]\n')) as served:
        served.gate.freeze("tenant", "東京", reason="an audit")
        reply = served.get("/api/v1/export?tenant=%E6%9D%B1%E4%BA%AC", "auditor")
    assert reply.status == 200
    assert reply.headers["content-disposition"] == "attachment; filename=\"__.jsonl\"; filename*=UTF-8''%E6%9D%B1%E4%BA%AC.jsonl"


def test_a_credential_makes_two_exports_at_once_and_their_places_are_free_again(
    served: ServerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Semaphore(0), threading.Event()

    def slow(*_: object) -> None:
        begun.release()
        assert goes_on.wait(60)

    monkeypatch.setattr(exporting, "_write", slow)
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(served.get, "/api/v1/export", "auditor") for _ in range(2)]
        assert all(begun.acquire(timeout=60) for _ in made)
        noted = len(looks(served, "acme"))
        refused = served.get("/api/v1/export", "auditor")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too_many_requests", "10")
        assert len(looks(served, "acme")) == noted == 2
        goes_on.set()
        assert [one.result(60).status for one in made] == [200, 200]
    monkeypatch.undo()
    until(lambda: served.get("/api/v1/export", "auditor").status == 200)


def test_an_export_is_verified_without_the_store(served: ServerWorld) -> None:
    reply = served.get("/api/v1/export", "admin")
    assert reply.headers["content-disposition"] == 'attachment; filename="ledger.jsonl"'
    report = verify_open_export(ExportSource(lines_of(io.BytesIO(reply.content))))
    assert report.problems == ()
    assert served.get("/api/v1/export?tenant=acme&payloads=false", "auditor").headers["content-disposition"].endswith('"acme.jsonl"')
    assert [(one["verb"], one["records"], one["payloads"]) for one in looks(served, "acme")] == [("audit export", 3, False)]
    assert [(one["verb"], one["credential"]) for one in looks(served, "operator")] == [("audit export", "key-admin")]


@pytest.mark.parametrize("form", ["csv", "ocsf", "otlp"])
def test_an_export_for_other_tools_says_that_it_is_whole(served: ServerWorld, form: str) -> None:
    content = served.get(f"/api/v1/export?format={form}", "auditor").content
    if form == "csv":
        assert verify_file(form, io.BytesIO(content)).problems == ()
        assert verify_file(form, io.BytesIO(content[:-20])).problems != ()
        return
    lines = content.splitlines(keepends=True)
    checked = verify_file(form, io.BytesIO(b"".join(lines[:-1])), lines[-1])
    assert (checked.problems, checked.rows_expected) == ((), 4)


def test_nothing_is_shown_where_the_look_cannot_be_recorded(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        from licet.errors import StoreUnavailable  # noqa: PLC0415

        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr("licet.server.records.record_reading", fails)
    for path in ("records", "records/acme/0", "records/count", "export"):
        reply = served.get(f"/api/v1/{path}", "auditor")
        assert (reply.status, reply.code) == (503, "unavailable"), path
        assert "C-1" not in reply.content.decode()
