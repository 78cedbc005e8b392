"""`licet audit hold`, `release` and `holds`: what must not be forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from licet.cli import remote_acts
from licet.cli.acting import acting, check_tenant, subject_of
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.output import Output
from licet.ledger.forgotten import Hold
from licet.ledger.holds import place_hold, release_hold


@click.command()
@click.option("--tenant", required=True, metavar="TENANT", help="Whose log it is.")
@click.option("--subject", metavar="TYPE/ID", help="Customer/C-412, or User/alice.")
@click.option("--everything", is_flag=True, help="Every payload of the tenant's log.")
@click.option("--reason", required=True, metavar="TEXT", help="Recorded; must not name the subject.")
@click.pass_obj
def hold(invocation: Invocation, /, tenant: str, subject: str | None, reason: str, *, everything: bool) -> int:
    """Keep a person's or target's records, or all of a tenant's: erasure and retention refuse until the hold is released."""
    if everything is (subject is not None):
        raise Refusal(Exit.USAGE, "usage", "a hold is of one subject, or of everything", next_step="give `--subject` or `--everything`")
    if invocation.server is not None:
        placed = remote_acts.place_hold(invocation, tenant, subject, reason)
    else:
        placed = _place(invocation, tenant, subject, reason)
    return invocation.answer(
        placed, lambda output: output.mark("ok", "held", f"{_what(placed)} is kept until hold {placed.id} is released")
    )


def _place(invocation: Invocation, tenant: str, subject: str | None, reason: str) -> Hold:
    settings = load_settings(invocation)
    check_tenant(settings, tenant)
    wanted = None if subject is None else subject_of(settings, tenant, subject)
    with acting(settings) as (_, operator):
        return place_hold(operator, tenant, wanted, reason)


@click.command()
@click.argument("hold_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Recorded.")
@click.pass_obj
def release(invocation: Invocation, /, hold_id: str, reason: str) -> int:
    """Release a hold."""
    if invocation.server is not None:
        released = remote_acts.release_hold(invocation, hold_id, reason)
    else:
        with acting(load_settings(invocation)) as (_, operator):
            released = release_hold(operator, hold_id, reason)
    return invocation.answer(released, lambda output: output.mark("ok", "released", f"{_what(released)} is not held by {hold_id} any more"))


@click.command()
@click.pass_obj
def holds(invocation: Invocation, /) -> int:
    """List the holds that stand."""
    if invocation.server is not None:
        found = remote_acts.standing_holds(invocation)
    else:
        with reading(load_settings(invocation)) as store:
            found = store.holds()
    return invocation.answer(found, lambda output: _show(output, found))


def _show(output: Output, found: tuple[Hold, ...]) -> None:
    for one in found:
        since = datetime.fromtimestamp(one.at / 1e6, UTC)
        output.mark("note", "hold", _what(one), below=f"{one.id}, since {since:%Y-%m-%d %H:%M} UTC")
    if not found:
        output.line("no hold stands")


def _what(one: Hold) -> str:
    return f"everything in the log of {one.log}" if one.target is None else f"{one.target} of {one.log}"
