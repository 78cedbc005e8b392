"""Records that were named on the command line, found or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.ledger import entries
from licet.ledger.entries import UNREADABLE_BECAUSE, Entry, is_reference, message_of, read_entry, tell
from licet.store.contract import Store, StoredRecord

__all__ = ["UNREADABLE_BECAUSE", "Entry", "find_entries", "find_records", "is_reference", "message_of", "read_entry", "tell"]

_T = TypeVar("_T")
_FIND = "`licet audit search` lists records with their places and call ids"


def find_entries(store: Store, reference: str) -> tuple[Entry, ...]:
    """Every record of a call or request by its id, or the one at `LOG:INDEX`. Raises `Refusal` where there is none."""
    return _found(entries.find_entries, store, reference)


def find_records(store: Store, reference: str) -> tuple[StoredRecord, ...]:
    """The record at `LOG:INDEX` or with this id, or all of a call, as they are stored. Raises `Refusal` where there is none."""
    return _found(entries.find_records, store, reference)


def _found(find: Callable[[Store, str], _T], store: Store, reference: str) -> _T:
    try:
        return find(store, reference)
    except KeyError as error:
        raise Refusal(Exit.ERROR, "not_found", str(error.args[0]), next_step=_FIND) from error
