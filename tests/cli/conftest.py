"""A project in a folder of its own, an application that uses it, and the command line run on it."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from licet.cli import main
from licet.gate.gate import Gate
from licet.gate.results import Held

CONFIG = """\
environment = "production"

[tenants.acme]
[tenants.globex]

[agents.support-bot]
tenants = ["acme"]
roles = ["support", "billing"]

[users.alice]
tenants = ["acme"]
roles = ["support", "billing"]

[users.bob]
tenants = ["acme"]
roles = ["support"]

[users.lena]
tenants = ["acme"]

[groups]
billing-leads = { members = ["lena", "alice"], scope = "operator" }
"""

POLICIES = """\
@id("tenant-wall")
@reason("a caller stays within its tenant")
forbid (principal, action, resource)
unless { resource.tenant == principal.tenant };

@id("support-reads")
permit (principal in Role::"support", action in Action::"read", resource);

@id("billing-adjust")
permit (principal in Role::"billing", action == Action::"billing.adjust", resource)
when { context.input.amount_cents <= 1000000 };

@id("billing-needs-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
@reason("adjustments over $100 need a billing lead")
forbid (principal, action == Action::"billing.adjust", resource)
when { context.input.amount_cents > 10000 };
"""

APP = '''\
"""An application: two customers whose balances lie in a file, so that two processes see the same."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from licet import Effect, Gate

HERE = Path(__file__).parent
BALANCES = HERE / "balances.json"
TENANTS = {"C-1": "acme", "G-1": "globex"}
gate = Gate(HERE / "licet.toml")


@dataclass
class Customer:
    tenant: str
    vip: bool


@gate.resource("Customer")
def customer(id: str) -> Customer | None:
    return Customer(TENANTS[id], False) if id in TENANTS else None


@gate.tool("crm.lookup", access="read", targets="Customer::{customer_id}")
def lookup(customer_id: str) -> int:
    return balances()[customer_id]


@gate.tool("billing.adjust", access="write", touches={"money"}, targets="Customer::{customer_id}")
def adjust(customer_id: str, amount_cents: int) -> str:
    found = balances()
    found[customer_id] += amount_cents
    BALANCES.write_text(json.dumps(found))
    return "done"


@adjust.preview
def preview(customer_id: str, amount_cents: int) -> list[Effect]:
    before = balances()[customer_id]
    return [Effect(target=f'Customer::"{customer_id}"', field="balance", before=before, after=before + amount_cents)]


@gate.tool("ticket.close", access="write")
def close(ticket: str) -> None:
    raise RuntimeError("the desk is closed")


def balances() -> dict:
    return json.loads(BALANCES.read_text()) if BALANCES.exists() else {"C-1": 100, "G-1": 5}


def ask(amount_cents: int):
    with gate.acting(agent="support-bot", user="alice", reason="double charge"):
        return gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": amount_cents})


if __name__ == "__main__":
    result = ask(int(sys.argv[1]))
    print(type(result).__name__, result.call, getattr(result, "request", None))
    if "--stay" in sys.argv:
        sys.stdout.flush()
        sys.stdin.readline()
    gate.close()
'''

ALICE = ("--agent", "support-bot", "--user", "alice")
CUSTOMER = ("--target", 'Customer::"C-1"', "--attr", "vip=false")
Licet = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with licet.toml, policies and an application that nobody has started; it is the working directory."""
    folder = tmp_path / "project"
    (folder / "policies").mkdir(parents=True)
    (folder / "licet.toml").write_text(CONFIG)
    (folder / "policies" / "base.cedar").write_text(POLICIES)
    (folder / "shop.py").write_text(APP)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("LICET_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def licet() -> Licet:
    """Run the command line in this process."""

    def run(*arguments: str, stdin: bytes | str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=stdin)

    return run


class Shop:
    """The application, loaded into this process."""

    def __init__(self, folder: Path) -> None:
        names = runpy.run_path(str(folder / "shop.py"))
        self.gate: Gate = names["gate"]
        self.ask: Callable[[int], Any] = names["ask"]
        self.balances: Callable[[], dict[str, int]] = names["balances"]

    def call(self, tool: str, /, **arguments: Any) -> Any:
        """A call of the support agent for alice."""
        with self.gate.acting(agent="support-bot", user="alice"):
            return self.gate.call(tool, arguments)


@pytest.fixture
def used(project: Path) -> Path:
    """The project after some calls: an allowed read, a denial, a small adjustment, a failure, and one that is held."""
    shop = Shop(project)
    shop.call("crm.lookup", customer_id="C-1")
    shop.call("crm.lookup", customer_id="G-1")
    shop.ask(2_500)
    shop.call("ticket.close", ticket="\x1b[2JT-1")
    held = shop.ask(20_000)
    assert isinstance(held, Held)
    shop.gate.close()
    (project / "request").write_text(str(held.request))
    return project


@pytest.fixture
def request_id(used: Path) -> str:
    """The request of the held call."""
    return (used / "request").read_text()


def envelope(result: Result) -> dict[str, Any]:
    """What `--json` printed: one line, and nothing else on stdout."""
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert set(found) == {"v", "command", "ok", "data", "error"}
    assert found["v"] == 1
    assert found["ok"] is (result.exit_code == 0)
    assert (found["error"] is None) is found["ok"]
    return found


def run_app(folder: Path, *arguments: str) -> list[str]:
    """Run the application as a process of its own; the words of what it printed."""
    done = subprocess.run([sys.executable, "shop.py", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def run_licet(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program as its users do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICET_") and name != "NO_COLOR"}
    program = [sys.executable, "-c", "from licet.cli import main; main()", *arguments]
    return subprocess.run(program, cwd=folder, env=kept | environ, capture_output=True, text=True, check=False, timeout=60)
