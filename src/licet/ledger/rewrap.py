"""Changing the key-encryption key: every secret and every signing seed is wrapped anew, while others go on writing.

Rules:

1. First, in one transaction with its record, every other key in use is retired: from then on the store takes no new secret under it, so
   that nothing is left behind for want of it when it is thrown away. A process that has no other key must be restarted.
2. Then rows are wrapped anew in batches, each a transaction. A crash leaves some under the old key; the next run goes on with them.
3. At the end nothing lies under any other key, and a record says so.

Backups that were made before still need the old key, and give back who was erased since: throw both away together.
"""

from __future__ import annotations

from msgspec import Struct

from licet.errors import KeyUnavailable
from licet.ledger.acts import Operator
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.seal import Filing
from licet.model import OPERATOR_LOG
from licet.store.contract import RetireKeys, Rewrap, Rewrapped

BATCH = 500
"""Rows of one transaction: holds others up for some milliseconds."""


class RewrapDone(Struct, frozen=True):
    """How many secrets and signing keys were wrapped anew, under which key, and which keys nothing lies under any more."""

    key: str
    secrets: int
    signing_keys: int
    retired: tuple[str, ...]


def rewrap(operator: Operator, keys: KeyEncryptionKeys) -> RewrapDone:
    """Everything lies under the first of these keys. Raises `KeyUnavailable` where one that is needed is not here; `StoreError`."""
    store, new = operator.store, keys.current
    uses = store.key_uses()
    if any(use.key == new and use.retired for use in uses):
        raise KeyUnavailable(f"the key `{new}` was replaced before; put a fresh one first (`licet keys new`)")
    former = tuple([use.key for use in uses if use.key != new and (use.secrets or use.signing_keys)])
    missing = [key for key in former if key not in keys.ids]
    if missing:
        raise KeyUnavailable(f"secrets lie under the key `{missing[0]}`, which is not among those at hand: {', '.join(keys.ids)}")
    retiring = tuple([use.key for use in uses if use.key in former and not use.retired])
    if retiring:
        record = operator.say("key_rotation", OPERATOR_LOG, {"act": "retire", "keys": retiring, "to": new}, marks=_marks((new,)))
        operator.writer.submit(Filing((record,), (RetireKeys(retiring),))).wait()
    secrets, seeds = _rewrap_secrets(operator, keys), _rewrap_seeds(operator, keys)
    if secrets or seeds:
        detail = {"act": "rewrap", "keys": former, "to": new, "secrets": secrets, "signing_keys": seeds}
        operator.writer.submit(Filing((operator.say("key_rotation", OPERATOR_LOG, detail, marks=_marks((new,))),))).wait()
    retired = tuple([use.key for use in store.key_uses() if use.retired])
    return RewrapDone(new, secrets, seeds, retired)


def _rewrap_secrets(operator: Operator, keys: KeyEncryptionKeys) -> int:
    count = 0
    while rows := operator.store.secrets_not_under(keys.current, BATCH):
        anew = []
        for row in rows:
            secret = keys.unwrap(row.key, row.wrapped, row.tenant, row.pseudonym)
            anew.append(Rewrapped(row.pseudonym, row.key, keys.current, keys.wrap(secret, row.tenant, row.pseudonym)))
        operator.writer.submit(Filing((), (Rewrap(secrets=tuple(anew)),))).wait()
        count += len(rows)
    return count


def _rewrap_seeds(operator: Operator, keys: KeyEncryptionKeys) -> int:
    anew = []
    for key in operator.store.signing_keys():
        if key.key != keys.current:
            seed = keys.unwrap(key.key, key.wrapped, OPERATOR_LOG, key.vkey)
            anew.append(Rewrapped(key.vkey, key.key, keys.current, keys.wrap(seed, OPERATOR_LOG, key.vkey)))
    if anew:
        operator.writer.submit(Filing((), (Rewrap(signing_keys=tuple(anew)),))).wait()
    return len(anew)


def _marks(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([f"Key::{key}" for key in keys])
