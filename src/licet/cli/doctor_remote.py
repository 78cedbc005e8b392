"""`licet doctor --server`: is a server there and ready, of which version, at what time, and what may this credential do?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import Any

from licet.cli.finding import Finding
from licet.cli.invocation import Invocation
from licet.cli.remote import client_of
from licet.cli.wording import listed
from licet.client import Client
from licet.errors import ServerError, ServerProblem

SKEW_S = 5
"""Clocks that differ by more than that show countdowns that mislead, and tokens that expire early."""


def remote_findings(invocation: Invocation) -> Iterator[Finding]:
    """Everything that can be told from outside, in the order in which it is to be mended."""
    client = client_of(invocation)
    try:
        reply = client.connection.ask("GET", "/openapi.json")
        document = client.connection.decoded(reply, dict[str, Any])
    except ServerError as error:
        yield Finding("fail", "server", str(error), "see whether it runs there, and whether this is its address")
        return
    yield Finding("ok", "server", f"{client.connection.url} answers")
    yield _ready(client)
    yield _version(str(document.get("info", {}).get("version")))
    yield _clock(reply.headers.get("date"))
    yield from _credential(client)


def _ready(client: Client) -> Finding:
    try:
        client.connection.ask("GET", "/readyz", repeatable=False)
    except ServerProblem as error:
        return Finding("fail", "ready", f"it answers {error.status} at /readyz", "`licet doctor` where it runs says why")
    except ServerError as error:
        return Finding("fail", "ready", str(error), "see whether it runs there")
    return Finding("ok", "ready", "it takes requests")


def _version(theirs: str) -> Finding:
    own = metadata.version("licet")
    if theirs == own:
        return Finding("ok", "version", f"{own} here and there")
    return Finding("warn", "version", f"{own} here, {theirs} there", "use the program of the server's version")


def _clock(date: str | None) -> Finding:
    try:
        skew_s = abs(time.time() - parsedate_to_datetime(date).timestamp()) if date is not None else None
    except ValueError:
        skew_s = None
    if skew_s is None:
        return Finding("warn", "clock", "the server does not say what time it is there", "compare the clocks by hand")
    if skew_s > SKEW_S:
        return Finding("warn", "clock", f"the clocks are {skew_s:.0f} s apart", "let both follow a time server")
    return Finding("ok", "clock", "the clocks agree")


def _credential(client: Client) -> Iterator[Finding]:
    try:
        who = client.who_am_i()
    except ServerError as error:
        yield Finding("fail", "credential", str(error), "`LICET_API_KEY`, `LICET_API_KEY_FILE` or `--api-key-file` holds it")
        return
    name = f"{who.credential}, of {who.user}" if who.user is not None else who.credential
    yield Finding("ok", "credential", name)
    if not who.permitted:
        yield Finding("warn", "permissions", "it may do nothing anywhere", "give it a role, such as `licet-auditor`")
    for tenant, actions in sorted(who.permitted.items()):
        yield Finding("ok", "permissions", f"in {tenant}: {listed(actions, 100)}")
