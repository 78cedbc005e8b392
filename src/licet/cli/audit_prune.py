"""`licet audit prune`: drop old payloads, keep the records and their proofs."""

from __future__ import annotations

from datetime import timedelta

import click
from msgspec import Struct

from licet.cli.acting import acting, check_tenant, kept_in_log, make_sure
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, utc_now
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.config import Settings, parse_duration_s
from licet.gate.opening import REWRITE_LIMIT_BYTES
from licet.ledger.erasure import held_by
from licet.ledger.record import microseconds
from licet.ledger.retention import Pruned, prune


class Dropped(Struct, frozen=True):
    """What is printed with `--json`: by log how many payloads were dropped, or would be, and whether their bytes are gone everywhere."""

    logs: tuple[Pruned, ...]
    dry_run: bool
    rewritten: bool
    bytes_gone: bool


@click.command("prune")
@click.option("--older-than", metavar="AGE", help="400d, say; by default `payloads` of [retention].")
@click.option("--tenant", metavar="TENANT", help="This log only.")
@click.option("--reason", default="retention", show_default=True, metavar="TEXT", help="Recorded.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune_command(invocation: Invocation, /, older_than: str | None, tenant: str | None, reason: str, *, dry_run: bool, yes: bool) -> int:
    """Drop the payloads of old records. Records, trees and proofs stay, and the log says which payloads are gone.

    Left out are requests that still wait, calls that have not ended, and what a legal hold protects. Ends with 6 where a hold protects all
    of the log that was asked for.
    """
    settings = load_settings(invocation)
    before = utc_now() - timedelta(seconds=_age_s(settings, older_than))
    if tenant is not None:
        check_tenant(settings, tenant)
    if not dry_run:
        make_sure(f"Drop the payloads of all records from before {before:%Y-%m-%d %H:%M} UTC? This cannot be undone.", yes=yes)
    with acting(settings) as (ledger, operator):
        wanted = [state.log for state in ledger.store.logs() if tenant in (None, state.log)]
        logs = tuple([prune(operator, log, microseconds(before), reason, dry_run=dry_run) for log in wanted])
        some = not dry_run and any(log.payloads for log in logs)
        rewritten = not some or ledger.store.rewrite(REWRITE_LIMIT_BYTES)
        dropped = Dropped(logs, dry_run, rewritten, not some or ledger.store.cut_log())
    if tenant is not None and logs and logs[0].held is not None:
        raise Refusal(Exit.DENIED, "held", held_by(logs[0].held), next_step="`licet audit release ID` ends a hold")
    return invocation.answer(dropped, lambda output: _show(output, dropped, settings))


def _age_s(settings: Settings, written: str | None) -> int:
    if written is None:
        if settings.retention.payloads_s is None:
            message = "nothing says how old is old"
            raise Refusal(Exit.USAGE, "usage", message, next_step="give `--older-than`, or `payloads` under [retention] in licet.toml")
        return settings.retention.payloads_s
    age_s = parse_duration_s(written)
    if age_s is None:
        raise Refusal(Exit.USAGE, "usage", f"`{written}` is not an age", next_step="for example `--older-than 400d`")
    return age_s


def _show(output: Output, dropped: Dropped, settings: Settings) -> None:
    verb = "would be dropped" if dropped.dry_run else "dropped"
    for log in dropped.logs:
        if log.held is not None:
            output.mark("hold", "held", f"{log.log}: {held_by(log.held)}")
        else:
            output.mark("ok", "pruned", f"{log.log}: {counted(log.payloads, 'payload')} {verb}")
    if not dropped.rewritten:
        output.hint("unused parts of pages may hold what was dropped, unreadable by Licet: `licet db vacuum` writes them anew")
    if not dropped.bytes_gone:
        output.hint(kept_in_log(settings, "dropped"))
