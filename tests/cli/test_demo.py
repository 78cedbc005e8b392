"""The demo is not a film: what it says happened lies in the business database and in the ledger, and a plan that is wrong is told so."""

from __future__ import annotations

import http.client
import io
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from licet.catalog.pins import LOCK_FILE, pins_of, read_lock
from licet.cli import demo_app, main
from licet.cli.demo_app import example_folder, set_up
from licet.cli.demo_ledger import verified
from licet.cli.faults import Refusal
from licet.config import loads

ROOT = Path(__file__).parents[2]
LICET = (sys.executable, "-c", "from licet.cli import main; main()")
NEXT = "next: `licet demo --once --keep FOLDER` leaves all of it there, to try things out\n"

ONE_OF = "a step has one of `call`, `plan`, `undo`, `kill`, `vote`, `freeze`, `lift`"

Answer = tuple[int, str, str]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Answer:
    """Exit code, stdout and stderr of a command line in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def run(*command: str, at: Path, environ: dict[str, str] | None = None) -> Answer:
    """The same of a process of its own, started in the folder `at`."""
    done = subprocess.run(command, cwd=at, env=environ, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def changed_plan(folder: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the example's plan with each of these texts, which stands there once, replaced."""
    text = (example_folder() / "plan.yaml").read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"`{old}` stands {text.count(old)} times in the plan"
        text = text.replace(old, new)
    plan = folder / "plan.yaml"
    plan.write_text(text)
    return plan


class Kept:
    """One demo that was kept: its folder, and what it said as data."""

    def __init__(self, folder: Path, answer: dict[str, Any]) -> None:
        self.folder = folder
        self.answer = answer
        self.data: dict[str, Any] = answer["data"]
        self.steps: list[dict[str, Any]] = self.data["steps"]

    def cell(self, table: str, row: str, column: str) -> object:
        with sqlite3.connect(self.folder / "business.db") as con:
            (value,) = con.execute(f"SELECT {column} FROM {table} WHERE id = ?", (row,)).fetchone()
        con.close()
        return value


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("demo") / "shop"
    code, out, err = run(*LICET, "demo", "--once", "--json", "--keep", str(folder), at=folder.parent)
    assert (code, err) == (0, "")
    return Kept(folder, json.loads(out))


def test_json_is_one_versioned_envelope(kept: Kept) -> None:
    assert (kept.answer["v"], kept.answer["command"], kept.answer["ok"], kept.answer["error"]) == (1, "demo", True, None)
    assert kept.data["unmet"] == []


def test_every_kind_of_answer_is_shown(kept: Kept) -> None:
    verdicts = [step["seen"]["verdict"] for step in kept.steps]
    assert set(verdicts) == {"allowed", "held", "denied", "failed", "unknown", "approved", "counted", "refused", "frozen", "lifted"}
    assert [step["number"] for step in kept.steps] == list(range(1, len(verdicts) + 1))


def test_every_call_and_vote_is_recorded(kept: Kept) -> None:
    assert all(step["seen"]["records"] for step in kept.steps)


def test_rows_have_changed_by_what_was_allowed_and_by_nothing_else(kept: Kept) -> None:
    assert kept.cell("accounts", "A-2001", "balance_cents") == 1_200 + 4_200 + 18_000 + 12_000
    assert kept.cell("accounts", "A-2002", "balance_cents") == 12_000
    assert kept.cell("accounts", "A-2002", "status") == "suspended"
    assert kept.cell("accounts", "A-2007", "balance_cents") == 300
    assert kept.cell("customers", "C-501", "plan") == "solo"
    assert kept.cell("accounts", "A-1009", "balance_cents") == 0
    assert kept.cell("accounts", "A-7001", "balance_cents") == 88_000


def test_an_approved_call_runs_once(kept: Kept) -> None:
    large = [step["seen"]["verdict"] for step in kept.steps if (step["arguments"] or {}).get("amount_cents") == 18_000]
    assert large == ["held", "allowed", "held"]


def test_who_approved_is_told_by_name(kept: Kept) -> None:
    reasons = [step["seen"]["reason"] for step in kept.steps if "approved exactly this call" in (step["seen"]["reason"] or "")]
    assert reasons == ["lena approved exactly this call", "dana and omar approved exactly this call", "lena approved exactly this call"]


def test_voters_are_shown_what_would_change(kept: Kept) -> None:
    shown = [[effect["field"] for effect in step["seen"]["effects"]] for step in kept.steps if step["seen"]["verdict"] == "approved"]
    assert shown == [["balance_cents"], ["status"], ["balance_cents", "balance_cents"], ["plan"]]


def test_a_plan_is_decided_at_once_and_each_call_runs_once(kept: Kept) -> None:
    held, voted, ran = (step["seen"] for step in kept.steps[23:26])
    assert (held["verdict"], held["records"]) == ("held", ["intent", "outcome ok", "hold", "hold"])
    assert voted["calls"] == held["calls"][1:]
    assert (ran["verdict"], ran["code"]) == ("allowed", "done")
    assert ran["reason"] == "3 of 3 steps ran"


def test_what_a_tool_does_beyond_its_preview_is_flagged(kept: Kept) -> None:
    (step,) = [step for step in kept.steps if step["seen"]["flagged"]]
    (effect,) = step["seen"]["flagged"]
    assert (effect["target"], effect["field"], effect["before"], effect["after"]) == ('Account::"A-2007"', "balance_cents", 300, 0)
    assert step["seen"]["records"] == ["intent", "outcome ok deviates"]


def test_a_frozen_agent_is_denied_until_another_person_lifts_it(kept: Kept) -> None:
    seen = [step["seen"] for step in kept.steps[29:33]]
    assert [(one["verdict"], one["code"]) for one in seen] == [
        ("frozen", "frozen"),
        ("denied", "frozen"),
        ("refused", "same_person"),
        ("lifted", "lifted"),
    ]
    assert seen[1]["reason"].startswith("agent `support-bot` of tenant `acme` is frozen since ")


def test_an_undo_puts_back_what_was_reported_and_is_a_call_of_its_own(kept: Kept) -> None:
    surprise, undo = kept.steps[28]["seen"], kept.steps[-1]["seen"]
    assert undo["calls"] != surprise["calls"]
    assert undo["records"] == ["intent", "outcome ok"]
    assert {(c["row"], c["before"], c["after"]) for c in undo["changes"]} == {
        (c["row"], c["after"], c["before"]) for c in surprise["changes"]
    }


def test_missing_and_foreign_customers_are_answered_alike(kept: Kept) -> None:
    foreign, missing = (next(s for s in kept.steps if (s["arguments"] or {}).get("customer_id") == c)["seen"] for c in ("G-77", "C-999"))
    assert foreign["reason"].replace("G-77", "C-999") == missing["reason"]
    assert (foreign["verdict"], foreign["code"]) == (missing["verdict"], missing["code"]) == ("denied", "target_not_found")


def test_the_orders_of_a_ticket_are_refused_with_the_reason(kept: Kept) -> None:
    obeyed = next(step for step in kept.steps if (step["arguments"] or {}).get("amount_cents") == 999_900)
    assert (obeyed["seen"]["verdict"], obeyed["seen"]["policies"]) == ("denied", ["own-account"])
    assert obeyed["seen"]["reason"] == "the account belongs to somebody else than the customer"


def test_a_killed_call_is_recorded_as_unknown_and_its_repeat_runs_nothing(kept: Kept) -> None:
    killed, repeated = (step["seen"] for step in kept.steps if step["seen"]["verdict"] == "unknown")
    assert killed["records"] == ["intent", "recovery unknown"]
    assert repeated["records"] == ["call"]
    assert repeated["reason"].endswith("; nothing ran now")


def test_the_trail_has_what_happened_to_one_customer_oldest_first(kept: Kept) -> None:
    trail = kept.data["trail"]
    indexes = [entry["index"] for entry in trail["entries"]]
    sentences = [entry["sentence"] for entry in trail["entries"]]
    assert indexes == sorted(indexes)
    assert trail["actors"] == ["support-bot for alice"]
    assert "billing.adjust.preview $180.00, A-2001, T-1002: allowed by billing-adjusts" in sentences
    assert "lena approves #5" in sentences
    assert "billing.adjust $180.00, A-2001, T-1002: allowed by billing-adjusts; lena approved #5" in sentences
    assert not any("A-2002" in sentence for sentence in sentences)


def test_the_ledger_is_intact_and_one_byte_in_a_copy_is_found(kept: Kept) -> None:
    tampered = kept.data["tampered"]
    settings = loads((kept.folder / "licet.toml").read_text(), file=kept.folder / "licet.toml")
    assert verified(settings).ok
    problem = verified(settings, kept.folder / "tampered.db").problems[0]
    assert (problem.log, problem.index, problem.field) == (tampered["log"], tampered["index"], "envelope")
    one, other = ((kept.folder / name).read_bytes() for name in ("licet.db", "tampered.db"))
    assert [at for at, byte in enumerate(one) if byte != other[at]] == [tampered["offset"]]


def test_the_second_act_wraps_a_server_and_checks_what_came_of_it(kept: Kept) -> None:
    acts = kept.data["wrapped"]
    verdicts = [act["seen"]["verdict"] for act in acts]
    assert verdicts == ["allowed", "allowed", "held", "refused", "approved", "allowed", "denied", "denied", "denied"]
    assert [act["number"] for act in acts] == list(range(len(kept.steps) + 1, len(kept.steps) + len(acts) + 1))
    assert not any(act["unmet"] for act in acts)
    assert kept.data["wrapped_verified"]["problems"] == []
    home = kept.folder / "wrapped_files" / "home"
    assert (home / "notes" / "todo.md").read_text() == "buy bread\nwater the plants\n"
    assert "payroll" in str(next(home.rglob("*.csv")))


def test_the_kept_server_can_be_wrapped_by_anybody(kept: Kept) -> None:
    folder = kept.folder / "wrapped_files"
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    calls = [("initialize", hello), ("tools/call", {"name": "read_text_file", "arguments": {"path": "/notes/todo.md"}})]
    said = "".join(
        json.dumps({"jsonrpc": "2.0", "id": n, "method": method, "params": params}) + "\n" for n, (method, params) in enumerate(calls)
    )
    done = subprocess.run([*LICET, "wrap"], cwd=folder, input=said, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = {message.get("id"): message for message in map(json.loads, done.stdout.splitlines())}
    assert "water the plants" in answers[1]["result"]["content"][0]["text"]


def test_what_the_examples_server_offers_is_what_its_lock_has_pinned() -> None:
    folder = example_folder("wrapped_files")
    done = subprocess.run(
        [sys.executable, "-c", "import json, server; print(json.dumps(server.TOOLS))"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert read_lock(folder / LOCK_FILE).of("files") == pins_of(json.loads(done.stdout))


def test_a_second_act_that_goes_another_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "licet" / "examples"
    for name in ("support_agent", "wrapped_files"):
        shutil.copytree(ROOT / "examples" / name, changed / name, ignore=shutil.ignore_patterns("__pycache__", "*.db*", "licet.key"))
    policies = changed / "wrapped_files" / "policies" / "files.cedar"
    policies.write_text(policies.read_text().replace('"/notes/*"', '"/*"'))
    monkeypatch.setattr("licet.__file__", str(tmp_path / "licet" / "__init__.py"))
    code, out, err = ask(capsys, "demo", "--once", "--json")
    assert code == 1, err
    unmet = json.loads(out)["data"]["unmet"]
    assert unmet == [
        "step 41, `It looks into another folder, which the server would show.`: expected verdict `denied`, found `allowed`",
        "step 41, `It looks into another folder, which the server would show.`: expected code `no_permit`, found `allowed`",
        "step 41, `It looks into another folder, which the server would show.`: expected records `denial`, found `call ok`",
    ]


def test_without_the_libraries_of_the_gateway_the_first_act_is_played_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("licet.cli.demo.can_wrap", lambda: False)
    code, out, err = ask(capsys, "demo", "--once")
    assert (code, "all 34 steps went as the plan says" in out) == (0, True)
    assert "the second act, a wrapped file server, needs `licet[server]`, which is not installed" in err


def test_the_kept_folder_is_an_application_that_works(kept: Kept, tmp_path: Path) -> None:
    shop = shutil.copytree(kept.folder, tmp_path / "shop")
    code, _, err = run(*LICET, "--app", "tools:gate", "test", at=shop)
    assert (code, err) == (0, "")
    status, printed, told = run(sys.executable, "agent.py", "crm.lookup", '{"customer_id": "G-77"}', at=shop)
    assert (status, printed) == (1, "")
    warning, reason = told.splitlines()
    assert "an agent with a shell could change its own permissions" in warning
    assert reason == 'tenant `acme` has no Customer::"G-77"'


def test_it_is_told_in_plain_text_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code, out, err = run(*LICET, "demo", "--once", at=tmp_path)
    assert (code, err) == (0, NEXT)
    assert "\x1b" not in out
    assert "✗ refused  `alice` is the one this call is made for, and nobody approves their own\n" in out
    assert "changed A-2001 balance: $54.00 -> $234.00\n" in out
    assert "✗ broken   log `acme`, record #2: its bytes are not those that were hashed\n" in out
    assert "all 43 steps went as the plan says" in out.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_each_expectation_that_was_not_met_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = changed_plan(
        tmp_path,
        ("before: 1200, after: 5400", "before: 1200, after: 5500"),
        ("code: requester", "code: not_in_group"),
        ("because: nobody approves their own", "because: no such person"),
        ("policies: [billing-ceiling]", "policies: [billing-needs-lead]"),
        ("verdict: counted", "verdict: approved"),
        ("records: [denial, admin]", "records: [denial]"),
        ("{field: envelope}", "{field: payload}"),
    )
    code, out, err = ask(capsys, "demo", "--once", "--plan", plan)
    assert code == 1
    assert err.startswith("error: 7 expectations were not met\n")
    changes = "`accounts/A-2001 balance_cents: 1200 to 5500`, found `accounts/A-2001 balance_cents: 1200 to 5400`"
    assert f"step 3, `It credits $42.00 to Maria's account A-2001, as ticket T-1001 asks.`: expected changes {changes}\n" in err
    assert "expected code `not_in_group`, found `requester`\n" in err
    assert "expected a reason with `no such person`, found `" in err
    assert "expected policies `billing-needs-lead`, found `billing-ceiling`\n" in err
    assert "expected verdict `approved`, found `counted`\n" in err
    assert "expected records `denial`, found `denial`, `admin`\n" in err
    assert "expected the changed byte to be found in `payload`, found envelope" in err
    assert "went as the plan says" not in out
    assert out.count("✗ not so") == 6


def test_what_a_plan_does_not_list_may_not_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = changed_plan(tmp_path, ("          changes: [{row: accounts/A-2002, column: status, before: active, after: suspended}]\n", ""))
    code, out, _ = ask(capsys, "demo", "--once", "--json", "--plan", plan)
    assert code == 1
    answer = json.loads(out)
    assert (answer["ok"], answer["error"]["code"]) == (False, "expectations_not_met")
    assert answer["data"]["unmet"] == [
        "step 18, `Now the agent suspends account A-2002.`: expected changes none, found `accounts/A-2002 status: active to suspended`"
    ]


def test_a_plan_that_goes_another_way_is_played_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = changed_plan(
        tmp_path,
        ("amount_cents: 18000}", "amount_cents: 8000}"),  # needs nobody
        ("amount_cents: 2000}", "amount_cents: 2000000}"),  # is denied before its process can be killed
        ("customer: C-412\n", "customer: C-400\n"),
        ('"agent":"support-bot"', '"agent":"nobody-bot"'),
        ('"agent":"support-bat"', '"agent":"nobody-bat"'),
    )
    code, out, _ = ask(capsys, "demo", "--once", "--json", "--plan", plan)
    assert code == 1
    data = json.loads(out)["data"]
    seen = [step["seen"] for step in data["steps"]]
    assert [(one["verdict"], one["code"]) for one in seen[3:6]] == [("allowed", "allowed"), *[("refused", "no_request")] * 2]
    assert seen[4]["reason"] == "that call was not held: nobody is asked for anything"
    assert (seen[21]["verdict"], seen[21]["code"]) == ("failed", "not_killed")
    assert seen[21]["reason"].startswith("the call ended before its process could be killed: denied by `billing-ceiling`")
    assert len(seen) == 34
    assert data["tampered"] is None
    assert data["unmet"][-2:] == [
        "expected an audit trail of `C-400`, found no record",
        'expected a byte to change in `"agent":"nobody-bot"`, found no intent that holds it',
    ]


def test_without_its_policy_the_orders_of_a_ticket_are_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = tmp_path / "example"
    shutil.copytree(example_folder(), example)
    billing = example / "policies" / "billing.cedar"
    billing.write_text(billing.read_text().partition("// Ticket and account")[0])
    monkeypatch.setattr(demo_app, "example_folder", lambda *_: example)
    code, _, err = ask(capsys, "demo", "--once", "--plan", example / "plan.yaml")
    assert code == 1
    assert "sends $9,999.00 to A-2007, an account of somebody else.`: expected verdict `denied`, found `held`\n" in err


def test_a_terminal_waits_for_enter_before_each_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("\n" * 100))
    served: list[Path] = []
    monkeypatch.setattr("licet.cli.demo.serve", lambda folder, *_: served.append(folder))
    code, _, err = ask(capsys, "demo")
    assert (code, err, len(served)) == (0, "(Enter)\n" * 12, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nuser: alice\n", "\nuser: alice\nusr: bob\n", "unknown field `usr`"),
        ("\nuser: alice\n", "\nuser: alice\nuser: bob\n", "the key `user` stands twice"),
        ("\nversion: 1\n", "\nversion: 2\n", "invalid enum value 2 - at `$.version`"),
        ("\nuser: alice\n", "\n", "missing required field `user`"),
        ("show: [name, plan]", "show: name", "at `$.chapters[0].steps[0].show`"),
        ("her profile, customer {customer_id}", "her profile, customer {id}", "step 1: `say` cannot be filled in: 'id'"),
        ("name: suspension", "name: other", "step 15: no step before it has the name `suspension`"),
        ("name: suspension", "name: large credit", "step 14: another step has the name `large credit`"),
        ("verdict: counted", "verdict: allowed", "step 15: `expect.verdict` is `allowed`; it can be approved, counted, rejected, refused"),
        ("        vote: {voter: dana, verdict: approve, about: suspension}\n", "", f"step 15: {ONE_OF}"),
        ("vote: {voter: dana,", "call: *suspend\n        vote: {voter: dana,", f"step 15: {ONE_OF}"),
        ("about: surprise", "about: stop", "step 34: the step with the name `stop` has no `call`"),
        ("lift: {about: stop, by: omar", "lift: {about: surprise, by: omar", "step 33: the step with the name `surprise` has no `freeze`"),
        ("about: outage", "about: stop", "step 25: no step before it has the name `stop`"),
        ("        plan: *outage\n", "        plan: []\n", "step 26: a plan has at least one call, and none of them a `key`"),
        ("verdict: lifted", "verdict: frozen", "step 33: `expect.verdict` is `frozen`; it can be lifted, refused"),
        ('write: \'"agent":"support-bat"\'', 'write: \'"agent":"support-tab"\'', "must differ in one byte"),
        ('write: \'"agent":"support-bat"\'', 'write: \'"agent":"support-boot"\'', "must differ in one byte"),
        ("chapters:\n", "chapters: [\n", "is not YAML"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    plan = changed_plan(tmp_path, (old, new))
    code, out, err = ask(capsys, "demo", "--once", "--plan", plan)
    assert (code, out) == (2, "")
    assert message in err
    assert str(plan) in err


def test_a_plan_that_is_not_there_or_too_large_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ask(capsys, "demo", "--once", "--plan", tmp_path / "none.yaml")
    assert (code, err.split("\n")[0]) == (2, f"error: `{tmp_path / 'none.yaml'}` cannot be read: no such file or directory")
    large = tmp_path / "large.yaml"
    large.write_text("#" * (256 * 1024 + 1))
    code, _, err = ask(capsys, "demo", "--once", "--plan", large)
    assert (code, err.split("\n")[0]) == (2, f"error: `{large}` is larger than 262144 bytes")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, out, err = ask(capsys, "demo", "--once", "--keep", tmp_path)
    assert (code, out, err.split("\n")[0]) == (2, "", f"error: `{tmp_path}` is not an empty folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_modules_of_the_same_name_are_neither_taken_nor_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ModuleType("tools")
    monkeypatch.setitem(sys.modules, "tools", mine)
    paths = list(sys.path)
    set_up(tmp_path / "shop")
    application = demo_app.Application(tmp_path / "shop")
    assert application.gate.settings.file == (tmp_path / "shop" / "licet.toml")
    assert sys.modules["tools"] is mine
    assert "business" not in sys.modules
    assert sys.path == paths


def test_an_installation_without_the_example_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.__file__", str(tmp_path / "a" / "b" / "licet" / "__init__.py"))
    with pytest.raises(Refusal, match="lacks the example `support_agent`"):
        example_folder()


@pytest.mark.heavy
def test_the_wheel_holds_all_that_the_demo_needs(tmp_path: Path) -> None:
    code, _, err = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist"), at=ROOT)
    assert code == 0, err
    (wheel,) = (tmp_path / "dist").glob("licet-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".db", ".pyc"))]
        archive.extractall(tmp_path / "installed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # The copy is not what coverage measures.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environ["PYTHONPATH"] = str(tmp_path / "installed")
    program = "import licet, sys; from licet.cli import main; print(licet.__file__, file=sys.stderr); main()"
    code, out, err = run(sys.executable, "-c", program, "demo", "--once", at=elsewhere, environ=environ)
    assert (code, err) == (0, f"{tmp_path}/installed/licet/__init__.py\n{NEXT}")
    assert "went as the plan says" in out
    assert list(elsewhere.iterdir()) == []


@pytest.mark.heavy
def test_it_ends_with_the_console_and_an_agent_that_goes_on_when_it_may(tmp_path: Path) -> None:
    """Until Ctrl-C: whoever follows the link, which a terminal of 80 columns shows whole, approves, and the agent's call runs."""
    command = [*LICET, "demo", "--port", "0", "--keep", str(tmp_path / "shop")]
    host = http.client.HTTPConnection("127.0.0.1")
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.PIPE, text=True
    )
    os.close(terminal)
    shown = os.fdopen(ours)
    try:
        link = next(line.strip() for line in shown if "/console/sign-in?link=" in line)
        address = link.partition("/console")[0]
        there = urlsplit(address)
        host.port = there.port or 0
        deadline = time.monotonic() + 60
        while host.sock is None:
            try:
                host.connect()
            except ConnectionRefusedError:  # the address is ours already, and is listened to in a moment
                assert time.monotonic() < deadline
                time.sleep(0.05)
        sent = {
            "Host": there.netloc,
            "Origin": address,
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }

        def ask(method: str, path: str, body: str | None = None, **more: str) -> tuple[int, str, str]:
            host.request(method, path, body, {**sent, **more})
            answer = host.getresponse()
            return answer.status, answer.read().decode(), answer.headers.get("set-cookie") or ""

        secret = link.partition("link=")[2]
        status, _, cookie = ask("POST", "/console/sign-in", urlencode({"link": secret, "next": "/console"}))
        assert status == 303
        session = {"Cookie": cookie.partition(";")[0]}
        assert ask("GET", "/console/overview", **session)[0] == 200
        waiting = re.findall(r'href="/console/inbox/([0-9a-f-]{36})', ask("GET", "/console/inbox", **session)[1])
        assert waiting
        for request in dict.fromkeys(waiting):
            page = ask("GET", f"/console/inbox/{request}", **session)[1]
            fields = {name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("form_token", "binding")}  # type: ignore[index]
            assert ask("POST", f"/console/inbox/{request}/vote", urlencode({**fields, "verdict": "approve"}), **session)[0] == 303
        while not any(
            'pill">' in page and "Used</span>" in page for page in (ask("GET", f"/console/inbox/{one}", **session)[1] for one in waiting)
        ):
            assert time.monotonic() < deadline, "the agent did not go on"
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    finally:
        host.close()
        process.kill()
        process.communicate()
        shown.close()


def test_without_a_server_the_demo_says_what_the_console_needs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.cli.demo.can_wrap", lambda: False)
    monkeypatch.setattr("licet.cli.demo.missing", lambda: ["jinja2"])
    code, _, err = ask(capsys, "demo")
    assert code == 0
    assert "the console needs `jinja2`: install `licet[server]`" in err
