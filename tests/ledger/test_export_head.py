"""An export carries the signed head log, and a change of it is found; one log can be handed out alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.excerpt import Closed, Excerpt
from licet.ledger.export import export_lines, verify_export
from licet.ledger.notary import Notary
from licet.ledger.report import Report
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys
from licet.ledger.source import Withheld
from licet.ledger.verify import verify
from licet.ledger.verify_kept import Kept, kept_problems, key_problems
from licet.ledger.writer import Writer
from licet.model import Receipt
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now, record, small_ledger, written


class Signed:
    """A ledger whose head is signed when the test says so."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore.open(path, now=now, keys=KEYS)
        self.writer = Writer(self.store)
        self.notary = Notary(self.store, self.writer, SigningKeys(self.store, KEYS), lambda: 1_000_000)
        small_ledger(self.store)
        self.notary.turn()

    def grow(self) -> None:
        """One more record, signed."""
        written(self.store, Filing((record("gap"),)))
        self.notary.turn()

    def lines(self, *, log: str | None = None) -> list[bytes]:
        with self.store.source() as source:
            return list(export_lines(source if log is None else Excerpt(source, log)))

    @property
    def key(self) -> str:
        return self.store.signing_keys()[0].vkey

    def close(self) -> None:
        self.writer.close()
        self.store.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Signed]:
    ledger = Signed(tmp_path / "licet.db")
    ledger.grow()
    yield ledger
    ledger.close()


def messages(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


def at(lines: list[bytes], wanted: Callable[[bytes], bool]) -> int:
    return next(place for place, line in enumerate(lines) if wanted(line))


def test_an_export_is_signed_as_far_as_its_ledger_is(ledger: Signed) -> None:
    report = verify_export(ledger.lines())
    with ledger.store.source() as source:
        original = verify(source)
    assert report.ok
    assert (report.head, report.logs) == (original.head, original.logs)
    assert all(log.signed == log.size for log in report.logs)
    assert key_problems(report, ledger.key) == ()


def test_records_behind_the_last_checkpoint_count_as_unsigned(ledger: Signed) -> None:
    written(ledger.store, Filing((record("gap"),)))
    report = verify_export(ledger.lines())
    assert report.ok
    assert [log.size - log.signed for log in report.logs if log.log == "acme"] == [1]


def test_every_flipped_byte_of_the_head_log_is_found(ledger: Signed) -> None:
    lines = ledger.lines()
    ours = [place for place, line in enumerate(lines) if line.startswith((b'{"entry"', b'{"checkpoint"'))]
    assert len(ours) == 5
    missed = []
    for place in ours:
        line = lines[place]
        for position in range(len(line)):
            changed = line[:position] + bytes([line[position] ^ 1]) + line[position + 1 :]
            if verify_export([*lines[:place], changed, *lines[place + 1 :]]).ok:
                missed.append((place, position))
    assert missed == []


def test_every_flipped_byte_of_header_and_trailer_is_found(ledger: Signed) -> None:
    lines = ledger.lines()
    for place in (0, len(lines) - 1):
        line = lines[place]
        for position in range(len(line)):
            changed = [*lines[:place], line[:position] + bytes([line[position] ^ 1]) + line[position + 1 :], *lines[place + 1 :]]
            try:
                report = verify_export(changed)
            except IntegrityBroken:
                continue
            assert not report.ok or key_problems(report, ledger.key), (place, position, line[max(0, position - 20) : position + 5])


def test_lines_of_the_head_log_that_are_missing_swapped_or_elsewhere_are_found(ledger: Signed) -> None:
    lines = ledger.lines()
    entry, checkpoint = at(lines, lambda line: line.startswith(b'{"entry"')), at(lines, lambda line: line.startswith(b'{"checkpoint"'))
    for changed in (
        lines[:entry] + lines[entry + 1 :],
        [*lines[:entry], lines[entry + 1], lines[entry], *lines[entry + 2 :]],
        [*lines[:checkpoint], lines[checkpoint + 1], lines[checkpoint], *lines[checkpoint + 2 :]],
        [*lines[:entry], *lines[entry + 1 : -1], lines[entry], lines[-1]],
        [*lines[:entry], lines[checkpoint], *lines[entry:checkpoint], *lines[checkpoint + 1 :]],
        [*lines, lines[entry]],
    ):
        assert not verify_export(changed).ok


def test_an_export_whose_signatures_were_taken_out_is_found_by_its_key(ledger: Signed) -> None:
    lines = ledger.lines()
    bare = [line for line in lines if not line.startswith(b'{"checkpoint"')]
    assert verify_export(bare).ok
    (problem,) = key_problems(verify_export(bare), ledger.key)
    assert problem.message == "no checkpoint that fits is signed by this key or a successor"
    header = msgspec.json.decode(lines[0])
    headless = [line for line in bare if not line.startswith(b'{"entry"')]
    headless[0] = msgspec.json.encode({**header, "head": None, "keys": []})
    assert verify_export(headless).ok
    (problem,) = key_problems(verify_export(headless), ledger.key)
    assert problem.message == "nothing in it is signed, by this key or any other"


def test_an_excerpt_names_no_other_log_and_is_signed_all_the_same(ledger: Signed) -> None:
    lines = ledger.lines(log="acme")
    assert not [line for line in lines if b"operator" in line]
    report = verify_export(lines)
    assert report.ok
    assert report.head is not None
    assert (report.head.withheld, [log.log for log in report.logs]) == (1, ["acme"])
    assert report.logs[0].signed == report.logs[0].size
    assert key_problems(report, ledger.key) == ()


def test_an_excerpt_of_an_excerpt_and_of_nothing(ledger: Signed) -> None:
    with ledger.store.source() as source:
        again = list(export_lines(Excerpt(Excerpt(source, "acme"), "acme")))
        assert again == list(export_lines(Excerpt(source, "acme")))
        nothing = Excerpt(source, "nobody")
        assert nothing.trees() == []
        assert nothing.head_log is not None
        assert all(isinstance(entry, Withheld) for _, _, entry in nothing.head_log.entries())


def test_a_leaf_in_place_of_an_entry_hides_nothing_that_is_there(ledger: Signed) -> None:
    lines = ledger.lines(log="acme")
    cut = at(lines, lambda line: line.startswith(b'{"leaf"'))
    changed = [*lines[:cut], lines[cut].replace(b'{"leaf":"', b'{"leaf":"0')[:74] + b'"}', *lines[cut + 1 :]]
    assert not verify_export(changed).ok


def test_without_payloads_an_export_says_which_were_there(ledger: Signed) -> None:
    with ledger.store.source() as source:
        report = verify_export(export_lines(Closed(source)))
    assert (report.ok, report.locked, report.records) == (True, 13, 13)


def test_a_kept_checkpoint_is_found_in_an_export(ledger: Signed) -> None:
    note = ledger.store.newest_checkpoint()
    assert note is not None
    ledger.grow()
    with ledger.store.source() as source:
        assert kept_problems(source.head_log, [Kept("mine", note.note)]) == ()
        assert kept_problems(source.head_log, [Kept("mine", note.note)], ledger.key) == ()
        (problem,) = kept_problems(source.head_log, [Kept("mine", b"what\n")])
        assert problem.message.startswith("mine holds no checkpoint of this ledger: ")
        assert kept_problems(source.head_log, []) == ()
    (problem,) = kept_problems(None, [Kept("mine", note.note)])
    assert problem.message == "mine cannot be held against it: it has no signed head log"


def test_two_receipts_of_one_place_are_both_looked_at(ledger: Signed) -> None:
    leaf = msgspec.json.decode(ledger.lines()[at(ledger.lines(), lambda line: line.startswith(b'{"log":"acme","index":0,'))])["leaf"]
    true, forged = Receipt("acme", 0, leaf), Receipt("acme", 0, "0" * 64)
    assert verify_export(ledger.lines(), receipts=[true]).ok
    for receipts in ([true, forged], [forged, true]):
        assert messages(verify_export(ledger.lines(), receipts=receipts)) == [
            f"log `acme`, record 0, receipt: the record is not the one that its receipt names: expected `{'0' * 64}`, found `{leaf}`"
        ]
