"""A process that settles a call and stops at a named place, to be killed there: `python -m tests.gate.settling FOLDER CALL PLACE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from licet.model import CallId
from licet.store import opening
from licet.store.contract import Batch
from licet.store.sqlite import SqliteStore
from licet.store.unsettled import Settle
from tests.gate.mortal import stop
from tests.world import world_on

PLACES = ("before the settlement is written", "settlement written, nobody told")


def main(folder: Path, call: str, place: str) -> None:
    """Settle the call, as far as the place."""

    class Stopping(SqliteStore):
        def commit(self, batches: Sequence[Batch]) -> Any:
            settling = any(isinstance(change, Settle) for batch in batches for change in batch.changes)
            if settling and place == PLACES[0]:
                stop()
            answers = super().commit(batches)
            if settling:
                stop()
            return answers

    vars(opening)["SqliteStore"] = Stopping
    with world_on(folder) as w:
        w.gate.settle(CallId(call), "ok", reason="seen in the bank's list")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
