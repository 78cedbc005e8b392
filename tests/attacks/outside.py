"""Who sees an attack that leaves the ledger whole in itself: those who kept something that its owner cannot reach."""

from __future__ import annotations

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.prove import Trusted, prove_consistency, verify_consistency
from licet.ledger.tiles import HashTree
from licet.store.sqlite import SqliteStore
from tests.attacks.stored import Stored


def seen_from_outside(stored: Stored) -> set[str]:
    """Who of these: a caller with its `receipt`; an auditor with the newest `checkpoint` and the ledger's first signing key; at the next start,
    the `anchor`, or the `key` under which the secrets of the ledger are."""
    seen: set[str] = set()
    if any(problem.field == "receipt" for problem in stored.report(receipts=stored.receipts).problems):
        seen.add("receipt")
    with stored.reading() as store:
        if not continues(store, stored):
            seen.add("checkpoint")
    refused = stored.refused_at_start_by()
    return seen | ({refused} if refused else set())


def continues(store: SqliteStore, stored: Stored) -> bool:
    """Whether the ledger can prove that it goes on from the checkpoint that was kept."""
    head, newest = store.head(), store.newest_checkpoint()
    if newest is None:
        return False
    endorsements = [key.endorsement for key in store.signing_keys() if key.endorsement is not None]
    try:
        proof = prove_consistency(HashTree(store, head.size), stored.kept.checkpoint, newest.note, endorsements)
        verify_consistency(proof, Trusted(stored.kept.origin, stored.kept.vkey))
    except (IntegrityBroken, NoteInvalid, IndexError):
        return False
    return True
