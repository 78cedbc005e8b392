"""A process that proposes a payment, says which call was permitted, and then waits to be killed: `python -m tests.gate.proposer FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.gate.remoting import permitted, remote_world_on


def main(folder: Path) -> None:
    with remote_world_on(folder) as world:
        sys.stdout.write(f"{permitted(world, idempotency_key='once').call}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
