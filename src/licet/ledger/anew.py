"""A loss that somebody has accepted: the head log begins anew, under another origin and another key.

Rules:

1. In one transaction with the record that says who accepted it and why: head log, checkpoints and signing keys of before are gone, and
   every log's root is put into the new head log next.
2. What was is evidence and stands in the record: origin, size and root of the old head log, its keys, and its newest checkpoint. The
   envelope names the old origin and root, so that they outlast the payload.
3. The records themselves, their trees and their payloads stay as they are.
"""

from __future__ import annotations

import os

from msgspec import Struct

from licet.ledger.acts import Operator
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.note import SEED_BYTES, Signer
from licet.ledger.seal import Filing
from licet.ledger.signing import checkpoint_of
from licet.model import OPERATOR_LOG, JsonObject
from licet.store.contract import BeginAnew


class BegunAnew(Struct, frozen=True):
    """The head log of before, and the one that has begun; `vkey` is the new key."""

    former_origin: str
    former_size: int
    former_root: str
    origin: str
    vkey: str


def begin_anew(operator: Operator, keys: KeyEncryptionKeys, reason: str, evidence: JsonObject) -> BegunAnew:
    """The head log begins anew. `evidence` is what else the record should keep. Raises `StoreError`, `ConditionLost`."""
    head, newest = operator.store.head(), operator.store.newest_checkpoint()
    root, origin, seed = checkpoint_of(head).root.hex(), f"licet.invalid/{os.urandom(16).hex()}", os.urandom(SEED_BYTES)
    vkey = Signer.from_seed(origin, seed).vkey
    detail = {
        "act": "accept_loss",
        "reason": reason,
        "origin": head.origin,
        "size": head.size,
        "root": root,
        "checkpoint": None if newest is None else newest.note.decode(errors="backslashreplace"),
        "vkeys": [key.vkey for key in operator.store.signing_keys()],
        **evidence,
    }
    record = operator.say("admin", OPERATOR_LOG, detail, marks=(f"Origin::{head.origin}", f"Root::{root}"))
    change = BeginAnew(head.origin, origin, vkey, keys.current, keys.wrap(seed, OPERATOR_LOG, vkey))
    operator.writer.submit(Filing((record,), (change,))).wait()
    return BegunAnew(head.origin, head.size, root, origin, vkey)
