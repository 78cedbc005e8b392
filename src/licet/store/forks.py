"""What must not be used on both sides of a fork: SQLite's view of who holds which lock on which file.

Rules:

1. A store refuses in a child of the process that opened it.
2. The child cannot open the same file either. SQLite keeps one account for each file of a process; the child inherits it, with locks in
   it that only the parent holds, and would go on as if it held them: others could then pull the log away from under it.
3. A ledger that is opened after the fork, or in a process that was started afresh, is not affected.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TypeAlias

from licet.errors import GateClosed

_FileId: TypeAlias = tuple[int, int]

MESSAGE = "this process was forked from one that had the ledger open; open it after the fork, or start the process afresh"

_open: Counter[_FileId] = Counter()
_inherited: set[_FileId] = set()


class OpenFile:
    """Counts a file as open in this process until it is released. Raises `GateClosed` where a parent had it open (rule 2)."""

    def __init__(self, path: Path) -> None:
        status = path.stat()
        self._id: _FileId | None = (status.st_dev, status.st_ino)
        if self._id in _inherited:
            raise GateClosed(MESSAGE)
        _open[self._id] += 1

    def release(self) -> None:
        """One opening less. Safe to call twice."""
        if self._id is not None:
            _open[self._id] -= 1
            self._id = None


def _inherit() -> None:
    """In a child: what the parent had open."""
    _inherited.update(file for file, count in _open.items() if count > 0)
    _open.clear()


os.register_at_fork(after_in_child=_inherit)
