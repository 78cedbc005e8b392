"""`licet credentials`, on a ledger of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from licet.cli.exits import Exit
from licet.identity.api_keys import find_id
from tests.cli.conftest import Licet, envelope

ROBOT = ("--tenant", "acme", "--agent", "support-bot", "--for", "alice", "--role", "licet-agent")


def issued(licet: Licet, *options: str, name: str = "robot") -> dict[str, Any]:
    done = licet("credentials", "issue", name, *(options or ROBOT), "--json")
    assert done.exit_code == Exit.OK, done.output
    found: dict[str, Any] = envelope(done)["data"]
    return found


def listed(licet: Licet, *options: str) -> dict[str, str]:
    return {one["id"]: one["state"] for one in envelope(licet("credentials", "list", *options, "--json"))["data"]}


def test_a_key_is_printed_once_and_alone_on_stdout(project: Path, licet: Licet) -> None:
    done = licet("credentials", "issue", "robot", *ROBOT)
    assert done.exit_code == Exit.OK, done.output
    key = done.stdout.strip()
    id_ = find_id(key)
    assert id_ is not None
    assert id_ in done.stderr
    assert key not in done.stderr
    shown = licet("credentials", "show", id_)
    assert key not in shown.output
    assert "support-bot" in shown.stdout
    assert listed(licet) == {id_: "active"}
    assert key.encode() not in (project / "licet.db").read_bytes()
    assert licet("audit", "verify").exit_code == Exit.OK


def test_the_first_key_makes_the_ledger_and_names_who_issued_it(project: Path, licet: Licet) -> None:
    assert not (project / "licet.db").exists()
    found = issued(licet, *ROBOT, "--as", "lena")
    record = envelope(licet("audit", "show", f"operator:{found['receipt']['index']}", "--json"))["data"]
    assert '"by":"lena"' in str(record).replace("'", '"').replace(" ", "")
    assert found["key"] not in str(record)


def test_a_key_expires_after_ninety_days_unless_it_says_otherwise(project: Path, licet: Licet) -> None:
    assert issued(licet)["credential"]["expires_at"] is not None
    assert issued(licet, *ROBOT, "--expires", "never")["credential"]["expires_at"] is None


def test_a_rotated_key_goes_on_for_the_overlap_and_its_successor_is_for_the_same(project: Path, licet: Licet) -> None:
    old = issued(licet)["credential"]
    done = licet("credentials", "rotate", old["id"], "--overlap", "2h", "--json")
    new = envelope(done)["data"]["credential"]
    assert new["replaces"] == old["id"]
    same = ("name", "tenants", "agents", "services", "users", "user", "roles")
    assert [new[field] for field in same] == [old[field] for field in same]
    assert listed(licet) == {old["id"]: "ending", new["id"]: "active"}
    at_once = licet("credentials", "rotate", new["id"], "--overlap", "0s", "--json")
    assert at_once.exit_code == Exit.OK
    assert listed(licet, "--all")[new["id"]] == "ended"
    again = licet("credentials", "rotate", new["id"])
    assert again.exit_code == Exit.ERROR
    assert f"credential `{new['id']}` has ended: issue a new one" in again.stderr
    assert licet("audit", "verify").exit_code == Exit.OK


def test_a_revoked_key_is_listed_only_when_asked_for(project: Path, licet: Licet) -> None:
    found = issued(licet)["credential"]
    done = licet("credentials", "revoke", found["id"], "--reason", "the laptop was stolen")
    assert done.exit_code == Exit.OK, done.output
    assert f"robot ({found['id']}) is good for nothing any more" in done.stdout
    assert listed(licet) == {}
    assert listed(licet, "--all") == {found["id"]: "ended"}
    twice = licet("credentials", "revoke", found["id"], "--reason", "again")
    assert twice.exit_code == Exit.ERROR
    assert f"credential `{found['id']}` has ended already" in twice.stderr
    assert licet("audit", "verify").exit_code == Exit.OK


REFUSED = {
    "unknown tenant": (("--tenant", "nowhere", "--agent", "support-bot"), "there is no tenant `nowhere`"),
    "unknown agent": (("--tenant", "acme", "--agent", "nobody"), "there is no agent `nobody`"),
    "star and more": (("--tenant", "*", "--tenant", "acme", "--agent", "*"), "there is no tenant `*`"),
    "unknown service": (("--tenant", "acme", "--service", "nobody"), "there is no service `nobody`"),
    "unknown user": (("--tenant", "acme", "--agent", "support-bot", "--for", "eve"), "there is no user `eve`"),
    "unknown person": (("--tenant", "acme", "--person", "eve"), "there is no user `eve`"),
    "by nobody": ((*ROBOT, "--as", "eve"), "there is no user `eve`"),
    "person and agent": (
        ("--tenant", "acme", "--person", "alice", "--agent", "support-bot"),
        "a credential is of a person, or for agents and services, not both",
    ),
    "for nobody": (("--tenant", "acme"), "say whom the credential is for: a user, agents, services, or at least roles"),
    "users without agents": (
        ("--tenant", "acme", "--for", "alice", "--role", "licet-agent"),
        "nobody acts for these users: say which agents or services do",
    ),
    "bad role": (("--tenant", "acme", "--role", "two words"), "`two words` cannot be a role: it has a space in it"),
    "no duration": ((*ROBOT, "--expires", "soon"), "`soon` is not a duration"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_is_for_what_the_directory_knows(project: Path, licet: Licet, case: str) -> None:
    options, message = REFUSED[case]
    done = licet("credentials", "issue", "robot", *options)
    assert done.exit_code == Exit.USAGE, done.output
    assert message in done.stderr
    assert done.stdout == ""


def test_a_key_that_is_not_there_is_said_to_be_so(project: Path, licet: Licet) -> None:
    issued(licet)
    for words in (("show",), ("rotate",), ("revoke", "--reason", "x")):
        done = licet("credentials", words[0], "nobody", *words[1:])
        assert done.exit_code == Exit.ERROR
        assert "there is no credential `nobody`" in done.stderr


def test_a_row_that_was_widened_is_shown_as_broken_and_has_no_successor(project: Path, licet: Licet) -> None:
    found = issued(licet)["credential"]
    con = apsw.Connection(str(project / "licet.db"))
    con.execute("UPDATE credentials SET content = CAST(replace(CAST(content AS TEXT), '[\"alice\"]', '[\"*\"]') AS BLOB)")
    con.close()
    assert listed(licet) == {found["id"]: "broken"}
    done = licet("credentials", "rotate", found["id"])
    assert done.exit_code == Exit.INTEGRITY_BROKEN
    assert f"credential `{found['id']}` is not what was issued" in done.stderr
    assert licet("audit", "verify").exit_code == Exit.INTEGRITY_BROKEN


def test_an_edited_end_does_not_keep_a_key_from_being_revoked(project: Path, licet: Licet) -> None:
    found = issued(licet)["credential"]
    con = apsw.Connection(str(project / "licet.db"))
    con.execute("UPDATE credentials SET ends_at = 1")
    con.close()
    assert listed(licet) == {found["id"]: "active"}  # what the records say
    done = licet("credentials", "revoke", found["id"], "--reason", "stolen")
    assert done.exit_code == Exit.OK, done.output
    assert listed(licet, "--all") == {found["id"]: "ended"}
