"""Reading the log on the command line: the ledger is opened so that the reading can be recorded in it, and recorded before it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from licet.catalog.spec import Catalog
from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.loading import utc_now
from licet.config import Settings
from licet.errors import CatalogInvalid, NotAStore, StoreError
from licet.gate.house import SNAPSHOTS_MERGED
from licet.gate.opening import OpenLedger
from licet.ledger.access import Access, Sought
from licet.ledger.access import record_access as recorded
from licet.ledger.record import microseconds
from licet.model import Receipt
from licet.store.contract import Store

_REF = re.compile(r'([A-Z][A-Za-z0-9_]*)(?:::"(.*)"|/(.*))', re.DOTALL)
"""`Customer::"C-412"` or `Customer/C-412`."""
PEOPLE = ("user", "actor", "voter", "target")
"""Options that name a person or a target."""
_STEP = "give it its key and a place that can be written; of a ledger on a read-only medium, make a copy with its key and read that"


@contextmanager
def recording(settings: Settings) -> Iterator[OpenLedger]:
    """The ledger, opened so that reading it can be recorded. Raises `Refusal` where it cannot be: then nothing is shown.

    Raises `NotAStore` where there is none, `IntegrityBroken` where nothing may be appended to it any more.
    """
    try:
        ledger = OpenLedger(settings, utc_now, create=False)
    except NotAStore:
        raise
    except StoreError as error:
        raise _refusal(error) from error
    with ledger:
        yield ledger


def record_access(
    ledger: OpenLedger,
    settings: Settings,
    verb: str,
    options: Mapping[str, object],
    *,
    tenant: str | None,
    shown: int,
    payloads: bool = True,
) -> Receipt:
    """The reading is recorded, durably: now it may be shown. Raises `Refusal` where it cannot be.

    `options` are those of the verb by their names, as typed; those in `PEOPLE` name somebody, who seals the record if the ledger knows
    them. `shown` says how many records are about to be shown or written.
    """
    typed = {name: value for name, value in options.items() if value not in (None, False, "", (), []) and name != "tenant"}
    named = [name for name in PEOPLE if name in typed and not (name == "actor" and _is_program(settings, typed[name]))]
    sought = tuple([_sought(ledger.store, settings, name, str(typed.pop(name))) for name in named])
    access = Access(
        verb=verb,
        operating_user=operating_user(),
        tenant=tenant,
        records=shown,
        payloads=payloads,
        filter=typed if tenant is None else {"tenant": tenant, **typed},
        sought=sought,
    )
    try:
        return recorded(ledger.store, ledger.writer, access, environment=settings.environment, at_us=microseconds(utc_now()))
    except StoreError as error:
        raise _refusal(error) from error


def _refusal(error: StoreError) -> Refusal:
    message = f"reading the log is recorded in it, and that cannot be done now, so nothing is shown: {error}"
    return Refusal(Exit.ERROR, "not_recorded", message, next_step=_STEP)


def _is_program(settings: Settings, name: object) -> bool:
    return name in settings.agents or name in settings.services


def _sought(store: Store, settings: Settings, option: str, typed: str) -> Sought:
    if option != "target":
        return Sought(option, typed, typed, ("User",))
    ref = _REF.fullmatch(typed)
    if ref is not None:
        return Sought(option, typed, ref[2] if ref[2] is not None else ref[3], (ref[1],))
    return Sought(option, typed, typed, _types(store, settings))


def _types(store: Store, settings: Settings) -> tuple[str, ...]:
    """Every type of target that licet.toml or a tool that is known declares."""
    found = set(settings.resources)
    for _, content in store.blobs("catalog")[-SNAPSHOTS_MERGED:]:
        try:
            tools = Catalog.from_snapshot(content).tools
        except CatalogInvalid:
            continue
        found |= {template.type for spec in tools.values() for template in spec.targets}
    return tuple(sorted(found))
