"""A file layer of SQLite that fails on command: at the nth write or flush, before or after it was done."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import apsw

_numbers = itertools.count()


def error(kind: type[apsw.Error], extended: int) -> apsw.Error:
    """An error as SQLite's own file layer would give it."""
    made: Any = kind("on command")
    made.extendedresult = extended
    return made  # type: ignore[no-any-return]  # apsw's types do not know the attribute that its documentation names


def broken() -> apsw.Error:
    return error(apsw.IOError, apsw.SQLITE_IOERR_WRITE)


def full() -> apsw.Error:
    return error(apsw.FullError, apsw.SQLITE_FULL)


class FaultyDisk(apsw.VFS):
    """Use `name` as the `vfs` of a store. Nothing fails until `fail` is called; `operations` counts from then on."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_numbers)}"
        super().__init__(self.name, base="")
        self.operations: list[str] = []
        self._at: int | str | None = None
        self._done_first = False
        self._error: Callable[[], apsw.Error] = broken
        self._still = False
        self.read_only = False

    def fail(
        self, at: int | str | None, *, done_first: bool = False, error: Callable[[], apsw.Error] = broken, still: bool = False
    ) -> None:
        """Fail at operation number `at` from now (and at all later ones if `still`), or at each of that name; never if it is None."""
        self.operations = []
        self._at, self._done_first, self._error, self._still = at, done_first, error, still

    def pass_through(self, what: str, do: Callable[[], None]) -> None:
        number = len(self.operations)
        self.operations.append(what)
        fails = self._at in (number, what) or (self._still and isinstance(self._at, int) and number > self._at)
        if fails and not self._done_first:
            raise self._error()
        do()
        if fails:
            raise self._error()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  apsw's names
        if self.read_only:
            flags[0] = flags[0] & ~(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) | apsw.SQLITE_OPEN_READONLY
        return _FaultyFile(self, name, flags)

    def excepthook(self, *_: Any) -> bool:
        """SQLite gets the error; nobody needs to see it printed."""
        return True


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary"
        self._kind = "log" if filename.endswith("-wal") else "database"

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._disk.pass_through(f"write {self._kind}", lambda: super(_FaultyFile, self).xWrite(data, offset))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.pass_through(f"flush {self._kind}", lambda: super(_FaultyFile, self).xSync(flags))

    def excepthook(self, *_: Any) -> bool:
        """As above."""
        return True
