"""Does the signed head log say what the logs say?

1. entries are in their one form, and name the log and size under which they are found
2. the sizes of one log only grow from entry to entry
3. each entry's root is that of its log's first records, as many as it says
4. the head log's tree, recomputed, is the stored one
5. every signing key but the first was endorsed by the one before it (ledger/rotation.py)
6. every checkpoint is of this head log, signed by a key of its size, and has the root that the head log had at that size

An entry that does not fit tells between which two signed states records were changed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from msgspec import Struct

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import Checkpoint, HeadEntry, decode_head_entry
from licet.ledger.merkle import Tree
from licet.ledger.record import leaf_hash
from licet.ledger.report import Findings, HeadReport
from licet.ledger.rotation import Trust, verify_rotation
from licet.ledger.source import HeadLog, Withheld


class Mark(Struct, frozen=True):
    """What the head log says of one log: at entry `number`, it had `size` records and this root."""

    number: int
    size: int
    root: bytes


class GrowingLog:
    """A log's tree as its records come in, held against each of the log's marks on the way."""

    def __init__(self, log: str, marks: Iterator[Mark], findings: Findings) -> None:
        self.tree = Tree()
        self._log = log
        self._marks = marks
        self._findings = findings
        self._same = 0
        self._numbers, self._sizes = array("q"), array("q")
        self._differs = False
        self._mark = next(marks, None)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """The next leaves."""
        while self._mark is not None and self._mark.size <= self.tree.size + len(leaves):
            cut = self._mark.size - self.tree.size
            self.tree.extend(leaves[:cut])
            leaves = leaves[cut:]
            self._compare(self._mark)
            self._mark = next(self._marks, None)
        self.tree.extend(leaves)

    def end(self) -> None:
        """All leaves have come."""
        if self._mark is not None:
            self._findings.add(
                self._log,
                None,
                "head",
                f"records were cut off: entry {self._mark.number} of the head log knows more",
                expected=self._mark.size,
                found=self.tree.size,
            )

    def signed_by(self, head_size: int) -> int:
        """How many records are as a head log of this size says: one root after another, from the first."""
        place = bisect_left(self._numbers, head_size)
        return self._sizes[place - 1] if place else 0

    def _compare(self, mark: Mark) -> None:
        """3; only the first difference is told: all that follow are its consequence."""
        root = self.tree.root()
        if root == mark.root:
            if not self._differs:
                self._same = mark.size
                self._numbers.append(mark.number)
                self._sizes.append(mark.size)
        elif not self._differs:
            self._differs = True
            message = f"records {self._same} to {mark.size - 1} are not those that entry {mark.number} of the head log was made from"
            self._findings.add(self._log, None, "head", message, expected=mark.root, found=root)


class Heads:
    """The head log of a source; everything fits where there is none. `report` is there after `finish`."""

    def __init__(self, head_log: HeadLog | None, findings: Findings) -> None:
        self._head_log = head_log
        self._findings = findings
        self._growing: dict[str, GrowingLog] = {}
        self.report: HeadReport | None = None

    def growing(self, log: str) -> GrowingLog:
        """The log, to be held against its marks."""
        self._growing[log] = GrowingLog(log, self._marks(log), self._findings)
        return self._growing[log]

    def signed_of(self, log: str) -> int:
        """How many records of this log are as a checkpoint that fits commits to. To be asked after `finish`."""
        return self._growing[log].signed_by(self.report.signed) if self.report is not None else 0

    def finish(self) -> None:
        """4 to 6, and 1 for every entry."""
        head_log = self._head_log
        if head_log is None:
            return
        with self._findings.of(None):
            stored = head_log.tree()
            trust = self._trust(head_log, stored.log)
            checkpoints = iter(head_log.checkpoints())
            tree, signed, withheld = Tree(), 0, 0
            due = next(checkpoints, None)
            due, signed = self._verify_due(due, checkpoints, tree, trust, signed)
            for log, size, raw in head_log.entries():
                withheld += isinstance(raw, Withheld)
                tree.append(raw.leaf if isinstance(raw, Withheld) else self._verify_entry(log, size, raw, tree.size))
                due, signed = self._verify_due(due, checkpoints, tree, trust, signed)
            if due is not None:
                self._findings.add(
                    None, None, "head", "the head log was cut off: a checkpoint knows more", expected=due[0], found=tree.size
                )
            if (stored.size, stored.compact_range) != (tree.size, tuple(tree.peaks)):
                self._findings.add(None, None, "head", "the stored tree of the head log is another", expected=stored.size, found=tree.size)
            keys = tuple([span.key.vkey for span in trust.spans]) if trust is not None else ()
            self.report = HeadReport(stored.log, tree.size, tree.root().hex(), signed, keys, withheld)

    def _marks(self, log: str) -> Iterator[Mark]:
        """The log's entries by size; 1 and 2. One that cannot be read is told by `finish`."""
        last = 0
        for number, size, stored in self._head_log.entries_of(log) if self._head_log is not None else ():
            try:
                entry = decode_head_entry(stored)
            except IntegrityBroken:
                continue
            if (entry.log, entry.size) != (log, size) or size <= last:
                continue
            last = size
            yield Mark(number, size, bytes.fromhex(entry.root))

    def _verify_entry(self, log: str, size: int, stored: bytes, number: int) -> bytes:
        """1 for one entry; its leaf hash."""
        entry = self._decode(stored, number)
        if entry is not None and (entry.log, entry.size) != (log, size):
            self._findings.add(log, None, "head", f"entry {number} is kept as that of another state", expected=entry.size, found=size)
        return leaf_hash(stored)

    def _decode(self, stored: bytes, number: int) -> HeadEntry | None:
        try:
            return decode_head_entry(stored)
        except IntegrityBroken as error:
            self._findings.add(None, None, "head", f"entry {number} of the head log: {error}")
            return None

    def _trust(self, head_log: HeadLog, origin: str) -> Trust | None:
        keys = head_log.signing_keys()
        if not keys:
            return None
        try:
            trust = verify_rotation(origin, keys[0][0], [endorsement for _, endorsement in keys if endorsement is not None])
        except NoteInvalid as error:
            self._findings.add(None, None, "signing_keys", f"the keys that sign do not follow from one another: {error}")
            return None
        endorsed, kept = tuple([span.key.vkey for span in trust.spans]), tuple([vkey for vkey, _ in keys])
        if endorsed != kept:
            self._findings.add(None, None, "signing_keys", "a key is kept that nobody has handed over to", expected=endorsed, found=kept)
        return trust

    def _verify_due(
        self, due: tuple[int, bytes] | None, later: Iterator[tuple[int, bytes]], tree: Tree, trust: Trust | None, signed: int
    ) -> tuple[tuple[int, bytes] | None, int]:
        """6 for the checkpoints of this size; the next that is due, and the size up to which checkpoints fit."""
        while due is not None and due[0] <= tree.size:
            size, note = due
            try:
                checkpoint = _open(trust, note)
                if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()) or size != tree.size:
                    message = f"checkpoint {size} is of another head log"
                    self._findings.add(None, None, "checkpoint", message, expected=tree.root(), found=checkpoint.root)
                else:
                    signed = size
            except NoteInvalid as error:
                self._findings.add(None, None, "checkpoint", f"checkpoint {size}: {error}")
            due = next(later, None)
        return due, signed


def _open(trust: Trust | None, note: bytes) -> Checkpoint:
    if trust is None:
        raise NoteInvalid("there is no key that could have signed it")
    return trust.open(note)[0]
