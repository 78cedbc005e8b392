"""What only LangChain and LangGraph have: traps that somebody fell into, and the example."""

from __future__ import annotations

import sys
from pathlib import Path

from licet.testing import records, vote
from tests.integrations.drivers.langchain import Scripted
from tests.integrations.driving import Ask
from tests.integrations.frameworks.example import example

CREDIT = {"account_id": "A-2001", "amount_cents": 18_000}


def test_the_example_credits_once_a_lead_has_agreed(tmp_path: Path) -> None:
    with example("with_langchain", tmp_path) as module:
        turns = (
            [Ask("a", "lookup_customer", {"customer_id": "C-412"}), Ask("b", "lookup_customer", {"customer_id": "G-77"})],
            [Ask("c", "credit_account", CREDIT)],
            "credited",
        )
        agent = module.make_agent(Scripted(script=turns))
        (request,) = module.ask(agent, "ticket T-1002", "ticket-1")
        vote(module.gate, request, "lena")
        module.go_on(agent, "ticket-1")
        assert module.said(agent, "ticket-1") == "credited"
        assert sys.modules["support"].business.account("A-2001")["balance_cents"] == 1_200 + 18_000
        kinds = [read.kind for read in records(module.gate, "acme") if read.envelope.tool is not None]
        assert kinds.count("denial") == 1  # the other tenant's customer
        assert kinds[-2:] == ["intent", "outcome"]
