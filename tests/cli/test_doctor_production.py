from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from licet import config
from licet.cli.doctor_production import ACCEPTABLE, REASONS, production_reasons
from licet.cli.exits import Exit
from licet.cli.finding import Finding
from tests.cli.conftest import CONFIG, Licet, envelope, run_licet

ROOT = Path(__file__).parents[2]
NOBODY = ("--tools-user", "nobody")
FIT = """
[retention]
payloads = "400d"

[production]
accept = ["votes_without_credential", "no_notifications"]
"""


def reasons(licet: Licet, *options: str) -> dict[str, list[dict[str, Any]]]:
    """The reasons against production, by name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for reason in envelope(licet("doctor", "--production", "--json", *NOBODY, *options))["data"]["production"]:
        found.setdefault(reason["name"], []).append(reason)
    return found


@pytest.fixture
def fit(used: Path) -> Path:
    """A project in which nothing speaks against production but what licet.toml accepts: its key and its anchor lie elsewhere."""
    elsewhere = used.parent / "elsewhere"
    elsewhere.mkdir()
    (used / "licet.key").rename(elsewhere / "licet.key")
    (used / "licet.toml").write_text(
        f'keys = "file:{elsewhere}/licet.key"\n{CONFIG}\n[witness]\nanchor = "{elsewhere}/licet.anchor"\n{FIT}'
    )
    for path in (used, used / "policies", *used.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (elsewhere / "licet.key").chmod(0o600)
    return used


def settings(text: str = "", *, environment: str = "production") -> config.Settings:
    return config.loads(f'environment = "{environment}"\n{text}', file=Path("/nowhere/licet.toml"))


def names(found: config.Settings, **environ: str) -> set[str]:
    return {reason.name for reason in production_reasons(found, (), environ)}


def test_what_is_fit_ends_with_0_and_says_what_was_accepted(fit: Path) -> None:
    done = run_licet(fit, "doctor", "--production", "--app", "shop:gate", *NOBODY)
    assert done.returncode == Exit.OK, done.stdout
    assert done.stdout.endswith("fit for production, 2 accepted in licet.toml\n")
    assert (
        "! accepted votes_without_credential: `billing-needs-lead` asks people, and a vote on a local store shows no credential"
        in done.stdout
    )
    assert "! accepted no_notifications: " in done.stdout
    assert "next: name `[[notify.channels]]`" not in done.stdout


def test_a_starter_is_refused_with_every_reason_by_name_and_a_next_step(licet: Licet, used: Path) -> None:
    result = licet("doctor", "--production", *NOBODY)
    assert result.exit_code == Exit.ERROR
    for name in ("demo_keys", "no_witness", "no_retention", "votes_without_credential", "no_notifications"):
        assert f"✗ refused  {name}: " in result.stdout
    assert "5 reasons against production\n" in result.stdout
    found = envelope(licet("doctor", "--production", "--json", *NOBODY))
    assert found["error"]["code"] == "not_fit_for_production"
    assert all(reason["next"] and reason["message"] and not reason["accepted"] for reason in found["data"]["production"])


def test_without_the_option_nothing_of_this_is_said(licet: Licet, used: Path) -> None:
    assert json.loads(run_licet(used, "doctor", "--json", "--app", "shop:gate", *NOBODY).stdout)["data"]["production"] is None
    assert "Production" not in licet("doctor", *NOBODY).stdout


def test_what_the_tools_user_can_change_is_refused_by_the_name_of_the_thing(licet: Licet, fit: Path) -> None:
    for name, thing in (("licet.toml", "writable_config"), ("policies", "writable_policies"), ("licet.db", "writable_store")):
        (fit / name).chmod(0o777)
        assert thing in reasons(licet)
        (fit / name).chmod(0o755)
    assert not [name for name in reasons(licet) if name.startswith("writable_")]


def test_what_is_written_for_an_agent_to_change_cannot_be_accepted(licet: Licet, fit: Path) -> None:
    toml = fit / "licet.toml"
    toml.write_text(toml.read_text().replace('accept = ["', 'accept = ["writable_store", "no_such_reason", "'))
    (fit / "licet.db").chmod(0o666)
    found = reasons(licet)
    assert not found["writable_store"][0]["accepted"]
    assert [one["message"] for one in found["accepted_reason_unknown"]] == [
        "`accept` under `[production]` names `writable_store`, a reason that cannot be accepted",
        "`accept` under `[production]` names `no_such_reason`, a reason that does not exist",
    ]


def test_what_doctor_fails_on_is_a_reason(licet: Licet, fit: Path) -> None:
    (fit / "policies/bad.cedar").write_text('@id("bad") permit (principal in Role::"suport", action, resource);')
    assert "did you mean `support`?" in reasons(licet)["failed_check"][0]["message"]
    (fit / "licet.toml").write_text("environment = 1")
    found = reasons(licet)
    assert list(found) == ["failed_check"]
    assert found["failed_check"][0]["message"].startswith("config: ")


def test_variables_in_place_of_the_file_are_told(licet: Licet, fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICET_APPROVALS_EXPIRES", "1d")
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    found = reasons(licet)
    assert "`LICET_APPROVALS_EXPIRES` stands in place" in found["overridden_settings"][0]["message"]
    assert "`PYTHONASYNCIODEBUG` is set" in found["debug_settings"][0]["message"]


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ("production", False),
        ("prod", False),
        ("prod-eu", False),
        ("eu.production", False),
        ("live", False),
        ("Prod2", False),
        ("development", True),
        ("staging", True),
        ("non-prod", False),  # a name is a name: whoever calls it so has said prod
        ("reproduction", True),
        ("preprod", True),
        ("delivery", True),
    ],
)
def test_an_environment_is_production_by_a_part_of_its_name(environment: str, *, refused: bool) -> None:
    assert ("environment_not_production" in names(settings(environment=environment))) is refused


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ("file:licet.key", True),
        ("file:sub/../licet.key", True),
        ("file:/nowhere/other.key", True),
        ("file:/elsewhere/licet.key", False),
        ("env:LICET_KEY", False),
        ("command:keys get licet", False),
    ],
)
def test_a_key_is_a_demo_key_by_where_it_lies(keys: str, *, refused: bool) -> None:
    assert ("demo_keys" in names(settings(f'keys = "{keys}"'))) is refused


def test_a_key_that_lies_beside_the_ledger_through_a_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert "demo_keys" in names(settings(f'keys = "file:{tmp_path}/link/k"\nstore = "sqlite:{tmp_path}/licet.db"'))


def test_an_anchor_or_a_server_is_a_witness_and_plain_http_is_told() -> None:
    server = '[[witness.servers]]\nurl = "{url}"\nvkey = "w+1+x"\n'
    assert "no_witness" in names(settings())
    assert "no_witness" not in names(settings('[witness]\nanchor = "/elsewhere/a"'))
    assert names(settings(server.format(url="https://w"))) & {"no_witness", "plain_http_witness"} == set()
    assert "plain_http_witness" in names(settings(server.format(url="HTTP://w")))
    assert "plain_http_witness" in names(settings(server.format(url="https://w") + 'monitoring_url = "http://w"'))


def test_a_starter_policy_is_known_word_for_word(licet: Licet, fit: Path) -> None:
    starter = resources.files("licet.cli").joinpath("starter", "policies", "billing.cedar").read_bytes()
    (fit / "policies/base.cedar").write_bytes(starter)
    assert "starter_policies" in reasons(licet)
    (fit / "policies/base.cedar").write_bytes(starter + b"\n// ours\n")
    assert "starter_policies" not in reasons(licet)


def test_policies_that_ask_nobody_need_no_credential_and_no_notification(licet: Licet, fit: Path) -> None:
    rules = (fit / "policies/base.cedar").read_text()
    (fit / "policies/base.cedar").write_text(rules.replace('@require_approval("1 of Group::\\"billing-leads\\"")', "@preview_only"))
    assert not reasons(licet).keys() & {"votes_without_credential", "no_notifications"}
    (fit / "policies/base.cedar").write_text(rules.replace('@require_approval("1 of Group::\\"billing-leads\\"")', "@require_confirmation"))
    assert reasons(licet).keys() >= {"votes_without_credential", "no_notifications"}


def test_a_failed_check_without_a_next_step_still_has_one() -> None:
    (reason,) = production_reasons(None, [Finding("fail", "disk", "full"), Finding("warn", "key", "beside")], {})
    assert (reason.name, reason.message, reason.next) == ("failed_check", "disk: full", "mend it, and look again")


def test_the_page_explains_every_reason_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+? \| (yes|no) \|$", (ROOT / "docs/production.md").read_text(), re.MULTILINE)
    assert {name: meaning for name, meaning, _ in rows} == REASONS
    assert {name for name, _, can in rows if can == "yes"} == ACCEPTABLE


def test_every_reason_that_is_given_has_its_place_in_the_table() -> None:
    source = (ROOT / "src/licet/cli/doctor_production.py").read_text()
    given = set(re.findall(r'name="(\w+)"', source)) | {"failed_check", *(name for name in REASONS if name.startswith("writable_"))}
    assert given == set(REASONS)
