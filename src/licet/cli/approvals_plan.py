"""Plans on the command line: the steps that wait, shown and decided at once. A vote on several steps is cast on all of them, or on none."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from licet.cli.approvals_facts import show_whole
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.output import Output
from licet.cli.request_source import Caster, Requests, Verdict
from licet.cli.requests import Viewed
from licet.cli.wording import counted, listed
from licet.model import Receipt


class VotedPlan(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the steps that were decided, the receipts of their votes, and every step after it."""

    plan: str
    voter: str
    verdict: Verdict
    operating_user: str | None
    decided: tuple[int, ...]
    receipts: tuple[Receipt, ...]
    steps: tuple[Viewed, ...]
    credential: str | None = None

    @property
    def caster(self) -> Caster:
        """Who cast them."""
        return Caster(voter=self.voter, operating_user=self.operating_user, credential=self.credential)


def vote_plan(
    requests: Requests, steps: Sequence[Viewed], wanted: Sequence[int], verdict: Verdict, *, caster: Caster, comment: str | None
) -> VotedPlan:
    """Vote on the wanted steps, or on all that wait. Raises `Refusal` where none waits, and as the desk does."""
    plan = steps[0].request.plan
    assert plan is not None
    chosen = tuple(wanted) or tuple([step.request.step for step in steps if step.state == "open"])
    if not chosen:
        raise Refusal(Exit.DENIED, "not_open", f"no step of plan `{plan}` waits for a vote", next_step=f"`licet approvals show {plan}`")
    cast = requests.decide_plan(steps, chosen, verdict, caster, comment)
    return VotedPlan(
        plan=plan,
        voter=caster.voter,
        verdict=verdict,
        operating_user=caster.operating_user,
        credential=caster.credential,
        decided=cast.decided,
        receipts=cast.receipts,
        steps=requests.find_steps(plan, viewer=None),
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
    below = f"recorded as {places}, {voted.caster.says}"
    output.mark("ok", "voted", f"{voted.voter} {verb} step {numbers} of this plan", below=below)
    output.line()
    show_steps(output, voted.steps)
