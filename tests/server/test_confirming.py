"""A call that the user it acts for must confirm: over HTTP, by that person and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.gate.results import Held, Ok
from tests.server.world import Reply, ServerWorld, server_world
from tests.world import POLICIES

CONFIRMED = """
@id("refund-is-confirmed")
@require_confirmation
forbid (principal, action == Action::"billing.refund", resource);
"""


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world(policies=POLICIES + CONFIRMED) as made:
        yield made


def refund(served: ServerWorld) -> Held | Ok:
    """A refund for carl, who is in no group."""
    with served.gate.acting(agent="free-bot", user="alice", tenant="acme"):
        result = served.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 100})
    assert isinstance(result, Held | Ok), result
    return result


def confirm(served: ServerWorld, request: str, who: str) -> Reply:
    shown = served.get(f"/api/v1/requests/{request}", who)
    binding = shown.json["binding"] if shown.status == 200 else "0" * 64
    return served.post(f"/api/v1/requests/{request}/votes", who, {"verdict": "approve", "binding": binding})


def test_the_user_whom_the_agent_acts_for_confirms(served: ServerWorld) -> None:
    held = refund(served)
    assert isinstance(held, Held)
    assert held.request is not None
    assert confirm(served, held.request, "alice").json["request"]["state"] == "approved"
    assert isinstance(refund(served), Ok)


def test_nobody_else_confirms_and_a_colleague_in_no_group_does_not_even_see_it(served: ServerWorld) -> None:
    held = refund(served)
    assert isinstance(held, Held)
    assert held.request is not None
    assert served.get(f"/api/v1/requests/{held.request}", "carl").code == "not_found"
    assert confirm(served, held.request, "carl").code == "not_found"
    lead = confirm(served, held.request, "lena")
    assert (lead.status, lead.code) == (403, "not_the_user")
    for program in ("agent", "free", "admin"):
        assert confirm(served, held.request, program).code in {"person_needed", "not_permitted"}
    assert isinstance(refund(served), Held)


def test_whoever_is_in_no_group_lists_what_was_asked_for_them_alone(served: ServerWorld) -> None:
    assert isinstance(refund(served), Held)
    served.world.held()  # for alice as well, but for a group to decide
    assert served.get("/api/v1/requests?mine=true", "carl").json["requests"] == []
    assert [one["tool"] for one in served.get("/api/v1/requests?mine=true", "alice").json["requests"]] == ["billing.refund"]
