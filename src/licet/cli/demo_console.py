"""The end of the demo: the console is served over what has happened, until Ctrl-C, with an agent that goes on working.

Rules:

1. Everything in it was really called and really recorded: what waits is what the agent proposes now.
2. The link lets one person in, once. It goes to stdout, as that of `licet serve` does.
3. The agent calls again until its call has run or was refused, so that whoever approves sees what comes of it. It ends with the server.
4. Its first call waits before the link is shown: whoever follows it finds something to decide.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from licet.cli.console import link_address
from licet.cli.demo_app import Application
from licet.cli.demo_plan import Plan
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.output import Output
from licet.errors import ConfigInvalid, GateClosed
from licet.gate.gate import Gate
from licet.gate.results import Held
from licet.gate.signing_in import FIRST_LINK_S, issue_link
from licet.model import LIVE_STATES, RequestState
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text

PORT: Final = 8321
WHO: Final = "lena"
NEEDED: Final = ("aiohttp", "authlib", "jinja2", "uvicorn", "webauthn")
"""What a server needs beside the library."""
WAIT_S: Final = 1.0
"""For a decision, before the agent looks whether somebody has ended the demo."""
ASKED_S: Final = 10.0
"""For the agent's first call, before the link is shown all the same."""
_CREDIT: Final[dict[str, Any]] = {"customer_id": "C-412", "ticket_id": "T-1002", "account_id": "A-2001"}
_AMOUNTS: Final = (18_000, 24_000, 12_500, 31_000)
_LOOKS: Final = """
@id("lena-runs-the-demo")
@description("in the demo, whoever approves credits may also look at everything and stop what goes wrong")
permit (principal == User::"lena", action in [Action::"auditor", Action::"admin"], resource);
"""


def missing() -> list[str]:
    """What this installation lacks to serve a console."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def serve(folder: Path, plan: Plan, port: int, output: Output) -> None:
    """Serve the folder's ledger until somebody ends it. Raises `Refusal` where the port is taken."""
    from licet.console.app import Console  # noqa: PLC0415  only where something is served
    from licet.server.assembly import assemble  # noqa: PLC0415  as above

    (folder / "policies" / OWN_FILE).write_text(default_text() + _LOOKS)
    gate = Application(folder).gate
    gate.settings = replace(gate.settings, server=replace(gate.settings.server, listen=f"127.0.0.1:{port}", metrics="", reload=False))
    logging.getLogger("licet").setLevel(logging.ERROR)  # each request would be a line below the link
    with gate:
        gate.seal()
        try:
            server = assemble(gate, Console)
        except ConfigInvalid as error:
            step = "end what listens there, or say another one with `--port`; what you have seen is done"
            raise Refusal(Exit.ERROR, "port_taken", f"the console cannot be served: {error}", next_step=step) from error
        with _working(gate, plan):
            key = issue_link(gate.credentials, WHO, expires_s=FIRST_LINK_S).key
            output.heading("The console")
            output.line(f"What you have seen, and an agent that goes on working. This link lets {WHO} in, once:")
            output.whole(link_address(f"http://localhost:{server.address.port}", key))
            output.hint("Ctrl-C ends it")
            output.out.file.flush()
            server.run()


@contextmanager
def _working(gate: Gate, plan: Plan) -> Iterator[None]:
    """The agent works meanwhile."""
    _look_around(gate, plan)
    _forget(gate, plan)
    asked, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=_work, args=(gate, plan, asked, end), name="licet-demo-agent", daemon=True)
    thread.start()
    asked.wait(ASKED_S)
    try:
        yield
    finally:
        end.set()
        thread.join(10)


def _work(gate: Gate, plan: Plan, asked: threading.Event, end: threading.Event) -> None:
    with suppress(GateClosed):  # the server, and its gate with it, ends first
        for amount in _AMOUNTS:
            _ask(gate, plan, amount, asked, end)


def _look_around(gate: Gate, plan: Plan) -> None:
    with gate.acting(agent=plan.agent, user=plan.user, workflow="ticket-1007", reason="she asks where her second refund is"):
        gate.call("crm.lookup", {"customer_id": "C-412"})
        gate.call("tickets.search", {"customer_id": "C-412", "text": "refund"})
        gate.call("crm.lookup", {"customer_id": "C-999"})
        gate.call("account.suspend", {"customer_id": "C-412", "account_id": "A-2001"})
    gate.freeze("session", "ticket-0999", tenant="acme", reason="it asked for the same refund eleven times", by=WHO)


def _forget(gate: Gate, plan: Plan) -> None:
    """What an earlier chapter still asks for was looked at before the last ones changed the account: it is asked for anew."""
    with gate.acting(agent=plan.agent, user=plan.user):
        stale = gate.call("billing.adjust", {**_CREDIT, "amount_cents": _AMOUNTS[0]})
    if isinstance(stale, Held) and stale.request is not None:
        gate.approvals.withdraw(stale.request, plan.user)


def _ask(gate: Gate, plan: Plan, amount: int, asked: threading.Event, end: threading.Event) -> None:
    """Until it has run, was refused, or nobody looks any more. `asked` is set once its first call was answered."""
    arguments = {**_CREDIT, "amount_cents": amount}
    reason = "the customer was charged twice, says her ticket"
    while not end.is_set():
        with gate.acting(agent=plan.agent, user=plan.user, workflow="ticket-1002", reason=reason):
            result = gate.call("billing.adjust", arguments)
        asked.set()
        if not isinstance(result, Held) or result.request is None:
            return
        while not end.is_set() and gate.wait(result.request, WAIT_S) in LIVE_STATES - {RequestState.APPROVED}:
            pass
