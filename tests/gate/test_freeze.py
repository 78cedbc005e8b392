"""A freeze stops calls: at step 0, and at the latest in the transaction of the intent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from licet.errors import FreezeRefused
from licet.gate.freeze_view import StandingFreeze
from licet.gate.results import Denied, Held, Ok, Result
from licet.ledger.frozen import SCOPES, Scope
from licet.testing import vote
from tests.gate.waiting import AMOUNT, approved, asked
from tests.world import World

NAMES: dict[Scope, str | None] = {
    "agent": "support-bot",
    "service": "importer",
    "tool": "crm.lookup",
    "tenant": "acme",
    "session": "s-1",
    "all": None,
}
WHY = "it deletes what it should read"


def look_up(w: World, scope: Scope = "agent", *, awaited: bool = False) -> Result:
    """A read by the agent for alice in a session, or by the service."""
    block = w.gate.acting(service="importer", session="s-1") if scope == "service" else w.alice(session="s-1")
    with block:
        if awaited:
            return asyncio.run(w.gate.acall("crm.lookup", {"customer_id": "C-1"}))
        return w.gate.call("crm.lookup", {"customer_id": "C-1"})


def freeze(w: World, scope: Scope = "agent", **more: Any) -> StandingFreeze:
    return w.gate.freeze(scope, NAMES[scope], reason=WHY, **more)


def refused(act: Any) -> str:
    with pytest.raises(FreezeRefused) as caught:
        act()
    return caught.value.code


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_frozen_call_is_denied_and_says_why(w: World, scope: Scope, *, awaited: bool) -> None:
    assert isinstance(look_up(w, scope, awaited=awaited), Ok)
    stopped = freeze(w, scope, by="lena")
    words = (stopped.what, "2026-01-05 09:00 UTC", "`lena`", WHY, "calling again will not help")
    w.denied(look_up(w, scope, awaited=awaited), "frozen", *words)
    assert len(w.ran) == 1
    w.gate.lift(stopped.id, reason="mended")
    assert isinstance(look_up(w, scope, awaited=awaited), Ok)


def test_the_denial_is_recorded_with_what_was_attempted(w: World) -> None:
    stopped = freeze(w)
    look_up(w)
    denial = w.records()[-1]
    assert denial.kind == "denial"
    assert denial.envelope.decision is not None
    assert denial.envelope.decision.code == "frozen"
    assert denial.envelope.tool is not None
    assert denial.envelope.tool.name == "crm.lookup"
    assert bytes(denial.payload.arguments) == b'{"customer_id":"C-1"}'
    assert (denial.payload.detail or {})["freeze"] == stopped.id


def test_an_approval_of_a_frozen_agent_is_not_used(w: World) -> None:
    held = approved(w)
    stopped = freeze(w)
    w.denied(w.adjust(AMOUNT), "frozen")
    w.gate.lift(stopped.id, reason="mended")
    assert w.gate.approvals.show(asked(held)).request.state == "approved"
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_request_that_waits_stays_and_can_be_decided(w: World) -> None:
    waiting = w.held()
    stopped = freeze(w)
    vote(w.gate, waiting.request, "lena")
    w.denied(w.adjust(50_000), "frozen")
    w.gate.lift(stopped.id, reason="mended")
    assert isinstance(w.adjust(50_000), Ok)
    assert not isinstance(w.adjust(1), Held | Denied)
