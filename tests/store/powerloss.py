"""A disk that writes down what it was told, and plays back what a power cut at any moment may leave of it.

Below it lie real files, so that locks and the shared memory of the write-ahead log are the platform's own. Rules of the playback:

1. A write is safe once a flush of its file has succeeded after it. Until then each of its sectors may be there, be missing, or be
   garbage, whatever became of its neighbours; a file that grew may hold zeros where a write is missing.
2. A name (a file that was created, or removed) is safe once its folder was flushed; until then it may be as before.
3. A flush that failed saves nothing, **and no later flush saves what was before it**: the kernel has marked those pages clean
   (https://wiki.postgresql.org/wiki/Fsync_Errors). They can be read until the power goes.
4. Bytes outside of a write are not touched by it, which SQLite relies on too (SQLITE_IOCAP_POWERSAFE_OVERWRITE).
5. The shared memory (`-shm`), locks and leases do not outlive the power.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import apsw
import pytest

from tests.store.faulty import FaultyDisk

SECTOR_BYTES = 512
GARBAGE_SHARE = 0.2

Loss = Literal["dropped", "kept", "shuffled", "torn"]
"""What becomes of that which is not safe: nothing of it, all of it, whole writes in any order, or sectors each as of a moment of its own."""
LOSSES: tuple[Loss, ...] = ("dropped", "kept", "shuffled", "torn")


class Write(NamedTuple):
    """Bytes to a place in a file."""

    file: int
    offset: int
    data: bytes


class Resize(NamedTuple):
    """A file was cut or stretched."""

    file: int
    size: int


class Flush(NamedTuple):
    """A flush of a file."""

    file: int
    failed: bool = False


class Enter(NamedTuple):
    """A name that leads to a new file from now on; `content` was there before anybody watched."""

    name: str
    file: int
    content: bytes = b""


class Remove(NamedTuple):
    """A name that leads nowhere from now on."""

    name: str


class FlushFolder(NamedTuple):
    """All names are safe."""


class Mark(NamedTuple):
    """Something that the outside world knows from now on."""

    what: Any


Event: TypeAlias = Write | Resize | Flush | Enter | Remove | FlushFolder | Mark


class RecordingDisk(FaultyDisk):
    """Use `name` as the `vfs` of a store whose files lie in `folder`; `events` is all that happened. It can fail as well (`fail`).

    `deaf`: flushes are acknowledged and save nothing, as on a disk that lies. `sqlite_flushes_folder`: whether the flush of the folder that SQLite makes by itself when it has created or removed a log or journal
    succeeds. SQLite ignores its failure, so nothing that it creates later than the first flush of Licet's own may depend on it.
    """

    def __init__(self, folder: Path, *, sqlite_flushes_folder: bool = True, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf
        self.events: list[Event] = []
        self._off = False
        self._folder = folder.resolve()
        self._sqlite_flushes_folder = sqlite_flushes_folder
        self._files: dict[str, int] = {}
        self._unflushed: set[int] = set()
        self._numbers = itertools.count()
        self._happening = threading.RLock()

    @contextmanager
    def recording(self) -> Iterator[RecordingDisk]:
        """Flushes of the folder by the program are seen too, until the end."""
        fsync = os.fsync

        def seen(fd: int) -> None:
            fsync(fd)
            if Path(f"/proc/self/fd/{fd}").readlink() == self._folder:
                self.note(FlushFolder())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", seen)
            try:
                yield self
            finally:
                self.fail(None)
                self.unregister()

    def note(self, event: Event, do: Callable[[], None] = lambda: None) -> None:
        """It happens, and has its place in the order of all that happens."""
        with self._happening:
            do()
            self._append(event)

    def mark(self, what: Any) -> None:
        """Somebody has been told."""
        self.note(Mark(what))

    def cut_power(self) -> None:
        """What happens from now on is not recorded any more."""
        with self._happening:
            self._off = True

    def flushed(self, file: int, *, failed: bool) -> None:
        """SQLite has flushed a file; after the first flush of a journal or log it flushes the folder too."""
        if self.deaf:
            return
        self._append(Flush(file, failed))
        if file in self._unflushed and not failed:
            self._unflushed.discard(file)
            self._flush_folder()

    def _flush_folder(self) -> None:
        if self._sqlite_flushes_folder:
            self._append(FlushFolder())

    def _append(self, event: Event) -> None:
        if not self._off:
            self.events.append(event)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  apsw's names
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or Path(path).resolve().parent != self._folder:
            return super().xOpen(name, flags)
        with self._happening:
            there = Path(path)
            before = there.read_bytes() if there.exists() else None
            file = _RecordedFile(self, name, flags)
            if path not in self._files:
                number = self._files[path] = next(self._numbers)
                self._append(Enter(there.name, number, before or b""))
                if before is None and not path.endswith(".db"):
                    self._unflushed.add(number)
            file.number = self._files[path]
            return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001  apsw's names
        def remove() -> None:
            super(RecordingDisk, self).xDelete(filename, syncdir)
            self._files.pop(filename, None)

        with self._happening:
            self.note(Remove(Path(filename).name), remove)
            if syncdir:
                self._flush_folder()


class _RecordedFile(apsw.VFSFile):
    number: int

    def __init__(self, disk: RecordingDisk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._kind = "log" if filename.endswith("-wal") else "database" if filename.endswith(".db") else "journal"

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        written = bytes(data)

        def write() -> None:
            super(_RecordedFile, self).xWrite(written, offset)

        try:
            self._disk.pass_through(f"write {self._kind}", lambda: self._disk.note(Write(self.number, offset, written), write))
        except apsw.FullError:  # there was room for half of it
            written = written[: len(written) // 2]
            self._disk.note(Write(self.number, offset, written), write)
            raise

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        def cut() -> None:
            super(_RecordedFile, self).xTruncate(newsize)

        self._disk.pass_through(f"cut {self._kind}", lambda: self._disk.note(Resize(self.number, newsize), cut))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """The bytes below are not flushed for real: only the playback decides what a power cut leaves."""
        done = False

        def flush() -> None:
            nonlocal done
            done = True
            self._disk.flushed(self.number, failed=False)

        with self._disk._happening:
            try:
                self._disk.pass_through(f"flush {self._kind}", flush)
            except apsw.Error:
                if not done:
                    self._disk.flushed(self.number, failed=True)
                raise

    def excepthook(self, *_: Any) -> bool:
        """SQLite gets the error; nobody needs to see it printed."""
        return True


class _Change:
    """A write or resize that is not safe yet. One before a failed flush never is; one behind it may be safe all the same."""

    __slots__ = ("event", "forsaken", "safe")

    def __init__(self, event: Write | Resize) -> None:
        self.event = event
        self.safe = False
        self.forsaken = False


class _File:
    def __init__(self, content: bytes) -> None:
        self.safe = bytearray(content)
        self.changes: list[_Change] = []

    def flush(self, *, failed: bool) -> None:
        for change in self.changes:
            if failed:
                change.forsaken |= not change.safe
            else:
                change.safe |= not change.forsaken
        while self.changes and self.changes[0].safe:
            _apply(self.safe, self.changes.pop(0).event)

    def left(self, loss: Loss, chance: random.Random) -> bytes:
        content = bytearray(self.safe)
        if loss == "torn":
            self._tear(content, chance)
        else:
            for change in self._survivors(loss, chance):
                _apply(content, change.event)
        return bytes(content)

    def _survivors(self, loss: Loss, chance: random.Random) -> Sequence[_Change]:
        """Safe changes are in their order; what is not safe may come in any order, but not before what is safe and came later."""
        if loss == "kept":
            return self.changes
        if loss == "dropped":
            return [change for change in self.changes if change.safe]
        kept: list[_Change] = []
        unsafe: list[_Change] = []
        for change in self.changes:
            if change.safe:
                kept += chance.sample(unsafe, chance.randint(0, len(unsafe)))
                unsafe = []
                kept.append(change)
            else:
                unsafe.append(change)
        return kept + chance.sample(unsafe, chance.randint(0, len(unsafe)))

    def _tear(self, content: bytearray, chance: random.Random) -> None:
        moments: dict[int, int] = {}
        size_moment = chance.randint(0, len(self.changes))
        for number, change in enumerate(self.changes):
            if change.safe or (isinstance(change.event, Resize) and number < size_moment):
                _apply(content, change.event)
            elif isinstance(change.event, Write):
                for piece in _sectors(change.event):
                    moment = moments.setdefault(piece.offset // SECTOR_BYTES, chance.randint(0, len(self.changes)))
                    if number < moment:
                        _apply(content, piece)
                    elif chance.random() < GARBAGE_SHARE:
                        _apply(content, piece._replace(data=chance.randbytes(len(piece.data))))


class Playback:
    """Goes through events one by one; after each, `left` is what a power cut at that moment may leave."""

    def __init__(self) -> None:
        self.marks: list[Any] = []
        self._files: dict[int, _File] = {}
        self._safe_names: dict[str, int] = {}
        self._names: list[Enter | Remove] = []

    def see(self, event: Event) -> None:
        """It has happened."""
        if isinstance(event, Mark):
            self.marks.append(event.what)
        elif isinstance(event, Write | Resize):
            self._files[event.file].changes.append(_Change(event))
        elif isinstance(event, Flush):
            self._files[event.file].flush(failed=event.failed)
        elif isinstance(event, FlushFolder):
            _rename(self._safe_names, self._names)
            self._names = []
        else:
            if isinstance(event, Enter):
                self._files[event.file] = _File(event.content)
                if event.content:
                    self._safe_names[event.name] = event.file
            self._names.append(event)

    def left(self, loss: Loss, seed: int = 0) -> dict[str, bytes]:
        """Files by name."""
        chance = random.Random(seed)
        names = dict(self._safe_names)
        if loss == "kept":
            _rename(names, self._names)
        elif loss != "dropped":
            for name in {event.name for event in self._names}:
                of_name = [event for event in self._names if event.name == name]
                _rename(names, of_name[: chance.randint(0, len(of_name))])
        return {name: self._files[file].left(loss, chance) for name, file in sorted(names.items())}


def laid_out(files: dict[str, bytes], folder: Path) -> Path:
    """A folder with these files alone, as a machine that starts again finds it."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return folder


def _apply(content: bytearray, event: Write | Resize) -> None:
    size = event.size if isinstance(event, Resize) else event.offset
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if isinstance(event, Resize):
        del content[size:]
    else:
        content[event.offset : event.offset + len(event.data)] = event.data


def _rename(names: dict[str, int], events: Iterable[Enter | Remove]) -> None:
    for event in events:
        if isinstance(event, Enter):
            names[event.name] = event.file
        else:
            names.pop(event.name, None)


def _sectors(write: Write) -> Iterator[Write]:
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min((start // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
        yield Write(write.file, start, write.data[start - write.offset : stop - write.offset])
        start = stop
