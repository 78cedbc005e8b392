"""What an approver reads of a request, for `show`, `watch` and the answer to a vote: the same facts in the same order.

Rules:

1. What the call would change comes before why it is asked for.
2. What an agent wrote is named as its words, and grants nothing.
3. Nothing that a vote is cast on is cut short.
4. Colour says two things only: what would stand after the change, and that time runs out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from licet.approvals.standing import NeedStanding
from licet.cli.output import LABEL_WIDTH, Output, Span, pretty
from licet.cli.requests import PAST, Viewed
from licet.cli.wording import countdown, counted, listed, span
from licet.model import LIVE_STATES, Effect, RequestState, Target, Vote

HURRY_S = 120
"""From here on the countdown is coloured: about what it takes to read a request and to answer."""
INLINE = 48
"""Characters of before and after together that are read at a glance on one line; longer ones stand one below the other."""

Lines: TypeAlias = list[list[Span]]
Fact: TypeAlias = tuple[str, Lines]

_LOOKS = {"open": ("hold", "open"), "approved": ("allow", "approved"), "consumed": ("note", "used"), "rejected": ("deny", "rejected")}


def show_line(output: Output, found: Viewed) -> None:
    """A request in one sentence, with what is missing and what would change, so that two of one tool can be told apart."""
    mark, word = look_of(found)
    request = found.request
    step = f"  step {request.step} of {request.steps} of plan {request.plan}" if request.plan is not None else ""
    output.mark(mark, word, f"{found.sentence}{waits_for(found)}")
    output.line(gist_of(found) or f"arguments {on_one_line(pretty(found.asked.arguments))}", indent=LABEL_WIDTH + 1)
    output.line(f"{request.id}{_time_left(found)}{step}", style="dim", indent=LABEL_WIDTH + 1)


def gist_of(found: Viewed) -> str:
    """The first change on one line; nothing where none is known."""
    effects = found.asked.preview or ()
    if not effects:
        return ""
    more = f" and {len(effects) - 1} more" if len(effects) > 1 else ""
    return f"{effects[0].field}: {on_one_line(now_of(effects[0]))} -> {on_one_line(pretty(effects[0].after))}{more}"


def on_one_line(value: str) -> str:
    """A value of several lines as one."""
    return " ".join(part.strip() for part in value.split("\n"))


def show_whole(output: Output, found: Viewed) -> None:
    """Everything that a vote is cast on, and how the votes stand."""
    mark, word = look_of(found)
    output.mark(mark, word, f"{found.sentence}{waits_for(found)}")
    output.line()
    output.facts(facts_of(found))


def look_of(found: Viewed) -> tuple[str, str]:
    """Mark and word of a request's state."""
    if found.state == PAST:
        return "note", "expired"
    return _LOOKS.get(found.state, ("note", found.state))


def waits_for(found: Viewed) -> str:
    """Whom an open request waits for, as the end of a sentence."""
    if found.state != RequestState.OPEN:
        return ""
    missing = [
        f"{need.missing} more of {need.need.group}" if need.need.group else f"{found.request.user} to confirm"
        for need in found.needs
        if need.missing > 0
    ]
    return f"; waits for {listed(missing)}" if missing else ""


def facts_of(found: Viewed) -> list[Fact]:
    """The request whole, as names and lines."""
    return [*decided_on(found), *_circumstances(found)]


def decided_on(found: Viewed) -> list[Fact]:
    """What a vote is cast on, and until when: nothing else is shown again when somebody is asked whether they are sure."""
    asked, request = found.asked, found.request
    facts = [("changes", list(_changes(found)))]
    if asked.changed:
        facts.append(("anew", _plain(f"held again, since {asked.changed}")))
    if asked.undoes:
        facts.append(("undoes", _plain(f"what call {asked.undoes} did")))
    facts.append(("arguments", _plain(pretty(asked.arguments))))
    facts += [("target", _plain(_target(target))) for target in asked.targets]
    facts += [("needs", _plain(_need(need, found.may_vote.get(need.need.policy, ()), still=found.state == "open"))) for need in found.needs]
    if request.passkey is True:
        facts.append(("passkey", _plain("an approval is signed with a passkey: approve it in the console; a rejection takes none")))
    if asked.reason:
        facts.append(
            (f"{'agent' if request.agent else 'caller'} says", [[(f'"{asked.reason}"', "italic"), (" (it grants nothing)", "dim")]])
        )
    facts.append(("expires", _expiry(found)))
    return facts


def _circumstances(found: Viewed) -> Iterator[Fact]:
    request = found.request
    yield from (("vote", _plain(_vote(vote))) for vote in found.votes)
    if found.viewer is not None:
        yield "you", _plain(f"`{found.viewer}` may vote" if found.refused is None else f"may not vote: {found.refused}")
    if request.plan is not None:
        yield "plan", _plain(f"step {request.step} of {request.steps} of {request.plan}")
    yield "opened", _plain(f"{request.opened_at:%Y-%m-%d %H:%M:%S} UTC")
    yield "tenant", _plain(request.tenant)
    yield "request", _plain(request.id)
    yield "call", _plain(request.call)
    yield "votes on", _plain(f"{found.binding} (call, preview and policies by digest)")


def _plain(text: str) -> Lines:
    return [[(line, "")] for line in text.split("\n")]


def _changes(found: Viewed) -> Iterator[list[Span]]:
    preview = found.asked.preview
    if preview is None:
        yield [("not known: the tool has no preview", "")]
        return
    if found.asked.previewed_by == "arguments" and not preview:
        yield [("not known: the tool has no preview, and its arguments name nothing that it would set", "")]
    elif found.asked.previewed_by == "arguments":
        yield [("the arguments say so; the tool has no preview that would promise it", "dim")]
    elif not preview:
        yield [("nothing, says its preview", "")]
    for effect in preview:
        yield from change_lines(effect)


def change_lines(effect: Effect) -> Lines:
    """One change: what is now, dim, and what would be."""
    place, before, after = f"{effect.target} {effect.field}:", now_of(effect), pretty(effect.after)
    if len(before) + len(after) <= INLINE and "\n" not in before + after:
        return [[(f"{place} ", ""), (before, "dim"), (" -> ", ""), (after, "green")]]
    old = [[("  - ", "dim"), (line, "dim")] for line in before.split("\n")]
    return [[(place, "")], *old, *([("  + ", "green"), (line, "green")] for line in after.split("\n"))]


def now_of(effect: Effect) -> str:
    """What is there before the change; a question mark where nobody looked."""
    return pretty(effect.before) if effect.has_before else "?"


def _target(target: Target) -> str:
    attributes = f" {pretty(target.attributes)}" if target.attributes else ""
    return f"{target.ref} of {target.tenant}, in {target.environment}{attributes}"


def _need(need: NeedStanding, may_vote: Sequence[str], *, still: bool) -> str:
    asked = need.need
    who_must = f"{asked.count} of {asked.group}" if asked.group else "confirmation by the user"
    reason = f": {asked.reason}" if asked.reason else ""
    have = f"{len(need.voters)} of {counted(asked.count, 'vote')}" + (f" ({listed(need.voters)})" if need.voters else "")
    can = f"; may vote: {listed(may_vote, 20)}" if may_vote else "; nobody may vote"
    return f"{who_must}, by `{asked.policy}`{reason}\nhas {have}{can if still else ''}"


def _vote(vote: Vote) -> str:
    verb = "approved" if vote.verdict == "approve" else "rejected"
    cast = f", cast by operating user {vote.operating_user}" if vote.operating_user else ""
    cast = f", with credential {vote.credential}" if vote.credential else cast
    cast = f"{cast}, as a client said over {vote.channel.upper()}" if vote.channel else cast
    comment = f': "{vote.comment}"' if vote.comment else ""
    return f"{vote.voter} {verb} at {vote.at:%Y-%m-%d %H:%M:%S} UTC{cast}{comment}"


def _expiry(found: Viewed) -> Lines:
    """When, how long that is, and what happens then."""
    at = f"{found.request.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    if found.request.state not in LIVE_STATES:
        return _plain(at)
    if found.expires_in_s <= 0:
        return _plain(f"{at}, {span(-found.expires_in_s)} ago: nothing ran, and the same call, made again, asks anew")
    then = {
        "open": "then nothing runs, and the same call, made again, asks anew",
        "approved": "unless the call is made again before, the approval is void then",
    }[found.state]
    style = "yellow" if found.expires_in_s <= HURRY_S else ""
    return [[(f"{at}, in ", ""), (countdown(found.expires_in_s), style), (f": {then}", "")]]


def _time_left(found: Viewed) -> str:
    if found.request.state not in LIVE_STATES:
        return ""
    left_s = found.expires_in_s
    return f"  expires in {span(left_s)}" if left_s > 0 else f"  expired {span(-left_s)} ago"
