"""`licet serve`: the gate for every language and every host, over HTTP."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from typing import Literal

import click

from licet.cli.console import link_address
from licet.cli.doctor_server import server_findings
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import import_gate
from licet.gate.gate import Gate
from licet.gate.signing_in import FIRST_LINK_S, has_anybody_signed_in, issue_link, who_lets_others_in

NEEDED = ("httptools", "jinja2", "prometheus_client", "starlette", "uvicorn", "uvloop")
_log = logging.getLogger("licet.server")


@click.command()
@click.option(
    "--log-format",
    type=click.Choice(["json", "text"]),
    default=None,
    help="How the log is written to stderr; by default text to a terminal, and JSON elsewhere.",
)
@click.option("--verbose", is_flag=True, help="Log more.")
@click.pass_obj
def serve(invocation: Invocation, /, log_format: Literal["json", "text"] | None, *, verbose: bool) -> int:
    """Serve the gate over HTTP, until SIGTERM or SIGINT.

    `[server]` in licet.toml says where, and what is taken. The first signal lets requests in flight end, a second one cuts them off; SIGHUP
    reads policies and licet.toml again. Ends with 1 where something was cut off.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        message = f"serving needs {', '.join(f'`{name}`' for name in missing)}"
        raise Refusal(Exit.ERROR, "not_installed", message, next_step="install `licet[server]`")
    from licet.server.logs import set_up  # noqa: PLC0415  only where something is served

    set_up(log_format or ("text" if sys.stderr.isatty() else "json"), level=logging.DEBUG if verbose else logging.INFO)
    gate = Gate(invocation.config_path) if invocation.app is None else import_gate(invocation)
    if _serve(gate):
        return int(Exit.OK)
    logging.shutdown()
    os._exit(int(Exit.ERROR))  # a handler that hangs in a thread would keep the process for ever; the ledger is closed by now


def _serve(gate: Gate) -> bool:
    from licet.console.app import Console  # noqa: PLC0415  as above
    from licet.server.assembly import assemble  # noqa: PLC0415  as above
    from licet.server.descriptors import raise_limit  # noqa: PLC0415  as above

    try:
        server = assemble(gate, Console)
        if short := raise_limit(gate.settings.server.connections):
            _log.warning("licet: %s; raise the limit of this user (`ulimit -n`, `LimitNOFILE=`), or take fewer connections", short)
        for finding in server_findings(gate.settings):
            if finding.level != "ok":
                _log.warning("licet: %s: %s; %s", finding.about, finding.message, finding.next or "look at it")
        _say_what_nobody_knows(gate)
        _print_first_link(gate)
        return server.run()
    finally:
        gate.close()  # the server has, unless it could not even begin


def _print_first_link(gate: Gate) -> None:
    """Where nobody has ever signed in to the console: a link for whoever may let others in, on stdout alone, never in the log."""
    if has_anybody_signed_in(gate.store, gate.now()) or (user := who_lets_others_in(gate.scene)) is None:
        return
    settings = gate.settings.server
    issued = issue_link(gate.credentials, user, expires_s=FIRST_LINK_S)
    address = link_address(settings.public_url or f"http://{settings.address}", issued.key)
    click.echo(f"nobody has signed in to the console yet; this link lets `{user}` in, once, within a day:\n{address}")


def _say_what_nobody_knows(gate: Gate) -> None:
    """Targets that this process cannot resolve: each call on one is a denial, which its caller cannot help."""
    known = gate.scene.resolvers
    for name, spec in sorted(gate.scene.catalog.resources.items()):
        if spec.tenant_from == "resolver" and name not in known:
            way = f'`url` or `tenant = "caller"` under `[resources.{name}]`, or `--app MODULE:GATE`, says it'
            _log.warning("licet: nobody here knows whose a `%s` is, so calls on one are denied; %s", name, way)
