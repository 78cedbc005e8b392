"""Every endpoint of the table against every kind of asker: none can be added that forgets to ask for permission."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from licet.policy.own import GROUPS
from licet.server.api import endpoints
from licet.server.endpoint import Endpoint
from tests.server.world import ServerWorld, server_world

ROLES = {"agent": "agent", "auditor": "auditor", "auditor-globex": "auditor", "admin": "admin", "lena": "approver", "nobody": "nobody"}
"""Who asks, and the group of actions that they have; `nobody` has a credential and no role."""
GIVEN = {
    "log": "acme",
    "index": "0",
    "id": "01a2050c-be12-787f-8345-221970c777c2",
    "call": "01a2050c-be12-787f-8345-221970c777c2",
    "name": "billing.adjust",
    "tile": "0/000.p/1",
}
BINDING = "0" * 64
BODIES: dict[str, Any] = {
    "voteOnRequest": {"verdict": "approve", "binding": BINDING},
    "voteOnPlan": {"votes": [{"step": 1, "verdict": "approve", "binding": BINDING}]},
    "proveConsistency": {"note": "x"},
    "placeFreeze": {"scope": "session", "name": "s-1", "tenant": "acme", "reason": "r"},
    "liftFreeze": {"reason": "r"},
    "settleUnknown": {"status": "ok", "reason": "r"},
    "validatePolicies": {"files": {}},
    "eraseSubject": {"tenant": "acme", "type": "Customer", "id": "C-9", "reason": "r"},
    "placeHold": {"tenant": "acme", "reason": "r"},
    "releaseHold": {"reason": "r"},
    "issueCredential": {"name": "n", "tenants": ["acme"], "expires_s": 3600, "agents": ["support-bot"]},
    "rotateCredential": {},
    "revokeCredential": {"reason": "r"},
}
"""A body that is well formed, for each operation of ours that takes one."""
OURS = [one for one in endpoints() if one.path.startswith("/api/v1/") and one.action is not None and one.tag != "calls"]


@pytest.fixture(scope="module")
def served() -> Iterator[ServerWorld]:
    with server_world() as made:
        made.world.adjust(2_500)
        yield made


def path_of(endpoint: Endpoint, **given: str) -> str:
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: {**GIVEN, **given}[match[1]], endpoint.path)


def ask(served: ServerWorld, endpoint: Endpoint, who: str | None) -> Any:
    path = path_of(endpoint)
    body = BODIES.get(endpoint.operation)
    assert endpoint.body is None or endpoint.body_optional or body is not None, f"say what `{endpoint.operation}` is asked with"
    return served.request(endpoint.method, path, who, body=body)


@pytest.mark.parametrize("endpoint", OURS, ids=lambda one: one.operation)
def test_nobody_answers_whoever_shows_no_credential(served: ServerWorld, endpoint: Endpoint) -> None:
    reply = ask(served, endpoint, None)
    assert (reply.status, reply.code) == (401, "invalid_credential")


@pytest.mark.parametrize("endpoint", OURS, ids=lambda one: one.operation)
def test_whoever_has_no_role_is_answered_nothing(served: ServerWorld, endpoint: Endpoint) -> None:
    reply = ask(served, endpoint, "nobody")
    assert (reply.status in {403, 404}, reply.code) in {(True, "not_permitted"), (True, "not_found"), (True, "person_needed")}


@pytest.mark.parametrize("endpoint", OURS, ids=lambda one: one.operation)
@pytest.mark.parametrize("who", sorted(ROLES))
def test_only_who_has_the_action_gets_past_permission(served: ServerWorld, endpoint: Endpoint, who: str) -> None:
    allowed = GROUPS.get(ROLES[who], frozenset())
    wanted = {endpoint.action, *ALSO.get(endpoint.operation, ())}
    reply = ask(served, endpoint, who)
    assert reply.status < 500, reply.content
    if not wanted & allowed:
        assert reply.status in {403, 404}, reply.content
        assert reply.code in {"not_permitted", "not_found", "person_needed"}
    elif who in {"admin", "lena", "agent", "auditor"}:
        assert reply.status != 403 or reply.code == "person_needed", reply.content


ALSO: dict[str, tuple[str, ...]] = {
    "getRequest": ("requests.read_own",),
    "waitForRequest": ("requests.read",),
    "getPlan": ("requests.read_own",),
    "withdrawRequest": ("requests.withdraw",),
}
"""Endpoints that more than one action opens."""


@pytest.mark.parametrize("endpoint", [one for one in OURS if "{log}" in one.path], ids=lambda one: one.operation)
def test_a_log_of_another_tenant_is_as_one_that_is_not_there(served: ServerWorld, endpoint: Endpoint) -> None:
    theirs = ask(served, endpoint, "auditor-globex")
    nowhere = served.request(endpoint.method, path_of(endpoint, log="nowhere"), "auditor-globex")
    assert (theirs.status, theirs.code) == (404, "not_found")
    assert {**theirs.json, "request_id": ""} == {**nowhere.json, "request_id": ""}


@pytest.mark.parametrize("endpoint", [one for one in OURS if one.body is not None], ids=lambda one: one.operation)
def test_a_body_with_a_member_that_nobody_knows_is_refused(served: ServerWorld, endpoint: Endpoint) -> None:
    path = path_of(endpoint)
    reply = served.request(endpoint.method, path, "admin", body={**BODIES.get(endpoint.operation, {}), "surprise": 1})
    assert (reply.status, reply.code) == (400, "bad_request")
    assert "surprise" in reply.json["errors"][0]
