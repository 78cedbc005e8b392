"""What a verb works on: settings, tools and resolvers, and the store, each opened in the narrowest way.

Rules:

1. licet.toml is the named file or the one in this folder; with `--app` it is the one that the application's gate was made with.
2. Tools of other processes are known by what they left in the store. A store that is not there, or cannot be read, takes none away
   from licet.toml.
3. Reading opens the store read-only and makes nothing: no file, no boot, no lease. It works while an application holds its own lease, and
   without the key, where payloads stay closed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from licet import config
from licet.approvals.desk import Desk
from licet.catalog.spec import Catalog
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.config import Settings
from licet.errors import ConfigInvalid, StoreError
from licet.gate.building import known_catalog
from licet.gate.gate import Gate
from licet.gate.house import SNAPSHOTS_MERGED
from licet.gate.opening import OpenLedger, has_ledger, open_reading
from licet.gate.registry import Registry
from licet.identity.directory import Directory
from licet.store.contract import Store


class Loaded(Struct, frozen=True):
    """Settings, the tools and resolvers of this process, and the catalogs that other processes left in the store, newest first."""

    settings: Settings
    registry: Registry
    snapshots: tuple[bytes, ...]
    app: str | None

    @property
    def catalog(self) -> Catalog:
        """Every tool that is known."""
        return known_catalog(self.registry, self.snapshots)


def load(invocation: Invocation) -> Loaded:
    """What `--config` or `--app` name. Raises `OperatorError` or `Refusal`."""
    refuse_server(invocation)
    settings, registry = _sources(invocation)
    return Loaded(settings, registry, _snapshots(invocation, settings), invocation.app)


def load_settings(invocation: Invocation) -> Settings:
    """The settings alone."""
    refuse_server(invocation)
    return import_gate(invocation).settings if invocation.app is not None else config.load(invocation.config_path)


def refuse_server(invocation: Invocation, step: str | None = None) -> None:
    """Raise `Refusal` where a server was named: whoever looks at the ledger at hand would answer about another one.

    `step` is what a server can be asked in its place.
    """
    if invocation.server is not None:
        message = f"`licet {invocation.command}` is about the installation at hand, and cannot be asked of a server"
        at_hand = "run it where the ledger is; leave `--server` out, and `LICET_SERVER` unset"
        raise Refusal(Exit.USAGE, "no_server_form", message, next_step=step or at_hand)


def import_gate(invocation: Invocation) -> Gate:
    """The gate that `--app` names, its module imported from this folder or from what is installed. Raises `Refusal`."""
    refuse_server(invocation)
    assert invocation.app is not None
    if invocation.config is not None:
        raise Refusal(Exit.USAGE, "usage", "`--app` brings its own licet.toml", next_step="leave `--config` or `--app` out")
    module_name, _, name = invocation.app.partition(":")
    if not module_name or not name:
        raise Refusal(
            Exit.USAGE, "usage", f"`--app {invocation.app}` is not `MODULE:GATE`", next_step="for example `--app shop.agent:gate`"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), name)
    except AttributeError as error:
        message = f"`{module_name}` has no `{name}`"
        raise Refusal(Exit.USAGE, "app_invalid", message, next_step="name the variable that holds the gate") from error
    except ConfigInvalid:
        raise  # told as where no application is named: what is to be mended is licet.toml
    except Exception as error:
        message = f"`{module_name}` cannot be imported: {type(error).__name__}: {error}"
        raise Refusal(Exit.USAGE, "app_invalid", message, next_step="`--debug` shows where; it is imported from this folder") from error
    if not isinstance(found, Gate):
        message = f"`{invocation.app}` is a `{type(found).__name__}`, not a gate"
        raise Refusal(Exit.USAGE, "app_invalid", message, next_step="name the variable that holds the gate")
    return found


@contextmanager
def reading(settings: Settings) -> Iterator[Store]:
    """The store, read-only. Raises `StoreError`; `NotAStore` where there is none."""
    store = open_reading(settings, utc_now)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def desk(settings: Settings) -> Iterator[Desk]:
    """The approvals of the store, opened for writing for a moment. Raises `StoreError`; makes no store where there is none."""
    directory = Directory.from_settings(settings)
    with OpenLedger(settings, utc_now, create=False) as ledger:
        yield Desk(ledger.store, ledger.writer, directory, settings.environment, utc_now)


def utc_now() -> datetime:
    """The system's time, aware, in UTC."""
    return datetime.now(UTC)


def _sources(invocation: Invocation) -> tuple[Settings, Registry]:
    if invocation.app is not None:
        gate = import_gate(invocation)
        return gate.settings, gate.registry
    settings = config.load(invocation.config_path)
    return settings, Registry(settings)


def _snapshots(invocation: Invocation, settings: Settings) -> tuple[bytes, ...]:
    if not has_ledger(settings):
        return ()
    try:
        with reading(settings) as store:
            return tuple(content for _, content in reversed(store.blobs("catalog")[-SNAPSHOTS_MERGED:]))
    except StoreError as error:
        invocation.hint(f"tools of other processes are not known: {error}")
        return ()
