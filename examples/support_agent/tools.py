"""The agent's tools, governed. What may be done with them is not said here but in `policies/`.

Each function does its work on the business; `@gate.tool` says how dangerous it is and on what it acts, `@gate.resource` says whose a thing
is, and a preview says what a call would change, so that people decide on what they see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from business import Business
from msgspec import Struct
from pydantic import Field

import licet
from licet import Effect, Gate

FOLDER = Path(__file__).parent

gate = Gate(FOLDER / "licet.toml")
business = Business(FOLDER / "business.db")

Cents = Annotated[int, Field(ge=1, description="US cents")]
"""Never negative: a credit of less than nothing would pass below every limit."""


class Customer(Struct):
    """A customer, as policies see it."""

    tenant: str
    plan: str


class OwnedByCustomer(Struct):
    """An account or a ticket, as policies see it."""

    tenant: str
    customer: str


class LogStream(Struct):
    """A stream of logs: staging and production are different things to read."""

    tenant: str
    environment: str


@gate.resource("Customer")
def find_customer(customer_id: str) -> Customer | None:
    """Whose this customer is."""
    found = business.customer(customer_id)
    return Customer(found["tenant"], found["plan"]) if found else None


@gate.resource("Account")
def find_account(account_id: str) -> OwnedByCustomer | None:
    """Whose this account is."""
    found = business.account(account_id)
    return OwnedByCustomer(found["tenant"], found["customer"]) if found else None


@gate.resource("Ticket")
def find_ticket(ticket_id: str) -> OwnedByCustomer | None:
    """Whose this ticket is."""
    found = business.ticket(ticket_id)
    return OwnedByCustomer(found["tenant"], found["customer"]) if found else None


@gate.resource("LogStream")
def find_stream(stream: str) -> LogStream | None:
    """Whose this stream is, and of which environment."""
    found = business.stream(stream)
    return LogStream(found["tenant"], found["environment"]) if found else None


@gate.tool("crm.lookup", access="read", targets="Customer::{customer_id}")
def lookup(customer_id: str) -> dict[str, Any] | None:
    """A customer's profile, with accounts and invoices."""
    return business.customer(customer_id)


@gate.tool("tickets.search", access="read", targets="Customer::{customer_id}")
def search_tickets(customer_id: str, text: str = "") -> list[dict[str, Any]]:
    """A customer's tickets in which `text` stands."""
    return business.tickets_of(customer_id, text)


@gate.tool(
    "billing.adjust",
    access="write",
    touches={"money"},
    targets=("Customer::{customer_id}", "Ticket::{ticket_id}", "Account::{account_id}"),
)
def adjust_billing(customer_id: str, ticket_id: str, account_id: str, amount_cents: Cents) -> dict[str, int]:
    """Credit an account, as a customer's ticket asks for."""
    return {"balance_cents": business.credit(account_id, amount_cents)}


@adjust_billing.preview
def preview_adjustment(customer_id: str, ticket_id: str, account_id: str, amount_cents: Cents) -> list[Effect]:
    """The balance, before and after."""
    found = business.account(account_id)
    assert found is not None
    before = found["balance_cents"]
    return [Effect(target=f'Account::"{account_id}"', field="balance_cents", before=before, after=before + amount_cents)]


@gate.tool(
    "account.suspend",
    access="destructive",
    touches={"access", "customers"},
    targets=("Customer::{customer_id}", "Account::{account_id}"),
)
def suspend_account(customer_id: str, account_id: str) -> str:
    """Lock a customer out of an account."""
    business.suspend(account_id)
    return "suspended"


@suspend_account.preview
def preview_suspension(customer_id: str, account_id: str) -> list[Effect]:
    """The status, before and after."""
    found = business.account(account_id)
    assert found is not None
    return [Effect(target=f'Account::"{account_id}"', field="status", before=found["status"], after="suspended")]


@gate.tool("plan.change", access="write", touches={"customers"}, targets="Customer::{customer_id}")
def change_plan(customer_id: str, plan: str) -> str:
    """Put a customer on another plan. What was changed is what the business says, not what somebody thought that it would do."""
    for one in business.change_plan(customer_id, plan):
        kind = {"customers": "Customer", "accounts": "Account"}[one["table"]]
        licet.effect(f'{kind}::"{one["id"]}"', one["column"], before=one["before"], after=one["after"])
    return plan


@change_plan.preview
def preview_plan(customer_id: str, plan: str) -> list[Effect]:
    """The plan, before and after. Whoever wrote this did not know that a new plan uses up the customer's credit."""
    found = business.customer(customer_id)
    assert found is not None
    return [Effect(target=f'Customer::"{customer_id}"', field="plan", before=found["plan"], after=plan)]


@change_plan.undo
def undo_plan(customer_id: str, plan: str, effects: list[Effect]) -> str:
    """Put back what the log says was changed, unless it was changed again since."""
    for effect in effects:
        kind, _, row = effect.target.partition("::")
        business.put_back({"Customer": "customers", "Account": "accounts"}[kind], row.strip('"'), effect.field, effect.before, effect.after)
        licet.effect(effect.target, effect.field, before=effect.before, after=effect.after)
    return "put back"


@gate.tool("logs.read", access="read", targets="LogStream::{stream}")
def read_logs(stream: str, lines: Annotated[int, Field(ge=1, le=1000)] = 100) -> list[str]:
    """The last lines of a stream of logs."""
    return business.last_lines(stream, lines)
