"""The calls of a workflow as a tree: who handed over to whom, as far as what callers say of their parents can be believed.

Rules:

1. A parent is a claim. One that is not here, is the call itself, or closes a circle makes the call a root, and that is said.
2. A span is looked for in the log of the call alone: what another tenant calls the same is another.
3. Nothing here recurses: a chain of two thousand parents is a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from licet.console.looks import ALLOW, DENY, ERROR, HOLD, OUTCOMES, UNKNOWN, Look
from licet.ledger.entries import Entry
from licet.ledger.wording import who

RUNNING: Final = Look("unsealed", "Running")
_FIRST: Final = frozenset({"intent", "call", "denial", "hold"})
BAD: Final = frozenset({"deny", "hold", "unknown", "error"})
Odd = Literal["", "parent not here", "parents form a circle"]


class Span(Struct, kw_only=True):
    """One call: where its record is, who called what, from when to when (UTC microseconds), and how it ended.

    `depth` and `odd` are given by `in_order`. `index` is of its last record, `first` of the one with its arguments. `waited_until` is the
    end of a wait for people.
    """

    log: str
    index: int
    first: int
    call: str
    tool: str
    caller: str
    start: int
    end: int
    look: Look
    span_id: str | None = None
    parent: str | None = None
    attempt: int | None = None
    request: str | None = None
    waited_until: int | None = None
    is_open: bool = False
    is_running: bool = False
    repeats: int = 0
    depth: int = 0
    odd: Odd = ""
    hands_over: bool = False
    early: bool = False

    @property
    def is_bad(self) -> bool:
        """Denied, held, failed, or nobody knows."""
        return self.look.name in BAD


def spans_of(entries: Iterable[Entry], now_us: int) -> list[Span]:
    """A span for each call of these records, in order of time."""
    by_call: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.envelope.call is not None and entry.envelope.kind in {*_FIRST, "outcome", "recovery"}:
            by_call.setdefault((entry.log, entry.envelope.call), []).append(entry)
    found = [_span(sorted(each, key=lambda one: one.index), now_us) for each in by_call.values()]
    return sorted(found, key=lambda span: (span.start, span.log, span.index))


def _span(entries: Sequence[Entry], now_us: int) -> Span:
    first = entries[0].envelope
    ended = next((one for one in reversed(entries) if one.envelope.outcome is not None or one.envelope.kind == "recovery"), None)
    start, end = first.at, first.at
    look, is_running = _look(entries[0]), False
    if ended is not None:
        outcome = ended.envelope.outcome
        took = 0 if outcome is None or outcome.duration_us is None else outcome.duration_us
        end = max(start + took, start if ended is entries[0] else ended.envelope.at)
        look = UNKNOWN if outcome is None else _ended(outcome.status)
    elif first.kind == "intent":
        look, is_running, end = RUNNING, True, max(start, now_us)
    actor, tool, trace = first.actor, first.tool, first.trace
    return Span(
        log=entries[0].log,
        index=(ended or entries[0]).index,
        first=entries[0].index,
        call=str(first.call),
        tool=tool.name if tool is not None else first.kind,
        caller="nobody" if actor is None else who(actor.agent, actor.service, actor.user),
        start=start,
        end=end,
        look=look,
        span_id=None if trace is None else trace.span_id,
        parent=None if trace is None else trace.parent,
        attempt=first.attempt,
        request=None if first.approval is None else first.approval.request,
        is_running=is_running,
        repeats=(first.decision.count or 0) if first.decision is not None else 0,
    )


def _look(entry: Entry) -> Look:
    return {"denial": DENY, "hold": HOLD}.get(entry.envelope.kind, ALLOW)


def _ended(status: str) -> Look:
    return ALLOW if status == "ok" else ERROR if status == "error" else OUTCOMES.get(status, UNKNOWN)


def in_order(spans: Sequence[Span]) -> list[Span]:
    """The spans with their depths, each behind the one that it says has called it; brothers by time."""
    owners: dict[tuple[str, str], int] = {}
    for number, span in enumerate(spans):
        if span.span_id is not None:
            owners.setdefault((span.log, span.span_id), number)
    parents = [_parent_of(span, number, owners) for number, span in enumerate(spans)]
    for number in _circles(parents):
        parents[number] = None
        spans[number].odd = "parents form a circle"
    children: dict[int | None, list[int]] = {}
    for number, parent in enumerate(parents):
        children.setdefault(parent, []).append(number)
    found: list[Span] = []
    waiting = [(number, 0) for number in reversed(children.get(None, []))]
    while waiting:
        number, depth = waiting.pop()
        span, parent = spans[number], parents[number]
        span.depth = depth
        if parent is not None:
            span.hands_over = span.caller != spans[parent].caller
            span.early = span.start < spans[parent].start
        found.append(span)
        waiting += [(child, depth + 1) for child in reversed(children.get(number, []))]
    return found


def _parent_of(span: Span, number: int, owners: dict[tuple[str, str], int]) -> int | None:
    if span.parent is None:
        return None
    owner = owners.get((span.log, span.parent))
    if owner is None:
        # The span of whoever began it all is often no call of Licet: only a tree that has others is told to miss one.
        span.odd = "parent not here"
        return None
    if owner == number:
        span.odd = "parents form a circle"
        return None
    return owner


def _circles(parents: Sequence[int | None]) -> list[int]:
    """Of each circle the member that comes first: it becomes a root, and the others hang below it."""
    state = [0] * len(parents)  # 0 not seen, 1 on the way, 2 leads to a root
    found: list[int] = []
    for start in range(len(parents)):
        way: list[int] = []
        here: int | None = start
        while here is not None and state[here] == 0:
            state[here] = 1
            way.append(here)
            here = parents[here]
        if here is not None and state[here] == 1:
            found.append(min(way[way.index(here) :]))
        for each in way:
            state[each] = 2
    return found


def settle_waits(spans: Iterable[Span], ends: dict[str, int | None], now_us: int) -> None:
    """How long each held call waited for people: `ends` has, by request, when it was decided; None while it is open."""
    for span in spans:
        if span.look is HOLD and span.request in ends:
            end = ends[span.request]
            end = None if end is not None and end > now_us else end  # decided after this moment
            span.is_open = end is None
            span.waited_until = max(span.start, now_us if end is None else end)
