"""The trees over HTTP as C2SP tlog-tiles: a prefix for each log and one for the head log, with a checkpoint and tiles below it.

Rules:

1. The prefix of a log is for whoever may prove in it, that of the head log, which tells of every log, for whoever may prove in the
   installation. Bundles of entries hold envelopes: they need permission to read records, and each look is recorded as a reading.
2. A tile has one spelling (`ledger/tiles.py`), and a full one never changes. What the tree does not have yet is not there.
3. Nothing here need be believed: every tile leads to a root that was signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.errors import IntegrityBroken
from licet.ledger.proving import LogTiles, NotCovered, newest_checkpoint
from licet.ledger.tiles import WIDTH, HashTree, TileName, encode_entries, parse_tile_path
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, not_found
from licet.server.proofs import index_tiles
from licet.server.records import note_reading
from licet.server.shapes_records import Name
from licet.store.contract import LogState

OCTETS: Final = "application/octet-stream"
NOTE: Final = "text/plain; charset=utf-8"
_FULL: Final = (("Cache-Control", "private, max-age=31536000, immutable"),)
TilePath = Annotated[str, Meta(min_length=1, max_length=100)]


class OneLog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which log."""

    log: Name


class OneTile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tile of a log: `0/000`, `entries/x001/234.p/5` ..."""

    log: Name
    tile: TilePath


class OneHeadTile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tile of the head log."""

    tile: TilePath


def log_checkpoint(asked: Asked) -> Answer:
    """The checkpoint of a log of its own, as it is now."""
    asked.allow("records.prove", asked.params.log)
    try:
        note = asked.gate.ledger.signing.sign_log(_state(asked))
    except LookupError as error:
        raise Problem("not_covered", f"{error}; what is written is signed within a second", status=409) from error
    return Answer(content=note, media_type=NOTE)


def log_tile(asked: Asked) -> Answer:
    """A tile of a log, or a bundle of its entries."""
    log = asked.params.log
    asked.allow("records.prove", log)
    name = _name(asked.params.tile)
    state = _state(asked)
    with asked.gate.ledger.store.source() as source:
        if name.level is not None:
            return _tile(LogTiles(source, log, index_tiles(asked)).tree(state.size), name)
        asked.allow("records.read", log)
        start, stop = _entries(name, state.size)
        envelopes = [row[4] for rows in source.rows(log, start, stop) for row in rows]
    note_reading(asked, "tiles", {"entries": f"{start}-{stop - 1}"}, (log,), shown=len(envelopes), payloads=False)
    return _bundle(envelopes, name)


def head_checkpoint(asked: Asked) -> Answer:
    """The newest checkpoint of the head log."""
    asked.allow("records.prove", OPERATOR_LOG)
    try:
        return Answer(content=newest_checkpoint(asked.gate.store).note, media_type=NOTE)
    except NotCovered as error:
        raise Problem("not_covered", f"{error}; what is written is signed within a second", status=409) from error


def head_tile(asked: Asked) -> Answer:
    """A tile of the head log, or a bundle of its entries."""
    asked.allow("records.prove", OPERATOR_LOG)
    store, name = asked.gate.store, _name(asked.params.tile)
    size = store.head().size
    if name.level is not None:
        return _tile(HashTree(store, size), name)
    return _bundle(store.head_entries(*_entries(name, size)), name)


def _state(asked: Asked) -> LogState:
    found = next((state for state in asked.gate.store.logs() if state.log == asked.params.log), None)
    if found is None:
        raise not_found()
    return found


def _name(tile: str) -> TileName:
    try:
        return parse_tile_path(f"tile/{tile}")
    except IntegrityBroken as error:
        raise not_found() from error


def _entries(name: TileName, size: int) -> tuple[int, int]:
    start = name.n * WIDTH
    if not 0 < name.width <= WIDTH or start + name.width > size:
        raise not_found()
    return start, start + name.width


def _tile(tree: HashTree, name: TileName) -> Answer:
    assert name.level is not None
    try:
        content = tree.tile(name.level, name.n, name.width)
    except IndexError as error:
        raise not_found() from error
    return Answer(content=content, media_type=OCTETS, headers=_FULL if name.width == WIDTH else ())


def _bundle(entries: Sequence[bytes], name: TileName) -> Answer:
    if len(entries) != name.width:
        raise IntegrityBroken(f"bundle {name.n} is not whole; run `licet audit verify`")
    return Answer(content=encode_entries(entries), media_type=OCTETS, headers=_FULL if name.width == WIDTH else ())


_TAG = "proofs"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/tiles/logs/{log}/checkpoint",
        operation="getLogCheckpoint",
        summary="The checkpoint of one log's own tree (C2SP tlog-checkpoint)",
        tag=_TAG,
        action="records.prove",
        handler=log_checkpoint,
        params=OneLog,
        media_type=NOTE,
        statuses=(409,),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tiles/logs/{log}/tile/{tile:path}",
        operation="getLogTile",
        summary="A tile of one log, or a bundle of its envelopes (C2SP tlog-tiles)",
        tag=_TAG,
        action="records.prove",
        handler=log_tile,
        params=OneTile,
        media_type=OCTETS,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tiles/head/checkpoint",
        operation="getHeadCheckpoint",
        summary="The newest checkpoint of the head log (C2SP tlog-checkpoint)",
        tag=_TAG,
        action="records.prove",
        handler=head_checkpoint,
        media_type=NOTE,
        statuses=(409,),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tiles/head/tile/{tile:path}",
        operation="getHeadTile",
        summary="A tile of the head log, or a bundle of its entries (C2SP tlog-tiles)",
        tag=_TAG,
        action="records.prove",
        handler=head_tile,
        params=OneHeadTile,
        media_type=OCTETS,
    ),
)
