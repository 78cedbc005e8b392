"""Trees read and built through tiles, against the naive implementation and at the size of a large log; the form of paths and bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken
from licet.ledger import merkle
from licet.ledger.tiles import (
    TILE_BYTES,
    WIDTH,
    HashTree,
    Tile,
    TileBuilder,
    TileName,
    encode_entries,
    entries_path,
    parse_entries,
    parse_tile,
    parse_tile_path,
    path_of,
    tile_path,
    tiles_at,
)

SIZES = range(1026)
LEAVES = [hashlib.sha256(b"\x00%d" % number).digest() for number in range(1200)]


@cache
def naive_root(start: int, stop: int) -> bytes:
    """MTH of RFC 6962, section 2.1, over the leaf hashes from `start` up to `stop`."""
    if start == stop:
        return hashlib.sha256(b"").digest()
    if stop - start == 1:
        return LEAVES[start]
    split = 1
    while split * 2 < stop - start:
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(start, start + split) + naive_root(start + split, stop)).digest()


def naive_path(index: int, start: int, stop: int) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if stop - start == 1:
        return []
    split = 1
    while split * 2 < stop - start:
        split *= 2
    if index < start + split:
        return [*naive_path(index, start, start + split), naive_root(start + split, stop)]
    return [*naive_path(index, start + split, stop), naive_root(start, start + split)]


def naive_subproof(first: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if first == stop:
        return [] if whole else [naive_root(start, stop)]
    split = 1
    while split * 2 < stop - start:
        split *= 2
    if first <= start + split:
        return [*naive_subproof(first, start, start + split, whole=whole), naive_root(start + split, stop)]
    return [*naive_subproof(first, start + split, stop, whole=False), naive_root(start, start + split)]


class Kept:
    """Leaves in memory with such tiles as are kept; counts what is read."""

    def __init__(self, leaves: Sequence[bytes], tiles: Sequence[Tile] = ()) -> None:
        self._leaves = leaves
        self._tiles = {(tile.level, tile.n): tile.hashes for tile in tiles}
        self.reads = 0

    def find_tile(self, level: int, n: int) -> bytes | None:
        found = self._tiles.get((level, n))
        self.reads += found is not None
        return found

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        assert 0 <= start < stop <= start + WIDTH
        self.reads += 1
        return self._leaves[start:stop]


def built(size: int) -> tuple[TileBuilder, list[Tile]]:
    builder = TileBuilder()
    return builder, builder.extend(LEAVES[:size])


ALL = TileBuilder().extend(LEAVES)


@pytest.mark.parametrize("tiles", [ALL, ALL[::2], []], ids=["all tiles", "every second tile", "no tiles"])
def test_the_root_at_every_size_is_the_naive_one(tiles: list[Tile]) -> None:
    tree = HashTree(Kept(LEAVES, tiles), SIZES[-1])
    for size in SIZES:
        assert tree.root_at(size) == naive_root(0, size) == HashTree(Kept(LEAVES, tiles), size).root_at(size)


@pytest.mark.parametrize("tiles", [ALL, []], ids=["all tiles", "no tiles"])
def test_proofs_at_every_size_are_the_naive_ones_and_those_of_merkle(tiles: list[Tile]) -> None:
    for size in SIZES[1:]:
        tree = HashTree(Kept(LEAVES, tiles), size)
        index = int.from_bytes(LEAVES[size][:4]) % size
        for at in {0, index, size - 1}:
            path = tree.inclusion_proof(at)
            assert list(path) == naive_path(at, 0, size)
            assert merkle.is_included(LEAVES[at], at, size, path, naive_root(0, size))
        for first in {1, index + 1, size - 1} - {0}:
            path = tree.consistency_proof(first)
            assert list(path) == naive_subproof(first, 0, size, whole=True)
            assert merkle.is_consistent(first, size, naive_root(0, first), naive_root(0, size), path)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 513, 1025])
def test_every_proof_of_a_tree_is_that_of_merkle(size: int) -> None:
    tree = HashTree(Kept(LEAVES, ALL), 1200)
    step = max(1, size // 64)
    for index in range(0, size, step):
        assert tree.inclusion_proof(index, size) == merkle.inclusion_proof(LEAVES[:size], index)
        assert tree.consistency_proof(index, size) == merkle.consistency_proof(LEAVES[:size], index)


@given(st.lists(st.integers(0, 600), max_size=6))
def test_building_in_parts_gives_the_tiles_of_building_at_once(groups: list[int]) -> None:
    builder, filled, size = TileBuilder(), [], 0
    for group in groups:
        leaves = LEAVES[size : size + group]
        filled += builder.extend(leaves)
        size += len(leaves)
        assert builder.size == size
        assert builder.root() == merkle.root_of(LEAVES[:size])
        tree = HashTree(Kept(LEAVES, filled), size)
        assert tree.edge() == builder.edge
        builder = TileBuilder(size, tree.edge())  # as after a restart
    assert filled == built(size)[1]


def test_the_tiles_of_a_tree_are_those_of_the_specification() -> None:
    names = list(tiles_at(70_000))
    assert sum(name.level == 0 and name.width == WIDTH for name in names) == 273
    assert [name for name in names if name.width < WIDTH] == [TileName(0, 273, 112), TileName(1, 1, 17), TileName(2, 0, 1)]
    assert TileName(1, 0, WIDTH) in names
    assert list(tiles_at(256)) == [TileName(0, 0, 256), TileName(1, 0, 1)]
    assert list(tiles_at(0)) == []


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000])
def test_tiles_and_edge_are_all_the_tiles_of_a_tree(size: int) -> None:
    builder, filled = built(size)
    partial = [TileName(level, size >> 8 * (level + 1), len(row)) for level, row in enumerate(builder.edge) if row]
    assert sorted([*partial, *(TileName(tile.level, tile.n, WIDTH) for tile in filled)]) == sorted(tiles_at(size))
    for tile in filled:
        span = WIDTH**tile.level
        places = [(tile.n * WIDTH + at) * span for at in range(WIDTH)]
        assert parse_tile(tile.hashes) == tuple([naive_root(place, place + span) for place in places])


class Regular:
    """A log in which leaf i holds i modulo 256: any tile of a row is the same, so that a large one costs nothing."""

    def __init__(self, *, tiled: bool = True) -> None:
        self._tiled = tiled
        self.rows = [[hashlib.sha256(b"\x00%d" % number).digest() for number in range(WIDTH)]]
        while len(self.rows) < 4:
            self.rows.append([merkle.root_of(self.rows[-1])] * WIDTH)
        self.reads = 0

    def find_tile(self, level: int, n: int) -> bytes | None:
        assert n >= 0
        self.reads += 1
        return b"".join(self.rows[level]) if self._tiled else None

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        self.reads += 1
        return [self.rows[0][at % WIDTH] for at in range(start, stop)]


def test_a_proof_out_of_ten_million_reads_a_few_tiles() -> None:
    size = 10_000_000
    reader = Regular()
    whole = HashTree(reader, size)
    root, edge = whole.root_at(size), whole.edge()
    assert reader.reads <= 304  # 152 of the second row, 150 of the first, once
    for index in (0, 4_711_000, size - 1):
        reader.reads = 0
        leaf = reader.rows[0][index % WIDTH]
        assert merkle.is_included(leaf, index, size, whole.inclusion_proof(index), root)
        assert reader.reads <= 2  # its leaves, and the tile above them
        fresh = HashTree(reader, size, edge)
        reader.reads = 0
        assert merkle.is_included(leaf, index, size, fresh.inclusion_proof(index), root)
        assert reader.reads <= 2
        reader.reads = 0
        assert merkle.is_consistent(index + 1, size, fresh.root_at(index + 1), root, fresh.consistency_proof(index + 1))
        assert reader.reads <= 2


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 70_000, 131_072, 131_329])
@pytest.mark.parametrize("tiled", [True, False])
def test_trees_of_three_rows_are_those_of_merkle(size: int, *, tiled: bool) -> None:
    leaves = many()[:size]
    builder = TileBuilder()
    reader = Kept(leaves, builder.extend(leaves) if tiled else ())
    whole = merkle.Tree()
    whole.extend(leaves)
    tree = HashTree(reader, size)
    assert tree.root_at(size) == whole.root()
    for at in (0, 255, 256, 65_534, size // 3, size - 1):
        assert merkle.is_included(leaves[at], at, size, tree.inclusion_proof(at), whole.root())
        assert tree.leaf(at) == leaves[at]
        begun = merkle.root_of(leaves[: at + 1])
        assert tree.root_at(at + 1) == begun
        assert merkle.is_consistent(at + 1, size, begun, whole.root(), tree.consistency_proof(at + 1))
    if tiled:
        assert tree.edge() == builder.edge
        assert builder.root() == whole.root()


@cache
def many() -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(131_329)]


def test_tiles_that_were_filled_later_serve_a_smaller_tree() -> None:
    """A store goes on growing while a proof for an older checkpoint is made."""
    for size in (1, 255, 256, 300, 600, 1023):
        assert HashTree(Kept(LEAVES, ALL), size).edge() == built(size)[0].edge


def test_reading_without_tiles_remembers_no_more_than_a_few() -> None:
    tree = HashTree(Regular(tiled=False), 300_000)
    assert tree.root_at(300_000) == HashTree(Regular(), 300_000).root_at(300_000)
    assert len(tree._tiles) <= 64
    assert len(tree._single) <= 300_000 // WIDTH + 10


def test_what_is_beyond_the_tree_is_refused() -> None:
    tree = HashTree(Kept(LEAVES), 10)
    with pytest.raises(IndexError, match="no tree of size 11 in one of size 10"):
        tree.root_at(11)
    with pytest.raises(IndexError, match="no leaf 10 in a tree of size 10"):
        tree.inclusion_proof(10)
    with pytest.raises(IndexError, match="no leaf 10 in a tree of size 10"):
        tree.leaf(10)
    with pytest.raises(IndexError, match="no tree of size 12 in one of size 10"):
        tree.inclusion_proof(3, 12)
    with pytest.raises(IndexError, match="no tree of size 11 in one of size 10"):
        tree.consistency_proof(3, 11)
    with pytest.raises(IndexError, match="no tree of size 9 in one of size 8"):
        tree.consistency_proof(9, 8)


def test_an_edge_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a tree of size 3 has no edge of"):
        TileBuilder(3, [[LEAVES[0]] * 2])
    with pytest.raises(ValueError, match="a tree of size 257 has no such edge"):
        HashTree(Kept(LEAVES), 257, [[LEAVES[0]]])


def test_a_reader_that_gives_too_little_is_found() -> None:
    with pytest.raises(IntegrityBroken, match="the leaf hashes 0 up to 20 are not all there"):
        HashTree(Kept(LEAVES[:12]), 20).root_at(20)
    with pytest.raises(IntegrityBroken, match="the leaf hashes 0 up to 2 are not all there"):
        HashTree(Kept([b"short", LEAVES[0]]), 2).root_at(2)
    with pytest.raises(IntegrityBroken, match="`tile/0/000` has 31 bytes in place of 8192"):
        HashTree(Kept(LEAVES, [Tile(0, 0, bytes(31))]), 256).root_at(256)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tile/0/000", TileName(0, 0, 256)),
        ("tile/0/x001/x234/067", TileName(0, 1234067, 256)),
        ("tile/63/999.p/1", TileName(63, 999, 1)),
        ("tile/1/x001/000.p/255", TileName(1, 1000, 255)),
        ("tile/entries/x001/x234/067.p/17", TileName(None, 1234067, 17)),
        ("tile/entries/000", TileName(None, 0, 256)),
    ],
)
def test_a_tile_has_one_path(path: str, name: TileName) -> None:
    assert parse_tile_path(path) == name
    assert path_of(name) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/x234",
        "tile/0/x001/x234/x067",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/../000",
        "tile/0/\u0660\u0660\u0660",
        "tile/Entries/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x000/" * 50 + "000",
    ],
)
def test_another_spelling_is_no_path(path: str) -> None:
    with pytest.raises(IntegrityBroken, match="is not"):
        parse_tile_path(path)


@given(st.text("tile/0123456789xp.entris", max_size=40))
def test_a_path_is_read_as_it_is_written_or_not_at_all(path: str) -> None:
    try:
        name = parse_tile_path(path)
    except IntegrityBroken:
        return
    assert path_of(name) == path


@given(st.integers(0, 63) | st.none(), st.integers(0, 2**64 - 1), st.integers(1, 256))
def test_every_tile_finds_its_way_back(level: int | None, n: int, width: int) -> None:
    assert parse_tile_path(path_of(TileName(level, n, width))) == (level, n, width)


@pytest.mark.parametrize(("level", "n", "width"), [(64, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (0, 2**64, 256)])
def test_there_are_no_paths_outside_the_format(level: int, n: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"no (level|tile) .* in tlog-tiles"):
        tile_path(level, n, width)
    if 0 <= level < 64:
        with pytest.raises(ValueError, match=r"no tile .* in tlog-tiles"):
            entries_path(n, width)


@given(st.lists(st.binary(max_size=40), max_size=WIDTH))
def test_entries_come_back_from_their_bundle(entries: list[bytes]) -> None:
    assert parse_entries(encode_entries(entries), len(entries)) == tuple(entries)


def test_a_bundle_is_length_and_bytes() -> None:
    assert encode_entries([b"ab", b"", bytes(300)]) == b"\x00\x02ab\x00\x00\x01\x2c" + bytes(300)
    assert parse_entries(encode_entries([bytes(65_535)]), 1) == (bytes(65_535),)
    with pytest.raises(IntegrityBroken, match="an entry of 65536 bytes is over the limit of 65535"):
        encode_entries([bytes(65_536)])


@pytest.mark.parametrize(
    ("bundle", "width", "message"),
    [
        (b"\x00", 1, "a bundle of entries is cut in its entry 0, at byte 0"),
        (b"\x00\x01a\x00\x03ab", 2, "a bundle of entries is cut in its entry 1, at byte 3"),
        (b"\x00\x01a", 2, "a bundle of 2 entries holds 1"),
        (b"\x00\x01a\x00\x00", 1, "a bundle of 1 entries holds 2"),
        (b"", 256, "a bundle of 256 entries holds 0"),
    ],
)
def test_a_malformed_bundle_is_refused(bundle: bytes, width: int, message: str) -> None:
    with pytest.raises(IntegrityBroken, match=message):
        parse_entries(bundle, width)


@given(st.binary(max_size=600), st.integers(1, 256))
def test_any_bytes_are_a_bundle_or_refused(unverified: bytes, width: int) -> None:
    try:
        entries = parse_entries(unverified, width)
    except IntegrityBroken:
        return
    assert encode_entries(entries) == unverified


@pytest.mark.parametrize(("length", "width"), [(0, 1), (31, 1), (33, 1), (64, 1), (TILE_BYTES, 255), (TILE_BYTES - 1, 256)])
def test_a_tile_of_another_length_is_refused(length: int, width: int) -> None:
    with pytest.raises(IntegrityBroken, match=f"a tile of {width} hashes has {width * 32} bytes, not {length}"):
        parse_tile(bytes(length), width)
