"""The secrets of subjects: pseudonyms, payload keys, and the digests that nobody can guess back.

A **subject** is a person or a target of one tenant. It has one random secret of 32 bytes, made when it is first written about. Everything
that could lead back to it hangs on that secret, and erasing the subject destroys it.

    pseudonym   = HMAC-SHA256(secret, "licet pseudonym v1" NUL tenant NUL type NUL id), first 16 bytes, hex
    log secret  = the secret of the subject (log, "Log", log)
    payload key = HKDF-SHA256(ikm = log secret || secrets of the payload's subjects, salt = info = "licet payload v1", 32)    RFC 5869
    label key   = HKDF-Expand-SHA256(prk = log secret, info = "licet <label> v1", 32)
    lookup      = HMAC-SHA256(label key "lookup" of the tenant, type NUL id);  of a log: SHA-256("licet log" NUL log)
    blind       = HMAC-SHA256(label key of the log, text), first 16 bytes, hex
    sealed      = nonce (12) || AES-256-GCM(payload key, nonce, salt (32) || payload, aad)              NIST SP 800-38D
    aad         = "licet payload v1" NUL log NUL kind NUL call (empty where there is none) NUL id

Rules:

1. A payload opens only while the secrets of all its subjects exist: whoever of them is erased takes it along.
2. What a row outside the payload must be found by (idempotency keys, request keys, people who voted) stands there as a blind: the same
   text gives the same blind within one log, and without the log's secret nobody can try texts.
3. A secret is durable before, or together with, the first record that rests on it: a batch carries its row until one has been committed.
4. Two processes that make a secret for one subject at the same moment end with one: the second batch is refused (`secrets_moved`) and
   sealed anew. So is a batch that was sealed before an erasure it did not see.
5. A row is believed only where its pseudonym is that of the subject it was found for: who swaps two rows' lookups is found out before a
   record is written about the wrong one (`SecretBroken`).
6. Nonces are random, 96 bits: one key seals fewer than 2^32 payloads (SP 800-38D, section 8.3), since it belongs to one subject.
7. Only what writes makes secrets. A secret that is not known to be durable seals and opens nothing but what this process writes itself:
   another process may have made the one that counts.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from licet.errors import SecretBroken
from licet.ledger.entropy import NONCE_BYTES, SALT_BYTES, draw_nonce
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.record import parse_ref
from licet.model import EntityRef

LOG_TYPE = "Log"
"""No target has this type: it is reserved (`catalog/names.py`), or erasing a target could take the secret of its log."""
PSEUDONYM_BYTES = 16
_CACHED = 20_000
"""Subjects, and ciphers, that are kept in memory; about 400 bytes each."""
_PENDING = 50_000
"""Secrets that are kept in memory because they are not durable yet; about 1 KiB each. A store that cannot be written makes them many."""

_CIPHERS = 4_096
"""Kept likewise; one takes 2.4 KiB, and 6 microseconds to make again."""

_digest = hmac.digest


class Subject(Struct, frozen=True):
    """A person (`User`) or a target, as its tenant knows it."""

    tenant: str
    type: str
    id: str


class SecretRow(Struct, frozen=True):
    """A subject's secret as it lies in the store, wrapped by the key-encryption key `key`."""

    pseudonym: str
    tenant: str
    lookup: bytes
    key: str
    wrapped: bytes


class SecretRows(Protocol):
    """What a vault reads of its store."""

    def find_secret(self, lookup: bytes) -> SecretRow | None:
        """The row of a subject."""
        ...

    def find_secret_of(self, pseudonym: str) -> SecretRow | None:
        """The row behind a pseudonym."""
        ...


class Held(Struct, frozen=True):
    """A subject's secret in memory; `ref` is its `Type::"id"`, and `row` is there while it is not known to be durable."""

    pseudonym: str
    secret: bytes
    row: SecretRow | None
    ref: str


class Opened(Struct, frozen=True):
    """A payload that was decrypted, and the salt of its commitment."""

    salt: bytes
    payload: bytes


class Vault:
    """Seals and opens payloads under the secrets in one store. Safe for threads."""

    def __init__(self, keys: KeyEncryptionKeys, rows: SecretRows) -> None:
        self._keys = keys
        self._rows = rows
        self._making = threading.RLock()
        self.generation = 0
        self._forget()

    def _forget(self) -> None:
        self._held: dict[tuple[str, str, str], Held] = {}
        self._pending: dict[str, tuple[str, str, str]] = {}
        self._owners: dict[str, Held] = {}
        self._secrets: dict[str, bytes] = {}
        self._fitting: set[tuple[str, str]] = set()
        self._ciphers: dict[tuple[str, tuple[str, ...]], AESGCM] = {}
        self._labels: dict[tuple[str, str], bytes] = {}

    def refresh(self, generation: int) -> None:
        """Nothing that was learned before this generation of secrets is believed any more: some of it has been erased."""
        with self._making:
            self._forget()
            self.generation = generation

    def hold(self, subject: Subject) -> Held:
        """The subject's secret; a new one where it has none, whose row then goes with every batch until one is durable."""
        name = (subject.tenant, subject.type, subject.id)
        return self._held.get(name) or self._take(name)

    def hold_log(self, log: str) -> Held:
        """The secret of a log."""
        name = (log, LOG_TYPE, log)
        return self._held.get(name) or self._take(name)

    def confirm(self, rows: Sequence[SecretRow]) -> None:
        """These rows are durable."""
        if not rows:
            return
        with self._making:
            for row in rows:
                name = self._pending.pop(row.pseudonym, None)
                held = self._held.get(name) if name is not None else None
                if name is not None and held is not None and held.pseudonym == row.pseudonym:
                    self._held[name] = Held(held.pseudonym, held.secret, None, held.ref)

    def blind(self, log: str, label: str, text: str) -> str:
        """The digest (32 hex digits) by which rows of this log find the text, and from which nobody without its secret finds the text."""
        return _blind(self.label_key(log, label), text)

    def find_blind(self, log: str, label: str, text: str) -> str | None:
        """As `blind`; None where the log has no durable secret, so that no row of it can hold the text. Makes nothing."""
        owner = self._find_owner(log)
        return None if owner is None else _blind(self._label_key(owner, label), text)

    def label_key(self, log: str, label: str) -> bytes:
        """The log's key (32 bytes) for one purpose."""
        return self._label_key(self.hold_log(log), label)

    def _label_key(self, owner: Held, label: str) -> bytes:
        name = (owner.pseudonym, label)  # not the log's name: another process may have made the secret that counts
        found = self._labels.get(name)
        if found is None:
            found = self._labels[name] = expand(owner.secret, f"licet {label} v1".encode())
        return found

    def find_pseudonym(self, subject: Subject) -> str | None:
        """The subject's pseudonym, if it was ever written about and not erased since. Makes nothing."""
        with self._making:
            row = self._find_row((subject.tenant, subject.type, subject.id))
        return None if row is None else row.pseudonym

    def unwrap(self, key: str, wrapped: bytes, tenant: str, name: str) -> bytes:
        """A secret that is kept like those of subjects (`KeyEncryptionKeys.unwrap`)."""
        return self._keys.unwrap(key, wrapped, tenant, name)

    def fits(self, pseudonym: str, ref: str) -> bool:
        """Whether the pseudonym is that of `Type::"id"`, and found by it; True where its secret is gone, since then nobody can tell."""
        if (pseudonym, ref) in self._fitting:
            return True
        row = self._rows.find_secret_of(pseudonym)
        if row is None:
            return True
        named = parse_ref(ref)
        try:
            fits = pseudonym_of(self._unwrap(row), Subject(row.tenant, named.type, named.id)) == pseudonym
            fits = fits and self._lookup((row.tenant, named.type, named.id)) in {row.lookup, None}
        except SecretBroken:
            return False
        if fits and len(self._fitting) < _CACHED:
            self._fitting.add((pseudonym, ref))
        return fits

    def seal(self, log: str, subjects: tuple[Held, ...], aad: bytes, salt: bytes, payload: bytes) -> bytes:
        """The payload and its salt under the secrets of its log and subjects."""
        owner = self.hold_log(log)
        name = (owner.pseudonym, tuple([held.pseudonym for held in subjects]))
        cipher = self._ciphers.get(name)
        if cipher is None:
            cipher = self._keep_cipher(name, [owner.secret, *(held.secret for held in subjects)])
        nonce = draw_nonce()
        return nonce + cipher.encrypt(nonce, salt + payload, aad)

    def open(self, log: str, subjects: tuple[str, ...], aad: bytes, sealed: bytes) -> Opened | None:
        """The payload; None where a secret that it needs is gone.

        Raises `ValueError` where the bytes are not those that were sealed, `SecretBroken` where a secret is not what was written.
        """
        cipher = self._find_cipher(log, subjects)
        if cipher is None:
            return None
        try:
            clear = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
        except (InvalidTag, ValueError) as error:
            raise ValueError("the sealed payload is not what was written") from error
        return Opened(clear[:SALT_BYTES], clear[SALT_BYTES:])

    def _find_cipher(self, log: str, subjects: tuple[str, ...]) -> AESGCM | None:
        owner = self._find_owner(log)
        if owner is None:
            return None
        name = (owner.pseudonym, subjects)
        found = self._ciphers.get(name)
        if found is not None:
            return found
        secrets = [owner.secret, *(self._find_secret(pseudonym) for pseudonym in subjects)]
        present = [secret for secret in secrets if secret is not None]
        return self._keep_cipher(name, present) if len(present) == len(secrets) else None

    def _keep_cipher(self, name: tuple[str, tuple[str, ...]], secrets: Sequence[bytes]) -> AESGCM:
        made = AESGCM(payload_key(secrets))
        if len(self._ciphers) >= _CIPHERS:
            self._ciphers.clear()
        self._ciphers[name] = made
        return made

    def _find_owner(self, log: str) -> Held | None:
        """The durable secret of a log (rule 7)."""
        found = self._owners.get(log)
        if found is None:
            with self._making:
                name = (log, LOG_TYPE, log)
                row = self._rows.find_secret(log_lookup(log))
                if row is None:
                    return None
                found = self._owners[log] = self._held_by(row, name)
        return found

    def _find_secret(self, pseudonym: str) -> bytes | None:
        secret = self._secrets.get(pseudonym)
        if secret is None:
            row = self._rows.find_secret_of(pseudonym)
            if row is None:
                return None
            secret = self._keep(pseudonym, self._unwrap(row))
        return secret

    def _take(self, name: tuple[str, str, str]) -> Held:
        with self._making:
            held = self._held.get(name)
            if held is None:
                row = self._find_row(name)
                held = self._remember(name, self._make(name) if row is None else self._held_by(row, name))
            return held

    def _remember(self, name: tuple[str, str, str], held: Held) -> Held:
        """The subject is held from now on; others are given up where there are too many, but for logs.

        One that is given up before it is durable gets another secret when it is written about again. Whichever is committed first
        counts, and what rests on the other is sealed anew (rule 4).
        """
        if held.row is not None:
            if len(self._pending) >= _PENDING:
                self._held = {key: kept for key, kept in self._held.items() if kept.row is None or key[1] == LOG_TYPE}
                self._pending = {gone: key for gone, key in self._pending.items() if key[1] == LOG_TYPE}
            self._pending[held.pseudonym] = name
        elif len(self._held) - len(self._pending) >= _CACHED:
            self._held = {key: kept for key, kept in self._held.items() if kept.row is not None or key[1] == LOG_TYPE}
        self._held[name] = held
        self._keep(held.pseudonym, held.secret)
        return held

    def _find_row(self, name: tuple[str, str, str]) -> SecretRow | None:
        lookup = self._lookup(name)
        return None if lookup is None else self._rows.find_secret(lookup)

    def _lookup(self, name: tuple[str, str, str], *, make: bool = False) -> bytes | None:
        """Where the row of a subject is found. None where its log has no secret, so that it has none either."""
        tenant, kind, id_ = name
        if kind == LOG_TYPE:
            return log_lookup(tenant)
        owner = self._held.get((tenant, LOG_TYPE, tenant)) or self._find_owner(tenant)
        if owner is None:
            if not make:
                return None
            owner = self._make_owner(tenant)
        return _digest(self._label_key(owner, "lookup"), f"{kind}\0{id_}".encode(), "sha256")

    def _make_owner(self, log: str) -> Held:
        name = (log, LOG_TYPE, log)
        return self._remember(name, self._make(name))

    def _make(self, name: tuple[str, str, str]) -> Held:
        """A new secret, in memory only so far."""
        lookup = self._lookup(name, make=True)
        assert lookup is not None
        secret = os.urandom(32)
        pseudonym = pseudonym_of(secret, Subject(*name))
        wrapped = self._keys.wrap(secret, name[0], pseudonym)
        return Held(pseudonym, secret, SecretRow(pseudonym, name[0], lookup, self._keys.current, wrapped), _ref(name))

    def _held_by(self, row: SecretRow, name: tuple[str, str, str]) -> Held:
        """What the row holds, which was found for this subject (rule 5)."""
        secret = self._unwrap(row)
        if pseudonym_of(secret, Subject(*name)) != row.pseudonym:
            raise SecretBroken("a stored secret belongs to another subject than it was found for; run `licet audit verify`")
        return Held(row.pseudonym, secret, None, _ref(name))

    def _unwrap(self, row: SecretRow) -> bytes:
        return self._keys.unwrap(row.key, row.wrapped, row.tenant, row.pseudonym)

    def _keep(self, pseudonym: str, secret: bytes) -> bytes:
        if len(self._secrets) >= _CACHED:
            self._secrets.clear()
        self._secrets[pseudonym] = secret
        return secret


def _ref(name: tuple[str, str, str]) -> str:
    return str(EntityRef(name[1], name[2]))


def pseudonym_of(secret: bytes, subject: Subject) -> str:
    """What stands for the subject in envelopes (32 hex digits)."""
    text = f"licet pseudonym v1\0{subject.tenant}\0{subject.type}\0{subject.id}"
    return _digest(secret, text.encode(), "sha256")[:PSEUDONYM_BYTES].hex()


def _blind(key: bytes, text: str) -> str:
    return _digest(key, text.encode(), "sha256")[:PSEUDONYM_BYTES].hex()


def log_lookup(log: str) -> bytes:
    """Where the row of a log's secret is found: names of logs are no secret."""
    return hashlib.sha256(b"licet log\0" + log.encode()).digest()


def payload_key(secrets: Sequence[bytes]) -> bytes:
    """The key (32 bytes) under the log's secret and those of the subjects, in this order."""
    return expand(_digest(b"licet payload v1", b"".join(secrets), "sha256"), b"licet payload v1")


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand with SHA-256 to 32 bytes, which is its first block (RFC 5869, section 2.3)."""
    return _digest(key, info + b"\x01", "sha256")


def payload_aad(log: str, kind: str, call: str | None, record: str) -> bytes:
    """What a sealed payload is bound to: it opens nowhere else."""
    return f"licet payload v1\0{log}\0{kind}\0{call or ''}\0{record}".encode()
