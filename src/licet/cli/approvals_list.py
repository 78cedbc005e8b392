"""`licet approvals list`."""

from __future__ import annotations

import click

from licet.cli.approvals_facts import show_line
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading, utc_now
from licet.cli.output import Output
from licet.cli.requests import Viewed, stand
from licet.identity.directory import Directory
from licet.model import LIVE_STATES, RequestState


@click.command("list")
@click.option("--tenant", metavar="NAME", help="Only requests of this tenant.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([str(state) for state in RequestState]), help="Only requests in this state."
)
@click.option("--all", "everything", is_flag=True, help="Requests in every state, not only those that are open or approved.")
@click.pass_obj
def list_requests(invocation: Invocation, /, tenant: str | None, states: tuple[str, ...], everything: bool) -> int:  # noqa: FBT001
    """List what waits for people, what expires first at the top."""
    settings = load_settings(invocation)
    directory = Directory.from_settings(settings)
    wanted = tuple(RequestState(state) for state in states) or (None if everything else tuple(LIVE_STATES))
    with reading(settings) as store:
        now = utc_now()
        found = [stand(request, store.votes(request.id), directory, now) for request in store.requests(states=wanted, tenant=tenant)]
    step = "`licet approvals show ID`, then `licet approvals approve ID --as USER` or `deny`" if found and not everything else None
    return invocation.answer(found, lambda output: _show(output, found), next_step=step)


def _show(output: Output, found: list[Viewed]) -> None:
    for one in found:
        show_line(output, one)
    if not found:
        output.line("Nothing waits for people.")
