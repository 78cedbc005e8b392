"""What happened to somebody, from the records that name them: one event for each call, told in a sentence.

Rules:

1. An event holds every record of its call: asked, voted on, allowed, done, taken back. It stands where its newest record does.
2. Reads that follow one another by the same agent on one day are one line. Nothing else is folded.
3. Words are ours and facts are the records'. What an agent wrote (its reason) is not told here; the page of the record has it.
4. Nobody is said to have changed anything unless the end was seen, and was good.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from licet.console.looks import DENY, ERROR, HOLD, STATES, UNKNOWN, Look
from licet.console.wording import quoted_value, utc
from licet.gate.undoing import UNDO
from licet.ledger.entries import Entry, message_of, tell
from licet.ledger.wording import counted, listed
from licet.model import UNSEEN, CallId, Effect

Said: TypeAlias = tuple[str, str]
"""A piece of a sentence, and how it stands there: plain, `b` (what matters), or `id` (a name as it is in the log)."""
QUIET: Final = Look("never", "Read")
ABOUT_CALLS: Final = frozenset({"intent", "outcome", "recovery", "hold", "vote", "expiry"})
"""Kinds of which a call has several."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Event(Struct, kw_only=True):
    """A line of the page.

    `log` and `index` are of the record to look at; `reads` and `readers` say of a folded one how often each tool was used, and for whom.
    """

    kind: str
    at: int
    look: Look
    said: tuple[Said, ...]
    log: str
    index: int
    agent: str
    user: str | None = None
    tool: str = ""
    more: str = ""
    effects: tuple[Effect, ...] = ()
    call: CallId | None = None
    request: str | None = None
    undone_at: int | None = None
    undoes: str | None = None
    reads: dict[str, int] = {}
    readers: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many calls it tells of."""
        return sum(self.reads.values()) or 1

    @property
    def is_quiet(self) -> bool:
        """Whether it is a line of one sentence, in small."""
        return self.kind in {"read", "other"}

    @property
    def can_be_undone(self) -> bool:
        """Whether its effects are there to be taken back: what policy, tool and time say to that is found out when it is asked for."""
        whole = bool(self.effects) and all(effect.has_before for effect in self.effects)
        return self.kind == "changed" and whole and self.undone_at is None and self.undoes is None


class Day(Struct):
    """The events of one day (UTC), the newest first."""

    day: date
    events: list[Event]


class Gathered(Struct):
    """The records of one call, the oldest first, and when it was taken back."""

    entries: list[Entry]
    undone_at: int | None = None


def event_of(gathered: Gathered) -> Event:
    """One call as a line."""
    entries = gathered.entries
    by_kind: dict[str, Entry] = {entry.envelope.kind: entry for entry in entries}
    begun = by_kind.get("intent")
    if begun is not None:
        ends = [entry for entry in entries if entry.envelope.kind in {"outcome", "recovery"}]
        return _begun(begun) if not ends else _ended(begun, ends[-1], by_kind, gathered.undone_at)
    if "hold" in by_kind:
        return _held(by_kind, entries)
    last = entries[-1]
    if last.envelope.kind == "denial":
        return _denied(last)
    return _read(last) if last.envelope.kind == "call" else _other(last)


def _begun(begun: Entry) -> Event:
    return _event("begun", begun, Look("unknown", "Running"), _say(begun, "was allowed to use", ", and has not said yet how it ended"))


def _ended(begun: Entry, end: Entry, by_kind: dict[str, Entry], undone_at: int | None) -> Event:
    outcome = end.envelope.outcome
    assert outcome is not None
    more = _approved(by_kind) or message_of(begun).capitalize()
    undoes = begun.detail.get("undoes")
    if outcome.status == "ok":
        verb = "took back what was done with" if undoes else "used"
        tool = _tool(begun).removesuffix(UNDO) if undoes else None
        look = Look("allow", "Done")
        event = _event("changed", begun, look, _say(begun, verb, tool=tool), effects=end.payload.effects, undone_at=undone_at)
        if outcome.deviates:
            more = f"{more}. What it reported is not what was approved"
        elif not end.payload.effects:
            more = f"{more}. {'What it changed cannot be read' if outcome.effects else 'It reported no change'}"
        event.undoes = str(undoes) if undoes else None
    elif outcome.status in UNSEEN:
        event = _event("unknown", begun, UNKNOWN, _say(begun, "tried to use", ", and ", "nobody knows whether it happened"))
        more = f"{_first_of(end.payload.message, 'Its end was not seen')}. Not repeated"
    elif outcome.status == "not_executed":
        event = _event("none", begun, Look("none", "Not executed"), _say(begun, "was allowed to use", ", which was ", "not executed"))
        more = _first_of(end.payload.message, more)
    else:
        event = _event("error", begun, ERROR, _say(begun, "used", ", which ", "failed"))
        more = f"{_first_of(outcome.code, 'It ended with an error')}; what it changed until then is not known"
    event.more, event.at, event.index = sentence(more), end.envelope.at, end.index
    return event


def _approved(by_kind: dict[str, Entry]) -> str:
    approval = by_kind["intent"].envelope.approval
    return f"Approved by {listed(approval.voters)}" if approval is not None and approval.voters else ""


def _held(by_kind: dict[str, Entry], entries: Sequence[Entry]) -> Event:
    """A request that no call has used."""
    hold = by_kind["hold"]
    votes = [one for entry in entries if entry.envelope.kind == "vote" and (one := entry.envelope.approval) is not None]
    request = hold.envelope.approval.request if hold.envelope.approval is not None else None
    ending = next((str(entry.detail.get("event")) for entry in reversed(entries) if entry.envelope.kind == "expiry"), None)
    state = {"withdraw": "withdrawn", "supersede": "superseded", None: None}.get(ending, "expired")
    if any(vote.verdict == "reject" for vote in votes):
        state = "rejected"
    approving = [name for vote in votes if vote.verdict == "approve" for name in vote.voters]
    if state is None:
        look = HOLD
        said = _say(hold, "asks to use", "; the request ", "waits for people" if request else "is held")
    else:
        look = STATES[state]
        said = _say(hold, "asked to use", f"; the request {'' if state == 'expired' else 'was '}", look.word.lower())
    votes_told = f"Approved by {listed(approving)} so far. " if approving and state is None else ""
    nothing = "" if state is None else " Nothing changed."
    more = f"{votes_told}{sentence(message_of(hold))}{nothing}"
    return _event("open" if state is None else "ended", hold, look, said, more=more, request=request, at=entries[-1].envelope.at)


def _denied(denial: Entry) -> Event:
    times = denial.envelope.decision.count if denial.envelope.decision is not None else None
    end = f", {counted(times, 'more time')} within a minute" if times else ""
    said = _say(denial, "tried to use", " and was ", "denied", end)
    return _event("denied", denial, DENY, said, more=sentence(message_of(denial)))


def _read(entry: Entry) -> Event:
    outcome = entry.envelope.outcome
    if outcome is not None and outcome.status != "ok":
        look = UNKNOWN if outcome.status in UNSEEN else ERROR
        return _event("failed", entry, look, _say(entry, "read with", ", which ", "failed"), more=sentence(outcome.code or outcome.status))
    user = entry.envelope.actor.user if entry.envelope.actor is not None else None
    event = _event("read", entry, QUIET, (), reads={_tool(entry): 1}, readers=() if user is None else (user,))
    event.said = _readings(event)
    return event


def _other(entry: Entry) -> Event:
    return _event("other", entry, Look("none", ""), ((tell(entry).sentence, ""), (".", "")))


def _event(kind: str, entry: Entry, look: Look, said: tuple[Said, ...], **more: Any) -> Event:
    envelope = entry.envelope
    actor = envelope.actor
    fields: dict[str, Any] = {
        "at": envelope.at,
        "log": entry.log,
        "index": entry.index,
        "agent": _name(entry),
        "user": actor.user if actor is not None else None,
        "tool": _tool(entry),
        "call": envelope.call,
    }
    return Event(kind=kind, look=look, said=said, **(fields | more))


def _say(entry: Entry, verb: str, and_so: str = "", what: str = "", end: str = "", *, tool: str | None = None) -> tuple[Said, ...]:
    """`support-bot` used `billing.adjust` with amount_cents 50000, on behalf of alice, and so on."""
    actor, name = entry.envelope.actor, _name(entry)
    said: list[Said] = [(name, "b"), (f" {verb} ", ""), (tool or _tool(entry), "id")]
    if told := _numbers(entry):
        said += [(" with ", ""), (told, "")]
    if actor is not None and actor.user is not None and actor.user != name:
        said.append((f", on behalf of {actor.user}", ""))
    said += [(and_so, ""), (what, "b"), (f"{end}.", "")]
    return tuple([one for one in said if one[0]])


def _name(entry: Entry) -> str:
    actor = entry.envelope.actor
    return (actor.agent or actor.service or actor.user if actor is not None else None) or "Somebody"


def _tool(entry: Entry) -> str:
    tool = entry.envelope.tool
    return tool.name if tool is not None else "a tool"


def _numbers(entry: Entry) -> str:
    """How much: the numbers, and yes and no, among the arguments. Texts are on the record's page."""
    raw = bytes(entry.payload.arguments)
    arguments = _decode(raw) if raw else {}
    return listed([f"{name} {quoted_value(value)}" for name, value in arguments.items() if isinstance(value, bool | int | float)])


def _first_of(text: str | None, otherwise: str) -> str:
    return text or otherwise


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return "" if not text else f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def by_days(events: Sequence[Event]) -> list[Day]:
    """The events, the newest first, by day, with reads folded (rule 2)."""
    days: list[Day] = []
    for event in events:
        at = utc(event.at).date()
        if not days or days[-1].day != at:
            days.append(Day(at, []))
        here = days[-1].events
        if here and (here[-1].kind, event.kind) == ("read", "read") and here[-1].agent == event.agent:
            _fold(here[-1], event)
        else:
            here.append(event)
    return days


def _fold(line: Event, other: Event) -> None:
    reads = dict(line.reads)
    for tool, count in other.reads.items():
        reads[tool] = reads.get(tool, 0) + count
    line.reads, line.readers = reads, tuple(dict.fromkeys((*line.readers, *other.readers)))
    line.said = _readings(line)


def _readings(line: Event) -> tuple[Said, ...]:
    """`support-bot` used `crm.lookup` 3 times and `tickets.find` once, on behalf of alice."""
    said: list[Said] = [(f"{line.agent} used ", "")]
    told = list(line.reads.items())
    for number, (tool, count) in enumerate(told):
        between = "" if number == 0 else " and " if number == len(told) - 1 else ", "
        said += [(between, ""), (tool, "id"), (f" {_times(count)}", "")]
    named = [name for name in line.readers if name != line.agent]
    return tuple([one for one in (*said, (f", on behalf of {listed(named)}" if named else "", ""), (".", "")) if one[0]])


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
