"""Signed notes (C2SP signed-note) with Ed25519 signatures, and cosignatures of version 1 (C2SP tlog-cosignature).

    text                        ends in a newline; what is signed
    (an empty line)
    — <key name> <base64(4-byte key id || signature)>             one line for each signature

Rules:

1. The text of a note is nothing before `open_note` has returned it: at least one given key has signed it, and none of them wrongly.
2. Every line of a known key is verified (never only its first), and a known key signs once: two lines of it refuse the note.
3. Lines of unknown keys are ignored, though they share the name or the id (but not both) with a known one; they are kept as they are.
4. One form for each value: base64 is canonical, key ids are the recommended hash and are computed again, and nothing is trimmed.
5. A key that is not the canonical encoding of a point of large order is refused: under a point of small order anybody can sign.
6. Size and number of signatures are limited before anything is decoded.

Not guaranteed: that a note is new, or the only one of its kind. That takes a witness.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from licet.errors import NoteInvalid

ED25519: Final = 0x01
"""The signature type of a plain Ed25519 signature over the text."""
COSIGNATURE_V1: Final = 0x04
"""The signature type of a timestamped Ed25519 cosignature of a checkpoint."""

NOTE_LIMIT_BYTES = 131_072
"""A note of 16 signatures must be accepted, and those that withstand quantum computers take up to 5 kB (7 kB in base64)."""
SIGNATURE_LIMIT = 64
SEED_BYTES = 32

_DASH = "— "
_KEY_ID_BYTES = 4
_TIMESTAMP_BYTES = 8
_TIMESTAMP_LIMIT = 2**63 - 1
_COSIGNED = b"cosignature/v1\n"
_TYPES = (ED25519, COSIGNATURE_V1)

_FIELD = 2**255 - 19
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)
"""The y of the eight points whose order divides eight."""


class Signature(Struct, frozen=True):
    """Who signed: key name and key id (8 hex digits); `timestamp_s` (seconds since 1970) for a cosignature."""

    name: str
    key_id: str
    timestamp_s: int | None = None


class Note(Struct, frozen=True):
    """A verified note: its `text`, the known keys that signed it, and the lines of others as they stood there (newline included)."""

    text: bytes
    signatures: tuple[Signature, ...]
    unknown: tuple[bytes, ...] = ()


class Verifier:
    """A key that verifies: `name`, `key_id` (8 hex digits), `algorithm` (`ED25519` or `COSIGNATURE_V1`) and its text `vkey`."""

    __slots__ = ("_key", "algorithm", "key_id", "name", "public_key", "vkey")

    def __init__(self, name: str, public_key: bytes, algorithm: int = ED25519) -> None:
        """Raises `NoteInvalid` for a name that no key may have, and for bytes that are no safe Ed25519 key.

        What cannot be seen is refused beyond the standard: names of keys stand in messages, and two of them must not look the same.
        """
        if not is_key_name(name) or not name.isprintable() or "`" in name:
            raise NoteInvalid("a key name is not empty and holds neither whitespace, backticks, `+` nor what cannot be seen")
        if algorithm not in _TYPES:
            raise NoteInvalid(f"signature type `{algorithm:#04x}` is not supported")
        _verify_public_key(public_key)
        self.name = name
        self.public_key = public_key
        self.algorithm = algorithm
        material = bytes([algorithm]) + public_key
        self.key_id = hashlib.sha256(name.encode() + b"\n" + material).digest()[:_KEY_ID_BYTES].hex()
        self.vkey = f"{name}+{self.key_id}+{_to_base64(material)}"
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    @classmethod
    def parse(cls, unverified_vkey: str) -> Self:
        """The key of this text, `<name>+<key id>+<base64(type || public key)>`. Raises `NoteInvalid` on any other text."""
        parts = unverified_vkey.split("+", 2)
        if len(parts) != 3:  # noqa: PLR2004  as the docstring says
            raise NoteInvalid("a verifier key has three parts with `+` between them")
        material = _from_base64(parts[2])
        if not material:
            raise NoteInvalid("a verifier key ends in base64 of its type and its public key")
        key = cls(parts[0], material[1:], material[0])
        if key.vkey != unverified_vkey:
            raise NoteInvalid(f"a verifier key of `{key.name}` has another key id than its public key, or is not in its one form")
        return key

    def verify(self, text: bytes, unverified_signature: bytes) -> int | None:
        """This key has signed this text; the result is the cosignature's time in seconds, None for a plain one. Raises `NoteInvalid`."""
        timestamp_s = None
        if self.algorithm == COSIGNATURE_V1:
            timestamp_s = int.from_bytes(unverified_signature[:_TIMESTAMP_BYTES])
            if len(unverified_signature) < _TIMESTAMP_BYTES or timestamp_s > _TIMESTAMP_LIMIT:
                raise NoteInvalid(f"cosignature of `{self.name}` has no time")
            text, unverified_signature = _cosigned(text, timestamp_s), unverified_signature[_TIMESTAMP_BYTES:]
        try:
            self._key.verify(unverified_signature, text)
        except InvalidSignature as error:
            raise NoteInvalid(f"signature of `{self.name}` (key id {self.key_id}) does not verify") from error
        return timestamp_s

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verifier) and self.vkey == other.vkey

    def __hash__(self) -> int:
        return hash(self.vkey)

    def __repr__(self) -> str:
        return f"Verifier({self.vkey})"


class Signer:
    """A key that signs notes; it shows its secret to nobody."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Self:
        """The signer of this name whose Ed25519 secret is this seed (32 bytes). Raises `ValueError` for a seed of another length."""
        return cls(name, _private_key(seed))

    @property
    def name(self) -> str:
        """The key's name, as in its signature lines."""
        return self.verifier.name

    @property
    def vkey(self) -> str:
        """The text that verifiers are configured with."""
        return self.verifier.vkey

    def sign(self, text: bytes) -> bytes:
        """The signature line, newline included. Raises `ValueError` for what cannot be the text of a note.

        A text that reads as what cosigners sign is refused, in case somebody uses one key for both.
        """
        problem = _text_problem(text)
        if problem or text.startswith(_COSIGNED):
            raise ValueError(f"not signed: {problem or 'the text would be that of a cosignature'}")
        return _line(self.verifier, self._key.sign(text))


class Cosigner:
    """A key that cosigns checkpoints, with the time at which it saw them."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw(), COSIGNATURE_V1)

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Self:
        """The cosigner of this name whose Ed25519 secret is this seed (32 bytes). Raises `ValueError` for a seed of another length."""
        return cls(name, _private_key(seed))

    @property
    def name(self) -> str:
        """The key's name, as in its signature lines."""
        return self.verifier.name

    @property
    def vkey(self) -> str:
        """The text that verifiers are configured with."""
        return self.verifier.vkey

    def cosign(self, text: bytes, timestamp_s: int) -> bytes:
        """The cosignature line, newline included, over the text of a checkpoint. Raises `ValueError` for another text or time."""
        problem = _text_problem(text)
        if problem or not 0 <= timestamp_s <= _TIMESTAMP_LIMIT:
            raise ValueError(f"not cosigned: {problem or 'the time is out of range'}")
        stamp = timestamp_s.to_bytes(_TIMESTAMP_BYTES)
        return _line(self.verifier, stamp + self._key.sign(_cosigned(text, timestamp_s)))


def sign_note(text: bytes, signers: Iterable[Signer]) -> bytes:
    """The note: this text, signed by each of them. Raises `ValueError` without a signer, and for what cannot be the text of a note."""
    lines = [signer.sign(text) for signer in signers]
    if not lines:
        raise ValueError("a note has at least one signature")
    return text + b"\n" + b"".join(lines)


def add_signatures(note: bytes, lines: Iterable[bytes]) -> bytes:
    """The note with these signature lines at its end, but for those of keys that have signed it. Verifies nothing. Raises `NoteInvalid`."""
    has = {_parse_line(line)[:2] for line in _split(note)[1]}
    for line in lines:
        signer = _parse_line(line.decode().removesuffix("\n"))[:2]
        if signer not in has:
            has.add(signer)
            note += line
    return note


def open_note(unverified: bytes, verifiers: Iterable[Verifier]) -> Note:
    """The note, signed by at least one of these keys and by none of them wrongly or twice.

    Raises `NoteInvalid` otherwise: a note that is malformed, too large, or signed by nobody known.
    """
    known = _by_name(verifiers)
    text, lines = _split(unverified)
    signatures: dict[tuple[str, str], Signature] = {}
    unknown: list[bytes] = []
    for line in lines:
        name, key_id, signature = _parse_line(line)
        verifier = known.get((name, key_id))
        if verifier is None:
            unknown.append(f"{line}\n".encode())
            continue
        if (name, key_id) in signatures:
            raise NoteInvalid(f"`{name}` (key id {key_id}) signs twice")
        signatures[name, key_id] = Signature(name, key_id, verifier.verify(text, signature))
    if not signatures:
        raise NoteInvalid("the note is not signed by any known key")
    return Note(text, tuple(signatures.values()), tuple(unknown))


def text_of(unverified: bytes) -> bytes:
    """The text of a well-formed note, verified by nobody: enough to ask whose it claims to be. Raises `NoteInvalid`."""
    text, lines = _split(unverified)
    for line in lines:
        _parse_line(line)
    return text


def is_key_name(unverified_text: str) -> bool:
    """Whether a key may be called so: not empty, and neither Unicode whitespace, control characters nor `+` in it."""
    return bool(unverified_text) and not any(c.isspace() or c == "+" or c < " " or "\ud800" <= c <= "\udfff" for c in unverified_text)


def _split(unverified: bytes) -> tuple[bytes, Sequence[str]]:
    """The text, which ends in a newline, and the signature lines without theirs."""
    if len(unverified) > NOTE_LIMIT_BYTES:
        raise NoteInvalid(f"a note has at most {NOTE_LIMIT_BYTES} bytes")
    text, gap, block = unverified.rpartition(b"\n\n")  # the last empty line: the text may have others
    if not gap or not block.endswith(b"\n"):
        raise NoteInvalid("a note is text, an empty line and signature lines")
    problem = _text_problem(unverified)
    if problem:
        raise NoteInvalid(problem)
    if block.count(b"\n") > SIGNATURE_LIMIT:
        raise NoteInvalid(f"a note has at most {SIGNATURE_LIMIT} signatures")
    return text + b"\n", block.decode()[:-1].split("\n")


def _parse_line(line: str) -> tuple[str, str, bytes]:
    """Key name, key id and signature. The line holds exactly two spaces, because neither name nor base64 has one."""
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    raw = _from_base64(encoded) if space else None
    if not line.startswith(_DASH) or not is_key_name(name) or raw is None or len(raw) <= _KEY_ID_BYTES:
        raise NoteInvalid("a signature line is a dash, a key name and base64 of key id and signature")
    return name, raw[:_KEY_ID_BYTES].hex(), raw[_KEY_ID_BYTES:]


def _by_name(verifiers: Iterable[Verifier]) -> dict[tuple[str, str], Verifier]:
    """The keys by name and id. Two different ones that share both could be passed off for one another, so they are refused."""
    known: dict[tuple[str, str], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise NoteInvalid(f"two keys are called `{verifier.name}` with key id {verifier.key_id}")
    return known


def _text_problem(text: bytes) -> str | None:
    """Why this cannot be the text of a note, None if it can."""
    if not text.endswith(b"\n"):
        return "the text of a note ends in a newline"
    if any(byte < 0x20 and byte != 0x0A for byte in text):  # noqa: PLR2004  ASCII control characters
        return "a note holds no control characters"
    try:
        text.decode()
    except UnicodeDecodeError:
        return "a note is UTF-8"
    return None


def _verify_public_key(public_key: bytes) -> None:
    if len(public_key) != SEED_BYTES:
        raise NoteInvalid("an Ed25519 public key has 32 bytes")
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)  # without the sign of x
    if y >= _FIELD or y in _SMALL_ORDER_Y:
        raise NoteInvalid("an Ed25519 public key is not a point of large order in its one form")


def _private_key(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != SEED_BYTES:
        raise ValueError("the seed of a signing key has 32 bytes")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _cosigned(text: bytes, timestamp_s: int) -> bytes:
    """What a cosigner of version 1 signs."""
    return b"%stime %d\n%s" % (_COSIGNED, timestamp_s, text)


def _line(verifier: Verifier, signature: bytes) -> bytes:
    return f"{_DASH}{verifier.name} {_to_base64(bytes.fromhex(verifier.key_id) + signature)}\n".encode()


def _to_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _from_base64(text: str) -> bytes | None:
    """The bytes, or None unless this is the one form that they are written in (RFC 4648, sections 3.5 and 4)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _to_base64(raw) == text else None
