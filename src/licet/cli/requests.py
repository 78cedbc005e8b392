"""Approval requests as the command line shows them. Reads only: what is past its time is said to be, and expired by whoever writes next.

What the call would change comes before why it is asked for; what an agent wrote is named as its claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from licet.approvals.attest import attest_rows
from licet.approvals.standing import NeedStanding, Standing, binding_of, needs_of, standing, why_not
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.output import Output, pretty
from licet.cli.wording import counted, listed, on_targets, span, who
from licet.identity.directory import Directory
from licet.model import LIVE_STATES, Effect, Request, RequestId, RequestState, Target, Vote
from licet.store.contract import Store


class Asked(Struct, frozen=True):
    """What an approver is shown: the summary that a request was opened with."""

    arguments: Any = None
    targets: tuple[Target, ...] = ()
    preview: tuple[Effect, ...] | None = None
    reason: str | None = None
    changed: str | None = None


class Viewed(Struct, frozen=True, kw_only=True):
    """A request as it stands at a moment: state, votes, who is missing and who may vote. `binding` is what votes are cast on."""

    request: Request
    state: str
    asked: Asked
    votes: tuple[Vote, ...]
    needs: tuple[NeedStanding, ...]
    may_vote: dict[str, tuple[str, ...]]
    binding: str
    expires_in_s: int
    standing: Standing

    @property
    def sentence(self) -> str:
        """Who asks for what."""
        request = self.request
        targets = on_targets(str(target.ref) for target in self.asked.targets)
        return f"{who(request.agent, request.service, request.user)} asks to use `{request.tool}`{targets}"


_LOOKS = {"open": ("hold", "open"), "approved": ("allow", "approved"), "consumed": ("note", "used"), "rejected": ("deny", "rejected")}


def get_request(store: Store, request: str) -> Request:
    """One request. Raises `Refusal` where there is none, `IntegrityBroken` where it is not what its records say."""
    try:
        found = store.get_dossier(RequestId(request))
    except KeyError as error:
        message = f"there is no request `{request}`"
        raise Refusal(Exit.ERROR, "not_found", message, next_step="`licet approvals list --all` lists them") from error
    attest_rows(found)  # an approver who is shown an edited row would approve another call than the one that waits
    return found.request


def stand(request: Request, votes: Sequence[Vote], directory: Directory, now: datetime) -> Viewed:
    """The request under the directory of now, at this moment."""
    found = standing(request, votes, directory)
    left_s = (request.expires_at - now).total_seconds()
    return Viewed(
        request=request,
        state="past its time" if request.state in LIVE_STATES and left_s <= 0 else str(request.state),
        asked=msgspec.json.decode(request.summary, type=Asked),
        votes=tuple(votes),
        needs=found.needs,
        may_vote={
            need.policy: tuple(user for user in sorted(directory.users) if why_not(request, need, user, directory) is None)
            for need in needs_of(request.obligations)
        },
        binding=binding_of(request.key, request.preview_digest, request.obligations),
        expires_in_s=int(left_s),
        standing=found,
    )


def show_line(output: Output, found: Viewed) -> None:
    """A request in one sentence, with what is missing."""
    mark, word = look_of(found)
    output.mark(mark, word, f"{found.sentence}{_waits(found)}", below=f"{found.request.id}{_time_left(found)}")


def show_whole(output: Output, found: Viewed) -> None:
    """Everything that a vote is cast on, and how the votes stand."""
    mark, word = look_of(found)
    output.mark(mark, word, f"{found.sentence}{_waits(found)}")
    output.line()
    asked, request = found.asked, found.request
    changes = [_change(effect) for effect in asked.preview or ()]
    if asked.preview is None:
        changes = ["not known: the tool has no preview"]
    facts = [("changes", "\n".join(changes) or "nothing, says its preview"), ("arguments", pretty(asked.arguments))]
    facts += [("target", _target(target)) for target in asked.targets]
    facts += [("needs", _need(need, found.may_vote[need.need.policy], still=found.state == RequestState.OPEN)) for need in found.needs]
    facts += [("vote", _vote(vote)) for vote in found.votes]
    if asked.changed:
        facts.append(("anew", f"held again, since {asked.changed}"))
    if asked.reason:
        facts.append(("claim", f'"{asked.reason}" (written by the caller; it grants nothing)'))
    facts += [
        ("opened", f"{request.opened_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("expires", f"{request.expires_at:%Y-%m-%d %H:%M:%S} UTC{_time_left(found, ', ')}"),
        ("tenant", request.tenant),
        ("request", request.id),
        ("call", request.call),
        ("votes on", f"{found.binding} (call, preview and policies by digest)"),
    ]
    output.facts(facts)


def look_of(found: Viewed) -> tuple[str, str]:
    """Mark and word of a request's state."""
    if found.state == "past its time":
        return "note", "expired"
    return _LOOKS.get(found.state, ("note", found.state))


def _waits(found: Viewed) -> str:
    if found.state != RequestState.OPEN:
        return ""
    missing = [
        f"{need.missing} more of {need.need.group}" if need.need.group else f"{found.request.user} to confirm"
        for need in found.needs
        if need.missing > 0
    ]
    return f"; waits for {listed(missing)}" if missing else ""


def _time_left(found: Viewed, before: str = "  ") -> str:
    if found.request.state not in LIVE_STATES:
        return ""
    return (
        f"{before}expires in {span(found.expires_in_s)}" if found.expires_in_s > 0 else f"{before}expired {span(-found.expires_in_s)} ago"
    )


def _change(effect: Effect) -> str:
    return f"{effect.target} {effect.field}: {pretty(effect.before)} -> {pretty(effect.after)}"


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
    comment = f': "{vote.comment}"' if vote.comment else ""
    return f"{vote.voter} {verb} at {vote.at:%Y-%m-%d %H:%M:%S} UTC{cast}{comment}"
