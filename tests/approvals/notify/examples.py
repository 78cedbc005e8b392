"""Messages for tests of channels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from licet.approvals.notify.message import Ballot, Message

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

OPENED = Message(
    id="n-1",
    request="r-1",
    plan=None,
    tenant="acme",
    tool="billing.adjust",
    event="opened",
    state="open",
    at=AT,
    title="billing.adjust waits for approval",
    sentence="adjusts Customer C-1 by 500.00",
    caller="support-bot for alice, tenant acme",
    agent_says="the customer was charged twice",
    preview=('Customer::"C-1" balance: 100 -> 50100', 'Customer::"C-1" notes: null -> "x"'),
    more=3,
    why=("adjustments over $100 need a billing lead",),
    needs=("1 of billing-leads",),
    votes=(),
    expires_at=AT + timedelta(minutes=15),
    at_expiry="it is not done, and can be asked again",
    link="https://licet.invalid/approvals/r-1",
    decidable=True,
    voters=("lena",),
    ballots=(Ballot("r-1", 0),),
)


def message(**changes: Any) -> Message:
    """The opening of a request, with these fields changed."""
    return replace(OPENED, **changes)
