"""The write-ahead log of a killed writer, damaged at every place: SQLite drops what lies behind the damage and says nothing.

What is left is a ledger in which everything fits, only shorter: no check of the ledger by itself can see that. Receipts that somebody
kept do, and so does a witness (`licet/witness`).
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from licet.errors import LicetError
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import Receipt
from licet.store.sqlite import SqliteStore
from tests.store.powerloss import laid_out
from tests.store.samples import KEYS, now, record, small_ledger, written

LOG_HEADER_BYTES = 32
FRAME_BYTES = 24 + 4096
IN_A_FRAME = (0, 4, 8, 16, 23, 24, 2_000, FRAME_BYTES - 1)
"""Page number, size after commit, salt, checksums; first, middle and last byte of the page."""
COMMITS = 8


class Left(NamedTuple):
    """What a killed writer leaves: its files, and each receipt with the number of frames that the log had when it was given."""

    files: dict[str, bytes]
    acknowledged: list[tuple[int, Receipt]]

    @property
    def log(self) -> bytes:
        return self.files["licet.db-wal"]

    @property
    def receipts(self) -> list[Receipt]:
        return [receipt for _, receipt in self.acknowledged]

    def damaged(self, log: bytes) -> Left:
        return self._replace(files={**self.files, "licet.db-wal": log})

    def behind(self, byte: int) -> list[Receipt]:
        """The receipts of commits that do not end before this byte of the log."""
        return [receipt for frames, receipt in self.acknowledged if LOG_HEADER_BYTES + frames * FRAME_BYTES > byte]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    path = tmp_path_factory.mktemp("killed") / "licet.db"
    first = SqliteStore.open(path, now=now, keys=KEYS)
    small_ledger(first)
    first.close()  # all of this is in the database, out of reach of the damage
    store = SqliteStore.open(path, now=now, keys=KEYS)
    acknowledged = []
    for number in range(COMMITS):
        (committed,) = written(store, Filing((record("gap", f"tenant-{number % 2}"),)))
        frames = (path.with_name("licet.db-wal").stat().st_size - LOG_HEADER_BYTES) // FRAME_BYTES
        acknowledged += [(frames, receipt) for receipt in committed.receipts]
    files = {name: path.with_name(name).read_bytes() for name in ("licet.db", "licet.db-wal")}
    store.close()
    return Left(files, acknowledged)


def missed(left: Left, folder: Path) -> list[Receipt]:
    """Receipts that find no record in what the normal code reads; without them, everything fits."""
    store = SqliteStore.open(laid_out(left.files, folder) / "licet.db", now=now, keys=KEYS, read_only=True)
    try:
        with store.source() as source:
            assert verify(source).problems == (), "a log that was cut is consistent: verifying it alone shows nothing"
            problems = verify(source, receipts=left.receipts).problems
    finally:
        store.close()
        shutil.rmtree(folder)
    assert {problem.field for problem in problems} <= {"receipt"}
    named = {(problem.log, problem.index) for problem in problems}
    return [receipt for receipt in left.receipts if (receipt.log, receipt.index) in named]


def flipped(log: bytes, at: int) -> bytes:
    return log[:at] + bytes([log[at] ^ 0x10]) + log[at + 1 :]


def test_a_log_that_was_not_damaged_has_what_every_receipt_names(left: Left, tmp_path: Path) -> None:
    assert len(left.receipts) == COMMITS
    assert missed(left, tmp_path / "left") == []


def test_a_flipped_bit_in_any_frame_loses_what_was_acknowledged_since_and_only_receipts_show_it(left: Left, tmp_path: Path) -> None:
    frames = (len(left.log) - LOG_HEADER_BYTES) // FRAME_BYTES
    for frame in range(frames):
        start = LOG_HEADER_BYTES + frame * FRAME_BYTES
        for place in IN_A_FRAME[frame % 3 :: 3]:
            damaged = left.damaged(flipped(left.log, start + place))
            assert missed(damaged, tmp_path / "left") == left.behind(start), f"frame {frame}, byte {place}"
    assert left.behind(LOG_HEADER_BYTES) == left.receipts


def test_a_flipped_bit_in_the_header_of_the_log_loses_all_of_it_and_only_receipts_show_it(left: Left, tmp_path: Path) -> None:
    for at in range(LOG_HEADER_BYTES):
        assert missed(left.damaged(flipped(left.log, at)), tmp_path / "left") == left.receipts, f"byte {at}"


def test_a_log_that_was_cut_anywhere_loses_what_lay_behind_and_only_receipts_show_it(left: Left, tmp_path: Path) -> None:
    for size in range(0, len(left.log), 1_536):
        assert missed(left.damaged(left.log[:size]), tmp_path / "left") == left.behind(size)


def test_a_log_that_is_gone_and_one_of_yesterday_are_shown_by_receipts(left: Left, tmp_path: Path) -> None:
    gone = left._replace(files={"licet.db": left.files["licet.db"]})
    assert missed(gone, tmp_path / "gone") == left.receipts
    frames, _ = left.acknowledged[COMMITS // 2]
    earlier = left.log[: LOG_HEADER_BYTES + frames * FRAME_BYTES]
    assert missed(left.damaged(earlier + bytes(len(left.log) - len(earlier))), tmp_path / "left") == left.receipts[COMMITS // 2 + 1 :]


def damages(left: Left, count: int) -> Iterator[dict[str, bytes]]:
    """Both files at once: flipped, zeroed, filled with noise or cut, here and there."""
    for seed in range(count):
        chance = random.Random(seed)
        files = dict(left.files)
        for name in chance.sample(sorted(files), chance.randint(1, 2)):
            content = bytearray(files[name])
            at = chance.randrange(len(content))
            length = chance.choice([1, 1, 16, 512, 4_096])
            how = chance.choice(["flip", "zero", "noise", "cut"])
            if how == "cut":
                del content[at:]
            else:
                part = content[at : at + length]
                new = {"flip": bytes(byte ^ 0x40 for byte in part), "zero": bytes(len(part)), "noise": chance.randbytes(len(part))}[how]
                content[at : at + length] = new
            files[name] = bytes(content)
        yield files


def test_whatever_is_damaged_nothing_that_was_acknowledged_goes_missing_unseen(left: Left, tmp_path: Path) -> None:
    """It may be refused, by an error of ours; where it opens, verification with receipts names what is gone."""
    outcomes = Counter(outcome_of(left._replace(files=files), tmp_path / "left") for files in damages(left, 250))
    assert outcomes.keys() == {"whole", "found", "refused"}


def outcome_of(left: Left, folder: Path) -> str:
    path = laid_out(left.files, folder) / "licet.db"
    try:
        store = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    except LicetError:
        shutil.rmtree(folder)
        return "refused"
    with store.source() as source:
        report = verify(source, receipts=left.receipts)
    there = {log.log: log.size for log in report.logs}
    assert not report.ok or all(receipt.index < there.get(receipt.log, 0) for receipt in left.receipts)
    store.close()
    shutil.rmtree(folder)
    return "whole" if report.ok else "found"
