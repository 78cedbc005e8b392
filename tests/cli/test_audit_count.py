"""`licet audit count`: the records of a time by tool, verdict or outcome, and that counting them is on record."""

from __future__ import annotations

from pathlib import Path

from licet.cli.exits import Exit
from tests.cli.conftest import Licet, envelope


def totals(licet: Licet, *options: str) -> dict[str, int]:
    """Without the records that have no such value: each counting adds one of them."""
    found: dict[str, int] = envelope(licet("audit", "count", "--tenant", "acme", "--json", *options))["data"]["totals"]
    return {value: number for value, number in found.items() if value}


def test_records_are_counted_by_verdict_tool_and_outcome(licet: Licet, used: Path) -> None:
    assert totals(licet) == {"allow": 3, "deny": 2, "hold": 1}
    assert totals(licet, "--by", "tool") == {"billing.adjust": 3, "billing.adjust.preview": 1, "crm.lookup": 2, "ticket.close": 1}
    assert totals(licet, "--by", "outcome") == {"ok": 3}
    assert totals(licet, "--until", "2020-01-01", "--since", "2019-01-01") == {}


def test_counting_is_recorded_and_a_tenant_that_is_not_there_is_told(licet: Licet, used: Path) -> None:
    assert licet("audit", "count", "--tenant", "acme").exit_code == Exit.OK
    read = envelope(licet("audit", "search", "--kind", "access", "--tenant", "acme", "--json"))["data"]["records"]
    assert "with `licet audit count" in read[0]["sentence"]
    refused = licet("audit", "count", "--tenant", "nobody")
    assert (refused.exit_code, "there is no log `nobody`" in refused.stderr) == (Exit.ERROR, True)
