"""Tiles of the head log are hashes that are kept for speed: who edits them gets no proof, and hides nothing from an anchor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec
import pytest

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import Checkpoint, decode_head_entry, encode_head_entry, sign_checkpoint
from licet.ledger.merkle import Tree, root_of
from licet.ledger.prove import Head, Trusted, prove, prove_consistency, verify_proof
from licet.ledger.record import leaf_hash
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys, checkpoint_of, trust_of
from licet.ledger.tiles import TILE_BYTES, HashTree
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store.contract import AppendHead, PutCheckpoint
from licet.store.sqlite import SqliteStore
from licet.witness.anchor import Anchor
from licet.witness.pins import Pins
from tests.ledger.small_ledger import Leaves
from tests.store.samples import KEYS, now, record, written

LOGS = 256
"""One tile for each round."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger whose head log has two full tiles, signed after each, with an anchor that knows the second."""
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    for at in (1, 2):
        written(store, Filing(tuple([record("gap", f"t{number:03}") for number in range(LOGS)]), (AppendHead(at),)))
        sign(store, at)
    newest = store.newest_checkpoint()
    assert newest is not None
    Anchor(tmp_path / "anchor", trust_of(store)).pin(newest.note, lambda *_: ())
    store.close()
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(path, now=now, keys=KEYS)
    yield store
    store.close()


def sign(store: SqliteStore, at: int) -> None:
    """The head log as it stands is signed."""
    writer = Writer(store)
    signer = SigningKeys(store, KEYS).signer(writer)
    writer.close()
    head = store.head()
    written(store, Filing((), (PutCheckpoint(head.size, at, sign_checkpoint(checkpoint_of(head), [signer]), signer.vkey),)))


def tamper(path: Path, text: str, *values: object) -> None:
    con = apsw.Connection(str(path))
    con.execute(text, values)
    con.close()


def pins(store: SqliteStore, path: Path) -> Pins:
    return Pins(store, lambda: trust_of(store), [path.with_name("anchor")], [], max_age_s=60, keep=lambda *_: None)


def made(store: SqliteStore) -> bytes:
    """A proof of the first record of the first log, which goes through the first tile."""
    newest = store.newest_checkpoint()
    assert newest is not None
    stored = store.get_record("t000", 0)
    head = Head(store.head_entries(0, 1)[0], 0, HashTree(store, store.head().size), newest.note)
    return prove(HashTree(Leaves([leaf_hash(stored.envelope)]), 1), 0, head, envelope=stored.envelope)


def test_proofs_and_anchor_are_made_through_tiles(store: SqliteStore, path: Path) -> None:
    assert store.head().size == 2 * LOGS
    assert store.find_tile(0, 0) is not None
    report = verify_proof(made(store), Trusted(store.head().origin, store.signing_keys()[0].vkey))
    assert (report.log, report.index) == ("t000", 0)
    pins(store, path).check()


@pytest.mark.parametrize("at", [32, 64, TILE_BYTES // 2, TILE_BYTES - 1])
def test_a_proof_that_goes_through_an_edited_tile_is_not_handed_out(store: SqliteStore, path: Path, at: int) -> None:
    for number in range(2):
        tile = store.find_tile(0, number)
        assert tile is not None
        tamper(path, "UPDATE head_tiles SET hashes = ? WHERE number = ?", tile[:at] + bytes([tile[at] ^ 1]) + tile[at + 1 :], number)
    first, second = store.checkpoints(limit=2)
    with pytest.raises((IntegrityBroken, NoteInvalid)):
        made(store)
    with pytest.raises((IntegrityBroken, NoteInvalid)):
        prove_consistency(HashTree(store, 2 * LOGS), first.note, second.note)
    with pytest.raises(IntegrityBroken):
        pins(store, path).check()


@pytest.mark.parametrize("hashes", [b"", bytes(TILE_BYTES - 1), bytes(TILE_BYTES + 32)])
def test_a_tile_of_another_length_is_refused(store: SqliteStore, path: Path, hashes: bytes) -> None:
    tamper(path, "UPDATE head_tiles SET hashes = ? WHERE number = 0", hashes)
    with pytest.raises(IntegrityBroken, match=r"has .* bytes in place of"):
        made(store)


def test_tiles_that_were_deleted_are_made_up_for(store: SqliteStore, path: Path) -> None:
    tamper(path, "DELETE FROM head_tiles")
    assert verify_proof(made(store), Trusted(store.head().origin, store.signing_keys()[0].vkey))
    pins(store, path).check()


def test_true_tiles_beside_rewritten_records_do_not_deceive_the_anchor(path: Path) -> None:
    """The owner of the key rewrites a record and everything that is hashed and signed from it, but leaves the tiles, whose root is pinned."""
    rewrite_all_but_the_tiles(path)
    store = SqliteStore.open(path, now=now, keys=KEYS)
    try:
        with store.source() as source:
            problems = verify(source).problems
            assert problems
            assert all(problem.field == "store" and problem.message.startswith("tile ") for problem in problems), (
                "all but the tiles is whole"
            )
        with pytest.raises(IntegrityBroken, match="tiles of the head log do not lead to its root"):
            pins(store, path).check()
    finally:
        store.close()


def test_a_range_of_the_head_log_that_contradicts_its_size_stops_the_start(store: SqliteStore, path: Path) -> None:
    tamper(path, "UPDATE ledger SET head_range = x'00'")
    with pytest.raises(IntegrityBroken, match="do not lead to its root"):
        pins(store, path).check()


def rewrite_all_but_the_tiles(path: Path) -> None:
    store = SqliteStore.open(path, now=now, keys=KEYS)
    envelopes = [stored.envelope for stored in store.records("t000")]
    signer = SigningKeys(store, KEYS).get_signer()
    entries = list(store.head_entries(0, 2 * LOGS))
    origin = store.head().origin
    store.close()
    envelopes[0] = envelopes[0].replace(b'"environment":"test"', b'"environment":"tost"')
    leaves = [leaf_hash(envelope) for envelope in envelopes]
    con = apsw.Connection(str(path))
    number = con.execute("SELECT number FROM logs WHERE name = 't000'").get
    assert isinstance(number, int)
    con.execute("UPDATE records SET envelope = ?, leaf = ? WHERE place = ?", (envelopes[0], leaves[0], number << 40))
    con.execute("UPDATE logs SET compact_range = ? WHERE number = ?", (root_of(leaves), number))
    for place, entry in enumerate(entries):
        said = decode_head_entry(entry)
        if said.log == "t000":
            entries[place] = encode_head_entry(msgspec.structs.replace(said, root=root_of(leaves[: said.size]).hex()))
            con.execute("UPDATE heads SET entry = ? WHERE number = ?", (entries[place], place))
    for size in (LOGS, 2 * LOGS):
        tree = Tree()
        tree.extend([leaf_hash(entry) for entry in entries[:size]])
        note = sign_checkpoint(Checkpoint(origin, size, tree.root()), [signer])
        con.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note, size))
        con.execute("UPDATE ledger SET head_size = ?, head_range = ?", (size, b"".join(tree.peaks)))
    con.close()
