"""The part of a store's contract that stops calls: freezes, and decisions that rest on what is not in force any more.

Rules:

1. A freeze stands from the record that places it until the record that lifts it. Each change is in the batch of its record.
2. An intent is refused in its own transaction where a freeze stops its call (`frozen`): what is committed after the record of a freeze
   knows of it, in whatever process. While nothing is frozen this costs no statement of its own.
3. Rows are projections of records, for speed. Whoever asks what stands gets rows and records of one moment, and holds them against each
   other (gate/freeze_view.py): a row that somebody has deleted lifts nothing.
4. An intent is refused where its process has put something else into force since its call was decided (`not_in_force`). That is looked at
   while its group is written. A process's groups follow each other, so whoever swaps first and then waits for a batch of their own knows:
   no later group holds an intent that rests on what was in force before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from licet.ledger.frozen import Called, Freeze

if TYPE_CHECKING:
    from licet.store.contract import StoredRecord


class PutFreeze(Struct, frozen=True):
    """The record in this batch freezes something. Condition `freeze_exists`: there is no row of this id."""

    freeze: Freeze


class LiftFreeze(Struct, frozen=True):
    """The record in this batch lifts a freeze. Condition `not_frozen`: it stands."""

    freeze: str


class RefuseFrozen(Struct, frozen=True, gc=False):
    """The intent in this batch is of this call. Condition `frozen`: nothing stops it. Tried before every other condition."""

    call: Called


class InForce(Struct, frozen=True, gc=False):
    """This batch rests on `decided_by`. Condition `not_in_force`: that very object is in force in this process. Writes nothing."""

    decided_by: object
    now: Callable[[], object]

    @property
    def holds(self) -> bool:
        """Whether it is in force at this moment."""
        return self.now() is self.decided_by


NOT_IN_FORCE = "what this was decided by is not in force any more"

FreezeChange = PutFreeze | LiftFreeze | RefuseFrozen | InForce


class FreezeRows(Struct, frozen=True):
    """The rows as they are at one moment, and how many `freeze` records there are; their envelopes, unless they were known."""

    rows: tuple[Freeze, ...]
    count: int
    envelopes: tuple[bytes, ...] | None


class FreezeReading(Protocol):
    """What a store can be asked about freezes."""

    def freezes(self, known: int = -1) -> FreezeRows:
        """Rows and records of one moment; without the envelopes where there are `known` records."""
        ...

    def find_freeze_record(self, freeze: str) -> StoredRecord | None:
        """The `freeze` record that has this id."""
        ...
