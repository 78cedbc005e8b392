"""Forgetting somebody for good: the erasure, and everything beside the ledger that would still know them."""

from __future__ import annotations

from msgspec import Struct

from licet.config import Settings
from licet.gate.opening import REWRITE_LIMIT_BYTES, OpenLedger, forget_in_index
from licet.ledger.acts import Operator
from licet.ledger.erasure import Erased, erase
from licet.ledger.vault import Subject


class Forgotten(Struct, frozen=True, kw_only=True):
    """What was done. `rewritten`: all pages were written anew; with that, `bytes_gone` says that no file holds what was erased.

    `index` says what kept the search index from forgetting now; None where it has forgotten.
    """

    erased: Erased
    rewritten: bool
    bytes_gone: bool
    index: str | None


def forget(ledger: OpenLedger, settings: Settings, operator: Operator, subject: Subject, reason: str) -> Forgotten:
    """The subject is forgotten, in the ledger and in the search index. Raises `ErasureRefused`, `StoreError`."""
    done = erase(operator, ledger.manifest, subject, reason)
    problem = forget_in_index(settings, [(log, done.pseudonym) for log in dict.fromkeys((subject.tenant, *done.logs))])
    rewritten = ledger.store.rewrite(REWRITE_LIMIT_BYTES)
    return Forgotten(erased=done, rewritten=rewritten, bytes_gone=ledger.store.cut_log(), index=problem)
