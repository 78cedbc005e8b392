"""Requests over HTTP: who sees them, who votes, and on what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from licet.gate.results import Held, Ok
from licet.identity.authenticated import Authenticated
from tests.gate.proof import assert_whole
from tests.server.world import KNOWN, Reply, ServerWorld, server_world
from tests.world import CONFIG

AMOUNT = 50_000


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world() as made:
        yield made
        assert_whole(made.gate)


def held(served: ServerWorld, amount_cents: int = AMOUNT) -> str:
    request = served.world.held(amount_cents).request
    assert request is not None
    return request


def held_for_two(served: ServerWorld) -> str:
    with served.world.alice():
        found = served.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(found, Held)
    assert found.request is not None
    return found.request


def vote(served: ServerWorld, request: str, who: str, verdict: str = "approve", **more: object) -> Reply:
    binding = served.get(f"/api/v1/requests/{request}", who).json["binding"]
    return served.post(f"/api/v1/requests/{request}/votes", who, {"verdict": verdict, "binding": binding, **more})


def said_of_votes(served: ServerWorld) -> list[tuple[str, str | None, str | None]]:
    found = [record.payload.detail["vote"] for record in served.world.records() if record.kind == "vote" and record.payload.detail]
    return [(one["voter"], one["credential"], one["operating_user"]) for one in found]


def test_an_approver_sees_what_would_change_and_what_a_vote_is_cast_on(served: ServerWorld) -> None:
    request = held(served)
    reply = served.get(f"/api/v1/requests/{request}", "lena")
    assert reply.status == 200
    found = reply.json
    assert (found["id"], found["tenant"], found["tool"], found["state"]) == (request, "acme", "billing.adjust", "open")
    assert (found["agent"], found["user"]) == ("support-bot", "alice")
    assert found["arguments"] == {"customer_id": "C-1", "amount_cents": AMOUNT}
    assert found["preview"] == [{"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 100 + AMOUNT}]
    assert [(need["policy"], need["group"], need["missing"], need["may_vote"]) for need in found["needs"]] == [
        ("adjust-needs-lead", "billing-leads", 1, ["lena"])
    ]
    assert (found["may_vote"], found["why_not"]) == (True, None)
    assert reply.headers["etag"].strip('"').partition(".")[0] == found["binding"]


def test_the_vote_is_that_of_the_person_whose_credential_was_shown(served: ServerWorld) -> None:
    request = held(served)
    reply = vote(served, request, "lena", comment="looks right")
    assert reply.status == 200
    assert reply.json["request"]["state"] == "approved"
    assert said_of_votes(served) == [("lena", "login-lena", None)]
    receipt = reply.json["receipt"]
    record = served.gate.store.get_record(receipt["log"], receipt["index"])
    assert record.kind == "vote"
    assert isinstance(served.world.adjust(AMOUNT), Ok)


@pytest.mark.parametrize("name", ["voter", "as", "user", "person"])
def test_a_body_names_no_voter(served: ServerWorld, name: str) -> None:
    request = held(served)
    binding = served.get(f"/api/v1/requests/{request}", "carl").json
    reply = served.post(f"/api/v1/requests/{request}/votes", "lena", {"verdict": "approve", "binding": "0" * 64, name: "omar"})
    assert (reply.status, reply.code) == (400, "bad_request")
    assert name in reply.json["errors"][0]
    assert said_of_votes(served) == []
    assert binding["code"] == "not_found"


def test_nobody_approves_their_own(served: ServerWorld) -> None:
    request = held(served)
    reply = vote(served, request, "alice")  # she is a billing lead, and the call is made for her
    assert (reply.status, reply.code) == (403, "requester")
    assert "nobody approves their own" in reply.json["detail"]
    assert served.get(f"/api/v1/requests/{request}", "alice").json["why_not"] == reply.json["detail"]
    assert said_of_votes(served) == []


def test_a_program_has_no_vote_whatever_its_role(served: ServerWorld) -> None:
    request = held(served)
    binding = served.get(f"/api/v1/requests/{request}", "lena").json["binding"]
    for who in ("agent", "admin", "auditor"):
        reply = served.post(f"/api/v1/requests/{request}/votes", who, {"verdict": "approve", "binding": binding})
        assert reply.status == 403, who
        assert reply.code == "person_needed"
    assert said_of_votes(served) == []


def test_two_ids_of_one_person_are_one_vote(served: ServerWorld) -> None:
    request = held_for_two(served)
    assert vote(served, request, "dana").json["request"]["state"] == "open"
    again = vote(served, request, "dana-two")
    assert (again.status, again.code) == (409, "already_voted")
    assert vote(served, request, "omar").json["request"]["state"] == "approved"


def test_a_vote_on_something_else_is_refused_and_moves_nothing(served: ServerWorld) -> None:
    request, other = held(served), held(served, AMOUNT + 1)
    theirs = served.get(f"/api/v1/requests/{other}", "lena").json["binding"]
    reply = served.post(f"/api/v1/requests/{request}/votes", "lena", {"verdict": "approve", "binding": theirs})
    assert (reply.status, reply.code) == (409, "not_as_shown")
    assert reply.json["errors"] == ["state: open"]
    assert said_of_votes(served) == []


def test_if_match_must_name_what_is_voted_on_and_bears_votes_of_others_meanwhile(served: ServerWorld) -> None:
    request = held_for_two(served)
    seen = served.get(f"/api/v1/requests/{request}", "omar")
    body = {"verdict": "approve", "binding": seen.json["binding"]}
    path = f"/api/v1/requests/{request}/votes"
    reply = served.post(path, "omar", body, headers={"If-Match": '"0000"'})
    assert (reply.status, reply.code) == (412, "precondition_failed")
    vote(served, request, "dana")
    assert served.get(f"/api/v1/requests/{request}", "omar").headers["etag"] != seen.headers["etag"]
    assert served.post(path, "omar", body, headers={"If-Match": seen.headers["etag"]}).status == 200


def test_what_is_over_takes_no_votes_and_says_what_has_changed(served: ServerWorld) -> None:
    request = held(served)
    binding = served.get(f"/api/v1/requests/{request}", "lena").json["binding"]
    served.world.clock.advance(timedelta(hours=1).total_seconds())
    reply = served.post(f"/api/v1/requests/{request}/votes", "lena", {"verdict": "approve", "binding": binding})
    assert (reply.status, reply.code) == (409, "not_open")
    assert reply.json["errors"] == ["state: expired"]
    anew = held(served)
    later = served.post(f"/api/v1/requests/{request}/votes", "lena", {"verdict": "approve", "binding": binding})
    assert later.json["errors"] == ["state: expired", f"asked_anew: {anew}"]


def test_a_vote_is_taken_back_by_its_voter(served: ServerWorld) -> None:
    request = held(served)
    vote(served, request, "lena")
    reply = served.post(f"/api/v1/requests/{request}/take-back", "lena", {"comment": "wrong customer"})
    assert reply.json["request"]["state"] == "open"
    again = served.post(f"/api/v1/requests/{request}/take-back", "lena")
    assert (again.status, again.code) == (409, "no_vote")


def test_a_program_withdraws_its_own_and_no_others(served: ServerWorld) -> None:
    request = held(served)
    for who in ("night", "agent-globex"):
        reply = served.post(f"/api/v1/requests/{request}/withdraw", who)
        assert (reply.status, reply.code) == (404, "not_found"), who
    reply = served.post(f"/api/v1/requests/{request}/withdraw", "agent")
    assert reply.json["request"]["state"] == "withdrawn"
    detail = next(record.payload.detail for record in served.world.records() if record.kind == "expiry")
    assert detail == {"request": request, "event": "withdraw", "withdrawn_by": "support-bot", "credential": "key-agent"}


def test_who_acts_for_a_user_sees_nothing_of_what_its_agent_asked_for_itself(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    delegated = Authenticated(method="jwt", credential="login-x", tenants=("acme",), agents=("free-bot",), roles=("licet-agent",))
    monkeypatch.setitem(KNOWN, "itself", delegated)
    monkeypatch.setitem(KNOWN, "for-carl", replace(delegated, users=("carl",)))
    with served.gate.acting(agent="free-bot", tenant="acme"):
        found = served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT})
    assert isinstance(found, Held)
    for act in (
        served.get(f"/api/v1/requests/{found.request}", "for-carl"),
        served.post(f"/api/v1/requests/{found.request}/withdraw", "for-carl"),
    ):
        assert (act.status, act.code) == (404, "not_found")
    assert served.get("/api/v1/requests?mine=true", "for-carl").json["requests"] == []
    assert served.post(f"/api/v1/requests/{found.request}/withdraw", "itself").json["request"]["state"] == "withdrawn"


@pytest.mark.parametrize(
    ("narrowed", "status"),
    [
        ({"tenants": ("globex", "third")}, 200),
        ({"tenants": ("third",)}, 404),
        ({"method": "api_key", "tenants": ("globex", "third")}, 404),
        ({"method": "api_key", "tenants": ("*",)}, 200),
    ],
    ids=["login", "token-for-one-tenant", "key-of-tenants", "key-of-all"],
)
def test_who_decides_everywhere_does_so_as_far_as_the_credential_reaches(
    narrowed: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "gina", replace(KNOWN["gina"], **narrowed))
    everywhere = CONFIG.replace("[groups]\n", '[groups]\nbilling-leads = {members = ["lena", "gina"], scope = "operator"}\n')
    everywhere = everywhere.replace('billing-leads = ["lena", "alice", "gina"]\n', "").replace(
        "[tenants.globex]", "[tenants.globex]\n[tenants.third]"
    )
    with server_world(everywhere.replace('[users.gina]\ntenants = ["globex"]', '[users.gina]\ntenants = ["globex", "third"]')) as served:
        request = held(served)
        assert served.get(f"/api/v1/requests/{request}", "gina").status == status
        assert len(served.get("/api/v1/requests", "gina").json["requests"]) == (status == 200)
        binding = served.get(f"/api/v1/requests/{request}", "lena").json["binding"]
        cast = served.post(f"/api/v1/requests/{request}/votes", "gina", {"verdict": "approve", "binding": binding})
        assert cast.status == status


def test_an_administrator_withdraws_any(served: ServerWorld) -> None:
    request = held(served)
    reply = served.post(f"/api/v1/requests/{request}/withdraw", "admin")
    assert (reply.status, reply.json["request"]["state"]) == (200, "withdrawn")
    again = served.post(f"/api/v1/requests/{request}/withdraw", "admin")
    assert (again.status, again.code) == (409, "request_moved")


def test_a_request_of_another_tenant_is_none_at_all(served: ServerWorld) -> None:
    request = held(served)
    there, nowhere = served.get(f"/api/v1/requests/{request}", "gina"), served.get("/api/v1/requests/no-such", "gina")
    assert (there.status, there.code) == (404, "not_found")
    assert {**there.json, "request_id": ""} == {**nowhere.json, "request_id": ""}
    reply = served.post(f"/api/v1/requests/{request}/votes", "gina", {"verdict": "approve", "binding": "0" * 64})
    assert (reply.status, reply.code) == (404, "not_found")


def test_pages_hold_every_request_once_in_the_order_of_their_expiry(served: ServerWorld) -> None:
    made = []
    for number in range(5):
        made.append(held(served, AMOUNT + number))
        served.world.clock.advance(1)
    seen: list[str] = []
    query = ""
    while True:
        page = served.get(f"/api/v1/requests?limit=2{query}", "lena").json
        seen += [one["id"] for one in page["requests"]]
        if page["next"] is None:
            break
        query = f"&cursor={page['next']}"
        assert len(page["next"]) < 100, "one place, however many tenants there are"
    assert seen == made
    bad = served.get("/api/v1/requests?limit=2&cursor=abc", "lena")
    assert (bad.status, bad.code) == (400, "bad_cursor")
    elsewhere = served.get(f"/api/v1/requests?limit=2{query}&state=consumed", "lena")
    assert (elsewhere.status, elsewhere.code) == (400, "bad_cursor")


def test_mine_are_those_that_i_may_vote_on(served: ServerWorld) -> None:
    billing, security = held(served), held_for_two(served)
    assert [one["id"] for one in served.get("/api/v1/requests", "lena").json["requests"]] == [billing, security]
    assert [one["id"] for one in served.get("/api/v1/requests?mine=true", "lena").json["requests"]] == [billing]
    assert served.get("/api/v1/requests?mine=true", "alice").json["requests"] == []
    assert [one["id"] for one in served.get("/api/v1/requests?mine=true", "agent").json["requests"]] == [billing, security]
    assert served.get("/api/v1/requests?mine=true", "night").json["requests"] == []
    assert served.get("/api/v1/requests", "gina").json["requests"] == []
    assert served.get("/api/v1/requests?tenant=acme", "gina").code == "not_found"


def test_what_has_not_changed_is_not_sent_again(served: ServerWorld) -> None:
    request = held(served)
    tag = served.get(f"/api/v1/requests/{request}", "lena").headers["etag"]
    again = served.get(f"/api/v1/requests/{request}", "lena", headers={"If-None-Match": tag})
    assert (again.status, again.content) == (304, b"")
    vote(served, request, "lena")
    assert served.get(f"/api/v1/requests/{request}", "lena", headers={"If-None-Match": tag}).status == 200


def test_who_waits_hears_of_the_decision_at_once(served: ServerWorld) -> None:
    request = held(served)
    replies: list[Reply] = []
    waiting = threading.Thread(target=lambda: replies.append(served.get(f"/api/v1/requests/{request}/wait?timeout_s=60", "agent")))
    waiting.start()
    vote(served, request, "lena")
    waiting.join()
    assert replies[0].json == {"id": request, "state": "approved", "moved": True}
    still = held(served, AMOUNT + 1)
    assert served.get(f"/api/v1/requests/{still}/wait?timeout_s=0", "agent").json == {"id": still, "state": "open", "moved": False}
    assert served.get(f"/api/v1/requests/{still}/wait?timeout_s=61", "agent").code == "bad_request"
    assert served.get(f"/api/v1/requests/{still}/wait", "night").code == "not_found"


@pytest.mark.parametrize(("classes", "code"), [('["money"]', "passkey_needed"), ('["destructive"]', None), ("[]", None)])
def test_a_request_says_beforehand_whether_its_approval_takes_a_passkey(classes: str, code: str | None) -> None:
    with server_world(f"{CONFIG}passkey_for = {classes}\n") as served:
        request = held(served)
        assert served.get(f"/api/v1/requests/{request}", "lena").json["passkey"] is (code is not None)
        (listed,) = served.get("/api/v1/requests", "lena").json["requests"]
        assert listed["passkey"] is (code is not None)
        reply = vote(served, request, "lena")
        assert (reply.status, reply.json.get("code")) == (200 if code is None else 403, code)
