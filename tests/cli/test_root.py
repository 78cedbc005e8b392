from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

from licet.cli import main
from licet.cli.exits import Exit
from licet.cli.root import VERBS
from tests.cli.conftest import Licet, envelope, run_licet


def commands() -> list[tuple[str, ...]]:
    """Every verb and subverb."""
    found: list[tuple[str, ...]] = []
    for verb in main.list_commands(click.Context(main)):
        command = main.get_command(click.Context(main), verb)
        assert command is not None
        below = command.commands if isinstance(command, click.Group) else {}
        found += [(verb,), *((verb, name) for name in below)]
    return found


def test_the_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert {code.name: code.value for code in Exit} == {
        "OK": 0,
        "ERROR": 1,
        "USAGE": 2,
        "POLICY_INVALID": 3,
        "TESTS_FAILED": 4,
        "NOT_AUTHENTICATED": 5,
        "DENIED": 6,
        "HELD": 7,
        "INTEGRITY_BROKEN": 8,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_verb_has_help_and_the_options_that_all_have(licet: Licet, command: tuple[str, ...]) -> None:
    result = licet(*command, "--help")
    assert result.exit_code == 0
    for option in ("--config", "--app", "--json", "--debug"):
        assert option in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_each_says_of_itself(verb: str) -> None:
    command = getattr(importlib.import_module(f"licet.cli.{verb}"), verb)
    assert (command.help or "").splitlines()[0] == VERBS[verb]


def test_no_arguments_show_help(licet: Licet) -> None:
    result = licet()
    assert result.exit_code == Exit.USAGE
    assert "Verbs:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "no such command `nope`"),
        (("version", "--nope"), "no such option `--nope`"),
        (("can",), "missing argument `TOOL`"),
        (("audit", "search", "--limit", "0"), "invalid value for `--limit`: 0 is not in the range 1<=x<=1000"),
        (("approvals", "approve", "ID"), "missing option `--as`"),
    ],
)
def test_a_wrong_command_line_is_told_in_words_with_the_next_step(licet: Licet, arguments: tuple[str, ...], message: str) -> None:
    result = licet(*arguments)
    assert result.exit_code == Exit.USAGE
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.lower().startswith(f"error: {message.lower()}")
    assert second.startswith("next: `licet")


def test_usage_errors_are_told_as_json_where_json_is_asked_for(licet: Licet) -> None:
    for arguments in (("--json", "version", "--nope"), ("version", "--nope", "--json")):
        result = licet(*arguments)
        found = envelope(result)
        assert (found["command"], found["error"]["code"], found["error"]["exit"]) == ("version", "usage", 2)
        assert found["error"]["message"] == "no such option `--nope`"
        assert result.stderr == ""


def test_global_options_stand_before_or_behind_the_verb(licet: Licet) -> None:
    before, behind = licet("--json", "version"), licet("version", "--json")
    assert before.stdout == behind.stdout
    assert envelope(before)["command"] == "version"


def test_the_config_behind_the_verb_wins(licet: Licet, project: Path) -> None:
    result = licet("--config", "nowhere.toml", "check", "--config", "elsewhere.toml")
    assert "there is no file `elsewhere.toml`" in result.stdout


def test_an_unexpected_error_says_so_and_keeps_its_traceback_for_debug(licet: Licet, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> str:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("licet.cli.version.installed", fail)
    result = licet("version")
    assert result.exit_code == Exit.ERROR
    assert "error: an error that nobody expected (ZeroDivisionError): by design" in result.stderr
    assert "Traceback" not in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" in licet("version", "--debug").stderr


def test_an_interrupt_ends_with_130(licet: Licet, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("licet.cli.version.installed", interrupt)
    assert licet("version").exit_code == Exit.INTERRUPTED


def test_the_program_runs_as_a_process(tmp_path: Path) -> None:
    done = run_licet(tmp_path, "version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("licet ")


def test_a_reader_that_has_seen_enough_is_no_error(used: Path) -> None:
    program = f"{sys.executable} -c 'from licet.cli import main; main()' audit export | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", program], cwd=used, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_version_load_no_room_of_the_gate(tmp_path: Path) -> None:
    code = "import sys; from licet.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: print([n for n in sys.modules if n == 'cedarpy'])"
    for arguments in (["--help"], ["version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_also_told_as_an_option(licet: Licet) -> None:
    assert licet("--version").stdout == licet("version").stdout != ""
