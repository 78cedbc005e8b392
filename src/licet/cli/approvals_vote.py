"""`licet approvals approve` and `deny`: a vote of a user of the directory, cast by whoever may write the store.

No credential is shown here: who can write the file can vote in any name. So the record says which operating user did, by the process's real
user id and not by an environment variable, and an application's agents must not run as a user who can write the store.
"""

from __future__ import annotations

import os
import pwd
from typing import Any, Literal

import click
from msgspec import Struct

from licet.cli.invocation import Invocation
from licet.cli.loading import desk, load_settings, reading, utc_now
from licet.cli.output import Output
from licet.cli.requests import Viewed, get_request, show_whole, stand
from licet.config import Settings
from licet.identity.directory import Directory
from licet.model import Receipt, RequestState


class Voted(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the request after the vote, what was voted on in it, and the receipt of the vote's record."""

    voter: str
    verdict: Literal["approve", "reject"]
    operating_user: str
    receipt: Receipt
    request: Viewed


@click.command()
@click.argument("request")
@click.option("--as", "voter", required=True, metavar="USER", help="The user of the directory who votes.")
@click.option("--comment", metavar="TEXT", help="Recorded with the vote.")
@click.pass_obj
def approve(invocation: Invocation, /, request: str, voter: str, comment: str | None) -> int:
    """Approve a request, and show what was voted on.

    Once enough people have, the same call, made again, runs once. The record names USER as the voter and the operating
    user who ran this command. Ends with 6 where USER may not vote, 5 where there is no such user.
    """
    return _vote(invocation, request, voter, "approve", comment)


@click.command()
@click.argument("request")
@click.option("--as", "voter", required=True, metavar="USER", help="The user of the directory who votes.")
@click.option("--comment", metavar="TEXT", help="Recorded with the vote.")
@click.pass_obj
def deny(invocation: Invocation, /, request: str, voter: str, comment: str | None) -> int:
    """Reject a request, and show what was voted on. One rejection ends it."""
    return _vote(invocation, request, voter, "reject", comment)


def operating_user() -> str:
    """The real user of this process, as the operating system knows it."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _vote(invocation: Invocation, request: str, voter: str, verdict: Literal["approve", "reject"], comment: str | None) -> int:
    settings = load_settings(invocation)
    with reading(settings) as store:
        known = get_request(store, request)
    user = operating_user()
    with desk(settings) as approvals:
        cast = approvals.vote(known.id, voter, verdict, comment=comment, operating_user=user)
    voted = Voted(voter=voter, verdict=verdict, operating_user=user, receipt=cast.receipt, request=_view(settings, request))
    return invocation.answer(voted, lambda output: _show(output, voted), next_step=_STEPS.get(voted.request.request.state))


_STEPS: dict[Any, str] = {
    RequestState.APPROVED: "the same call, made again before the request expires, runs once",
    RequestState.OPEN: "more people must vote; `licet approvals show ID` says who",
}


def _view(settings: Settings, request: str) -> Viewed:
    with reading(settings) as store:
        asked = get_request(store, request)
        return stand(asked, store.votes(asked.id), Directory.from_settings(settings), utc_now())


def _show(output: Output, voted: Voted) -> None:
    verb = "approved" if voted.verdict == "approve" else "rejected"
    place = f"{voted.receipt.log}:{voted.receipt.index}"
    below = f"recorded as {place}, cast by operating user {voted.operating_user}"
    output.mark("ok", "voted", f"{voted.voter} {verb} this call", below=below)
    output.line()
    show_whole(output, voted.request)
