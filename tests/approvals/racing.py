"""A process that makes, or decides on, one call of the world in a folder, at the moment at which it is told to.

    python -m tests.approvals.racing FOLDER call AMOUNT
    python -m tests.approvals.racing FOLDER vote REQUEST VOTER VERDICT

It prints `ready` once its gate is open, then waits for a line on its standard input, and prints what came of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from licet.errors import VoteRefused
from licet.gate.results import Ok
from licet.model import RequestId
from tests.world import World, world_on


def act(w: World, arguments: list[str]) -> str:
    match arguments:
        case ["call", amount]:
            result = w.adjust(int(amount))
            return f"ok {len(w.ran)}" if isinstance(result, Ok) else type(result).__name__.lower()
        case ["vote", request, voter, ("approve" | "reject") as verdict]:
            try:
                return f"cast {w.gate.approvals.vote(RequestId(request), voter, verdict).request.state}"
            except VoteRefused as refused:
                return f"refused {refused.code}"
    raise ValueError(arguments)


def main() -> None:
    folder, *arguments = sys.argv[1:]
    with world_on(Path(folder)) as w:
        w.gate.seal()
        print("ready", flush=True)
        sys.stdin.readline()
        print(act(w, arguments), flush=True)


if __name__ == "__main__":
    main()
