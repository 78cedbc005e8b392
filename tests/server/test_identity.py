"""Credentials at the server's door: real keys, tokens and revocations behind the real application."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.errors import StoreUnavailable
from licet.identity.api_keys import KeyContent
from tests.identity.issuer import claims, header, public, rsa, signed
from tests.server.world import Reply, ServerWorld, server_world
from tests.world import CONFIG

ISSUER = "https://idp.example.com"
ROBOT = KeyContent(name="robot", tenants=("acme",), agents=("support-bot",), users=("alice",), roles=("licet-agent",))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServerWorld]:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public(rsa(), "one")]}))
    config = CONFIG.replace("[agents.support-bot]", f'[agents.support-bot]\nlogins = ["{ISSUER}|support-bot-client"]', 1)
    config = config.replace("[users.alice]", f'[users.alice]\nlogins = ["{ISSUER}|00u1"]', 1)
    config += f'[[identity.issuers]]\nissuer = "{ISSUER}"\naudience = "licet"\njwks = "file:{tmp_path}/keys.json"\n'
    with server_world(config) as made, made.gate.authenticating() as authenticating:
        vars(made.app)["_authenticator"] = authenticating.authenticator  # the real one, in place of the world's
        yield made


def token(served: ServerWorld, **changed: Any) -> str:
    now = int(served.world.clock().timestamp())
    return signed(header(), claims(**{"exp": now + 300, "iat": now, **changed}))


def shown(served: ServerWorld, credential: str) -> Reply:
    return served.get("/api/v1/whoami", credential)


def test_a_key_is_who_it_was_issued_for_until_it_is_revoked(served: ServerWorld) -> None:
    issued = served.gate.credentials.issue(ROBOT, expires_s=3_600)
    for _ in range(2):  # verified, and remembered
        who = shown(served, issued.key).json
        assert (who["method"], who["credential"], who["agents"]) == ("api_key", issued.credential.id, ["support-bot"])
    served.gate.credentials.revoke(issued.credential.id, reason="stolen")
    until = time.monotonic() + 30
    while shown(served, issued.key).status == 200 and time.monotonic() < until:
        time.sleep(0.02)
    refused = shown(served, issued.key)
    assert (refused.status, refused.code) == (401, "invalid_credential")
    assert "revoked" not in refused.content.decode()
    assert served.told.refusals[-1] == "revoked"


def test_an_expired_key_and_one_that_is_not_known_answer_alike(served: ServerWorld) -> None:
    issued = served.gate.credentials.issue(ROBOT, expires_s=60)
    served.world.clock.advance(60)
    expired, unknown = shown(served, issued.key), shown(served, "licet_nothing")
    assert expired.status == unknown.status == 401
    assert expired.json | {"request_id": ""} == unknown.json | {"request_id": ""}
    assert served.told.refusals == ["expired", "malformed_key"]


def test_a_person_and_the_agent_that_acts_for_them_are_told_apart(served: ServerWorld) -> None:
    person = shown(served, token(served)).json
    assert (person["user"], person["agents"]) == ("alice", [])
    agent = shown(served, token(served, act={"sub": "support-bot-client"})).json
    assert (agent["user"], agent["agents"], agent["users"]) == (None, ["support-bot"], ["alice"])


def test_a_login_that_nobody_mapped_is_told_so_and_a_forged_token_is_not(served: ServerWorld) -> None:
    stranger = shown(served, token(served, sub="nobody"))
    assert (stranger.status, stranger.code) == (403, "unknown_login")
    forged = shown(served, signed(header(), claims(sub="nobody"), rsa(7)))
    assert (forged.status, forged.code) == (401, "invalid_credential")
    assert served.told.refusals == ["unknown_login", "bad_signature"]


def test_whoever_cannot_be_checked_is_not_let_in_and_not_blamed(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = served.gate.credentials.issue(ROBOT, expires_s=3_600)

    def away(*_: object) -> None:
        raise StoreUnavailable("the ledger is away")

    monkeypatch.setattr(served.gate.store, "find_credential", away)
    for _ in range(100):  # more than an address may fail
        reply = shown(served, issued.key)
        assert (reply.status, reply.code) == (503, "unavailable")
        assert "ledger" not in reply.content.decode()
    monkeypatch.undo()
    assert shown(served, issued.key).status == 200
