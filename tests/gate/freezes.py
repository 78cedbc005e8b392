"""What the tests of freezes have in common: a call that can be stopped, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from licet.errors import FreezeRefused
from licet.gate.freeze_view import StandingFreeze
from licet.gate.results import Result
from licet.ledger.frozen import Scope
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
READ = ("crm.lookup", {"customer_id": "C-1"})


def look_up(w: World, scope: Scope = "agent", *, awaited: bool = False) -> Result:
    """A read by the agent for alice in a session, or by the service."""
    block = w.gate.acting(service="importer", session="s-1") if scope == "service" else w.alice(session="s-1")
    with block:
        return asyncio.run(w.gate.acall(*READ)) if awaited else w.gate.call(*READ)


def freeze(w: World, scope: Scope = "agent", **more: Any) -> StandingFreeze:
    return w.gate.freeze(scope, NAMES[scope], reason=WHY, **more)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(FreezeRefused) as caught:
        act()
    return caught.value.code
