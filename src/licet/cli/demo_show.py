"""How the demo looks: a sentence for each step, below it the verdict with its reason, below that what has changed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from licet.cli.demo_ledger import Tampered, Trail
from licet.cli.demo_plan import Change, Plan, Said, dollars, is_money
from licet.cli.demo_seen import Told
from licet.cli.faults import Fault
from licet.cli.output import LABEL_WIDTH, Output
from licet.ledger.report import Report
from licet.model import Effect

INDENT = 4
BELOW = INDENT + LABEL_WIDTH + 1
HASH_SHOWN = 16
"""Characters of a hash that are shown: enough to tell two apart."""

_HASH = re.compile("[0-9a-f]{64}")

_MARKS: dict[Said, str] = {
    "allowed": "ok",
    "held": "hold",
    "denied": "deny",
    "failed": "fail",
    "unknown": "unknown",
    "approved": "ok",
    "counted": "hold",
    "rejected": "deny",
    "refused": "deny",
    "frozen": "deny",
    "lifted": "ok",
}


class Stage:
    """Prints the demo as it goes. `quiet`: nothing at all; `waits`: before each part, until Enter is pressed."""

    def __init__(self, *, quiet: bool, waits: bool) -> None:
        self._output = Output()
        self._quiet = quiet
        self._waits = waits and not quiet
        self._chapter: str | None = None

    def open(self, plan: Plan) -> None:
        """What it is about."""
        if not self._quiet:
            self._output.heading(plan.title)
            self._output.line(plan.intro)

    def open_act(self, title: str, intro: str) -> None:
        """Another act begins."""
        if not self._quiet:
            self._chapter = title
            self._part(title)
            self._output.line(intro)

    def skip_act(self, why: str) -> None:
        """An act that cannot be played here."""
        if not self._quiet:
            self._output.hint(why)

    def tell(self, told: Told) -> None:
        """One step."""
        if self._quiet:
            return
        if told.chapter != self._chapter:
            self._chapter = told.chapter
            self._part(told.chapter)
        seen, output = told.seen, self._output
        output.item(f"{told.number:>2}", told.sentence, width=INDENT)
        output.mark(_MARKS[seen.verdict], seen.verdict, seen.reason, indent=INDENT)
        if seen.returned:
            output.line(f'"{" / ".join(seen.returned)}"', style="dim", indent=BELOW)
        for effect in seen.effects:
            output.line(f"{'would change' if seen.verdict == 'held' else 'was shown'} {_of_effect(effect)}", style="dim", indent=BELOW)
        for change in seen.changes:
            output.line(f"changed {_of_change(change)}", indent=BELOW)
        for effect in seen.flagged:
            output.mark("warn", "flagged", f"nobody had approved {_of_effect(effect)}", indent=INDENT)
        for missed in told.unmet:
            output.mark("error", "not so", str(missed), indent=INDENT)

    def show_trail(self, plan: Plan, trail: Trail) -> None:
        """The trail of one customer."""
        if self._quiet:
            return
        self._part("The audit trail")
        say = plan.trail.say.replace("{customer}", trail.customer)
        self._output.line(f"{say} Who acted: {', '.join(trail.actors)}.", indent=INDENT)
        for entry in trail.entries:
            self._output.mark(entry.mark, entry.kind, f"#{entry.index:<3} {entry.sentence}", indent=INDENT)

    def show_verified(self, report: Report) -> None:
        """What a verification of the whole ledger says."""
        if self._quiet:
            return
        self._part("The proof")
        self._output.line("Every record is hashed again, and what rests on the records is compared with them.", indent=INDENT)
        if report.ok:
            sizes = ", ".join(f"{log.size} in `{log.log}`" for log in report.logs)
            self._output.mark("ok", "intact", f"{report.records} records ({sizes}), with all requests and votes", indent=INDENT)
        for problem in report.problems[:3]:
            self._output.mark("fail", "broken", str(problem), indent=INDENT)

    def show_tampered(self, plan: Plan, tampered: Tampered | None) -> None:
        """What the same verification says once a byte was changed."""
        if self._quiet:
            return
        output = self._output
        output.line(plan.tamper.say, indent=INDENT)
        if tampered is None or tampered.report.ok:
            what = "no intent holds that" if tampered is None else "the verification did not find it"
            output.mark("error", "not so", what, indent=INDENT)
            return
        for problem in tampered.report.problems[:3]:
            place = "the ledger" if problem.log is None else f"log `{problem.log}`"
            place += "" if problem.index is None else f", record #{problem.index}"
            output.mark("fail", "broken", f"{place}: {problem.message}", indent=INDENT)
            if _HASH.fullmatch(problem.expected) and _HASH.fullmatch(problem.found):
                text = f"its hash was {problem.expected[:HASH_SHOWN]}..., it is {problem.found[:HASH_SHOWN]}..."
                output.line(text, style="dim", indent=BELOW)

    def close(self, steps: Sequence[Told], took_s: float, fault: Fault | None) -> None:
        """How it went."""
        self._output.line()
        if fault is None:
            self._output.mark("ok", "done", f"all {len(steps)} steps went as the plan says, in {took_s:.1f} s")
        else:
            self._output.fault(fault)

    def _part(self, title: str) -> None:
        if self._waits:
            self._output.hint("(Enter)")
            sys.stdin.readline()
        self._output.heading(title)


def _of_effect(effect: Effect) -> str:
    name = effect.target.partition("::")[2].strip('"')
    return f"{name} {_cell(effect.field, effect.before, effect.after)}"


def _of_change(change: Change) -> str:
    return f"{change.row.partition('/')[2]} {_cell(change.column, change.before, change.after)}"


def _cell(column: str, before: object, after: object) -> str:
    return f"{column.removesuffix('_cents')}: {_value(column, before)} -> {_value(column, after)}"


def _value(column: str, value: object) -> str:
    return dollars(value) if isinstance(value, int) and is_money(column, value) else str(value)
