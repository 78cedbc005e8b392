"""The erasure manifest: a file beside the ledger that remembers who was erased, so that no backup brings anybody back.

One line of JSON for each erasure: `{"v":1,"log":"acme","target":"Customer::6f1c..."}`. It names pseudonyms only. `"void":true` takes back
the lines before it about the same target: that erasure was refused.

Rules:

1. A line is on disk before the erasure's transaction begins. A crash between the two leaves a line whose erasure is done at the next start.
2. A last line without its end was being written when the process died; its erasure had not begun. The next line takes its place.
3. A line that cannot be read stops everything that would rest on it: what it said might be an erasure.

Not guaranteed: anything against somebody who can write the file. One that was deleted is made anew from what the ledger itself says was
erased; but a backup that is older than an erasure is then all there is to know, so keep a copy of this file with the backups.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken, StoreUnavailable
from licet.ledger.forgotten import pseudonym_in
from licet.ledger.record import UNREADABLE

VERSION = 1


class ErasedTarget(Struct, frozen=True):
    """Somebody who was erased: the log, and `Type::pseudonym`."""

    log: str
    target: str

    @property
    def pseudonym(self) -> str:
        """Who it was."""
        return pseudonym_in(self.target) or ""


class _Line(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    v: int
    log: str
    target: str
    void: bool = False


_decode = msgspec.json.Decoder(_Line).decode


class ErasureManifest:
    """The manifest at `path`, which need not be there; None for a ledger in memory, which no backup outlives."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self) -> dict[str, ErasedTarget]:
        """Everybody who was erased, by pseudonym. Raises `IntegrityBroken` (rule 3) and `StoreUnavailable`."""
        found: dict[str, ErasedTarget] = {}
        whole, _, _ = self._load().rpartition(b"\n")
        for number, text in enumerate(whole.splitlines(), 1):
            if not text.strip():
                continue
            line = self._line(number, text)
            erased = ErasedTarget(line.log, line.target)
            if line.void:
                found.pop(erased.pseudonym, None)
            else:
                found[erased.pseudonym] = erased
        return found

    def add(self, erased: Iterable[ErasedTarget]) -> None:
        """These lines are on disk. Raises `StoreUnavailable` where they cannot be."""
        self._append([_Line(VERSION, one.log, one.target) for one in erased])

    def void(self, erased: ErasedTarget) -> None:
        """The lines about this target count no more. Raises `StoreUnavailable`."""
        self._append([_Line(VERSION, erased.log, erased.target, void=True)])

    def _line(self, number: int, text: bytes) -> _Line:
        try:
            line = _decode(text)
        except UNREADABLE:
            line = None
        if line is None or line.v != VERSION or pseudonym_in(line.target) is None:
            raise IntegrityBroken(
                f"line {number} of the erasure manifest `{self.path}` cannot be read; put back a copy of the file, or move it away: "
                "it is then made anew from the ledger, without the erasures that a restored ledger does not know"
            )
        return line

    def _load(self) -> bytes:
        if self.path is None:
            return b""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreUnavailable(f"the erasure manifest `{self.path}` cannot be read: {error.strerror}") from error

    def _append(self, lines: Iterable[_Line]) -> None:
        text = b"".join([msgspec.json.encode(line) + b"\n" for line in lines])
        if self.path is None or not text:
            return
        try:
            with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another process appends for a moment at most; dropped with the file
                whole, newline, _ = file.read().rpartition(b"\n")
                file.seek(len(whole + newline))
                file.truncate()  # rule 2
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _flush_folder(self.path.absolute().parent)
        except OSError as error:
            raise StoreUnavailable(f"the erasure manifest `{self.path}` cannot be written: {error.strerror}; nothing was erased") from error


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
