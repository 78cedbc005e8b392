"""Attacks by whoever shows a credential, or none: at the server's door, with real keys and tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.config import loads
from licet.identity.api_keys import KeyContent
from licet.policy.own import default_text
from tests.gate.proof import assert_whole
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES
from tests.identity.issuer import claims, header, hmac_signed, public, rsa, signed
from tests.server.world import Reply, ServerWorld, server_world

ISSUER = "https://idp.example.com"
ROBOT = KeyContent(name="robot", tenants=("acme",), agents=("support-bot",), users=("alice",), roles=("licet-agent",))
ADMIN = KeyContent(name="admin", tenants=("acme",), roles=("licet-admin",))
TOKENS_CALL = """
@id("tokens-call")
permit (principal is Client, action == Action::"calls.propose", resource) when { context.method == "jwt" };
"""
PAY = {"tool": "wire.pay", "arguments": {"customer_id": "C-1", "amount_cents": 2_500}}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServerWorld]:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public(rsa(), "one")]}))
    config = REMOTE_CONFIG.replace("[agents.support-bot]", f'[agents.support-bot]\nlogins = ["{ISSUER}|support-bot-client"]', 1)
    config = config.replace("[users.alice]", f'[users.alice]\nlogins = ["{ISSUER}|00u1"]', 1)
    config += f'[[identity.issuers]]\nissuer = "{ISSUER}"\naudience = "licet"\njwks = "file:{tmp_path}/keys.json"\n'
    with server_world(config, REMOTE_POLICIES, own=default_text() + TOKENS_CALL) as made, made.gate.authenticating() as authenticating:
        vars(made.app)["_authenticator"] = authenticating.authenticator  # the real one, in place of the world's
        yield made
        assert_whole(made.gate)


def key_of(served: ServerWorld, content: KeyContent = ROBOT, expires_s: int = 3_600) -> str:
    return served.gate.credentials.issue(content, expires_s=expires_s).key


def person(served: ServerWorld, name: str) -> str:
    return key_of(served, KeyContent(name=name, tenants=("acme",), user=name))


def now_s(served: ServerWorld) -> int:
    return int(served.world.clock().timestamp())


def token(served: ServerWorld, head: dict[str, Any] | None = None, **changed: Any) -> str:
    now = now_s(served)
    return signed(head or header(), claims(**{"exp": now + 300, "iat": now, **changed}))


def whoami(served: ServerWorld, authorization: str, **more: Any) -> Reply:
    return served.request("GET", "/api/v1/whoami", headers=[("Authorization", authorization)], **more)


# where a credential may stand


@pytest.mark.parametrize(
    "shape",
    [
        "{key}",
        "Bearer{key}",
        "Bearer  {key}",
        "Bearer\t{key}",
        "Bearer {key} ",
        "Bearer {key}, Bearer {key}",
        "Basic {key}",
        "Token {key}",
        'Bearer "{key}"',
        "Bearer {upper}",
        "Bearer {key}\x00",
        "Bearer {cut}",
        "Bearer {key}a",
        "Bearer ",
        "Bearer",
    ],
)
def test_a_header_that_is_not_exactly_one_bearer_is_nobodys(served: ServerWorld, shape: str) -> None:
    key = key_of(served)
    assert whoami(served, f"Bearer {key}").status == 200
    reply = whoami(served, shape.format(key=key, upper=key.upper(), cut=key[:-1]))
    assert (reply.status, reply.code) == (401, "invalid_credential")
    assert key not in reply.content.decode()


@pytest.mark.parametrize("name", ["Cookie", "X-User", "X-Forwarded-User", "X-API-Key", "Proxy-Authorization", "X-Client-Cert", "Forwarded"])
def test_no_other_header_names_anybody(served: ServerWorld, name: str) -> None:
    key = key_of(served)
    for value in (f"Bearer {key}", key, "alice", f"authorization=Bearer {key}"):
        reply = served.request("GET", "/api/v1/whoami", headers=[(name, value)])
        assert (reply.status, reply.code) == (401, "invalid_credential")


def test_no_query_and_no_body_names_anybody(served: ServerWorld) -> None:
    key = key_of(served)
    assert served.get(f"/api/v1/tools/billing.adjust?authorization=Bearer%20{key}").status == 401
    assert served.get(f"/api/v1/tools/billing.adjust?access_token={key}").status == 401
    assert served.post("/api/v1/calls", None, {**PAY, "access_token": key}).status == 401


# tokens


def test_forged_tokens_are_nobodys_over_http_too(served: ServerWorld) -> None:
    now = now_s(served)
    good = claims(exp=now + 300, iat=now)
    public_key = rsa().as_pem(private=False)
    none = signed({"alg": "none", "kid": "one"}, good).rpartition(".")[0] + "."
    forged = [
        none,
        hmac_signed({"alg": "HS256", "kid": "one"}, good, public_key),
        token(served, {**header(), "kid": "two"}),
        signed({**header(), "jku": "http://127.0.0.1:1/keys"}, good, rsa(1)),
        signed({**header(), "jwk": public(rsa(1), "one")}, good, rsa(1)),
        token(served, {**header(), "crit": ["exp"]}),
        signed(header(), good, rsa(1)),
        token(served, aud="another"),
        token(served, aud=["another", "third"]),
        token(served, iss="https://evil.example.com"),
        token(served, exp=now - 3_600),
        token(served, iat=now + 3_600, nbf=now + 3_600),
        token(served)[:-4] + "AAAA",
        token(served) + ".",
        "..",
        "a.b.c",
    ]
    for place, one in enumerate(forged):
        reply = whoami(served, f"Bearer {one}")
        assert reply.status == 401, place
        assert (reply.status, reply.code) == (401, "invalid_credential"), one
    assert whoami(served, f"Bearer {token(served)}").json["user"] == "alice"


def test_an_agent_that_acts_for_a_user_names_nobody_else_in_the_body(served: ServerWorld) -> None:
    acting = token(served, act={"sub": "support-bot-client"})
    reply = served.post("/api/v1/calls", acting, PAY)
    assert reply.json.get("decision") == "allow", reply.content
    for caller in (
        {"user": "carl"},
        {"agent": "free-bot"},
        {"service": "importer"},
        {"tenant": "globex"},
        {"agent": "night-bot", "user": "alice"},
    ):
        reply = served.post("/api/v1/calls", acting, {**PAY, "caller": caller})
        assert (reply.status, reply.code) == (403, "not_in_scope"), reply.content


def test_a_token_is_good_to_its_last_second_and_no_further_than_the_clocks_may_differ(served: ServerWorld) -> None:
    shown = token(served)
    served.world.clock.advance(299)
    assert whoami(served, f"Bearer {shown}").status == 200
    served.world.clock.advance(62)
    assert whoami(served, f"Bearer {shown}").status == 401, "it was remembered, and counted on past its end"


# keys


def test_a_key_is_good_before_its_last_moment_and_not_at_it(served: ServerWorld) -> None:
    key = key_of(served, expires_s=60)
    served.world.clock.advance(59.999)
    assert whoami(served, f"Bearer {key}").status == 200
    served.world.clock.advance(0.001)
    assert whoami(served, f"Bearer {key}").status == 401


def test_the_key_of_another_installation_is_nobodys(served: ServerWorld) -> None:
    with server_world(REMOTE_CONFIG, REMOTE_POLICIES) as other:
        key = key_of(other)
    reply = whoami(served, f"Bearer {key}")
    assert (reply.status, reply.code) == (401, "invalid_credential")


def test_the_old_key_ends_with_the_overlap(served: ServerWorld) -> None:
    issued = served.gate.credentials.issue(ROBOT, expires_s=3_600)
    new = served.gate.credentials.rotate(issued.credential.id, overlap_s=60)
    for key in (issued.key, new.key):
        assert whoami(served, f"Bearer {key}").status == 200
    served.world.clock.advance(60)
    assert whoami(served, f"Bearer {issued.key}").status == 401
    assert whoami(served, f"Bearer {new.key}").status == 200


def test_who_issues_for_one_tenant_gets_nothing_wider_by_rotating_or_naming_all(served: ServerWorld) -> None:
    admin = key_of(served, ADMIN)
    wide = served.gate.credentials.issue(
        KeyContent(name="wide", tenants=("*",), agents=("free-bot",), roles=("licet-agent",)), expires_s=3_600
    )
    for path in ("rotate", "revoke"):
        reply = served.post(f"/api/v1/credentials/{wide.credential.id}/{path}", admin, {"reason": "r"} if path == "revoke" else {})
        assert (reply.status, reply.code) == (404, "not_found")
    for tenants in (["*"], ["acme", "globex"], ["operator"], ["acme", "*"], ["Acme"], ["acme "]):
        body = {"name": "n", "tenants": tenants, "expires_s": 3_600, "agents": ["support-bot"], "roles": ["licet-admin"]}
        reply = served.post("/api/v1/credentials", admin, body)
        assert reply.status in {403, 404, 422}, reply.content


def test_a_key_for_programs_with_one_user_cannot_leave_the_user_out(served: ServerWorld) -> None:
    key = key_of(served)
    for caller in ({}, {"agent": "support-bot"}, {"user": None}):
        reply = served.post("/api/v1/calls", key, {**PAY, "caller": caller})
        call = served.get(f"/api/v1/calls/{reply.json['call']}", key).json
        assert (call["agent"], call["user"]) == ("support-bot", "alice")


# votes


def held(served: ServerWorld, key: str, amount_cents: int = 50_000) -> str:
    body = {**PAY, "arguments": {"customer_id": "C-1", "amount_cents": amount_cents}}
    return str(served.post("/api/v1/calls", key, body).json["request"])


def vote(served: ServerWorld, request: str, key: str, looker: str | None = None, **more: Any) -> Reply:
    binding = served.get(f"/api/v1/requests/{request}", looker or key).json["binding"]
    return served.post(f"/api/v1/requests/{request}/votes", key, {"verdict": "approve", "binding": binding, **more})


def test_whoever_asked_does_not_approve_by_any_of_their_credentials(served: ServerWorld) -> None:
    robot, lena = key_of(served), person(served, "lena")
    request = held(served, robot)
    own = [key_of(served, KeyContent(name=f"alice-{n}", tenants=("acme",), user="alice")) for n in range(2)] + [token(served)]
    for key in own:
        reply = vote(served, request, key, lena)
        assert (reply.status, reply.code) == (403, "requester"), reply.content
    for key in (robot, token(served, act={"sub": "support-bot-client"}), key_of(served, ADMIN)):
        reply = vote(served, request, key, lena)
        assert (reply.status, reply.code) in {(403, "person_needed"), (403, "not_permitted")}, reply.content
    assert (
        served.post("/api/v1/calls", robot, {**PAY, "arguments": {"customer_id": "C-1", "amount_cents": 50_000}}).json["decision"] == "hold"
    )


def test_one_person_with_two_keys_and_two_names_votes_once(served: ServerWorld) -> None:
    with served.world.alice():
        request = served.gate.call("account.suspend", {"customer_id": "C-1"}).request  # type: ignore[union-attr]  # it is held
    assert request is not None
    keys = [person(served, name) for name in ("dana", "dana", "dana-two")]
    statuses: list[tuple[int, str | None]] = []
    ready = threading.Barrier(len(keys))
    binding = served.get(f"/api/v1/requests/{request}", keys[0]).json["binding"]

    def cast(key: str) -> None:
        ready.wait()
        reply = served.post(f"/api/v1/requests/{request}/votes", key, {"verdict": "approve", "binding": binding})
        statuses.append((reply.status, reply.json.get("code")))

    threads = [threading.Thread(target=cast, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in statuses) == [200, 409, 409], statuses
    assert served.get(f"/api/v1/requests/{request}", keys[0]).json["state"] == "open"


def test_a_vote_is_no_get_and_counts_for_what_was_looked_at(served: ServerWorld) -> None:
    robot, lena = key_of(served), person(served, "lena")
    one, two = held(served, robot), held(served, robot, 60_000)
    binding = served.get(f"/api/v1/requests/{two}", lena).json["binding"]
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert served.request(method, f"/api/v1/requests/{one}/votes?verdict=approve", lena).status == 405
    path = f"/api/v1/requests/{one}/votes"
    for body in ({"verdict": "approve", "binding": binding}, {"verdict": "approve", "binding": "0" * 64}):
        reply = served.post(path, lena, body)
        assert (reply.status, reply.code) == (409, "not_as_shown"), reply.content
    for body in ({"verdict": "approve"}, {"verdict": "approve", "binding": ""}, {"verdict": "approve", "binding": None}):
        assert served.post(path, lena, body).status == 400
    true = served.get(f"/api/v1/requests/{one}", lena).json["binding"]
    for condition in (f'"{binding}"', '"', "", f'"{true}', f"W/W/{true}", f'"{binding}", "{"0" * 64}"'):
        served.post(path, lena, {"verdict": "approve", "binding": binding}, headers={"If-Match": condition})
    assert served.get(f"/api/v1/requests/{one}", lena).json["votes"] == []


def test_nobody_takes_back_or_withdraws_what_is_not_theirs(served: ServerWorld) -> None:
    robot, lena, carl = key_of(served), person(served, "lena"), person(served, "carl")
    other = key_of(served, KeyContent(name="night", tenants=("acme",), agents=("night-bot",), roles=("licet-agent",)))
    request = held(served, robot)
    assert served.post(f"/api/v1/requests/{request}/withdraw", other).status in {403, 404}
    assert served.post(f"/api/v1/requests/{request}/withdraw", carl).status in {403, 404}
    assert vote(served, request, lena).status == 200
    for key in (robot, carl, person(served, "omar")):
        assert served.post(f"/api/v1/requests/{request}/take-back", key).status in {403, 404, 409}
    assert served.get(f"/api/v1/requests/{request}", lena).json["state"] == "approved"


def test_a_voter_who_is_removed_by_a_reload_has_no_vote_and_no_key(served: ServerWorld) -> None:
    robot, lena = key_of(served), person(served, "lena")
    request = held(served, robot)
    assert vote(served, request, lena).status == 200
    settings = served.gate.settings
    text = REMOTE_CONFIG.replace('[users.lena]\ntenants = ["acme"]\n', "").replace('["lena", ', "[")
    without = loads(text, file=settings.policies.parent / "licet.toml")
    served.gate.reload(replace(without, store=settings.store, policies=settings.policies, identity=settings.identity))
    assert whoami(served, f"Bearer {lena}").status == 401
    body = {**PAY, "arguments": {"customer_id": "C-1", "amount_cents": 50_000}}
    assert served.post("/api/v1/calls", robot, body).json["decision"] == "hold"
