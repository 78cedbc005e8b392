"""`licet freeze`: stop an agent, a service, a tool, a tenant, a session or everything, at once; list what is stopped; lift it.

It needs licet.toml and the ledger, and nothing else: a freeze works while policies do not load and while applications run. No credential
is shown here, as with votes (`approvals_vote.py`): the record names the operating user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Struct

from licet.cli import remote_acts
from licet.cli.approvals_vote import operating_user
from licet.cli.invocation import Invocation
from licet.cli.loading import load, load_settings, reading, utc_now
from licet.cli.output import Output
from licet.config import Settings
from licet.errors import CatalogInvalid, DirectoryInvalid
from licet.gate.freeze import Freezer, Known, Lifted
from licet.gate.freeze_view import StandingFreeze, standing_freezes
from licet.gate.opening import OpenLedger
from licet.identity.directory import Directory
from licet.ledger.frozen import Scope
from licet.model import Receipt


class Placed(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: what stands now, and the receipt of its record, which a server does not give."""

    freeze: StandingFreeze
    receipt: Receipt | None = None


@click.group()
def freeze() -> None:
    """Stop an agent, a tool, a tenant or everything, at once.

    Every process on the ledger refuses it within a second, whatever was decided or approved before, until the freeze is lifted.
    """


def _placing(function: Callable[..., int]) -> Callable[..., int]:
    """The options of everything that freezes."""
    options = (
        click.option("--reason", required=True, metavar="TEXT", help="Recorded, and told to whoever calls."),
        click.option("--as", "by", metavar="USER", help="The user of the directory in whose name; by default the operating user alone."),
    )
    for option in reversed(options):
        function = option(function)
    return function


_tenant = click.option("--tenant", metavar="TENANT", help="Only calls of this tenant; by default of every tenant.")
_anyway = click.option("--anyway", is_flag=True, help="Also where nobody knows this name: it is of another process.")


@freeze.command()
@click.argument("name")
@_tenant
@_placing
@_anyway
@click.pass_obj
def agent(invocation: Invocation, /, name: str, **options: Any) -> int:
    """Stop every call of an agent."""
    return _freeze(invocation, "agent", name, **options)


@freeze.command()
@click.argument("name")
@_tenant
@_placing
@_anyway
@click.pass_obj
def service(invocation: Invocation, /, name: str, **options: Any) -> int:
    """Stop every call of a service."""
    return _freeze(invocation, "service", name, **options)


@freeze.command()
@click.argument("name")
@_tenant
@_placing
@_anyway
@click.pass_obj
def tool(invocation: Invocation, /, name: str, **options: Any) -> int:
    """Stop every call of a tool, whoever makes it."""
    return _freeze(invocation, "tool", name, **options)


@freeze.command()
@click.argument("name")
@_placing
@click.pass_obj
def tenant(invocation: Invocation, /, name: str, **options: Any) -> int:
    """Stop every call of a tenant."""
    return _freeze(invocation, "tenant", name, **options)


@freeze.command()
@click.argument("name")
@_tenant
@_placing
@click.pass_obj
def session(invocation: Invocation, /, name: str, **options: Any) -> int:
    """Stop every call of a session: of one run of an agent, as the application named it.

    Nobody keeps a list of sessions, so a name that is written otherwise than the application writes it stops nothing.
    """
    return _freeze(invocation, "session", name, **options)


@freeze.command(name="all")
@_placing
@click.pass_obj
def everything(invocation: Invocation, /, **options: Any) -> int:
    """Stop every call of everybody."""
    return _freeze(invocation, "all", None, **options)


@freeze.command(name="list")
@click.pass_obj
def list_freezes(invocation: Invocation, /) -> int:
    """List what is stopped, the oldest first."""
    if invocation.server is not None:
        found = remote_acts.standing_freezes(invocation)
    else:
        with reading(load_settings(invocation)) as store:
            found = standing_freezes(store)
    return invocation.answer(found, lambda output: _show_all(output, found))


@freeze.command()
@click.argument("freeze_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Recorded.")
@click.option("--as", "by", metavar="USER", help="The user of the directory who lifts it.")
@click.option("--and", "second", metavar="USER", help="Another one who lifts it as well, where nobody is known to have frozen.")
@click.pass_obj
def lift(invocation: Invocation, /, freeze_id: str, **options: Any) -> int:
    """Lift a freeze.

    `[freeze]` in licet.toml says who may, and whether that is another person than who froze. Ends with 6 where USER may not, 5 where
    there is no such user.
    """
    if invocation.server is not None:
        lifted = remote_acts.lift_freeze(invocation, freeze_id, **options)
        return invocation.answer(lifted, lambda output: _show_lifted(output, lifted), next_step=_after(lifted))
    settings = load_settings(invocation)
    with _freezer(settings, Directory.from_settings(settings)) as freezer:
        lifted = freezer.lift(freeze_id, **options)
        return invocation.answer(lifted, lambda output: _show_lifted(output, lifted), next_step=_after(lifted))


def _freeze(invocation: Invocation, scope: Scope, name: str | None, **options: Any) -> int:
    if invocation.server is not None:
        placed = Placed(freeze=remote_acts.place_freeze(invocation, scope, name, options))
        return invocation.answer(placed, lambda output: _show_frozen(output, placed), next_step=_lifting(placed))
    known, settings = _known(invocation, scope)
    with _freezer(settings, _directory(settings, by=options["by"])) as freezer:
        froze = freezer.freeze(known, scope, name, **options)
        # Told before the ledger is closed: signing, and whoever pins what is signed, may take its time.
        placed = Placed(freeze=froze.freeze, receipt=froze.receipt)
        return invocation.answer(placed, lambda output: _show_frozen(output, placed), next_step=_lifting(placed))


def _lifting(placed: Placed) -> str:
    return f"`licet freeze lift {placed.freeze.id} --reason TEXT` ends it"


def _known(invocation: Invocation, scope: Scope) -> tuple[Known, Settings]:
    """What can be frozen. Tools are looked up only where one is to be frozen, and not at all where the catalog is not sound."""
    if scope != "tool":
        settings = load_settings(invocation)
        return Known(settings.agents, settings.services, settings.tenants, None), settings
    loaded = load(invocation)
    settings = loaded.settings
    try:
        tools = loaded.catalog.tools
    except CatalogInvalid as error:
        invocation.hint(f"whether there is such a tool cannot be told: {error}")
        return Known(settings.agents, settings.services, settings.tenants, None), settings
    return Known(settings.agents, settings.services, settings.tenants, tools), settings


def _directory(settings: Settings, *, by: str | None) -> Directory | None:
    """The directory; None where it is not sound and nobody is named by it: a stop must not wait until it is mended."""
    try:
        return Directory.from_settings(settings)
    except DirectoryInvalid:
        if by is not None:
            raise
        return None


@contextmanager
def _freezer(settings: Settings, directory: Directory | None) -> Iterator[Freezer]:
    """Where the settings' ledger is frozen. Makes no ledger where there is none. Raises `StoreError`."""
    with OpenLedger(settings, utc_now, create=False) as ledger:
        yield Freezer(
            ledger.store,
            ledger.writer,
            directory=directory,
            rules=settings.freeze,
            environment=settings.environment,
            now=utc_now,
            operating_user=operating_user(),
        )


def _after(lifted: Lifted) -> str | None:
    return f"it stays frozen by {', '.join(lifted.still)}: `licet freeze lift ID --reason TEXT` ends that, too" if lifted.still else None


def _show_frozen(output: Output, placed: Placed) -> None:
    found, receipt = placed.freeze, placed.receipt
    recorded = f", recorded as {receipt.log}:{receipt.index}" if receipt is not None else ""
    output.mark("ok", "frozen", _told(found), below=f"{found.id}{recorded}")


def _show_lifted(output: Output, lifted: Lifted) -> None:
    by = f", lifted by {' and '.join(lifted.by)}" if lifted.by else ""
    output.mark("ok", "lifted", f"{lifted.freeze.what} goes on{by}", below=f"recorded as {lifted.receipt.log}:{lifted.receipt.index}")


def _show_all(output: Output, found: tuple[StandingFreeze, ...]) -> None:
    for one in found:
        output.mark("deny", "frozen", _told(one), below=one.id)
    if not found:
        output.line("nothing is frozen")


def _told(found: StandingFreeze) -> str:
    operating = f" (operating user {found.operating_user})" if found.by is not None else ""
    operating = f" (credential {found.credential})" if found.credential is not None else operating
    return f"{found.sentence}{operating}"
