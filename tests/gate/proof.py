"""What must be true of a ledger whatever a test has done to its gate."""

from __future__ import annotations

from licet import Gate
from licet.ledger.report import Report
from licet.ledger.verify import verify


def report_of(gate: Gate) -> Report:
    """The verification of everything this gate's store holds."""
    with gate.store.source() as source:
        return verify(source)


def assert_whole(gate: Gate) -> Report:
    """Every record, tree and projection is what was written."""
    report = report_of(gate)
    assert report.ok, [str(problem) for problem in report.problems]
    return report
