"""The records of a ledger as JSON Lines, complete and checkable without the store.

    {"licet_export":1,"records":1071,"logs":[{"log":"acme","size":1070,"root":hex,"compact_range":[hex,...]},...]}      header
    {"log":"acme","index":0,"kind":"intent","call":...,"request":null,"leaf":hex,"envelope":text,"salt":hex,"payload":text,"closed":""}
    ...                                                                                     logs by name, each by index
    {"end":true,"records":1071,"logs":[...]}                                                                           trailer

Rules:

1. Envelope and payload are JSON strings that hold the exact stored bytes: hashing their UTF-8 gives the stored hashes.
2. The header says what the stored trees say, the trailer what was written. A file without its trailer was cut. Whoever can write the file
   can write both: compare the roots with ones that are kept elsewhere.
3. `closed` says why salt and payload are null where they are: `erased`, `locked` (exported without the key) or `damaged`.
4. Projections (requests, votes, keys, open calls) are not exported: records say what they said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken
from licet.ledger.merkle import Tree
from licet.ledger.record import UNREADABLE, Head
from licet.ledger.report import PROBLEM_LIMIT, SHOWN_LIMIT, Problem, Report
from licet.ledger.source import HeadLog, Opening, Projections, Row, Source, TreeState, opened_rows
from licet.ledger.verify import verify

EXPORT_VERSION = 1
_CHUNK = 500


class ExportedTree(Struct, frozen=True):
    """A log in header or trailer; hashes are hex."""

    log: str
    size: int
    root: str
    compact_range: tuple[str, ...]


class _Header(Struct, frozen=True, forbid_unknown_fields=True):
    licet_export: int
    records: int
    logs: tuple[ExportedTree, ...]


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    log: str
    index: int
    kind: str
    call: str | None
    request: str | None
    leaf: str
    envelope: str
    salt: str | None
    payload: str | None
    closed: str = ""


class _Trailer(Struct, frozen=True, forbid_unknown_fields=True):
    end: bool
    records: int
    logs: tuple[ExportedTree, ...]


_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode


def export_lines(source: Source) -> Iterator[bytes]:
    """The lines of an export, without line ends; streamed.

    Raises `IntegrityBroken` when a stored record is not text, which no export can hold: verify the ledger itself.
    """
    stored = tuple([_exported(state.log, Tree(state.size, state.compact_range)) for state in source.trees()])
    yield _encode(_Header(EXPORT_VERSION, sum(tree.size for tree in stored), stored))
    written = []
    for log in (tree.log for tree in stored):
        tree = Tree()
        for row, opening in opened_rows(source, log):
            yield _encode(_line(log, row, opening))
            tree.append(row[5])
        written.append(_exported(log, tree))
    yield _encode(_Trailer(True, sum(tree.size for tree in written), tuple(written)))


def verify_export(unverified_lines: Iterable[bytes]) -> Report:
    """What `verify` finds in an export, its completeness included. Raises `IntegrityBroken` when it does not begin as one."""
    source = _ExportSource(iter(unverified_lines))
    report = verify(source)
    source.finish(report)
    problems = (*report.problems, *source.faults)[:PROBLEM_LIMIT]
    return msgspec.structs.replace(report, problem_count=report.problem_count + len(source.faults), problems=problems)


def _exported(log: str, tree: Tree) -> ExportedTree:
    return ExportedTree(log, tree.size, tree.root().hex(), tuple([peak.hex() for peak in tree.peaks]))


def _line(log: str, row: Row, opening: Opening) -> _Line:
    index, kind, call, request, envelope, leaf, _ = row
    salt, payload, closed = opening
    try:
        text = payload.decode() if payload is not None else None
        return _Line(log, index, kind, call, request, leaf.hex(), envelope.decode(), salt.hex() if salt is not None else None, text, closed)
    except (UnicodeDecodeError, AttributeError) as error:  # a damaged page can hold a NULL where the schema has none
        raise IntegrityBroken(f"record {index} of log `{log}` is not text and cannot be exported; run `licet audit verify`") from error


class _ExportSource:
    """An export, read once from top to end, as a source for `verify`."""

    projections: Projections | None = None
    head_log: HeadLog | None = None

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.faults: list[Problem] = []
        self._lines = lines
        self._number = 1
        header = _decode(next(lines, b""), _Header)
        if header is None or header.licet_export != EXPORT_VERSION:
            raise IntegrityBroken(f"the first line is not the header of an export of version {EXPORT_VERSION}")
        self._header = header
        self._next = self._read()

    def blind(self, log: str, label: str, text: str) -> None:
        """None: an export has no projections, and no key."""

    def trees(self) -> Sequence[TreeState]:
        """What the header says."""
        return [TreeState(tree.log, tree.size, _hashes(tree.compact_range)) for tree in self._header.logs]

    def open(self, _head: Head, body: Any, /) -> Opening:
        """The payload as the line has it."""
        opening: Opening = body
        return opening

    def fits(self, _pseudonym: str, _ref: str, /) -> bool:
        """True: an export has no secrets to tell by."""
        return True

    def rows(self, log: str, _start: int = 0, _stop: int | None = None, /) -> Iterator[Sequence[Row]]:
        """The lines of this log, as long as they come; an export is read once, from top to end."""
        chunk: list[Row] = []
        while isinstance(self._next, _Line) and self._next.log == log:
            chunk.append(_row(self._next))
            self._next = self._read()
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def finish(self, report: Report) -> None:
        """What is left after all logs must be the trailer, and it must say what was read."""
        if isinstance(self._next, _Line):
            self._fault("lines", "a record belongs to no log, or is not in its place", found=f"{self._next.log} {self._next.index}")
        elif self._next is None:
            self._fault("trailer", "the export was cut: its last line is missing or cannot be read")
        else:
            said = [(tree.log, tree.size, tree.root) for tree in self._next.logs]
            read = [(log.log, log.size, log.root) for log in report.logs]
            if said != read or self._next.records != report.records:
                self._fault("trailer", "records are not those that were exported", expected=str(said), found=str(read))
            if next(self._lines, None) is not None:
                self._fault("lines", "something follows the trailer")

    def _read(self) -> _Line | _Trailer | None:
        """The next line; None at the end, and at a line that cannot be read: what follows it is not looked at."""
        unverified = next(self._lines, None)
        self._number += 1
        if unverified is None:
            return None
        found = _decode(unverified, _Line) or _decode(unverified, _Trailer)
        if found is None:
            self._fault("lines", f"line {self._number} cannot be read")
        return found

    def _fault(self, field: str, message: str, *, expected: str = "", found: str = "") -> None:
        self.faults.append(Problem(None, None, field, expected[:SHOWN_LIMIT], found[:SHOWN_LIMIT], message))


def _decode(unverified: bytes, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(unverified, type=kind)
    except UNREADABLE:
        return None


def _row(line: _Line) -> Row:
    salt = _bytes(line.salt) if line.salt is not None else None
    payload = line.payload.encode() if line.payload is not None else None
    return (line.index, line.kind, line.call, line.request, line.envelope.encode(), _bytes(line.leaf), (salt, payload, line.closed))


def _hashes(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple([_bytes(text) for text in texts])


def _bytes(text: str) -> bytes:
    """The bytes that hex stands for; of anything else its own bytes, which then are no hash and are told as such."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text.encode()
