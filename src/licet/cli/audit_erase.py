"""`licet audit erase`: forget a person or a target."""

from __future__ import annotations

import click
from msgspec import Struct

from licet.cli import remote_acts
from licet.cli.acting import acting, kept_in_log, make_sure, subject_of
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.config import Settings
from licet.errors import StoreError
from licet.gate.forgetting import forget
from licet.gate.opening import in_memory, index_path
from licet.ledger.erasure import Erased
from licet.store.index import Index
from licet.store.index_ask import Query


class Forgot(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`.

    `rewritten`: all pages were written anew; with that, `bytes_gone` (the write-ahead log is empty) says that no file of the ledger holds
    what was erased. `index` says what kept the search index from forgetting; `mentions` how many other records name the id in text, where
    that can be asked.
    """

    erased: Erased
    rewritten: bool
    bytes_gone: bool
    index: str | None
    mentions: int | None


_SURE = "Erase everything that is recorded about {subject} of {tenant}? This cannot be undone."


@click.command("erase")
@click.option("--tenant", required=True, metavar="TENANT", help="Whose the subject is.")
@click.option("--subject", required=True, metavar="TYPE/ID", help="Customer/C-412, or User/alice.")
@click.option("--reason", required=True, metavar="TEXT", help="Recorded; must not name the subject.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase_command(invocation: Invocation, /, tenant: str, subject: str, reason: str, *, yes: bool) -> int:
    """Forget a person or a target, for ever.

    Its secret, every payload sealed under it and its text in the search index are destroyed, and the log says so; every hash and proof
    stays as it was. A user's own key is revoked, and keys for others too name the user no more. Ends with 6 where a legal hold stands.
    What other people's records say about it in free text is not found by this.
    """
    if invocation.server is not None:
        return _erase_there(invocation, tenant, subject, reason, yes=yes)
    settings = load_settings(invocation)
    wanted = subject_of(settings, tenant, subject)
    make_sure(_SURE.format(subject=subject, tenant=tenant), yes=yes)
    with acting(settings) as (ledger, operator):
        done = forget(ledger, settings, operator, wanted, reason)
        forgot = Forgot(
            rewritten=done.rewritten,
            erased=done.erased,
            bytes_gone=done.bytes_gone,
            index=done.index,
            mentions=_mentions(settings, tenant, wanted.id),
        )
    return invocation.answer(forgot, lambda output: _show(output, forgot, subject, kept_in_log(settings, "erased")))


def _erase_there(invocation: Invocation, tenant: str, subject: str, reason: str, *, yes: bool) -> int:
    """Of a server, which says what became of its files, and searches its own index."""
    make_sure(_SURE.format(subject=subject, tenant=tenant), yes=yes)
    erased, done = remote_acts.erase(invocation, tenant, subject, reason)
    forgot = Forgot(erased=erased, rewritten=done.rewritten, bytes_gone=done.bytes_gone, index=done.index, mentions=None)
    kept = "files of the server still hold what was erased, unreadable by Licet: `licet doctor` there says where"
    return invocation.answer(forgot, lambda output: _show(output, forgot, subject, kept))


def _mentions(settings: Settings, tenant: str, id_: str) -> int | None:
    """How many records of the tenant name the id in text; None where nobody can tell now."""
    if in_memory(settings) or not settings.search.text or not index_path(settings).exists():
        return None
    try:
        index = Index.open(index_path(settings), read_only=True)
        try:
            return index.count(Query(text=id_, filters={"log": (tenant,)})).number
        finally:
            index.close()
    except (StoreError, ValueError):
        return None


def _show(output: Output, forgot: Forgot, subject: str, kept: str) -> None:
    done = forgot.erased
    place = f"recorded as {done.receipt.log}:{done.receipt.index}, which names it {done.target}"
    output.mark("ok", "erased", f"{subject}: {counted(done.payloads, 'payload')} destroyed, with the secret that sealed them", below=place)
    if done.requests:
        output.line(
            f"withdrawn, since it waited for people to decide: {counted(len(done.requests), 'request')}, {', '.join(done.requests)}",
            indent=11,
        )
    if done.credentials:
        output.line(
            f"revoked, or for others only from now on: {counted(len(done.credentials), 'key')}, {', '.join(done.credentials)}", indent=11
        )
    if done.open_calls:
        output.line(
            f"{counted(done.open_calls, 'call')} about it had begun; what they still record stands under a new pseudonym", indent=11
        )
    if not forgot.bytes_gone:
        output.hint(kept)
    if not forgot.rewritten:
        output.hint("unused parts of pages may hold what was erased, unreadable by Licet: `licet db vacuum` writes them anew")
    if forgot.index is not None:
        output.hint(f"the search index has not forgotten yet ({forgot.index}); whatever next fills it goes on")
    if forgot.mentions:
        output.hint(f"{counted(forgot.mentions, 'other record')} of the tenant name it in text: `licet audit search --text` finds them")
    if subject.startswith("User/"):
        output.hint("snapshots of the directory still list users by name, and so does licet.toml")
