"""Proofs that stand alone: one record is in the log that a key has signed, and one state of a log is the beginning of another.

    record --path--> root of its log = head entry --path--> root of the head log = checkpoint, signed

A proof is one line of JSON, `{"licet_proof":1,...}`; hashes are hex, and texts that are hashed or signed stand in it as they are. The key,
and which receipt is asked for, come from elsewhere: `verify_proof` believes nothing that the proof says about itself.

The checks of `verify_proof`, each with its number in the code and in its message:

1. The proof is of version 1 and in its one form: encoding it again gives the same bytes.
2. The checkpoint is of the trusted origin, has the size that the proof says, and is signed by the trusted key or one that took over from it
   by the endorsements in the proof, at a size at which that key may sign; no given key has signed it wrongly, and enough witnesses have.
3. The head entry is in its one form, and its path leads to the root of the checkpoint.
4. The head entry is of the log and the size that the proof says.
5. The path of the leaf leads to the root in the head entry.
6. The envelope, where the proof has it, hashes to the leaf, can be read, and is of this log.
7. Salt and payload, where the proof has them, give the commitment and the length in the envelope.
8. Log, index and leaf are those of the receipt, where one is given.

Not guaranteed: that the checkpoint is the newest, or the only one of its size (only a witness can say so); that the log holds everything
that happened; signature lines of keys that are not given, which nobody here can check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken
from licet.ledger.checkpoint import Checkpoint, HeadEntry, decode_head_entry
from licet.ledger.merkle import find_root, is_consistent
from licet.ledger.note import COSIGNATURE_V1, Note, Signature, Verifier, text_of
from licet.ledger.record import UNREADABLE, Envelope, commitment, decode_envelope, leaf_hash
from licet.ledger.rotation import Trust, verify_rotation
from licet.ledger.tiles import HashTree
from licet.model import Receipt

PROOF_VERSION = 1
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Proof(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Record `index` of `log` is in the log of `size` records whose root `head_entry` carries, entry `head_index` of the head log.

    `path` leads from `leaf` to that root, `head_path` from the head entry to the root in `checkpoint`, a signed note of `head_size`.
    `envelope` is the record; `salt` and `payload` open its commitment. `endorsements` are key rotations.
    """

    licet_proof: int
    log: str
    index: int
    leaf: str
    envelope: str | None = None
    salt: str | None = None
    payload: str | None = None
    size: int
    path: tuple[str, ...]
    head_entry: str
    head_index: int
    head_size: int
    head_path: tuple[str, ...]
    checkpoint: str
    endorsements: tuple[str, ...] = ()


class ProofReport(Struct, frozen=True):
    """What a verified proof shows: the record was in its log by `at` (UTC microseconds, as the log says), and who has signed.

    `envelope` and `payload` are what the proof carries of the record, verified; None where it does not carry them.
    """

    origin: str
    log: str
    index: int
    leaf: str
    size: int
    at: int
    head_size: int
    signatures: tuple[Signature, ...]
    envelope: Envelope | None
    payload: bytes | None


class Opening(Struct, frozen=True):
    """What opens the commitment of an envelope: the salt (32 bytes) and the payload's exact bytes."""

    salt: bytes
    payload: bytes


class Head(Struct, frozen=True):
    """How the head log says the state of one log: an `entry` (exact bytes) at `index`, its `tree`, and a signed `checkpoint` of it."""

    entry: bytes
    index: int
    tree: HashTree
    checkpoint: bytes
    endorsements: tuple[bytes, ...] = ()


class Trusted(Struct, frozen=True):
    """What a verifier brings along: the origin of the head log, one of its keys, of whatever age, and the witnesses it believes.

    At least `witnesses_needed` of these must have cosigned; a key that is given under two names counts once.
    """

    origin: str
    vkey: str
    witness_keys: tuple[Verifier, ...] = ()
    witnesses_needed: int = 0


class ConsistencyBundle(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The log of the checkpoint `first` is the beginning of that of the checkpoint `second`; both are signed notes of one origin."""

    licet_consistency: int
    first: str
    second: str
    path: tuple[str, ...]
    endorsements: tuple[str, ...] = ()


class ConsistencyReport(Struct, frozen=True):
    """What a verified bundle shows: nothing of `first` was changed or removed up to `second`."""

    first: Checkpoint
    second: Checkpoint
    first_signatures: tuple[Signature, ...]
    second_signatures: tuple[Signature, ...]


_Bundle = TypeVar("_Bundle", Proof, ConsistencyBundle)
_encode = msgspec.json.Encoder().encode


# -- making


def prove(tree: HashTree, index: int, head: Head, *, envelope: bytes | None = None, opening: Opening | None = None) -> bytes:
    """The proof of record `index` of this tree's log, through a head entry and a checkpoint that cover it.

    Both trees may be larger than what is proved. Raises `IndexError` where the entry or the checkpoint does not cover it, and
    `IntegrityBroken` where the ledger does not lead to its own checkpoint: a proof that is handed out holds.
    """
    entry, checkpoint = decode_head_entry(head.entry), Checkpoint.parse(text_of(head.checkpoint))
    proof = Proof(
        licet_proof=PROOF_VERSION,
        log=entry.log,
        index=index,
        leaf=tree.leaf(index).hex(),
        envelope=None if envelope is None else _text(envelope),
        salt=None if opening is None else opening.salt.hex(),
        payload=None if opening is None else _text(opening.payload),
        size=entry.size,
        path=_hex(tree.inclusion_proof(index, entry.size)),
        head_entry=_text(head.entry),
        head_index=head.index,
        head_size=checkpoint.size,
        head_path=_hex(head.tree.inclusion_proof(head.index, checkpoint.size)),
        checkpoint=_text(head.checkpoint),
        endorsements=_texts(head.endorsements),
    )
    _verify_record(proof, _verify_head_entry(proof, checkpoint))
    return encode_bundle(proof)


def prove_consistency(tree: HashTree, first: bytes, second: bytes, endorsements: Iterable[bytes] = ()) -> bytes:
    """The bundle that shows the checkpoint `first` to be a beginning of `second`, both signed notes of this tree's log.

    Raises `IndexError` where they are not in order or not in the tree, `IntegrityBroken` where the one is no beginning of the other.
    """
    old, new = Checkpoint.parse(text_of(first)), Checkpoint.parse(text_of(second))
    path = tree.consistency_proof(old.size, new.size)
    _verify_consistency(old, new, path)
    bundle = ConsistencyBundle(
        licet_consistency=PROOF_VERSION, first=_text(first), second=_text(second), path=_hex(path), endorsements=_texts(endorsements)
    )
    return encode_bundle(bundle)


def encode_bundle(bundle: Proof | ConsistencyBundle) -> bytes:
    """The one form of a bundle: a line of JSON, with its end."""
    return _encode(bundle) + b"\n"


# -- verifying


def verify_proof(unverified: bytes, trusted: Trusted, receipt: Receipt | None = None) -> ProofReport:
    """The record is in its log, as a head log says that the trusted key, or a successor of it, has signed.

    Raises `IntegrityBroken` at the first check that fails; its message says which (see above), and what was expected and found.
    """
    with _check(1):
        proof = _decode(unverified, Proof, ("path", "head_path"))
        _same("the version of the proof", PROOF_VERSION, proof.licet_proof)
    with _check(2):
        checkpoint, note = _open(_trust(trusted, proof.endorsements), proof.checkpoint, trusted, trusted.witnesses_needed)
        _same("the size of the checkpoint", proof.head_size, checkpoint.size)
    entry = _verify_head_entry(proof, checkpoint)
    envelope = _verify_record(proof, entry)
    with _check(8):
        _verify_receipt(proof, receipt)
    payload = None if proof.payload is None else proof.payload.encode()
    where = (trusted.origin, proof.log, proof.index, proof.leaf, entry.size, entry.at, checkpoint.size)
    return ProofReport(*where, note.signatures, envelope, payload)


def verify_receipt(receipt: Receipt, unverified_proof: bytes, trusted: Trusted) -> ProofReport:
    """The record that this receipt was given for is in its log, unchanged and in its place: `verify_proof` with all that it raises."""
    return verify_proof(unverified_proof, trusted, receipt)


def verify_consistency(unverified: bytes, trusted: Trusted) -> ConsistencyReport:
    """Both checkpoints are of the trusted origin and signed as in check 2 of `verify_proof`, and the first is a beginning of the second.

    Witnesses are needed for the second one only: those of the first may be gone by now. Raises `IntegrityBroken`.
    """
    bundle = _decode(unverified, ConsistencyBundle, ("path",))
    _same("the version of the bundle", PROOF_VERSION, bundle.licet_consistency)
    trust = _trust(trusted, bundle.endorsements)
    first, first_note = _open(trust, bundle.first, trusted, 0)
    second, second_note = _open(trust, bundle.second, trusted, trusted.witnesses_needed)
    _verify_consistency(first, second, _bytes(bundle.path))
    return ConsistencyReport(first, second, first_note.signatures, second_note.signatures)


def read_receipt(unverified: bytes) -> Receipt:
    """The receipt that this JSON is. Raises `IntegrityBroken` on anything else."""
    try:
        receipt = msgspec.json.decode(unverified, type=Receipt)
    except UNREADABLE as error:
        raise IntegrityBroken(f"not a receipt: {error}") from error
    if not _HASH.fullmatch(receipt.leaf):
        raise IntegrityBroken("not a receipt: its leaf is not 64 lower-case hex digits")
    return receipt


def _verify_head_entry(proof: Proof, checkpoint: Checkpoint) -> HeadEntry:
    with _check(3):
        entry = decode_head_entry(proof.head_entry.encode())
        leaf = leaf_hash(proof.head_entry.encode())
        _leads("the head entry", leaf, (proof.head_index, checkpoint.size), proof.head_path, checkpoint.root)
    with _check(4):
        _same("the log of the head entry", proof.log, entry.log)
        _same("the size in the head entry", proof.size, entry.size)
    return entry


def _verify_record(proof: Proof, entry: HeadEntry) -> Envelope | None:
    with _check(5):
        _leads("the leaf", bytes.fromhex(proof.leaf), (proof.index, entry.size), proof.path, bytes.fromhex(entry.root))
    envelope = None
    with _check(6):
        if proof.envelope is not None:
            _same("the hash of the envelope", proof.leaf, leaf_hash(proof.envelope.encode()).hex())
            envelope = decode_envelope(proof.envelope.encode())
            _same("the log of the envelope", proof.log, envelope.log)
    with _check(7):
        _verify_opening(proof, envelope)
    return envelope


def _verify_opening(proof: Proof, envelope: Envelope | None) -> None:
    if proof.salt is None and proof.payload is None:
        return
    if proof.salt is None or proof.payload is None or envelope is None:
        raise IntegrityBroken("a payload is opened with its salt and its envelope, and one of the three is missing")
    payload = proof.payload.encode()
    _same("the commitment to the payload", envelope.payload.commitment, commitment(bytes.fromhex(proof.salt), payload))
    _same("the length of the payload", envelope.payload.length, len(payload))


def _verify_consistency(first: Checkpoint, second: Checkpoint, path: Sequence[bytes]) -> None:
    _same("the origin of the second checkpoint", first.origin, second.origin)
    if not is_consistent(first.size, second.size, first.root, second.root, path):
        states = f"root `{first.root.hex()}` at size {first.size} and root `{second.root.hex()}` at size {second.size}"
        raise IntegrityBroken(f"the path does not show that one log has {states}")


def _verify_receipt(proof: Proof, receipt: Receipt | None) -> None:
    if receipt is not None:
        _same("the log in the receipt", receipt.log, proof.log)
        _same("the index in the receipt", receipt.index, proof.index)
        _same("the leaf in the receipt", receipt.leaf, proof.leaf)


def _trust(trusted: Trusted, endorsements: Iterable[str]) -> Trust:
    return verify_rotation(trusted.origin, trusted.vkey, [text.encode() for text in endorsements])


def _open(trust: Trust, unverified: str, trusted: Trusted, witnesses_needed: int) -> tuple[Checkpoint, Note]:
    checkpoint, note = trust.open(unverified.encode(), trusted.witness_keys)
    keys = {(key.name, key.key_id): key.public_key for key in trusted.witness_keys if key.algorithm == COSIGNATURE_V1}
    signed = {keys[signature.name, signature.key_id] for signature in note.signatures if (signature.name, signature.key_id) in keys}
    if len(signed) < witnesses_needed:
        raise IntegrityBroken(f"the checkpoint is cosigned by {len(signed)} of the given witnesses, {witnesses_needed} are needed")
    return checkpoint, note


def _leads(what: str, leaf: bytes, place: tuple[int, int], path: Sequence[str], root: bytes) -> None:
    index, size = place
    found = find_root(leaf, index, size, _bytes(path))
    if found is None:
        raise IntegrityBroken(f"the path of {what} has {len(path)} hashes: index {index} in a tree of size {size} has no such path")
    _same(f"the root to which the path of {what} leads", root.hex(), found.hex())


def _same(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise IntegrityBroken(f"{what} is another: expected `{expected}`, found `{found}`")


@contextmanager
def _check(number: int) -> Iterator[None]:
    """What raises in here is told with the number of its check."""
    try:
        yield
    except IntegrityBroken as error:
        raise type(error)(f"check {number}: {error}") from error


def _decode(unverified: bytes, kind: type[_Bundle], paths: Sequence[str]) -> _Bundle:
    """The bundle in its one form. All of its hashes are hashes."""
    try:
        bundle = msgspec.json.decode(unverified, type=kind)
        again = encode_bundle(bundle)
    except (*UNREADABLE, UnicodeEncodeError) as error:
        raise IntegrityBroken(f"the bundle cannot be read: {error}") from error
    if again != unverified:
        raise IntegrityBroken("the bundle is not in its one form: it was written by something else, or changed")
    hashes = [step for path in paths for step in getattr(bundle, path)]
    if isinstance(bundle, Proof):
        hashes += [bundle.leaf] if bundle.salt is None else [bundle.leaf, bundle.salt]
    wrong = next((text for text in hashes if not _HASH.fullmatch(text)), None)
    if wrong is not None:
        raise IntegrityBroken(f"`{wrong[:80]}` is not 64 lower-case hex digits")
    return bundle


def _hex(path: Iterable[bytes]) -> tuple[str, ...]:
    return tuple([step.hex() for step in path])


def _bytes(path: Iterable[str]) -> tuple[bytes, ...]:
    return tuple([bytes.fromhex(step) for step in path])


def _text(stored: bytes) -> str:
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        raise IntegrityBroken("what the proof should hold is not text: it was changed") from error


def _texts(stored: Iterable[bytes]) -> tuple[str, ...]:
    return tuple([_text(text) for text in stored])
