"""A whole ledger as tlog-tiles in a folder, with all that a verifier needs but one key.

    PATH/head/...                            the head log, under its newest signed checkpoint
    PATH/logs/<log, percent-encoded>/...     each log, under a checkpoint of its own
    PATH/trust.json                          origin, keys with their endorsements, and which key signs which folder

Rules:

1. Everything is as of one moment, and the head log covers it: the root of each log is an entry of the head log.
2. A folder is gone on with, never overwritten (ledger/tile_folder.py). A crash leaves each log as it was before or as it is now.
3. `trust.json` is written last, in one step. Nobody need believe it: who verifies brings a key along (ledger/tile_trust.py).
4. An export of one log has no head log, which would tell of the others. It shows what the ledger's key has signed, and no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from licet.errors import IntegrityBroken, OperatorError
from licet.ledger.note import Verifier
from licet.ledger.signing import SigningKeys
from licet.ledger.source import Source, TreeState
from licet.ledger.tile_folder import Written, write_tiles
from licet.ledger.tile_trust import HEAD, LOGS, TRUST, TRUST_VERSION, TiledLog, TrustedKey, TrustFile, folder_of, key_of_log
from licet.store.contract import LogState, SigningKey, Store, StoredCheckpoint

_CHUNK = 1_024
_MODE = 0o700

Step = Callable[[int], None]
"""Told how many entries more have been written."""


def export_tiles(
    path: Path, store: Store, source: Source, signing: SigningKeys, *, head: StoredCheckpoint | None, step: Step = lambda _: None
) -> tuple[Written, ...]:
    """The folder holds every log of the source, and the head log up to the checkpoint `head`, which was taken before the source was.

    Raises `OperatorError` for a folder that holds something else or cannot be written, `IntegrityBroken` where records are not those that
    were hashed, `LookupError` when nothing was ever signed.
    """
    keys = store.signing_keys()
    origin = store.head().origin
    _make_folder(path)
    written = []
    if head is not None:
        written.append(write_tiles(path / HEAD, head.note, lambda start, stop: _head_entries(store, start, stop)))
    logs = []
    for state in source.trees():
        note = signing.sign_log(LogState(state.log, state.size, state.compact_range))
        folder = f"{LOGS}/{folder_of(state.log)}"
        written.append(write_tiles(path / folder, note, _entries(source, state, step)))
        logs.append(TiledLog(state.log, folder, key_of_log(origin, state.log, Verifier.parse(keys[-1].vkey)).vkey))
    _write_trust(path, TrustFile(TRUST_VERSION, origin, _trusted(keys), None if head is None else HEAD, tuple(logs)))
    return tuple(written)


def _make_folder(path: Path) -> None:
    """A folder of ours: new, empty, or one of an earlier export."""
    try:
        path.mkdir(mode=_MODE, parents=True, exist_ok=True)
        others = {entry.name for entry in path.iterdir()} - {HEAD, LOGS, TRUST, f"{TRUST}.new"}
    except OSError as error:
        raise OperatorError(f"`{path}` cannot be written: {error.strerror}") from error
    if others:
        raise OperatorError(f"`{path}` holds something else than an export of tiles, and nothing is overwritten: choose another folder")


def _entries(source: Source, state: TreeState, step: Step) -> Callable[[int, int], Iterable[bytes]]:
    def entries(start: int, stop: int) -> Iterable[bytes]:
        step(start)  # these are there from an earlier export
        for rows in source.rows(state.log, start, stop):
            for row in rows:
                if not isinstance(row[4], bytes):
                    raise IntegrityBroken(f"record {row[0]} of log `{state.log}` cannot be read; run `licet audit verify`")
                yield row[4]
            step(len(rows))

    return entries


def _head_entries(store: Store, start: int, stop: int) -> Iterable[bytes]:
    for first in range(start, stop, _CHUNK):
        yield from store.head_entries(first, min(first + _CHUNK, stop))


def _trusted(keys: Sequence[SigningKey]) -> tuple[TrustedKey, ...]:
    return tuple([TrustedKey(key.vkey, None if key.endorsement is None else key.endorsement.decode()) for key in keys])


def _write_trust(path: Path, trust: TrustFile) -> None:
    writing = path / f"{TRUST}.new"
    try:
        writing.unlink(missing_ok=True)
        with os.fdopen(os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(trust), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        writing.replace(path / TRUST)
    except OSError as error:
        raise OperatorError(f"`{path}` cannot be written: {error.strerror}") from error
