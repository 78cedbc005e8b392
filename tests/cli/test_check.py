from __future__ import annotations

from pathlib import Path

import pytest

from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.cli.exits import Exit
from tests.cli.conftest import CONFIG, Licet, envelope, run_app, run_licet


def broken(project: Path, old: str, new: str, file: str = "licet.toml") -> Path:
    path = project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    return path


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_tools_of_python_are_unknown_without_their_application(licet: Licet, project: Path) -> None:
    result = licet("check")
    assert result.exit_code == Exit.POLICY_INVALID
    assert "policies/base.cedar:9: policy `billing-adjust`: there is no tool or action group `billing.adjust`" in result.stdout
    assert "next: tools of a Python application are known with `--app MODULE:GATE`" in result.stderr


def test_an_application_makes_its_tools_known(project: Path) -> None:
    done = run_licet(project, "check", "--app", "shop:gate")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 policies and 4 tools agree, in `production`" in done.stdout
    assert not (project / "licet.db").exists()


def test_tools_of_an_application_stay_known_through_the_store(licet: Licet, project: Path) -> None:
    run_app(project, "100")
    result = licet("check")
    assert result.exit_code == Exit.OK
    assert "4 policies and 4 tools agree" in result.stdout


def test_a_missing_config_is_told_with_the_next_step(licet: Licet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = licet("check")
    assert result.exit_code == Exit.USAGE
    assert "there is no file `licet.toml`; `licet init` writes one" in result.stdout


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (('environment = "production"', 'environment = "production'), 'environment = "production', "is not TOML"),
        (("[users.bob]", "[users.bob]\nrolls = []"), "rolls", "is not a known key; did you mean `roles`?"),
        (("[agents.support-bot]", '[agents.support-bot]\nacts_for = "all"'), "acts_for", "does not fit"),
        (("[tenants.globex]", '[tenants.globex]\n[tenants."o p"]'), '[tenants."o p"]', "`tenants` has `o p`, which cannot be a name"),
        (('["lena", "alice"]', '["lena", "alise"]'), "billing-leads", "`groups.billing-leads` names the unknown user `alise`"),
        (
            ('[users.lena]\ntenants = ["acme"]', '[users.lena]\ntenants = ["acmee"]'),
            "",
            "`users.lena.tenants` names the unknown tenant `acmee`",
        ),
        (
            ("[groups]", '[tools.read]\naccess = "read"\n[groups]'),
            "[tools.read]",
            "the tool name `read` is reserved for a group of actions",
        ),
        (("[groups]", "[resources.Role]\n[groups]"), "[resources.Role]", "the resource type `Role` is reserved"),
    ],
)
def test_each_problem_of_the_configuration_has_its_place(
    licet: Licet, project: Path, change: tuple[str, str], line: str, message: str
) -> None:
    path = broken(project, *change)
    result = licet("check")
    assert result.exit_code == Exit.USAGE
    assert message in result.stdout
    if line:
        assert f" licet.toml:{line_of(path, line)}: " in result.stdout


def test_all_problems_are_told_at_once(licet: Licet, project: Path) -> None:
    broken(project, '["lena", "alice"]', '["lena", "alise", "nobody"]')
    broken(project, "[groups]", '[tools.read]\naccess = "read"\n[tools."a b"]\naccess = "read"\n[groups]')
    broken(
        project,
        '@id("billing-adjust")',
        '@id("billing-adjust")\n@require_aproval("1 of Group::\\"billing-leads\\"")',
        "policies/base.cedar",
    )
    found = envelope(licet("check", "--json"))
    assert (found["error"]["code"], found["error"]["exit"]) == ("config_invalid", 2)
    assert [problem["part"] for problem in found["error"]["problems"]] == ["catalog", "catalog", "directory", "directory", "policy"]
    assert "unknown annotation `@require_aproval`" in found["error"]["problems"][-1]["message"]


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (('Role::"support"', 'Role::"suport"'), "policies/base.cedar:6", "the directory has no role `suport`; did you mean `support`?"),
        (('@id("support-reads")', '@id("tenant-wall")'), "policies/base.cedar:6", "the id `tenant-wall` is taken by policies/base.cedar:1"),
        (("context.input.amount_cents <=", "context.input.amount_cent <="), "policies/base.cedar:9", "amount_cent"),
        (("principal.tenant };", "principal.tenant ;"), "policies/base.cedar", "cannot be read"),
        (("1 of Group", "one of Group"), "policies/base.cedar:13", "`@require_approval` must be"),
    ],
)
def test_each_problem_of_a_policy_has_its_place(licet: Licet, project: Path, change: tuple[str, str], place: str, message: str) -> None:
    run_app(project, "100")  # the store knows the tools
    broken(project, *change, "policies/base.cedar")
    result = licet("check")
    assert result.exit_code == Exit.POLICY_INVALID
    assert place in result.stdout
    assert message in result.stdout


def test_no_policies_at_all_is_a_policy_problem(licet: Licet, project: Path) -> None:
    (project / "policies/base.cedar").unlink()
    result = licet("check")
    assert result.exit_code == Exit.POLICY_INVALID
    assert "has no `*.cedar` file: nothing would ever be permitted" in result.stdout


def test_a_resource_that_nobody_declares_is_noted(licet: Licet, project: Path) -> None:
    tool = '[tools."billing.adjust"]\naccess = "write"\ntargets = "Customer::{id}"\ninput = { id = "string", amount_cents = "integer" }\n'
    (project / "licet.toml").write_text(CONFIG + tool)
    result = licet("check")
    assert result.exit_code == Exit.OK
    assert "nobody says what `Customer` is, so calls of `billing.adjust` cannot be resolved" in result.stdout


def test_the_configuration_can_lie_elsewhere(licet: Licet, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_app(project, "100")
    monkeypatch.chdir(project.parent)
    assert licet("check").exit_code == Exit.USAGE
    assert licet("check", "--config", "project/licet.toml").exit_code == Exit.OK


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("shop", "`--app shop` is not `MODULE:GATE`"),
        ("nowhere:gate", "`nowhere` cannot be imported: ModuleNotFoundError"),
        ("shop:nothing", "`shop` has no `nothing`"),
        ("shop:TENANTS", "`shop:TENANTS` is a `dict`, not a gate"),
    ],
)
def test_an_application_that_is_none_is_told(project: Path, app: str, message: str) -> None:
    done = run_licet(project, "check", "--app", app)
    assert done.returncode == Exit.USAGE
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_wrong_with_licet_toml_is_told_alike_with_an_application(project: Path) -> None:
    (project / "licet.toml").write_text(CONFIG + "\n[freezes]\n")
    alone, with_app = run_licet(project, "check"), run_licet(project, "--app", "shop:gate", "check")
    assert "`freezes` in " in with_app.stdout
    assert (with_app.returncode, with_app.stdout, with_app.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_an_application_brings_its_own_configuration(project: Path) -> None:
    done = run_licet(project, "check", "--app", "shop:gate", "--config", "licet.toml")
    assert done.returncode == Exit.USAGE
    assert "`--app` brings its own licet.toml" in done.stderr


UPSTREAM = """
[upstreams.files]
command = ["never-run"]
[tools.files__read]
access = "read"
targets = "File::{path:path}"
[resources.File]
tenant = "caller"
"""
READ = {"name": "read", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}


def test_a_tool_of_an_upstream_has_the_schema_that_is_pinned(licet: Licet, project: Path) -> None:
    config = project / "licet.toml"
    config.write_text(config.read_text() + UPSTREAM)
    (project / "policies" / "base.cedar").write_text('@id("reads")\npermit (principal, action == Action::"files__read", resource);')
    place = f"licet.toml:{line_of(config, '[tools.files__read]')}"
    assert f"{place}: tool `files__read`: `licet.lock` has no definition of it" in licet("check").stdout
    Lock({"files": pins_of([READ])}).write(project / LOCK_FILE)
    assert licet("check").exit_code == Exit.OK
    broken(project, "{path:path}", "{folder:path}")
    assert f"{place}: tool `files__read`: the template `File::{{folder:path}}` names `folder`" in licet("check").stdout
    (project / LOCK_FILE).write_text("{}")
    assert "licet.lock` cannot be read" in licet("check").stdout


def test_a_table_of_an_upstream_that_is_not_there_is_told(licet: Licet, project: Path) -> None:
    config = project / "licet.toml"
    config.write_text(config.read_text() + UPSTREAM)
    (project / "policies" / "base.cedar").write_text('@id("reads")\npermit (principal, action in Action::"read", resource);')
    Lock({"files": pins_of([READ])}).write(project / LOCK_FILE)
    assert "is of no upstream" not in licet("check").stdout
    config.write_text(config.read_text() + '[tools.flies__read]\naccess = "read"\n')
    result = licet("check", "--json")
    told = "`[tools.flies__read]` is of no upstream: licet.toml has no `[upstreams.flies]`, but `files`"
    assert (result.exit_code, envelope(result)["data"]["notes"]) == (Exit.OK, [told])


def test_tools_of_which_licet_toml_says_nothing_and_a_folder_that_is_not_there_are_told(licet: Licet, project: Path) -> None:
    config = project / "licet.toml"
    config.write_text(config.read_text() + UPSTREAM.replace("[upstreams.files]\n", '[upstreams.files]\ncwd = "gone"\n'))
    (project / "policies" / "base.cedar").write_text('@id("reads")\npermit (principal, action in Action::"read", resource);')
    Lock({"files": pins_of([READ, {**READ, "name": "write"}, {**READ, "name": "zap"}])}).write(project / LOCK_FILE)
    notes = envelope(licet("check", "--json"))["data"]["notes"]
    assert "2 tools of `files` cannot be called until licet.toml says what they can do, such as `[tools.files__write]`" in notes
    assert f"`[upstreams.files]` starts in `{project / 'gone'}`, which is no folder" in notes
    Lock({"files": pins_of([READ])}).write(project / LOCK_FILE)
    (project / "gone").mkdir()
    assert envelope(licet("check", "--json"))["data"]["notes"] == []
