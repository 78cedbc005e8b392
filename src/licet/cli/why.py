"""`licet why`: what decided, and what would have to be otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from licet.cli import remote_acts
from licet.cli.can import show_verdict
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load, load_settings, reading, refuse_server
from licet.cli.output import Output
from licet.cli.proposal import caller_options, read_proposal, rehearse
from licet.cli.record_source import records_of
from licet.cli.records import Entry, find_entries, is_reference, read_entry, tell
from licet.cli.wording import moment
from licet.errors import CallerRefused
from licet.gate.acting import Acting
from licet.gate.checks import caller_of
from licet.gate.hindsight import Reasons, decided_in, reasons_of, reasons_of_record
from licet.gate.rehearsal import Rehearsal, Rehearsed
from licet.policy.explain import NearMiss


@click.command()
@click.argument("tool_or_record", metavar="TOOL|CALL|REQUEST|LOG:INDEX")
@click.argument("arguments", required=False)
@caller_options
@click.pass_obj
def why(invocation: Invocation, /, tool_or_record: str, arguments: str | None, **options: Any) -> int:
    """Explain a decision: one that would be taken, or one that was.

    With TOOL and ARGUMENTS, as `licet can` takes them: the policies that decide, with file and line, or the nearest permit
    and the condition that fails it. With a call's id, or LOG:INDEX of a record: the same for what is recorded, under the
    policies of that time; of a server, whoever may read its policies is told so. Ends with 0 once it is explained, whatever
    the decision.
    """
    if is_reference(tool_or_record):
        if arguments is not None:
            raise Refusal(Exit.USAGE, "usage", f"`{tool_or_record}` is a record, and takes no arguments", next_step="leave them out")
        entry, reasons = _of_record(invocation, tool_or_record)
        return invocation.answer(reasons, lambda output: _show_record(output, entry, reasons))
    refuse_server(invocation, "the same with `licet can` in place of `licet why` asks the server for its decision and message")
    proposal = read_proposal(tool_or_record, arguments, options)
    acting = proposal.acting

    def tell_reasons(rehearsal: Rehearsal, rehearsed: Rehearsed) -> int:
        reasons = _of_rehearsal(rehearsal, rehearsed, acting, proposal.tool)

        def show(output: Output) -> None:
            show_verdict(output, proposal, rehearsed)
            _show_reasons(output, reasons)

        return invocation.answer(reasons, show)

    ended: int = rehearse(load(invocation), proposal, tell_reasons)
    return ended


def _of_rehearsal(rehearsal: Rehearsal, rehearsed: Rehearsed, acting: Acting, tool: str) -> Reasons:
    scene = rehearsal.scene
    try:
        principals = scene.directory.principals(caller_of(acting, scene))
    except CallerRefused:
        principals = ()
    return reasons_of(scene.engine, rehearsed.decision, rehearsed.question, tool, principals)


def _of_record(invocation: Invocation, reference: str) -> tuple[Entry, Reasons]:
    """A recorded decision and what explains it, from the ledger at hand or from a server, which then recalls what it rested on."""
    if invocation.server is None:
        with reading(load_settings(invocation)) as store:
            entry = _decided(find_entries(store, reference), reference)
            return entry, reasons_of_record(store, entry)
    with records_of(invocation) as source:
        told = source.story(reference)
    entries = [read_entry(record) for record in told.records]
    named = [entry for entry in entries if reference in {entry.place, entry.envelope.id}]
    entry = _decided(named or [entry for entry in entries if entry.envelope.call == told.call] or entries, reference)
    return entry, remote_acts.reasons(invocation, entry)


def _decided(entries: Sequence[Entry], reference: str) -> Entry:
    entry = decided_in(entries)
    if entry is None:
        message = f"`{reference}` holds no decision: {tell(entries[0]).sentence}"
        raise Refusal(Exit.ERROR, "no_decision", message, next_step=f"`licet audit show {reference}` tells what it holds")
    return entry


def _show_record(output: Output, entry: Entry, reasons: Reasons) -> None:
    told = tell(entry)
    output.mark(told.mark, told.word, told.sentence, below=f"{moment(entry.envelope.at)} {entry.place}  {entry.envelope.call}")
    _show_reasons(output, reasons)
    if reasons.note is not None:
        output.line()
        output.line(f"The nearest permit cannot be told: {reasons.note}.", indent=2)


def _show_reasons(output: Output, reasons: Reasons) -> None:
    nearest: dict[NearMiss | None, list[str]] = {}
    for one in reasons.unpermitted:
        nearest.setdefault(one.nearest, []).append(f"{one.principal} on {one.target}")
    for permit, pairs in nearest.items():
        _show_nearest(output, permit, pairs)
    for shut in reasons.shut:
        output.line()
        output.facts(
            [
                ("for", f"{shut.principal}, whom no permit admits"),
                ("permit", f"`{shut.policy}` ({shut.file}:{shut.line})"),
                ("is for", shut.scope),
            ]
        )
    for error in reasons.errors:
        output.facts([("error", error)])
    named = dict.fromkeys((one.id, f"{one.file}:{one.line}", one.effect) for one in reasons.decision.policies)
    for policy, place, effect in named:
        output.line()
        output.line(f"{effect} `{policy}` ({place})", indent=2)
        for line in reasons.texts.get(policy, "").splitlines():
            output.line(line, style="dim", indent=4)


def _show_nearest(output: Output, permit: NearMiss | None, pairs: list[str]) -> None:
    output.line()
    facts = [("for", "\n".join(pairs))]
    if permit is None:
        facts.append(("permits", "no policy permits this tool to anybody"))
    else:
        facts += [("nearest", f"`{permit.policy}` ({permit.file}:{permit.line}), were it so that"), ("", "\n".join(permit.failed))]
    output.facts(facts)
