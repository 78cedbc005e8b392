"""`licet approvals`: what waits for people, and their votes."""

from __future__ import annotations

import click

from licet.cli.approvals_list import list_requests
from licet.cli.approvals_show import show
from licet.cli.approvals_vote import approve, deny


@click.group()
def approvals() -> None:
    """List, show and decide what waits for people."""


approvals.add_command(list_requests)
approvals.add_command(show)
approvals.add_command(approve)
approvals.add_command(deny)
