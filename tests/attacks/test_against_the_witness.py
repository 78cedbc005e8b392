"""The owner of store and key against somebody outside: what a cut, an older copy or a rewritten history meets at the next start.

Each attack is made so that the ledger by itself verifies; an anchor on another disk, or a receipt that somebody kept, shows it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.record import leaf_hash
from licet.ledger.verify import verify
from licet.model import Receipt
from tests.world import CONFIG, World, world_on

ANCHORED = CONFIG + '\n[witness]\nanchor = "elsewhere/licet.anchor"\n'
Attack = Callable[[Path], None]


def work(folder: Path, calls: int) -> list[Receipt]:
    """Some calls by a process that ends in order, so that everything is signed and pinned."""
    with world_on(folder, ANCHORED) as w:
        for _ in range(calls):
            w.adjust()
        return [record.receipt for record in w.records()]


def copy_of(folder: Path) -> Path:
    """The whole folder but for the anchor, which lies on another disk."""
    kept = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("elsewhere"))
    return kept


def put_back(folder: Path, copy: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    shutil.copytree(copy, folder, dirs_exist_ok=True)


def roll_back(folder: Path) -> None:
    """Everything is as it was, store and key, before the last calls."""
    put_back(folder, folder.with_name(f"{folder.name}-copy"))


def begin_anew(folder: Path) -> None:
    """A new ledger in place of the old one, of which nothing is left."""
    for path in [*folder.glob("licet.db*"), folder / "licet.key"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with world_on(folder) as w:
        w.adjust()


def rewrite(folder: Path) -> None:
    """The owner of the key writes other calls from an older copy on, as many as there were and more."""
    roll_back(folder)
    with world_on(folder) as w:
        for _ in range(8):
            w.adjust(customer="C-2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    (made / "elsewhere").mkdir(parents=True)
    return made


def opened(folder: Path) -> World:
    with world_on(folder, ANCHORED) as w:
        w.gate.seal()
        return w


def is_whole(folder: Path) -> bool:
    with world_on(folder) as w:
        return w.gate.verify().ok


def test_a_ledger_as_it_was_opens_against_its_anchor(folder: Path) -> None:
    work(folder, 2)
    work(folder, 2)
    opened(folder)


@pytest.mark.parametrize("attack", [roll_back, begin_anew, rewrite])
def test_who_owns_store_and_key_is_stopped_by_the_anchor_although_the_ledger_verifies(folder: Path, attack: Attack) -> None:
    work(folder, 2)
    copy_of(folder)
    work(folder, 2)
    attack(folder)
    with pytest.raises(IntegrityBroken) as stopped:
        opened(folder)
    assert "anchor" in str(stopped.value)
    assert is_whole(folder), "by itself it has nothing that is wrong"


def test_what_is_refused_writes_nothing(folder: Path) -> None:
    work(folder, 2)
    copy_of(folder)
    work(folder, 2)
    roll_back(folder)
    before = sizes(folder)
    with pytest.raises(IntegrityBroken):
        opened(folder)
    assert sizes(folder) == before


def sizes(folder: Path) -> dict[str, int]:
    con = apsw.Connection(str(folder / "licet.db"))
    rows = con.execute("SELECT name, size FROM logs UNION SELECT 'head log', head_size FROM ledger").fetchall()
    con.close()
    return {str(name): int(str(size)) for name, size in rows}


def test_a_receipt_that_was_kept_names_a_record_that_a_rollback_took(folder: Path) -> None:
    work(folder, 1)
    copy_of(folder)
    receipts = work(folder, 1)
    roll_back(folder)
    with world_on(folder) as w, w.gate.store.source() as source:
        assert verify(source).ok
        report = verify(source, receipts=receipts)
    lost = [problem for problem in report.problems if problem.field == "receipt"]
    assert len(lost) == report.problem_count == 2, "intent and outcome of the second call"


def test_a_receipt_shows_a_rewritten_record(folder: Path) -> None:
    receipts = work(folder, 1)
    with world_on(folder) as w, w.gate.store.source() as source:
        forged = [Receipt(receipt.log, receipt.index, leaf_hash(b"other").hex()) for receipt in receipts]
        report = verify(source, receipts=forged)
    assert [problem.field for problem in report.problems] == ["receipt"] * 2


def test_an_anchor_that_was_edited_is_told(folder: Path) -> None:
    work(folder, 1)
    anchor = folder / "elsewhere" / "licet.anchor"
    anchor.write_bytes(anchor.read_bytes()[:-3] + b"AA\n")
    with pytest.raises(IntegrityBroken, match="holds no checkpoint of this log"):
        opened(folder)


def test_head_log_and_checkpoints_that_were_taken_out_are_missed_by_the_anchor(folder: Path) -> None:
    work(folder, 2)
    con = apsw.Connection(str(folder / "licet.db"))
    for text in (
        "DELETE FROM heads",
        "DELETE FROM head_tiles",
        "DELETE FROM checkpoints",
        "UPDATE ledger SET head_size = 0, head_range = x''",
    ):
        con.execute(text)
    con.close()
    with pytest.raises(IntegrityBroken, match="records are missing"):
        opened(folder)
