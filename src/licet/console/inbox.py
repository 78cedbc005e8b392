"""The inbox: what waits for people, one request at a time, and the vote.

Rules:

1. Who sees what, who may vote and on what is what the API says of it (server/approvals.py): the very same functions answer.
2. What a call would change comes before who asks, and that before why it is held. Nothing that a vote is cast on is cut short.
3. A vote is a POST that names what was looked at. What was decided meanwhile is said, with what has become of it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from licet.approvals.aside import COMMENT_LIMIT
from licet.console.frame import page, place_of
from licet.console.inbox_request import line_of, whole_of
from licet.console.signing import Signed, read_signed, signer_of
from licet.console.waiting import COUNTED, counted, lines_of
from licet.model import LIVE_STATES, RequestState
from licet.server import approvals
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem
from licet.server.shapes_approvals import Binding, CastVote, Id, ListRequests, OneRequest, RequestPage, RequestShape, TakeBack, Verdict
from licet.server.visible import find_visible, shape_of

Show = Literal["mine", "all", "done"]
_TABS: Final[tuple[tuple[Show, str], ...]] = (("mine", "Yours"), ("all", "All open"), ("done", "Decided"))
_DONE: Final = tuple(str(state) for state in RequestState if state not in LIVE_STATES)
_EMPTY: Final[dict[Show, tuple[str, str]]] = {
    "mine": (
        "Nobody is waiting for you",
        "A call that needs your vote appears here within two seconds, and wherever you let Licet notify you.",
    ),
    "all": ("Nothing waits", "Calls that policy holds for a person appear here until they are decided, or their time is over."),
    "done": ("Nothing was decided yet", "Requests that were approved and used, rejected, withdrawn or too late appear here."),
}


class ShowInbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests are listed."""

    show: Show = "mine"
    cursor: str | None = None


class ShowRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request or a plan, and which are listed beside it."""

    id: Id
    show: Show = "mine"


class Vote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is voted, on what was looked at."""

    binding: Binding
    verdict: Verdict
    comment: Annotated[str, Meta(max_length=COMMENT_LIMIT)] = ""
    assertion: Signed = ""


def show_inbox(asked: Asked) -> Answer:
    """The list."""
    params: ShowInbox = asked.params
    return inbox(asked, params.show, cursor=params.cursor)


def show_request(asked: Asked) -> Answer:
    """One request, beside the list."""
    return inbox(asked, asked.params.show, shown=whole_of(asked, shape_of(find_visible(asked, asked.params.id))))


def vote(asked: Asked) -> Answer:
    """Cast the vote of the person who is signed in."""
    body: Vote = asked.body
    cast = CastVote(binding=body.binding, verdict=body.verdict, comment=body.comment.strip() or None)
    try:
        approvals.cast_vote(asked.with_input(OneRequest(id=asked.params.id), cast), read_signed(body.assertion))
    except Problem as problem:
        return _too_late(asked, problem)
    return _seen(asked)


def take_back(asked: Asked) -> Answer:
    """Take back the vote of the person who is signed in."""
    try:
        approvals.take_back(asked.with_input(OneRequest(id=asked.params.id), TakeBack()))
    except Problem as problem:
        return _too_late(asked, problem)
    return _seen(asked)


def withdraw(asked: Asked) -> Answer:
    """Withdraw a request."""
    try:
        approvals.withdraw(asked.with_input(OneRequest(id=asked.params.id), None))
    except Problem as problem:
        return _too_late(asked, problem)
    return _seen(asked)


def _seen(asked: Asked) -> Answer:
    """Back to the request, which says what has become of it."""
    return Answer(status=303, media_type="text/plain", headers=(("Location", f"/console/inbox/{asked.params.id}"),))


def _too_late(asked: Asked, problem: Problem) -> Answer:
    """The request as it stands now, where somebody or something was faster (rule 3). Raises the problem where it is another."""
    if problem.status != HTTPStatus.CONFLICT:
        raise problem
    one = shape_of(find_visible(asked, asked.params.id))
    here = f"/console/inbox/{one.id}"
    return inbox(asked, "mine", shown=whole_of(asked, one), refused=problem, status=problem.status, here=here)


def inbox(asked: Asked, show: Show, *, cursor: str | None = None, **context: Any) -> Answer:
    """The list, and beside it what is looked at: `shown` (a request) or `plan`."""
    place = place_of(asked)
    waits = approvals.find_requests(asked.with_input(ListRequests(tenant=place, limit=COUNTED), None), with_own=True)
    listed = waits
    if waits.next is not None or cursor is not None or show == "done":
        listed = approvals.find_requests(asked.with_input(_query(show, place, cursor), None), with_own=True)
    elif show == "mine":
        listed = RequestPage(requests=_mine(waits), next=None)
    lines = [line_of(asked, one, show) for one in listed.requests]
    lines = [line for at, line in enumerate(lines) if line["plan"] is None or line["plan"] not in {one["plan"] for one in lines[:at]}]
    here = (context.get("plan") or context.get("shown") or {}).get("id")
    at = next((at for at, line in enumerate(lines) if here is not None and here in {line["id"], line["plan"]}), None)
    counts = {"mine": lines_of(_mine(waits)), "all": lines_of(waits.requests), "done": ""}
    if waits.next is not None:
        counts |= {"mine": counted(asked, ListRequests(mine=True, tenant=place, limit=COUNTED)), "all": f"{counts['all']}+"}
    shown = {"shown": None, "plan": None, "refused": None}
    whole = context.get("shown")
    votable = context["plan"]["steps"] if context.get("plan") else [whole] if whole else []
    return page(
        asked,
        "inbox.html",
        show=show,
        tabs=[{"show": name, "name": word, "count": counts[name]} for name, word in _TABS],
        waiting=counts["mine"],
        asks=lines,
        at=at,
        next_ask=lines[at + 1] if at is not None and at + 1 < len(lines) else None,
        following=listed.next,
        nothing=_EMPTY[show],
        signer=signer_of(asked, votable),
        **shown | context,
    )


def _query(show: Show, place: str | None, cursor: str | None) -> ListRequests:
    state = _DONE if show == "done" else ()
    return ListRequests(mine=show == "mine", state=state, tenant=place, cursor=cursor)  # type: ignore[arg-type]  # the states' own words


def _mine(waits: RequestPage) -> tuple[RequestShape, ...]:
    return tuple([one for one in waits.requests if one.may_vote])


PAGES: Final = (
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
    Endpoint(
        method="POST",
        path="/console/inbox/{id}/take-back",
        operation="consoleTakeBack",
        summary="Take back one's vote on a request",
        tag="console",
        action="requests.vote",
        handler=take_back,
        params=OneRequest,
    ),
    Endpoint(
        method="POST",
        path="/console/inbox/{id}/withdraw",
        operation="consoleWithdraw",
        summary="Withdraw a request",
        tag="console",
        action="requests.withdraw_own",
        handler=withdraw,
        params=OneRequest,
    ),
)
