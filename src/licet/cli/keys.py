"""`licet keys`: the keys that seal the ledger, and those that sign it."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from licet.cli.acting import acting
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.gate.opening import find_keys
from licet.ledger.keys import create_key_file, new_key_line
from licet.ledger.rewrap import rewrap as rewrap_all
from licet.model import OPERATOR_LOG
from licet.store.contract import KeyUse


class Keys(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: ids of the keys at hand (the first one wraps), what lies under which, and who signs what."""

    at_hand: tuple[str, ...]
    uses: tuple[KeyUse, ...]
    origin: str
    vkeys: tuple[str, ...]


@click.group()
def keys() -> None:
    """Show, make and change the keys of the ledger."""


@keys.command()
@click.pass_obj
def show(invocation: Invocation, /) -> int:
    """List which keys are at hand, what lies under them, and which keys sign the log."""
    settings = load_settings(invocation)
    with reading(settings) as store:
        found = find_keys(settings)
        shown = Keys(
            at_hand=() if found is None else found.ids,
            uses=store.key_uses(),
            origin=store.head().origin,
            vkeys=tuple([key.vkey for key in store.signing_keys()]),
        )
    return invocation.answer(shown, lambda output: _show(output, shown))


@keys.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="A new file, readable by you alone.")
@click.pass_obj
def new(invocation: Invocation, /, out: Path | None) -> int:
    """Make a fresh key-encryption key: a line to put first into the key source, before `keys rewrap`."""
    if out is None:
        line = new_key_line()
        return invocation.answer({"key": line}, lambda output: output.line(line))
    if out.exists():
        raise Refusal(Exit.ERROR, "file_error", f"`{out}` is there already; a key is never written over", next_step="name another file")
    create_key_file(out)
    return invocation.answer({"file": str(out)}, lambda output: output.mark("ok", "made", f"a key lies in {out}, readable by you alone"))


@keys.command()
@click.pass_obj
def rewrap(invocation: Invocation, /) -> int:
    """Wrap every secret anew under the first key of the source, while other processes run.

    Run it again if it was interrupted. Restart every process with the new source: one that has only the old key can write about nobody new.
    Then remove the old line. Backups from before still need it.
    """
    with acting(load_settings(invocation)) as (ledger, operator):
        done = rewrap_all(operator, ledger.keys)
        ledger.store.cut_log()
    step = "restart every process with this key source; then the lines of other keys can be removed"
    text = f"{counted(done.secrets, 'secret')} and {counted(done.signing_keys, 'signing key')} lie under {done.key} now"
    return invocation.answer(done, lambda output: output.mark("ok", "wrapped", text), next_step=step)


@keys.command("rotate-signing")
@click.pass_obj
def rotate_signing(invocation: Invocation, /) -> int:
    """Let a new key sign the log from now on. The old one endorses it, so that old proofs still verify."""
    with acting(load_settings(invocation)) as (ledger, operator):
        old, fresh = ledger.signing.rotate(
            ledger.writer,
            lambda old, new: operator.say("key_rotation", OPERATOR_LOG, {"act": "rotate_signing", "from": old, "to": new}),
        )
        ledger.notary.turn()
    answer = {"from": old, "to": fresh}
    return invocation.answer(answer, lambda output: output.mark("ok", "rotated", f"{fresh} signs from now on", below=f"endorsed by {old}"))


def _show(output: Output, shown: Keys) -> None:
    for number, key in enumerate(shown.at_hand):
        output.mark("ok", "at hand", f"{key}{' (wraps)' if number == 0 else ''}")
    for use in shown.uses:
        missing = use.key not in shown.at_hand and bool(use.secrets or use.signing_keys)
        text = (
            f"{use.key}: {counted(use.secrets, 'secret')}, {counted(use.signing_keys, 'signing key')}{', replaced' if use.retired else ''}"
        )
        output.mark("warn" if missing else "note", "missing" if missing else "in use" if use.secrets else "unused", text)
    output.facts([("origin", shown.origin), ("signs", shown.vkeys[-1] if shown.vkeys else "nothing was signed yet")])
    if shown.vkeys[:-1]:
        output.facts([("before", "\n".join(shown.vkeys[:-1]))])
