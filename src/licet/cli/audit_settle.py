"""`licet audit settle`: a person says how a call ended of which nobody saw the end.

No credential is shown here, as with votes (`approvals_vote.py`): who can write the ledger can settle in any name, so the record says which
operating user did. A settlement grants nothing and runs nothing.
"""

from __future__ import annotations

from typing import cast

import click
from msgspec import Struct

from licet.cli import remote_acts
from licet.cli.approvals_vote import operating_user
from licet.cli.audit_unknown import act
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, utc_now
from licet.cli.output import Output
from licet.gate.opening import OpenLedger
from licet.gate.unknown import Reconciliation, Settled, SettledAs, UnknownCall, unknown_call
from licet.identity.directory import Directory
from licet.model import CallId


class Answered(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the call as it was, and its settlement."""

    call: UnknownCall
    settled: Settled
    operating_user: str | None
    settled_as: str | None
    credential: str | None = None

    @property
    def known(self) -> str:
        """Who that was, as the record knows them."""
        return f"credential {self.credential}" if self.credential else f"operating user {self.operating_user}"


@click.command()
@click.argument("call")
@click.option("--outcome", required=True, type=click.Choice(["ok", "not-executed", "error"]), help="How it ended.")
@click.option("--reason", required=True, metavar="TEXT", help="How you know. It is recorded, and never shown to the agent.")
@click.option("--as", "settler", metavar="USER", help="The user of the directory in whose name; by default the operating user alone.")
@click.pass_obj
def settle(invocation: Invocation, /, call: str, outcome: str, reason: str, settler: str | None) -> int:
    """Say how a call ended of which nobody saw the end.

    It is recorded with the reason, USER and the operating user who ran this command; what was recorded before stays. A repeat with the
    same idempotency key then gets this answer. Ends with 6 where USER may not settle it, 5 where there is no such user.
    """
    status = cast("SettledAs", outcome.replace("-", "_"))
    if invocation.server is not None:
        before, done, credential = remote_acts.settle_call(invocation, call, status, reason, settler)
        told = Answered(call=before, settled=done, operating_user=None, settled_as=settler, credential=credential)
        return invocation.answer(told, lambda output: _show(output, told), next_step=_STEPS.get(status))
    settings = load_settings(invocation)
    directory = Directory.from_settings(settings)
    user = operating_user()
    with OpenLedger(settings, utc_now, create=False) as ledger:
        found = unknown_call(ledger.store, CallId(call))
        desk = Reconciliation(ledger.store, ledger.writer, directory, settings.environment, utc_now)
        settled = desk.settle(found.call, status, reason=reason, by=settler, operating_user=user)
    answered = Answered(call=found, settled=settled, operating_user=user, settled_as=settler)
    return invocation.answer(answered, lambda output: _show(output, answered), next_step=_STEPS.get(status))


_STEPS: dict[SettledAs, str] = {"not_executed": "the call may be made again, with a new idempotency key"}


def _show(output: Output, answered: Answered) -> None:
    receipt, who = answered.settled.receipt, answered.settled_as or answered.known
    status = answered.settled.status.replace("_", " ")
    below = f"recorded as {receipt.log}:{receipt.index}, by {answered.known}"
    output.mark("ok", "settled", f"{act(answered.call)}: {status}, says {who}", below=below)
