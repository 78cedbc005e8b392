from __future__ import annotations

import json
from pathlib import Path

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import ALICE, CUSTOMER, Licet, envelope, run_app, run_licet

pytestmark = pytest.mark.heavy  # each test starts processes or servers of its own


LOOKUP = '{"customer_id": "C-1"}'


def adjustment(amount_cents: int) -> str:
    return json.dumps({"customer_id": "C-1", "amount_cents": amount_cents})


@pytest.fixture(autouse=True)
def known(project: Path) -> None:
    """The store knows the application's tools."""
    run_app(project, "100")


@pytest.mark.parametrize(
    ("amount_cents", "exit_code", "sentence", "message"),
    [
        (
            2_500,
            0,
            '✓ allow    support-bot for alice may use `billing.adjust` on Customer::"C-1"',
            "allowed by `billing-adjust` (policies/base.cedar:9)",
        ),
        (
            20_000,
            7,
            '◆ hold     support-bot for alice may use `billing.adjust` on Customer::"C-1" once people have agreed',
            "approval of 1 member of `billing-leads` is required by `billing-needs-lead` (policies/base.cedar:13): adjustments over $100",
        ),
        (
            2_000_000,
            6,
            '✗ deny     support-bot for alice may not use `billing.adjust` on Customer::"C-1"',
            'no policy permits Agent::"support-bot"',
        ),
    ],
)
def test_the_verdict_is_a_sentence_and_an_exit_code(licet: Licet, amount_cents: int, exit_code: int, sentence: str, message: str) -> None:
    result = licet("can", "billing.adjust", adjustment(amount_cents), *ALICE, *CUSTOMER)
    assert result.exit_code == exit_code
    first, second = result.stdout.splitlines()
    assert first == sentence
    assert message in second


def test_nothing_is_recorded_and_nothing_runs(licet: Licet, project: Path) -> None:
    before = (project / "licet.db").read_bytes(), (project / "balances.json").read_bytes()
    licet("can", "billing.adjust", adjustment(2_500), *ALICE, *CUSTOMER)
    assert ((project / "licet.db").read_bytes(), (project / "balances.json").read_bytes()) == before


def test_arguments_are_read_from_stdin(licet: Licet) -> None:
    assert licet("can", "crm.lookup", "-", *ALICE, *CUSTOMER, stdin=LOOKUP).exit_code == Exit.OK


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"customer_id": "C-1", "customer_id": "C-2"}', "duplicate_key"),
        ('{"customer_id": NaN}', "not_finite"),
        ("{", "not_json"),
        ('{"customer_id": {"__entity": {"type": "Role", "id": "admin"}}}', "forbidden_key"),
        ('{"customer_id": 5}', "wrong_type"),
        ("[]", "not_object"),
    ],
)
def test_arguments_are_read_as_strictly_as_an_agents(licet: Licet, arguments: str, code: str) -> None:
    for result in (
        licet("can", "crm.lookup", arguments, *ALICE, *CUSTOMER, "--json"),
        licet("can", "crm.lookup", "-", *ALICE, *CUSTOMER, "--json", stdin=arguments),
    ):
        assert result.exit_code == Exit.DENIED
        assert envelope(result)["error"]["code"] == code


def test_bytes_that_are_not_text_are_refused(licet: Licet) -> None:
    result = licet("can", "crm.lookup", "-", *ALICE, *CUSTOMER, "--json", stdin=b'{"customer_id": "\xff"}')
    assert result.exit_code == Exit.DENIED


def test_json_holds_the_decision_and_the_refusal(licet: Licet) -> None:
    found = envelope(licet("can", "billing.adjust", adjustment(20_000), *ALICE, *CUSTOMER, "--json"))
    decision = found["data"]["decision"]
    assert (decision["verdict"], decision["code"]) == ("hold", "approval_required")
    assert {owed["policy"] for owed in decision["obligations"]} == {"billing-needs-lead"}
    assert (found["error"]["exit"], found["error"]["code"]) == (7, "approval_required")
    assert found["error"]["message"] == decision["message"]


@pytest.mark.parametrize(
    ("caller", "message"),
    [
        ((), "nobody is calling"),
        (("--agent", "ghost"), "`ghost` is not an agent or a service of the directory"),
        (("--agent", "support-bot"), "acts for users only"),
        (("--agent", "support-bot", "--user", "ghost"), "there is no user `ghost`"),
        (("--agent", "support-bot", "--user", "alice", "--tenant", "globex"), "does not belong to the tenant `globex`"),
        (("--user", "alice"), "`alice` is not an agent or a service"),
    ],
)
def test_a_caller_that_the_directory_does_not_know_is_denied(licet: Licet, caller: tuple[str, ...], message: str) -> None:
    result = licet("can", "crm.lookup", LOOKUP, *caller, *CUSTOMER)
    assert result.exit_code == Exit.DENIED
    assert message in result.stdout


def test_an_unknown_tool_is_denied(licet: Licet) -> None:
    result = licet("can", "crm.nothing", *ALICE)
    assert result.exit_code == Exit.DENIED
    assert "there is no tool `crm.nothing` in the catalog" in result.stdout


def test_a_target_of_another_tenant_and_one_that_is_missing_answer_alike(licet: Licet) -> None:
    foreign = licet("can", "crm.lookup", LOOKUP, *ALICE, *CUSTOMER, "--attr", 'tenant="globex"')
    missing = licet("can", "crm.lookup", LOOKUP, *ALICE, "--target", 'Customer::"C-2"', "--attr", "vip=false")
    assert foreign.exit_code == missing.exit_code == Exit.DENIED
    assert foreign.stdout == missing.stdout


def test_without_a_resolver_the_target_cannot_be_told(licet: Licet) -> None:
    result = licet("can", "crm.lookup", LOOKUP, *ALICE)
    assert result.exit_code == Exit.DENIED
    assert "this process has no resolver for `Customer`" in result.stdout


def test_an_application_resolves_its_targets(project: Path) -> None:
    own = run_licet(project, "can", "crm.lookup", LOOKUP, *ALICE, "--app", "shop:gate")
    foreign = run_licet(project, "can", "crm.lookup", '{"customer_id": "G-1"}', *ALICE, "--app", "shop:gate")
    assert (own.returncode, foreign.returncode) == (Exit.OK, Exit.DENIED)
    assert 'tenant `acme` has no Customer::"G-1"' in foreign.stdout


def test_targets_can_come_from_a_file(licet: Licet, project: Path) -> None:
    (project / "targets.json").write_text('{"Customer::\\"C-1\\"": {"tenant": "acme", "vip": true}}')
    assert licet("can", "crm.lookup", LOOKUP, *ALICE, "--targets-file", "targets.json").exit_code == Exit.OK


def test_the_environment_is_imagined_for_the_rehearsal_alone(licet: Licet, project: Path) -> None:
    only = '@id("staging-only") forbid (principal, action, resource) unless { context.environment == "staging" };'
    (project / "policies/staging.cedar").write_text(only)
    assert licet("can", "crm.lookup", LOOKUP, *ALICE, *CUSTOMER).exit_code == Exit.DENIED
    imagined = licet("can", "crm.lookup", LOOKUP, *ALICE, *CUSTOMER, "--environment", "staging")
    assert imagined.exit_code == Exit.OK
    assert "in `staging`" in imagined.stdout
    assert 'environment = "production"' in (project / "licet.toml").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "Customer"), 'the target `Customer` is not `Type::"id"`'),
        (("--target", "Customer::"), "is not `Type::"),
        (("--attr", "vip=true"), "`--attr` describes a `--target`, and there is none"),
        (("--target", "Customer::C-1", "--attr", "vip"), "`--attr vip` is not `key=JSON`"),
        (("--target", "Customer::C-1", "--attr", "vip=gold"), "`--attr vip` is not JSON"),
        (("--target", "Customer::C-1", "--attr", "tenant=5"), "`tenant` of the target `Customer::C-1` is not text"),
        (("--environment", "pro duction"), "`--environment` cannot be used"),
        (("--targets-file", "licet.toml"), "`licet.toml` does not hold targets"),
        (("--target", "Ticket::T-1"), "a target of type `Ticket` was given, and no tool acts on one"),
    ],
)
def test_a_target_that_cannot_be_read_is_a_usage_error(licet: Licet, options: tuple[str, ...], message: str) -> None:
    result = licet("can", "crm.lookup", LOOKUP, *ALICE, *options)
    assert result.exit_code == Exit.USAGE
    assert result.stdout == ""
    assert message in result.stderr
    assert "\nnext: " in result.stderr


def test_an_id_with_quotes_is_written_as_policies_write_it(licet: Licet) -> None:
    arguments = json.dumps({"customer_id": 'C"1\\'})
    result = licet("can", "crm.lookup", arguments, *ALICE, "--target", 'Customer::"C\\"1\\\\"', "--attr", "vip=false")
    assert result.exit_code == Exit.OK
