"""Requests of a server, as they are shown of the ledger at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from licet.approvals.standing import Need, NeedStanding, Standing, binding_of
from licet.approvals.viewed import Asked, Viewed
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import utc_now
from licet.cli.remote import as_type, check_person, client_of, missing, refusals
from licet.cli.request_source import Caster, CastOnPlan, Done, Page, Verb, Verdict
from licet.client import types
from licet.errors import IntegrityBroken, ServerProblem, VoteRefused
from licet.model import LIVE_STATES, Obligation, Receipt, Request, RequestId, RequestState, Vote

AT_ONCE = 200
"""Requests on a page of the API."""
LOOK_S = 1.0
"""How often a server is asked what has become of its requests."""


class RemoteRequests:
    """The requests that a credential may see."""

    def __init__(self, invocation: Invocation) -> None:
        self._client = client_of(invocation)

    def page(self, *, tenant: str | None, states: tuple[RequestState, ...] | None, limit: int, after: str | None) -> Page:
        """A page of requests, what expires first first. `after` is a cursor of the server."""
        wanted: Any = tuple([state.value for state in (states if states is not None else RequestState)])
        found: list[Viewed] = []
        while True:
            page = self._client.list_requests(tenant=tenant, state=wanted, limit=min(AT_ONCE, limit - len(found)), cursor=after)
            found += map(_without_viewer, map(viewed, page.requests))
            after = page.next
            if after is None or len(found) >= limit:
                return Page(tuple(found), after)

    def get(self, request: str, *, viewer: str | None) -> Viewed:
        """One request. Raises `Refusal`, `ServerError`, and `IntegrityBroken` where it does not hold together."""
        with missing(f"there is no request `{request}`", "`licet approvals list --all` lists them"):
            return viewed(self._client.get_request(request), viewer)

    def find_steps(self, plan: str, *, viewer: str | None) -> tuple[Viewed, ...]:
        """The steps of a plan that people were asked about, in their order; none where it is no plan."""
        try:
            found = self._client.get_plan(plan)
        except ServerProblem as error:
            if error.code == "not_found":
                return ()
            raise
        return tuple([viewed(step, viewer) for step in found.steps])

    def viewer(self, named: str | None) -> str | None:
        """Whose credential it is, where somebody is named."""
        return None if named is None else check_person(self._client, named)

    def caster(self, named: str | None) -> Caster:
        """Whose credential it is."""
        person = check_person(self._client, named)
        return Caster(voter=person, credential=self._client.who_am_i().credential)

    def decide(self, shown: Viewed, verb: Verb, caster: Caster, comment: str | None) -> Done:  # noqa: ARG002 - the credential says who
        """Do it on the request that was shown: the vote names its binding."""
        request = shown.request.id
        with missing(f"there is no request `{request}`", "`licet approvals list --all` lists them"), refusals(VoteRefused):
            match verb:
                case "take_back":
                    done = self._client.take_back_vote(request, types.TakeBack(comment=comment))
                case "withdraw":
                    done = self._client.withdraw_request(request)
                case "approve" | "reject":
                    done = self._client.vote_on_request(request, types.CastVote(verdict=verb, binding=shown.binding, comment=comment))
        return Done(as_type(done.receipt, Receipt), done.request.state)

    def decide_plan(
        self,
        steps: Sequence[Viewed],
        chosen: tuple[int, ...],
        verdict: Verdict,
        caster: Caster,  # noqa: ARG002 - the credential says who
        comment: str | None,
    ) -> CastOnPlan:
        """Vote on these steps: on all of them, or on none."""
        bindings = {step.request.step: step.binding for step in steps}
        plan = str(steps[0].request.plan)
        unknown = [number for number in chosen if number not in bindings]
        if unknown:
            raise VoteRefused("no_such_step", f"plan `{plan}` has no step {unknown[0]} that people are asked about")
        votes = tuple([types.StepVote(step=number, verdict=verdict, binding=bindings[number]) for number in chosen])
        with refusals(VoteRefused):
            done = self._client.vote_on_plan(plan, types.CastPlanVotes(votes=votes, comment=comment))
        return CastOnPlan(chosen, tuple([as_type(one, Receipt) for one in done.receipts]))

    def feed(self, *, tenant: str | None, viewer: str | None) -> RemoteFeed:
        """What waits, looked at again and again."""
        return RemoteFeed(self, tenant, self.viewer(viewer))


class RemoteFeed:
    """The live requests of a server, asked for every second at most."""

    def __init__(self, requests: RemoteRequests, tenant: str | None, viewer: str | None) -> None:
        self._requests = requests
        self._tenant = tenant
        self._viewer = viewer
        self._looked = 0.0

    def has_moved(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() - self._looked >= LOOK_S

    def read(self, limit: int | None = None) -> tuple[Viewed, ...]:
        """What waits now, the one that expires first first."""
        self._looked = time.monotonic()
        page = self._requests.page(tenant=self._tenant, states=tuple(LIVE_STATES), limit=limit or AT_ONCE * 50, after=None)
        now = utc_now()
        return tuple([one.at(now) for one in page.requests if one.request.expires_at > now])

    def find(self, request: RequestId) -> Viewed | None:
        """One request; None where it was erased, or may not be seen any more."""
        try:
            return self._requests.get(request, viewer=self._viewer)
        except Refusal as refused:
            if refused.fault.code == "not_found":
                return None
            raise

    def has_voted(self, found: Viewed) -> bool:
        """Whether a vote of the viewer stands on it."""
        return self._viewer is not None and self._viewer in {vote.voter for vote in found.votes}


def viewed(shape: types.RequestShape, viewer: str | None = None) -> Viewed:
    """A request of the API as those of the ledger at hand are shown. Raises `IntegrityBroken` where its binding is not of what it says."""
    asked = as_type(
        {name: getattr(shape, name) for name in ("arguments", "targets", "preview", "previewed_by", "reason", "changed", "undoes")}, Asked
    )
    obligations = as_type(shape.obligations, tuple[Obligation, ...])
    members = {name: getattr(shape, name) for name in _SAME}
    signed = {"passkey": True} if shape.passkey else {}
    request = as_type({**members, **signed, "obligations": obligations, "summary": asked}, Request)
    binding = binding_of(request.key, request.preview_digest, obligations)
    if binding != shape.binding:
        raise IntegrityBroken(f"the server's word for what a vote on request `{request.id}` is cast on is not of what it shows")
    needs = tuple([_need(need) for need in shape.needs])
    return Viewed(
        request=request,
        state=shape.state,
        asked=asked,
        votes=tuple([_vote(request.id, vote) for vote in shape.votes]),
        needs=needs,
        may_vote={need.policy: need.may_vote for need in shape.needs},
        binding=binding,
        expires_in_s=int((request.expires_at - utc_now()).total_seconds()),
        standing=Standing(needs, next((vote.voter for vote in shape.votes if vote.verdict == "reject"), None)),
        viewer=viewer,
        refused=None if viewer is None else shape.why_not,
    )


_SAME = (
    "id",
    "key",
    "tenant",
    "tool",
    "agent",
    "service",
    "user",
    "call",
    "state",
    "opened_at",
    "expires_at",
    "preview_digest",
    "plan",
    "step",
    "steps",
)
"""Members that a request has alike in the API and in the rooms."""


def _need(need: types.NeedShape) -> NeedStanding:
    asked = {name: getattr(need, name) for name in ("policy", "kind", "group", "count", "reason", "separation")}
    return NeedStanding(as_type(asked, Need), need.voters)


def _vote(request: RequestId, vote: types.VoteShape) -> Vote:
    said = msgspec.structs.asdict(vote)
    if vote.channel is None:
        del said["channel"]
    return as_type({"request": request, **said}, Vote)


def _without_viewer(found: Viewed) -> Viewed:
    return msgspec.structs.replace(found, viewer=None, refused=None)
