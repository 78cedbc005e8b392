"""A tree as C2SP tlog-tiles: rows of 256 hashes that never change once they are full, from which every root and proof is computed.

    tile/<L>/<N>            256 hashes: number i is the root over the 256**L leaves from (256 N + i) * 256**L on
    tile/<L>/<N>.p/<W>      the first W of them, while the tree has no more (1 <= W <= 255)
    tile/entries/<N>[.p/<W>]  the entries themselves, each behind its length (two bytes, the larger one first)
    <N>                     three digits a folder, all but the last behind an `x`: 1234067 is x001/x234/067

Rules:

1. Nothing here reads a file or a store: hashes come from a `TileReader`. What it hands out is believed, for a proof shows by itself whether
   it leads to a signed root; only its form is checked, and `IntegrityBroken` says what is malformed.
2. A tile that is not kept is computed from the row below, at last from the leaves: tiles make proofs fast, and are never the only copy.
3. Parsers accept exactly what the functions beside them write: one spelling for one tile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from licet.errors import IntegrityBroken
from licet.ledger.merkle import EMPTY_ROOT, HASH_BYTES, Tree, consistency_path, inclusion_path, node_hash, root_of

WIDTH = 256
"""Hashes in a full tile (tlog-tiles fixes it)."""

HEIGHT = 8
"""Levels of the tree from one row of tiles to the next: 2**8 is `WIDTH`."""

TILE_BYTES = WIDTH * HASH_BYTES
LEVEL_LIMIT = 63
ENTRY_LIMIT_BYTES = 65_535
_TILES_KEPT = 64  # half a megabyte; one proof at ten million leaves touches three or four
_TILE = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?", re.ASCII)  # 21 digits: over 2**64

Edge: TypeAlias = tuple[tuple[bytes, ...], ...]
"""The hashes of the tiles that are not full yet, row by row from the leaves up; a row may be empty, the last one is not."""


class TileReader(Protocol):
    """Where the hashes of one log are kept."""

    def find_tile(self, level: int, n: int) -> bytes | None:
        """The 256 hashes of a full tile (8,192 bytes); None where it is not kept."""
        ...

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        """The leaf hashes from `start` up to `stop`, which are at most 256."""
        ...


class TileName(NamedTuple):
    """Which tile: its level (None for entries), its number in that row, and how many hashes or entries it holds."""

    level: int | None
    n: int
    width: int


class Tile(NamedTuple):
    """A finished tile: 256 hashes (8,192 bytes)."""

    level: int
    n: int
    hashes: bytes


# -- paths and contents


def tile_path(level: int, n: int, width: int = WIDTH) -> str:
    """Where a tile lies below the log's prefix. Raises `ValueError` outside the limits of the format."""
    if not 0 <= level <= LEVEL_LIMIT:
        raise ValueError(f"no level {level} in tlog-tiles")
    return f"tile/{level}/{_number_path(n, width)}"


def entries_path(n: int, width: int = WIDTH) -> str:
    """Where a bundle of entries lies below the log's prefix. Raises `ValueError` outside the limits of the format."""
    return f"tile/entries/{_number_path(n, width)}"


def parse_tile_path(unverified: str) -> TileName:
    """The tile or bundle that this path means. Raises `IntegrityBroken` for anything that the two functions above do not write."""
    match = _TILE.fullmatch(unverified)
    if match is None:
        raise IntegrityBroken(f"`{unverified[:200]}` is not the path of a tile")
    row, number, width = match.groups()
    name = TileName(None if row == "entries" else int(row), int(number.replace("/", "").replace("x", "")), int(width or WIDTH))
    try:
        path = path_of(name)
    except ValueError as error:
        raise IntegrityBroken(f"`{unverified}` is not the path of a tile: {error}") from error
    if path != unverified:
        raise IntegrityBroken(f"`{unverified}` is not how the path `{path}` is written")
    return name


def path_of(name: TileName) -> str:
    """Where this tile or bundle lies below the log's prefix."""
    return entries_path(name.n, name.width) if name.level is None else tile_path(name.level, name.n, name.width)


def parse_tile(unverified: bytes, width: int = WIDTH) -> tuple[bytes, ...]:
    """The hashes of a tile of this width. Raises `IntegrityBroken` when it has another."""
    if len(unverified) != width * HASH_BYTES:
        raise IntegrityBroken(f"a tile of {width} hashes has {width * HASH_BYTES} bytes, not {len(unverified)}")
    return tuple([unverified[at : at + HASH_BYTES] for at in range(0, len(unverified), HASH_BYTES)])


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """The bundle of these entries. Raises `IntegrityBroken` for one that is longer than the format allows."""
    parts = []
    for entry in entries:
        if len(entry) > ENTRY_LIMIT_BYTES:
            raise IntegrityBroken(f"an entry of {len(entry)} bytes is over the limit of {ENTRY_LIMIT_BYTES}")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def parse_entries(unverified: bytes, width: int = WIDTH) -> tuple[bytes, ...]:
    """The entries of a bundle of this width. Raises `IntegrityBroken` when it is cut, or holds more or fewer."""
    entries: list[bytes] = []
    at = 0
    while at < len(unverified):
        start = at + 2
        stop = start + int.from_bytes(unverified[at:start], "big")
        if start > len(unverified) or stop > len(unverified):
            raise IntegrityBroken(f"a bundle of entries is cut in its entry {len(entries)}, at byte {at}")
        entries.append(unverified[start:stop])
        at = stop
    if len(entries) != width:
        raise IntegrityBroken(f"a bundle of {width} entries holds {len(entries)}")
    return tuple(entries)


def tiles_at(size: int) -> Iterator[TileName]:
    """Every tile of hashes that a tree of this size consists of, row by row, each partial one behind the full ones of its row."""
    level, count = 0, size
    while count:
        full, rest = divmod(count, WIDTH)
        yield from (TileName(level, n, WIDTH) for n in range(full))
        if rest:
            yield TileName(level, full, rest)
        level, count = level + 1, full


def _number_path(n: int, width: int) -> str:
    if not (0 <= n < 1 << 64 and 1 <= width <= WIDTH):
        raise ValueError(f"no tile {n} of width {width} in tlog-tiles")
    digits = str(n)
    digits = digits.zfill(len(digits) + -len(digits) % 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return path if width == WIDTH else f"{path}.p/{width}"


# -- building


class TileBuilder:
    """The rows of a tree that only grows: takes leaf hashes in order and gives each tile when its last hash has come.

    It goes on from `size` leaves with their `edge` (see `HashTree.edge`). Raises `ValueError` when the two do not belong together.
    """

    __slots__ = ("_rows", "size")

    def __init__(self, size: int = 0, edge: Sequence[Sequence[bytes]] = ()) -> None:
        if tuple(len(row) for row in edge) != edge_widths(size):
            raise ValueError(f"a tree of size {size} has no edge of {[len(row) for row in edge]} hashes")
        self.size = size
        self._rows = [list(row) for row in edge]

    @property
    def edge(self) -> Edge:
        """The hashes of the tiles that are not full yet."""
        rows = [tuple(row) for row in self._rows]
        while rows and not rows[-1]:
            rows.pop()
        return tuple(rows)

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Many leaf hashes at the end, in order; the tiles of every level that this filled, lower ones first."""
        filled: list[Tile] = []
        at = 0
        while at < len(leaves):
            row = self._row(0)
            taken = leaves[at : at + WIDTH - len(row)]
            row += taken
            at += len(taken)
            self.size += len(taken)
            if len(row) == WIDTH:
                self._close(filled)
        return filled

    def root(self) -> bytes:
        """The root hash over all leaves so far."""
        return _edge_root(self._rows)

    def _close(self, filled: list[Tile]) -> None:
        """Hand the full rows up: the root of each is one hash of the row above, which may be filled by it."""
        level = 0
        while len(row := self._row(level)) == WIDTH:
            filled.append(Tile(level, (self.size >> HEIGHT * (level + 1)) - 1, b"".join(row)))
            self._row(level + 1).append(root_of(row))
            row.clear()
            level += 1

    def _row(self, level: int) -> list[bytes]:
        if level == len(self._rows):
            self._rows.append([])
        return self._rows[level]


def edge_widths(size: int) -> tuple[int, ...]:
    """How many hashes each row's last, partial tile has: the digits of the size to the base 256, the smallest first."""
    return tuple(size.to_bytes((size.bit_length() + 7) // 8, "little"))


def _edge_root(rows: Sequence[Sequence[bytes]]) -> bytes:
    """The root over all leaves, from the compact ranges of the rows: each row's subtrees are 256 times as large as those below."""
    peaks: list[bytes] = []  # from small to large
    for row in rows:
        tree = Tree()
        tree.extend(row)
        peaks += reversed(tree.peaks)
    root = peaks[0] if peaks else EMPTY_ROOT
    for peak in peaks[1:]:
        root = node_hash(peak, root)
    return root


# -- reading


class HashTree:
    """The tree of the first `size` leaves: its roots and proofs, read through tiles.

    It is one moment of a log that grows: make a new one for a larger size. `edge`, where the caller has it (see `TileBuilder.edge`), saves
    reading up to 255 tiles a row for the tiles that are not full. Without it each is read once and remembered. Raises `ValueError` when
    the edge does not belong to the size. Not for several threads at once.
    """

    def __init__(self, reader: TileReader, size: int, edge: Sequence[Sequence[bytes]] | None = None) -> None:
        if size < 0 or (edge is not None and tuple(len(row) for row in edge) != edge_widths(size)):
            raise ValueError(f"a tree of size {size} has no such edge")
        self.size = size
        self._reader = reader
        self._tiles: dict[tuple[int, int], bytes | None] = {}
        self._single: dict[tuple[int, int], bytes] = {}  # hashes of the edge and of tiles that are not kept, by row and place
        for level, row in enumerate(edge or ()):
            first = size >> HEIGHT * (level + 1) << HEIGHT
            self._single |= {(level, first + at): node for at, node in enumerate(row)}

    def root_at(self, size: int) -> bytes:
        """The root of the first `size` leaves. Raises `IndexError` beyond the tree."""
        if not 0 <= size <= self.size:
            raise IndexError(f"no tree of size {size} in one of size {self.size}")
        return self._range(0, size) if size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """The hash of leaf `index` (32 bytes). Raises `IndexError` beyond the tree."""
        if not 0 <= index < self.size:
            raise IndexError(f"no leaf {index} in a tree of size {self.size}")
        return self._hashes(0, index, index + 1)[0]

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The audit path of leaf `index` in the tree of the first `size` leaves, or of all. Raises `IndexError`."""
        size = self.size if size is None else size
        self._holds(size)
        return inclusion_path(index, size, self._range)

    def consistency_proof(self, first: int, second: int | None = None) -> tuple[bytes, ...]:
        """The proof that the tree of size `first` is a beginning of the one of size `second`, or of all. Raises `IndexError`."""
        second = self.size if second is None else second
        self._holds(second)
        return consistency_path(first, second, self._range)

    def edge(self) -> Edge:
        """The hashes of the tiles that are not full yet: what a `TileBuilder` goes on from."""
        rows = []
        for level, width in enumerate(edge_widths(self.size)):
            first = self.size >> HEIGHT * (level + 1) << HEIGHT
            rows.append(tuple(self._hashes(level, first, first + width)) if width else ())
        return tuple(rows)

    def tile(self, level: int, n: int, width: int) -> bytes:
        """The first `width` hashes of a tile. Raises `IndexError` where the tree does not have so many there."""
        if not 0 < width <= WIDTH or (n * WIDTH + width) << HEIGHT * level > self.size:
            raise IndexError(f"a tree of size {self.size} has no `{tile_path(level, n, min(width, WIDTH))}`")
        return b"".join(self._hashes(level, n * WIDTH, n * WIDTH + width))

    def _holds(self, size: int) -> None:
        if size > self.size:
            raise IndexError(f"no tree of size {size} in one of size {self.size}")

    def _range(self, start: int, stop: int) -> bytes:
        """The root over these leaves, which are one subtree: of perfect ones from large to small."""
        height = (stop - start).bit_length() - 1
        if stop - start == 1 << height:
            return self._subtree(height, start)
        middle = start + (1 << height)
        return node_hash(self._subtree(height, start), self._range(middle, stop))

    def _subtree(self, height: int, start: int) -> bytes:
        """The root of the perfect subtree of 2**height leaves from `start` on: from hashes of the highest row that it is made of."""
        level, above = divmod(height, HEIGHT)
        first = start >> HEIGHT * level
        return root_of(self._hashes(level, first, first + (1 << above)))

    def _hashes(self, level: int, first: int, last: int) -> Sequence[bytes]:
        """The hashes from `first` up to `last` of a row, all within one tile."""
        places = range(first, last)
        if all((level, at) in self._single for at in places):
            return [self._single[level, at] for at in places]
        n, skipped = divmod(first, WIDTH)
        tile = self._find_tile(level, n)
        if tile is not None:
            return [tile[at : at + HASH_BYTES] for at in range(skipped * HASH_BYTES, (skipped + len(places)) * HASH_BYTES, HASH_BYTES)]
        return [self._from_below(level, at) for at in places]

    def _from_below(self, level: int, at: int) -> bytes:
        """One hash of a row above the leaves: the root over the tile below it."""
        if (level, at) not in self._single:
            self._single[level, at] = root_of(self._hashes(level - 1, at * WIDTH, (at + 1) * WIDTH))
        return self._single[level, at]

    def _find_tile(self, level: int, n: int) -> bytes | None:
        """The tile where it is kept, and for leaves always; remembered, for one proof takes eight hashes out of each."""
        if (level, n) not in self._tiles:
            full = (n + 1) << HEIGHT * (level + 1) <= self.size
            tile = self._reader.find_tile(level, n) if full else None
            if tile is None and level == 0:
                tile = self._leaves(n * WIDTH, min(self.size, (n + 1) * WIDTH))
            elif tile is not None and len(tile) != TILE_BYTES:
                raise IntegrityBroken(f"`{tile_path(level, n)}` has {len(tile)} bytes in place of {TILE_BYTES}")
            if len(self._tiles) == _TILES_KEPT:
                self._tiles.pop(next(iter(self._tiles)))
            self._tiles[level, n] = tile
        return self._tiles[level, n]

    def _leaves(self, start: int, stop: int) -> bytes:
        leaves = self._reader.leaves(start, stop)
        if len(leaves) != stop - start or any(len(leaf) != HASH_BYTES for leaf in leaves):
            raise IntegrityBroken(f"the leaf hashes {start} up to {stop} are not all there")
        return b"".join(leaves)
