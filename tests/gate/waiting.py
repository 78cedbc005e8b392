"""A call that waits for people, and what its records say of it."""

from __future__ import annotations

from typing import Any

from licet.gate.results import Held
from licet.model import RequestId
from licet.testing import vote
from tests.world import World

AMOUNT = 50_000
RUN = ("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT})


def approved(w: World) -> Held:
    """A held call that a lead has approved."""
    held = w.held(AMOUNT)
    vote(w.gate, held.request, "lena")
    return held


def asked(held: Held) -> RequestId:
    """The request that it waits on."""
    assert held.request is not None
    return held.request


def superseded(w: World) -> dict[str, Any]:
    """What the last hold says about the request that it takes the place of."""
    detail = w.records()[-1].payload.detail
    assert detail is not None
    found: dict[str, Any] = detail["superseded"]
    return found
