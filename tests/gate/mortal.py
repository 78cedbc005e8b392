"""A process that governs calls and stops at a named place, to be killed there: `python -m tests.gate.mortal FOLDER PLACE`.

It prints one line for each call that it was told about (what a caller would have been told before the power went), then `stopped`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from licet.gate.results import Ok
from licet.store import opening
from licet.store.contract import Batch
from licet.store.sqlite import SqliteStore
from licet.testing import vote
from tests.world import World, world_on

BEFORE = {"before the intent": "intent", "before the outcome": "outcome", "before a read's record": "call"}
AFTER = {"intent written, nobody told": "intent", "outcome written, nobody told": "outcome"}
PLACES = (*BEFORE, *AFTER, "in the tool", "after everything")


def tell(line: str) -> None:
    """A line for whoever kills this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def stop() -> NoReturn:
    """Say so, and wait to be killed."""
    tell("stopped")
    threading.Event().wait()
    raise AssertionError


def main(folder: Path, place: str) -> None:
    """Make calls until the place is reached."""

    class Stopping(SqliteStore):
        def commit(self, batches: Sequence[Batch]) -> Any:
            kinds = {record.kind for batch in batches for record in batch.records} if armed[0] else set()
            if BEFORE.get(place) in kinds:
                stop()
            answers = super().commit(batches)
            if AFTER.get(place) in kinds:
                stop()
            return answers

    armed = [False]
    vars(opening)["SqliteStore"] = Stopping
    with world_on(folder) as w:
        if place == "in the tool":
            w.gate.registry.tools["billing.adjust"].function = lambda **_: stop() if armed[0] else "adjusted"
        for number in range(3):
            told(w, w.adjust(100 + number, idempotency_key=f"k-{number}"))
        held = w.held(50_000)
        vote(w.gate, held.request, "lena")
        armed[0] = True
        if place == "before a read's record":
            with w.alice():
                told(w, w.gate.call("crm.lookup", {"customer_id": "C-1"}))
        told(w, w.adjust(50_000, idempotency_key="last"))
        stop()


def told(w: World, result: Any) -> None:
    """What the caller knows now must survive."""
    assert isinstance(result, Ok), result
    tell(f"told {result.receipt.log} {result.receipt.index} {result.receipt.leaf}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
