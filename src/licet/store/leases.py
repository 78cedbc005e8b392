"""Who lives and whose turn it is, told by locks of the operating system beside the database (flock(2)).

Rules:

1. A boot's **lease** is a lock on its own file. The kernel drops it when the process ends, however it ends; nothing has to be
   written by the dying. A lock file that is missing counts as gone: its owner then refuses, which is the safe side.
2. A lease never passes to a forked child: flock belongs to the open file, so the child closes its copy at once.
3. The **turn** is what processes take before they write, since SQLite's own busy handler sleeps and starves. Who waits holds the
   queue file, so that whoever has just had its turn cannot take the next one before it.
4. Neither is a fence against a process that ignores them: that is the database's transaction and the records' primary key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Protocol

from licet.errors import StoreUnavailable

_POLL_S = 0.00002
"""The kernel makes about 70 us of it: half of a quick flush, and little CPU."""

_inheritable: weakref.WeakSet[_LockFile] = weakref.WeakSet()


class _LockFile:
    """An open file whose lock this process holds or wants."""

    def __init__(self, path: Path, mode: int) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        _inheritable.add(self)

    def try_lock(self) -> bool:
        """Whether the lock is now held."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """The lock is free; the file stays open."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closed, and the lock with it unless a forked parent or child still has the file open."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _close_inherited() -> None:
    """In a child of a fork: closing a copy leaves the parent's lock as it is, keeping it would outlive the parent."""
    for file in list(_inheritable):
        file.close()


os.register_at_fork(after_in_child=_close_inherited)


class Lease(Protocol):
    """Shows that a boot lives, until it is released or its process ends."""

    def release(self) -> None:
        """The boot counts as gone. Safe to call twice."""
        ...


class Leases(Protocol):
    """Where the boots of one database hold their leases."""

    def take(self, boot: str) -> Lease:
        """The lease of a new boot."""
        ...

    def is_gone(self, boot: str) -> bool:
        """Whether nobody holds this boot's lease any more."""
        ...

    def forget(self, boot: str) -> None:
        """Remove what a boot that is gone left behind."""
        ...


class _FileLease:
    def __init__(self, path: Path, file: _LockFile) -> None:
        self._path = path
        self._file = file

    def release(self) -> None:
        if self._file.fd >= 0:
            self._path.unlink(missing_ok=True)
            self._file.close()


class FileLeases:
    """Leases as locked files in a folder beside the database."""

    def __init__(self, folder: Path, mode: int) -> None:
        self._folder = folder
        self._mode = mode

    def take(self, boot: str) -> Lease:
        """The lease of a new boot. Raises `StoreUnavailable` when the folder cannot be written."""
        path = self._folder / boot
        try:
            self._folder.mkdir(mode=self._mode | (self._mode & 0o444) >> 2, exist_ok=True)
            file = _LockFile(path, self._mode)
        except OSError as error:
            raise StoreUnavailable(
                f"the folder `{self._folder}`, which shows which processes live, cannot be written: {error.strerror}"
            ) from error
        file.try_lock()  # a boot's id is new: nobody else can hold it
        return _FileLease(path, file)

    def is_gone(self, boot: str) -> bool:
        """Whether nobody holds this boot's lease. A file that cannot be opened for other reasons than absence is not gone."""
        path = self._folder / boot
        if not path.exists():
            return True
        file = _LockFile(path, self._mode)
        try:
            return file.try_lock()
        finally:
            file.close()

    def forget(self, boot: str) -> None:
        """Remove the file of a boot that is gone."""
        with contextlib.suppress(OSError):
            (self._folder / boot).unlink(missing_ok=True)


class ProcessLeases:
    """Leases of stores in memory: a store that was opened and not closed lives as long as its process."""

    def __init__(self) -> None:
        self._living: set[str] = set()

    def take(self, boot: str) -> Lease:
        """The lease of a new boot."""
        self._living.add(boot)
        return _ProcessLease(self._living, boot)

    def is_gone(self, boot: str) -> bool:
        """Whether this boot's lease was released."""
        return boot not in self._living

    def forget(self, boot: str) -> None:
        """Nothing is left behind."""

    def is_empty(self) -> bool:
        """Whether nobody lives."""
        return not self._living


class _ProcessLease:
    def __init__(self, living: set[str], boot: str) -> None:
        self._living = living
        self._boot = boot

    def release(self) -> None:
        self._living.discard(self._boot)


class Turn:
    """A fair lock between processes, with a bounded wait. One thread of a process uses it at a time."""

    def __init__(self, path: Path, mode: int, timeout_s: float) -> None:
        try:
            self._queue = _LockFile(path.with_name(f"{path.name}-queue"), mode)
            self._turn = _LockFile(path.with_name(f"{path.name}-turn"), mode)
        except OSError as error:
            raise StoreUnavailable(f"lock files beside `{path}` cannot be written: {error.strerror}") from error
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        self._wait(self._queue, deadline)
        try:
            self._wait(self._turn, deadline)
        finally:
            self._queue.unlock()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._turn.unlock()

    def _wait(self, file: _LockFile, deadline: float) -> None:
        while not file.try_lock():
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another process has been writing to the ledger for more than {self._timeout_s:g} s")
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Closed; a turn that is held ends."""
        self._queue.close()
        self._turn.close()
