"""Putting a backup in the place of a ledger, or accepting that a ledger has lost records.

Rules:

1. A copy that is behind an anchor or witness is not put in place, and nothing is changed, unless the loss is accepted.
2. Who was erased since the copy was made is erased again, by the manifest, before anything else is written.
3. A copy of an earlier version is brought up to this one; the copy itself stays as it is.
4. An accepted loss is a record: who, why, and what was lost as far as it is known. The head log begins anew, and anchors with it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from licet.config import Settings
from licet.errors import ConfigInvalid, IntegrityBroken
from licet.gate.opening import OpenLedger
from licet.ledger.anew import BegunAnew, begin_anew
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.ledger.signing import trust_of
from licet.model import OPERATOR_LOG, JsonObject
from licet.store.backup import alone, open_copy, put_back, verify_copy
from licet.store.opening import check_alone, place_of
from licet.store.upgrading import upgrade_file
from licet.witness.anchor import Anchor
from licet.witness.client import Witness
from licet.witness.pins import Pins


class Restored(Struct, frozen=True):
    """What a restore has done: where what was there lies now, the sizes of the logs, and how the head log has begun anew, if it has."""

    kept: str | None
    records: int
    anew: BegunAnew | None


def restore(settings: Settings, now: Callable[[], datetime], copy: Path | None, *, by: str, reason: str, accept_loss: bool) -> Restored:
    """The ledger is the copy, or what it was (`copy` is None, for a loss to be accepted), and can be written.

    Raises `IntegrityBroken` where it is behind what is pinned and the loss is not accepted, `GateClosed` where another process has the
    ledger open, `NotAStore`, `StoreError`.
    """
    if settings.in_postgres and copy is not None:
        raise ConfigInvalid("a ledger in PostgreSQL is put back with the tools of its server (docs/postgresql.md); name no file here")
    kept = None
    upgraded: list[str] = []
    if copy is not None:
        verify_copy(copy)
        if not accept_loss:
            check_pins(settings, now, copy)
    if copy is None and settings.in_postgres:
        check_alone(place_of(settings))
    else:
        path = settings.store_path
        with alone(path):
            if copy is not None:
                kept = put_back(copy, path, f"{now():%Y%m%dT%H%M%SZ}")
                upgraded = [migration.title for migration in upgrade_file(path, microseconds(now()), None)]
    evidence: JsonObject = {"act": "restore", "from": None if copy is None else copy.name, "kept": None if kept is None else kept.name}
    evidence |= {"migrations": upgraded} if upgraded else {}
    with OpenLedger(settings, now, create=False, pinned=not accept_loss) as ledger:
        operator = ledger.operator(settings, by)
        anew = begin_anew(operator, ledger.keys, reason, {"restore": evidence}) if accept_loss else None
        if anew is None:
            operator.writer.submit(Filing((operator.say("admin", OPERATOR_LOG, {"reason": reason, **evidence}),))).wait()
        ledger.notary.turn()
        if anew is not None:
            _anchor_anew(settings, ledger)
        records = sum(log.size for log in ledger.store.logs())
    return Restored(None if kept is None else str(kept), records, anew)


def check_pins(settings: Settings, now: Callable[[], datetime], copy: Path) -> None:
    """Rule 1. Raises `IntegrityBroken`, which says what to do; `AnchorUnusable`."""
    wanted = settings.witness
    if not wanted.anchors and not wanted.servers:
        return
    store = open_copy(copy, now)
    try:
        if not store.signing_keys():
            if any(anchor.exists() for anchor in wanted.anchors):
                raise IntegrityBroken(f"`{copy}` was made before anything was signed, and anchors know more; see `--accept-loss`")
            return
        servers = [Witness(server.url, server.vkey, monitoring_url=server.monitoring_url) for server in wanted.servers]
        trust = trust_of(store, wanted.log)
        Pins(store, lambda: trust, wanted.anchors, servers, max_age_s=wanted.max_age_s, keep=lambda _size, _note: None).check()
    finally:
        store.close()


def _anchor_anew(settings: Settings, ledger: OpenLedger) -> None:
    newest = ledger.store.newest_checkpoint()
    assert newest is not None
    for anchor in settings.witness.anchors:
        Anchor(anchor, trust_of(ledger.store)).begin_anew(newest.note)
