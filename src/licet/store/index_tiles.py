"""Merkle tiles that are full (C2SP tlog-tiles), so that a proof at any size reads a few of them and not every leaf.

Tiles of level 0 are the ledger's own leaves, and are not kept a second time. What is above them is 1/256 of the leaves. The tiles that are
not full yet (`TileBuilder.edge`) stand in the log's row.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from licet.ledger.merkle import HASH_BYTES
from licet.ledger.tiles import HEIGHT, Edge, TileBuilder, edge_widths
from licet.store.sqlite_rows import fetch


def add_leaves(con: apsw.Connection, log: int, size: int, edge: bytes, leaves: Sequence[bytes]) -> bytes:
    """The tiles that these leaves fill are kept, and what is the edge now. Part of the caller's transaction."""
    builder = TileBuilder(size, unpack_edge(size, edge))
    kept = [(log, tile.level, tile.n, tile.hashes) for tile in builder.extend(leaves) if tile.level]
    if kept:
        con.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", kept)
    return b"".join([node for row in builder.edge for node in row])


def unpack_edge(size: int, edge: bytes) -> Edge:
    """The rows of an edge, whose widths are the digits of the size to the base 256."""
    rows, at = [], 0
    for width in edge_widths(size):
        rows.append(tuple([edge[start : start + HASH_BYTES] for start in range(at, at + width * HASH_BYTES, HASH_BYTES)]))
        at += width * HASH_BYTES
    return tuple(rows)


def find_tile(con: apsw.Connection, log: str, level: int, n: int) -> bytes | None:
    """A full tile above the leaves; None where there is none."""
    found = con.execute(
        "SELECT hashes FROM tiles WHERE log = (SELECT number FROM logs WHERE name = ?) AND level = ? AND n = ?", (log, level, n)
    ).get
    return found if isinstance(found, bytes) else None


def find_edge(con: apsw.Connection, log: str, size: int) -> Edge | None:
    """What the tree of the first `size` leaves has above them in tiles that are not full, its lowest row empty; None where it is not kept.

    Of a log that has grown since, they are beginnings of tiles that have grown, and may be full by now.
    """
    row = fetch(con, "SELECT next, edge FROM logs WHERE name = ?", (log,))
    if not row or row[0][0] < size:
        return None
    grown, kept = row[0][0], unpack_edge(*row[0])
    rows: list[tuple[bytes, ...]] = [()]
    for level, width in enumerate(edge_widths(size)[1:], start=1):
        n = size >> HEIGHT * (level + 1)
        if n == grown >> HEIGHT * (level + 1):
            hashes = kept[level]
        elif not width:
            hashes = ()
        else:
            tile = find_tile(con, log, level, n)
            if tile is None:
                return None
            hashes = tuple([tile[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)])
        rows.append(hashes[:width])
    return tuple(rows)
