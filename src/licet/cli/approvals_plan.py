"""Plans on the command line: the steps that wait, shown and decided at once. A vote on several steps is cast on all of them, or on none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from licet.approvals.attest import attest_rows
from licet.cli.approvals_facts import show_whole
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.loading import desk, utc_now
from licet.cli.output import Output
from licet.cli.requests import Viewed, stand
from licet.cli.wording import counted, listed
from licet.config import Settings
from licet.identity.directory import Directory
from licet.model import PlanId, Receipt
from licet.store.sqlite import SqliteStore

Verdict = Literal["approve", "reject"]


class VotedPlan(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the steps that were decided, the receipts of their votes, and every step after it."""

    plan: str
    voter: str
    verdict: Verdict
    operating_user: str
    decided: tuple[int, ...]
    receipts: tuple[Receipt, ...]
    steps: tuple[Viewed, ...]


def find_steps(store: SqliteStore, settings: Settings, plan: str, *, viewer: str | None = None) -> tuple[Viewed, ...]:
    """The steps of a plan that people were asked about, in their order; of one that was held anew, the last. None where it is no plan."""
    directory, now = Directory.from_settings(settings), utc_now()
    steps = {}
    for found in store.dossiers_of_plan(PlanId(plan)):
        attest_rows(found)
        steps[found.request.step] = stand(found.request, found.votes, directory, now, viewer=viewer)
    return tuple([steps[number] for number in sorted(steps)])


def vote_plan(
    settings: Settings,
    steps: Sequence[Viewed],
    wanted: Sequence[int],
    voter: str,
    verdict: Verdict,
    *,
    comment: str | None,
    operating_user: str,
) -> VotedPlan:
    """Vote on the wanted steps, or on all that wait. Raises `Refusal` where none waits, and as the desk does."""
    plan = steps[0].request.plan
    assert plan is not None
    chosen = tuple(wanted) or tuple([step.request.step for step in steps if step.state == "open"])
    if not chosen:
        raise Refusal(Exit.DENIED, "not_open", f"no step of plan `{plan}` waits for a vote", next_step=f"`licet approvals show {plan}`")
    with desk(settings) as approvals:
        casts = approvals.vote_plan(plan, voter, dict.fromkeys(chosen, verdict), comment=comment, operating_user=operating_user)
    return VotedPlan(
        plan=plan,
        voter=voter,
        verdict=verdict,
        operating_user=operating_user,
        decided=chosen,
        receipts=tuple([cast.receipt for cast in casts]),
        steps=tuple(steps),
    )


def show_steps(output: Output, steps: Sequence[Viewed]) -> None:
    """Every step whole, one below the other."""
    plan = steps[0].request
    output.line(f"Plan {plan.plan}: people are asked about {counted(len(steps), 'step')} of {plan.steps}.")
    for step in steps:
        output.heading(f"Step {step.request.step} of {step.request.steps}")
        show_whole(output, step)


def show_voted(output: Output, voted: VotedPlan) -> None:
    """What was voted on, then every step."""
    verb = "approved" if voted.verdict == "approve" else "rejected"
    places = listed([f"{receipt.log}:{receipt.index}" for receipt in voted.receipts], 20)
    numbers = listed([str(number) for number in voted.decided], 100)
    below = f"recorded as {places}, cast by operating user {voted.operating_user}"
    output.mark("ok", "voted", f"{voted.voter} {verb} step {numbers} of this plan", below=below)
    output.line()
    show_steps(output, voted.steps)
