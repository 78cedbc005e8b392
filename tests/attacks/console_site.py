"""A console that is attacked: two tenants, people with every permission in one of them, and a tool that takes whatever an agent writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from licet import Effect
from licet.gate.results import Held
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.world import ConsoleWorld
from tests.world import CONFIG, POLICIES, World, world

PEOPLE = """
[users.rita]
tenants = ["acme"]
roles = ["licet-admin", "licet-auditor"]
[users.otto]
tenants = ["globex"]
roles = ["licet-admin", "licet-auditor", "licet-approver"]
"""
HIDDEN = "\u202e\u2066\u200b\u2069\u00ad\ufeff\u3164\U000e0041"
"""Turns text around, is not seen, or is blank."""
WRITTEN = f"x{HIDDEN}<b onx=1>{{{{7*7}}}}{{% x %}}"
NOTES = """
@id("notes")
permit (principal, action == Action::"notes.write", resource);
@id("notes-need-a-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"notes.write", resource) when { context.input.way == "held" };
"""


def attacked_config(more: str = "") -> str:
    """`more` is the end of `[approvals]`, and what follows it."""
    return CONFIG.replace("[groups]", f"{PEOPLE}[groups]") + more


@contextmanager
def attacked(more: str = "") -> Iterator[ConsoleWorld]:
    """The console, served."""
    with world(attacked_config(more), {"policies.cedar": POLICIES + NOTES, OWN_FILE: default_text()}) as inner:
        _register(inner)
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()


def write_note(served: ConsoleWorld, way: str, text: str = WRITTEN, **acting: Any) -> Any:
    """A call of the agent that writes as it likes: `held`, `failing`, or one that runs."""
    with served.world.alice(**acting):
        return served.gate.call("notes.write", {"customer_id": "C-1", "text": text, "way": way})


def held_note(served: ConsoleWorld, text: str = WRITTEN, **acting: Any) -> str:
    """The request of such a call that waits."""
    found = write_note(served, "held", text, **acting)
    assert isinstance(found, Held)
    assert found.request is not None
    return found.request


def _register(inner: World) -> None:
    @inner.gate.tool("notes.write", access="write", touches={"customers"}, targets="Customer::{customer_id}")
    def write(customer_id: str, text: str, way: str) -> str:
        if way == "failing":
            raise ValueError(text)
        return text

    @write.preview
    def preview(customer_id: str, text: str, way: str) -> list[Effect]:
        return [
            Effect(target='Customer::"C-1"', field=f"f{text}", before=f"b{text}", after=f"one{text}\ntwo{text}\r\n{text}"),
            Effect(target=f'Customer::"{text}"', field="f", before={f"k{text}": text}, after=None),
        ]
