"""`licet undo`, and how `licet audit` tells of effects."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import ALICE, CONFIG, Licet, envelope, run_licet

pytestmark = pytest.mark.heavy  # each test starts processes or servers of its own

SHOP = """
import json, sys
from dataclasses import dataclass
from pathlib import Path
from licet import Effect, Gate, effect


HERE = Path(__file__).parent
gate = Gate(HERE / "licet.toml")

@dataclass
class Customer:
    tenant: str

@gate.resource("Customer")
def customer(id: str) -> Customer | None:
    return Customer("acme")

def rows() -> dict:
    return json.loads((HERE / "plans.json").read_text()) if (HERE / "plans.json").exists() else {}

def put(customer_id: str, plan: str | None) -> None:
    found = rows()
    before, found[customer_id] = found.get(customer_id), plan
    (HERE / "plans.json").write_text(json.dumps(found))
    effect(f'Customer::"{customer_id}"', "plan", before=before, after=plan)

@gate.tool("plan.set", access="write", targets="Customer::{customer_id}")
def set_plan(customer_id: str, plan: str) -> str:
    put(customer_id, plan if plan != "gold" else "silver")
    return "set"

@set_plan.preview
def preview(customer_id: str, plan: str) -> list[Effect]:
    return [Effect(target=f'Customer::"{customer_id}"', field="plan", before=rows().get(customer_id), after=plan)]

@set_plan.undo
def unset_plan(customer_id: str, plan: str, effects: list[Effect]) -> str:
    for one in effects:
        if rows().get(customer_id) != one.before:
            raise ValueError("the plan was changed since")
        put(customer_id, one.after)
    return "unset"

if __name__ == "__main__":
    with gate.acting(agent="support-bot", user="alice"):
        result = gate.call("plan.set", {"customer_id": "C-1", "plan": sys.argv[1]})
        if "--approve" in sys.argv:
            gate.approvals.vote(result.request, "lena", "approve")
            result = gate.call("plan.set", {"customer_id": "C-1", "plan": sys.argv[1]})
    print(result.call)
    gate.close()
"""

POLICIES = """
@id("support-reads")
permit (principal in Role::"support", action in Action::"read", resource);

@id("support-sets")
permit (principal in Role::"support", action in [Action::"plan.set", Action::"plan.set.undo"], resource);

@id("bob-undoes-nothing")
@reason("bob does not undo")
forbid (principal == User::"bob", action == Action::"plan.set.undo", resource);

@id("trials-need-a-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action in [Action::"plan.set", Action::"plan.set.undo"], resource)
when { context.input.plan == "trial" || context.input.plan == "gold" };
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop"
    (folder / "policies").mkdir(parents=True)
    (folder / "licet.toml").write_text(CONFIG)
    (folder / "policies" / "base.cedar").write_text(POLICIES)
    (folder / "plans.py").write_text(SHOP)
    monkeypatch.chdir(folder)
    return folder


def made(shop: Path, *arguments: str) -> str:
    """A call of the application, in a process of its own: its id."""
    done = subprocess.run([sys.executable, "plans.py", *arguments], cwd=shop, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def plan(shop: Path) -> Any:
    return json.loads((shop / "plans.json").read_text())["C-1"]


def undo(shop: Path, *arguments: str) -> Any:
    return run_licet(shop, "--app", "plans:gate", "undo", *arguments, *ALICE)


def test_a_call_is_undone(shop: Path) -> None:
    call = made(shop, "pro")
    assert plan(shop) == "pro"
    done = undo(shop, call, "--reason", "wrong customer")
    assert done.returncode == Exit.OK, done.stderr
    assert f"call {call} is undone by `plan.set.undo`" in done.stdout
    assert 'Customer::"C-1" plan: "pro" -> null' in done.stdout
    assert plan(shop) is None


def test_programs_read_what_came_of_it(shop: Path) -> None:
    call = made(shop, "pro")
    done = undo(shop, call, "--json")
    found = json.loads(done.stdout)
    assert (found["ok"], found["data"]["undoes"], found["data"]["came_to"]) == (True, call, "ok")
    change = {"target": 'Customer::"C-1"', "field": "plan", "before": "pro", "after": None}
    assert (found["data"]["changes"], found["data"]["effects"]) == ([change], [change])


def test_a_preview_proposes_nothing(shop: Path, licet: Licet) -> None:
    call = made(shop, "pro")
    done = undo(shop, call, "--preview")
    assert done.returncode == Exit.OK, done.stderr
    assert f"call {call} would be undone by `plan.set.undo`" in done.stdout
    assert plan(shop) == "pro"
    tools = [
        line["envelope"]["tool"]["name"] for line in envelope(licet("audit", "search", "--kind", "intent", "--json"))["data"]["records"]
    ]
    assert tools == ["plan.set"]


def test_a_denied_undo_ends_with_6(shop: Path) -> None:
    call = made(shop, "pro")
    done = run_licet(shop, "--app", "plans:gate", "undo", call, "--agent", "support-bot", "--user", "bob")
    assert done.returncode == Exit.DENIED
    assert "bob does not undo" in done.stdout
    assert plan(shop) == "pro"


def test_a_held_undo_ends_with_7_and_goes_on_once_it_is_approved(shop: Path) -> None:
    call = made(shop, "trial", "--approve")
    done = undo(shop, call, "--json")
    assert done.returncode == Exit.HELD, done.stdout + done.stderr
    request = json.loads(done.stdout)["data"]["request"]
    assert plan(shop) == "trial"
    assert run_licet(shop, "approvals", "approve", request, "--as", "lena").returncode == Exit.OK
    done = undo(shop, call)
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert plan(shop) is None


def test_a_call_is_undone_once(shop: Path) -> None:
    call = made(shop, "pro")
    assert undo(shop, call).returncode == Exit.OK
    done = undo(shop, call, "--json")
    assert done.returncode == Exit.ERROR
    assert json.loads(done.stdout)["error"]["code"] == "already_undone"


def test_an_undo_that_fails_says_so(shop: Path) -> None:
    call = made(shop, "pro")
    made(shop, "basic")
    done = undo(shop, call)
    assert done.returncode == Exit.ERROR
    assert "may be undone in part by" in done.stdout
    assert plan(shop) == "basic"


def test_without_an_application_it_says_what_is_missing(shop: Path) -> None:
    done = run_licet(shop, "undo", "CALL", *ALICE)
    assert done.returncode == Exit.USAGE
    assert "an undo is a function of an application" in done.stderr
    assert "licet --app MODULE:GATE undo CALL" in done.stderr


def test_a_call_that_is_not_there(shop: Path) -> None:
    made(shop, "pro")
    done = undo(shop, "0" * 32, "--json")
    assert done.returncode == Exit.ERROR
    assert json.loads(done.stdout)["error"]["code"] == "no_such_call"


def test_the_story_of_a_call_says_what_it_undoes(shop: Path, licet: Licet) -> None:
    call = made(shop, "pro")
    undone = json.loads(undo(shop, call, "--json").stdout)["data"]["call"]
    shown = licet("audit", "show", undone)
    assert f"to undo call {call}" in shown.stdout
    assert re.search(rf"^ *undoes +{call}$", shown.stdout, re.MULTILINE)
    assert f"to undo call {call}" in licet("audit", "show", call).stdout


def test_a_tool_that_did_something_else_is_found_and_shown(shop: Path, licet: Licet) -> None:
    made(shop, "pro")
    made(shop, "trial", "--approve")
    call = made(shop, "gold", "--approve")
    found = envelope(licet("audit", "search", "--deviating", "--json"))["data"]["records"]
    assert [line["envelope"]["call"] for line in found] == [call]
    assert found[0]["envelope"]["outcome"]["deviates"] is True
    assert "which are not those that were approved" in found[0]["sentence"]
    shown = licet("audit", "show", call).stdout
    assert "the changes are not those that were approved" in shown
    assert 'Customer::"C-1" plan: "trial" -> "silver"' in shown
    assert 'Customer::"C-1" plan: "trial" -> "gold"' in shown
    kept = envelope(licet("audit", "search", "--kind", "outcome", "--outcome", "ok", "--json"))["data"]["records"]
    assert len(kept) == 3
