"""The part of a store's contract that is signed: the head log, its checkpoints, and the keys that sign them.

Rules:

1. An entry of the head log is the root of one log as of the group in which it was appended: it speaks of durable records only.
2. A checkpoint stands beside the tree that it signs, and is replaced only by one of the same size with more signatures.
3. Whoever signs next was endorsed by whoever signed before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class AppendHead(Struct, frozen=True):
    """The root of every log that has grown since becomes a leaf of the head log, as of this group. `at` is UTC microseconds."""

    at: int


class PutCheckpoint(Struct, frozen=True):
    """Keep a signed checkpoint of the head log at this size, in place of one that is there if it has more signatures.

    Not kept where `vkey`, which signed it, does not sign any more.
    """

    size: int
    at: int
    note: bytes
    vkey: str


class PutSigningKey(Struct, frozen=True):
    """From now on this key signs. `endorsement` is the handover's note, at head log size `size`.

    Condition `signing_key_moved`: there are `seen` keys so far, and the head log has not grown since.
    """

    vkey: str
    key: str
    wrapped: bytes
    seen: int
    size: int
    endorsement: bytes | None = None


HeadChange = AppendHead | PutCheckpoint | PutSigningKey


class HeadState(Struct, frozen=True):
    """The head log's tree; `checkpoint` is the size of its newest checkpoint; `grown` says whether a log has grown since its last leaf.

    `vkey` names the key that signs now; None where nothing was signed yet.
    """

    origin: str
    size: int
    compact_range: tuple[bytes, ...]
    checkpoint: int
    grown: bool
    vkey: str | None


class StoredCheckpoint(Struct, frozen=True):
    """A checkpoint of the head log as it is kept; `at` is UTC microseconds."""

    size: int
    at: int
    note: bytes


class SigningKey(Struct, frozen=True):
    """A key that signs checkpoints, its seed wrapped by the key-encryption key `key`."""

    vkey: str
    key: str
    wrapped: bytes
    endorsement: bytes | None


class HeadReading(Protocol):
    """What a store can be asked about its head log."""

    def head(self) -> HeadState:
        """The head log as it stands."""
        ...

    def head_entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries of the head log by index, as they are hashed."""
        ...

    def find_head_entry(self, log: str, size: int) -> tuple[int, bytes] | None:
        """The first entry, with its index, that puts a root of this log at this size or a larger one into the head log."""
        ...

    def find_tile(self, level: int, n: int) -> bytes | None:
        """A full tile of the head log (`TileReader` of ledger/tiles.py)."""
        ...

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        """Leaf hashes of the head log (32 bytes each)."""
        ...

    def checkpoints(self, *, from_size: int = 0, limit: int = 1) -> tuple[StoredCheckpoint, ...]:
        """Checkpoints of at least this size, the smallest first."""
        ...

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The checkpoint of the largest size."""
        ...

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Every key that has signed checkpoints, oldest first; the last one signs now."""
        ...
