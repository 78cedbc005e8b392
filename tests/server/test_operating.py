"""Operating over HTTP: freezes, unknown ends, policies, the directory, forgetting and proofs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from licet.errors import StoreUnavailable
from licet.gate.results import Denied, Ok
from licet.identity.api_keys import KeyContent
from licet.ledger.prove import Trusted, verify_consistency, verify_proof
from licet.ledger.report import Report
from tests.server.world import ServerWorld, server_world
from tests.world import CONFIG, POLICIES

TWO_PERSONS = CONFIG + "[freeze]\ntwo_persons = true\n"
OWN = """
@id("all")
permit (principal in Role::"licet-admin", action, resource);
@id("leads-freeze")
permit (principal is User, action in [Action::"freezes.read", Action::"freezes.place", Action::"freezes.lift"], resource);
"""


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world() as made:
        yield made


def details(served: ServerWorld, kind: str, log: str = "acme") -> list[Any]:
    return [record.payload.detail for record in served.world.records() if (record.kind, record.receipt.log) == (kind, log)]


HOLD = {"tenant": "acme", "reason": "a lawsuit"}


def test_lists_are_told_a_page_at_a_time_and_whole_whatever_comes_between(served: ServerWorld) -> None:
    def place(number: int) -> str:
        served.world.clock.advance(1)
        return str(served.post("/api/v1/holds", "admin", {**HOLD, "reason": f"lawsuit {number}"}).json["id"])

    def pages(who: str, path: str, name: str) -> list[str]:
        found, cursor = [], ""
        while True:
            page = served.get(f"{path}?limit=2{cursor}", who)
            assert page.status == 200, page.content
            assert len(page.json[name]) <= 2
            found += [str(one["id"]) for one in page.json[name]]
            if page.json["next"] is None:
                return found
            cursor = f"&cursor={page.json['next']}"

    made = [place(number) for number in range(5)]
    first = served.get("/api/v1/holds?limit=2", "admin").json
    made.append(place(5))
    rest = served.get(f"/api/v1/holds?limit=200&cursor={first['next']}", "admin").json
    assert [one["id"] for one in [*first["holds"], *rest["holds"]]] == made
    assert rest["next"] is None
    served.world.clock.advance(1)
    theirs = served.post("/api/v1/holds", "admin", {**HOLD, "tenant": "globex"}).json["id"]
    assert pages("admin", "/api/v1/holds", "holds") == [*made, theirs]
    assert pages("admin-acme", "/api/v1/holds", "holds") == made
    frozen = [
        served.post("/api/v1/freezes", "admin", {**FREEZE, "anyway": True, "name": f"bot-{number}"}).json["id"] for number in range(5)
    ]
    assert sorted(pages("admin", "/api/v1/freezes", "freezes")) == sorted(frozen)
    keys = [
        served.world.gate.credentials.issue(KeyContent(name=str(number), tenants=("acme",), roles=("licet-auditor",)), expires_s=60)
        for number in range(5)
    ]
    assert sorted(pages("admin", "/api/v1/credentials", "credentials")) == sorted([key.credential.id for key in keys])


@pytest.mark.parametrize("path", ["/api/v1/freezes", "/api/v1/holds", "/api/v1/unknown", "/api/v1/credentials"])
def test_a_cursor_of_another_question_continues_no_list(served: ServerWorld, path: str) -> None:
    for number in range(3):
        assert served.post("/api/v1/holds", "admin", {**HOLD, "reason": f"lawsuit {number}"}).status == 201
    theirs = served.get("/api/v1/holds?limit=2&tenant=acme", "admin").json["next"]
    for cursor in (theirs, theirs[:-2] + "AA", "x"):
        reply = served.get(f"{path}?cursor={cursor}", "admin")
        assert (reply.status, reply.code) == (400, "bad_cursor")
    assert served.get(f"{path}?limit=201", "admin").status == served.get(f"{path}?limit=0", "admin").status == 400


FREEZE = {"scope": "agent", "name": "support-bot", "tenant": "acme", "reason": "it loops"}


def test_a_freeze_stops_calls_and_names_the_credential(served: ServerWorld) -> None:
    reply = served.post("/api/v1/freezes", "admin", FREEZE)
    assert reply.status == 201
    assert (reply.json["credential"], reply.json["by"], reply.json["operating_user"]) == ("key-admin", None, None)
    stopped = served.world.adjust()
    assert isinstance(stopped, Denied)
    assert stopped.decision.code == "frozen"
    assert [one["id"] for one in served.get("/api/v1/freezes", "auditor").json["freezes"]] == [reply.json["id"]]
    assert served.get("/api/v1/freezes", "auditor-globex").json["freezes"] == []
    path = f"/api/v1/freezes/{reply.json['id']}/lift"
    assert served.post(path, "auditor", {"reason": "r"}).code == "not_permitted"
    assert served.post(path, "admin", {"reason": "mended"}).json["freeze"]["id"] == reply.json["id"]
    assert isinstance(served.world.adjust(), Ok)
    assert served.post(path, "admin", {"reason": "again"}).code == "not_found"


def test_who_administers_one_tenant_stops_nobody_elses(served: ServerWorld) -> None:
    everything = {"scope": "all", "reason": "r"}
    for body in (
        everything,
        {**FREEZE, "tenant": None},
        {**FREEZE, "tenant": "globex"},
        {"scope": "tenant", "name": "globex", "reason": "r"},
    ):
        reply = served.post("/api/v1/freezes", "admin-acme", body)
        assert (reply.status, reply.code) == (404, "not_found"), body
    placed = served.post("/api/v1/freezes", "admin", everything).json["id"]
    assert served.post(f"/api/v1/freezes/{placed}/lift", "admin-acme", {"reason": "r"}).code == "not_found"
    assert served.gate.freezes()[0].id == placed


def test_who_froze_does_not_lift_where_two_people_must() -> None:
    with server_world(TWO_PERSONS, own=OWN) as served:
        placed = served.post("/api/v1/freezes", "dana", FREEZE).json["id"]
        path = f"/api/v1/freezes/{placed}/lift"
        for who in ("dana", "dana-two"):
            reply = served.post(path, who, {"reason": "mended"})
            assert (reply.status, reply.code) == (403, "same_person")
        assert served.post(path, "admin", {"reason": "mended"}).code == "no_user"
        assert served.post(path, "omar", {"reason": "mended", "second": "dana"}).code == "bad_request"
        assert served.post(path, "omar", {"reason": "mended"}).json["by"] == ["omar"]


def test_policies_are_shown_with_what_names_them_and_only_to_the_installations_own(served: ServerWorld) -> None:
    found = served.get("/api/v1/policies", "admin").json
    assert found["bundle"] == served.gate.scene.engine.bundle.digest
    assert "adjust-needs-lead" in {one["id"] for one in found["policies"]}
    assert served.get("/api/v1/policies", "auditor").code == "not_found"


def test_a_proposed_bundle_is_checked_and_not_put_into_force(served: ServerWorld) -> None:
    before = served.gate.scene.digest
    good = served.post("/api/v1/policies/validate", "admin", {"files": {"a.cedar": POLICIES}}).json
    assert (good["loads"], good["problems"]) == (True, [])
    bad = served.post(
        "/api/v1/policies/validate", "admin", {"files": {"a.cedar": '@id("x") permit (principal, action == Action::"no", resource);'}}
    )
    assert bad.json["loads"] is False
    assert "a.cedar:1" in bad.json["problems"][0]
    assert served.gate.scene.digest == before


def test_the_directory_names_nobody_of_another_tenant(served: ServerWorld) -> None:
    whole, part = served.get("/api/v1/directory", "admin"), served.get("/api/v1/directory", "auditor")
    assert whole.json["version"] == served.gate.scene.directory.version
    assert "gina" in whole.json["users"]
    assert part.json["version"] is None
    assert part.json["tenants"] == ["acme"]
    assert part.json["agents"]["free-bot"]["tenants"] == ["acme"]
    assert part.json["groups"]["billing-leads"]["members"] == ["alice", "lena"]
    for name in ("gina", "globex"):
        assert name not in part.content.decode()


def test_a_tool_is_shown_with_the_schema_of_its_arguments(served: ServerWorld) -> None:
    found = served.get("/api/v1/tools/billing.adjust", "agent").json
    assert (found["access"], found["targets"]) == ("write", ["Customer::{customer_id}"])
    assert found["input_schema"]["required"] == ["customer_id", "amount_cents"]
    assert served.get("/api/v1/tools/no.such", "agent").code == "not_found"
    assert len(served.get("/api/v1/tools", "agent").json["tools"]) == len(served.gate.scene.catalog.tools)


SUBJECT = {"tenant": "acme", "type": "Customer", "id": "C-1"}


def test_a_hold_keeps_what_an_erasure_would_forget(served: ServerWorld) -> None:
    served.world.adjust()
    held = served.post("/api/v1/holds", "admin", {**SUBJECT, "reason": "a lawsuit"})
    assert held.status == 201
    refused = served.post("/api/v1/erasures", "admin", {**SUBJECT, "reason": "asked for it"})
    assert (refused.status, refused.code) == (409, "held")
    hold = held.json["id"]
    assert [one["id"] for one in served.get("/api/v1/holds", "auditor").json["holds"]] == [hold]
    assert served.get("/api/v1/holds", "auditor-globex").json["holds"] == []
    assert served.post(f"/api/v1/holds/{hold}/release", "admin", {"reason": "settled"}).status == 200
    done = served.post("/api/v1/erasures", "admin", {**SUBJECT, "reason": "asked for it"})
    assert done.status == 200
    assert done.json["erased"]["payloads"] == 2
    assert [one["by"] for one in details(served, "legal_hold") + details(served, "erasure")] == ["credential key-admin"] * 3
    again = served.post("/api/v1/erasures", "admin", {**SUBJECT, "reason": "asked for it"})
    assert (again.status, again.code) == (404, "nothing_recorded")
    assert served.gate.verify().ok


@pytest.mark.parametrize(("path", "body"), [("erasures", {"reason": "r"}), ("holds", {"reason": "r"})])
def test_nobody_of_another_tenant_is_forgotten_or_kept(served: ServerWorld, path: str, body: dict[str, str]) -> None:
    for tenant in ("globex", "nowhere"):
        reply = served.post(f"/api/v1/{path}", "admin-acme", {**SUBJECT, "tenant": tenant, **body})
        assert (reply.status, reply.code) == (404, "not_found")


def test_a_proof_holds_with_nothing_but_a_key(served: ServerWorld) -> None:
    served.world.adjust()
    line = served.get("/api/v1/records/acme/0/proof", "auditor").content
    trusted = Trusted(served.get("/api/v1/checkpoint", "auditor").json["origin"], served.gate.store.signing_keys()[0].vkey)
    proved = verify_proof(line, trusted)
    assert (proved.log, proved.index, proved.payload) == ("acme", 0, None)
    kept = served.get("/api/v1/checkpoint", "auditor").json["note"]
    opened = served.get("/api/v1/records/acme/1/proof?payload=true", "auditor").content
    assert verify_proof(opened, trusted).payload is not None
    bundle = served.post("/api/v1/checkpoint/consistency", "auditor", {"note": kept})
    assert verify_consistency(bundle.content, trusted).first.size <= verify_consistency(bundle.content, trusted).second.size
    assert [one["verb"] for one in details(served, "access")] == ["audit prove", "audit prove"]
    assert served.get("/api/v1/records/globex/0/proof", "auditor").code == "not_found"


def test_a_checkpoint_of_another_log_is_not_continued(served: ServerWorld) -> None:
    served.world.adjust()
    served.get("/api/v1/records/acme/0/proof", "auditor")
    note = served.get("/api/v1/checkpoint", "auditor").json["note"]
    size = note.split("\n")[1]
    forged = note.replace(f"\n{size}\n", "\n999999\n", 1)
    reply = served.post("/api/v1/checkpoint/consistency", "auditor", {"note": forged})
    assert (reply.status, reply.code) == (409, "not_continued")
    assert "records are missing" in reply.json["detail"]


def test_the_ledger_is_verified(served: ServerWorld) -> None:
    served.world.adjust()
    found = served.post("/api/v1/verify", "admin").json
    assert (found["sound"], found["problem_count"], found["problems"]) == (True, 0, [])
    assert served.post("/api/v1/verify", "auditor").code == "not_found"


def test_one_verification_runs_at_a_time(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    verify = served.gate.verify

    def slow() -> Report:
        begun.set()
        assert goes_on.wait(60)
        return verify()

    monkeypatch.setattr(served.gate, "verify", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.post, "/api/v1/verify", "admin")
        assert begun.wait(60)
        refused = served.post("/api/v1/verify", "admin")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too_many_requests", "10")
        goes_on.set()
        assert first.result(60).json["sound"]
    assert served.post("/api/v1/verify", "admin").json["sound"]


def test_a_proof_is_the_same_without_the_search_index(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    served.world.adjust()
    path = "/api/v1/records/acme/0/proof"
    proved = verify_of(served, served.get(path, "auditor").content)

    def fails() -> None:
        raise StoreUnavailable("no index")

    monkeypatch.setattr(served.gate.ledger, "search", fails)
    assert verify_of(served, served.get(path, "auditor").content) == proved


def verify_of(served: ServerWorld, line: bytes) -> tuple[str, int, str]:
    origin = served.get("/api/v1/checkpoint", "auditor").json["origin"]
    proved = verify_proof(line, Trusted(origin, served.gate.store.signing_keys()[0].vkey))
    return proved.log, proved.index, proved.leaf
