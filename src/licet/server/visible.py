"""Which requests somebody may see, and what of them.

Rules:

1. Who may read the requests of a tenant sees them whole: nothing that a vote is cast on is hidden from whoever casts it.
2. A program sees those that it made, and a person those that were made for them, where they may read their own (`requests.read_own`).
3. What this one may not see and what is not there answer alike.
4. A row that is not what its records say is shown to nobody (`IntegrityBroken`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from licet.approvals.viewed import PAST, Viewed, get_request, stand
from licet.approvals.viewed import has_voted as _has_voted
from licet.identity.authenticated import AskedCaller
from licet.model import Request, RequestId
from licet.policy.own import OwnAction
from licet.server.endpoint import Asked, not_permitted
from licet.server.problems import not_found
from licet.server.shapes_approvals import NeedShape, RequestShape, VoteShape

_OF_OWN = frozenset({"requests.read_own", "requests.withdraw_own", "requests.confirm_own"})
READING: tuple[OwnAction, ...] = ("requests.read", "requests.read_own")


def find_visible(asked: Asked, id_: str, *actions: OwnAction) -> Viewed:
    """The request as it stands now, for somebody with one of these permissions in its tenant. Raises `Problem`, `IntegrityBroken`.

    Who has none of them anywhere is told so, whatever there is.
    """
    wanted = actions or READING
    if not any(asked.tenants(action) for action in wanted):
        raise not_permitted(wanted[0])
    store = asked.gate.store
    try:
        found = store.get_request(RequestId(id_))
    except KeyError as error:
        raise not_found() from error
    if not may(asked, found, wanted):
        raise not_found()
    return look(asked, found.id)


def may(asked: Asked, request: Request, actions: Iterable[OwnAction]) -> bool:
    """Whether one of these permissions is had for this request."""
    return any(asked.decide(action, request.tenant).allowed and (action not in _OF_OWN or is_own(asked, request)) for action in actions)


def look(asked: Asked, id_: RequestId) -> Viewed:
    """The request as it stands, for whoever asks. One that is past its time is expired on the way. Raises `Problem`, `IntegrityBroken`."""
    try:
        asked.gate.approvals.show(id_)
        request, votes = get_request(asked.gate.store, id_)
    except KeyError as error:
        raise not_found() from error
    return stand(request, votes, asked.directory, asked.gate.now(), viewer=asked.who.user)


def is_own(asked: Asked, request: Request) -> bool:
    """Whether whoever asks made this request, or it was made for them."""
    who = asked.who
    if who.user is not None:
        return request.user is not None and asked.directory.person_of(request.user) == asked.directory.person_of(who.user)
    # Who acts for one user alone does not see what its agent asked for itself: delegation never widens.
    caller = who.find_caller(AskedCaller(tenant=request.tenant, agent=request.agent, service=request.service, user=request.user))
    return caller is not None and caller.user == request.user


def has_voted(asked: Asked, found: Viewed) -> bool:
    """Whether a vote of the person who asks stands on it."""
    return _has_voted(found, asked.directory)


def shape_of(found: Viewed) -> RequestShape:
    """The request as the API gives it."""
    request, asked = found.request, found.asked
    return RequestShape(
        id=request.id,
        tenant=request.tenant,
        tool=request.tool,
        agent=request.agent,
        service=request.service,
        user=request.user,
        call=request.call,
        state="expired" if found.state == PAST else request.state.value,
        opened_at=request.opened_at,
        expires_at=request.expires_at,
        sentence=found.sentence,
        arguments=asked.arguments,
        targets=asked.targets,
        preview=asked.preview,
        previewed_by=asked.previewed_by,
        reason=asked.reason,
        changed=asked.changed,
        undoes=asked.undoes,
        needs=tuple(_needs(found)),
        votes=tuple(
            [
                VoteShape(
                    voter=vote.voter,
                    person=vote.person,
                    verdict=vote.verdict,
                    at=vote.at,
                    binding=vote.binding,
                    comment=vote.comment,
                    credential=vote.credential,
                    operating_user=vote.operating_user,
                    channel=vote.channel or None,
                )
                for vote in found.votes
            ]
        ),
        key=request.key,
        preview_digest=request.preview_digest,
        obligations=request.obligations,
        binding=found.binding,
        passkey=request.passkey is True,
        may_vote=found.viewer is not None and found.refused is None and found.state == "open",
        why_not=found.refused,
        plan=request.plan,
        step=request.step,
        steps=request.steps,
    )


def _needs(found: Viewed) -> Iterator[NeedShape]:
    for one in found.needs:
        need = one.need
        yield NeedShape(
            policy=need.policy,
            kind=need.kind,
            group=need.group,
            count=need.count,
            reason=need.reason,
            separation=need.separation,
            voters=one.voters,
            missing=max(0, one.missing),
            may_vote=found.may_vote.get(need.policy, ()),
        )
