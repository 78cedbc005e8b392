"""`licet console link`: a link lets one person in, once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from licet.cli.credentials import opened_keys
from licet.cli.exits import Exit
from licet.config import load
from licet.gate.signing_in import open_by_link
from tests.cli.conftest import Licet, envelope


def test_a_link_opens_the_console_for_the_one_whom_it_names(project: Path, licet: Licet) -> None:
    done = licet("console", "link", "lena", "--json")
    assert done.exit_code == Exit.OK, done.output
    told = envelope(done)["data"]
    base, _, secret = told["link"].partition("/console/sign-in?link=")
    assert base == "http://127.0.0.1:8181"
    with opened_keys(load(project / "licet.toml")) as keys:
        opened = open_by_link(keys, secret).credential
    assert (opened.user, opened.kind) == ("lena", "session")
    listed = envelope(licet("credentials", "list", "--all", "--json"))["data"]
    assert {(one["kind"], one["state"]) for one in listed} == {("link", "ended"), ("session", "active")}
    link = next(one for one in listed if one["kind"] == "link")
    left = datetime.fromisoformat(link["expires_at"]) - datetime.fromisoformat(link["created_at"])
    assert left == timedelta(minutes=15)
    shown = licet("credentials", "show", opened.id)
    assert "kind" in shown.stdout
    assert secret not in shown.output
    assert licet("audit", "verify").exit_code == Exit.OK


def test_a_link_is_printed_on_stdout_alone_with_whom_it_is_for(project: Path, licet: Licet) -> None:
    done = licet("console", "link", "lena")
    assert done.exit_code == Exit.OK, done.output
    link, told = done.stdout.splitlines()
    assert link.startswith("http://127.0.0.1:8181/console/sign-in?link=licet_")
    assert told == "lets `lena` in, once, within 15 minutes"
    assert "licet_" not in done.stderr


def test_nobody_outside_the_directory_gets_one(project: Path, licet: Licet) -> None:
    done = licet("console", "link", "zoe", "--json")
    assert done.exit_code != Exit.OK
    assert envelope(done)["error"]["code"] == "unknown_user"
