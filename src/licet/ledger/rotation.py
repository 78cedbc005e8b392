"""Key rotation: which key may sign a log's checkpoints at which sizes.

An **endorsement** is a note by which one key hands a log over to the next, at one state of it, signed by both:

    licet key rotation v1
    origin <origin>
    size <size>
    root <root, base64>
    from <vkey>
    to <vkey>

Rules:

1. Trust begins with one key that the verifier brings along. Every other key is reached from it, forwards or backwards, through
   endorsements that both neighbours have signed.
2. The old key speaks for the sizes up to the endorsement's, the new one from there on. A retired key that is stolen can sign nothing newer.
3. A key hands over once and takes over once. Two successors of one key are an attack or two histories: nothing is trusted then.
4. Sizes only grow along the chain, and a checkpoint of an endorsement's size has the endorsement's root.
5. An endorsement cannot be read as a checkpoint, nor a checkpoint as an endorsement, though one key signs both: their second lines differ.

Not guaranteed: who is shown none of the true endorsements, but one forged with a stolen old key, believes it. An anchor or a witness
that has seen the new key's checkpoints does not. Nor does a size tell when a checkpoint below the rotation was signed: hold it
against a newer one with a consistency proof.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct

from licet.errors import NoteInvalid
from licet.ledger.checkpoint import Checkpoint, open_checkpoint
from licet.ledger.note import ED25519, Note, Signer, Verifier, open_note, sign_note, text_of

_HEADER = "licet key rotation v1"
_TEXT = re.compile(rf"{_HEADER}\norigin (.+)\nsize ([0-9]+)\nroot (.+)\nfrom (.+)\nto (.+)\n")


class Endorsement(Struct, frozen=True):
    """At this state of the log, `old` hands over to `new`."""

    at: Checkpoint
    old: Verifier
    new: Verifier

    @property
    def text(self) -> bytes:
        """The text of the note that both keys sign."""
        root = base64.b64encode(self.at.root).decode()
        lines = (
            _HEADER,
            f"origin {self.at.origin}",
            f"size {self.at.size}",
            f"root {root}",
            f"from {self.old.vkey}",
            f"to {self.new.vkey}",
        )
        return "".join(f"{line}\n" for line in lines).encode()


class KeySpan(Struct, frozen=True):
    """One key may sign checkpoints of the sizes `first` to `last`, both included; `last` is None for the key in use."""

    key: Verifier
    first: int = 0
    last: int | None = None


class Trust(Struct, frozen=True):
    """The keys of one log, from its oldest known to the one in use, and the states at which they changed hands."""

    origin: str
    spans: tuple[KeySpan, ...]
    handovers: tuple[Checkpoint, ...] = ()

    @property
    def current(self) -> Verifier:
        """The key that signs now."""
        return self.spans[-1].key

    def keys_at(self, size: int) -> tuple[Verifier, ...]:
        """The keys that may sign a checkpoint of this size: one, or two where they changed hands."""
        return tuple(span.key for span in self.spans if span.first <= size and (span.last is None or size <= span.last))

    def open(self, unverified: bytes, witness_keys: Iterable[Verifier] = ()) -> tuple[Checkpoint, Note]:
        """The checkpoint of this log, signed by a key that may sign at its size. Raises `NoteInvalid`.

        The note tells every key of the log that signed, also one that may not at this size; such a one is not enough.
        """
        checkpoint, note = open_checkpoint(unverified, self.origin, [span.key for span in self.spans], witness_keys)
        may = {(key.name, key.key_id) for key in self.keys_at(checkpoint.size)}
        if not any((signature.name, signature.key_id) in may for signature in note.signatures):
            raise NoteInvalid(
                f"no key that may sign `{self.origin}` at size {checkpoint.size} has signed, only one that may at other sizes"
            )
        if any(state.size == checkpoint.size and state.root != checkpoint.root for state in self.handovers):
            raise NoteInvalid(f"the checkpoint of size {checkpoint.size} has another root than the one at which its key was rotated")
        return checkpoint, note


def endorse(checkpoint: Checkpoint, old: Signer, new: Signer) -> bytes:
    """The endorsement by which `old` hands the log over to `new` at this state. Raises `ValueError` if they are one key."""
    if old.verifier.public_key == new.verifier.public_key:
        raise ValueError("a key is not rotated to itself")
    return sign_note(Endorsement(checkpoint, old.verifier, new.verifier).text, (old, new))


def open_endorsement(unverified: bytes) -> Endorsement:
    """What the endorsement says, signed by both keys that it names. That says nothing about whether to trust them. Raises `NoteInvalid`."""
    endorsement = _parse(text_of(unverified))
    note = open_note(unverified, (endorsement.old, endorsement.new))
    if len(note.signatures) != 2:  # noqa: PLR2004  both
        raise NoteInvalid("an endorsement is signed by both keys that it names")
    return endorsement


def verify_rotation(origin: str, vkey: str, unverified_endorsements: Iterable[bytes] = ()) -> Trust:
    """Which keys sign the log `origin` at which sizes, beginning with one trusted key, of whatever age.

    Raises `NoteInvalid` for an endorsement that is malformed, not signed by both, of another log, not connected with the trusted key, or in
    contradiction to another one.
    """
    trusted = Verifier.parse(vkey)
    if trusted.algorithm != ED25519:
        raise NoteInvalid("a log signs with a plain Ed25519 key, not with one for cosignatures")
    endorsements = {endorsement.text: endorsement for endorsement in map(open_endorsement, unverified_endorsements)}
    if any(endorsement.at.origin != origin for endorsement in endorsements.values()):
        raise NoteInvalid(f"an endorsement is of another log than `{origin}`")
    chain = _chain(trusted, list(endorsements.values()))
    for older, newer in pairwise(endorsement.at for endorsement in chain):
        if older.size > newer.size:
            raise NoteInvalid("a key was handed on at a smaller size than it was taken over")
        if older.size == newer.size and older.root != newer.root:
            raise NoteInvalid(f"two keys were handed on at size {older.size} with two roots")
    return Trust(origin, _spans(trusted, chain), tuple(endorsement.at for endorsement in chain))


def _chain(trusted: Verifier, endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """The endorsements in order, all of them connected with the trusted key."""
    by_old = {endorsement.old.public_key: endorsement for endorsement in endorsements}
    by_new = {endorsement.new.public_key: endorsement for endorsement in endorsements}
    if endorsements and trusted not in {key for endorsement in endorsements for key in (endorsement.old, endorsement.new)}:
        raise NoteInvalid("no endorsement names the trusted key")
    if len(by_old) != len(endorsements) or len(by_new) != len(endorsements):
        raise NoteInvalid("a key was handed on twice, or taken over twice: there are two histories of this log's keys")
    first = trusted
    for _ in endorsements:  # backwards at most once through all of them: a ring would have no end
        first = by_new[first.public_key].old if first.public_key in by_new else first
    chain: list[Endorsement] = []
    key = first
    while key.public_key in by_old and len(chain) < len(endorsements):
        chain.append(by_old[key.public_key])
        key = chain[-1].new
    if len(chain) != len(endorsements) or key.public_key in by_old:
        raise NoteInvalid("an endorsement is not connected with the trusted key, or leads back to where it began")
    return chain


def _spans(trusted: Verifier, chain: Sequence[Endorsement]) -> tuple[KeySpan, ...]:
    if not chain:
        return (KeySpan(trusted),)
    starts = [0, *(endorsement.at.size for endorsement in chain)]
    ends = [*(endorsement.at.size for endorsement in chain), None]
    keys = [chain[0].old, *(endorsement.new for endorsement in chain)]
    return tuple(KeySpan(key, first, last) for key, first, last in zip(keys, starts, ends, strict=True))


def _parse(unverified_text: bytes) -> Endorsement:
    """The endorsement whose `text` this is, byte for byte."""
    match = _TEXT.fullmatch(unverified_text.decode())
    if not match:
        raise NoteInvalid("not an endorsement of a key")
    origin, size, root, old, new = match.groups()
    at = Checkpoint.parse(f"{origin}\n{size}\n{root}\n".encode())
    endorsement = Endorsement(at, Verifier.parse(old), Verifier.parse(new))
    if endorsement.text != unverified_text or {endorsement.old.algorithm, endorsement.new.algorithm} != {ED25519}:
        raise NoteInvalid("the endorsement is not in its one form, or not of plain Ed25519 keys")
    return endorsement
