"""Proofs read tiles where there are some, and are right without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from licet.errors import IntegrityBroken, StoreUnavailable
from licet.ledger.checkpoint import Checkpoint, HeadEntry, encode_head_entry, sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Signer
from licet.ledger.prove import Trusted, verify_proof
from licet.ledger.proving import LogTiles, NotCovered, newest_checkpoint, prove_continuation, prove_record
from licet.ledger.record import Envelope, PayloadEntry, encode_envelope, leaf_hash
from licet.ledger.source import Source
from licet.ledger.tiles import Edge, TileBuilder
from licet.store.contract import Store, StoredCheckpoint, StoredRecord

SIZE = 2 * 65_536 + 300
ORIGIN = "licet.invalid/test"
KEY = Signer.from_seed(ORIGIN, b"\x05" * 32)
ENVELOPES = [b'{"number":%d}' % number for number in range(SIZE)]
PLACE = 70_000
"""Of the one record that is one."""
ENVELOPES[PLACE] = encode_envelope(
    Envelope(v=1, log="acme", kind="gap", id="r", at=1, boot="b", environment="test", payload=PayloadEntry("0" * 64, 2))
)
LEAVES = [leaf_hash(envelope) for envelope in ENVELOPES]


Find = Callable[[str, int, int], bytes | None]


@dataclass
class KeptTiles:
    """Tiles as an index keeps them."""

    find: Find
    edge: Edge | None = None

    def find_tile(self, log: str, level: int, n: int) -> bytes | None:
        return self.find(log, level, n)

    def find_edge(self, _log: str, _size: int) -> Edge | None:
        return self.edge


class Rows:
    """A log as rows, which counts those that were read."""

    def __init__(self) -> None:
        self.read = 0

    def rows(self, _log: str, start: int = 0, stop: int | None = None) -> Iterator[Sequence[Any]]:
        chosen = LEAVES[start:stop]
        self.read += len(chosen)
        yield [(start + at, "", None, None, b"", leaf, None) for at, leaf in enumerate(chosen)]


@pytest.fixture(scope="module")
def tiles() -> dict[tuple[int, int], bytes]:
    return {(tile.level, tile.n): tile.hashes for tile in TileBuilder().extend(LEAVES)}


@pytest.fixture(scope="module")
def store() -> Store:
    entry = encode_head_entry(HeadEntry(1, "acme", SIZE, root_of(LEAVES).hex(), 7))
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, leaf_hash(entry)), [KEY])
    return cast(
        "Store",
        SimpleNamespace(
            newest_checkpoint=lambda: StoredCheckpoint(1, 7, note),
            find_head_entry=lambda _log, size: (0, entry) if size <= SIZE else None,
            signing_keys=tuple,
            find_tile=lambda _level, _n: None,
            leaves=lambda _start, _stop: [leaf_hash(entry)],
        ),
    )


def prove_record_of(store: Store, rows: Rows, record: StoredRecord, find: Find | None, edge: Edge | None = None) -> bytes:
    tiles = None if find is None else KeptTiles(find, edge)
    return prove_record(store, cast("Source", rows), record, tiles=tiles, with_payload=False)


def test_a_proof_reads_few_leaves_where_there_are_tiles_and_all_where_there_are_none(
    store: Store, tiles: dict[tuple[int, int], bytes]
) -> None:
    record = StoredRecord("acme", PLACE, "gap", None, ENVELOPES[PLACE], None, None)
    quick, slow = Rows(), Rows()
    proof = prove_record_of(store, quick, record, lambda _, level, n: tiles.get((level, n)))
    assert proof == prove_record_of(store, slow, record, None)
    assert quick.read == 256 + 300
    assert slow.read >= SIZE
    report = verify_proof(proof, Trusted(ORIGIN, KEY.vkey))
    assert (report.log, report.index, report.at) == ("acme", PLACE, 7)


def test_a_tile_that_is_wrong_costs_time_and_nothing_else(store: Store, tiles: dict[tuple[int, int], bytes]) -> None:
    record = StoredRecord("acme", PLACE, "gap", None, ENVELOPES[PLACE], None, None)
    for wrong in (bytes(8_192), b"short"):
        rows = Rows()
        proof = prove_record_of(store, rows, record, lambda _, level, n, wrong=wrong: wrong if n == 0 else tiles.get((level, n)))  # type: ignore[misc]
        assert verify_proof(proof, Trusted(ORIGIN, KEY.vkey)).index == PLACE
        assert rows.read >= SIZE


def test_a_proof_reads_no_leaves_for_the_tiles_that_are_not_full(store: Store, tiles: dict[tuple[int, int], bytes]) -> None:
    record = StoredRecord("acme", PLACE, "gap", None, ENVELOPES[PLACE], None, None)
    builder = TileBuilder()
    list(builder.extend(LEAVES))
    above = ((), *builder.edge[1:])
    rows = Rows()
    proof = prove_record_of(store, rows, record, lambda _, level, n: tiles.get((level, n)), above)
    assert proof == prove_record_of(store, Rows(), record, None)
    assert rows.read == 256 + 300 % 256


@pytest.mark.parametrize("edge", [((),), ((), (bytes(32),)), ((), (b"short",), (b"short", b"short")), ((),) * 5])
def test_an_edge_that_is_wrong_costs_time_and_nothing_else(store: Store, tiles: dict[tuple[int, int], bytes], edge: Edge) -> None:
    record = StoredRecord("acme", PLACE, "gap", None, ENVELOPES[PLACE], None, None)
    proof = prove_record_of(store, Rows(), record, lambda _, level, n: tiles.get((level, n)), edge)
    assert verify_proof(proof, Trusted(ORIGIN, KEY.vkey)).index == PLACE


def test_a_ledger_that_does_not_lead_to_its_checkpoint_proves_nothing(store: Store) -> None:
    record = StoredRecord("acme", PLACE, "gap", None, ENVELOPES[PLACE].replace(b"gap", b"gup"), None, None)
    with pytest.raises(IntegrityBroken, match="the hash of the envelope is another"):
        prove_record_of(store, Rows(), record, None)


def test_log_tiles_are_read_where_they_are_kept(tiles: dict[tuple[int, int], bytes]) -> None:
    asked: list[tuple[str, int, int]] = []

    def find(log: str, level: int, n: int) -> bytes | None:
        asked.append((log, level, n))
        return tiles.get((level, n))

    reader = LogTiles(cast("Source", Rows()), "acme", KeptTiles(find))
    assert reader.find_tile(1, 0) == tiles[1, 0]
    assert reader.find_tile(0, 0) is None, "leaves are read from the ledger itself"
    assert asked == [("acme", 1, 0)]
    assert reader.leaves(3, 5) == LEAVES[3:5]


def test_an_index_that_cannot_be_read_is_asked_once() -> None:
    asked = []

    def find(_log: str, _level: int, _n: int) -> bytes | None:
        asked.append(1)
        raise StoreUnavailable("gone")

    reader = LogTiles(cast("Source", Rows()), "acme", KeptTiles(find))
    assert (reader.find_tile(1, 0), reader.find_tile(1, 1), len(asked)) == (None, None, 1)


def test_nothing_is_proved_that_no_checkpoint_covers(store: Store) -> None:
    record = StoredRecord("acme", SIZE, "gap", None, b"{}", None, None)
    with pytest.raises(NotCovered, match=f"no signed checkpoint covers record {SIZE} of log `acme` yet"):
        prove_record_of(store, Rows(), record, None)
    unsigned = cast("Store", SimpleNamespace(newest_checkpoint=lambda: None))
    with pytest.raises(NotCovered, match="nothing was signed yet"):
        newest_checkpoint(unsigned)


def test_a_kept_checkpoint_that_is_larger_is_no_beginning(store: Store) -> None:
    kept = sign_checkpoint(Checkpoint(ORIGIN, 2, b"\x01" * 32), [KEY])
    with pytest.raises(IntegrityBroken, match="the kept checkpoint has size 2, and the head log of this ledger has 1"):
        prove_continuation(store, kept)
    other = sign_checkpoint(Checkpoint(ORIGIN, 1, b"\x01" * 32), [KEY])
    with pytest.raises(IntegrityBroken, match="the path does not show that one log has"):
        prove_continuation(store, other)
