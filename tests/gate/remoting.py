"""A world of which some tools are executed elsewhere: declared in licet.toml, with no function in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from licet.gate.remote import CallReport, ReportReceipt
from licet.gate.results import Permitted, Proposed
from licet.ledger.report import Report
from licet.ledger.verify import verify
from licet.model import CallId
from tests.world import CONFIG, POLICIES, World, world, world_on

TOOLS = """
[tools."wire.pay"]
access = "write"
touches = ["money"]
targets = "Customer::{customer_id}"
input = {customer_id = "string", amount_cents = "integer"}
timeout_s = 60.0
[tools."wire.pay.undo"]
access = "write"
touches = ["money"]
targets = "Customer::{customer_id}"
[tools."wire.pay.undo".schema]
type = "object"
required = ["customer_id", "amount_cents", "effects"]
additionalProperties = false
properties = {customer_id = {type = "string"}, amount_cents = {type = "integer"}, effects = {type = "array", items = {type = "object"}}}
[tools."wire.read"]
access = "read"
targets = "Customer::{customer_id}"
input = {customer_id = "string"}
[tools."vault.open"]
access = "write"
input = {pin = "string"}
secrets = ["pin"]
"""
REMOTE_CONFIG = CONFIG + TOOLS
REMOTE_POLICIES = (
    POLICIES
    + """
@id("wires")
permit (principal in Role::"billing", action in [Action::"wire.pay", Action::"wire.pay.undo", Action::"vault.open"], resource);

@id("wires-need-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
@reason("payments over $100 need a billing lead")
forbid (principal, action == Action::"wire.pay", resource)
when { context.input.amount_cents > 10000 };
"""
)
OK = CallReport(status="ok", result=b'"paid"')


@contextmanager
def remote_world() -> Iterator[World]:
    """A world in memory."""
    with world(REMOTE_CONFIG, REMOTE_POLICIES) as found:
        yield found


@contextmanager
def remote_world_on(folder: Path) -> Iterator[World]:
    """A world whose store is a file in `folder`."""
    with world_on(folder, REMOTE_CONFIG, REMOTE_POLICIES) as found:
        yield found


def propose(found: World, amount_cents: int = 2_500, customer: str = "C-1", *, tool: str = "wire.pay", **more: Any) -> Proposed:
    """A payment by the support agent for alice."""
    with found.alice():
        return found.gate.propose(tool, {"customer_id": customer, "amount_cents": amount_cents}, **more)


def permitted(found: World, amount_cents: int = 2_500, **more: Any) -> Permitted:
    """A payment that somebody else may execute now."""
    result = propose(found, amount_cents, **more)
    assert isinstance(result, Permitted), result
    return result


def report(found: World, call: CallId, said: CallReport = OK) -> ReportReceipt:
    """The support agent says for alice how it ended."""
    with found.alice():
        return found.gate.report(call, said)


def verified(found: World) -> Report:
    """The whole ledger, verified."""
    with found.gate.store.source() as source:
        return verify(source)
