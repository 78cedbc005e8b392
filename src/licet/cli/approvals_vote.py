"""`licet approvals approve`, `deny`, `take-back` and `withdraw`: done in a user's name, by whoever may write the store.

No credential is shown here: who can write the file can vote in any name. So the record says which operating user did, by the process's real
user id and not by an environment variable, and an application's agents must not run as a user who can write the store.
"""

from __future__ import annotations

import os
import pwd
from typing import Any, Literal

import click
from msgspec import Struct
from msgspec.structs import replace

from licet.approvals.desk import Cast
from licet.cli.approvals_facts import show_whole
from licet.cli.approvals_plan import find_steps, show_voted, vote_plan
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import desk, load_settings, reading, utc_now
from licet.cli.output import Output
from licet.cli.requests import Viewed, get_request, is_same, stand
from licet.config import Settings
from licet.identity.directory import Directory
from licet.model import Receipt, RequestState

Verb = Literal["approve", "reject", "take_back", "withdraw"]


class Voted(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: what was done in whose name, the receipt of its record, and the request after it."""

    voter: str
    verdict: Verb
    operating_user: str
    receipt: Receipt
    request: Viewed


@click.command()
@click.argument("request")
@click.option("--as", "voter", required=True, metavar="USER", help="The user of the directory who votes.")
@click.option("--comment", metavar="TEXT", help="Recorded with the vote.")
@click.option("--step", "steps", type=int, multiple=True, metavar="N", help="Of a plan, only this step; by default all that wait.")
@click.pass_obj
def approve(invocation: Invocation, /, *, request: str, voter: str, comment: str | None, steps: tuple[int, ...]) -> int:
    """Approve a request, or the steps of a plan, and show what was voted on.

    Once enough people have, the same call, made again, runs once. The record names USER as the voter and the operating
    user who ran this command. Ends with 6 where USER may not vote, 5 where there is no such user.
    """
    return _vote(invocation, request, "approve", voter, comment, wanted=steps)


@click.command()
@click.argument("request")
@click.option("--as", "voter", required=True, metavar="USER", help="The user of the directory who votes.")
@click.option("--comment", metavar="TEXT", help="Recorded with the vote.")
@click.option("--step", "steps", type=int, multiple=True, metavar="N", help="Of a plan, only this step; by default all that wait.")
@click.pass_obj
def deny(invocation: Invocation, /, *, request: str, voter: str, comment: str | None, steps: tuple[int, ...]) -> int:
    """Reject a request, or the steps of a plan, and show what was voted on. One rejection ends it."""
    return _vote(invocation, request, "reject", voter, comment, wanted=steps)


@click.command("take-back")
@click.argument("request")
@click.option("--as", "voter", required=True, metavar="USER", help="The user of the directory whose vote it is.")
@click.option("--comment", metavar="TEXT", help="Recorded with it.")
@click.pass_obj
def take_back(invocation: Invocation, /, request: str, voter: str, comment: str | None) -> int:
    """Take a vote back, as long as the request is not over.

    What was approved with it, and is not without it, is open again.
    """
    return _decide(invocation, request, "take_back", voter, comment)


@click.command()
@click.argument("request")
@click.option("--as", "voter", required=True, metavar="USER", help="The user for whom the call was made.")
@click.pass_obj
def withdraw(invocation: Invocation, /, request: str, voter: str) -> int:
    """Withdraw a request: the user for whom the call was made may. The same call, made again, asks anew."""
    return _decide(invocation, request, "withdraw", voter, None)


def operating_user() -> str:
    """The real user of this process, as the operating system knows it."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def carry_out(settings: Settings, shown: Viewed, verb: Verb, voter: str, comment: str | None) -> Cast:
    """Do it on the request that was shown. Raises `Refusal` where it is not the same any more, and as the desk does."""
    request = shown.request.id
    with reading(settings) as store:
        # A request's id stands for one call, one preview and one set of obligations for as long as its records do: it is held against
        # what was on the screen all the same, since whoever can write the store could have put something else in its place.
        now, _ = get_request(store, request)
    if not is_same(shown, now):
        message = f"request `{request}` is not what was shown any more"
        raise Refusal(
            Exit.DENIED, "not_as_shown", message, next_step="look at it again; `licet audit verify` says whether the log is sound"
        )
    with desk(settings) as approvals:
        match verb:
            case "take_back":
                return approvals.take_back(request, voter, comment=comment, operating_user=operating_user())
            case "withdraw":
                return approvals.withdraw(request, voter)
            case "approve" | "reject":
                return approvals.vote(request, voter, verb, comment=comment, operating_user=operating_user())


def _vote(
    invocation: Invocation, named: str, verdict: Literal["approve", "reject"], voter: str, comment: str | None, *, wanted: tuple[int, ...]
) -> int:
    """A vote on a request, or on a plan where it is the id of one."""
    settings = load_settings(invocation)
    with reading(settings) as store:
        steps = find_steps(store, settings, named)
    if not steps:
        if wanted:
            message = f"there is no plan `{named}`, so it has no steps"
            raise Refusal(Exit.ERROR, "not_found", message, next_step="`licet approvals list` lists requests with their plans")
        return _decide(invocation, named, verdict, voter, comment)
    voted = vote_plan(settings, steps, wanted, voter, verdict, comment=comment, operating_user=operating_user())
    with reading(settings) as store:
        voted = replace(voted, steps=find_steps(store, settings, named))
    return invocation.answer(voted, lambda output: show_voted(output, voted), next_step=_PLAN_STEP)


_PLAN_STEP = "the same plan, proposed again, goes on where it stopped"


def _decide(invocation: Invocation, request: str, verb: Verb, voter: str, comment: str | None) -> int:
    settings = load_settings(invocation)
    cast = carry_out(settings, _view(settings, request, voter), verb, voter, comment)
    voted = Voted(voter=voter, verdict=verb, operating_user=operating_user(), receipt=cast.receipt, request=_view(settings, request, None))
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


def _view(settings: Settings, request: str, viewer: str | None) -> Viewed:
    with reading(settings) as store:
        asked, votes = get_request(store, request)
        return stand(asked, votes, Directory.from_settings(settings), utc_now(), viewer=viewer)


def _show(output: Output, voted: Voted) -> None:
    word, did = _SAID[voted.verdict]
    place = f"{voted.receipt.log}:{voted.receipt.index}"
    below = f"recorded as {place}, cast by operating user {voted.operating_user}"
    output.mark("ok", word, f"{voted.voter} {did}", below=below)
    output.line()
    show_whole(output, voted.request)
