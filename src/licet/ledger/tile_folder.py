"""One log as tlog-tiles in a folder: `checkpoint`, `tile/<L>/<N>[.p/<W>]` and `tile/entries/<N>[.p/<W>]`, for any tool or web server.

Rules:

1. The checkpoint is replaced last, in one step, when everything that it covers is on disk. After a crash the folder is what it was, with
   files beside it that no checkpoint covers, perhaps torn; the next export replaces them.
2. A file that the standing checkpoint covers is never written again. A partial tile goes only when the full one is there and covered.
3. One log to a folder, and it only grows: another origin or a smaller tree is refused, and nothing is touched.
4. The new tree is computed from the entries. It must pass through the root of the standing checkpoint and end in that of the new one, or
   the standing checkpoint stays.

Not guaranteed: that the files of an earlier export are still what was written. `verify_tiles` reads them all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from licet.errors import IntegrityBroken, OperatorError
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.note import text_of
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import (
    ENTRY_LIMIT_BYTES,
    HEIGHT,
    WIDTH,
    Edge,
    TileBuilder,
    TileName,
    encode_entries,
    parse_entries,
    parse_tile,
    path_of,
    tile_path,
    tiles_at,
)

CHECKPOINT = "checkpoint"
WRITING = ".writing"
"""The one file that is being written; it is renamed when it is complete."""
_READ_LIMIT_BYTES = WIDTH * (ENTRY_LIMIT_BYTES + 2) + 1
"""Longer than anything well-formed, so that a file which is too long is seen to be."""

Entries: TypeAlias = Callable[[int, int], Iterable[bytes]]
"""The entries of a log from one index up to another, in order: envelopes, or entries of the head log."""


class Written(Struct, frozen=True):
    """What an export did: the tree that stood there before, the one that stands now, and the files that are new."""

    origin: str
    old_size: int
    size: int
    files: int


class TileFolder:
    """A folder of tiles as a `TileReader`, up to `size` entries. Nothing it reads is verified; `IntegrityBroken` says what is amiss."""

    def __init__(self, folder: Path, size: int = 0) -> None:
        self.folder = folder
        self.size = size

    def find_checkpoint(self) -> bytes | None:
        """The signed note that stands there."""
        return self.find(CHECKPOINT)

    def find_tile(self, level: int, n: int) -> bytes | None:
        """The 256 hashes of a full tile; None where there is none."""
        return self.find(tile_path(level, n))

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        """The leaf hashes from `start` up to `stop`, computed from the entries."""
        return [leaf_hash(entry) for entry in self.entries(start, stop)]

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The entries from `start` up to `stop`. Raises `IndexError` beyond the size."""
        if stop > self.size:
            raise IndexError(f"no entry {stop - 1} in a log of size {self.size}")
        for n in range(start // WIDTH, -(-stop // WIDTH)):
            first = n * WIDTH
            bundle = self._get(TileName(None, n, min(self.size - first, WIDTH)), parse_entries)
            yield from bundle[max(start - first, 0) : stop - first]

    def edge(self) -> Edge:
        """The hashes of the tiles that are not full."""
        rows: list[tuple[bytes, ...]] = []
        for name in tiles_at(self.size):
            level = name.level or 0
            rows += [()] * (level + 1 - len(rows))
            if name.width < WIDTH:
                rows[level] = self._get(name, parse_tile)
        while rows and not rows[-1]:
            rows.pop()
        return tuple(rows)

    def find(self, path: str) -> bytes | None:
        """The bytes of a file below the folder; None where there is none, or something that is no file."""
        target = self.folder / path
        try:
            if not target.is_file():  # a pipe would never end
                return None
            with target.open("rb") as file:
                length = os.fstat(file.fileno()).st_size
                return file.read(min(length, _READ_LIMIT_BYTES))
        except OSError as error:
            raise OperatorError(f"`{target}` cannot be read: {error.strerror}") from error

    def _get(self, name: TileName, parse: Callable[[bytes, int], tuple[bytes, ...]]) -> tuple[bytes, ...]:
        path = path_of(name)
        data = self.find(path)
        if data is None:
            raise IntegrityBroken(f"`{path}` is missing in `{self.folder}`")
        try:
            return parse(data, name.width)
        except IntegrityBroken as error:
            raise IntegrityBroken(f"`{path}` in `{self.folder}`: {error}") from error


def read_tiles(folder: Path) -> TileFolder:
    """The log in this folder, at the size that its checkpoint states; neither is verified. Raises `IntegrityBroken` where there is none."""
    unverified = TileFolder(folder).find_checkpoint()
    if unverified is None:
        raise IntegrityBroken(f"`{folder}` holds no checkpoint")
    return TileFolder(folder, Checkpoint.parse(text_of(unverified)).size)


def write_tiles(folder: Path, note: bytes, entries: Entries) -> Written:
    """The folder holds the log up to this signed checkpoint, whatever part of it was there before.

    `entries` is asked once, for what is new and at most 255 entries before it. Raises `OperatorError` for a folder that holds something
    else, cannot be written or is being written, `IntegrityBroken` where the entries do not lead to the checkpoint or do not go on from
    the standing one. The note's signatures are not verified: it is our own.
    """
    checkpoint = Checkpoint.parse(text_of(note))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder):
            standing = _find_standing(folder, checkpoint)
            export = _Export(folder, standing.size if standing else 0)
            export.write(checkpoint, standing, entries)
            export.publish(note)
            export.prune(checkpoint.size)
    except OSError as error:
        raise OperatorError(f"`{folder}` cannot be written: {error.strerror}") from error
    return Written(checkpoint.origin, export.old_size, checkpoint.size, len(export.written))


def _find_standing(folder: Path, checkpoint: Checkpoint) -> Checkpoint | None:
    """The checkpoint that the folder holds, which the new one may replace."""
    unverified = TileFolder(folder).find_checkpoint()
    if unverified is None:
        others = {entry.name for entry in folder.iterdir()} - {"tile", WRITING}
        if others:
            raise OperatorError(f"`{folder}` holds no log, and is not empty: choose a folder of its own for each log")
        return None
    standing = Checkpoint.parse(text_of(unverified))
    if standing.origin != checkpoint.origin:
        raise OperatorError(f"`{folder}` holds the log `{standing.origin}`, not `{checkpoint.origin}`: choose another folder")
    if standing.size > checkpoint.size:
        raise OperatorError(f"`{folder}` holds {standing.size} entries, more than the {checkpoint.size} to be written: a log never shrinks")
    return standing


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other export writes in here. The lock is on the folder itself and leaves no file behind."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(f"`{folder}` is being written by another export: wait for its end") from error
        yield
    finally:
        os.close(handle)


class _Export:
    """Writes the files of one export."""

    def __init__(self, folder: Path, old_size: int) -> None:
        self.old_size = old_size
        self.written: list[Path] = []
        self._folder = folder
        self._touched: set[Path] = {folder}

    def write(self, checkpoint: Checkpoint, standing: Checkpoint | None, entries: Entries) -> None:
        """Every file that the checkpoint covers is on disk."""
        start = self.old_size - self.old_size % WIDTH  # the last bundle that is not full is written anew, under its new width
        builder = TileBuilder(start, TileFolder(self._folder, start).edge())
        unread = iter(entries(start, checkpoint.size))
        bundle = list(islice(unread, WIDTH))
        if standing is not None:
            self._goes_on(standing, builder, bundle)
        while len(bundle) == WIDTH:
            self._write(TileName(None, builder.size // WIDTH, WIDTH), encode_entries(bundle))
            for tile in builder.extend([leaf_hash(entry) for entry in bundle]):
                self._write(TileName(tile.level, tile.n, WIDTH), tile.hashes)
            bundle = list(islice(unread, WIDTH))
        builder.extend([leaf_hash(entry) for entry in bundle])
        _leads_to(checkpoint, builder, "the entries do not lead to the checkpoint")
        self._partial(builder, bundle)

    def _partial(self, builder: TileBuilder, bundle: Sequence[bytes]) -> None:
        """The tiles that are not full. One that an interrupted export leaves looks like that of an older checkpoint, so it must be true."""
        if bundle:
            self._write(TileName(None, builder.size // WIDTH, len(bundle)), encode_entries(bundle))
        for level, row in enumerate(builder.edge):
            if row:
                self._write(TileName(level, builder.size >> HEIGHT * (level + 1), len(row)), b"".join(row))

    def publish(self, note: bytes) -> None:
        """The checkpoint stands. A crash before its rename leaves the old one, with all of its files."""
        for path in (*self.written, *self._touched):  # all at once: most have reached the disk by now
            _sync(path)
        self._replace(self._folder / CHECKPOINT, note, sync=True)
        _sync(self._folder)
        _sync(self._folder.parent)

    def prune(self, size: int) -> None:
        """Partial tiles of the old edge that are full now are gone. A crash before this leaves some, which harm nobody."""
        for level, n, width in tiles_at(self.old_size):
            assert level is not None
            if width < WIDTH and n < size >> HEIGHT * (level + 1):
                for row in (level, None) if level == 0 else (level,):
                    shutil.rmtree(self._folder / f"{path_of(TileName(row, n, WIDTH))}.p", ignore_errors=True)

    def _goes_on(self, standing: Checkpoint, builder: TileBuilder, bundle: Sequence[bytes]) -> None:
        """The tree goes on from the one that stands there. Said before anything is written."""
        old = TileBuilder(builder.size, builder.edge)
        old.extend([leaf_hash(entry) for entry in bundle[: standing.size - builder.size]])
        _leads_to(standing, old, f"the entries do not go on from the export in `{self._folder}`")

    def _write(self, name: TileName, data: bytes) -> None:
        """The file is there, complete. One that the standing checkpoint covers is only compared; a leftover is replaced."""
        path = path_of(name)
        target = self._folder / path
        if (name.n * WIDTH + name.width) << HEIGHT * (name.level or 0) <= self.old_size and target.exists():
            if TileFolder(self._folder).find(path) != data:
                raise IntegrityBroken(f"`{path}` in `{self._folder}` is not what was exported")
            return
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True)
            self._touched.update(parent for parent in target.parents if parent.is_relative_to(self._folder))
        self._replace(target, data, sync=name.width < WIDTH)
        self._touched.add(target.parent)
        self.written.append(target)

    def _replace(self, target: Path, data: bytes, *, sync: bool = False) -> None:
        writing = self._folder / WRITING
        writing.unlink(missing_ok=True)
        handle = os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        writing.replace(target)


def _leads_to(checkpoint: Checkpoint, builder: TileBuilder, otherwise: str) -> None:
    expected, found = (checkpoint.size, checkpoint.root.hex()), (builder.size, builder.root().hex())
    if expected != found:
        raise IntegrityBroken(f"{otherwise}: expected size {expected[0]} and root `{expected[1]}`, found {found[0]} and `{found[1]}`")


def _sync(path: Path) -> None:
    """This file, or the names in this folder, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
