"""What `licet audit verify` answers, whatever it verified."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from licet.cli.output import Output
from licet.cli.wording import counted, moment
from licet.ledger.prove import ConsistencyReport, ProofReport
from licet.ledger.report import Problem, Report
from licet.ledger.tile_trust import TiledReport
from licet.ledger.verify_lines import Proved
from licet.model import JsonObject

SHOWN = 20
"""Problems that are printed; `--json` has up to a thousand."""


class Answer(Struct, frozen=True, kw_only=True):
    """What was found. `summary` is the sentence where nothing is wrong, `facts` are names and values below it, `data` is for `--json`.

    `keys` have signed it, the oldest first. `notes` say what could not be looked at. `key` is the one that trust began with; None where
    what was verified was believed itself.
    """

    summary: str
    problem_count: int
    problems: tuple[Problem, ...]
    facts: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    key: str | None
    data: JsonObject

    @property
    def as_json(self) -> JsonObject:
        """What `--json` prints."""
        return {**self.data, "problem_count": self.problem_count, "problems": self.problems, "key": self.key, "notes": self.notes}


def of_report(report: Report, *, exported: bool, problems: tuple[Problem, ...], notes: tuple[str, ...], key: str | None) -> Answer:
    """A ledger or a bundle, with what was found beside it."""
    beside = " (an export: records only, no requests and votes)" if exported else ""
    summary = f"{counted(report.records, 'record')} in {counted(len(report.logs), 'log')}: as they were written{beside}"
    facts = [(log.log, f"{counted(log.size, 'record')}{_signed(log.signed, log.size, report)}, root\n{log.root}") for log in report.logs]
    if report.erased or report.locked:
        facts.append(("payloads", _closed(report)))
    head = report.head
    if head is not None and head.size:
        facts.append(("head log", f"{counted(head.size, 'entry', 'entries')}, {_of(head.signed, head.size)} under a signed checkpoint"))
    if head is not None and head.withheld:
        hidden = f"{counted(head.withheld, 'entry', 'entries')} of the head log stand there as hashes alone"
        notes = (*notes, f"{hidden}: they are of other logs, and that these logs do not go on is not shown; receipts and proofs show it")
    return Answer(
        summary=summary,
        problem_count=report.problem_count + len(problems),
        problems=(*problems, *report.problems),
        facts=tuple(facts),
        keys=head.keys if head is not None else (),
        notes=notes,
        key=key,
        data=_builtins(report),
    )


def of_tiles(report: TiledReport, *, key: str | None) -> Answer:
    """A folder of tiles."""
    facts = [(log, f"{counted(size, 'record')}, all signed, root\n{root}") for log, size, root in report.logs]
    notes: tuple[str, ...] = ()
    if report.head_size is None:
        notes = ("there is no head log: that this log does not go on is not shown",)
    else:
        facts.append(("head log", counted(report.head_size, "entry", "entries")))
    return Answer(
        summary=f"{counted(report.records, 'record')} in {counted(len(report.logs), 'log')}: every tile is what was signed",
        problem_count=report.problem_count,
        problems=report.problems,
        facts=tuple(facts),
        keys=report.keys,
        notes=notes,
        key=key,
        data={"origin": report.origin, "logs": [{"log": log, "size": size, "root": root} for log, size, root in report.logs]},
    )


def of_proofs(proved: tuple[Proved, ...], problems: tuple[Problem, ...], *, key: str) -> Answer:
    """A file of proofs."""
    return Answer(
        summary=f"{counted(len(proved), 'proof')}: each leads to a checkpoint that the key has signed",
        problem_count=len(problems),
        problems=problems,
        facts=tuple(map(_proved, proved)),
        key=key,
        data={"proofs": [_builtins(one) for one in proved]},
    )


def show(output: Output, answer: Answer) -> None:
    """Print it."""
    if answer.problem_count:
        output.mark("fail", "broken", f"{counted(answer.problem_count, 'problem')}: it is not what was written")
    else:
        output.mark("ok", "intact", answer.summary)
    for problem in answer.problems[:SHOWN]:
        output.line(f"- {problem}", indent=11)
    if answer.problem_count > SHOWN:
        output.line(f"and {answer.problem_count - SHOWN} more", indent=11)
    if answer.facts:
        output.line()
        output.facts(answer.facts)
    if answer.keys:
        output.line()
        output.line("signed by the key" if len(answer.keys) == 1 else "signed by the keys, the oldest first:", style="dim")
        for key in answer.keys:
            output.whole(key)


def _signed(signed: int, size: int, report: Report) -> str:
    return "" if report.head is None else f", {_of(signed, size)} signed"


def _of(part: int, whole: int) -> str:
    return "all" if part == whole else "none" if part == 0 else f"the first {part:,}"


def _closed(report: Report) -> str:
    said = []
    if report.erased:
        said.append(f"{report.erased:,} erased, as the log says")
    if report.locked:
        said.append(f"{report.locked:,} locked: no key at hand, so what they hold was not checked")
    return "; ".join(said)


def _proved(one: Proved) -> tuple[str, str]:
    if isinstance(one, ConsistencyReport):
        return "log", f"of size {one.second.size:,} goes on from what it was at size {one.first.size:,}; {one.second.origin}"
    payload = "" if one.payload is None else ", with its payload"
    kind = "a record" if one.envelope is None else f"a record of kind `{one.envelope.kind}` of {moment(one.envelope.at)}"
    return f"{one.log}:{one.index}", f"{kind}{payload}, in the log by {moment(one.at)} (UTC), leaf\n{one.leaf}"


def _builtins(report: Report | ProofReport | ConsistencyReport) -> JsonObject:
    found: Any = msgspec.to_builtins(report, enc_hook=lambda value: value.hex() if isinstance(value, bytes) else str(value))
    return dict(found)
