"""A client of a witness (C2SP tlog-witness): it has checkpoints cosigned, and asks what the witness saw last.

Rules:

1. Only a cosignature that verifies under the configured key counts, and only over the checkpoint that was sent. What else a witness says
   (sizes, refusals) is its word alone: it may stop this log from claiming to be witnessed, never make it so.
2. Whatever comes back ends as a typed answer; nothing that a peer sends raises (witness/wire.py: where to, how long, how much).
3. A witness is asked at most `ATTEMPTS` times for one checkpoint, whatever sizes it names.

Not guaranteed: that the witness's clock is right. Its times are told, and nothing here rests on them.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from typing import Final

from msgspec import Struct

from licet.errors import ConfigInvalid, NoteInvalid
from licet.ledger.checkpoint import SIZE_LIMIT, Checkpoint
from licet.ledger.note import COSIGNATURE_V1, Note, Verifier, open_note, text_of
from licet.ledger.rotation import Trust
from licet.names import visible
from licet.witness.anchor import Proof
from licet.witness.wire import Address, clean
from licet.witness.wire import Unreachable as Unreachable  # noqa: PLC0414  one of the answers

TIMEOUT_S = 5.0
ATTEMPTS = 3
"""A first one, one with the size that the witness names, one more for another process of ours that was between."""

_HTTP_OK: Final = 200
_HTTP_NOT_FOUND: Final = 404
_HTTP_CONFLICT: Final = 409
_HTTP_UNPROCESSABLE: Final = 422
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


class Cosigned(Struct, frozen=True):
    """The witness saw this checkpoint and nothing that contradicts it: its cosignature lines, and their time (seconds since 1970)."""

    lines: tuple[bytes, ...]
    timestamp_s: int


class Behind(Struct, frozen=True):
    """The witness says that it has cosigned a larger tree: this log was cut or rolled back, or another process was quicker."""

    witness_size: int


class Ahead(Struct, frozen=True):
    """The witness still asked for a proof from another size after `ATTEMPTS` of them: other processes keep being quicker. Try again."""

    witness_size: int


class Refused(Struct, frozen=True):
    """The witness will not cosign this, or answered something that no witness may. Asking again will not help.

    404: it does not know the log. 403: it does not know the key that signed. 422: the tree does not continue what it has seen (witnesses
    of the protocol's version 1.0 answer 409 and the same size, which is told as 422).
    """

    status: int
    message: str


class Seen(Struct, frozen=True):
    """The newest checkpoint that the witness has cosigned, signed by log and witness, and the time of its cosignature."""

    checkpoint: Checkpoint
    note: bytes
    timestamp_s: int


class SeenNothing(Struct, frozen=True):
    """The witness has never cosigned a checkpoint of this log, or does not know the log."""


Answer = Cosigned | Behind | Ahead | Refused | Unreachable


class Witness:
    """One witness: its submission prefix, its key and, where it differs, the prefix at which it shows what it has seen.

    Raises `ConfigInvalid` for an address that is neither https nor on this machine, and for a key that is not one for cosignatures.
    """

    def __init__(
        self,
        url: str,
        vkey: str,
        *,
        monitoring_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.verifier = _cosigner(vkey)
        self._submission = Address.parse(url)
        self._monitoring = Address.parse(monitoring_url or url)
        self._timeout_s = timeout_s
        self._tls = tls or ssl.create_default_context()
        self._size = 0  # what it cosigned last, as far as this process knows: only a first guess

    @property
    def name(self) -> str:
        """The name of the witness's key."""
        return self.verifier.name

    def submit(self, note: bytes, proof: Proof) -> Answer:
        """What the witness says to this checkpoint. `proof` is asked for the sizes that the witness names, up to the checkpoint's.

        Raises what `proof` raises, and `NoteInvalid` for a note that is no checkpoint; never for anything that a witness does.
        """
        checkpoint = Checkpoint.parse(text_of(note))
        old = min(self._size, checkpoint.size)
        answer: Answer = Ahead(old)
        for _ in range(ATTEMPTS):
            steps = proof(old, checkpoint.size) if 0 < old < checkpoint.size else ()
            answer = self._add_checkpoint(note, checkpoint, old, steps)
            if not isinstance(answer, Ahead):
                break
            old = answer.witness_size
        if isinstance(answer, Cosigned):
            self._size = checkpoint.size
        return answer

    def get_latest(self, trust: Trust) -> Seen | SeenNothing | Refused | Unreachable:
        """The newest checkpoint of this log that the witness has cosigned (its monitoring interface)."""
        path = f"/{hashlib.sha256(trust.origin.encode()).hexdigest()}/checkpoint"
        answer = self._monitoring.exchange("GET", path, None, timeout_s=self._timeout_s, tls=self._tls)
        if isinstance(answer, Unreachable):
            return answer
        status, body = answer
        if status == _HTTP_NOT_FOUND:
            return SeenNothing()
        if status != _HTTP_OK:
            return _refusal(status, body)
        try:
            checkpoint, opened = trust.open(body, [self.verifier])
            timestamp_s = self._timestamp_s(opened)
        except NoteInvalid as error:
            return Refused(status, f"what it shows is no checkpoint of this log that it has cosigned: {error}")
        return Seen(checkpoint, body, timestamp_s)

    def _add_checkpoint(self, note: bytes, checkpoint: Checkpoint, old: int, steps: tuple[bytes, ...]) -> Answer:
        lines = [b"old %d\n" % old, *(base64.b64encode(step) + b"\n" for step in steps), b"\n", note]
        answer = self._submission.exchange("POST", "/add-checkpoint", b"".join(lines), timeout_s=self._timeout_s, tls=self._tls)
        if isinstance(answer, Unreachable):
            return answer
        status, body = answer
        if status == _HTTP_OK:
            return self._cosigned(checkpoint, body)
        if status == _HTTP_CONFLICT:
            return _conflict(checkpoint, old, body)
        return _refusal(status, body)

    def _cosigned(self, checkpoint: Checkpoint, body: bytes) -> Cosigned | Refused:
        """Rule 1: the lines are verified as part of a note whose text is the one that was sent."""
        try:
            opened = open_note(checkpoint.text + b"\n" + body, [self.verifier])
            timestamp_s = self._timestamp_s(opened)
        except NoteInvalid as error:
            return Refused(_HTTP_OK, f"its answer is no cosignature of this checkpoint: {error}")
        if opened.text != checkpoint.text:  # an empty line in the answer moves the end of the text
            return Refused(_HTTP_OK, "its answer is a cosignature of another text")
        others = set(opened.unknown)  # of keys that nobody vouches for here
        return Cosigned(tuple(line for line in body.splitlines(keepends=True) if line not in others), timestamp_s)

    def _timestamp_s(self, note: Note) -> int:
        for signature in note.signatures:
            if signature.name == self.verifier.name and signature.timestamp_s:
                return signature.timestamp_s
        raise NoteInvalid(f"`{self.name}` has not cosigned with a time")


def _cosigner(vkey: str) -> Verifier:
    try:
        verifier = Verifier.parse(vkey)
    except NoteInvalid as error:
        raise ConfigInvalid(f"`{visible(vkey)}` is not the key of a witness: {error}") from error
    if verifier.algorithm != COSIGNATURE_V1:
        raise ConfigInvalid(f"the key `{visible(vkey)}` is not one for cosignatures (type 0x04)")
    return verifier


def _conflict(checkpoint: Checkpoint, old: int, body: bytes) -> Answer:
    match = _SIZE.fullmatch(body)
    size = int(match[1]) if match else SIZE_LIMIT + 1
    if size > SIZE_LIMIT:
        return Refused(_HTTP_CONFLICT, "it names no size")
    if size > checkpoint.size:
        return Behind(size)
    if size == old:
        return Refused(_HTTP_UNPROCESSABLE, f"it names size {old}, from which it was asked, and does not cosign: it knows another tree")
    return Ahead(size)


def _refusal(status: int, body: bytes) -> Refused:
    told = body.decode(errors="replace").strip()
    if status // 100 == 3:  # noqa: PLR2004  the class of redirects
        told = "it sends elsewhere, where this client does not go"
    return Refused(status, clean(told))
