"""`licet approvals`: what waits for people, and their votes."""

from __future__ import annotations

import click

from licet.cli.approvals_deliveries import deliveries
from licet.cli.approvals_list import list_requests
from licet.cli.approvals_notify import notify
from licet.cli.approvals_show import show
from licet.cli.approvals_vote import approve, deny, take_back, withdraw
from licet.cli.approvals_watch import watch


@click.group()
def approvals() -> None:
    """List, show, watch and decide what waits for people."""


for _command in (list_requests, show, watch, approve, deny, take_back, withdraw, notify, deliveries):
    approvals.add_command(_command)
