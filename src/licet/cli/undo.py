"""`licet undo`: propose the reverse of a call, as a governed call of its own.

What there is to undo is in the log; how it is undone is a function of the application, so the application is named. Nothing is decided
here: the proposal goes through the application's gate.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click
from msgspec import Struct

from licet.cli.approvals_vote import operating_user
from licet.cli.can import verdict_fault
from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import import_gate, refuse_server
from licet.cli.output import Output, pretty
from licet.cli.wording import counted
from licet.gate.rehearsal import Rehearsal
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.gate.undo import Reversal
from licet.model import CallId, Decision, Effect, Receipt, RequestId


class Undone(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: what was to be brought about, and what came of it (`rehearsed` where nothing was proposed)."""

    undoes: CallId
    tool: str
    changes: tuple[Effect, ...]
    came_to: str
    decision: Decision | None = None
    call: CallId | None = None
    request: RequestId | None = None
    effects: tuple[Effect, ...] = ()
    as_previewed: bool | None = None
    receipt: Receipt | None = None


@click.command()
@click.argument("call")
@click.option("--agent", metavar="NAME", help="The agent in whose name it is proposed.")
@click.option("--service", metavar="NAME", help="The service in whose name, where no agent does.")
@click.option("--user", metavar="NAME", help="The user it acts for.")
@click.option("--tenant", metavar="NAME", help="The tenant; may be left out where the agent has only one.")
@click.option("--reason", metavar="TEXT", help="Why. It is recorded as a claim, and shown to who decides.")
@click.option("--preview", is_flag=True, help="Say what it would change and what would be decided; propose nothing.")
@click.pass_obj
def undo(invocation: Invocation, /, call: str, reason: str | None, preview: bool, **names: Any) -> int:  # noqa: FBT001 - click's
    """Take back what a call has changed, where policy allows it.

    CALL is the id of a call that reported its effects. The undo of its tool is proposed with the arguments and the effects that the log
    has of it, as a call like any other: it may be denied (ends with 6) or held for people (7); the same command, once they have decided,
    goes on. A call is undone once. It needs --app.
    """
    refuse_server(invocation, f"whoever proposes an undo executes it: let the application ask `POST /api/v1/calls/{call}/undo`")
    if invocation.app is None:
        message = "an undo is a function of an application, and none is named"
        raise Refusal(Exit.USAGE, "usage", message, next_step=f"`licet --app MODULE:GATE undo {call}`")
    said = reason if reason is not None else f"proposed with `licet undo` by operating user {operating_user()}"
    with import_gate(invocation) as gate, gate.acting(reason=said, **names) as acting:
        found = gate.reversal(CallId(call))
        if preview:
            with closing(Rehearsal(gate.settings, gate.registry)) as rehearsal:
                decision = rehearsal.check(acting, found.tool, found.arguments).decision
            rehearsed = _undone(found, came_to="rehearsed", decision=decision)
            return invocation.answer(rehearsed, lambda output: _show(output, rehearsed), fault=verdict_fault(decision))
        result = gate.undo(CallId(call))
    told, fault = _told(found, result), _fault(result)
    return invocation.answer(told, lambda output: _show(output, told), fault=fault)


def _undone(found: Reversal, **more: Any) -> Undone:
    return Undone(undoes=found.undoes, tool=found.tool, changes=found.effects, **more)


def _told(found: Reversal, result: Result) -> Undone:
    """What came of the proposal."""
    match result:
        case Ok() | Failed():
            return _undone(
                found,
                came_to="ok" if isinstance(result, Ok) else result.status,
                call=result.call,
                effects=result.effects,
                as_previewed=result.as_previewed,
                receipt=result.receipt,
            )
        case Held():
            return _undone(
                found, came_to="held", call=result.call, decision=result.decision, request=result.request, receipt=result.receipt
            )
        case Denied():
            return _undone(found, came_to="denied", call=result.call, decision=result.decision, receipt=result.receipt)


def _fault(result: Result) -> Fault | None:
    """A denial, a hold or a failure as the end of a program."""
    match result:
        case Ok():
            return None
        case Failed():
            step = f"`licet audit show {result.call}` says what it has changed"
            return Fault(exit=Exit.ERROR, code=result.code, message=result.message, next=step)
        case Held():
            request = result.request or "ID"
            return verdict_fault(result.decision, f"`licet approvals show {request}`; once it is approved, the same command goes on")
        case Denied():
            return verdict_fault(result.decision, f"`licet why {result.call}` explains it")


_MARKS = {"ok": ("ok", "undone"), "held": ("hold", "hold"), "denied": ("deny", "deny"), "rehearsed": ("note", "preview")}


def _show(output: Output, undone: Undone) -> None:
    mark, word = _MARKS.get(undone.came_to, ("error", undone.came_to.replace("_", " ")))
    act = {
        "ok": "is undone by",
        "held": "waits for people to be undone by",
        "denied": "is not undone by",
        "rehearsed": "would be undone by",
    }.get(undone.came_to, "may be undone in part by")
    below = "" if undone.call is None else f"{undone.call}"
    output.mark(mark, word, f"call {undone.undoes} {act} `{undone.tool}`", below=below)
    for effect in undone.changes:
        output.line(f"{effect.target} {effect.field}: {pretty(effect.before)} -> {pretty(effect.after)}", indent=11)
    if undone.decision is not None:
        output.line(undone.decision.message, indent=11)
    if undone.as_previewed is False:
        output.line(f"it reported {counted(len(undone.effects), 'change')}, which are not those that were approved", indent=11)
