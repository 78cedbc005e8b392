"""Retention: old payloads are dropped, records stay. Every hash, tree and proof remains as it was.

Rules:

1. Dropped are payloads of the first records of a log, up to the first that is not old enough: a range by index, never by clock alone.
2. Kept are payloads of requests that still wait, of calls that have not ended, of whom or what a legal hold protects, and of the
   records that say what was forgotten.
3. Each transaction drops a bounded number and says in a record which: exactly those that are gone, so that a payload that was kept is
   missed when somebody takes it away later.
4. A crash between two transactions leaves whole ones; the next run goes on.
"""

from __future__ import annotations

from msgspec import Struct

from licet.errors import ConditionLost, StoreUnavailable
from licet.ledger.acts import Operator
from licet.ledger.forgotten import Hold, range_of
from licet.ledger.seal import Filing
from licet.store.contract import DropPayloads, Prunable

_TRIES = 20


class Pruned(Struct, frozen=True):
    """How many payloads of a log were dropped, or would be; `held` is the hold that protects all of it."""

    log: str
    payloads: int
    held: Hold | None = None


def prune(operator: Operator, log: str, before_us: int, reason: str, *, dry_run: bool = False) -> Pruned:
    """The payloads of the log's records before this moment (UTC microseconds) are dropped, but for those of rule 2. Raises `StoreError`."""
    held = next((hold for hold in operator.store.holds() if hold.target is None and hold.log == log), None)
    if held is not None:
        return Pruned(log, 0, held)
    start: int | None = 0
    payloads = 0
    while start is not None:
        found = operator.store.prunable(log, before_us, start) if dry_run else _drop_next(operator, log, before_us, start, reason)
        payloads += found.payloads
        start = found.stop
    return Pruned(log, payloads)


def _drop_next(operator: Operator, log: str, before_us: int, start: int, reason: str) -> Prunable:
    """What was dropped in one transaction."""
    for _ in range(_TRIES):
        found = operator.store.prunable(log, before_us, start)
        if not found.payloads:
            return found
        record = operator.say(
            "erasure",
            log,
            {"reason": reason, "before": before_us, "payloads": found.payloads},
            marks=tuple([range_of(first, last) for first, last in found.runs]),
        )
        try:
            operator.writer.submit(Filing((record,), (DropPayloads(found),))).wait()
        except ConditionLost as lost:
            if lost.condition != "payloads_moved":
                raise
        else:
            return found
    raise StoreUnavailable(f"payloads of log `{log}` are dropped by another process at the same time; try again later")
