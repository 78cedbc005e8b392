"""How an export says that it is complete, and how that is checked.

Rules:

1. Whoever exports says beforehand how many rows there are (`Expected`). A file says both numbers, the expected and the written one, at its
   end or in a manifest beside it, and it is complete only if they agree.
2. The end is written last, after every row. A process that dies, a full disk or an error while rows are read leaves a file without it.
3. A check reads the whole file. It finds what was cut or damaged. Whoever can write the file can write its end too: compare the roots with
   ones that are kept elsewhere, and the leaf hashes with the ledger.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from licet.ledger.exports.rows import Exported

EXPORT_VERSION = 1


class TreeRoot(Struct, frozen=True):
    """A log of the ledger at the moment of the export: its size and its RFC 6962 root (hex)."""

    log: str
    size: int
    root: str


class Expected(Struct, frozen=True):
    """How many rows there will be, and the logs they come from. A search gives fewer rows than the logs have records."""

    rows: int
    logs: tuple[TreeRoot, ...] = ()


class ExportSummary(Struct, frozen=True):
    """What was written: `sha256` (hex) is that of the whole file. `complete` is whether every expected row was taken up in it.

    `lines` is what came of the rows: as many rows, or events where some records have none and others share one.
    """

    rows_expected: int
    rows_written: int
    sha256: str
    complete: bool
    lines: int


class Checked(Struct, frozen=True):
    """What a check of a file found: the rows it says it has, the rows that are there, and everything that is wrong."""

    rows_expected: int | None
    rows_found: int
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the file is complete and undamaged."""
        return not self.problems


class Sink(Protocol):
    """Where an export goes: a file opened for bytes, a socket, a pipe."""

    def write(self, data: bytes, /) -> object:
        """Take all of these bytes, or raise."""
        ...


class Digesting:
    """A sink that hashes and counts what goes through it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Write, hash and count."""
        taken = self._sink.write(data)
        if isinstance(taken, int) and taken < len(data):  # an unbuffered file on a full disk takes what still fits, and says no more
            raise OSError(errno.ENOSPC, "the sink took only a part of what was written")
        self._digest.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of everything so far."""
        return self._digest.hexdigest()

    def summary(self, expected: int, written: int, lines: int) -> ExportSummary:
        """What was written, once all of it was."""
        return ExportSummary(expected, written, self.sha256, expected == written, lines)


class Counting:
    """Rows, handed on one at a time and counted."""

    def __init__(self, rows: Iterable[Exported]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Exported]:
        for row in self._rows:
            self.count += 1
            yield row


def count_problems(expected: int, written: int, found: int) -> tuple[str, ...]:
    """What is wrong with these three numbers, as sentences."""
    problems = []
    if written < expected:
        problems.append(f"the export ended early: {written} of {expected} rows were written")
    if written > expected:
        problems.append(f"{written} rows were written, {expected} were expected")
    if found != written:
        problems.append(f"{found} rows are there, {written} were written")
    return tuple(problems)
