"""What records say about their calls on the page of one of them: the pills, the timeline, the votes, and facts that lead to more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from licet.console.looks import ALLOW, DENY, HOLD, OUTCOMES, VERDICTS, Look
from licet.console.records import record_path, workflow_path
from licet.console.subject_view import pieces
from licet.ledger.entries import Entry, tell
from licet.ledger.record import parse_ref
from licet.ledger.wording import duration

_VOTES: Final[Mapping[str, Look]] = {
    "approve": Look("allow", "Approved"),
    "reject": Look("deny", "Rejected"),
    "take_back": Look("none", "Vote taken back"),
}
_KINDS: Final[Mapping[str, Look]] = {
    "recovery": OUTCOMES["unknown"],
    "expiry": Look("deny", "Request ended"),
    "hold": HOLD,
    "denial": DENY,
    "intent": ALLOW,
}


def trace_path(entry: Entry) -> str | None:
    """The page of the workflow that a record belongs to, or of its trace."""
    trace = entry.envelope.trace
    name = None if trace is None else trace.workflow or trace.trace_id
    return None if name is None else workflow_path(name, entry.log)


def filter_path(entry: Entry, **wanted: str) -> str:
    """The explorer, with this filter alone."""
    return f"/console/audit?{urlencode({**wanted, 'tenant': entry.log, 'range': 'all'})}"


def facts_of(entry: Entry) -> list[tuple[str, str, str | None]]:
    """What the envelope says, by name, with the filter that finds more of it."""
    envelope, found = entry.envelope, list[tuple[str, str, str | None]]()

    def add(word: str, value: str | None, name: str | None = None, wanted: str | None = None) -> None:
        if value:
            found.append((word, value, None if name is None else filter_path(entry, **{name: wanted or value})))

    actor, tool, trace, outcome = envelope.actor, envelope.tool, envelope.trace, envelope.outcome
    if actor is not None:
        add("Agent", actor.agent, "agent")
        add("Service", actor.service, "service")
        add("For user", actor.user, "user")
        add("Session", actor.session, "session")
    if tool is not None:
        add("Tool", tool.name, "tool")
        add("Access", tool.access)
    for target in envelope.targets:
        ref = parse_ref(target) if '::"' in target else None
        add("Target", target, None if ref is None else "target", None if ref is None else f"{ref.type}/{ref.id}")
    if envelope.decision is not None:
        add("Verdict", envelope.decision.verdict, "verdict")
        add("Code", envelope.decision.code)
        for policy in envelope.decision.policies:
            add("Policy", policy, "policy")
        add("Bundle", envelope.decision.bundle)
    if outcome is not None:
        add("Outcome", outcome.status, "outcome")
        add("Took", None if outcome.duration_us is None else duration(outcome.duration_us))
    if trace is not None:
        add("Workflow", trace.workflow, "workflow")
        add("Trace", trace.trace_id, "trace")
        add("Span", trace.span_id)
        add("Parent", trace.parent)
    add("Environment", envelope.environment)
    add("Kind", envelope.kind, "kind")
    add("Call", envelope.call)
    add("Attempt", None if envelope.attempt is None else str(envelope.attempt))
    add("Credential", entry.payload.credential)
    add("Record", envelope.id)
    return found


def path_of(story: Iterable[Entry]) -> list[Look]:
    """The pills: what was decided, who agreed, and what came of it, in the order of the records."""
    found: list[Look] = []
    for one in story:
        look = step_of(one)
        if look is not None and (not found or found[-1] != look):
            found.append(look)
    return found


def step_of(entry: Entry) -> Look | None:
    """What a record adds to the story of its call, as a pill; None where that is nothing."""
    envelope = entry.envelope
    if envelope.kind == "vote" and envelope.approval is not None:
        return _VOTES.get(envelope.approval.verdict or "", Look("none", "Vote"))
    if envelope.kind in _KINDS:
        return _KINDS[envelope.kind]
    if envelope.outcome is not None:
        return OUTCOMES.get(envelope.outcome.status)
    return None if envelope.decision is None else VERDICTS.get(envelope.decision.verdict)


def votes_of(story: Iterable[Entry]) -> Iterable[dict[str, Any]]:
    """Who voted, how and with which words, and whether a passkey has signed it."""
    for one in story:
        approval = one.envelope.approval
        if one.envelope.kind != "vote" or approval is None:
            continue
        vote = one.detail.get("vote") or one.detail.get("taken_back")
        said = vote if isinstance(vote, dict) else {}
        yield {
            "who": ", ".join(approval.voters) or "somebody",
            "look": step_of(one) or Look("none", ""),
            "comment": said.get("comment"),
            "channel": said.get("channel"),
            "signed": bool(said.get("assertion")),
            "at": one.envelope.at,
            "path": record_path(one.log, one.index),
        }


def moment_of(entry: Entry, shown: Entry, first: int) -> dict[str, Any]:
    """A record as a line of the timeline."""
    told = tell(entry)
    return {
        "look": step_of(entry),
        "said": pieces(told.act),
        "because": pieces(told.because),
        "at": entry.envelope.at,
        "after": duration(entry.envelope.at - first) if entry.envelope.at > first else "",
        "path": record_path(entry.log, entry.index),
        "index": entry.index,
        "log": entry.log,
        "is_shown": (entry.log, entry.index) == (shown.log, shown.index),
    }
