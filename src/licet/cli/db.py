"""`licet db`: copies of the ledger, putting one back, and bringing it up to this version."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from licet.cli.acting import acting, kept_in_log, make_sure
from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, utc_now
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.gate.restoring import Restored
from licet.gate.restoring import restore as restore_ledger
from licet.gate.upgrading import Upgraded, missing
from licet.gate.upgrading import upgrade as upgrade_ledger
from licet.ledger.seal import Filing
from licet.model import OPERATOR_LOG
from licet.store.backup import back_up


class BackedUp(Struct, frozen=True):
    """What is printed with `--json`."""

    file: str
    size_bytes: int


@click.group()
def db() -> None:
    """Back the ledger up, restore it, and upgrade it."""


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def backup(invocation: Invocation, /, file: Path) -> int:
    """Copy the ledger to FILE while calls go on, and verify the copy.

    It holds everything but the search index and the key: keep the key, and a copy of the erasure manifest, apart from it.
    """
    settings = load_settings(invocation)
    if settings.in_postgres:
        message = "the ledger is in PostgreSQL: its server copies it, with `pg_basebackup` and its write-ahead log, or `pg_dump`"
        step = "after putting a copy back, `licet audit verify` and `licet doctor` say what became of it; see docs/postgresql.md"
        raise Refusal(Exit.USAGE, "not_a_file", message, next_step=step)
    with acting(settings) as (_, operator):
        made = BackedUp(str(file), back_up(settings.store_path, file))
        record = operator.say("admin", OPERATOR_LOG, {"act": "backup", "file": file.name, "bytes": made.size_bytes})
        operator.writer.submit(Filing((record,))).wait()
    return invocation.answer(made, lambda output: output.mark("ok", "copied", f"{file}: {made.size_bytes} bytes, verified"))


@db.command()
@click.pass_obj
def vacuum(invocation: Invocation, /) -> int:
    """Write every page of the ledger anew, so that none keeps a copy of what was erased. Calls wait meanwhile."""
    settings = load_settings(invocation)
    with acting(settings) as (ledger, _):
        if not ledger.store.rewrite():
            step = "try again when nobody reads for long; who runs it must own the tables"
            raise Refusal(
                Exit.ERROR, "store_unavailable", "the pages could not be written anew: somebody still looks at them", next_step=step
            )
        gone = ledger.store.cut_log()
    text = "every page was written anew" if gone else f"every page was written anew; {kept_in_log(settings, 'erased')}"
    return invocation.answer({"bytes_gone": gone}, lambda output: output.mark("ok" if gone else "warn", "rewritten", text))


@db.command()
@click.option("--check", is_flag=True, help="Say what would be done, and do nothing.")
@click.pass_obj
def upgrade(invocation: Invocation, /, *, check: bool) -> int:
    """Bring a ledger of an earlier version up to this one; what was there is kept beside it under another name.

    Stop what writes to it first. Ends with 0 where there is nothing to do.
    """
    settings = load_settings(invocation)
    if check:
        behind = missing(settings)
        return invocation.answer({"missing": behind}, lambda output: _show_missing(output, behind))
    done = upgrade_ledger(settings, utc_now, by=operating_user())
    return invocation.answer(done, lambda output: _show_upgraded(output, done))


def _show_missing(output: Output, behind: tuple[str, ...]) -> None:
    if not behind:
        output.mark("ok", "current", "the ledger is of this version")
    for title in behind:
        output.mark("warn", "missing", title)


def _show_upgraded(output: Output, done: Upgraded) -> None:
    if not done.migrations:
        output.mark("ok", "current", "the ledger is of this version; nothing was done")
        return
    for title in done.migrations:
        output.mark("ok", "applied", title)
    if done.kept is not None:
        output.line(f"what was there lies at {done.kept}", indent=11)


@db.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option("--accept-loss", is_flag=True, help="Go on although anchors or witnesses know more: the log begins anew.")
@click.option("--reason", default="restore", show_default=True, metavar="TEXT", help="Recorded.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(invocation: Invocation, /, file: Path | None, reason: str, *, accept_loss: bool, yes: bool) -> int:
    """Put the backup FILE in the place of the ledger; what was there is kept beside it under another name.

    Who was erased since the backup is erased again. Ends with 8, and changes nothing, where anchors or witnesses know more than FILE: find
    a newer copy, or accept the loss. Without FILE, `--accept-loss` is about the ledger as it lies there.
    """
    settings = load_settings(invocation)
    if file is None and not accept_loss:
        raise Refusal(
            Exit.USAGE, "usage", "there is nothing to restore", next_step="name a backup; or, for the ledger as it is, `--accept-loss`"
        )
    ledger = settings.store.partition("?")[0].removeprefix("sqlite:")
    what = f"Put {file} in the place of {ledger}?" if file is not None else f"Accept what {ledger} has lost?"
    make_sure(what, yes=yes)
    done = restore_ledger(settings, utc_now, file, by=operating_user(), reason=reason, accept_loss=accept_loss)
    step = None
    if done.anew is not None and settings.witness.log is not None:
        step = f"write the new key into licet.toml: `log` of [witness] is `{done.anew.vkey}`"
    return invocation.answer(done, lambda output: _show(output, done), next_step=step)


def _show(output: Output, done: Restored) -> None:
    below = "" if done.kept is None else f"what was there lies at {done.kept}"
    output.mark("ok", "restored", f"{counted(done.records, 'record')}, ready to be written", below=below)
    if done.anew is not None:
        anew = done.anew
        output.line(f"the log begins anew as {anew.origin}; before, it was {anew.former_origin} with {anew.former_size} entries", indent=11)
