"""Proofs and receipts as files: one on each line, verified one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from licet.errors import IntegrityBroken
from licet.ledger.note import Verifier
from licet.ledger.prove import ConsistencyReport, ProofReport, Trusted, read_receipt, verify_consistency, verify_proof
from licet.ledger.report import Problem
from licet.model import Receipt

LINE_LIMIT_BYTES = 64 << 20
"""A proof with a payload is as long as that payload. What is longer is no proof of ours."""

Proved: TypeAlias = ProofReport | ConsistencyReport


def verify_proof_lines(
    unverified_lines: Iterable[bytes], vkey: str, receipts: Iterable[Receipt] = ()
) -> tuple[tuple[Proved, ...], tuple[Problem, ...]]:
    """What the proofs on these lines show, and what is wrong with them. Each is held to the receipt of its place, where there is one.

    A receipt whose record no line proves is a problem, as is a file without a line. Raises `NoteInvalid` for what is no key.
    """
    trusted = Trusted(Verifier.parse(vkey).name, vkey)
    wanted: dict[tuple[str, int], set[Receipt]] = {}
    for receipt in receipts:
        wanted.setdefault((receipt.log, receipt.index), set()).add(receipt)
    proved: list[Proved] = []
    problems: list[Problem] = []
    for number, line in enumerate(unverified_lines, 1):
        try:
            proved.append(_verify(line, trusted, wanted))
        except IntegrityBroken as error:
            problems.append(Problem(None, None, f"line {number}", "", "", str(error)))
    if not proved and not problems:
        problems.append(Problem(None, None, "lines", "", "", "the file holds no proof"))
    shown = {(one.log, one.index) for one in proved if isinstance(one, ProofReport)}
    missing = [place for place in wanted if place not in shown]
    problems += [Problem(*place, "receipt", "", "", "no proof shows the record of this receipt") for place in missing]
    return tuple(proved), tuple(problems)


def read_receipts(unverified_lines: Iterable[bytes]) -> Iterator[Receipt]:
    """The receipts on these lines; empty lines are passed over. Raises `IntegrityBroken`, which names the line, on anything else."""
    for number, line in enumerate(unverified_lines, 1):
        if not line.strip():
            continue
        try:
            yield read_receipt(line)
        except IntegrityBroken as error:
            raise IntegrityBroken(f"line {number}: {error}") from error


def _verify(line: bytes, trusted: Trusted, wanted: dict[tuple[str, int], set[Receipt]]) -> Proved:
    if len(line) > LINE_LIMIT_BYTES:
        raise IntegrityBroken(f"a proof is not longer than {LINE_LIMIT_BYTES} bytes")
    if line.startswith(b'{"licet_consistency":'):
        return verify_consistency(line, trusted)
    report = verify_proof(line, trusted)
    for receipt in wanted.get((report.log, report.index), ()):
        verify_proof(line, trusted, receipt)
    return report
