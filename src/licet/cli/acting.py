"""What verbs that change a ledger beside the calls have in common: the ledger opened for writing, who acts, and whether they are sure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.loading import utc_now
from licet.config import Settings
from licet.gate.opening import OpenLedger
from licet.ledger.acts import Operator
from licet.ledger.vault import Subject


@contextmanager
def acting(settings: Settings) -> Iterator[tuple[OpenLedger, Operator]]:
    """The ledger, opened for writing, and the operating user as who acts on it. Makes no ledger where there is none."""
    with OpenLedger(settings, utc_now, create=False) as ledger:
        yield ledger, ledger.operator(settings, operating_user())


def subject_of(settings: Settings, tenant: str, text: str) -> Subject:
    """The subject that `Customer/C-412` names. Raises `Refusal`."""
    kind, slash, id_ = text.partition("/")
    if not kind or not slash or not id_:
        raise Refusal(Exit.USAGE, "usage", f"`{text}` is not `TYPE/ID`", next_step="for example `Customer/C-412`, or `User/alice`")
    check_tenant(settings, tenant)
    return Subject(tenant, kind, id_)


def check_tenant(settings: Settings, tenant: str) -> None:
    """Raise `Refusal` for a tenant that licet.toml does not have: its log may be there all the same, but a typing error is likelier."""
    if tenant not in settings.tenants and tenant != "operator":
        raise Refusal(Exit.USAGE, "unknown_tenant", f"there is no tenant `{tenant}`", next_step="licet.toml lists them")


def kept_in_log(settings: Settings, what: str) -> str:
    """Where what was erased or dropped (`what`) still lies, when the write-ahead log could not be emptied."""
    if settings.in_postgres:
        return f"the server's write-ahead log, its archive, standbys and backups hold what was {what} for as long as they are kept"
    return f"another process reads the write-ahead log; what was {what} lies in it, unreadable by Licet, until it is copied"


def make_sure(question: str, *, yes: bool) -> None:
    """Whoever sits at a terminal has said yes. Elsewhere `--yes` is needed. Raises `Refusal`, `click.Abort`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refusal(Exit.USAGE, "not_confirmed", "this cannot be undone, and nobody was asked", next_step="add `--yes`")
    click.confirm(question, abort=True, err=True)
