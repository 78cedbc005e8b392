"""`licet audit unknown`: the calls of which nobody saw the end, and what their tools' probes say of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from msgspec import Struct

from licet.cli import remote_acts
from licet.cli.access import record_access, recording
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import import_gate, load
from licet.cli.output import Output
from licet.cli.wording import counted, on_targets, who
from licet.errors import SettlementRefused
from licet.gate.gate import Gate
from licet.gate.probing import Probed
from licet.gate.unknown import UnknownCall, unknown_calls
from licet.model import CallId


class Listed(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the calls as they were, and what came of their probes, for those that were asked."""

    calls: tuple[UnknownCall, ...]
    probed: tuple[Probed, ...] | None = None


@click.command()
@click.argument("call", required=False)
@click.option("--tenant", metavar="TENANT", help="Only calls in this tenant's log.")
@click.option("--probe", is_flag=True, help="Ask the tools' probes whether the calls happened, and settle those that they know of.")
@click.pass_obj
def unknown(invocation: Invocation, /, call: str | None, tenant: str | None, probe: bool) -> int:  # noqa: FBT001 - click's
    """List the calls of which nobody saw the end: timed out, cut off, or their process died.

    Each stays here until its tool ends late, its probe knows what became of it (--probe, which needs --app), or a person settles it
    (`licet audit settle`). Nothing is ever run again. That the list was read is recorded first.
    """
    if probe and invocation.app is None:
        message = "probes are functions of an application, and none is named"
        raise Refusal(Exit.USAGE, "usage", message, next_step="`licet --app MODULE:GATE audit unknown --probe`")
    if not probe:
        listed = _listed(invocation, call, tenant)
        return invocation.answer(listed, lambda output: _show(output, listed), next_step=_step(listed))
    with _opened(import_gate(invocation)) as gate:
        before = _listed(invocation, call, tenant)
        listed = Listed(calls=before.calls, probed=tuple([_probe(gate, found.call) for found in before.calls]))
    return invocation.answer(listed, lambda output: _show(output, listed), next_step=_step(listed))


def _probe(gate: Gate, call: CallId) -> Probed:
    try:
        return gate.probe_unknown(call)
    except SettlementRefused as refused:  # settled since the list was made
        return Probed(call=call, why=str(refused))


def why(found: UnknownCall) -> str:
    """Why nobody knows how it ended."""
    if found.code == "process_died":
        return "its process ended first"
    return "it took longer than it may" if found.status == "timeout" else "it was interrupted"


def act(found: UnknownCall) -> str:
    """The tool and its targets, and who called."""
    return f"`{found.tool}`{on_targets(found.targets)} by {who(found.agent, found.service, found.user)}"


@contextmanager
def _opened(gate: Gate) -> Iterator[Gate]:
    """The gate, which has recovered the calls of processes that died: those are listed too."""
    with gate:
        gate.seal()
        yield gate


def _listed(invocation: Invocation, call: str | None, tenant: str | None) -> Listed:
    """The unsettled calls, or the named one of them; the reading is recorded. Raises `Refusal` where that one is not among them."""
    if invocation.server is not None:
        calls = remote_acts.unknown_calls(invocation, tenant)
        return Listed(calls=_named(calls, call))
    loaded = load(invocation)
    probes = loaded.registry.probes if invocation.app is not None else None
    with recording(loaded.settings) as ledger:
        calls = _named(unknown_calls(ledger.store, tenant, probes), call)
        record_access(ledger, loaded.settings, "unknown", {"reference": call}, tenant=tenant, shown=len(calls))
    return Listed(calls=calls)


def _named(calls: tuple[UnknownCall, ...], call: str | None) -> tuple[UnknownCall, ...]:
    """All of them, or the one that was named. Raises `Refusal` where it is not among them."""
    if call is None:
        return calls
    found = tuple([one for one in calls if one.call == CallId(call)])
    if not found:
        step = f"`licet audit show {call}` says what is known of it"
        raise Refusal(Exit.ERROR, "not_found", f"there is no call `{call}` whose end nobody saw", next_step=step)
    return found


def _show(output: Output, listed: Listed) -> None:
    if not listed.calls:
        output.line("nothing is unknown: of every call that began, somebody said how it ended, or it still runs")
        return
    probed = {found.call: found for found in listed.probed or ()}
    for found in listed.calls:
        has = {True: "; it has a probe", False: "; it has no probe", None: ""}[found.has_probe if listed.probed is None else None]
        below = f"{found.call}  {found.tenant}, begun {found.at:%Y-%m-%d %H:%M:%S} UTC"
        asked = probed.get(found.call)
        if asked is None or asked.settled is None:
            said = "" if asked is None else f"; {asked.why}"
            output.mark("unknown", "unknown", f"{act(found)}: {why(found)}{said}{has}", below=below)
        else:
            how = "happened" if asked.answer else "did not happen"
            place = f"{asked.settled.receipt.log}:{asked.settled.receipt.index}"
            output.mark("ok", "settled", f"{act(found)}: it {how}, says its probe", below=f"{below}, recorded as {place}")
    output.line()
    settled = sum(asked.settled is not None for asked in probed.values())
    output.line(f"{counted(len(listed.calls) - settled, 'call')} unknown" + (f", {settled} settled" if listed.probed is not None else ""))


def _step(listed: Listed) -> str | None:
    """What to do about those that are left."""
    left = len(listed.calls) - sum(found.settled is not None for found in listed.probed or ())
    if not left:
        return None
    by_hand = '`licet audit settle CALL --outcome ok|not-executed|error --reason "..."` settles one by hand'
    return by_hand if listed.probed is not None else f"`licet --app MODULE:GATE audit unknown --probe` asks their tools; {by_hand}"
