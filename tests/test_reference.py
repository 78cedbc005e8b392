"""The reference tables of the documentation, held equal to the code: keys of licet.toml, codes, states of a request, guarantees."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from msgspec import Struct

from licet import config
from licet.approvals.states import TRANSITIONS
from licet.catalog.declared import ResourceSettings, ToolSettings
from licet.config import Settings, written
from licet.config.identity import SignInSettings, WrittenIdentity, WrittenIssuer
from licet.config.notify import KINDS, WrittenNotify
from licet.errors import OperatorError, ResolverRefused, ServerError
from licet.ledger.record import Actor, ApprovalEntry, DecisionEntry, Envelope, Kind, OutcomeEntry, PayloadEntry, ToolEntry
from licet.model import RequestState
from licet.server.problems import STATUSES
from licet.witness.client import Witness
from tests.documents import Document

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/licet"
ROOMS = ("approvals", "catalog", "gate", "identity", "ledger", "policy")

# codes

RAISED = {
    "Refused",
    "CallerRefused",
    "ArgumentsRefused",
    "VoteRefused",
    "SettlementRefused",
    "FreezeRefused",
    "UndoRefused",
    "EffectRefused",
    "CredentialRefused",
    "ErasureRefused",
    "ReportRefused",
    "NotAuthenticated",
    "denied",
}
"""What takes a code as its first argument."""
CODED = {"Decision", "Outcome", "OutcomeEntry", "Failed", "replace"}
"""What takes a code by name."""
TUPLES = {"_described", "_described_choice", "_kept_apart", "why_not"}
"""Functions that return a code as the first of several values."""
PASSED_ON = {
    "answer.condition",
    "code",
    "codes[0]",
    "decision.code",
    "entry.code",
    "entry.status",
    "error.code",
    "lost.condition",
    "outcome.code",
    "outcome.status",
    "ran.status",
    "recorded.code",
    "refused.code",
    "report.code",
    "report.status",
    "type(error).__name__",
    "wording.hold_code(obligations)",
}
"""Codes that come from one of the other places; anything else that is no literal fails the test, so that no code can hide."""
ELSEWHERE = {
    "f'unknown_{kind}'": {"unknown_agent", "unknown_service", "unknown_user"},
    "hold_code": {"approval_required", "confirmation_required", "preview_only"},
    "_CODES": {"policy_error", "forbidden", "no_permit"},
    "conditions of a vote": {"request_moved", "already_voted", "no_vote"},
    "statuses": {"timeout", "not_executed", "unknown"},
    "SETTLED": {"settled"},
    "PAUSED": {"paused"},
    "FAILED": {"tool_error"},
    "told.code": {"tool_error"},
    "told.code if told.code != PAUSED else FAILED": {"tool_error"},
    "adapters": {"gate_failed"},
    "intents that nobody was told of": {"intent_refused", "cancelled"},
    "votes through channels": {"unknown_request"},
}
"""Codes that are not literals at their place: looked at in `test_what_is_written_elsewhere_is_as_it_was`."""


def codes_of(source: str) -> Iterator[str]:
    """Every literal code in a module; of others the expression, after a question mark."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in RAISED and node.args:
                yield from _codes(node.args[0])
            elif name in CODED:
                yield from (code for keyword in node.keywords if keyword.arg == "code" for code in _codes(keyword.value))
        elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["code"]:
            yield from _codes(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name in TUPLES:
            for inner in ast.walk(node):
                yield from _codes(inner.elts[0]) if isinstance(inner, ast.Tuple) and _is_code(inner.elts[0]) else ()


def _codes(node: ast.expr) -> Iterator[str]:
    """What an expression can come to: a choice is all that can be chosen."""
    if isinstance(node, ast.IfExp):
        yield from (*_codes(node.body), *_codes(node.orelse))
    elif isinstance(node, ast.BoolOp):
        yield from (code for value in node.values for code in _codes(value))
    else:
        yield node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else f"?{ast.unparse(node)}"


def _is_code(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[a-z_]+", node.value) is not None


def codes_of_ends(source: str) -> Iterator[str]:
    """Every code with which a call of an upstream's tool can end: the gateway's `Refused` is what an upstream says, and has no code."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "EndedAs":
            yield from _codes(node.args[1])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Garbage":
            yield from _codes(node.args[0])
        elif isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["EndedAs"]:
            for inner in ast.walk(node):
                yield from _codes(inner.args[1]) if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "super().__init__" else ()


def codes_in_source() -> set[str]:
    found = {code for room in ROOMS for file in (SOURCE / room).glob("*.py") for code in codes_of(file.read_text())}
    ending = [*(SOURCE / "gateway").rglob("*.py"), *(SOURCE / "integrations").glob("*.py"), SOURCE / "gate/brought.py"]
    found |= {code for file in ending for code in codes_of_ends(file.read_text())}
    unknown = {code for code in found if code.startswith("?")} - {f"?{known}" for known in (*PASSED_ON, *ELSEWHERE)}
    assert unknown == set(), "codes that this test cannot follow"
    return {code for code in found if not code.startswith("?")} | set().union(*ELSEWHERE.values())


def codes_in_docs() -> set[str]:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    return set(rows)


def test_every_code_is_explained_and_no_other() -> None:
    assert (
        codes_in_docs() | codes_told("On the command line")
        == (codes_in_source() - {"allowed"}) | set(served()) | asking() | told_by_the_program()
    )


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("identity/directory.py", '_find(self.services, "service"'),
        ("identity/directory.py", '_find(self.agents, "agent"'),
        ("identity/directory.py", '_find(self.users, "user"'),
        ("policy/wording.py", 'return "approval_required" if "approval" in kinds else "confirmation_required"'),
        ("policy/judgement.py", '(("failed", "policy_error"), ("forbidden", "forbidden"), ("unpermitted", "no_permit"))'),
        ("store/request_rows.py", 'Lost("already_voted"'),
        ("store/request_rows.py", 'Lost("request_moved"'),
        ("store/request_rows.py", 'Lost("no_vote"'),
        ("approvals/desk.py", "VoteRefused(lost.condition"),
        ("gate/unknown.py", 'SETTLED = "settled"'),
        ("gate/clerk.py", 'code: str = "intent_refused"'),
        ("gate/proposing.py", 'close_intent_later(draft, "cancelled"'),
        ("approvals/notify/office.py", 'VoteRefused("unknown_request"'),
    ],
)
def test_what_is_written_elsewhere_is_as_it_was(file: str, text: str) -> None:
    assert text in (SOURCE / file).read_text()


def test_a_code_that_nobody_can_follow_is_found() -> None:
    assert set(codes_of('raise Refused("a_code", "text")\nraise Refused(chosen(), "text")')) == {"a_code", "?chosen()"}
    assert set(codes_of('def why_not():\n    return "b_code", f"text"\n')) == {"b_code"}
    assert set(codes_of('Decision(verdict="deny", code="c_code")')) == {"c_code"}
    assert set(codes_of('code = given or ("d_code" if status == "ok" else status)')) == {"?given", "d_code", "?status"}


# codes of the server, of its clients and of the program

SERVED_ON = {"*_NOBODY", "code", "error.code", "own", "refused.code"}
"""Codes of the server that come from the rooms, or from `STATUSES`."""
TOLD_ON = {"_snake(error)", "code", "decision.code", "error.code", "name", "refused.code", "result.code"}
"""Codes of the program that come from the rooms, from a server, or from the names of errors."""


def given(room: str, name: str, place: int | str) -> Iterator[tuple[str, ast.Call]]:
    """Every code that a room gives to calls of this name, by position or keyword, and the call; of what is no literal, the expression."""
    for file in sorted((SOURCE / room).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
                found = node.args[place : place + 1] if isinstance(place, int) else [one.value for one in node.keywords if one.arg == place]
                yield from ((code, node) for value in found for code in _codes(value))


def literal(found: set[str], passed_on: set[str]) -> set[str]:
    assert {code for code in found if code.startswith("?")} - {f"?{known}" for known in passed_on} == set(), (
        "codes that this test cannot follow"
    )
    return {code for code in found if not code.startswith("?")}


def served() -> dict[str, int]:
    """Every code that the server itself gives, and its status."""
    found = list(given("server", "Problem", 0))
    statuses = {
        code: ast.literal_eval(keyword.value)
        for code, call in found
        for keyword in call.keywords
        if keyword.arg == "status" and isinstance(keyword.value, ast.Constant)
    }
    literals = literal({code for code, _ in found}, SERVED_ON)
    return STATUSES | {code: statuses[code] if code in statuses else STATUSES[code] for code in literals}


def asking() -> set[str]:
    return literal({code for code, _ in given("client", "ServerProblem", 1)}, {"clean(found.code)"})


def told_by_the_program() -> set[str]:
    found = {code for code, _ in (*given("cli", "Refusal", 1), *given("cli", "Fault", "code"))}
    operators = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in every(OperatorError) - {ResolverRefused}}
    return literal(found, TOLD_ON) | operators


def every(kind: type[Exception]) -> set[type[Exception]]:
    return {found for one in kind.__subclasses__() for found in (one, *every(one)) if found.__module__ == "licet.errors"}


def section(heading: str) -> str:
    return (ROOT / "docs/errors.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def codes_told(heading: str) -> set[str]:
    """Every code in the first cells of a section's table."""
    return {code for cell in re.findall(r"^\| (`.+?) \|", section(heading), re.MULTILINE) for code in re.findall(r"`(\w+)`", cell)}


def test_every_problem_of_the_server_is_explained_with_its_status_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", section("Over HTTP"), re.MULTILINE)
    assert {code: int(status) for code, status in rows} == served()
    assert len(rows) == len(served()) >= 25


def test_every_code_of_the_program_is_explained_and_no_other() -> None:
    assert codes_told("On the command line") == told_by_the_program()


def test_every_error_of_asking_a_server_is_explained() -> None:
    assert codes_told("Asking a server") == asking() == {"bad_answer"}
    assert set(re.findall(r"^- `(\w+)`", section("Asking a server"), re.MULTILINE)) == {kind.__name__ for kind in every(ServerError)}


# licet.toml

TABLES: dict[str, type[Struct]] = {
    "tenants": config.TenantSettings,
    "agents": config.AgentSettings,
    "services": config.ServiceSettings,
    "users": config.UserSettings,
    "groups": config.GroupSettings,
    "tools": ToolSettings,
    "resources": ResourceSettings,
    "meters": config.MeterSettings,
    "approvals": written.WrittenApprovals,  # as it is written
    "limits": config.LimitSettings,
    "witness": written.WrittenWitness,  # as above
    "search": config.SearchSettings,
    "freeze": config.FreezeSettings,
    "retention": written.WrittenRetention,  # as it is written
    "notify": WrittenNotify,  # as it is written; its channels are beside it
    "production": config.ProductionSettings,
    "authzen": config.AuthzenSettings,
    "server": config.ServerSettings,
    "postgres": config.PostgresSettings,
    "identity": WrittenIdentity,  # as it is written; its issuers are beside it
    "upstreams": config.UpstreamSettings,
    "gateway": config.GatewaySettings,
    "wrap": config.WrapSettings,
}
TOP = ("environment", "timezone", "store", "keys", "policies", "roles", "cross_tenant", "require_reason")


def keys_in_source() -> set[str]:
    tables = {f"{table}.{key}" for table, kind in TABLES.items() for key in kind.__struct_fields__}
    channels = {f"notify.{key}" for kind in KINDS.values() for key in kind.__struct_fields__}
    issuers = {f"identity.{key}" for kind in (WrittenIssuer, SignInSettings) for key in kind.__struct_fields__}
    return {*TOP, *tables, *channels, *issuers}


def keys_in_docs() -> set[str]:
    """Each section of the page is headed by a table's name; its rows are that table's keys."""
    found = set()
    for section in re.split(r"^## ", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)[1:]:
        heading = re.match(r"`\[(\w+)", section)
        prefix = f"{heading[1]}." if heading else ""
        found |= {prefix + key for key in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)}
    return found


def test_every_key_of_the_configuration_is_explained_and_no_other() -> None:
    assert keys_in_docs() == keys_in_source()


def test_every_key_of_an_upstream_is_in_the_example_and_the_example_loads(tmp_path: Path) -> None:
    section = (ROOT / "docs/configuration.md").read_text().split("## `[upstreams.NAME]`")[1].split("\n## ")[0]
    example = section.split("```toml\n")[1].split("```")[0]
    keys = set(re.findall(r"^(\w+) = ", example, re.MULTILINE)) | set(re.findall(r"^\[upstreams\.\w+\.(tenants)\.", example, re.MULTILINE))
    assert keys == set(config.UpstreamSettings.__struct_fields__)
    text = f'environment = "test"\n[tenants.globex]\n{example}'
    assert set(config.loads(text, file=tmp_path / "licet.toml").upstreams) == {"crm", "notes"}


def test_the_tables_named_here_are_all_there_are() -> None:
    assert {*TOP, *TABLES, "approvals", "file"} == set(Settings.__struct_fields__)


@pytest.mark.parametrize(("key", "default"), [("resolver_timeout_s", "5.0"), ("store_timeout_s", "30.0"), ("denials_per_minute", "20")])
def test_the_defaults_of_limits_are_those_that_are_written(key: str, default: str) -> None:
    assert str(getattr(config.LimitSettings(), key)) == default
    assert re.search(rf"^\| `{key}` \| {re.escape(default)} \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)


# states of a request


def test_the_diagram_of_requests_is_the_table() -> None:
    text = (ROOT / "docs/approvals.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE)
    assert {(source, event, target) for source, event, target in rows} == {
        (str(source), str(event), str(target)) for (source, event), target in TRANSITIONS.items()
    }
    arrows = re.findall(r"^ +(\w+) --> (\w+): (\w+)$", text, re.MULTILINE)
    assert {(source, event, target) for source, target, event in arrows} == set(rows)
    assert {source for source, _, _ in rows} | {target for _, _, target in rows} == {str(state) for state in RequestState}


# guarantees


def guarantees() -> list[str]:
    section = (ROOT / "README.md").read_text().partition("\n## Guarantees\n")[2].partition("\n## ")[0]
    return list(re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:])


def test_every_guarantee_links_to_the_test_that_shows_it() -> None:
    rows = guarantees()
    assert len(rows) >= 10
    assert [row for row in rows if not re.search(r"\]\(tests/[\w/]+\.py#test_\w+\)", row)] == []


THREATS = sorted((ROOT / "docs/threats").glob("*.md"))
PARTS = ["Attacks", "Not stopped", "What you must do", "How it is noticed"]


@pytest.mark.parametrize("path", THREATS, ids=lambda path: path.name)
def test_every_attack_of_the_threat_model_names_its_test_or_says_that_nothing_stops_it(path: Path) -> None:
    text = Document.read(path).text
    rows = [row for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) if not re.match(r"\| *(attack|---)|\|---", row)]
    assert len(rows) >= 4
    assert [row for row in rows if "tests/" not in row and "Not stopped" not in row] == []
    assert [row for row in rows if len(re.split(r" \|", row)) != 4] == [], "a cell too many or too few"


@pytest.mark.parametrize("path", THREATS, ids=lambda path: path.name)
def test_every_page_of_the_threat_model_has_its_parts(path: Path) -> None:
    text = Document.read(path).text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert re.findall(r"^\*\*(Has|Wants)\.\*\* \w", text, re.MULTILINE) == ["Has", "Wants"]


def test_the_threat_model_leads_to_every_page_by_its_title() -> None:
    listed = re.findall(r"^\| \[(.+)\]\(threats/(.+)\) \|", (ROOT / "docs/threat-model.md").read_text(), re.MULTILINE)
    assert {name: title for title, name in listed} == {
        path.name: path.read_text().partition("\n")[0].removeprefix("# ") for path in THREATS
    }
    assert len(listed) == len(THREATS) >= 12


# the first page

REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


# `server.md` has a server running beside its commands: tests/server/test_server_page.py types it.
CONSOLES = [path for path in sorted((ROOT / "docs").glob("*.md")) if "```console" in path.read_text() and path.name != "server.md"]


@pytest.mark.heavy
@pytest.mark.parametrize("path", CONSOLES, ids=lambda path: path.name)
def test_what_a_page_tells_to_type_does_what_it_says(path: Path, tmp_path: Path) -> None:
    page = Document.read(path)
    for block in page.blocks:
        if block.file is not None:
            (tmp_path / block.file).parent.mkdir(exist_ok=True)
            (tmp_path / block.file).write_text(block.code)
    programs = Path(sys.executable).parent
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LICET_")} | {
        "PATH": f"{programs}:{os.environ['PATH']}"
    }
    seen = ""
    for command, ends, printed in page.steps:
        line = command.replace("REQUEST_ID", seen)
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
        output = done.stdout + done.stderr
        assert done.returncode == ends, f"{line}: {output}"
        assert [line for line in printed if line not in output] == [], f"{line}: {output}"
        if held := REQUEST_ID.findall(done.stdout):
            seen = held[0]


def test_there_are_pages_to_type_along() -> None:
    assert {path.name for path in CONSOLES} >= {"getting-started.md", "witness.md"}


def test_the_settings_of_a_witness_are_settings(tmp_path: Path) -> None:
    written = [block.code for block in Document.read(ROOT / "docs/witness.md").blocks if block.language == "toml" and block.file is None]
    assert len(written) == 1
    witness = config.loads(f'environment = "production"\n{written[0]}', file=tmp_path / "licet.toml").witness
    assert (len(witness.anchors), witness.max_age_s) == (1, 3_600)
    assert [Witness(server.url, server.vkey).name for server in witness.servers] == ["witness.example.com/w1"]


@pytest.mark.parametrize(
    "path", [path for path in sorted((ROOT / "docs").glob("*.md")) if ".test.yaml -->" in path.read_text()], ids=lambda path: path.name
)
def test_policy_tests_that_are_shown_pass(path: Path, tmp_path: Path) -> None:
    for block in Document.read(path).blocks:
        if block.file is not None:
            file = tmp_path / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.code)
    licet = Path(sys.executable).parent / "licet"
    done = subprocess.run([licet, "test"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


# records


def test_the_fields_of_an_envelope_are_those_that_are_written() -> None:
    text = (ROOT / "docs/ledger.md").read_text()
    listed = re.search(r"^`(v, log, [^`]+)`$", text, re.MULTILINE)
    assert listed is not None
    names = re.split(r",\s*(?![^{]*})", listed[1])
    fields = {name.partition("{")[0]: re.findall(r"\w+", name.partition("{")[2]) for name in names}
    assert list(fields) == list(Envelope.__struct_fields__)
    parts = {
        "actor": Actor,
        "tool": ToolEntry,
        "decision": DecisionEntry,
        "approval": ApprovalEntry,
        "outcome": OutcomeEntry,
        "payload": PayloadEntry,
    }
    assert {name: inner for name, inner in fields.items() if inner} == {name: list(part.__struct_fields__) for name, part in parts.items()}


def test_the_kinds_of_records_are_those_that_the_code_writes() -> None:
    section = (ROOT / "docs/ledger.md").read_text().partition("## What is recorded when")[2].partition("\n## ")[0]
    listed = {kind for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for kind in re.findall(r"`(\w+)`", row)}
    source = "".join(file.read_text() for file in SOURCE.rglob("*.py"))
    written = {kind for kind in get_args(Kind) if re.search(rf'(_record|_ended|event|say|\() ?\(?\s*"{kind}",|kind="{kind}"', source)}
    assert listed == written
