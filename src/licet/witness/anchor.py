"""An anchor: a file that holds the newest signed checkpoint of a log, best on a disk that whoever can change the store cannot change.

Rules:

1. The anchor only advances. A checkpoint is pinned when the log proves that it continues what is pinned; for a smaller one the log must
   prove that what is pinned continues it, and the file is left as it is.
2. What is read is verified like any checkpoint from elsewhere: signed by a key of this log that may sign at its size.
3. A new note is written beside the old one and flushed, then takes its place, then the folder is flushed. A crash at any moment leaves the
   old note or the new one, whole; a leftover `.new` is written over the next time.
4. Processes take turns (flock on a `.lock` file beside it), so that none sets back what another has pinned.

Not guaranteed: anything against somebody who can write the anchor file itself: an older checkpoint is as well signed as a newer one. Nor
is a file system that hangs noticed here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from licet.errors import AnchorUnusable, IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.merkle import is_consistent
from licet.ledger.note import NOTE_LIMIT_BYTES
from licet.ledger.rotation import Trust

Proof = Callable[[int, int], tuple[bytes, ...]]
"""The consistency proof between two sizes of the log (old, new). Raises `LookupError` when the log is not that large."""

LOCK_TIMEOUT_S = 5.0
_POLL_S = 0.005
_MODE = 0o644


class Pinned(Struct, frozen=True):
    """What the anchor holds: the verified checkpoint, and the note that says so."""

    checkpoint: Checkpoint
    note: bytes


class Anchor:
    """The anchor file at `path` for the log of `trust`. Its folder must exist; the file need not."""

    def __init__(self, path: Path, trust: Trust, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.path = path
        self.trust = trust
        self._lock_timeout_s = lock_timeout_s

    def read(self) -> Pinned | None:
        """What is pinned; None where there is no file.

        Raises `AnchorUnusable` when it cannot be read, and `IntegrityBroken` when it holds anything but a checkpoint of this log.
        """
        unverified_note = self._load()
        if unverified_note is None:
            return None
        try:
            checkpoint, _ = self.trust.open(unverified_note)
        except NoteInvalid as error:
            raise IntegrityBroken(
                f"anchor `{self.path}` holds no checkpoint of this log ({error}): either the file was changed, or the store was set "
                "back to before its key was rotated. find out which, and put back a copy of the one that is wrong"
            ) from error
        return Pinned(checkpoint, unverified_note)

    def pin(self, note: bytes, proof: Proof) -> Pinned:
        """The anchor holds this checkpoint or a larger one that continues it, durably; the result is what it holds.

        Raises `AnchorUnusable` when the file cannot be written (it then holds what it held), `NoteInvalid` for a note that is no checkpoint
        of this log, and `IntegrityBroken` when log and anchor do not continue one another.
        """
        checkpoint, _ = self.trust.open(note)
        with self._turn():
            pinned = self.read()
            if pinned is not None:
                self._verify_continues(pinned.checkpoint, checkpoint, proof)
                if checkpoint.size <= pinned.checkpoint.size:
                    return pinned
            self._write(self.path, note)
        return Pinned(checkpoint, note)

    def begin_anew(self, note: bytes) -> Path | None:
        """The anchor holds this checkpoint, whatever it held before: for a loss that somebody has accepted.

        What it held is kept beside it, as evidence, in the file whose path is returned. Raises as `pin`, but for broken continuity.
        """
        self.trust.open(note)
        with self._turn():
            former, kept = self._load(), None
            if former is not None and former != note:
                kept = self.path.with_name(f"{self.path.name}.{hashlib.sha256(former).hexdigest()[:16]}")
                self._write(kept, former)
            self._write(self.path, note)
        return kept

    def _verify_continues(self, pinned: Checkpoint, checkpoint: Checkpoint, proof: Proof) -> None:
        older, newer = sorted((pinned, checkpoint), key=lambda each: each.size)
        try:
            steps = proof(older.size, newer.size) if 0 < older.size < newer.size else ()
        except LookupError as error:
            raise IntegrityBroken(
                f"anchor `{self.path}` has pinned size {pinned.size}, and the log is smaller: it was cut or rolled back while it ran"
            ) from error
        if not is_consistent(older.size, newer.size, older.root, newer.root, steps):
            raise IntegrityBroken(
                f"anchor `{self.path}` has pinned size {pinned.size}, and the log at size {checkpoint.size} does not continue it: "
                "its history was changed"
            )

    def _load(self) -> bytes | None:
        """The file's bytes. A pipe or a device in its place is not waited for."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnchorUnusable(f"anchor `{self.path}` cannot be read: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise AnchorUnusable(f"anchor `{self.path}` is not a file")
            with os.fdopen(fd, "rb", closefd=False) as file:
                return file.read(NOTE_LIMIT_BYTES + 1)
        except OSError as error:
            raise AnchorUnusable(f"anchor `{self.path}` cannot be read: {error.strerror}") from error
        finally:
            os.close(fd)

    def _write(self, path: Path, note: bytes) -> None:
        """The file holds the note, durably (rule 3)."""
        beside = path.with_name(f"{path.name}.new")
        try:
            try:
                _write_durably(beside, note)
                beside.replace(path)  # a crash before this leaves the old note, after this the new one
            except OSError:
                beside.unlink(missing_ok=True)
                raise
            _flush_folder(path.parent)
        except OSError as error:
            raise AnchorUnusable(f"anchor `{path}` cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """No other process pins here meanwhile."""
        path = self.path.with_name(f"{self.path.name}.lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise AnchorUnusable(f"anchor `{self.path}` cannot be locked: {error.strerror}") from error
        try:
            self._wait_for(fd)
            try:
                yield
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile has the file open, too
        finally:
            os.close(fd)

    def _wait_for(self, fd: int) -> None:
        until = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise AnchorUnusable(
                        f"anchor `{self.path}` is locked by another process for more than {self._lock_timeout_s:g} s"
                    ) from None
                time.sleep(_POLL_S)
            except OSError as error:
                raise AnchorUnusable(f"anchor `{self.path}` cannot be locked: {error.strerror}") from error
            else:
                return


def _write_durably(path: Path, note: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    with os.fdopen(fd, "wb") as file:
        file.write(note)
        file.flush()
        os.fsync(fd)


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
