"""`licet approvals approve`, `deny`, `take-back` and `withdraw`: done in a user's name, by whoever may write the store.

Where a server is asked, the credential says who votes. Of the ledger at hand none is shown: who can write the file can vote in any name. So
the record says which operating user did, by the process's real user id and not by an environment variable, and an application's agents must
not run as a user who can write the store.
"""

from __future__ import annotations

import os
import pwd
from typing import Any

import click
from msgspec import Struct

from licet.cli.approvals_facts import show_whole
from licet.cli.approvals_plan import show_voted, vote_plan
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.output import Output
from licet.cli.request_source import Caster, Requests, Verb, Verdict, requests_of
from licet.cli.requests import Viewed
from licet.model import Receipt, RequestState


class Voted(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: what was done in whose name, the receipt of its record, and the request after it."""

    voter: str
    verdict: Verb
    operating_user: str | None
    receipt: Receipt
    request: Viewed
    credential: str | None = None

    @property
    def caster(self) -> Caster:
        """Who did it."""
        return Caster(voter=self.voter, operating_user=self.operating_user, credential=self.credential)


@click.command()
@click.argument("request")
@click.option("--as", "voter", metavar="USER", help="The user of the directory who votes; of a server, the one whose credential it is.")
@click.option("--comment", metavar="TEXT", help="Recorded with the vote.")
@click.option("--step", "steps", type=int, multiple=True, metavar="N", help="Of a plan, only this step; by default all that wait.")
@click.pass_obj
def approve(invocation: Invocation, /, *, request: str, voter: str | None, comment: str | None, steps: tuple[int, ...]) -> int:
    """Approve a request, or the steps of a plan, and show what was voted on.

    Once enough people have, the same call, made again, runs once. The record names USER as the voter and the operating
    user who ran this command. Ends with 6 where USER may not vote, 5 where there is no such user.
    """
    return _vote(invocation, request, "approve", voter, comment, wanted=steps)


@click.command()
@click.argument("request")
@click.option("--as", "voter", metavar="USER", help="The user of the directory who votes; of a server, the one whose credential it is.")
@click.option("--comment", metavar="TEXT", help="Recorded with the vote.")
@click.option("--step", "steps", type=int, multiple=True, metavar="N", help="Of a plan, only this step; by default all that wait.")
@click.pass_obj
def deny(invocation: Invocation, /, *, request: str, voter: str | None, comment: str | None, steps: tuple[int, ...]) -> int:
    """Reject a request, or the steps of a plan, and show what was voted on. One rejection ends it."""
    return _vote(invocation, request, "reject", voter, comment, wanted=steps)


@click.command("take-back")
@click.argument("request")
@click.option("--as", "voter", metavar="USER", help="The user of the directory whose vote it is; of a server, as for a vote.")
@click.option("--comment", metavar="TEXT", help="Recorded with it.")
@click.pass_obj
def take_back(invocation: Invocation, /, request: str, voter: str | None, comment: str | None) -> int:
    """Take a vote back, as long as the request is not over.

    What was approved with it, and is not without it, is open again.
    """
    return _decide(invocation, request, "take_back", voter, comment)


@click.command()
@click.argument("request")
@click.option("--as", "voter", metavar="USER", help="The user for whom the call was made; of a server, as for a vote.")
@click.pass_obj
def withdraw(invocation: Invocation, /, request: str, voter: str | None) -> int:
    """Withdraw a request: the user for whom the call was made may. The same call, made again, asks anew."""
    return _decide(invocation, request, "withdraw", voter, None)


def operating_user() -> str:
    """The real user of this process, as the operating system knows it."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _vote(invocation: Invocation, named: str, verdict: Verdict, voter: str | None, comment: str | None, *, wanted: tuple[int, ...]) -> int:
    """A vote on a request, or on a plan where it is the id of one."""
    _check_named(invocation, voter)
    with requests_of(invocation) as requests:
        caster = requests.caster(voter)
        steps = requests.find_steps(named, viewer=None)
        if steps:
            voted = vote_plan(requests, steps, wanted, verdict, caster=caster, comment=comment)
            return invocation.answer(voted, lambda output: show_voted(output, voted), next_step=_PLAN_STEP)
        if wanted:
            message = f"there is no plan `{named}`, so it has no steps"
            raise Refusal(Exit.ERROR, "not_found", message, next_step="`licet approvals list` lists requests with their plans")
        return _carry_out(invocation, requests, named, verdict, caster=caster, comment=comment)


_PLAN_STEP = "the same plan, proposed again, goes on where it stopped"


def _check_named(invocation: Invocation, voter: str | None) -> None:
    """Of the ledger at hand, somebody is named before it is opened."""
    if voter is None and invocation.server is None:
        raise click.MissingParameter(ctx=click.get_current_context(), param_hint="'--as'", param_type="option")


def _decide(invocation: Invocation, request: str, verb: Verb, voter: str | None, comment: str | None) -> int:
    _check_named(invocation, voter)
    with requests_of(invocation) as requests:
        return _carry_out(invocation, requests, request, verb, caster=requests.caster(voter), comment=comment)


def _carry_out(invocation: Invocation, requests: Requests, request: str, verb: Verb, *, caster: Caster, comment: str | None) -> int:
    done = requests.decide(requests.get(request, viewer=caster.voter), verb, caster, comment)
    voted = Voted(
        voter=caster.voter,
        verdict=verb,
        operating_user=caster.operating_user,
        credential=caster.credential,
        receipt=done.receipt,
        request=requests.get(request, viewer=None),
    )
    return invocation.answer(voted, lambda output: _show(output, voted), next_step=_STEPS.get(voted.request.request.state))


_STEPS: dict[Any, str] = {
    RequestState.APPROVED: "the same call, made again before the request expires, runs once",
    RequestState.OPEN: "more people must vote; `licet approvals show ID` says who",
    RequestState.WITHDRAWN: "the same call, made again, asks anew",
}
_SAID: dict[Verb, tuple[str, str]] = {
    "approve": ("voted", "approved this call"),
    "reject": ("voted", "rejected this call"),
    "take_back": ("taken back", "took their vote on this call back"),
    "withdraw": ("withdrawn", "withdrew this request"),
}


def _show(output: Output, voted: Voted) -> None:
    word, did = _SAID[voted.verdict]
    place = f"{voted.receipt.log}:{voted.receipt.index}"
    below = f"recorded as {place}, {voted.caster.says}"
    output.mark("ok", word, f"{voted.voter} {did}", below=below)
    output.line()
    show_whole(output, voted.request)
