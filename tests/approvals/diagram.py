"""The diagram and the table of moves in docs/approvals.md, made from `approvals/states.py`.

`python -m tests.approvals.diagram` writes them anew. When a move happens is said here, since the table of the code does not know.
"""

from __future__ import annotations

import re
from pathlib import Path

from licet.approvals.states import TRANSITIONS, Event
from licet.model import RequestState

PAGE = Path(__file__).parents[2] / "docs" / "approvals.md"
_PART = re.compile(r"```mermaid\nstateDiagram-v2\n.*?\n\nWhatever is not in this table", re.DOTALL)

_S = RequestState
WHEN: dict[tuple[RequestState, Event], str] = {
    (_S.OPEN, Event.APPROVE): "a vote that makes it enough; one that is not yet enough moves nothing",
    (_S.OPEN, Event.REJECT): "one rejection",
    (_S.OPEN, Event.EXPIRE): "its time is over, and somebody looks",
    (_S.OPEN, Event.WITHDRAW): (
        "the user it was made for, or its caller, takes it back; its [plan](plans.md) has stopped; or somebody or something that it is about "
        "was [erased](erasure.md)"
    ),
    (_S.OPEN, Event.SUPERSEDE): "the call was made again, and the policies ask for something else by now",
    (_S.APPROVED, Event.REOPEN): "a vote was taken back, or went with its voter out of the group, and the others are not enough",
    (_S.APPROVED, Event.CONSUME): "the call runs: in the transaction that records its intent",
    (_S.APPROVED, Event.EXPIRE): "as above",
    (_S.APPROVED, Event.WITHDRAW): "as above",
    (_S.APPROVED, Event.SUPERSEDE): "as above; or what the call would change has changed, or a vote no longer counts",
}


def part() -> str:
    """The part of the page that says how requests move."""
    arrows = [f"    {source} --> {target}: {event}" for (source, event), target in TRANSITIONS.items()]
    rows = [f"| `{source}` | `{event}` | `{target}` | {WHEN[source, event]} |" for (source, event), target in TRANSITIONS.items()]
    table = ["| from | event | to | when |", "|---|---|---|---|", *rows]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```", "", *table, "", "Whatever is not in this table"])


def page() -> str:
    """The page as it should be."""
    return _PART.sub(lambda _: part(), PAGE.read_text(encoding="utf-8"), count=1)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
