from __future__ import annotations

from pathlib import Path

import pytest

from licet.catalog.declared import ResourceSettings, ToolSettings
from licet.config import (
    FILE_LIMIT_BYTES,
    AgentSettings,
    ApprovalSettings,
    GroupSettings,
    LimitSettings,
    MeterSettings,
    UserSettings,
    load,
    loads,
    parse_duration_s,
)
from licet.errors import ConfigInvalid

FILE = Path("/srv/app/licet.toml")
WHOLE = """
environment = "production"
store = "sqlite:data/licet.db"
policies = "rules"
roles = ["auditor"]
cross_tenant = [["acme", "globex"]]

[tenants.acme]
[tenants.globex]

[agents.support-bot]
tenants = ["acme"]
roles = ["support"]
owner = "alice"

[agents.night-bot]
tenants = ["*"]
acts_for = "self"

[services.mailer]
tenants = ["acme"]

[users.alice]
tenants = ["acme"]
roles = ["support"]

[users.alice2]
person = "alice"
disabled = true

[groups]
leads = ["alice"]
security = { members = ["alice"], scope = "operator" }

[tools."account.suspend"]
access = "destructive"
touches = ["access"]
targets = ["Customer::{customer_id}"]
input = { customer_id = "string" }

[resources.Customer]
attributes = { vip = "boolean" }

[meters]
refunded_cents = { tool = "billing.adjust", argument = "amount_cents" }

[approvals]
expires = "2h"

[limits]
arguments_bytes = 2048
tool_timeout_s = 10
"""


def refusal(text: str, environ: dict[str, str] | None = None) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        loads(text, file=FILE, environ=environ or {})
    assert caught.value.file == str(FILE)
    return caught.value


def test_every_table_is_read() -> None:
    settings = loads(WHOLE, file=FILE)
    assert settings.environment == "production"
    assert settings.roles == ("auditor",)
    assert settings.cross_tenant == (("acme", "globex"),)
    assert set(settings.tenants) == {"acme", "globex"}
    assert settings.agents["support-bot"] == AgentSettings(tenants=("acme",), roles=("support",), acts_for="user", owner="alice")
    assert settings.agents["night-bot"].acts_for == "self"
    assert settings.services["mailer"].tenants == ("acme",)
    assert settings.users["alice2"] == UserSettings(person="alice", disabled=True)
    assert settings.groups["leads"] == GroupSettings(members=("alice",), scope="tenant")
    assert settings.groups["security"] == GroupSettings(members=("alice",), scope="operator")
    assert settings.tools["account.suspend"] == ToolSettings(
        access="destructive", touches=("access",), targets=("Customer::{customer_id}",), input={"customer_id": "string"}
    )
    assert settings.resources["Customer"] == ResourceSettings(attributes={"vip": "boolean"}, tenant="resolver")
    assert settings.meters["refunded_cents"] == MeterSettings(tool="billing.adjust", argument="amount_cents")
    assert settings.approvals == ApprovalSettings(expires_s=7_200)
    assert settings.limits == LimitSettings(arguments_bytes=2_048, tool_timeout_s=10.0)


def test_one_line_is_enough_and_the_rest_has_safe_defaults() -> None:
    settings = loads('environment = "staging"', file=FILE)
    assert settings.store == "sqlite:/srv/app/licet.db"
    assert settings.policies == Path("/srv/app/policies")
    assert settings.approvals.expires_s == 900
    assert settings.limits == LimitSettings(
        arguments_bytes=1_048_576, resolver_timeout_s=5.0, tool_timeout_s=None, store_timeout_s=30.0, denials_per_minute=20
    )
    assert not settings.agents
    assert not settings.tools


def test_relative_paths_start_at_the_folder_of_the_file() -> None:
    settings = loads(WHOLE, file=FILE)
    assert settings.store == "sqlite:/srv/app/data/licet.db"
    assert settings.store_path == Path("/srv/app/data/licet.db")
    assert settings.policies == Path("/srv/app/rules")


def test_absolute_paths_stay() -> None:
    settings = loads('environment = "x"\nstore = "sqlite:/var/licet.db"\npolicies = "/etc/rules"', file=FILE)
    assert settings.store_path == Path("/var/licet.db")
    assert settings.policies == Path("/etc/rules")


def test_tables_cannot_be_changed() -> None:
    settings = loads(WHOLE, file=FILE)
    with pytest.raises(TypeError):
        settings.users["mallory"] = UserSettings()  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('polices = "x"', "polices", "`polices` in `/srv/app/licet.toml` is not a known key; did you mean `policies`?"),
        (
            '[agents.bot]\ntenants = ["*"]\nact_for = "user"',
            "agents.bot.act_for",
            "`agents.bot.act_for` in `/srv/app/licet.toml` is not a known key; did you mean `acts_for`?",
        ),
        ("[limits]\narguments = 1", "limits.arguments", "`limits.arguments` in `/srv/app/licet.toml` is not a known key"),
        ('[groups]\nx = {members = [], scop = "operator"}', "groups.x.scop", "did you mean `scope`?"),
        ("[tenants.acme]\nname = 1", "tenants.acme.name", "`tenants.acme.name` in `/srv/app/licet.toml` is not a known key"),
        ('[approvals]\nexpire = "1h"', "approvals.expire", "did you mean `expires`?"),
        ('[tools."a.b"]\naccess = "read"\ntouch = []', "tools.a.b.touch", "did you mean `touches`?"),
        ("[resources.Customer]\nattribute = 1", "resources.Customer.attribute", "did you mean `attributes`?"),
        ("[users.alice]\ntennants = []", "users.alice.tennants", "did you mean `tenants`?"),
    ],
)
def test_an_unknown_key_is_refused_by_name_with_the_nearest_known_one(text: str, key: str, message: str) -> None:
    error = refusal(f'environment = "x"\n{text}')
    assert error.key == key
    assert message in str(error)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("", "environment", "`environment` in `/srv/app/licet.toml` is required"),
        ("environment = 1", "environment", "does not fit: expected text, got a whole number"),
        ('environment = "prod "', "environment", "is not a usable name: it has a space in it"),
        ('environment = "x"\n[agents.bot]', "agents.bot.tenants", "is required"),
        ('environment = "x"\n[agents.bot]\ntenants = "acme"', "agents.bot.tenants", "does not fit: expected a list, got text"),
        ('environment = "x"\n[agents.bot]\ntenants = []', "agents.bot.tenants", "does not fit: expected a list of length >= 1"),
        ('environment = "x"\n[agents.bot]\ntenants = [1]', "agents.bot.tenants[0]", "expected text, got a whole number"),
        ('environment = "x"\n[agents.bot]\ntenants = ["*"]\nacts_for = "all"', "agents.bot.acts_for", "invalid enum value 'all'"),
        ('environment = "x"\n[agents]\nbot = 3', "agents.bot", "expected a table, got a whole number"),
        ('environment = "x"\nagents = []', "agents", "expected a table, got a list"),
        ('environment = "x"\nlimits = 3', "limits", "expected a table, got a whole number"),
        ('environment = "x"\n[users.alice]\ndisabled = "yes"', "users.alice.disabled", "expected true or false, got text"),
        ('environment = "x"\ncross_tenant = [["acme"]]', "cross_tenant[0]", "expected a list of length 2, got 1"),
        ('environment = "x"\n[limits]\nresolver_timeout_s = nan', "limits.resolver_timeout_s", "expected a number > 0.0"),
        ('environment = "x"\n[limits]\nresolver_timeout_s = inf', "limits.resolver_timeout_s", "expected a number <= 3600.0"),
        ('environment = "x"\n[limits]\narguments_bytes = 0', "limits.arguments_bytes", "expected a whole number >= 1024"),
        ('environment = "x"\n[approvals]\nexpires = "soon"', "approvals.expires", "is `soon`, which is not a duration such as `90s`"),
        ('environment = "x"\n[approvals]\nexpires = "31d"', "approvals.expires", "is `31d`, longer than 30 days"),
        (
            'environment = "x"\nstore = "licet.db"',
            "store",
            "is `licet.db...`; expected `sqlite:PATH` or `postgresql://USER@HOST:PORT/DATABASE`",
        ),
        (
            'environment = "x"\nstore = "mysql:x"',
            "store",
            "is `mysql...`; expected `sqlite:PATH` or `postgresql://USER@HOST:PORT/DATABASE`",
        ),
        ('environment = "x"\nstore = "sqlite:"', "store", "is not a path"),
        ('environment = "x"\nstore = "sqlite::memory:"', "store", "an audit log that ends with the process"),
        ('environment = "x"\npolicies = ""', "policies", "is not a path"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_key(text: str, key: str, message: str) -> None:
    error = refusal(text)
    assert error.key == key
    assert message in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is not UTF-8 at byte 0"),
        (b"environment = ", "is not TOML: invalid value (at end of document)"),
        (b'environment = "a"\nenvironment = "b"', "is not TOML: cannot overwrite a value"),
        (b"x = " + b"[" * 100_000, "is nested too deeply"),
        (b"#" * (FILE_LIMIT_BYTES + 1), f"is larger than {FILE_LIMIT_BYTES} bytes"),
    ],
    ids=["bytes", "cut", "twice", "deep", "large"],
)
def test_what_is_not_a_toml_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        loads(content, file=FILE)
    assert str(caught.value).startswith(f"`{FILE}` {message}")


def test_the_named_file_is_read_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "licet.toml").write_text('environment = "of-the-parent"')
    child = tmp_path / "child"
    child.mkdir()
    monkeypatch.chdir(child)
    with pytest.raises(ConfigInvalid) as caught:
        load(environ={})
    assert str(caught.value) == "there is no file `licet.toml`; `licet init` writes one"
    assert load("../licet.toml", environ={}).environment == "of-the-parent"


def test_a_folder_cannot_be_read_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read: is a directory"):
        load(tmp_path, environ={})


def test_a_relative_file_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "licet.toml").write_text('environment = "x"')
    monkeypatch.chdir(tmp_path)
    settings = load(environ={})
    assert settings.file == tmp_path / "licet.toml"
    assert settings.store_path == tmp_path / "licet.db"


def test_limits_and_approvals_may_be_overridden() -> None:
    environ = {"LICET_LIMITS_ARGUMENTS_BYTES": "4096", "LICET_LIMITS_TOOL_TIMEOUT_S": "2.5", "LICET_APPROVALS_EXPIRES": "30m"}
    settings = loads(WHOLE, file=FILE, environ=environ)
    assert settings.limits == LimitSettings(arguments_bytes=4_096, tool_timeout_s=2.5)
    assert settings.approvals.expires_s == 1_800


def test_the_process_environment_is_used_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "licet.toml").write_text('environment = "x"')
    monkeypatch.setenv("LICET_APPROVALS_EXPIRES", "45s")
    assert load(tmp_path / "licet.toml").approvals.expires_s == 45


@pytest.mark.parametrize("key", ["environment", "policies", "store", "witness", "agents", "users", "groups", "roles", "cross_tenant"])
def test_what_is_governed_cannot_be_overridden(key: str) -> None:
    variable = f"LICET_{key.upper()}"
    error = refusal(WHOLE, {variable: "elsewhere"})
    assert error.key == key
    assert f"cannot be set by the environment variable `{variable}`: unset it and write it in the file" in str(error)
    assert "elsewhere" not in str(error)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"LICET_LIMITS_ARGUMENT_BYTES": "4096"},
            "`limits (from LICET_LIMITS_*).argument_bytes` in `/srv/app/licet.toml` is not a known key",
        ),
        ({"LICET_LIMITS_ARGUMENTS_BYTES": "many"}, "`limits (from LICET_LIMITS_*).arguments_bytes`"),
        ({"LICET_LIMITS_STORE_TIMEOUT_S": "nan"}, "`limits (from LICET_LIMITS_*).store_timeout_s`"),
        ({"LICET_APPROVALS_EXPIRES": "1 hour"}, "`approvals (from LICET_APPROVALS_*).expires`"),
        ({"LICET_APPROVALS_EXPIRY": "1h"}, "did you mean `expires`?"),
    ],
)
def test_an_override_is_as_strict_as_the_file(environ: dict[str, str], message: str) -> None:
    assert message in str(refusal(WHOLE, environ))


def test_a_value_in_the_file_is_not_read_as_text() -> None:
    assert "expected a whole number, got text" in str(refusal('environment = "x"\n[limits]\narguments_bytes = "4096"'))


def test_other_variables_are_left_alone() -> None:
    environ = {"LICET_SIGNING_KEY_FILE": "/run/key", "STORE": "x", "PATH": "/bin"}
    assert loads(WHOLE, file=FILE, environ=environ) == loads(WHOLE, file=FILE)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("1d", 86_400)])
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "0m", "-1m", "1.5h", "15 m", "15m\n", "1h30m", "٣m", "9999999999s"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration_s(text) is None
