"""A message from a request, its votes and what they amount to: everything that people need to decide in seconds, and nothing else.

Rules:

1. It is built from what the record of the request holds, where secrets are already hidden, and never from the call.
2. Every text that comes from outside passes `plain`. What the agent says of itself stands in `agent_says`, and nowhere else.
3. What the call would change comes from its preview. Where the tool has none, the sentence says with what it would run, and that only
   the arguments say what it would change.
4. A message says how things stand now. Of a plan there is one message, which names each step and how it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from licet.approvals.desk import Shown
from licet.approvals.notify.message import Ballot, Message
from licet.approvals.notify.plain import plain, target, value
from licet.approvals.standing import Need, NeedStanding, why_not
from licet.identity.directory import Directory
from licet.model import LIVE_STATES, Effect, Request, RequestState, Target, Vote
from licet.store.outbox import Notice, NoticeEvent

ROWS = 5
STEPS = 20
"""Steps of a plan that are named; a longer plan says how many more there are."""
REASON_LIMIT = 500
_TITLE_LIMIT = 160
_SENTENCE_LIMIT = 400
_LINE_LIMIT = 240
_PLACE = "{request}"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class _Summary(Struct):
    """The part of a request's summary that people are told."""

    arguments: Any = None
    targets: tuple[Target, ...] = ()
    preview: tuple[Effect, ...] | None = None
    previewed_by: str | None = None
    reason: str | None = None
    changed: str | None = None


_decode_summary = msgspec.json.Decoder(_Summary).decode


def compose(notice: Notice, steps: Sequence[Shown], directory: Directory, link: str | None) -> Message:
    """The message about a notice. `steps` are the requests of a plan in their order, or the one request that is no step of any."""
    about = next((shown for shown in steps if shown.request.id == notice.request), steps[-1])
    told = steps if about.request.plan is not None else (about,)
    first, is_plan = told[0].request, about.request.plan is not None
    open_steps = [shown for shown in told if shown.request.state is RequestState.OPEN]
    asking = open_steps or [about]
    rows = [_row(effect, shown, is_plan=is_plan) for shown in asking for effect in _summary(shown.request).preview or ()]
    expires_at = min([shown.request.expires_at for shown in told if shown.request.state in LIVE_STATES], default=about.request.expires_at)
    at = _EPOCH + timedelta(microseconds=notice.at)
    reason = next((reason for reason in [_summary(shown.request).reason for shown in told] if reason), None)
    return Message(
        id=hashlib.sha256(f"{notice.request}\0{notice.number}\0{notice.event}\0{notice.at}".encode()).hexdigest()[:32],
        request=first.id if is_plan else about.request.id,
        plan=about.request.plan,
        tenant=plain(first.tenant, _LINE_LIMIT),
        tool=plain(first.tool, _LINE_LIMIT) if not is_plan else ", ".join(dict.fromkeys([plain(s.request.tool, 80) for s in told[:STEPS]])),
        event=notice.event,
        state=_state(told),
        at=at,
        title=_title(notice, about, told, is_plan=is_plan),
        sentence=_plan_sentence(told) if is_plan else plain(_sentence(about.request), _SENTENCE_LIMIT),
        caller=_caller(first),
        agent_says=plain(reason, REASON_LIMIT) if reason else None,
        preview=tuple(rows[:ROWS]),
        more=max(0, len(rows) - ROWS),
        why=_why(asking),
        needs=tuple([_step(shown, is_plan=is_plan) + _need(need, shown.request) for shown in asking for need in shown.standing.needs]),
        votes=tuple([_step(shown, is_plan=is_plan) + _vote(vote) for shown in told for vote in shown.votes][-STEPS:]),
        expires_at=expires_at,
        at_expiry=_at_expiry(told, expires_at, at),
        link=None if link is None else link.replace(_PLACE, quote(first.id if is_plan else about.request.id, safe="")),
        decidable=bool(open_steps),
        steps=_steps(told) if is_plan else (),
        ballots=tuple([Ballot(s.request.id, s.request.step) for s in told[:STEPS] if s.request.state is RequestState.OPEN]),
        voters=_voters(told, directory),
    )


def subject_of(request: Request) -> str:
    """What deliveries of this request are about: itself, or the plan of which it is a step."""
    return request.id if request.plan is None else request.plan


def outdated(notice: Notice, steps: Sequence[Shown]) -> bool:
    """Whether things have gone on since, so that nobody is to be asked, or told of an approval, by this notice any more."""
    about = next((shown.request for shown in steps if shown.request.id == notice.request), steps[-1].request)
    match notice.event:
        case "opened" | "reopened" | "vote":
            return all(shown.request.state is not RequestState.OPEN for shown in steps)
        case "approved":
            return about.state not in {RequestState.APPROVED, RequestState.CONSUMED}
        case _:
            return False


def groups_of(steps: Sequence[Shown]) -> frozenset[str]:
    """The groups that are asked."""
    return frozenset([need.need.group for shown in steps for need in shown.standing.needs if need.need.group is not None])


def _summary(request: Request) -> _Summary:
    return _decode_summary(request.summary)


def _state(told: Sequence[Shown]) -> str:
    states = {shown.request.state for shown in told}
    if len(states) == 1:
        return str(states.pop())
    return "open" if RequestState.OPEN in states else "decided"


def _caller(request: Request) -> str:
    actor = request.agent or request.service
    acting = f"{actor} for {request.user}" if actor and request.user else actor or request.user or "nobody"
    return plain(f"{acting}, tenant {request.tenant}", _LINE_LIMIT)


def _title(notice: Notice, about: Shown, told: Sequence[Shown], *, is_plan: bool) -> str:
    request = about.request
    actor = request.agent or request.service or request.user
    if is_plan:
        open_steps = sum(shown.request.state is RequestState.OPEN for shown in told)
        waits = f"{open_steps} of {len(told)} wait for a decision" if open_steps else "nothing waits for a decision"
        return plain(f"plan of {actor}: {request.tool} (step {request.step}) {_happened(notice, about)}; {waits}", _TITLE_LIMIT)
    return plain(f"{request.tool} by {actor} {_happened(notice, about)}", _TITLE_LIMIT)


def _happened(notice: Notice, about: Shown) -> str:
    """What has happened, as the end of a sentence that begins with the call."""
    needs, by = about.standing.needs, ", ".join(about.standing.voters)
    asked = "confirmation" if all(need.need.kind == "confirmation" for need in needs) else "approval"
    have, wanted = sum(len(need.voters) for need in needs), sum(need.need.count for need in needs)
    rejected_by = about.standing.rejected_by
    happened: dict[NoticeEvent, str] = {
        "opened": f"waits for {asked}",
        "reopened": f"waits for {asked} again",
        "vote": f"has {have} of {wanted} {'vote' if wanted == 1 else 'votes'}",
        "approved": f"is approved by {by}" if by else "is approved",
        "rejected": f"is rejected by {rejected_by}" if rejected_by else "is rejected",
        "expired": "has expired",
        "withdrawn": "is withdrawn",
        "superseded": "is held anew, since something has changed",
        "consumed": "was approved, and has begun to run",
    }
    return happened[notice.event]


def _sentence(request: Request) -> str:
    """What the call would change, or with what it would run."""
    summary = _summary(request)
    effects = summary.preview or ()
    more = len(effects) - 1
    rest = f", and {more} more {'change' if more == 1 else 'changes'}" if more > 0 else ""
    if summary.preview is not None and summary.previewed_by != "arguments":
        return (
            f"{request.tool} would {_change(effects[0])}{rest}" if effects else f"{request.tool} would change nothing, as its preview says"
        )
    arguments = summary.arguments if isinstance(summary.arguments, dict) else {}
    given = ", ".join([f"{plain(str(name), 60)} {value(argument)}" for name, argument in list(arguments.items())[:ROWS]])
    on = ", ".join([target(str(found.ref)) for found in summary.targets[:ROWS]])
    ran = f"{request.tool} would run{f' on {on}' if on else ''}{f' with {given}' if given else ''}"
    return f"{ran}; as its arguments say, it would {_change(effects[0])}{rest}" if effects else ran


def _change(effect: Effect) -> str:
    field, where = f"`{plain(effect.field, 60)}`", target(effect.target)
    if effect.before is None:
        return f"set {field} of {where} to {value(effect.after)}"
    if effect.after is None:
        return f"remove {field} of {where}, which is {value(effect.before)}"
    return f"change {field} of {where} from {value(effect.before)} to {value(effect.after)}"


def _row(effect: Effect, shown: Shown, *, is_plan: bool) -> str:
    text = f"{target(effect.target)} {plain(effect.field, 60)}: {value(effect.before)} -> {value(effect.after)}"
    return plain(_step(shown, is_plan=is_plan) + text, _LINE_LIMIT)


def _step(shown: Shown, *, is_plan: bool) -> str:
    return f"step {shown.request.step}: " if is_plan else ""


def _steps(told: Sequence[Shown]) -> tuple[str, ...]:
    lines = [plain(f"{s.request.step}. {_sentence(s.request)} ({s.request.state})", _LINE_LIMIT) for s in told[:STEPS]]
    more = len(told) - STEPS
    return (*lines, f"and {more} more") if more > 0 else tuple(lines)


def _plan_sentence(told: Sequence[Shown]) -> str:
    states = [str(shown.request.state) for shown in told]
    counts = ", ".join([f"{states.count(state)} {state}" for state in dict.fromkeys(states)])
    return f"a plan of {told[0].request.steps} calls, of which {len(told)} ask for a decision: {counts}"


def _why(asking: Sequence[Shown]) -> tuple[str, ...]:
    changed = [f"held anew, since {found}" for found in [_summary(shown.request).changed for shown in asking] if found]
    reasons = [_reason(need.need) for shown in asking for need in shown.standing.needs]
    return tuple(dict.fromkeys([plain(text, _LINE_LIMIT) for text in (*changed, *reasons)]))[:STEPS]


def _reason(need: Need) -> str:
    return f"{need.reason} ({need.policy})" if need.reason else f"policy {need.policy} asks for it"


def _need(need: NeedStanding, request: Request) -> str:
    asked, have = need.need, f" ({', '.join(need.voters)})" if need.voters else ""
    whom = asked.group if asked.kind != "confirmation" else f"{request.user}, who confirms"
    return plain(f"{len(need.voters)} of {asked.count} of {whom}{have}", _LINE_LIMIT)


def _vote(vote: Vote) -> str:
    comment = f": {json.dumps(plain(vote.comment, 200), ensure_ascii=False)}" if vote.comment else ""
    through = f", as a client said over {vote.channel.upper()}" if vote.channel else ""
    verb = "approved" if vote.verdict == "approve" else "rejected"
    return plain(f"{vote.voter} {verb} at {vote.at:%H:%M} UTC{through}{comment}", 2 * _LINE_LIMIT)


def _at_expiry(told: Sequence[Shown], expires_at: datetime, now: datetime) -> str:
    """What happens when the time is over; nothing where nothing waits for it."""
    states = {shown.request.state for shown in told}
    when = f"at {expires_at:%H:%M} UTC" if expires_at.date() == now.date() else f"on {expires_at:%Y-%m-%d} at {expires_at:%H:%M} UTC"
    if RequestState.OPEN in states:
        return f"{when} the request expires and the call stays denied"
    if RequestState.APPROVED in states:
        return f"{when} the approval expires, if it was not used"
    return ""


def _voters(told: Sequence[Shown], directory: Directory) -> tuple[str, ...]:
    found: set[str] = set()
    for shown in told:
        request = shown.request
        for need in [standing.need for standing in shown.standing.needs]:
            candidates = directory.voters(need.group, request.tenant) if need.group is not None else [request.user]
            found.update([user for user in candidates if user is not None and why_not(request, need, user, directory) is None])
    return tuple(sorted(found))
