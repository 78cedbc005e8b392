"""Verbs that change something, or tell what stands, of a server: what they do there is what they do to the ledger at hand."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.cli.conftest import ALICE, envelope
from tests.cli.serving import Doors
from tests.cli.serving import doors as doors  # noqa: PLC0414  a fixture

CALL = '{"customer_id": "C-1", "amount_cents": %d}'


def test_a_freeze_is_placed_listed_and_lifted(doors: Doors) -> None:
    frozen = doors.there("admin", "freeze", "agent", "support-bot", "--reason", "odd calls", "--json")
    id_ = envelope(frozen)["data"]["freeze"]["id"]
    here, there = doors.here("freeze", "list"), doors.there("admin", "freeze", "list")
    assert (there.exit_code, there.stdout) == (0, here.stdout)
    assert "agent `support-bot` is frozen since" in there.stdout
    assert envelope(doors.there("admin", "freeze", "list", "--json")) == envelope(doors.here("freeze", "list", "--json"))
    for reference in (id_, "nothing"):
        lifted = doors.there("lena", "freeze", "lift", reference, "--reason", "looked at")
        assert (lifted.exit_code, lifted.stdout) == (6, "")
    second = doors.there("admin", "freeze", "lift", id_, "--reason", "x", "--and", "lena")
    assert (second.exit_code, second.stderr.splitlines()[0]) == (
        2,
        "error: of a server, a second person lifts with a credential of their own",
    )
    gone = doors.there("admin", "freeze", "lift", "nothing", "--reason", "x")
    assert (gone.exit_code, gone.stderr.splitlines()[0]) == (1, "error: there is no freeze `nothing`")


def test_what_cannot_be_frozen_is_refused_alike(doors: Doors) -> None:
    asked = ("freeze", "agent", "nobody", "--reason", "x")
    here, there = doors.here(*asked), doors.there("admin", *asked)
    assert (there.exit_code, there.stdout, there.stderr) == (here.exit_code, here.stdout, here.stderr)
    denied = doors.there("auditor", "freeze", "agent", "support-bot", "--reason", "x")
    assert (denied.exit_code, denied.stdout) == (6, "")


def test_holds_are_placed_listed_and_released(doors: Doors) -> None:
    held = doors.there("admin", "audit", "hold", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "a lawsuit")
    found = re.fullmatch(r"✓ held +\S+ of acme is kept until hold (\S+) is released\n", held.stdout)
    assert found is not None
    assert doors.there("admin", "audit", "holds").stdout == doors.here("audit", "holds").stdout
    assert envelope(doors.there("auditor", "audit", "holds", "--json")) == envelope(doors.here("audit", "holds", "--json"))
    erasing = ("audit", "erase", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "asked to", "--yes")
    here, there = doors.here(*erasing), doors.there("admin", *erasing)
    assert (there.exit_code, there.stdout, there.stderr) == (here.exit_code, here.stdout, here.stderr)
    assert there.exit_code == 6
    assert doors.there("admin", "audit", "release", found[1], "--reason", "over").exit_code == 0
    done = doors.there("admin", *erasing)
    assert done.exit_code == 0
    assert done.stdout.startswith("✓ erased   Customer/C-1: ")
    assert doors.here("audit", "verify").exit_code == 0


@pytest.mark.parametrize("door", ["here", "there"])
def test_the_keys_of_an_erased_user_are_revoked_by_either_door(doors: Doors, door: str) -> None:
    hers = next(one["id"] for one in doors.told("admin", "credentials", "list") if one["user"] == "alice")
    erasing = ("audit", "erase", "--tenant", "acme", "--subject", "User/alice", "--reason", "asked to", "--yes")
    assert doors.there("alice", "approvals", "list").exit_code == 0
    done = doors.here(*erasing) if door == "here" else doors.there("admin", *erasing)
    assert done.exit_code == 0, done.output
    assert re.search(r"^ +revoked, or for others only from now on: 2 keys, \w{16}, \w{16}$", done.stdout, re.MULTILINE), done.stdout
    listed = doors.here("credentials", "list", "--all").stdout
    assert re.search(rf"ended +\(erased user\): \(erased user\), in acme\n +{hers}, until ", listed), listed
    assert re.search(r"ended +agent: support-bot for \(erased user\), in acme, as licet-agent\n", listed), listed
    for _ in range(1_000):
        refused = doors.there("alice", "approvals", "list")
        if refused.exit_code != 0:
            break
        time.sleep(0.01)
    assert refused.exit_code != 0
    assert "alice" not in doors.there("admin", "credentials", "list", "--all").stdout
    assert doors.here("audit", "verify").exit_code == 0


def test_what_is_unknown_is_listed_alike(doors: Doors) -> None:
    here, there = doors.here("audit", "unknown"), doors.there("auditor", "audit", "unknown")
    assert (there.exit_code, there.stdout) == (here.exit_code, here.stdout)
    call = "01a20000-0000-7000-8000-000000000000"
    for asked in (("audit", "unknown", call), ("audit", "settle", call, "--outcome", "ok", "--reason", "seen")):
        here, there = doors.here(*asked), doors.there("admin", *asked)
        assert (there.exit_code, there.stdout) == (here.exit_code, "")
    probing = doors.there("auditor", "--app", "shop:gate", "audit", "unknown", "--probe")
    assert (probing.exit_code, envelope_code(probing)) == (2, "is about the installation at hand")


def envelope_code(result: object) -> str:
    found = re.search(r"is about the installation at hand", str(getattr(result, "stderr", "")))
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("amount", "exit_code", "word"), [(2_500, 0, "may use"), (20_000, 7, "once people have agreed"), (2_000_000, 6, "may not use")]
)
def test_a_call_is_rehearsed_by_a_server_as_here(doors: Doors, amount: int, exit_code: int, word: str) -> None:
    asked = ("can", "billing.adjust", CALL % amount, *ALICE)
    here, there = doors.here("--app", "shop:gate", *asked), doors.there("agent", *asked)
    assert (there.exit_code, here.exit_code) == (exit_code, exit_code)
    assert word in there.stdout
    assert there.stdout.splitlines()[1:] == here.stdout.splitlines()[1:]
    told = envelope(doors.there("agent", *asked, "--json"))
    assert told["data"]["decision"]["code"] == envelope(doors.here("--app", "shop:gate", *asked, "--json"))["data"]["decision"]["code"]
    refused = doors.there("agent", *asked, "--environment", "staging")
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_credentials_are_issued_listed_rotated_and_revoked(doors: Doors) -> None:
    asked = ("credentials", "issue", "new", "--tenant", "acme", "--role", "licet-admin", "--expires", "1d", "--json")
    issued = envelope(doors.there("admin", *asked))["data"]
    doors.keys["new"] = issued["key"]
    assert doors.there("new", "audit", "search", "--tenant", "acme").exit_code == 0
    id_ = issued["credential"]["id"]
    for shown in (("credentials", "list"), ("credentials", "show", id_)):
        here, there = doors.here(*shown), doors.there("admin", *shown)
        assert (there.exit_code, without_use(there.stdout)) == (0, without_use(here.stdout))
    rotated = doors.there("admin", "credentials", "rotate", id_, "--overlap", "0s", "--json")
    assert envelope(rotated)["data"]["credential"]["replaces"] == id_
    newer = envelope(rotated)["data"]["credential"]["id"]
    revoked = doors.there("admin", "credentials", "revoke", newer, "--reason", "left")
    assert revoked.stdout.startswith(f"✓ revoked  new ({newer}) is good for nothing any more\n")
    gone = doors.there("admin", "credentials", "show", "nothing")
    assert (gone.exit_code, gone.stderr.splitlines()[0]) == (1, "error: there is no credential `nothing`")
    never = doors.there("admin", "credentials", "issue", "x", "--tenant", "acme", "--expires", "never")
    assert (never.exit_code, never.stdout) == (2, "")


def without_use(text: str) -> str:
    return re.sub(r"last used .*", "last used ...", text)


def test_a_doctor_looks_at_a_server_from_outside(doors: Doors) -> None:
    found = envelope(doors.there("auditor", "doctor", "--json"))
    said = {finding["about"]: (finding["level"], finding["message"]) for finding in found["data"]["findings"]}
    assert said["server"] == ("ok", f"{doors.url} answers")
    assert said["ready"] == ("ok", "it takes requests")
    assert said["version"][0] == "ok"
    assert said["clock"][0] in {"ok", "warn"}
    assert "records.read" in said["permissions"][1]
    refused = doors.there(None, "doctor")
    assert refused.exit_code == 1
    assert "✗ fail     credential: " in refused.stdout
    dead = doors.here("--server", "http://127.0.0.1:1", "doctor")
    assert dead.exit_code == 1
    assert "✗ fail     server: " in dead.stdout


@pytest.mark.parametrize("verb", [("test",), ("keys", "show"), ("db", "backup", "x"), ("undo", "x"), ("why", "x")], ids=" ".join)
def test_what_has_no_form_for_a_server_says_so(doors: Doors, verb: tuple[str, ...]) -> None:
    result = doors.there("admin", *verb)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be asked of a server\nnext: " in result.stderr


@pytest.mark.parametrize(
    ("verb", "step"),
    [
        (("undo", "x"), "whoever proposes an undo executes it: let the application ask `POST /api/v1/calls/x/undo`"),
        (("why", "x"), "the same with `licet can` in place of `licet why` asks the server for its decision and message"),
    ],
    ids=["undo", "why-tool"],
)
def test_a_refusal_says_what_a_server_can_be_asked_instead(doors: Doors, verb: tuple[str, ...], step: str) -> None:
    result = doors.there("admin", *verb)
    assert (result.exit_code, result.stdout) == (2, "")
    refused = f"error: `licet {verb[0]}` is about the installation at hand, and cannot be asked of a server\n"
    assert result.stderr == f"{refused}next: {step}\n"


def test_policies_at_hand_are_held_against_what_a_server_serves(doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    (folder / "policies").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "policies/base.cedar").write_text('@id("a") permit (principal in Role::"support", action in Action::"read", resource);')
    sound = doors.there("admin", "check")
    assert (sound.exit_code, sound.stderr) == (0, "")
    assert "1 file of policies would load at http" in sound.stdout
    (folder / "policies/licet.cedar").write_text('@id("b") permit (principal in Group::"leeds", action, resource);')
    (folder / "policies/more.cedar").write_text('@id("c") permit (principal in Role::"suport", action, resource);')
    found = doors.there("admin", "check")
    assert found.exit_code == 3
    assert "policies/more.cedar:1: policy `c`: the directory has no role `suport`" in found.stdout
    assert "policies/licet.cedar:1: policy `b`: the directory has no group `leeds`" in found.stdout
    assert doors.there("auditor", "check").exit_code == 6
    (folder / "policies/more.cedar").write_text("permit (")
    assert doors.there("admin", "check").exit_code == 3


def test_lists_of_several_pages_are_told_whole(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        assert doors.there("admin", "freeze", "agent", f"bot-{number}", "--anyway", "--reason", "x").exit_code == 0
        assert (
            doors.there(
                "admin", "audit", "hold", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", f"lawsuit {number}"
            ).exit_code
            == 0
        )
    monkeypatch.setattr("licet.cli.remote_acts.PAGE", 2)
    for verb in (("freeze", "list"), ("audit", "holds"), ("credentials", "list", "--all")):
        here, there = doors.here(*verb, "--json"), doors.there("admin", *verb, "--json")
        assert (there.exit_code, here.exit_code) == (0, 0), there.output
        stands, told = ([{**one, "last_used_at": None} for one in envelope(result)["data"]] for result in (here, there))
        assert len(told) >= len(doors.keys)
        assert told == stands
