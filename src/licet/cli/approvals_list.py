"""`licet approvals list`."""

from __future__ import annotations

import click

from licet.cli.approvals_facts import show_line
from licet.cli.invocation import Invocation
from licet.cli.output import Output
from licet.cli.request_source import requests_of
from licet.cli.requests import Viewed
from licet.model import LIVE_STATES, RequestState

PAGE = 50
"""Requests that a person looks through at a time."""


@click.command("list")
@click.option("--tenant", metavar="NAME", help="Only requests of this tenant.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([str(state) for state in RequestState]), help="Only requests in this state."
)
@click.option("--all", "everything", is_flag=True, help="Requests in every state, not only those that are open or approved.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=PAGE, show_default=True, help="At most so many.")
@click.option("--after", metavar="REQUEST", help="Those behind this one: what the page before ended with.")
@click.pass_obj
def list_requests(
    invocation: Invocation,
    /,
    *,
    tenant: str | None,
    states: tuple[str, ...],
    everything: bool,
    limit: int,
    after: str | None,
) -> int:
    """List what waits for people, what expires first at the top."""
    wanted = tuple(RequestState(state) for state in states) or (None if everything else tuple(LIVE_STATES))
    with requests_of(invocation) as requests:
        page = requests.page(states=wanted, tenant=tenant, limit=limit, after=after)
    found = page.requests
    voter = "" if invocation.server else " --as USER"  # a server knows who asks
    step = f"`licet approvals show ID`, then `licet approvals approve ID{voter}` or `deny`" if found and not everything else None
    if page.after is not None:
        step = f"`--after {page.after}` lists those behind them"
    return invocation.answer(found, lambda output: _show(output, found), next_step=step)


def _show(output: Output, found: tuple[Viewed, ...]) -> None:
    for one in found:
        show_line(output, one)
    if not found:
        output.line("Nothing waits for people.")
