"""The keys that sign a ledger's checkpoints: made when first needed, kept wrapped in the store, handed over when they are changed.

Rules:

1. The seed of a key (32 random bytes, Ed25519) lies in the store under the key-encryption key, bound to its row. It is never shown.
2. Two processes that make the first key at one moment end with one.
3. A new key is endorsed by the old one at the state of the head log at that moment (ledger/rotation.py), in the transaction that records
   the change: there is no moment at which nobody may sign, and none at which two may.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from licet.errors import ConditionLost, SecretBroken
from licet.ledger.checkpoint import Checkpoint, origin_of_log, sign_checkpoint
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.merkle import Tree
from licet.ledger.note import SEED_BYTES, Signer
from licet.ledger.rotation import Trust, endorse, verify_rotation
from licet.ledger.seal import Filing, Statement
from licet.ledger.writer import Writer
from licet.model import OPERATOR_LOG
from licet.store.contract import HeadState, LogState, PutSigningKey, Store


class SigningKeys:
    """The keys of one store's head log. Raises `StoreError` (`KeyUnavailable` among them) from every method."""

    def __init__(self, store: Store, keys: KeyEncryptionKeys) -> None:
        self._store = store
        self._keys = keys
        self._known: tuple[str, Signer] | None = None

    def signer(self, writer: Writer) -> Signer:
        """The key that signs now; made when there is none yet."""
        while not self._store.signing_keys():
            try:
                self._put(writer, os.urandom(SEED_BYTES), self._store.head(), seen=0)
            except ConditionLost:
                continue  # another process has made it: that one signs; or the head has grown meanwhile
        return self.get_signer()

    def signer_at(self, head: HeadState, writer: Writer) -> Signer:
        """The key that signed last when `head` was read, without a look at the store where it is known."""
        if self._known is not None and self._known[0] == head.vkey:
            return self._known[1]
        return self.signer(writer)

    def get_signer(self) -> Signer:
        """The key that signs now. Raises `LookupError` when nothing was ever signed."""
        vkey, seed = self._current()
        if self._known is None or self._known[0] != vkey:
            signer = Signer.from_seed(self._store.head().origin, seed())
            if signer.vkey != vkey:
                raise SecretBroken("the key that signs checkpoints is not the one that it is kept as; run `licet audit verify`")
            self._known = (vkey, signer)
        return self._known[1]

    def rotate(self, writer: Writer, record: Callable[[str, str], Statement]) -> tuple[str, str]:
        """A new key signs from now on; `record` says so in the log, given the old and the new vkey. Returns the two.

        Raises `ConditionLost` where another process has done the same at this moment.
        """
        old, seen = self.signer(writer), len(self._store.signing_keys())
        while True:
            head, seed = self._store.head(), os.urandom(SEED_BYTES)
            new = Signer.from_seed(head.origin, seed)
            endorsement = endorse(checkpoint_of(head), old, new)
            try:
                self._put(writer, seed, head, seen=seen, endorsement=endorsement, statements=(record(old.vkey, new.vkey),))
            except ConditionLost:
                if len(self._store.signing_keys()) != seen:
                    raise
                continue  # the head has grown: the old key has signed, or may sign, beyond what it would have handed over
            return old.vkey, new.vkey

    def sign_log(self, state: LogState) -> bytes:
        """A checkpoint of one log's own tree, under its own origin, by the same key: what its tiles are published with."""
        _, seed = self._current()
        origin = origin_of_log(self._store.head().origin, state.log)
        root = Tree(state.size, state.compact_range).root()
        return sign_checkpoint(Checkpoint(origin, state.size, root), [Signer.from_seed(origin, seed())])

    def _current(self) -> tuple[str, Callable[[], bytes]]:
        found = self._store.signing_keys()
        if not found:
            raise LookupError("nothing was signed yet: this ledger has no signing key")
        last = found[-1]
        return last.vkey, lambda: self._keys.unwrap(last.key, last.wrapped, OPERATOR_LOG, last.vkey)

    def _put(
        self,
        writer: Writer,
        seed: bytes,
        head: HeadState,
        *,
        seen: int,
        endorsement: bytes | None = None,
        statements: tuple[Statement, ...] = (),
    ) -> None:
        vkey = Signer.from_seed(head.origin, seed).vkey
        wrapped = self._keys.wrap(seed, OPERATOR_LOG, vkey)
        writer.submit(Filing(statements, (PutSigningKey(vkey, self._keys.current, wrapped, seen, head.size, endorsement),))).wait()


def checkpoint_of(head: HeadState) -> Checkpoint:
    """The checkpoint of the head log as it stands."""
    return Checkpoint(head.origin, head.size, Tree(head.size, head.compact_range).root())


def trust_of(store: Store, pinned: str | None = None) -> Trust:
    """The keys that sign a store's head log, reached from a pinned vkey; without one, as the store has them, believed as far as it is.

    Raises `NoteInvalid`, and `LookupError` when nothing was ever signed.
    """
    keys = store.signing_keys()
    if not keys:
        raise LookupError("nothing was signed yet: this ledger has no signing key")
    return verify_rotation(store.head().origin, pinned or keys[0].vkey, [key.endorsement for key in keys if key.endorsement is not None])
