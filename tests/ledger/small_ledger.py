"""A ledger in memory: two logs of records, the head log over them, its checkpoints, a witness; every byte of it is always the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from licet.ledger.checkpoint import Checkpoint, HeadEntry, encode_head_entry, origin_of_log, sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Cosigner, Signer, add_signatures
from licet.ledger.prove import Head, Opening, Proof, Trusted, encode_bundle, prove
from licet.ledger.record import FORMAT_VERSION, Envelope, PayloadEntry, commitment, encode_envelope, leaf_hash
from licet.ledger.rotation import endorse
from licet.ledger.tiles import HashTree

ORIGIN = "example.com/ledger"
SIGNER = Signer.from_seed(ORIGIN, bytes(range(32)))
SUCCESSOR = Signer.from_seed(ORIGIN, bytes(range(1, 33)))
WITNESS = Cosigner.from_seed("witness.example", bytes(range(2, 34)))
TRUSTED = Trusted(ORIGIN, SIGNER.vkey, (WITNESS.verifier,))
NEEDS_WITNESS = Trusted(ORIGIN, SIGNER.vkey, (WITNESS.verifier,), 1)
COSIGNED_AT_S = 1_800_000_000
SIZES = (1, 100, 300, 600)
"""At these the root of each log became an entry of the head log."""


class Leaves:
    """Leaf hashes in memory, without tiles."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves

    def find_tile(self, level: int, n: int) -> bytes | None:
        assert level >= 0 <= n
        return None

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        return self._leaves[start:stop]


def salt(index: int) -> bytes:
    return hashlib.sha256(b"salt %d" % index).digest()


def payload(index: int) -> bytes:
    return b'{"reason":"number %d: \xc3\xa4"}' % index


def opening(index: int) -> Opening:
    return Opening(salt(index), payload(index))


def envelopes(log: str, count: int) -> list[bytes]:
    return [encode_envelope(_envelope(log, index)) for index in range(count)]


def _envelope(log: str, index: int) -> Envelope:
    return Envelope(
        v=FORMAT_VERSION,
        log=log,
        kind="call",
        id=f"{log}-{index:06}",
        at=1_790_000_000_000_000 + index,
        boot="boot-1",
        environment="test",
        payload=PayloadEntry(commitment(salt(index), payload(index)), len(payload(index))),
    )


RECORDS = {log: envelopes(log, SIZES[-1]) for log in ("acme", "operator")}
HASHES = {log: [leaf_hash(envelope) for envelope in records] for log, records in RECORDS.items()}
HEAD = [
    encode_head_entry(HeadEntry(1, log, size, root_of(HASHES[log][:size]).hex(), 1_790_000_001_000_000 + size))
    for size in SIZES
    for log in RECORDS
]
HEAD_HASHES = [leaf_hash(entry) for entry in HEAD]


def tree(log: str) -> HashTree:
    return HashTree(Leaves(HASHES[log]), len(HASHES[log]))


def head_tree() -> HashTree:
    return HashTree(Leaves(HEAD_HASHES), len(HEAD))


def head_state(size: int, origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, size, root_of(HEAD_HASHES[:size]))


def head_note(size: int = len(HEAD), signers: Iterable[Signer] = (SIGNER,), origin: str = ORIGIN) -> bytes:
    """The signed checkpoint of the head log, cosigned by the witness."""
    state = head_state(size, origin)
    return add_signatures(sign_checkpoint(state, signers), [WITNESS.cosign(state.text, COSIGNED_AT_S)])


def log_signer(log: str) -> Signer:
    """The key of one log's own checkpoints: the same secret under the log's name."""
    return Signer.from_seed(origin_of_log(ORIGIN, log), bytes(range(32)))


def log_note(log: str, size: int) -> bytes:
    return sign_checkpoint(Checkpoint(origin_of_log(ORIGIN, log), size, root_of(HASHES[log][:size])), [log_signer(log)])


def head(log: str = "acme", size: int = 600, head_size: int = len(HEAD)) -> Head:
    """The head entry of this log at this size, under the checkpoint of this size of the head log."""
    index = SIZES.index(size) * len(RECORDS) + list(RECORDS).index(log)
    return Head(HEAD[index], index, head_tree(), head_note(head_size))


def proof(index: int = 217, log: str = "acme", size: int = 600, head_size: int = len(HEAD)) -> bytes:
    """The proof of this record, with everything that it can carry."""
    return prove(tree(log), index, head(log, size, head_size), envelope=RECORDS[log][index], opening=opening(index))


def handover() -> bytes:
    """The successor took over the head log at size 4."""
    return endorse(head_state(4), SIGNER, SUCCESSOR)


def rotated_proof() -> bytes:
    """The proof of record 217 under the successor's key."""
    signed = Head(HEAD[6], 6, head_tree(), head_note(8, [SUCCESSOR]), (handover(),))
    return prove(tree("acme"), 217, signed, envelope=RECORDS["acme"][217], opening=opening(217))


def hexed(path: Iterable[bytes]) -> tuple[str, ...]:
    return tuple([step.hex() for step in path])


def fields_of(bundle: bytes) -> dict[str, Any]:
    fields = json.loads(bundle)
    assert isinstance(fields, dict)
    return fields


def changed_proof(bundle: bytes | None = None, **fields: object) -> bytes:
    """A proof with other fields, in its one form."""
    return encode_bundle(msgspec.structs.replace(msgspec.json.decode(bundle or proof(), type=Proof), **fields))
