"""Copying the write-ahead log into the database, beside the commits and not between them.

Rules:

1. SQLite is not left to do it: it would keep an I/O error of this step to itself, and the next flush would be acknowledged although
   pages of the failed one are lost. An error other than a lock or a full disk poisons the store; what was committed stays in the log.
2. A thread with a connection of its own copies while commits go on, and goes over what was added meanwhile until little is left. That
   halves the time in which nobody can commit; the rest is the flush of the database, which SQLite makes only when all is copied.
3. The little that is left is copied by the writer, between two commits of its own: only then is everything copied, so that the log
   begins anew in place of growing.
4. What cannot be copied now (a reader still needs the log, another process copies) is copied the next time.
5. Nobody writes behind what an earlier process has left in the log: a flush that failed there has given pages up that can still be read,
   so that what is flushed behind them would be out of reach after a power cut. At the start everything is copied and the log begins anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import apsw

LITTLE_PAGES = 256
"""1 MiB: about the time of two flushes."""
_PASSES = 8


class Checkpoints:
    """Copies the log whenever `pages` pages have been added to it. `poison` is told the error that ends it.

    Made in turn, before anything is acknowledged: then the log begins anew (rule 5). Raises an error of apsw when it cannot.
    """

    def __init__(self, connect: Callable[[], apsw.Connection], pages: int, poison: Callable[[apsw.Error], None]) -> None:
        self._connect = connect
        self._pages = pages
        self._poison = poison
        self._due = threading.Event()
        self._little_left = False
        self._seen = 0
        self._closed = False
        self._failed = False
        self._copying = threading.Lock()
        self._con = self._begin_anew()
        self._thread = threading.Thread(target=self._run, name="licet-checkpoints", daemon=True)
        self._thread.start()

    def note(self, con: apsw.Connection, pages: int) -> None:
        """The writer has committed, and the log has this many pages; what is left is little or copied by the thread."""
        if self._little_left:
            self._little_left = False
            self._try(con)
            self._seen = 0
        elif pages - self._seen >= self._pages:
            self._seen = pages
            self._due.set()
        elif pages < self._seen:
            self._seen = 0  # another process has begun the log anew

    def close(self) -> None:
        """The thread has ended and its connection is closed."""
        self._closed = True
        self._due.set()
        self._thread.join()

    def _begin_anew(self) -> apsw.Connection:
        con = self._connect()
        try:
            con.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.BusyError, apsw.LockedError):
            return con  # another process has the log open: a flush that failed is told to it as well, by its next one
        except BaseException:
            con.close()
            raise
        return con

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._closed:
                break
            self._little_left = self._copy(self._con)
        self._con.close()

    def _copy(self, con: apsw.Connection) -> bool:
        """Whether so little is left that the writer can end it."""
        before = 0
        for _ in range(_PASSES):
            copied = self._try(con)
            if copied is None or self._closed:
                return False
            if copied - before <= LITTLE_PAGES:
                return True
            before = copied
        return True

    def _try(self, con: apsw.Connection) -> int | None:
        """How many pages of the log are in the database now; None where it could not be done."""
        with self._copying:
            if self._failed:  # a second try would be told that all is well
                return None
            try:
                return con.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[1]
            except (apsw.BusyError, apsw.LockedError, apsw.FullError):
                return None
            except apsw.Error as error:
                self._failed = True
                self._poison(error)
                return None
