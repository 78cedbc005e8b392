"""The inbox: what waits for people, one request at a time, and the vote.

Rules:

1. Who sees what, who may vote and on what is what the API says of it (server/approvals.py): the very same functions answer.
2. What a call would change comes before who asks, and that before why it is held. Nothing that a vote is cast on is cut short.
3. A vote is a POST that names what was looked at. What was decided meanwhile is said, with what has become of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from licet.approvals.aside import COMMENT_LIMIT
from licet.approvals.viewed import Viewed
from licet.console.frame import page
from licet.console.looks import STATES
from licet.console.wording import left, quoted_value
from licet.ledger.wording import who
from licet.model import LIVE_STATES, Effect, RequestState
from licet.server import approvals
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.shapes_approvals import Binding, CastVote, Id, ListRequests, OneRequest, RequestShape, Verdict
from licet.server.visible import find_visible, shape_of

SOON_S: Final = 5 * 60
Show = Literal["mine", "all", "done"]
_TABS: Final[tuple[tuple[Show, str], ...]] = (("mine", "Yours"), ("all", "All open"), ("done", "Decided"))
_DONE: Final = tuple(str(state) for state in RequestState if state not in LIVE_STATES)


class ShowInbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests are listed."""

    show: Show = "mine"
    cursor: str | None = None


class ShowRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request, and which are listed beside it."""

    id: Id
    show: Show = "mine"


class Vote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is voted, on what was looked at."""

    binding: Binding
    verdict: Verdict
    comment: Annotated[str, Meta(max_length=COMMENT_LIMIT)] = ""


def begin(asked: Asked) -> Answer:  # noqa: ARG001  everybody begins here
    """Where somebody begins who was sent nowhere else."""
    return Answer(status=303, media_type="text/plain", headers=(("Location", "/console/inbox"),))


def show_inbox(asked: Asked) -> Answer:
    """The list."""
    params: ShowInbox = asked.params
    return _page(asked, params.show, params.cursor, None)


def show_request(asked: Asked) -> Answer:
    """One request, beside the list."""
    return _page(asked, asked.params.show, None, find_visible(asked, asked.params.id))


def vote(asked: Asked) -> Answer:
    """Cast the vote of the person who is signed in."""
    body: Vote = asked.body
    cast = CastVote(binding=body.binding, verdict=body.verdict, comment=body.comment.strip() or None)
    approvals.vote(asked.with_input(OneRequest(id=asked.params.id), cast))
    return Answer(status=303, media_type="text/plain", headers=(("Location", f"/console/inbox/{asked.params.id}"),))


def _page(asked: Asked, show: Show, cursor: str | None, shown: Viewed | None) -> Answer:
    listed = approvals.find_requests(asked.with_input(_query(show, cursor), None))
    return page(
        asked,
        "inbox.html",
        show=show,
        tabs=[{"show": name, "name": word, "count": None} for name, word in _TABS],
        asks=[_ask(asked, one) for one in listed.requests],
        following=listed.next,
        shown=None if shown is None else _shown(asked, shown),
    )


def _query(show: Show, cursor: str | None) -> ListRequests:
    return ListRequests(mine=show == "mine", state=_DONE if show == "done" else (), cursor=cursor)  # type: ignore[arg-type]  # the states' own words


def _ask(asked: Asked, one: RequestShape) -> dict[str, Any]:
    """A request as a line of the list."""
    left_s = int((one.expires_at - asked.gate.now()).total_seconds())
    mine = "your vote is missing" if one.may_vote else (one.why_not or "")
    return {
        "id": one.id,
        "tool": one.tool if one.plan is None else f"Plan, step {one.step} of {one.steps}",
        "title": one.sentence,
        "who": who(one.agent, one.service, one.user),
        "left": left(left_s) if one.state == "open" else STATES[one.state][1],
        "is_soon": one.state == "open" and left_s <= SOON_S,
        "have": sum(len(need.voters) for need in one.needs),
        "wanted": sum(need.count for need in one.needs),
        "note": mine if one.state == "open" else "",
    }


def _shown(asked: Asked, found: Viewed) -> dict[str, Any]:
    """A request whole."""
    one = shape_of(found)
    now = asked.gate.now()
    look, word = STATES[one.state]
    spec = asked.gate.scene.catalog.tools.get(one.tool)
    whole = one.expires_at - one.opened_at
    missing = sum(need.missing for need in one.needs)
    effects = one.preview or ()
    several = len({effect.target for effect in effects}) > 1
    return {
        "id": one.id,
        "title": one.sentence,
        "look": look,
        "word": word,
        "tool": one.tool,
        "touches": sorted(spec.touches) if spec is not None else (),
        "is_live": one.state == "open",
        "left": left(found.expires_in_s),
        "left_s": max(0, found.expires_in_s),
        "whole_s": max(1, whole // timedelta(seconds=1)),
        "previewed": {"tool": "previewed by the tool", "arguments": "as the arguments say"}.get(one.previewed_by or "", ""),
        "effects": [
            {"field": _field(effect, several), "before": quoted_value(effect.before), "after": quoted_value(effect.after)}
            for effect in effects
        ],
        "about": "" if several or not effects else _named(effects[0].target),
        "who": who(one.agent, one.service, one.user),
        "author": ("agent" if one.agent else "caller", one.agent or one.service or one.user),
        "opened_at": one.opened_at,
        "needs": list(_needs(one)),
        "reason": one.reason,
        "arguments": [(name, quoted_value(value)) for name, value in _members(one.arguments)],
        "binding": one.binding,
        "may_vote": one.may_vote,
        "why_not": one.why_not if one.state == "open" else None,
        "last": "Last vote needed." if missing == 1 else "",
        "now": now,
    }


def _field(effect: Effect, several: bool) -> str:  # noqa: FBT001  of one of several targets
    return f"{_named(effect.target)}, {effect.field}" if several else effect.field


def _named(target: str) -> str:
    """`Customer::"C-412"` as people say it."""
    kind, found, name = target.partition('::"')
    return f"{kind} {name.removesuffix(chr(34))}" if found else target


def _members(arguments: Any) -> list[tuple[str, Any]]:
    return list(arguments.items()) if isinstance(arguments, dict) else []


def _needs(one: RequestShape) -> Iterator[dict[str, Any]]:
    for need in one.needs:
        left_over = f"{', '.join(need.may_vote)} may vote" if need.missing and need.may_vote else ""
        yield {
            "reason": need.reason,
            "policy": need.policy,
            "have": len(need.voters),
            "wanted": need.count,
            "votes": [vote for vote in one.votes if vote.voter in need.voters or vote.verdict == "reject"],
            "left": left_over,
        }


PAGES: Final = (
    Endpoint(
        method="GET",
        path="/console",
        operation="console",
        summary="Where one begins",
        tag="console",
        action=None,
        handler=begin,
    ),
    Endpoint(
        method="GET",
        path="/console/inbox",
        operation="consoleInbox",
        summary="What waits for people",
        tag="console",
        action="requests.read",
        handler=show_inbox,
        params=ShowInbox,
    ),
    Endpoint(
        method="GET",
        path="/console/inbox/{id}",
        operation="consoleRequest",
        summary="A request as its approvers see it",
        tag="console",
        action="requests.read",
        handler=show_request,
        params=ShowRequest,
    ),
    Endpoint(
        method="POST",
        path="/console/inbox/{id}/vote",
        operation="consoleVote",
        summary="Vote on a request",
        tag="console",
        action="requests.vote",
        handler=vote,
        params=OneRequest,
        body=Vote,
    ),
)
