"""What transactions on PostgreSQL wait for, and in which order: the one place that says it.

SQLite has one writer at a time, PostgreSQL any number. A transaction (READ COMMITTED) sees in each of its statements what was committed
before that statement began. So what must still be true at its commit is locked first, and read in a later statement.

Rules:

1. Every group takes what it may wait for in this order:

       the bar         advisory lock `BAR`, shared; alone for what stops calls or takes something away (`needs_bar_alone`), and to declare
                       boots dead
       the outbox      advisory lock `OUTBOX`, where the group has changes of the outbox (`touches_outbox`)
       the trees       rows of `logs` of its records and changes (`logs_of`), `FOR UPDATE`, by name; new ones are inserted first, by name
       the secrets     the rows that it brings, inserted by lookup
       ...             its conditions are tried, and its changes made (rule 2)
       the head        the row of `ledger`, `FOR UPDATE`, where it has changes of the head log

   Two groups can then not wait for each other, and PostgreSQL finds no deadlock.
2. What belongs to one tenant (requests, votes, idempotency keys, open and unsettled calls, freezes of its log) changes only in a batch with
   a record in that tenant's log, snapshots and credentials with one in the log `operator`. Its tree is locked by then, so nobody else is at
   those rows. Conditions do not rest on that: each is a statement whose own row count decides, a unique index, or a count under the lock
   of the row that it is about.
3. Who has the bar alone knows that no group of another process is under way, and that whoever comes next sees what it has committed:
   a freeze is in force with its receipt, no record is sealed under a secret that was destroyed meanwhile, a boot that was declared dead
   commits nothing more.
4. PostgreSQL lets nobody overtake who waits for the bar: a freeze waits for the groups under way, never for those that come later.
5. Advisory locks end with their transaction, whichever way it ends. Nothing here outlives a lost connection.
6. What need not be done now is never waited for: old notices go if the outbox is free, and the time at which a credential was used last is
   written if nobody has its row.
"""

from __future__ import annotations

from collections.abc import Iterable

from licet.store.contract import (
    AddVote,
    Batch,
    Change,
    OpenCall,
    OpenRequest,
    TakeBackVote,
    TakeKey,
)
from licet.store.forgetting import BeginAnew, DestroySecret, DropPayloads, PlaceHold, ReleaseHold, RetireKeys, Rewrap
from licet.store.freezes import LiftFreeze, PutFreeze
from licet.store.outbox import OUTBOX_CHANGES
from licet.store.unsettled import MarkUnsettled

SPACE = 0x4C696365
"""`Lice`: the first half of every advisory lock of Licet, so that other programs in the same database have theirs."""
LEASES = SPACE + 1
"""The first half of the locks by which boots show that they live; the second is the boot's number."""
BAR = 1
OUTBOX = 2

SHARE_BAR = f"SELECT pg_advisory_xact_lock_shared({SPACE}, {BAR})"
TAKE_BAR = f"SELECT pg_advisory_xact_lock({SPACE}, {BAR})"
TAKE_OUTBOX = f"SELECT pg_advisory_xact_lock({SPACE}, {OUTBOX})"
TRY_OUTBOX = f"SELECT pg_try_advisory_xact_lock({SPACE}, {OUTBOX})"
TAKE_HEAD = "SELECT FROM ledger FOR UPDATE"

ALONE = (PutFreeze, LiftFreeze, DestroySecret, DropPayloads, PlaceHold, ReleaseHold, RetireKeys, Rewrap, BeginAnew)


def needs_bar_alone(changes: Iterable[Change]) -> bool:
    """Whether no other group may be under way while these are made (rule 3)."""
    return any(isinstance(change, ALONE) for change in changes)


def touches_outbox(changes: Iterable[Change]) -> bool:
    """Whether these need the outbox. Notices that requests leave do not: they are inserted, and collide with nothing."""
    return any(isinstance(change, OUTBOX_CHANGES) for change in changes)


def logs_of(batches: Iterable[Batch]) -> list[str]:
    """The logs whose trees a group locks, in the order in which it does."""
    names: set[str] = set()
    for batch in batches:
        names.update([record.log for record in batch.records])
        for change in batch.changes:
            if isinstance(change, OpenCall | TakeKey | MarkUnsettled):
                names.add(change.log)
            elif isinstance(change, AddVote | TakeBackVote):
                names.add(change.tenant)
            elif isinstance(change, OpenRequest):
                names.add(change.request.tenant)
    return sorted(names)


def begin_text(changes: Iterable[Change]) -> str:
    """The statements that begin a group with these changes: the transaction, the bar, and the outbox where it needs that.

    They go to the server as one message. Whatever is read afterwards is read under the bar: a statement that took the lock and read as well
    would read what was there before it waited.
    """
    known = tuple(changes)
    bar = TAKE_BAR if needs_bar_alone(known) else SHARE_BAR
    return "; ".join(["BEGIN ISOLATION LEVEL READ COMMITTED", bar, *([TAKE_OUTBOX] if touches_outbox(known) else [])])
