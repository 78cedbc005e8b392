"""A plan in the inbox: all of its steps on one page, a decision for each, and one form for all of them.

Rules:

1. As for a single request (console/inbox.py). Each decision names the step and what was looked at; a step without one is left as it is.
2. All decisions are cast, or none: where one of them cannot be, the page says why, and what has become of the plan.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from licet.approvals.aside import COMMENT_LIMIT
from licet.console.inbox import ShowRequest, inbox
from licet.console.inbox_request import whole_of
from licet.console.signing import Signed, read_signed
from licet.gate.plans import STEPS_LIMIT
from licet.server import approvals
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, bad_request
from licet.server.shapes_approvals import CastPlanVotes, OneRequest, PlanShape, StepVote

_Choice = Annotated[str, Meta(pattern="^((approve|reject)\\.[0-9a-f]{64})?$")]
_NAMES: Final = {f"step_{number}": number for number in range(1, STEPS_LIMIT + 1)}
VotePlan: Final = msgspec.defstruct(
    "VotePlan",
    [*[(name, _Choice, "") for name in _NAMES], ("comment", Annotated[str, Meta(max_length=COMMENT_LIMIT)], ""), ("assertion", Signed, "")],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)
"""A decision for each step, `approve.` or `reject.` and the binding of what was looked at; nothing where it is left as it is."""


def show_plan(asked: Asked) -> Answer:
    """The steps of a plan, beside the list."""
    params: ShowRequest = asked.params
    found: PlanShape = approvals.get_plan(asked.with_input(OneRequest(id=params.id), None)).body
    return inbox(asked, params.show, plan=_plan_of(asked, found))


def vote_on_plan(asked: Asked) -> Answer:
    """Cast the votes of the person who is signed in."""
    params: OneRequest = asked.params
    chosen = {number: getattr(asked.body, name).partition(".") for name, number in _NAMES.items() if getattr(asked.body, name)}
    if not chosen:
        raise bad_request("no step was decided: choose for one at least")
    votes = tuple([StepVote(step=step, verdict=verdict, binding=binding) for step, (verdict, _, binding) in chosen.items()])
    comment = asked.body.comment.strip() or None
    try:
        approvals.cast_votes_on_plan(
            asked.with_input(params, CastPlanVotes(votes=votes, comment=comment)), read_signed(asked.body.assertion)
        )
    except Problem as problem:
        if problem.status != HTTPStatus.CONFLICT:
            raise
        found: PlanShape = approvals.get_plan(asked.with_input(params, None)).body
        here = f"/console/inbox/plans/{params.id}"
        return inbox(asked, "mine", plan=_plan_of(asked, found), refused=problem, status=problem.status, here=here)
    return Answer(status=303, media_type="text/plain", headers=(("Location", f"/console/inbox/plans/{params.id}"),))


def _plan_of(asked: Asked, found: PlanShape) -> dict[str, Any]:
    steps = [whole_of(asked, one) for one in found.steps]
    first = min((step for step in steps if step["is_live"]), key=lambda step: str(step["until"]), default=None)
    return {
        "id": found.id,
        "steps": steps,
        "of": found.steps[0].steps,
        "first": first,
        "who": steps[0]["who"],
        "opened_at": found.steps[0].opened_at,
        "may_vote": any(step["may_vote"] for step in steps),
        "why_not": next((step["why_not"] for step in steps if step["why_not"]), None),
    }


PAGES: Final = (
    Endpoint(
        method="GET",
        path="/console/inbox/plans/{id}",
        operation="consolePlan",
        summary="The steps of a plan as their approvers see them",
        tag="console",
        action="requests.read",
        handler=show_plan,
        params=ShowRequest,
    ),
    Endpoint(
        method="POST",
        path="/console/inbox/plans/{id}/vote",
        operation="consoleVoteOnPlan",
        summary="Vote on steps of a plan",
        tag="console",
        action="requests.vote",
        handler=vote_on_plan,
        params=OneRequest,
        body=VotePlan,
    ),
)
