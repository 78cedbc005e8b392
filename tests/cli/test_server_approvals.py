"""`licet approvals` of the ledger at hand and of a server on it: one presentation, two sources."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import envelope
from tests.cli.serving import Doors
from tests.cli.serving import doors as doors  # noqa: PLC0414  a fixture

TIMES = re.compile(r"(in|expires in) [0-9a-z: ]+(?=:|$)", re.MULTILINE)
NAMED = " --as USER"


def without_clock(text: str) -> str:
    return TIMES.sub(r"\1 ...", text)


def still(value: Any) -> Any:
    """The same without what goes on meanwhile, and with what was shown as a value. A server needs nobody to say who votes."""
    text = json.dumps(value, sort_keys=True).replace(NAMED, "")
    return json.loads(re.sub(r'"expires_in_s": [0-9]+', '"expires_in_s": 0', text))


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("list", "--all"), ("list", "--state", "rejected"), ("list", "--tenant", "acme"), ("show", "REQUEST")],
    ids=" ".join,
)
def test_what_is_printed_of_a_server_is_what_is_printed_here(doors: Doors, request_id: str, arguments: tuple[str, ...]) -> None:
    asked = ["approvals", *(request_id if one == "REQUEST" else one for one in arguments)]
    here, there = doors.here(*asked), doors.there("lena", *asked)
    assert (there.exit_code, there.stderr) == (here.exit_code, here.stderr.replace(NAMED, "")) == (0, there.stderr)
    assert without_clock(there.stdout) == without_clock(here.stdout)
    assert still(envelope(doors.there("lena", *asked, "--json"))) == still(envelope(doors.here(*asked, "--json")))


@pytest.fixture
def risky(project: Path) -> None:
    with (project / "licet.toml").open("a") as file:
        file.write('\n[approvals]\npasskey_for = ["money"]\n')


@pytest.mark.usefixtures("risky")
def test_that_an_approval_takes_a_passkey_is_said_alike(doors: Doors, request_id: str) -> None:
    asked = ("approvals", "show", request_id)
    there = doors.there("lena", *asked)
    assert "signed with a passkey: approve it in the console" in there.stdout
    assert without_clock(there.stdout) == without_clock(doors.here(*asked).stdout)
    assert "approve it in the console with your passkey" in there.stderr
    assert envelope(doors.there("lena", *asked, "--json"))["data"]["request"]["passkey"] is True


def test_whether_somebody_may_vote_is_said_alike(doors: Doors, request_id: str) -> None:
    for who in ("lena", "alice"):
        asked = ("approvals", "show", request_id, "--as", who)
        assert without_clock(doors.there(who, *asked).stdout) == without_clock(doors.here(*asked).stdout)
    assert (
        "may not vote: `alice` is the one this call is made for"
        in doors.there("alice", "approvals", "show", request_id, "--as", "alice").stdout
    )


def test_a_vote_over_a_server_is_cast_by_whose_credential_it_is(doors: Doors, request_id: str) -> None:
    voted = doors.there("lena", "approvals", "approve", request_id, "--comment", "fine by me")
    assert (voted.exit_code, voted.stderr) == (0, "next: the same call, made again before the request expires, runs once\n")
    assert re.match(r"✓ voted    lena approved this call\n +recorded as acme:[0-9]+, with credential \S+\n", voted.stdout)
    shown = envelope(doors.here("approvals", "show", request_id, "--json"))["data"]
    (vote,) = shown["votes"]
    assert (shown["state"], vote["voter"], vote["operating_user"]) == ("approved", "lena", None)
    assert f"with credential {vote['credential']}" in voted.stdout
    taken = doors.there("lena", "approvals", "take-back", request_id)
    assert taken.stdout.startswith("✓ taken back lena took their vote on this call back\n")
    assert envelope(doors.here("approvals", "show", request_id, "--json"))["data"]["state"] == "open"
    denied = doors.there("lena", "approvals", "deny", request_id, "--as", "lena", "--json")
    assert envelope(denied)["data"]["request"]["state"] == "rejected"


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_who_may_not_vote_is_refused_alike(doors: Doors, request_id: str, verb: str) -> None:
    here = doors.here("approvals", verb, request_id, "--as", "alice")
    there = doors.there("alice", "approvals", verb, request_id)
    assert (there.exit_code, there.stdout, there.stderr) == (here.exit_code, here.stdout, here.stderr)
    assert there.exit_code == 6
    assert envelope(doors.there("alice", "approvals", verb, request_id, "--json"))["error"]["code"] == "requester"


def test_nobody_votes_in_another_name(doors: Doors, request_id: str) -> None:
    result = doors.there("lena", "approvals", "approve", request_id, "--as", "alice")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith("error: the credential is of `lena`, and not of `alice`\nnext: ")
    program = doors.there("agent", "approvals", "approve", request_id)
    assert (program.exit_code, program.stderr.splitlines()[0]) == (5, "error: the credential is a program's, and this is for a person")
    assert envelope(doors.here("approvals", "show", request_id, "--json"))["data"]["state"] == "open"


def test_a_request_that_is_not_there_is_refused_alike(doors: Doors, request_id: str) -> None:
    other = request_id.replace("0", "1")
    here, there = doors.here("approvals", "show", other), doors.there("lena", "approvals", "show", other)
    assert (there.exit_code, there.stderr) == (here.exit_code, here.stderr)
    assert there.stderr.startswith(f"error: there is no request `{other}`\n")


def test_at_hand_whoever_votes_is_named(doors: Doors, request_id: str) -> None:
    result = doors.here("approvals", "approve", request_id)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "error: missing option `--as`")


def test_without_a_credential_a_server_tells_nothing(doors: Doors) -> None:
    result = doors.there(None, "approvals", "list")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "next: `LICET_API_KEY`, `LICET_API_KEY_FILE` or `--api-key-file` holds the key" in result.stderr


def test_the_key_may_lie_in_a_file(doors: Doors) -> None:
    file = doors.folder / "key"
    file.write_text(doors.keys["lena"] + "\n")
    assert doors.there(None, "--api-key-file", str(file), "approvals", "list").exit_code == 0
    missing = doors.there(None, "approvals", "list", "--api-key-file", "nowhere")
    assert (missing.exit_code, missing.stderr.splitlines()[0]) == (
        2,
        "error: the credential cannot be read from `nowhere`: no such file or directory",
    )


def test_a_server_may_be_named_by_the_environment(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICET_SERVER", doors.url)
    monkeypatch.setenv("LICET_API_KEY", doors.keys["lena"])
    assert "asks to use `billing.adjust`" in doors.here("approvals", "list").stdout
    refused = doors.here("test")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "error: `licet test` is about the installation at hand, and cannot be asked of a server\n"
        "next: run it where the ledger is; leave `--server` out, and `LICET_SERVER` unset\n"
    )


def test_where_nobody_answers_that_is_said(doors: Doors) -> None:
    result = doors.here("--server", "http://127.0.0.1:1", "approvals", "list", "--json")
    assert result.exit_code == 1
    assert envelope(result)["error"]["code"] == "server_unreachable"
    plain = doors.here("--server", "http://licet.example.com", "approvals", "list")
    assert (plain.exit_code, plain.stderr.splitlines()[0]) == (2, "error: `http://licet.example.com` is on another machine and not https")
