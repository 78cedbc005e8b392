"""What a server hands out is held against keys and hashes here: its own word for it counts nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from licet.cli import remote_acts
from tests.cli.conftest import envelope
from tests.cli.serving import Doors
from tests.cli.serving import doors as doors  # noqa: PLC0414  a fixture


def key_of(doors: Doors) -> str:
    found = envelope(doors.here("audit", "verify", "--json"))["data"]
    return str(found["head"]["keys"][0])


def test_a_proof_of_a_server_is_verified_here_with_a_key_that_was_kept(doors: Doors) -> None:
    key = key_of(doors)
    proved = doors.there("auditor", "audit", "prove", "acme:1", "-o", "proof.json")
    assert proved.exit_code == 0
    assert doors.here("audit", "verify", "--proof", "proof.json", "--key", key).exit_code == 0
    # No ledger is at hand where a server is named, so nothing but the key vouches for the proof.
    assert doors.there("auditor", "audit", "verify", "--proof", "proof.json", "--key", key).exit_code == 0
    without = doors.there("auditor", "audit", "verify", "--proof", "proof.json")
    assert (without.exit_code, without.stdout) == (2, "")
    line = json.loads(Path("proof.json").read_text())
    Path("forged.json").write_text(json.dumps({**line, "index": 2}, separators=(",", ":")) + "\n")
    assert doors.there("auditor", "audit", "verify", "--proof", "forged.json", "--key", key).exit_code == 8


def test_every_record_of_a_call_is_proved(doors: Doors) -> None:
    call = envelope(doors.here("audit", "search", "--kind", "intent", "--json"))["data"]["records"][0]["envelope"]["call"]
    here, there = doors.here("audit", "prove", call, "--json"), doors.there("auditor", "audit", "prove", call, "--json")
    places = [[(one["log"], one["index"], one["leaf"]) for one in envelope(result)["data"]["proofs"]] for result in (here, there)]
    assert places[0] == places[1] != []
    opened = envelope(doors.there("auditor", "audit", "prove", call, "--with-payload", "--json"))["data"]["proofs"]
    assert all(one["payload"] for one in opened)


def test_receipts_are_those_of_the_ledger(doors: Doors) -> None:
    for reference in ("acme:1", envelope(doors.here("audit", "show", "acme:1", "--json"))["data"]["call"]):
        here, there = doors.here("audit", "receipt", reference), doors.there("auditor", "audit", "receipt", reference)
        assert (there.exit_code, there.stdout) == (0, here.stdout)


def test_a_checkpoint_is_handed_out_and_how_the_log_goes_on_from_it(doors: Doors) -> None:
    assert doors.there("auditor", "audit", "checkpoint", "-o", "kept.note").exit_code == 0
    doors.there("auditor", "audit", "search")
    assert doors.there("auditor", "audit", "checkpoint", "--prove-from", "kept.note", "-o", "on.json").exit_code == 0
    assert doors.here("audit", "verify", "--proof", "on.json", "--key", key_of(doors)).exit_code == 0


@pytest.mark.parametrize("form", ["jsonl", "csv", "ocsf", "otlp"])
@pytest.mark.parametrize("tenant", [(), ("--tenant", "acme")], ids=["ledger", "acme"])
def test_an_export_of_a_server_is_whole_and_verified_here(doors: Doors, form: str, tenant: tuple[str, ...]) -> None:
    done = doors.there("auditor", "audit", "export", "--format", form, "-o", "out", *tenant, "--json")
    told = envelope(done)["data"]
    assert told["records"] > 3
    assert told["size_bytes"] == Path("out").stat().st_size
    assert (told["manifest"] is not None) is (form in {"ocsf", "otlp"})
    assert doors.here("audit", "verify", "--file", "out").exit_code == 0
    again = doors.there("auditor", "audit", "export", "--format", form, "-o", "out")
    assert (again.exit_code, again.stdout) == (1, "")


def test_an_export_goes_to_stdout_too(doors: Doors) -> None:
    done = doors.there("auditor", "audit", "export", "--tenant", "acme")
    Path("out").write_bytes(done.stdout_bytes)
    assert doors.here("audit", "verify", "--file", "out").exit_code == 0
    tiles = doors.there("auditor", "audit", "export", "--format", "tiles", "-o", "tiles")
    assert (tiles.exit_code, tiles.stderr.splitlines()[0]) == (2, "error: a server exports no folder of tiles")


def test_an_export_that_was_cut_leaves_no_file(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = remote_acts.export

    @contextmanager
    def cut(*arguments: Any, **options: Any) -> Iterator[Iterator[bytes]]:
        with whole(*arguments, **options) as parts:
            yield iter([b"".join(parts)[:-20]])

    monkeypatch.setattr(remote_acts, "export", cut)
    for form in ("ocsf", "csv"):
        result = doors.there("auditor", "audit", "export", "--format", form, "-o", "out")
        assert (result.exit_code, Path("out").exists()) == (8, False)
    verified = doors.there("auditor", "audit", "verify")
    assert verified.exit_code == 8


def test_a_server_is_verified_by_what_it_exports_and_not_by_what_it_says(doors: Doors) -> None:
    key = key_of(doors)
    verified = doors.there("auditor", "audit", "verify", "--key", key)
    assert verified.exit_code == 0
    assert verified.stdout.startswith("✓ intact   ")
    believed = doors.there("auditor", "audit", "verify")
    assert "no key was given, so it was believed as to its own keys" in believed.stderr
    other = key.replace(key[-4:-2], "AA" if key[-4:-2] != "AA" else "BB")
    assert doors.there("auditor", "audit", "verify", "--key", other).exit_code != 0
