"""Reading the log on the command line: the ledger is opened so that the reading can be recorded in it, and recorded before it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.loading import utc_now
from licet.config import Settings
from licet.errors import NotAStore, StoreError
from licet.gate.opening import OpenLedger
from licet.gate.reading import Reader, record_reading
from licet.model import Receipt

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
    """The reading is recorded, durably: now it may be shown. Raises `Refusal` where it cannot be. Arguments as for `record_reading`."""
    reader = Reader(operating_user=operating_user())
    try:
        return record_reading(ledger, settings, reader, verb, options, tenant=tenant, shown=shown, payloads=payloads)
    except StoreError as error:
        raise _refusal(error) from error


def _refusal(error: StoreError) -> Refusal:
    message = f"reading the log is recorded in it, and that cannot be done now, so nothing is shown: {error}"
    return Refusal(Exit.ERROR, "not_recorded", message, next_step=_STEP)
