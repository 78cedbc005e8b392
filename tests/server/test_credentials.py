"""API keys over HTTP: nobody issues more than they have, or in another person's name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.server.world import KNOWN, ServerWorld, server_world

BODY: dict[str, Any] = {"name": "importer", "tenants": ["acme"], "agents": ["support-bot"], "users": ["alice"], "expires_s": 3_600}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerWorld]:
    for name in ("admin", "admin-acme"):
        monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], roles=("licet-admin", "licet-agent")))
    with server_world() as made:
        yield made


def test_a_key_is_shown_once_and_kept_nowhere(served: ServerWorld) -> None:
    reply = served.post("/api/v1/credentials", "admin-acme", {**BODY, "roles": ["licet-agent"]})
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"
    key, id_ = reply.json["key"], reply.json["credential"]["id"]
    shown = served.get(f"/api/v1/credentials/{id_}", "admin-acme")
    assert (shown.json["state"], shown.json["roles"], shown.json["tenants"]) == ("active", ["licet-agent"], ["acme"])
    listed = served.get("/api/v1/credentials", "admin-acme")
    assert [one["id"] for one in listed.json["credentials"]] == [id_]
    for content in (shown.content, listed.content, *(record.payload or b"" for record in served.gate.store.records("operator"))):
        assert key.encode() not in content


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"roles": ["licet-auditor"]}, 403, "wider_than_own"),
        ({"roles": ["licet-agent", "root"]}, 403, "wider_than_own"),
        ({"tenants": ["globex"]}, 404, "not_found"),
        ({"tenants": ["acme", "globex"]}, 404, "not_found"),
        ({"tenants": ["nowhere"]}, 404, "not_found"),
        ({"tenants": ["*"]}, 404, "not_found"),
        ({"user": "lena", "agents": [], "users": []}, 403, "not_their_own"),
        ({"agents": ["no-such"]}, 422, "unknown_agent"),
        ({"users": ["no-such"]}, 422, "unknown_user"),
        ({"users": ["gina"]}, 422, "unknown_user"),
        ({"expires_s": 0}, 400, "bad_request"),
        ({"expires_s": None}, 400, "bad_request"),
        ({"tenants": []}, 400, "bad_request"),
        ({"by": "lena"}, 400, "bad_request"),
    ],
)
def test_nobody_issues_more_than_they_have(served: ServerWorld, change: dict[str, Any], status: int, code: str) -> None:
    reply = served.post("/api/v1/credentials", "admin-acme", {**BODY, **change})
    assert (reply.status, reply.code) == (status, code)
    assert served.gate.store.credentials() == ()


def test_names_of_other_tenants_are_as_names_that_nobody_has(served: ServerWorld) -> None:
    said = [served.post("/api/v1/credentials", "admin-acme", {**BODY, "users": [name]}).json["detail"] for name in ("gina", "g1na")]
    assert said == ["there is no user `gina` in the tenants of the key", "there is no user `g1na` in the tenants of the key"]
    wide = served.post("/api/v1/credentials", "admin", {**BODY, "tenants": ["acme", "globex"], "agents": ["free-bot"], "users": ["gina"]})
    assert wide.status == 201


def test_a_key_of_tenants_out_of_reach_does_not_exist(served: ServerWorld) -> None:
    id_ = served.post("/api/v1/credentials", "admin", {**BODY, "tenants": ["*"], "agents": ["free-bot"], "users": []}).json["credential"][
        "id"
    ]
    assert served.get("/api/v1/credentials", "admin-acme").json["credentials"] == []
    assert served.get(f"/api/v1/credentials/{id_}", "admin-acme").code == "not_found"
    for act, body in (("rotate", {}), ("revoke", {"reason": "r"})):
        reply = served.post(f"/api/v1/credentials/{id_}/{act}", "admin-acme", body)
        assert (reply.status, reply.code) == (404, "not_found")


def test_a_person_alone_replaces_their_key(served: ServerWorld) -> None:
    from licet.identity.api_keys import KeyContent  # noqa: PLC0415

    key = served.gate.credentials.issue(KeyContent(name="lena", tenants=("acme",), user="lena"), expires_s=60)
    reply = served.post(f"/api/v1/credentials/{key.credential.id}/rotate", "admin", {})
    assert (reply.status, reply.code) == (403, "not_their_own")
    revoked = served.post(f"/api/v1/credentials/{key.credential.id}/revoke", "admin", {"reason": "she has left"})
    assert revoked.json["credential"]["state"] == "ended"


def test_a_key_is_replaced_and_revoked(served: ServerWorld) -> None:
    old = served.post("/api/v1/credentials", "admin", BODY).json
    new = served.post(f"/api/v1/credentials/{old['credential']['id']}/rotate", "admin", {"overlap_s": 0})
    assert new.status == 201
    assert new.json["credential"]["replaces"] == old["credential"]["id"]
    assert new.json["key"] != old["key"]
    assert served.get(f"/api/v1/credentials/{old['credential']['id']}", "admin").json["state"] == "ended"
    again = served.post(f"/api/v1/credentials/{old['credential']['id']}/revoke", "admin", {"reason": "r"})
    assert (again.status, again.code) == (409, "already_ended")
    said = [json.loads(record.payload or b"")["detail"] for record in served.gate.store.records("operator") if record.kind == "admin"]
    assert [(one["act"], one["credential"], one["shown"], one["operating_user"]) for one in said] == [
        ("issue_credential", old["credential"]["id"], "key-admin", None),
        ("rotate_credential", new.json["credential"]["id"], "key-admin", None),
    ]
