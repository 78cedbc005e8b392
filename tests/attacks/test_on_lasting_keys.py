"""Attacks by time and by what is left behind: keys that would outlive what issued them, and keys of people who were erased."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.config.server import ServerSettings
from licet.gate.credentials import LONGEST_BY_TOKEN_S, IssuedKey
from licet.identity.api_keys import ERASED, KeyContent, decode_content
from licet.policy.own import default_text
from licet.server.api import endpoints
from tests.attacks.test_on_credentials import ADMIN, ISSUER, PAY, ROBOT, token, whoami
from tests.gate.proof import assert_whole
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES
from tests.identity.issuer import public, rsa
from tests.server.world import Reply, ServerWorld
from tests.world import world_on

DAY_S = 86_400
ROOT = replace(ADMIN, name="root", tenants=("*",))
TOKENS_ISSUE = """
@id("tokens-issue")
permit (principal, action == Action::"credentials.issue", resource) when { context.method == "jwt" };
"""
BODY: dict[str, Any] = {"name": "lasting", "tenants": ["acme"], "roles": ["licet-admin"], "expires_s": 3_650 * DAY_S}
ERASURE = {"tenant": "acme", "type": "User", "id": "alice", "reason": "asked for by letter"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.heavy)])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerWorld]:
    """A server on each database, with its real door."""
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public(rsa(), "one")]}))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "licet.cedar").write_text(default_text() + TOKENS_ISSUE)
    store = f'store = "{request.getfixturevalue("postgres_server").make_database()}"\n' if request.param == "postgres" else ""
    config = store + REMOTE_CONFIG.replace("[users.alice]", f'[users.alice]\nlogins = ["{ISSUER}|00u1"]', 1)
    config += f'[[identity.issuers]]\nissuer = "{ISSUER}"\naudience = "licet"\njwks = "file:{tmp_path}/keys.json"\n'
    with world_on(tmp_path, config, REMOTE_POLICIES) as inner:
        made = ServerWorld(inner, endpoints(), ServerSettings())
        try:
            with inner.gate.authenticating() as authenticating:
                vars(made.app)["_authenticator"] = authenticating.authenticator  # the real one, in place of the world's
                yield made
                assert_whole(inner.gate)
        finally:
            made.close()


def issued(served: ServerWorld, content: KeyContent, expires_s: int | None = 3_600) -> IssuedKey:
    return served.gate.credentials.issue(content, expires_s=expires_s)


def until_refused(served: ServerWorld, key: str) -> Reply:
    """What the door says once it has seen the revocation."""
    for _ in range(1_000):
        reply = whoami(served, f"Bearer {key}")
        if reply.status != 200:
            break
        time.sleep(0.01)
    return reply


def contents(served: ServerWorld) -> dict[str, KeyContent]:
    return {row.issued.id: replace(decode_content(row.issued.content), salt="") for row in served.gate.store.credentials()}


# keys that would outlive what issued them


def test_a_stolen_key_of_a_day_becomes_no_key_of_ten_years(served: ServerWorld) -> None:
    day = issued(served, ADMIN, DAY_S)
    until = day.credential.expires_at
    assert until is not None
    before = served.gate.store.credentials()
    reply = served.post("/api/v1/credentials", day.key, BODY)
    assert (reply.status, reply.code) == (403, "outlives_issuer")
    assert f"issues nothing beyond {until:%Y-%m-%d %H:%M:%S} UTC: ask for " in reply.json["detail"]
    assert served.gate.store.credentials() == before
    within = served.post("/api/v1/credentials", day.key, {**BODY, "expires_s": 3_600})
    assert within.status == 201
    assert within.json["credential"]["expires_at"] < f"{until:%Y-%m-%dT%H:%M:%S}"


def test_nor_by_way_of_a_key_that_was_issued_in_between(served: ServerWorld) -> None:
    day = issued(served, ADMIN, DAY_S)
    child = served.post("/api/v1/credentials", day.key, {**BODY, "expires_s": 7_200}).json["key"]
    reply = served.post("/api/v1/credentials", child, {**BODY, "expires_s": 7_300})
    assert (reply.status, reply.code) == (403, "outlives_issuer")


@pytest.mark.parametrize("own_s", [DAY_S, 10 * DAY_S, None], ids=["its own age", "longer", "for ever"])
def test_a_stolen_key_of_a_day_does_not_last_by_rotating(served: ServerWorld, own_s: int | None) -> None:
    day, other = issued(served, ADMIN, DAY_S), issued(served, replace(ADMIN, name="other"), own_s)
    served.world.clock.advance(60)
    for credential in (day.credential.id, other.credential.id):
        for body in ({}, {"expires_s": 2 * DAY_S}, {"expires_s": DAY_S, "overlap_s": 0}):
            reply = served.post(f"/api/v1/credentials/{credential}/rotate", day.key, body)
            assert (reply.status, reply.code) == (403, "outlives_issuer"), body
            assert served.gate.credentials.show(credential).state == "active"
    done = served.post(f"/api/v1/credentials/{day.credential.id}/rotate", day.key, {"expires_s": DAY_S - 120})
    assert done.status == 201


def test_a_stolen_key_that_was_replaced_issues_nothing_beyond_its_overlap(served: ServerWorld) -> None:
    stolen = issued(served, ADMIN, None)
    served.gate.credentials.rotate(stolen.credential.id, overlap_s=3_600)
    for path, body in (("", BODY), (f"/{stolen.credential.id}/rotate", {}), (f"/{stolen.credential.id}/rotate", {"expires_s": 7_200})):
        reply = served.post(f"/api/v1/credentials{path}", stolen.key, body)
        assert (reply.status, reply.code) == (403, "outlives_issuer")
    assert served.post("/api/v1/credentials", stolen.key, {**BODY, "expires_s": 3_000}).status == 201


def test_a_key_without_end_and_whoever_has_the_ledger_issue_what_they_like(served: ServerWorld) -> None:
    lasting = issued(served, ADMIN, None)
    assert lasting.credential.expires_at is None
    assert served.post("/api/v1/credentials", lasting.key, BODY).status == 201


def test_a_token_of_minutes_gives_a_service_its_key_and_no_key_of_years(served: ServerWorld) -> None:
    body = {**BODY, "roles": [], "agents": ["support-bot"]}
    reply = served.post("/api/v1/credentials", token(served), {**body, "expires_s": LONGEST_BY_TOKEN_S + 60})
    assert (reply.status, reply.code) == (403, "outlives_issuer")
    assert "or let somebody issue it whose credential lasts longer" in reply.json["detail"]
    done = served.post("/api/v1/credentials", token(served), {**body, "expires_s": LONGEST_BY_TOKEN_S - 60})
    assert (done.status, done.json["credential"]["state"]) == (201, "active")
    assert served.gate.now() + timedelta(days=89) < served.gate.credentials.show(done.json["credential"]["id"]).expires_at  # type: ignore[operator]


# keys of people who were erased


def test_the_key_of_an_erased_person_is_refused_and_names_them_no_more(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    hers = issued(served, KeyContent(name="alice's laptop", tenants=("acme",), user="alice"))
    lenas = issued(served, KeyContent(name="lena", tenants=("acme",), user="lena"))
    assert whoami(served, f"Bearer {hers.key}").json["user"] == "alice"
    done = served.post("/api/v1/erasures", admin, ERASURE)
    assert done.status == 200, done.content
    assert done.json["erased"]["credentials"] == [hers.credential.id]
    refused = until_refused(served, hers.key)
    assert (refused.status, refused.code) == (401, "invalid_credential")
    assert whoami(served, f"Bearer {lenas.key}").json["user"] == "lena"
    assert contents(served)[hers.credential.id] == KeyContent(name=f"{ERASED}'s laptop", tenants=("acme",), user=ERASED)
    listed = served.get("/api/v1/credentials", admin)
    assert b"alice" not in listed.content
    shown = {one["id"]: (one["state"], one["user"]) for one in listed.json["credentials"]}
    assert shown[hers.credential.id] == ("ended", ERASED)
    assert shown[lenas.credential.id] == ("active", "lena")
    rotated = served.gate.store.find_credential(hers.credential.id)
    assert rotated is not None
    assert rotated.ends_at is not None


def test_no_record_in_clear_names_whose_key_it_was(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    hers = issued(served, KeyContent(name="alice", tenants=("acme",), user="alice"))
    served.world.clock.advance(1)
    shared = issued(served, replace(ROBOT, users=("alice", "lena")))
    assert served.post("/api/v1/erasures", admin, ERASURE).status == 200
    records = [record for record in served.gate.store.records("operator") if record.kind == "admin"]
    assert [record.closed for record in records] == ["", "erased", "erased", "", ""]
    acts = [json.loads(record.payload or b"")["detail"] for record in records[3:]]
    assert [(one["act"], one["credential"], one["reason"]) for one in acts] == [
        ("revoke_credential", hers.credential.id, "somebody whom it named was erased"),
        ("clear_credential", shared.credential.id, "somebody whom it named was erased"),
    ]
    assert not [record for record in records if b"alice" in (record.payload or b"") + record.envelope]


def test_a_key_for_others_too_goes_on_for_them_alone(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    shared = issued(served, replace(ROBOT, name="robot of alice", users=("alice", "lena")))
    for_her = {**PAY, "caller": {"user": "alice"}}
    assert served.post("/api/v1/calls", shared.key, for_her).json["decision"] == "allow"
    assert served.post("/api/v1/erasures", admin, ERASURE).status == 200
    for _ in range(1_000):
        after = served.post("/api/v1/calls", shared.key, for_her)
        if after.status != 200:
            break
        time.sleep(0.01)
    assert (after.status, after.code) == (403, "not_in_scope")
    for_lena = served.post("/api/v1/calls", shared.key, {**PAY, "caller": {"user": "lena"}}).json
    assert served.get(f"/api/v1/calls/{for_lena['call']}", shared.key).json["user"] == "lena"
    left = replace(ROBOT, name=f"robot of {ERASED}", users=(ERASED, "lena"))
    assert contents(served)[shared.credential.id] == left


def test_nobody_else_is_put_into_a_call_when_a_single_user_is_left(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    shared = issued(served, replace(ROBOT, users=("alice", "lena")))
    assert served.post("/api/v1/erasures", admin, ERASURE).status == 200
    call = served.post("/api/v1/calls", shared.key, PAY).json["call"]
    assert served.get(f"/api/v1/calls/{call}", shared.key).json.get("user") is None
    assert "lena" not in served.get(f"/api/v1/calls/{call}", shared.key).content.decode()
    for name in (ERASED, "*"):
        reply = served.post("/api/v1/calls", shared.key, {**PAY, "caller": {"user": name}})
        assert reply.json.get("decision") != "allow", reply.content


def test_a_key_for_the_erased_alone_does_not_call_for_nobody(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    alone = issued(served, ROBOT)
    assert served.post("/api/v1/erasures", admin, ERASURE).status == 200
    refused = until_refused(served, alone.key)
    assert (refused.status, refused.code) == (401, "invalid_credential")
    assert served.gate.credentials.show(alone.credential.id).users == (ERASED,)


def test_what_is_left_of_a_key_is_replaced_by_the_very_same(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    shared = issued(served, replace(ROBOT, users=("alice", "lena")))
    assert served.post("/api/v1/erasures", admin, ERASURE).status == 200
    successor = served.gate.credentials.rotate(shared.credential.id, overlap_s=0).credential
    assert (successor.users, successor.replaces) == ((ERASED, "lena"), shared.credential.id)


def test_an_administrator_of_one_tenant_ends_no_key_of_all_by_an_erasure(served: ServerWorld) -> None:
    one, all_ = issued(served, ADMIN, None).key, issued(served, ROOT, None).key
    wide = issued(served, KeyContent(name="wide", tenants=("*",), user="alice"))
    reply = served.post("/api/v1/erasures", one, ERASURE)
    assert (reply.status, reply.code) == (403, "key_beyond_reach")
    assert served.gate.credentials.show(wide.credential.id).state == "active"
    assert served.post("/api/v1/erasures", all_, ERASURE).status == 200
    assert served.gate.credentials.show(wide.credential.id).state == "ended"
    assert not [name for content in contents(served).values() for name in (content.user, *content.users) if name == "alice"]


def test_the_former_content_cannot_be_guessed_from_its_digest(served: ServerWorld) -> None:
    admin = issued(served, ROOT, None).key
    shared = issued(served, replace(ROBOT, users=("alice", "lena")))
    row = served.gate.store.find_credential(shared.credential.id)
    assert row is not None
    former, was = row.issued, decode_content(row.issued.content)
    assert served.post("/api/v1/erasures", admin, ERASURE).status == 200
    row = served.gate.store.find_credential(shared.credential.id)
    assert row is not None
    now = decode_content(row.issued.content)
    assert len(was.salt) == len(now.salt) == 32
    assert was.salt != now.salt
    envelopes = b"".join([record.envelope for record in served.gate.store.records("operator")])
    assert former.mark.encode() in envelopes
    assert was.salt.encode() not in row.issued.content + envelopes


def test_an_erasure_tells_nobody_whether_another_tenant_has_a_user_of_this_name(served: ServerWorld) -> None:
    one = issued(served, ADMIN, None).key
    issued(served, KeyContent(name="wide", tenants=("*",), user="gina"))
    issued(served, KeyContent(name="theirs", tenants=("globex",), user="gina"))
    replies = [served.post("/api/v1/erasures", one, {**ERASURE, "id": name}) for name in ("gina", "g1na")]
    assert [(reply.status, reply.code) for reply in replies] == [(404, "nothing_recorded")] * 2
    assert replies[0].json["detail"].replace("gina", "g1na") == replies[1].json["detail"]
