"""Requests over HTTP: listed, looked at, voted on, taken back, withdrawn and waited for.

Rules:

1. The voter is the person whose credential was shown, and nobody that a body or a header names. A program has no vote.
2. A vote names what was looked at (`binding`); `If-Match`, where it is sent, must name it too. Anything else is refused and moves nothing.
3. Who may vote, and on what, is for the desk to say (`approvals/desk.py`). What it refuses is a problem with the desk's own code.
4. A vote is a POST. Nothing is decided by a GET: mail scanners and previews of links follow those.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from licet.approvals.signing import ShownAssertion
from licet.approvals.viewed import Viewed, stand
from licet.errors import TransitionRefused, VoteRefused
from licet.model import LIVE_STATES, Caller, PlanId, Request, RequestId, RequestState
from licet.policy.own import OwnAction
from licet.server.cursors import bad_cursor, read_cursor, write_cursor
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.problems import Problem, not_found
from licet.server.shapes_approvals import (
    CastPlanVotes,
    CastVote,
    Decided,
    DecidedPlan,
    ListRequests,
    OneRequest,
    OneWait,
    PlanShape,
    RequestPage,
    RequestShape,
    TakeBack,
    Waited,
)
from licet.server.visible import READING, find_visible, is_own, look, may, shape_of
from licet.store.contract import Dossier

_MOVED: Final = frozenset({"not_open", "expired", "request_moved", "already_voted", "not_as_shown", "asked_later", "no_vote"})
_NOT_THEIRS: Final = frozenset(
    {"unknown_user", "requester", "not_the_user", "agent_owner", "not_in_group", "not_in_tenant", "not_the_requester", "passkey_needed"}
)
_LOOKED_AT = 1_000
"""At most so many requests are looked through for a page of those that are `mine`."""
_READ_AT_ONCE = 50
_VOTING: Final[tuple[OwnAction, ...]] = ("requests.vote", "requests.confirm_own")
"""Those of a group vote on what the group decides; a person confirms what was asked for them. The desk says who may do which."""
_encode = msgspec.json.Encoder().encode


def list_requests(asked: Asked) -> Answer:
    """A page of requests, the one that expires first first."""
    content = _encode(find_requests(asked))
    return Answer(content=content, etag=hashlib.sha256(content).hexdigest()[:32])


def find_requests(asked: Asked, *, with_own: bool = False) -> RequestPage:
    """That page, of those that whoever asks may see; `with_own`, also of those that were made for them. Raises `Problem`."""
    params: ListRequests = asked.params
    wanted: tuple[OwnAction, ...] = READING if params.mine or with_own else ("requests.read",)
    tenants = _tenants(asked, wanted)
    place = None if params.cursor is None else _place(asked, params.cursor, tenants)
    states = tuple(map(RequestState, params.state)) or tuple(LIVE_STATES)
    found: list[RequestShape] = []
    more = False
    for count, dossier in enumerate(_behind(asked, tenants, states, place)):
        if len(found) == params.limit or count == _LOOKED_AT:
            more = True
            break
        request = dossier.request
        place = request.id
        one = stand(request, dossier.votes, asked.directory, asked.gate.now(), viewer=asked.who.user)
        if may(asked, request, wanted) and (not params.mine or _is_mine(asked, one)):
            found.append(shape_of(one))
    return RequestPage(requests=tuple(found), next=write_cursor("listRequests", params, place) if more else None)


def _tenants(asked: Asked, wanted: Sequence[OwnAction]) -> tuple[str, ...]:
    """The tenant that was asked for, or all in which one of these is permitted. Raises `Problem`."""
    found = tuple(dict.fromkeys([tenant for action in wanted for tenant in asked.tenants(action)]))
    if asked.params.tenant is None and found:
        return found
    if asked.params.tenant in found:
        return (asked.params.tenant,)
    return asked.chosen(wanted[0], asked.params.tenant)  # which says how it is refused


def _place(asked: Asked, cursor: str, tenants: Sequence[str]) -> RequestId:
    """The request behind which the page begins. Raises `Problem`."""
    place = RequestId(read_cursor("listRequests", asked.params, cursor, str))
    # Anybody can write a cursor: where the page began would tell that a request out of reach is there, and when it expires.
    if asked.gate.store.find_tenant(place) not in tenants:
        raise bad_cursor()
    return place


def _is_mine(asked: Asked, found: Viewed) -> bool:
    """Of a program: it has asked. Of a person: it waits, and their vote is wanted."""
    if asked.who.user is None:
        return is_own(asked, found.request)
    return found.refused is None and found.state == RequestState.OPEN


def _behind(asked: Asked, tenants: Sequence[str], states: Sequence[RequestState], place: RequestId | None) -> Iterator[Dossier]:
    """The requests of these tenants behind this one, in the one order that the store has for all of them, read a few at a time."""
    size = min(asked.params.limit + 1, _READ_AT_ONCE)
    while found := asked.gate.store.dossiers(states=states, tenants=tenants, limit=size, after=place):
        yield from found
        place = found[-1].request.id


def get_request(asked: Asked) -> Answer:
    """A request as an approver is shown it."""
    return _shown(find_visible(asked, asked.params.id))


def vote(asked: Asked) -> Answer:
    """Cast the vote of the person who asks."""
    return cast_vote(asked, None)


def cast_vote(asked: Asked, signed: ShownAssertion | None) -> Answer:
    """As `vote`, signed with a passkey where the person has signed: only the console's own pages can ask for that."""
    person, body = asked.person, asked.body
    assert isinstance(body, CastVote)
    found = find_visible(asked, asked.params.id, *_VOTING)
    _check_seen(asked, found, body.binding)
    with _refusals(asked, found.request):
        cast = asked.gate.approvals.vote(
            found.request.id,
            person,
            body.verdict,
            comment=body.comment,
            credential=asked.who.credential,
            binding=body.binding,
            signed=signed,
        )
    return Answer(body=Decided(request=shape_of(look(asked, found.request.id)), receipt=cast.receipt))


def take_back(asked: Asked) -> Answer:
    """Take back the vote of the person who asks."""
    person, body = asked.person, asked.body
    found = find_visible(asked, asked.params.id, *_VOTING)
    comment = body.comment if body is not None else None
    with _refusals(asked, found.request):
        cast = asked.gate.approvals.take_back(found.request.id, person, comment=comment, credential=asked.who.credential)
    return Answer(body=Decided(request=shape_of(look(asked, found.request.id)), receipt=cast.receipt))


def withdraw(asked: Asked) -> Answer:
    """Withdraw a request: whoever made it, the person it was made for, or an administrator may."""
    found = find_visible(asked, asked.params.id, "requests.withdraw_own", "requests.withdraw")
    request, desk, credential = found.request, asked.gate.approvals, asked.who.credential
    with _refusals(asked, request):
        if asked.decide("requests.withdraw", request.tenant).allowed:
            cast = desk.withdraw_as_operator(request.id, credential=credential)
        elif asked.who.user is not None:
            cast = desk.withdraw(request.id, asked.who.user, credential=credential)
        else:
            made_by = Caller(tenant=request.tenant, agent=request.agent, service=request.service, user=request.user)
            cast = desk.withdraw_as_caller(request.id, made_by, credential=credential)
    return Answer(body=Decided(request=shape_of(look(asked, request.id)), receipt=cast.receipt))


async def wait(asked: Asked) -> Answer:
    """Where a request stands once it is not open any more, or when the time is over."""
    params: OneWait = asked.params
    found = await asyncio.to_thread(find_visible, asked, params.id)
    state = await asked.gate.await_decision(found.request.id, params.timeout_s)
    return Answer(body=Waited(id=params.id, state=state.value, moved=state is not RequestState.OPEN))


def get_plan(asked: Asked) -> Answer:
    """A plan as an approver is shown it."""
    return Answer(body=_plan(asked, _find_plan(asked, *READING)))


def vote_on_plan(asked: Asked) -> Answer:
    """Cast votes on steps of a plan: all of them, or none."""
    return cast_votes_on_plan(asked, None)


def cast_votes_on_plan(asked: Asked, signed: ShownAssertion | None) -> Answer:
    """As `vote_on_plan`, signed together with a passkey where the person has signed."""
    person, body = asked.person, asked.body
    assert isinstance(body, CastPlanVotes)
    steps = _find_plan(asked, *_VOTING)
    verdicts = {one.step: one.verdict for one in body.votes}
    if len(verdicts) != len(body.votes):
        raise Problem("bad_request", "a step is voted on twice")
    bindings = {one.step: one.binding for one in body.votes}
    with _refusals(asked, None):
        casts = asked.gate.approvals.vote_plan(
            PlanId(asked.params.id),
            person,
            verdicts,
            comment=body.comment,
            credential=asked.who.credential,
            bindings=bindings,
            signed=signed,
        )
    return Answer(body=DecidedPlan(plan=_plan(asked, steps), receipts=tuple([cast.receipt for cast in casts])))


def _find_plan(asked: Asked, *wanted: OwnAction) -> tuple[RequestId, ...]:
    """The requests of a plan that whoever asks may see. Raises `Problem`."""
    if not any(asked.tenants(action) for action in wanted):
        raise not_permitted(wanted[0])
    try:
        found = asked.gate.approvals.plan(PlanId(asked.params.id))
    except KeyError as error:
        raise not_found() from error
    request = found[0].request
    if not may(asked, request, wanted):
        raise not_found()
    return tuple([one.request.id for one in found])


def _plan(asked: Asked, steps: Sequence[RequestId]) -> PlanShape:
    return PlanShape(id=asked.params.id, steps=tuple([shape_of(look(asked, step)) for step in steps]))


def _shown(found: Viewed) -> Answer:
    shape = shape_of(found)
    content = _encode(shape)
    return Answer(content=content, etag=f"{shape.binding}.{hashlib.sha256(content).hexdigest()[:16]}")


def _check_seen(asked: Asked, found: Viewed, binding: str) -> None:
    """Rule 2, for `If-Match`: the part of an `ETag` before its point is the binding. Another vote meanwhile is no reason to refuse."""
    condition = asked.header("if-match")
    if condition is None:
        return
    tags = [tag.strip().removeprefix("W/").strip('"').partition(".")[0] for tag in condition.split(",")]
    if "*" not in tags and (binding not in tags or found.binding not in tags):
        raise Problem("precondition_failed", "`If-Match` does not name what is voted on: look at the request again, then vote")


@contextmanager
def _refusals(asked: Asked, request: Request | None) -> Iterator[None]:
    """What the desk refuses, as a problem: not theirs (403), something was first (409), or not to be used (422)."""
    try:
        yield
    except VoteRefused as error:
        if error.code in _MOVED:
            raise Problem(error.code, str(error), status=409, errors=_changed(asked, request)) from error
        raise Problem(error.code, str(error), status=403 if error.code in _NOT_THEIRS else 422) from error
    except TransitionRefused as error:
        raise Problem("request_moved", str(error), status=409, errors=_changed(asked, request)) from error
    except KeyError as error:
        raise not_found() from error


def _changed(asked: Asked, before: Request | None) -> tuple[str, ...]:
    """What is otherwise than it was looked at: the state of now, and the request that has taken its place."""
    if before is None:
        return ()
    now = [f"state: {look(asked, before.id).request.state}"]
    newer = asked.gate.store.find_dossier(before.tenant, before.key)
    if newer is not None and newer.request.id != before.id:
        now.append(f"asked_anew: {newer.request.id}")
        anew = stand(newer.request, newer.votes, asked.directory, asked.gate.now())
        now += [f"changed: {anew.asked.changed}"] if anew.asked.changed else []
    return tuple(now)


_TAG = "approvals"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/requests",
        operation="listRequests",
        summary="The requests that wait, or that are in other states, the one that expires first first",
        tag=_TAG,
        action="requests.read",
        handler=list_requests,
        params=ListRequests,
        returns=RequestPage,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/requests/{id}",
        operation="getRequest",
        summary="A request as an approver is shown it; its ETag begins with the binding that a vote names",
        tag=_TAG,
        action="requests.read",
        handler=get_request,
        params=OneRequest,
        returns=RequestShape,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/requests/{id}/votes",
        operation="voteOnRequest",
        summary="Cast the vote of the person who asks, on exactly what was looked at",
        tag=_TAG,
        action="requests.vote",
        handler=vote,
        params=OneRequest,
        body=CastVote,
        returns=Decided,
        statuses=(409, 412, 422),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/requests/{id}/take-back",
        operation="takeBackVote",
        summary="Take back the vote of the person who asks",
        tag=_TAG,
        action="requests.vote",
        handler=take_back,
        params=OneRequest,
        body=TakeBack,
        body_optional=True,
        returns=Decided,
        statuses=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/requests/{id}/withdraw",
        operation="withdrawRequest",
        summary="Withdraw a request: its own program, the person it was made for, or an administrator",
        tag=_TAG,
        action="requests.withdraw_own",
        handler=withdraw,
        params=OneRequest,
        returns=Decided,
        statuses=(409, 422),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/requests/{id}/wait",
        operation="waitForRequest",
        summary="Wait until a request is not open any more",
        tag=_TAG,
        action="requests.read_own",
        handler=wait,
        params=OneWait,
        returns=Waited,
        waits=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/plans/{id}",
        operation="getPlan",
        summary="The steps of a plan that people decide on",
        tag=_TAG,
        action="requests.read",
        handler=get_plan,
        params=OneRequest,
        returns=PlanShape,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/plans/{id}/votes",
        operation="voteOnPlan",
        summary="Cast votes on steps of a plan: all of them, or none",
        tag=_TAG,
        action="requests.vote",
        handler=vote_on_plan,
        params=OneRequest,
        body=CastPlanVotes,
        returns=DecidedPlan,
        statuses=(409, 422),
    ),
)
