"""`licet audit`: the audit log, searched, followed, shown, verified, proved and exported."""

from __future__ import annotations

import click

from licet.cli.audit_count import count
from licet.cli.audit_erase import erase_command
from licet.cli.audit_export import export
from licet.cli.audit_hold import hold, holds, release
from licet.cli.audit_prove import checkpoint, prove, receipt
from licet.cli.audit_prune import prune_command
from licet.cli.audit_search import search
from licet.cli.audit_settle import settle
from licet.cli.audit_show import show
from licet.cli.audit_tail import tail
from licet.cli.audit_unknown import unknown
from licet.cli.audit_verify import verify


@click.group()
def audit() -> None:
    """Search, show, verify, prove and export the audit log."""


for _command in (
    search,
    count,
    tail,
    show,
    verify,
    prove,
    receipt,
    checkpoint,
    export,
    unknown,
    settle,
    erase_command,
    hold,
    release,
    holds,
    prune_command,
):
    audit.add_command(_command)
