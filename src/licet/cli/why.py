"""`licet why`: what decided, and what would have to be otherwise."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from msgspec import Struct

from licet.cli.can import show_verdict
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.hindsight import Past, recall
from licet.cli.invocation import Invocation
from licet.cli.loading import load, load_settings, reading, refuse_server
from licet.cli.output import Output
from licet.cli.proposal import caller_options, read_proposal, rehearse
from licet.cli.records import Entry, find_entries, is_reference, tell
from licet.cli.wording import moment
from licet.errors import CallerRefused
from licet.gate.acting import Acting
from licet.gate.checks import caller_of
from licet.gate.rehearsal import Rehearsal, Rehearsed
from licet.model import Decision, Principal, Verdict
from licet.policy.conditions import parts
from licet.policy.engine import Engine, Question
from licet.policy.explain import NearMiss, Why, explain
from licet.policy.slices import admits
from licet.store.contract import Store


class Shut(Struct, frozen=True, kw_only=True):
    """A principal that no permit about the tool is for: each such permit, its place, and whom it is for."""

    principal: str
    policy: str
    file: str
    line: int
    scope: str


class Reasons(Struct, frozen=True, kw_only=True):
    """Why a decision is what it is. `unpermitted` has the nearest permit of each pair that none matches, `texts` the deciding policies."""

    decision: Decision
    unpermitted: tuple[Why, ...] = ()
    shut: tuple[Shut, ...] = ()
    errors: tuple[str, ...] = ()
    texts: dict[str, str] = {}
    record: str | None = None
    note: str | None = None


@click.command()
@click.argument("tool_or_record", metavar="TOOL|CALL|REQUEST|LOG:INDEX")
@click.argument("arguments", required=False)
@caller_options
@click.pass_obj
def why(invocation: Invocation, /, tool_or_record: str, arguments: str | None, **options: Any) -> int:
    """Explain a decision: one that would be taken, or one that was.

    With TOOL and ARGUMENTS, as `licet can` takes them: the policies that decide, with file and line, or the nearest permit
    and the condition that fails it. With a call's id, or LOG:INDEX of a record: the same for what is recorded, under the
    policies of that time. Ends with 0 once it is explained, whatever the decision.
    """
    if is_reference(tool_or_record):
        if arguments is not None:
            raise Refusal(Exit.USAGE, "usage", f"`{tool_or_record}` is a record, and takes no arguments", next_step="leave them out")
        refuse_server(invocation, f"`licet audit show {tool_or_record}` tells what the server has of it, with the policies that decided")
        with reading(load_settings(invocation)) as store:
            entry, reasons = _of_record(store, tool_or_record)
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
    return _reasons(scene.engine, rehearsed.decision, rehearsed.question, tool, principals)


def _reasons(engine: Engine, decision: Decision, question: Question | None, tool: str, principals: tuple[Principal, ...]) -> Reasons:
    texts = {one.id: policy.text for one in decision.policies for policy in engine.bundle.policies if policy.id == one.id}
    if decision.verdict != "deny":
        return Reasons(decision=decision, texts=texts)
    if question is None:
        shut = tuple(_shut(engine, tool, principals)) if decision.code == "no_permit" else ()
        return Reasons(decision=decision, shut=shut)
    found = explain(engine, question)
    if found.decision.verdict != "deny":
        return Reasons(decision=decision, texts=texts)  # it was denied by something else than policy
    return Reasons(decision=decision, unpermitted=found.unpermitted, errors=found.errors, texts=texts)


def _shut(engine: Engine, tool: str, principals: tuple[Principal, ...]) -> list[Shut]:
    """Whom the permits about a tool are for, for each principal that none of them admits."""
    permits = [policy for policy in engine.frame(tool).policies if policy.effect == "permit"]
    return [
        Shut(principal=str(principal.ref), policy=policy.id, file=policy.file, line=policy.line, scope=parts(policy)[0].text)
        for principal in principals
        if not any(admits(policy.tree.principal, principal) for policy in permits)
        for policy in permits
    ]


def _of_record(store: Store, reference: str) -> tuple[Entry, Reasons]:
    entries = find_entries(store, reference)
    entry = next((entry for entry in entries if entry.envelope.decision is not None), None)
    if entry is None:
        message = f"`{reference}` holds no decision: {tell(entries[0]).sentence}"
        raise Refusal(Exit.ERROR, "no_decision", message, next_step=f"`licet audit show {reference}` tells what it holds")
    decision = _decision_of(entry)
    past = recall(store, entry)
    if isinstance(past, str):
        return entry, Reasons(decision=decision, record=entry.place, note=past)
    return entry, _of_past(entry, decision, past)


def _of_past(entry: Entry, decision: Decision, past: Past) -> Reasons:
    assert entry.envelope.tool is not None
    tool = entry.envelope.tool.name
    found = _reasons(past.engine, decision, past.question, tool, entry.payload.principals)
    return Reasons(
        decision=decision,
        unpermitted=found.unpermitted,
        shut=found.shut,
        errors=found.errors,
        texts=found.texts,
        record=entry.place,
    )


def _decision_of(entry: Entry) -> Decision:
    recorded = entry.envelope.decision
    assert recorded is not None
    return Decision(
        verdict=msgspec.convert(recorded.verdict, Verdict),
        code=recorded.code,
        message=entry.payload.message or recorded.code,
        policies=entry.payload.policies,
        obligations=entry.payload.obligations,
    )


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
