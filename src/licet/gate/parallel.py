"""Examining a ledger's rows in several processes: the part of a verification that needs no memory of what came before.

Rules:

1. What a worker says is what `ledger/verify.py` says of the same rows; what joins rows to logs, requests and heads is done by one process.
2. Each worker reads the ledger by itself, at one moment of its own, which is later than the one that is verified: up to the end of a tree
   it reads the same rows, and behind it only what belongs to no tree at its moment either. Others went on writing meanwhile.
3. A worker that dies ends the verification with an error, never with fewer problems.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from licet.config import Settings
from licet.errors import KeyUnavailable, StoreUnavailable
from licet.ledger.examine import Examined, examine_log
from licet.ledger.keys import load_keys
from licet.ledger.source import Source, TreeState
from licet.ledger.verify import Chunks
from licet.store.opening import Place, open_store, place_of

WORTH_WORKERS = 200_000
"""Records. A worker takes a third of a second to start; below this, one process is done sooner."""
ROWS = 4_096
_AHEAD = 3
"""Ranges that each worker may be ahead of who joins them: enough to keep it busy, few enough to keep memory small."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Examined]).decode
_source: Source | None = None
_moment = ExitStack()
"""Of a worker: its source, which is one moment only for as long as it is held."""


@contextmanager
def examining(settings: Settings, records: int, workers: int | None = None) -> Iterator[Chunks | None]:
    """Who examines the rows of the settings' ledger; None where one process is enough. Raises `StoreUnavailable` where a worker dies."""
    count = workers if workers is not None else (os.cpu_count() or 1) if records >= WORTH_WORKERS else 1
    if count < 2:  # noqa: PLR2004  one is this one
        yield None
        return
    folder = settings.file.parent if settings.file is not None else Path()
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _open, (place_of(settings), settings.keys, str(folder)))
    try:
        yield lambda state: _examined(pool, state, count * _AHEAD)
    finally:
        pool.shutdown(cancel_futures=True)


def _examined(pool: ProcessPoolExecutor, state: TreeState, window: int) -> Iterator[Examined]:
    """The log's rows, in order: up to the end of its tree by ranges, and what lies behind it in one."""
    starts = iter(range(0, state.size, ROWS))
    running: deque[Future[bytes]] = deque()
    try:
        while True:
            while len(running) < window and (start := next(starts, None)) is not None:
                running.append(pool.submit(_examine, state.log, start, min(start + ROWS, state.size)))
            if not running:
                break
            yield from _decode(running.popleft().result())
        yield from _decode(pool.submit(_examine_rest, state.log, state.size).result())
    except BrokenProcessPool as error:
        raise StoreUnavailable("a process that verified a part of the ledger ended before it was done; try again") from error


def _open(place: Place, keys: str, folder: str) -> None:
    """In a worker: the ledger at the moment at which it began."""
    global _source  # noqa: PLW0603  a worker has one ledger, and nothing else to hold it by
    try:
        found = load_keys(keys, folder=Path(folder))
    except KeyUnavailable:
        found = None
    opened = open_store(place, now=lambda: datetime.now(UTC), keys=found, create=False, read_only=True)
    _source = _moment.enter_context(opened.source())


def _examine(log: str, start: int, stop: int | None) -> bytes:
    """In a worker: these rows, examined."""
    assert _source is not None
    return _encode(list(examine_log(_source, log, start, stop)))


def _examine_rest(log: str, size: int) -> bytes:
    """In a worker: the rows behind the end of the log's tree, which had this size when it was verified and may have grown since."""
    assert _source is not None
    return _examine(log, max([size, *(tree.size for tree in _source.trees() if tree.log == log)]), None)
