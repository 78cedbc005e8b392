"""What a ledger says of credentials: which were issued, with what content, and when each ends.

Read from the envelopes of `admin` records in the log `operator`, so that no key is needed. Such a record names, among its targets:

    Credential::<id>::<SHA-256 (hex) of what was issued>      CredentialEnd::<id>::<UTC microseconds>
    CredentialChange::<id>::<SHA-256 (hex) of what it is from now on>

Rules:

1. A credential is what its last record says. A row without a record was forged, one with another digest was edited, and neither is
   accepted. Only an erasure changes what was issued (ledger/erasure_keys.py).
2. An end only comes closer: where two records end one credential, the earlier end counts. A row that says nothing of it revives nothing.
3. The name of a credential, whom it speaks for and who issued it are in its row and in the record's payload, not in the envelope.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from licet.ledger.record import UNREADABLE
from licet.model import OPERATOR_LOG

_ISSUED = "Credential"
_ENDED = "CredentialEnd"
_CHANGED = "CredentialChange"
_DOMAIN = b"licet-credential-1"
_BETWEEN = b"\0"


class IssuedCredential(Struct, frozen=True, kw_only=True):
    """What was issued: the SHA-256 of the secret, and what it is for (JSON bytes). Times are UTC microseconds."""

    id: str
    digest: bytes
    content: bytes
    created_at: int
    expires_at: int | None = None

    @property
    def mark(self) -> str:
        """How the record of the issue names it, and all of what it is."""
        said = (self.id.encode(), self.digest.hex().encode(), str(self.created_at).encode(), str(self.expires_at).encode(), self.content)
        return f"{_ISSUED}::{self.id}::{hashlib.sha256(_BETWEEN.join((_DOMAIN, *said))).hexdigest()}"


def change_mark(credential: IssuedCredential) -> str:
    """How a record names a credential that is from now on what this one is."""
    return _CHANGED + credential.mark.removeprefix(_ISSUED)


def end_mark(credential: str, ends_at: int) -> str:
    """How a record names a credential that it ends, and when."""
    return f"{_ENDED}::{credential}::{ends_at}"


class _Envelope(Struct, frozen=True):
    log: str
    kind: str
    targets: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Envelope).decode


class Issues:
    """Takes the `admin` records of the log `operator` in their order. `marks` say what each credential is, `ends` when it ends."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}
        self.ends: dict[str, int] = {}

    def take(self, envelope: bytes) -> str | None:
        """One more record. Says what is wrong with it, where something is; one that speaks of no credential says nothing."""
        try:
            found = _decode(envelope)
        except (*UNREADABLE, TypeError):
            return "it cannot be read"
        if found.kind != "admin" or found.log != OPERATOR_LOG:
            return None
        problems = [problem for target in found.targets if (problem := self._take(target)) is not None]
        return problems[0] if problems else None

    def bears_out(self, credential: IssuedCredential) -> bool:
        """Whether this very credential is what the last record about it says (rule 1)."""
        return self.marks.get(credential.id) == credential.mark

    def _take(self, target: str) -> str | None:
        kind, _, rest = target.partition("::")
        credential, _, value = rest.partition("::")
        if kind == _ISSUED:
            if credential in self.marks:
                return f"it issues a credential that was issued before: `{credential}`"
            self.marks[credential] = target
        elif kind == _CHANGED:
            if credential not in self.marks:
                return f"it changes a credential that was not issued: `{credential}`"
            self.marks[credential] = f"{_ISSUED}::{credential}::{value}"
        elif kind == _ENDED:
            if credential not in self.marks or not value.isdecimal():
                return f"it ends a credential that was not issued: `{credential}`"
            self.ends[credential] = min(int(value), self.ends.get(credential, int(value)))
        return None
