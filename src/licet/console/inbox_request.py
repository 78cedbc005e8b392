"""How a request is told on pages: as a line of a list, and whole.

Rules:

1. Nothing that a vote is cast on is cut short, left out, or shown otherwise than it is: characters that nobody sees are written out.
2. What Licet knows, and what the caller claims, are told apart by the page: only `reason` is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from licet.console.looks import STATES
from licet.console.signing import votes_on
from licet.console.wording import left, plain, text_or_value
from licet.ledger.wording import counted, listed, who
from licet.model import LIVE_STATES, Effect, RequestId
from licet.server.endpoint import Asked
from licet.server.shapes_approvals import RequestShape, VoteShape
from licet.server.visible import may

SOON_S: Final = 5 * 60
_ENDS: Final = {
    "open": "then denied, nothing changed; the agent may ask again",
    "approved": "then the approval counts no more, and the agent has to ask again",
}
_PREVIEWED: Final = {"tool": "previewed by the tool", "arguments": "as the arguments say"}


def line_of(asked: Asked, one: RequestShape, show: str) -> dict[str, Any]:
    """A request as a line of the list; the first step of a plan stands for the plan."""
    mine = "your vote is missing" if one.may_vote else (one.why_not or "")
    return {
        "id": one.id,
        "plan": one.plan,
        "href": f"{place_of(one)}?show={show}",
        "tool": one.tool if one.plan is None else f"Plan, {counted(one.steps, 'step')}",
        "title": brief_of(one),
        "who": plain(who(one.agent, one.service, one.user)),
        "more": "each step decided on its own" if one.plan is not None else "",
        "note": mine if one.state == "open" else "",
        **_votes(one),
        **_time(asked, one),
    }


def place_of(one: RequestShape) -> str:
    """Where it is decided: a step of a plan is, on the plan's page."""
    return f"/console/inbox/{one.id}" if one.plan is None else f"/console/inbox/plans/{one.plan}"


def whole_of(asked: Asked, one: RequestShape) -> dict[str, Any]:
    """A request whole."""
    spec = asked.gate.scene.catalog.tools.get(one.tool)
    look, word = STATES[one.state]
    effects = one.preview or ()
    several = len({effect.target for effect in effects}) > 1
    missing = sum(need.missing for need in one.needs)
    return {
        "id": one.id,
        "title": sentence_of(one),
        "brief": brief_of(one),
        "look": look,
        "word": word,
        "state": one.state,
        "tool": one.tool,
        "touches": sorted(spec.touches) if spec is not None else (),
        "access": "" if spec is None else str(spec.access),
        "previewed": _PREVIEWED.get(one.previewed_by or "", ""),
        "effects": list(_effects(effects, several=several)),
        "about": "" if several or not effects else name_of(effects[0].target),
        "who": plain(who(one.agent, one.service, one.user)),
        "author": ("agent" if one.agent else "caller", one.agent or one.service or one.user),
        "opened_at": one.opened_at,
        "needs": list(_needs(asked, one)),
        "reason": one.reason,
        "facts": list(_facts(asked, one)),
        "arguments": [(plain(name), text_or_value(value)) for name, value in _members(one.arguments)],
        "binding": one.binding,
        "may_vote": one.may_vote,
        "sign": votes_on(asked, one),
        "why_not": one.why_not if one.state == "open" else None,
        "said": _said(asked, one),
        "may_take_back": own_vote(asked, one) is not None and one.state in LIVE_STATES,
        "may_withdraw": may_withdraw(asked, one),
        "plan": one.plan,
        "step": one.step,
        "steps": one.steps,
        "last": "Last vote needed." if missing == 1 else "",
        **_time(asked, one),
    }


def sentence_of(one: RequestShape) -> str:
    """Who asks for what."""
    return plain(f"{who(one.agent, one.service, one.user)} asks to use {one.tool}{_on(one)}")


def brief_of(one: RequestShape) -> str:
    """What would happen, for a list that says beside who asks."""
    effects = one.preview or ()
    if not effects:
        return plain(f"Use {one.tool}{_on(one)}")
    first = effects[0]
    more = f", and {counted(len(effects) - 1, 'more change')}" if len(effects) > 1 else ""
    if isinstance(first.before, str | dict | list) or isinstance(first.after, str | dict | list):
        return plain(f"Change {first.field} of {name_of(first.target)}{more}")
    return plain(
        f"Change {first.field} of {name_of(first.target)} from {text_or_value(first.before)} to {text_or_value(first.after)}{more}"
    )


def name_of(target: str) -> str:
    """`Customer::"C-412"` as people say it."""
    kind, found, name = target.partition('::"')
    return plain(f"{kind} {name.removesuffix(chr(34))}" if found else target)


def own_vote(asked: Asked, one: RequestShape) -> VoteShape | None:
    """The vote of the person who looks, if it stands."""
    person = asked.directory.person_of(asked.person)
    return next((vote for vote in one.votes if asked.directory.person_of(vote.voter) == person), None)


def may_withdraw(asked: Asked, one: RequestShape) -> bool:
    """Whether the person who looks may withdraw it: it was made for them, or they administer."""
    if one.state not in LIVE_STATES:
        return False
    return may(asked, asked.gate.store.get_request(RequestId(one.id)), ("requests.withdraw_own", "requests.withdraw"))


def _on(one: RequestShape) -> str:
    names = [f"{target.type} {target.id}" for target in one.targets]
    return f" on {listed(names)}" if names else ""


def _time(asked: Asked, one: RequestShape) -> dict[str, Any]:
    left_s = int((one.expires_at - asked.gate.now()).total_seconds())
    is_live = one.state in LIVE_STATES
    return {
        "is_live": is_live,
        "until": one.expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "left": left(left_s) if is_live else STATES[one.state].word,
        "left_s": max(0, left_s),
        "whole_s": max(1, (one.expires_at - one.opened_at) // timedelta(seconds=1)),
        "is_soon": is_live and left_s <= SOON_S,
        "ends": _ENDS.get(one.state, ""),
    }


def _votes(one: RequestShape) -> dict[str, int]:
    return {"have": sum(len(need.voters) for need in one.needs), "wanted": sum(need.count for need in one.needs)}


def _effects(effects: Sequence[Effect], *, several: bool) -> Iterator[dict[str, str]]:
    for effect in effects:
        field = plain(effect.field)
        yield {
            "field": f"{name_of(effect.target)}, {field}" if several else field,
            "before": text_or_value(effect.before),
            "after": text_or_value(effect.after),
        }


def _needs(asked: Asked, one: RequestShape) -> Iterator[dict[str, Any]]:
    own = asked.directory.person_of(asked.person)
    for need in one.needs:
        names = list(need.may_vote)
        mine = [name for name in names if asked.directory.person_of(name) == own]
        others = [name for name in names if name not in mine]
        verb = "confirm" if need.kind == "confirmation" else "vote"
        open_ = one.state == "open" and need.missing > 0
        yield {
            "reason": need.reason,
            "policy": need.policy,
            "is_confirmation": need.kind == "confirmation",
            "group": need.group,
            "have": len(need.voters),
            "wanted": need.count,
            "votes": [vote for vote in one.votes if vote.voter in need.voters or vote.verdict == "reject"],
            "you": f"You may {verb}, as {mine[0]}" if open_ and mine and one.may_vote else "",
            "others": f"{listed(others, 20)} may {verb}" if open_ and others else "",
            "nobody": "nobody is left who may vote: it ends when its time is over" if open_ and not names else "",
        }


def _facts(asked: Asked, one: RequestShape) -> Iterator[tuple[str, str]]:
    """What Licet knows of it, whatever the caller says."""
    for target in one.targets:
        known = [f"{plain(name)} {text_or_value(value)}" for name, value in target.attributes.items()]
        yield f"{target.type} {plain(target.id)}", ", ".join((f"of tenant {plain(target.tenant)}", *known))
    agent = None if one.agent is None else asked.directory.agents.get(one.agent)
    if agent is not None and one.agent is not None:
        roles = listed(agent.roles, 20)
        yield one.agent, f"an agent with the roles {roles}" if agent.roles else "an agent without a role"
    user = None if one.user is None else asked.directory.users.get(one.user)
    if user is not None and one.user is not None:
        yield one.user, f"whom it is for; roles {listed(user.roles, 20)}" if user.roles else "whom it is for; without a role"
    if one.changed is not None:
        yield "Asked again", plain(one.changed)
    if one.undoes is not None:
        yield "Undoes", f"call {one.undoes}"
    yield "Call", one.call


def _said(asked: Asked, one: RequestShape) -> str:
    """What has become of the vote of whoever looks."""
    vote = own_vote(asked, one)
    if vote is None:
        return ""
    verb = "approved" if vote.verdict == "approve" else "rejected"
    return f"You {verb} it. {_NEXT.get(one.state, '') or counted(sum(need.missing for need in one.needs), 'more vote') + ' needed.'}"


_NEXT: Final = {
    "approved": "The agent may make this call now, once.",
    "consumed": "The call was made.",
    "rejected": "The call is denied; nothing changed.",
    "expired": "Its time was over before the call was made; nothing changed.",
    "withdrawn": "It was withdrawn; nothing changed.",
    "superseded": "It was asked anew, as another request.",
}


def _members(arguments: Any) -> Iterable[tuple[str, Any]]:
    return arguments.items() if isinstance(arguments, dict) else ()
