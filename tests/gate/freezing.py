"""A process that makes calls until one is denied: `python -m tests.gate.freezing FOLDER read|write`.

It prints `running` once its first call was allowed, then the code and the message of the denial.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from licet.gate.results import Denied, Result
from tests.world import World, world_on

PAUSE_S = 0.01


def main(folder: Path, what: str) -> None:
    """Call until denied."""
    with world_on(folder) as w:
        told = False
        while not isinstance(result := call(w, what), Denied):
            if not told:
                told = True
                tell("running")
            time.sleep(PAUSE_S)
        tell(f"{result.decision.code} {result.decision.message}")


def call(w: World, what: str) -> Result:
    """One read, or one write, of the support agent."""
    if what == "write":
        return w.adjust(1)
    with w.alice():
        return w.gate.call("crm.lookup", {"customer_id": "C-1"})


def tell(line: str) -> None:
    """A line for whoever has started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
