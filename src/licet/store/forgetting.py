"""The part of a store's contract that takes things away: erasure, retention, holds, changes of keys, and a beginning anew.

Rules:

1. Each of these changes stands in a batch with the record that says so: both are durable together, or neither is.
2. What was found outside the transaction is looked at again inside it. Where it has moved, the batch is lost and the search goes on from
   where it had come to.
3. What is destroyed is overwritten where it lies. A copy may be left in the unused part of a page that rows were moved out of, until
   `rewrite` has written all pages anew, and in the write-ahead log, until `cut_log` has emptied it: in this order nothing is left.
4. A secret that was destroyed raises the store's generation: every process that sealed under it, or knows it, seals anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from licet.ledger.forgotten import Hold
from licet.ledger.vault import SecretRow, Subject
from licet.model import CallId, RequestId


class SealedRow(Struct, frozen=True, gc=False):
    """A record whose payload a pseudonym seals. `place` is the store's own; `acted` says whether the pseudonym is that of its user."""

    place: int
    kind: str
    call: CallId | None
    request: RequestId | None
    acted: bool
    voted: bool


class LiveRequest(Struct, frozen=True):
    """A request that waits or is approved, in the log of its tenant."""

    id: RequestId
    log: str
    call: CallId | None


class Sealed(Struct, frozen=True):
    """Everything that a pseudonym seals, among the records up to `ends` (the store's own places).

    `payloads` counts what is still there, `logs` are the logs in which it lies, `live` the requests that it is about or rests on, and
    `open_calls` the calls that have begun and not ended.
    """

    pseudonym: str
    rows: tuple[SealedRow, ...]
    ends: Mapping[int, int]
    payloads: int
    logs: tuple[str, ...]
    live: tuple[LiveRequest, ...]
    open_calls: int


class Prunable(Struct, frozen=True):
    """Payloads of one log that may be dropped: runs of indexes, both ends included, in which nothing else is, and how many there are.

    `stop` is the index from which to look for more; None when there are no more.
    """

    log: str
    runs: tuple[tuple[int, int], ...]
    payloads: int
    stop: int | None


class KeyUse(Struct, frozen=True):
    """A key-encryption key, and how many secrets of subjects and seeds of signing keys it wraps; `retired`: it may wrap no more."""

    key: str
    secrets: int
    signing_keys: int
    retired: bool


class DestroySecret(Struct, frozen=True):
    """Destroy a subject's secret, every payload that it seals, and the blinds that lead back to it. `target` is `Type::pseudonym`.

    Conditions: its secret is there (`secret_gone`), no hold protects it or a log in which its payloads lie (`held`), nothing was recorded
    about it since `sealed` (`sealed_since`).
    """

    log: str
    target: str
    sealed: Sealed


class DropPayloads(Struct, frozen=True):
    """Drop these payloads, and keep their records. Condition `payloads_moved`: they are those that were found, and none is held."""

    prunable: Prunable


class PlaceHold(Struct, frozen=True):
    """A hold stands from now on. Condition `secret_gone`: who is to be protected has a secret."""

    hold: Hold


class ReleaseHold(Struct, frozen=True):
    """A hold stands no more. Condition `hold_gone`: it stood."""

    hold: str


class RetireKeys(Struct, frozen=True):
    """From now on no secret is wrapped under these keys: a process that has no other writes about nobody new."""

    keys: tuple[str, ...]


class Rewrapped(Struct, frozen=True):
    """A secret, or the seed of a signing key, under another key: which row, under which key it was, and how it lies there from now on."""

    name: str
    former: str
    key: str
    wrapped: bytes


class Rewrap(Struct, frozen=True):
    """These rows are wrapped anew. A row that is not there any more, or under another key already, is left alone."""

    secrets: tuple[Rewrapped, ...] = ()
    signing_keys: tuple[Rewrapped, ...] = ()


class BeginAnew(Struct, frozen=True):
    """The head log begins anew under another origin and another key. Condition `origin_moved`: the origin was `former`."""

    former: str
    origin: str
    vkey: str
    key: str
    wrapped: bytes


ForgettingChange = DestroySecret | DropPayloads | PlaceHold | ReleaseHold | RetireKeys | Rewrap | BeginAnew


class Forgetting(Protocol):
    """What a store can be asked about that may go, and must not."""

    def find_pseudonym(self, subject: Subject) -> str | None:
        """The subject's pseudonym, if it was ever written about and not erased since. Raises `KeyUnavailable` without a key."""
        ...

    def sealed_under(self, pseudonym: str, known: Sealed | None = None) -> Sealed:
        """Everything that this pseudonym seals; goes on from what was known. Reads every record since."""
        ...

    def prunable(self, log: str, before_us: int, start: int = 0) -> Prunable:
        """The next payloads, from this index on, of records before this moment (UTC microseconds), up to the first that is not, or a bound.

        Without those of live requests, open calls and held subjects, and without what says that something was forgotten.
        """
        ...

    def holds(self) -> tuple[Hold, ...]:
        """Every hold that stands."""
        ...

    def erasures(self) -> dict[str, tuple[str, str]]:
        """Log and target (`Type::pseudonym`) of everybody who was erased, by pseudonym."""
        ...

    def present_secrets(self, pseudonyms: Sequence[str]) -> tuple[str, ...]:
        """Those of the pseudonyms that have a secret."""
        ...

    def key_uses(self) -> tuple[KeyUse, ...]:
        """Every key-encryption key under which something lies, or which was retired."""
        ...

    def secrets_not_under(self, key: str, limit: int) -> tuple[SecretRow, ...]:
        """Secrets that other keys wrap."""
        ...

    def rewrite(self, limit_bytes: int | None = None) -> bool:
        """Whether every page was written anew, so that none keeps a copy of a row that was moved out of it. False where the file is larger.

        Holds up every writer meanwhile: about a second for 200 MB.
        """
        ...

    def cut_log(self, timeout_s: float = 10.0) -> bool:
        """Whether the write-ahead log is empty now, so that nothing that was overwritten lives on in it. False while others read it."""
        ...
