from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from licet.cli import doctor_witness
from licet.cli.exits import Exit
from licet.ledger.note import Signer, Verifier
from tests.cli.conftest import CONFIG, Licet, Shop, envelope
from tests.witness.loopback import COSIGNER, HonestWitness, Loopback, response

ANCHOR = '[witness]\nanchor = "elsewhere/licet.anchor"\n'


def findings(licet: Licet) -> dict[str, list[dict[str, Any]]]:
    """What the doctor found, by what it is about."""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in envelope(licet("doctor", "--json"))["data"]["findings"]:
        found.setdefault(finding["about"], []).append(finding)
    return found


def only(licet: Licet, about: str) -> tuple[str, str]:
    """Level and message of the last finding about this."""
    finding = findings(licet)[about][-1]
    assert (finding["level"] == "ok") is (finding["next"] is None)
    return finding["level"], finding["message"]


def call(project: Path, amount_cents: int = 1) -> None:
    shop = Shop(project)
    shop.ask(amount_cents)
    shop.gate.close()


@pytest.fixture
def anchored(used: Path) -> Path:
    """The used project, whose newest checkpoint an anchor holds."""
    (used / "elsewhere").mkdir()
    (used / "licet.toml").write_text(CONFIG + ANCHOR)
    call(used)
    return used


def test_nobody_outside_is_a_warning(licet: Licet, used: Path) -> None:
    (finding,) = findings(licet)["witness"]
    assert finding["level"] == "warn"
    assert "nobody outside the ledger holds its checkpoint" in finding["message"]
    assert "`[witness]` in licet.toml" in finding["next"]


def test_an_anchor_that_holds_the_newest_is_well_and_one_beside_the_ledger_is_not(licet: Licet, anchored: Path) -> None:
    beside, held = findings(licet)["anchor"]
    assert (beside["level"], held["level"]) == ("warn", "ok")
    assert "lies on the same disk as the ledger" in beside["message"]
    assert "elsewhere/licet.anchor` holds the newest checkpoint, " in held["message"]


def test_an_anchor_on_another_disk_is_no_warning(licet: Licet, anchored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_witness, "_device", lambda path: path.name == "licet.db")
    assert [finding["level"] for finding in findings(licet)["anchor"]] == ["ok"]


def test_an_anchor_that_the_tools_could_set_back_fails(licet: Licet, anchored: Path) -> None:
    level, message = only(licet, "anchor safety")  # whoever runs this test owns it
    assert (level, "an agent with a shell could set the anchor back together with the ledger" in message) == ("fail", True)


def test_a_head_log_whose_entries_were_rewritten_fails(licet: Licet, used: Path) -> None:
    with closing(sqlite3.connect(used / "licet.db")) as con, con:
        con.execute('UPDATE heads SET entry = CAST(replace(CAST(entry AS TEXT), \'"root":"\', \'"root":"00\') AS BLOB) WHERE number = 0')
    level, message = only(licet, "signed")
    assert (level, message) == ("fail", "the entries of the head log do not lead to its root")


def test_an_anchor_that_is_not_there_or_cannot_be_is_told(licet: Licet, anchored: Path) -> None:
    anchor = anchored / "elsewhere/licet.anchor"
    anchor.unlink()
    level, message = only(licet, "anchor")
    assert (level, "is not there: it begins with whatever the ledger has" in message) == ("warn", True)
    anchor.mkdir()
    assert only(licet, "anchor") == ("fail", f"anchor `{anchor}` is not a file")
    shutil.rmtree(anchor.parent)
    assert "there is no folder" in findings(licet)["anchor"][0]["message"]


def test_an_anchor_with_something_else_in_it_fails(licet: Licet, anchored: Path) -> None:
    (anchored / "elsewhere/licet.anchor").write_text("something else")
    level, message = only(licet, "anchor")
    assert (level, "holds no checkpoint of this log" in message) == ("fail", True)


def test_a_ledger_that_was_set_back_fails_and_nothing_is_changed(licet: Licet, anchored: Path) -> None:
    (anchored / "old.db").write_bytes((anchored / "licet.db").read_bytes())
    call(anchored)
    (anchored / "licet.db").write_bytes((anchored / "old.db").read_bytes())
    level, message = only(licet, "anchor")
    assert (level, "records are missing" in message) == ("fail", True)
    assert licet("doctor").exit_code == Exit.ERROR
    assert (anchored / "licet.db").read_bytes() == (anchored / "old.db").read_bytes()


def test_an_anchor_that_falls_behind_is_told_after_a_while(licet: Licet, anchored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = anchored / "elsewhere/licet.anchor"
    old = anchor.read_bytes()
    call(anchored)
    anchor.write_bytes(old)
    level, message = only(licet, "anchor")
    assert (level, "of the head log behind, since 20" in message) == ("ok", True)
    monkeypatch.setattr(doctor_witness, "LATE_S", -1.0)
    assert only(licet, "anchor")[0] == "warn"


def test_what_nobody_has_signed_is_told_after_a_while(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level, message = only(licet, "signed")
    assert (level, message.startswith("everything is under the checkpoint of 20")) == ("ok", True)
    with closing(sqlite3.connect(used / "licet.db")) as con, con:
        con.execute("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)")
    monkeypatch.setattr(doctor_witness, "LATE_S", -1.0)
    level, message = only(licet, "signed")
    assert (level, "are under no signed checkpoint" in message or message == "nothing was signed yet") == ("warn", True)
    with closing(sqlite3.connect(used / "licet.db")) as con, con:
        con.execute("DELETE FROM checkpoints")
    assert only(licet, "signed") == ("warn", "nothing was signed yet")


def test_a_key_that_is_not_of_this_ledger_fails(licet: Licet, used: Path) -> None:
    other = Signer.from_seed("licet.invalid/other", b"\x05" * 32).vkey
    (used / "licet.toml").write_text(f'{CONFIG}[witness]\nanchor = "elsewhere.anchor"\nlog = "{other}"\n')
    assert only(licet, "witness")[0] == "fail"


@pytest.fixture
def honest(used: Path) -> Iterator[HonestWitness]:
    """A witness on this machine, which has cosigned the newest checkpoint of the used project."""
    with closing(sqlite3.connect(used / "licet.db")) as con:
        ((vkey,),) = con.execute("SELECT vkey FROM signing_keys").fetchall()
    key = Verifier.parse(vkey)
    witness = HonestWitness(key, origin=key.name)
    with Loopback(witness) as server:
        (used / "licet.toml").write_text(f'{CONFIG}[[witness.servers]]\nurl = "{server.url}"\nvkey = "{COSIGNER.vkey}"\n')
        call(used)
        yield witness


def test_a_witness_that_has_seen_the_newest_is_well(licet: Licet, used: Path, honest: HonestWitness) -> None:
    level, message = only(licet, "witness")
    assert (level, message) == ("ok", f"`{COSIGNER.verifier.name}` holds the newest checkpoint, {honest.latest.size} entries")


def test_a_witness_is_asked_and_told_nothing(licet: Licet, used: Path) -> None:
    with Loopback(lambda _: response(404)) as server:
        (used / "licet.toml").write_text(f'{CONFIG}[[witness.servers]]\nurl = "{server.url}"\nvkey = "{COSIGNER.vkey}"\n')
        level, message = only(licet, "witness")
        assert [request.method for request in server.requests] == ["GET"]
    assert (level, message) == ("warn", f"`{COSIGNER.verifier.name}` shows nothing of this ledger, and has cosigned nothing lately")


def test_a_witness_that_does_not_show_what_it_cosigned_is_told_by_what_it_did(
    licet: Licet, used: Path, honest: HonestWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest.note = b""  # nothing to be seen of it from now on
    level, message = only(licet, "witness")
    assert (level, "last cosigned at 20" in message) == ("warn", True)  # it keeps a clock of its own, and that one stands
    monkeypatch.setattr(doctor_witness, "LATE_S", 1e12)
    level, message = only(licet, "witness")
    assert (level, message.endswith("; it does not show what it has seen")) == ("ok", True)


def test_a_witness_that_cannot_be_reached_is_told(licet: Licet, used: Path) -> None:
    (used / "licet.toml").write_text(f'{CONFIG}[[witness.servers]]\nurl = "http://127.0.0.1:9"\nvkey = "{COSIGNER.vkey}"\n')
    level, message = only(licet, "witness")
    assert (level, "cannot be reached: " in message) == ("warn", True)


def test_a_witness_that_knows_more_than_the_ledger_fails(licet: Licet, used: Path, honest: HonestWitness) -> None:
    (used / "old.db").write_bytes((used / "licet.db").read_bytes())
    call(used)
    (used / "licet.db").write_bytes((used / "old.db").read_bytes())
    level, message = only(licet, "witness")
    assert (level, "records are missing" in message) == ("fail", True)


def test_a_witness_with_a_key_of_another_kind_fails(licet: Licet, used: Path) -> None:
    key = Signer.from_seed("witness.invalid/w1", b"\x05" * 32).vkey
    (used / "licet.toml").write_text(f'{CONFIG}[[witness.servers]]\nurl = "http://127.0.0.1:9"\nvkey = "{key}"\n')
    level, message = only(licet, "witness")
    assert (level, "is not one for cosignatures" in message) == ("fail", True)


def test_before_there_is_a_ledger_only_the_place_of_an_anchor_is_looked_at(licet: Licet, project: Path) -> None:
    (project / "licet.toml").write_text(CONFIG + ANCHOR)
    found = findings(licet)
    assert [finding["level"] for finding in found["anchor"]] == ["fail"]
    assert "signed" not in found
    assert not list(project.glob("licet.db*"))
