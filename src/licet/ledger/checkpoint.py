"""Checkpoints (C2SP tlog-checkpoint), and the entries of the head log that they sign.

    <origin>                    which log this is
    <size>                      its number of leaves, decimal
    <root>                      its RFC 6962 root, base64
    <extension lines>           none in those of Licet; kept and signed where another log has them

The **head log** has one leaf for each root of a log that was ever published. A checkpoint of the head log therefore commits to every
log, and one signature is enough for all of them.

Rules:

1. A checkpoint is opened with the keys of its log and, apart from them, those of witnesses: a witness alone cannot speak for a log.
2. One form for each value: what `parse` accepts is what `text` would write again, byte for byte. The same holds for head entries.
3. Origins of different logs differ, whatever the logs are called: names are percent-encoded, so none can leave its place.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from urllib.parse import quote

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.merkle import EMPTY_ROOT, HASH_BYTES
from licet.ledger.note import Note, Signer, Verifier, open_note, sign_note
from licet.ledger.record import UNREADABLE, leaf_hash

SIZE_LIMIT = 2**63 - 1
"""What witnesses and databases can hold in 64 bits with a sign."""
HEAD_ENTRY_VERSION = 1

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIXED_LINES = 3


class Checkpoint(Struct, frozen=True):
    """The state of a log: at `size` leaves its root is `root` (32 bytes). Raises `ValueError` for what no checkpoint can say."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)

    @property
    def text(self) -> bytes:
        """The text of the note that signs it."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, unverified_text: bytes) -> Checkpoint:
        """The checkpoint whose `text` this is, byte for byte. Raises `NoteInvalid` on anything else."""
        try:
            lines = unverified_text.decode().split("\n")
            if len(lines) <= _FIXED_LINES or not _SIZE.fullmatch(lines[1]):
                raise NoteInvalid("a checkpoint has an origin, a size and a root, each on its line")
            checkpoint = cls(lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True), tuple(lines[3:-1]))
        except (UnicodeDecodeError, binascii.Error, ValueError) as error:
            raise NoteInvalid(f"not a checkpoint: {error}") from error
        if checkpoint.text != unverified_text:
            raise NoteInvalid("the checkpoint is not in its one form")
        return checkpoint


class HeadEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One leaf of the head log: at `at` (UTC microseconds) the log had `size` leaves and this `root` (hex)."""

    v: int
    log: str
    size: int
    root: str
    at: int


_encode = msgspec.json.Encoder().encode
_decode_head_entry = msgspec.json.Decoder(HeadEntry, strict=True).decode


def origin_of_log(head_origin: str, log: str) -> str:
    """The origin of one log's own checkpoints, below the head log's: `<head origin>/log/<name, percent-encoded>`.

    All but RFC 3986's unreserved characters are encoded, since the name of a key holds neither whitespace nor `+`.
    """
    return f"{head_origin}/log/{quote(log, safe='')}"


def sign_checkpoint(checkpoint: Checkpoint, signers: Iterable[Signer]) -> bytes:
    """The signed note of this checkpoint. Raises `ValueError` without a signer."""
    return sign_note(checkpoint.text, signers)


def open_checkpoint(
    unverified: bytes, origin: str, log_keys: Iterable[Verifier], witness_keys: Iterable[Verifier] = ()
) -> tuple[Checkpoint, Note]:
    """The checkpoint of the log `origin`, signed by one of its keys; the note says which witnesses have cosigned it.

    Raises `NoteInvalid` for another log's, and where no key of the log has signed, or any given key wrongly.
    """
    log_keys = tuple(log_keys)
    note = open_note(unverified, (*log_keys, *witness_keys))
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise NoteInvalid(f"the checkpoint is of `{ascii(checkpoint.origin)[1:-1]}`, not of `{origin}`")
    of_log = {(key.name, key.key_id) for key in log_keys}
    if not any((signature.name, signature.key_id) in of_log for signature in note.signatures):
        raise NoteInvalid(f"the checkpoint is not signed by a key of `{origin}`")
    return checkpoint, note


def encode_head_entry(entry: HeadEntry) -> bytes:
    """The entry's bytes, which are hashed and stored as they are. Raises `ValueError` for an entry that could not be read again."""
    problem = _entry_problem(entry)
    if problem:
        raise ValueError(problem)
    return _encode(entry)


def decode_head_entry(stored: bytes) -> HeadEntry:
    """The entry that these bytes are. Raises `IntegrityBroken` on anything that `encode_head_entry` would not have written."""
    try:
        entry = _decode_head_entry(stored)
    except UNREADABLE as error:
        raise IntegrityBroken(f"stored entry of the head log cannot be read: {error}") from error
    problem = _entry_problem(entry)
    if problem or _encode(entry) != stored:
        raise IntegrityBroken(f"stored entry of the head log is not valid: {problem or 'it is not in its one form'}")
    return entry


def head_leaf(entry: HeadEntry) -> bytes:
    """The leaf hash of this entry in the head log (32 bytes)."""
    return leaf_hash(encode_head_entry(entry))


def _problem(checkpoint: Checkpoint) -> str | None:
    """Why no checkpoint can say this, None if it can."""
    lines = (checkpoint.origin, *checkpoint.extensions)
    if not all(lines) or any(c < " " or "\ud800" <= c <= "\udfff" for line in lines for c in line):
        return "origin and extension lines are not empty and hold no control characters"
    if not 0 <= checkpoint.size <= SIZE_LIMIT:
        return f"the size is between 0 and {SIZE_LIMIT}"
    if len(checkpoint.root) != HASH_BYTES:
        return f"the root has {HASH_BYTES} bytes"
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        return "an empty log has the empty root"
    return None


def _entry_problem(entry: HeadEntry) -> str | None:
    """Why this cannot be a leaf of the head log, None if it can."""
    if entry.v != HEAD_ENTRY_VERSION:
        return f"it has version {entry.v}, this is for version {HEAD_ENTRY_VERSION}"
    if not entry.log or any("\ud800" <= c <= "\udfff" for c in entry.log):
        return "it names no log"
    if not 0 <= entry.size <= SIZE_LIMIT or not 0 <= entry.at <= SIZE_LIMIT:
        return "size and time are not negative and have 63 bits"
    if not _HEX.fullmatch(entry.root):
        return "its root is not 64 lower-case hex digits"
    if entry.size == 0 and entry.root != EMPTY_ROOT.hex():
        return "an empty log has the empty root"
    return None
