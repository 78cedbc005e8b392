"""`licet credentials`: issue, list, show, replace and revoke the API keys of programs and people.

Who can write the ledger can issue any key: no credential is asked for here, as with votes. Each act is a record that names the operating
user. A key is printed once, on stdout and nowhere else, so that it can be piped into a keeper of secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click

from licet.cli import remote_acts
from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading, utc_now
from licet.cli.output import Output
from licet.config import Settings, parse_duration_s
from licet.gate.credentials import Credentials, CredentialSeen, IssuedKey, list_credentials, show_credential
from licet.gate.opening import OpenLedger
from licet.identity.api_keys import KeyContent
from licet.identity.directory import Directory

NEVER = "never"
_MARKS = {"active": "ok", "ending": "warn", "ended": "note", "expired": "note", "broken": "fail"}

_by = click.option("--as", "by", metavar="USER", help="The user of the directory in whose name; by default the operating user alone.")


@click.group()
def credentials() -> None:
    """Issue, list, replace and revoke API keys.

    The server accepts a key until it expires or is revoked; a revocation counts within a second.
    """


@credentials.command()
@click.argument("name")
@click.option("--tenant", "tenants", multiple=True, required=True, metavar="TENANT", help="For which tenants; `*` for all. Repeatable.")
@click.option("--agent", "agents", multiple=True, metavar="AGENT", help="An agent that it speaks for; `*` for all. Repeatable.")
@click.option("--service", "services", multiple=True, metavar="SERVICE", help="A service that it speaks for; `*` for all. Repeatable.")
@click.option("--for", "users", multiple=True, metavar="USER", help="A user on whose behalf they may act; `*` for all. Repeatable.")
@click.option("--person", "user", metavar="USER", help="The person whose key it is, who votes and looks with it. Not with agents.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="What Licet itself permits, such as `licet-agent`. Repeatable.")
@click.option("--expires", default="90d", show_default=True, metavar="DURATION", help="`90d`, `12h` ..., or `never`.")
@_by
@click.pass_obj
def issue(
    invocation: Invocation,
    /,
    *,
    name: str,
    tenants: tuple[str, ...],
    agents: tuple[str, ...],
    services: tuple[str, ...],
    users: tuple[str, ...],
    user: str | None,
    roles: tuple[str, ...],
    expires: str,
    by: str | None,
) -> int:
    """Issue an API key, and print it once.

    For programs (`--agent`, `--service`, and `--for` whom they act), or for one person (`--person`).
    """
    content = KeyContent(name=name, tenants=tenants, agents=agents, services=services, users=users, user=user, roles=roles)
    expires_s = _expires_s(expires)
    if invocation.server is not None:
        return _tell_key(invocation, remote_acts.issue(invocation, content, expires_s, by))
    with opened_keys(load_settings(invocation), create=True) as keys:
        issued = keys.issue(content, expires_s=expires_s, by=by)
    return _tell_key(invocation, issued)


@credentials.command(name="list")
@click.option("--all", "ended_too", is_flag=True, help="Also those that have ended or expired.")
@click.pass_obj
def list_keys(invocation: Invocation, /, *, ended_too: bool) -> int:
    """List keys, the oldest first; those that have ended only with `--all`."""
    if invocation.server is not None:
        found = remote_acts.credentials(invocation)
    else:
        with reading(load_settings(invocation)) as store:
            found = list_credentials(store, utc_now())
    shown = found if ended_too else tuple([one for one in found if one.state not in {"ended", "expired"}])
    return invocation.answer(shown, lambda output: _show_all(output, shown))


@credentials.command()
@click.argument("credential", metavar="ID")
@click.pass_obj
def show(invocation: Invocation, /, credential: str) -> int:
    """Show what a key is for, until when, and when it was used last. Never the key."""
    if invocation.server is not None:
        found = remote_acts.credential(invocation, credential)
    else:
        with reading(load_settings(invocation)) as store:
            found = show_credential(store, credential, utc_now())
    return invocation.answer(found, lambda output: _show(output, found))


@credentials.command()
@click.argument("credential", metavar="ID")
@click.option("--overlap", default="24h", show_default=True, metavar="DURATION", help="How long the old key goes on; `0s` ends it now.")
@click.option("--expires", metavar="DURATION", help="When the successor expires; by default after as long as the old one was to live.")
@_by
@click.pass_obj
def rotate(invocation: Invocation, /, credential: str, overlap: str, expires: str | None, by: str | None) -> int:
    """Issue a successor for the same, and print it once. The old key ends when the overlap is over."""
    overlap_s = 0 if overlap == "0s" else _duration_s(overlap)
    expires_s = None if expires is None else _duration_s(expires)
    if invocation.server is not None:
        return _tell_key(invocation, remote_acts.rotate(invocation, credential, overlap_s, expires_s, by))
    with opened_keys(load_settings(invocation)) as keys:
        issued = keys.rotate(credential, overlap_s=overlap_s, expires_s=expires_s, by=by)
    return _tell_key(invocation, issued)


@credentials.command()
@click.argument("credential", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Recorded.")
@_by
@click.pass_obj
def revoke(invocation: Invocation, /, credential: str, reason: str, by: str | None) -> int:
    """End a key at once. Every process refuses it within a second."""
    if invocation.server is not None:
        revoked = remote_acts.revoke(invocation, credential, reason, by)
    else:
        with opened_keys(load_settings(invocation)) as keys:
            revoked = keys.revoke(credential, reason=reason, by=by)
    below = f"recorded as {revoked.receipt.log}:{revoked.receipt.index}"
    text = f"{revoked.credential.name} ({revoked.credential.id}) is good for nothing any more"
    return invocation.answer(revoked, lambda output: output.mark("ok", "revoked", text, below=below))


@contextmanager
def opened_keys(settings: Settings, *, create: bool = False) -> Iterator[Credentials]:
    """Where the keys of the settings' ledger are changed. `create` makes a ledger where there is none: a server needs a key first."""
    directory = Directory.from_settings(settings)
    with OpenLedger(settings, utc_now, create=create) as ledger:
        yield Credentials(
            ledger.store,
            ledger.writer,
            directory=directory,
            environment=settings.environment,
            now=utc_now,
            operating_user=operating_user(),
        )


def _expires_s(text: str) -> int | None:
    return None if text == NEVER else _duration_s(text)


def _duration_s(text: str) -> int:
    seconds = parse_duration_s(text)
    if seconds is None:
        raise Refusal(Exit.USAGE, "usage", f"`{text}` is not a duration", next_step="for example `90d`, `12h` or `15m`")
    return seconds


def _tell_key(invocation: Invocation, issued: IssuedKey) -> int:
    found = issued.credential
    until = "until it is revoked" if found.expires_at is None else f"until {_when(found.expires_at)}"
    invocation.hint(f"credential {found.id} ({found.name}) is good {until}; the key is shown this once")
    if found.replaces is not None:
        invocation.hint(f"it replaces {found.replaces}")
    data = {"credential": found, "key": issued.key, "receipt": issued.receipt}
    return invocation.answer(data, lambda output: output.whole(issued.key))


def _show_all(output: Output, found: tuple[CredentialSeen, ...]) -> None:
    for one in found:
        roles = f", as {', '.join(one.roles)}" if one.roles else ""
        used = f"last used {_when(one.last_used_at)}" if one.last_used_at is not None else "not used, as far as was written"
        output.mark(_MARKS[one.state], one.state, f"{one.name}: {_for_whom(one)}{roles}", below=f"{one.id}, {_until(one)}; {used}")
    if not found:
        output.line("there are no credentials")


def _show(output: Output, one: CredentialSeen) -> None:
    output.mark(_MARKS[one.state], one.state, one.name, below=one.id)
    pairs = [
        ("kind", "" if one.kind == "key" else one.kind),
        ("tenants", ", ".join(one.tenants)),
        ("person", one.user or ""),
        ("agents", ", ".join(one.agents)),
        ("services", ", ".join(one.services)),
        ("acts for", ", ".join(one.users)),
        ("roles", ", ".join(one.roles)),
        ("replaces", one.replaces or ""),
        ("issued", _when(one.created_at)),
        ("expires", _when(one.expires_at) if one.expires_at is not None else NEVER),
        ("ends", _when(one.ends_at) if one.ends_at is not None else ""),
        ("last used", _when(one.last_used_at) if one.last_used_at is not None else "never, as far as was written"),
    ]
    output.facts([(name, value) for name, value in pairs if value])
    if one.state == "broken":
        output.line("its row is not what was issued, and it is refused: run `licet audit verify`")


def _for_whom(one: CredentialSeen) -> str:
    if one.user is not None:
        return f"{one.user}, in {', '.join(one.tenants)}"
    programs = ", ".join((*one.agents, *one.services)) or "no agent"
    behalf = f" for {', '.join(one.users)}" if one.users else ""
    return f"{programs}{behalf}, in {', '.join(one.tenants)}"


def _until(one: CredentialSeen) -> str:
    ends = min((at for at in (one.expires_at, one.ends_at) if at is not None), default=None)
    return "does not expire" if ends is None else f"until {_when(ends)}"


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
