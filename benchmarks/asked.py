"""What the benchmarks of the server ask: one small world, a question to AuthZEN and calls that others execute, in process and over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from benchmarks.bench_calls import CONFIG, POLICIES, Customer
from licet import Gate
from licet.config import loads
from licet.config.server import ServerSettings
from licet.gate.acting import Acting
from licet.gate.inquiry import Action, Inquirer, Inquiry, Resource, Subject
from licet.policy.own import default_text

CUSTOMERS = 500
"""Who is asked about: few enough that all are known after a second or two, on both sides alike."""
BURIED = "[approvals]\nopen_per_caller = 100000\n"
KEY = "licet_bench"
ANSWER = b'{"decision":true,"context":{"evaluation_id":"01a2b3c4d5e6f708192a3b4c5d6e7f80","evaluated_at":"2026-01-01T00:00:00.000000Z"}}'
ACTING = Acting(tenant="acme", agent="support-bot", user="alice")


@contextmanager
def opened_at(folder: Path, server: ServerSettings | None = None, store: str | None = None) -> Iterator[Gate]:
    """A gate on a fresh store in this folder, or in the database `store`, whose customers are known without asking anybody."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "all.cedar").write_text(POLICIES)
    (folder / "policies" / "licet.cedar").write_text(default_text())
    settings = loads(("" if store is None else f'store = "{store}"\n') + CONFIG + BURIED, file=folder / "licet.toml")
    gate = Gate(settings if server is None else replace(settings, server=server))

    @gate.resource("Customer", blocking=False)
    def customer(identifier: str) -> Customer | None:
        return Customer("acme", vip=False) if identifier.startswith("C-") else None

    @gate.tool("billing.adjust", access="write", touches={"money"}, targets="Customer::{customer_id}")
    async def adjust(customer_id: str, amount_cents: int) -> str:
        return f"{customer_id} adjusted by {amount_cents}"

    gate.seal()
    try:
        yield gate
    finally:
        gate.close()


@contextmanager
def fresh() -> Iterator[Path]:
    """A folder beside this file, so that the flush measured is the flush used."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        yield Path(folder)


def inquiry(number: int) -> Inquiry:
    """May the support agent, for alice, adjust the bill of this customer?"""
    return Inquiry(
        subject=Subject(type="user", id="alice", properties={"agent": "support-bot"}),
        action=Action(name="billing.adjust", properties={"amount_cents": 2_500}),
        resource=Resource(type="Customer", id=f"C-{number % CUSTOMERS}"),
    )


INQUIRER = Inquirer(acting=ACTING, credential="bench")

_HEAD = f"""
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {KEY}"
"""
EVALUATION = f"""{_HEAD}
request = function()
  n = (n + 1) % {CUSTOMERS}
  return wrk.format(nil, "/access/v1/evaluation", nil, '{{"subject":{{"type":"user","id":"alice","properties":{{"agent":"support-bot"}}}},'
    .. '"action":{{"name":"billing.adjust","properties":{{"amount_cents":2500}}}},"resource":{{"type":"Customer","id":"C-' .. n .. '"}}}}')
end
"""
"""What wrk sends to ask it over HTTP."""
CALLS = f"""{_HEAD}
local open, last = {{}}, 0
request = function()
  if last > 0 then
    local call = open[last]
    open[last] = nil
    last = last - 1
    return wrk.format(nil, "/api/v1/calls/" .. call .. "/outcome", nil, '{{"status":"ok","result":"adjusted"}}')
  end
  n = (n + 1) % {CUSTOMERS}
  return wrk.format(nil, "/api/v1/calls", nil,
    '{{"tool":"billing.adjust","arguments":{{"customer_id":"C-' .. n .. '","amount_cents":2500}}}}')
end
response = function(status, headers, body)
  local call = body:match('^{{"call":"([0-9a-f-]+)","decision":"allow"')
  if call then
    last = last + 1
    open[last] = call
  end
end
"""
"""Calls that are proposed and reported by turns."""
HELD = f"""{_HEAD}
request = function()
  n = n + 1
  return wrk.format(nil, "/api/v1/calls", nil,
    '{{"tool":"billing.adjust","arguments":{{"customer_id":"C-' .. n % {CUSTOMERS} .. '","amount_cents":' .. 10000 + n .. '}}}}')
end
"""
"""Calls that are held, each with a request of its own."""
