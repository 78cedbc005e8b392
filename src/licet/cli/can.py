"""`licet can`: would this call be allowed?"""

from __future__ import annotations

from typing import Any

import click

from licet.cli import remote_acts
from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load
from licet.cli.output import Output
from licet.cli.proposal import Outlook, Proposal, caller_options, read_proposal, rehearse
from licet.cli.wording import on_targets, who
from licet.gate.rehearsal import Rehearsal, Rehearsed
from licet.model import Decision


@click.command()
@click.argument("tool")
@click.argument("arguments", required=False)
@caller_options
@click.pass_obj
def can(invocation: Invocation, /, tool: str, arguments: str | None, **options: Any) -> int:
    """Say whether a call would be allowed.

    TOOL is a tool of the catalog, ARGUMENTS its arguments as JSON, or - to read them from stdin. The call goes through the
    very checks of the gate, short of running: nothing is executed or recorded, and nobody is asked. Ends with 0 if it
    would be allowed, 6 if denied, 7 if held for people.
    """
    proposal = read_proposal(tool, arguments, options)
    if invocation.server is not None:
        return _ask(invocation, proposal)
    loaded = load(invocation)

    def tell(rehearsal: Rehearsal, rehearsed: Rehearsed) -> int:
        outlook = Outlook(tool=tool, environment=rehearsal.scene.environment, decision=rehearsed.decision)
        step = None
        if rehearsed.decision.verdict == "deny":
            step = "the same with `licet why` in place of `licet can` explains it"
        fault = verdict_fault(rehearsed.decision, step)
        return invocation.answer(outlook, lambda output: show_verdict(output, proposal, rehearsed), fault=fault)

    ended: int = rehearse(loaded, proposal, tell)
    return ended


def _ask(invocation: Invocation, proposal: Proposal) -> int:
    """Of a server, as its policies are now: whoever asks must speak for the agent."""
    if proposal.environment is not None or proposal.targets:
        message = "a server decides in its own environment, on targets that it resolves itself"
        raise Refusal(Exit.USAGE, "usage", message, next_step="leave `--environment`, `--target`, `--attr` and `--targets-file` out")
    decision = remote_acts.rehearse(invocation, proposal.tool, proposal.arguments, proposal.acting)
    outlook = Outlook(tool=proposal.tool, environment=None, decision=decision)

    def show(output: Output) -> None:
        _show(output, decision, proposal, "")

    return invocation.answer(outlook, show, fault=verdict_fault(decision))


def verdict_fault(decision: Decision, step: str | None = None) -> Fault | None:
    """A denial or a hold as the end of a program; None where the call would be allowed."""
    if decision.verdict == "allow":
        return None
    denied = decision.verdict == "deny"
    return Fault(exit=Exit.DENIED if denied else Exit.HELD, code=decision.code, message=decision.message, next=step)


def show_verdict(output: Output, proposal: Proposal, rehearsed: Rehearsed) -> None:
    """The verdict as a sentence, and what decided it."""
    question = rehearsed.question
    _show(output, rehearsed.decision, proposal, "" if question is None else on_targets(str(target.ref) for target in question.targets))


def _show(output: Output, decision: Decision, proposal: Proposal, targets: str) -> None:
    acting = proposal.acting
    act = f"`{proposal.tool}`{targets}"
    where = f" in `{proposal.environment}`" if proposal.environment else ""
    may = "may not use" if decision.verdict == "deny" else "may use"
    once = " once people have agreed" if decision.verdict == "hold" else ""
    output.mark(decision.verdict, decision.verdict, f"{who(acting.agent, acting.service, acting.user)} {may} {act}{where}{once}")
    output.line(decision.message, indent=11)
