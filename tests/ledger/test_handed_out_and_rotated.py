"""What was handed out before a key was changed, and after, is verified with either key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.errors import IntegrityBroken
from licet.ledger.export import export_lines, verify_export
from licet.ledger.notary import Notary
from licet.ledger.proving import prove_continuation, prove_record
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys
from licet.ledger.tile_export import export_tiles
from licet.ledger.tile_trust import verify_tile_export
from licet.ledger.verify_kept import Kept, kept_problems, key_problems
from licet.ledger.verify_lines import verify_proof_lines
from licet.ledger.writer import Writer
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now, record, small_ledger, written


class Rotated:
    """A ledger that was handed out, whose key was then changed, and that went on."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore.open(folder / "licet.db", now=now, keys=KEYS)
        self.writer = Writer(self.store)
        self.signing = SigningKeys(self.store, KEYS)
        self.notary = Notary(self.store, self.writer, self.signing, lambda: 1_000_000)
        self.folder = folder / "tiles"
        small_ledger(self.store)
        self.notary.turn()
        self.before = self.proof()
        self.tiles()
        newest = self.store.newest_checkpoint()
        assert newest is not None
        self.kept = newest.note
        self.old, self.new = self.signing.rotate(self.writer, lambda _old, _new: record("key_rotation"))
        written(self.store, Filing((record("gap"),)))
        self.notary.turn()
        self.tiles()

    def proof(self) -> bytes:
        with self.store.source() as source:
            return prove_record(self.store, source, self.store.get_record("acme", 1), tiles=None, with_payload=True)

    def tiles(self) -> None:
        head = self.store.newest_checkpoint()
        with self.store.source() as source:
            export_tiles(self.folder, self.store, source, self.signing, head=head)


@pytest.fixture
def rotated(tmp_path: Path) -> Iterator[Rotated]:
    ledger = Rotated(tmp_path)
    yield ledger
    ledger.writer.close()
    ledger.store.close()


def test_a_bundle_is_verified_with_either_key(rotated: Rotated) -> None:
    with rotated.store.source() as source:
        report = verify_export(export_lines(source))
    assert report.ok
    assert report.head is not None
    assert report.head.keys == (rotated.old, rotated.new)
    assert all(log.signed == log.size for log in report.logs)
    assert key_problems(report, rotated.old) == key_problems(report, rotated.new) == ()


def test_a_bundle_without_its_endorsement_is_found(rotated: Rotated) -> None:
    with rotated.store.source() as source:
        lines = list(export_lines(source))
    start = lines[0].index(b'"endorsement":"')
    lines[0] = lines[0][:start] + b'"endorsement":null}]}'
    report = verify_export(lines)
    assert not report.ok or key_problems(report, rotated.new)


def test_a_proof_from_after_is_verified_with_either_key_and_one_from_before_with_the_old(rotated: Rotated) -> None:
    for key in (rotated.old, rotated.new):
        proved, problems = verify_proof_lines([rotated.proof()], key)
        assert (len(proved), problems) == (1, ())
    assert verify_proof_lines([rotated.before], rotated.old)[1] == ()
    assert verify_proof_lines([rotated.before], rotated.new)[1] != ()


def test_a_kept_checkpoint_is_continued_over_the_change(rotated: Rotated) -> None:
    with rotated.store.source() as source:
        for key in (rotated.old, rotated.new, None):
            assert kept_problems(source.head_log, [Kept("mine", rotated.kept)], key) == ()
    bundle = prove_continuation(rotated.store, rotated.kept)
    for key in (rotated.old, rotated.new):
        assert verify_proof_lines([bundle], key)[1] == ()


def test_tiles_that_were_gone_on_with_are_verified_with_either_key(rotated: Rotated) -> None:
    for key in (rotated.old, rotated.new, None):
        report = verify_tile_export(rotated.folder, key)
        assert report.problems == ()
        assert report.keys == (rotated.old, rotated.new)
    assert (report.records, report.head_size) == (sum(log.size for log in rotated.store.logs()), rotated.store.head().size)


def test_a_key_of_nobody_opens_nothing(rotated: Rotated) -> None:
    other = rotated.new.split("+")[0] + "+00000000+AQ=="
    with pytest.raises(IntegrityBroken):
        verify_tile_export(rotated.folder, other)
