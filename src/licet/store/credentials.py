"""The part of a store's contract that keeps credentials: digests of secrets, and what they are for.

Rules:

1. No secret is here, only its SHA-256. Whoever reads the table can show nothing.
2. Each issue, each end and each change of a content is in the batch of its record. Rows are projections: whoever accepts a credential
   holds its row against the records (ledger/issued.py), and `verify` does so with all of them.
3. When a credential was used last is operational. It is written now and then, and recorded nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from licet.ledger.issued import IssuedCredential


class PutCredential(Struct, frozen=True):
    """The record in this batch issues a credential. Condition `credential_exists`: there is none of this id or with this digest."""

    credential: IssuedCredential


class EndCredential(Struct, frozen=True):
    """The record in this batch ends a credential at `ends_at` (UTC microseconds). Condition `credential_ended`: it would end later."""

    credential: str
    ends_at: int


class TouchCredentials(Struct, frozen=True):
    """These credentials were used, each at the time beside it (UTC microseconds). Without condition; a time only moves on."""

    used: tuple[tuple[str, int], ...]


class RewriteCredential(Struct, frozen=True):
    """The record in this batch says what a credential is for from now on, and ends it at `ends_at` at the latest, if that is given.

    Condition `credential_moved`: its content is `former` still.
    """

    credential: str
    former: bytes
    content: bytes
    ends_at: int | None = None


CredentialChange = PutCredential | EndCredential | RewriteCredential | TouchCredentials


class StoredCredential(Struct, frozen=True, kw_only=True):
    """The row of a credential. It ends at the earlier of `expires_at` and `ends_at`; times are UTC microseconds."""

    issued: IssuedCredential
    ends_at: int | None = None
    last_used_at: int | None = None


CREDENTIAL_COLUMNS = "id, digest, content, created_at, expires_at, ends_at, last_used_at"


def credential_of(row: Sequence[Any]) -> StoredCredential:
    """A row, its columns in this order, as it is."""
    id_, digest, content, created_at, expires_at, ends_at, last_used_at = row
    issued = IssuedCredential(id=id_, digest=digest, content=content, created_at=created_at, expires_at=expires_at)
    return StoredCredential(issued=issued, ends_at=ends_at, last_used_at=last_used_at)


class CredentialRecords(Struct, frozen=True):
    """The envelopes of `admin` records of the log `operator` from some index on, and the index from which to ask for what follows."""

    envelopes: tuple[bytes, ...]
    next: int


class CredentialReading(Protocol):
    """What a store can be asked about credentials."""

    def find_credential(self, credential: str) -> StoredCredential | None:
        """The row of this id."""
        ...

    def credentials(self) -> tuple[StoredCredential, ...]:
        """Every row, the oldest first."""
        ...

    def credential_records(self, start: int = 0) -> CredentialRecords:
        """What the records say from this index of the log `operator` on, as of one moment."""
        ...
