"""`licet approvals show`."""

from __future__ import annotations

import time
from contextlib import suppress

import click

from licet.cli.approvals_facts import show_whole
from licet.cli.approvals_feed import Feed, Happened, changes
from licet.cli.approvals_lines import print_happened
from licet.cli.approvals_plan import show_steps
from licet.cli.approvals_watch import POLL_S, follow_one, is_screen
from licet.cli.exits import Exit
from licet.cli.invocation import Invocation
from licet.cli.loading import utc_now
from licet.cli.request_source import requests_of
from licet.cli.requests import Viewed


@click.command()
@click.argument("request")
@click.option("--as", "viewer", metavar="USER", help="Say whether this user of the directory may vote on it, and why not.")
@click.option("--follow", "-f", is_flag=True, help="Stay, with the countdown, until it is decided.")
@click.pass_obj
def show(invocation: Invocation, /, request: str, viewer: str | None, follow: bool) -> int:  # noqa: FBT001 - click's
    """Show a request whole, or each step of a plan: what would change, what is needed, who voted, and what votes are cast on."""
    with requests_of(invocation) as requests:
        named = requests.viewer(viewer)
        if steps := requests.find_steps(request, viewer=named):
            return invocation.answer(steps, lambda output: show_steps(output, steps), next_step=None)
        found = requests.get(request, viewer=named)
        if follow and found.state == "open":
            feed = requests.feed(tenant=None, viewer=named)
            if not invocation.as_json and is_screen():
                found = follow_one(invocation, feed, found)
            else:
                _lines(invocation, feed, found)
                return int(Exit.OK)
    voter = "" if invocation.server else " --as USER"  # a server knows who asks
    step = f"`licet approvals approve {request}{voter}`, or `deny`"
    if found.request.passkey is True:
        step = f"approve it in the console with your passkey, or `licet approvals deny {request}{voter}`"
    return invocation.answer(found, lambda output: show_whole(output, found), next_step=step if found.state == "open" else None)


def _lines(invocation: Invocation, feed: Feed, found: Viewed) -> None:
    """The request, then a line for each thing that happens to it, until it is decided."""
    invocation.answer(found, lambda output: show_whole(output, found))
    invocation.output.out.file.flush()
    with suppress(KeyboardInterrupt):
        while found.state == "open":
            time.sleep(POLL_S)
            now = utc_now()
            after = (feed.find(found.request.id) if feed.has_moved() else found) or None
            if after is None:
                print_happened(invocation, Happened(event="erased", at=now, request=found))
                return
            for happened in changes(found, after.at(now), now):
                print_happened(invocation, happened)
            found = after.at(now)
