"""`licet approvals show`."""

from __future__ import annotations

import click

from licet.cli.approvals_facts import show_whole
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading, utc_now
from licet.cli.requests import get_request, stand
from licet.identity.directory import Directory


@click.command()
@click.argument("request")
@click.option("--as", "viewer", metavar="USER", help="Say whether this user of the directory may vote on it, and why not.")
@click.pass_obj
def show(invocation: Invocation, /, request: str, viewer: str | None) -> int:
    """Show a request whole: what would change, what is needed, who voted, and what votes are cast on."""
    settings = load_settings(invocation)
    with reading(settings) as store:
        asked, votes = get_request(store, request)
        found = stand(asked, votes, Directory.from_settings(settings), utc_now(), viewer=viewer)
    step = f"`licet approvals approve {request} --as USER`, or `deny`" if found.state == "open" else None
    return invocation.answer(found, lambda output: show_whole(output, found), next_step=step)
