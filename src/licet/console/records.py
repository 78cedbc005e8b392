"""What pages say of a record: where it is, who called, what it was about."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from licet.console.subject_address import Subject, path_of
from licet.errors import IntegrityBroken
from licet.ledger.entries import Entry, read_entry
from licet.ledger.record import parse_ref
from licet.store.contract import StoredRecord


def record_path(log: str, index: int) -> str:
    """The page of a record."""
    return f"/console/audit/{quote(log, safe='')}/{index}"


def workflow_path(name: str, log: str) -> str:
    """The page of a workflow, or of a trace, in this log."""
    return f"/console/traces/{quote(name, safe='')}?{urlencode({'tenant': log})}"


def read_all(records: Iterable[StoredRecord]) -> list[Entry]:
    """Those that can be read. One whose bytes are not what was written is left out here: its line and its page say so."""
    found = []
    for record in records:
        with suppress(IntegrityBroken):
            found.append(read_entry(record))
    return found


def targets_of(entry: Entry) -> list[dict[str, Any]]:
    """The targets, by type and id where they can be read, else by pseudonym."""
    found = []
    for name in entry.envelope.targets:
        if '::"' in name:
            ref = parse_ref(name)
            known = ref.type != "Tenant"
            found.append(
                {"type": ref.type, "id": ref.id, "name": name, "path": path_of(Subject(entry.log, ref.type, ref.id)) if known else None}
            )
        else:
            kind, _, pseudonym = name.partition("::")
            found.append({"type": kind, "id": pseudonym, "name": name, "path": None})
    return found


def caller_of(entry: Entry) -> dict[str, str | None]:
    """Who called: an agent or service, and for whom."""
    actor = entry.envelope.actor
    if actor is None:
        return {"agent": None, "service": None, "user": None}
    return {"agent": actor.agent, "service": actor.service, "user": actor.user}
