"""The records of a ledger as JSON Lines, complete and checkable without the store, with the signed head log that they are held against.

    {"licet_export":1,"records":1071,"logs":[{"log":"acme","size":1070,"root":hex,"compact_range":[hex,...]},...],
     "head":{"log":<origin>,"size":9,"root":hex,"compact_range":[hex,...]},"keys":[{"vkey":text,"endorsement":null},...]}   header, one line
    {"entry":text}          an entry of the head log, as it is hashed; or {"leaf":hex} for one that is not shown      the head log, in order
    {"checkpoint":9,"note":text}                                                                 every signed checkpoint, the smallest first
    {"log":"acme","index":0,"kind":"intent","call":...,"request":null,"leaf":hex,"envelope":text,"salt":hex,"payload":text,"closed":""}
    ...                                                                                     logs by name, each by index
    {"end":true,"records":1071,"logs":[...]}                                                                           trailer

Rules:

1. Envelope and payload are JSON strings that hold the exact stored bytes: hashing their UTF-8 gives the stored hashes. So are entries of
   the head log, notes and endorsements.
2. The header says what the stored trees say, the trailer what was written. A file without its trailer was cut. Whoever can write the file
   can write both; not so the checkpoints, which only the ledger's keys sign: bring a key along to verify (`HeadReport.keys`).
3. `closed` says why salt and payload are null where they are: `erased`, `locked` (exported without them, or without the key) or `damaged`.
4. Projections (requests, votes, keys, open calls) are not exported: records say what they said.
5. An export of one log shows the entries of other logs by their hashes (ledger/excerpt.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken
from licet.ledger.checkpoint import decode_head_entry
from licet.ledger.merkle import Tree
from licet.ledger.record import UNREADABLE, Head
from licet.ledger.report import PROBLEM_LIMIT, SHOWN_LIMIT, Problem, Report
from licet.ledger.source import HeadLog, Opening, Projections, Row, Source, TreeState, Withheld, opened_rows
from licet.ledger.verify import Chunks, verify
from licet.model import Receipt

EXPORT_VERSION = 1
_CHUNK = 500


class ExportedTree(Struct, frozen=True):
    """A log in header or trailer; hashes are hex."""

    log: str
    size: int
    root: str
    compact_range: tuple[str, ...]


class _Key(Struct, frozen=True, forbid_unknown_fields=True):
    vkey: str
    endorsement: str | None


class _Header(Struct, frozen=True, forbid_unknown_fields=True):
    licet_export: int
    records: int
    logs: tuple[ExportedTree, ...]
    head: ExportedTree | None = None
    keys: tuple[_Key, ...] = ()


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    entry: str


class _Leaf(Struct, frozen=True, forbid_unknown_fields=True):
    leaf: str


class _Checkpoint(Struct, frozen=True, forbid_unknown_fields=True):
    checkpoint: int
    note: str


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
    head_log = source.head_log
    head, keys = (None, ()) if head_log is None else (_head(head_log), _keys(head_log))
    yield _encode(_Header(EXPORT_VERSION, sum(tree.size for tree in stored), stored, head, keys))
    if head_log is not None:
        yield from _head_lines(head_log)
    written = []
    for log in (tree.log for tree in stored):
        tree = Tree()
        for row, opening in opened_rows(source, log):
            yield _encode(_line(log, row, opening))
            tree.append(row[5])
        written.append(_exported(log, tree))
    yield _encode(_Trailer(True, sum(tree.size for tree in written), tuple(written)))


def verify_export(unverified_lines: Iterable[bytes], *, receipts: Iterable[Receipt] = ()) -> Report:
    """What `verify` finds in an export, its completeness included. Raises `IntegrityBroken` when it does not begin as one."""
    return verify_open_export(ExportSource(unverified_lines), receipts=receipts)


def verify_open_export(export: ExportSource, *, receipts: Iterable[Receipt] = (), chunks: Chunks | None = None) -> Report:
    """As `verify_export`, for a source that was made from one and not read yet."""
    report = verify(export, receipts=receipts, chunks=chunks)
    export.finish(report)
    problems = (*report.problems, *export.faults)[:PROBLEM_LIMIT]
    return msgspec.structs.replace(report, problem_count=report.problem_count + len(export.faults), problems=problems)


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


def _head(head_log: HeadLog) -> ExportedTree:
    state = head_log.tree()
    return _exported(state.log, Tree(state.size, state.compact_range))


def _keys(head_log: HeadLog) -> tuple[_Key, ...]:
    return tuple([_Key(vkey, None if note is None else _text(note, "an endorsement")) for vkey, note in head_log.signing_keys()])


def _head_lines(head_log: HeadLog) -> Iterator[bytes]:
    for _, _, entry in head_log.entries():
        line = _Leaf(entry.leaf.hex()) if isinstance(entry, Withheld) else _Entry(_text(entry, "an entry of the head log"))
        yield _encode(line)
    for size, note in head_log.checkpoints():
        yield _encode(_Checkpoint(size, _text(note, "a checkpoint")))


def _text(stored: bytes, what: str) -> str:
    try:
        return stored.decode()
    except (UnicodeDecodeError, AttributeError) as error:  # as above
        raise IntegrityBroken(f"{what} is not text and cannot be exported; run `licet audit verify`") from error


class ExportSource:
    """An export, read once from top to end, as a source for `verify`. Raises `IntegrityBroken` when it does not begin as one.

    It keeps the head log: about 200 bytes for each of its entries.
    """

    projections: Projections | None = None

    def __init__(self, unverified_lines: Iterable[bytes]) -> None:
        self.faults: list[Problem] = []
        self._lines = iter(unverified_lines)
        self._number = 1
        header = _decode(next(self._lines, b""), _Header)
        if header is None or header.licet_export != EXPORT_VERSION:
            raise IntegrityBroken(f"the first line is not the header of an export of version {EXPORT_VERSION}")
        self._header = header
        kept = None if header.head is None else _KeptHead(header.head, header.keys)
        self.head_log: HeadLog | None = kept
        self._next = self._read()
        while isinstance(self._next, _Entry | _Leaf | _Checkpoint):
            if kept is None or not kept.take(self._next):
                self._fault("lines", f"line {self._number} is not in its place")
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
        """What is left after all logs must be the trailer; it and the header must say what was read."""
        read = [(log.log, log.size, log.root) for log in report.logs]
        self._verify_said("header", self._header.logs, self._header.records, read)
        if isinstance(self._next, _Line):
            self._fault("lines", "a record belongs to no log, or is not in its place", found=f"{self._next.log} {self._next.index}")
        elif self._next is None:
            self._fault("trailer", "the export was cut: its last line is missing or cannot be read")
        elif isinstance(self._next, _Trailer):
            self._verify_said("trailer", self._next.logs, self._next.records, read)
            if self._next.logs != self._header.logs:
                self._fault("trailer", "it speaks of other trees than the header")
            if next(self._lines, None) is not None:
                self._fault("lines", "something follows the trailer")
        else:
            self._fault("lines", "a line of the head log is not in its place")
        head = self._header.head
        if head is not None and report.head is not None and (head.size, head.root) != (report.head.size, report.head.root):
            self._fault("header", "the head log is not the one that was exported", expected=head.root, found=report.head.root)

    def _verify_said(self, where: str, trees: Sequence[ExportedTree], records: int, read: list[tuple[str, int, str]]) -> None:
        said = [(tree.log, tree.size, tree.root) for tree in trees]
        if said != read or records != sum(size for _, size, _ in read):
            self._fault(where, "records are not those that were exported", expected=str(said), found=str(read))

    def _read(self) -> _AnyLine | None:
        """The next line; None at the end, and at a line that cannot be read: what follows it is not looked at."""
        unverified = next(self._lines, None)
        self._number += 1
        if unverified is None:
            return None
        found: _AnyLine | None = _decode(unverified, _Line) or _decode(unverified, _Trailer)
        found = found or _decode(unverified, _Entry) or _decode(unverified, _Leaf) or _decode(unverified, _Checkpoint)
        if found is None:
            self._fault("lines", f"line {self._number} cannot be read")
        return found

    def _fault(self, field: str, message: str, *, expected: str = "", found: str = "") -> None:
        self.faults.append(Problem(None, None, field, expected[:SHOWN_LIMIT], found[:SHOWN_LIMIT], message))


_AnyLine = _Line | _Trailer | _Entry | _Leaf | _Checkpoint


class _KeptHead:
    """The head log of an export, gathered line by line."""

    def __init__(self, head: ExportedTree, keys: Sequence[_Key]) -> None:
        self._head = head
        self._keys = keys
        self._entries: list[tuple[str, int, bytes | Withheld]] = []
        self._numbers: dict[str, list[int]] = {}
        self._checkpoints: list[tuple[int, bytes]] = []

    def take(self, line: _Entry | _Leaf | _Checkpoint) -> bool:
        """The line is taken in; False where it cannot be the next one."""
        if isinstance(line, _Checkpoint):
            in_order = not self._checkpoints or line.checkpoint > self._checkpoints[-1][0]
            self._checkpoints.append((line.checkpoint, line.note.encode()))
            return in_order
        log, size = _state_of(line.entry.encode()) if isinstance(line, _Entry) else ("", 0)
        self._numbers.setdefault(log, []).append(len(self._entries))
        self._entries.append((log, size, line.entry.encode() if isinstance(line, _Entry) else Withheld(_bytes(line.leaf))))
        return not self._checkpoints

    def tree(self) -> TreeState:
        return TreeState(self._head.log, self._head.size, _hashes(self._head.compact_range))

    def entries(self) -> Iterator[tuple[str, int, bytes | Withheld]]:
        return iter(self._entries)

    def entries_of(self, log: str) -> Iterator[tuple[int, int, bytes]]:
        for number in self._numbers.get(log, ()):
            _, size, entry = self._entries[number]
            if isinstance(entry, bytes):
                yield number, size, entry

    def checkpoints(self) -> Iterable[tuple[int, bytes]]:
        return self._checkpoints

    def signing_keys(self) -> Sequence[tuple[str, bytes | None]]:
        return [(key.vkey, None if key.endorsement is None else key.endorsement.encode()) for key in self._keys]


def _state_of(unverified_entry: bytes) -> tuple[str, int]:
    """Of which log and size an entry speaks; one that cannot be read speaks of none, and `verify` says so."""
    try:
        entry = decode_head_entry(unverified_entry)
    except IntegrityBroken:
        return "", 0
    return entry.log, entry.size


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
