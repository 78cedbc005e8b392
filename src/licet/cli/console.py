"""`licet console`: let people into the web console of a server."""

from __future__ import annotations

import click

from licet.cli.credentials import opened_keys
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings
from licet.cli.output import Output
from licet.gate.credentials import IssuedKey
from licet.gate.signing_in import LINK_S, issue_link


@click.group()
def console() -> None:
    """Let people into the web console."""


@console.command()
@click.argument("user")
@click.option("--as", "by", metavar="USER", help="The user of the directory in whose name; by default the operating user alone.")
@click.pass_obj
def link(invocation: Invocation, /, user: str, *, by: str | None) -> int:
    """Print a link that lets this person in, once, within a quarter of an hour.

    Who can write the ledger can let anybody in: the record names who did.
    """
    settings = load_settings(invocation)
    with opened_keys(settings, create=True) as keys:
        issued = issue_link(keys, user, by=by)
    address = link_address(settings.server.public_url or f"http://{settings.server.address}", issued.key)
    told = {"link": address, "user": user, "expires_at": issued.credential.expires_at}
    return invocation.answer(told, lambda output: _tell(output, address, issued))


def link_address(base: str, key: str) -> str:
    """Where somebody goes who was given this link."""
    return f"{base.rstrip('/')}/console/sign-in?link={key}"


def _tell(output: Output, address: str, issued: IssuedKey) -> None:
    output.line(address)
    output.line(f"lets `{issued.credential.user}` in, once, within {LINK_S // 60} minutes", style="dim")
