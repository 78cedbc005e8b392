"""`licet approvals list`."""

from __future__ import annotations

import click

from licet.cli.approvals_facts import show_line
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading, utc_now
from licet.cli.output import Output
from licet.cli.requests import Viewed, stand
from licet.identity.directory import Directory
from licet.model import LIVE_STATES, RequestId, RequestState
from licet.store.sqlite import SqliteStore

PAGE = 50
"""Requests that a person looks through at a time."""


@click.command("list")
@click.option("--tenant", metavar="NAME", help="Only requests of this tenant.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([str(state) for state in RequestState]), help="Only requests in this state."
)
@click.option("--all", "everything", is_flag=True, help="Requests in every state, not only those that are open or approved.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=PAGE, show_default=True, help="At most so many.")
@click.option("--after", metavar="REQUEST", help="Those behind this one: the last of the page before.")
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
    settings = load_settings(invocation)
    directory = Directory.from_settings(settings)
    wanted = tuple(RequestState(state) for state in states) or (None if everything else tuple(LIVE_STATES))
    with reading(settings) as store:
        now = utc_now()
        page = store.dossiers(states=wanted, tenant=tenant, limit=limit + 1, after=_place(store, after))
        found = [stand(one.request, one.votes, directory, now) for one in page[:limit]]
    step = "`licet approvals show ID`, then `licet approvals approve ID --as USER` or `deny`" if found and not everything else None
    if len(page) > limit:
        step = f"`--after {found[-1].request.id}` lists those behind them"
    return invocation.answer(found, lambda output: _show(output, found), next_step=step)


def _place(store: SqliteStore, after: str | None) -> RequestId | None:
    """The request behind which a page begins. Raises `Refusal` where there is none: the page would be empty, as if all were done."""
    if after is None:
        return None
    try:
        return store.get_request(RequestId(after)).id
    except KeyError as error:
        message = f"there is no request `{after}` to begin behind"
        raise Refusal(Exit.ERROR, "not_found", message, next_step="leave `--after` out to begin at the top") from error


def _show(output: Output, found: list[Viewed]) -> None:
    for one in found:
        show_line(output, one)
    if not found:
        output.line("Nothing waits for people.")
