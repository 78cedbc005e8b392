"""A tool whose end nobody sees, and what is known of its calls."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from licet.gate.gate import Gate
from licet.gate.results import Failed
from licet.model import CallId
from tests.world import World

LIMIT_S = 0.05
PAID: dict[str, Any] = {"customer_id": "C-1", "amount_cents": 700, "on": "2026-01-05"}


def add_payments(gate: Gate) -> None:
    """`bank.pay` never ends within its time."""

    @gate.tool("bank.pay", access="write", touches={"access", "money"}, targets="Customer::{customer_id}", timeout_s=LIMIT_S)
    async def pay(customer_id: str, amount_cents: int, on: date) -> str:
        await asyncio.sleep(60)
        return f"paid {amount_cents} to {customer_id} on {on}"


def add_probe(w: World, answer: Any = None) -> list[dict[str, Any]]:
    """`bank.pay` gets a probe that answers so (or raises it); what it was asked is in the list that is returned."""
    asked: list[dict[str, Any]] = []

    @w.gate.probe("bank.pay")
    def was_paid(customer_id: str, amount_cents: int, on: date) -> Any:
        asked.append({"customer_id": customer_id, "amount_cents": amount_cents, "on": on})
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return asked


def pay(w: World, *, key: str | None = None, **arguments: Any) -> Failed:
    """A payment of which nobody sees the end."""
    with w.alice(workflow="ticket-7"):
        result = w.gate.call("bank.pay", {**PAID, **arguments}, idempotency_key=key)
    assert isinstance(result, Failed), result
    return result


def lost(w: World, *, key: str | None = None, **arguments: Any) -> CallId:
    """As `pay`: the call that was made."""
    result = pay(w, key=key, **arguments)
    assert (result.status, result.replayed) == ("timeout", False), result
    return result.call


def settlement_of(w: World, log: str = "acme") -> dict[str, Any]:
    """What the last record says of who settled the call."""
    detail = w.records(log)[-1].payload.detail
    assert detail is not None
    assert detail["late"] is True
    found: dict[str, Any] = detail["settled"]
    return found
