"""What an attacker has in hand who can write the file, and has a copy of our code, but not the key.

Rows can be written, envelopes replaced, and every hash over them recomputed: leaf, tree, head log. What needs the key is in `owner.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Self

import apsw
import msgspec

from licet.ledger.checkpoint import Checkpoint, decode_head_entry, encode_head_entry, sign_checkpoint
from licet.ledger.merkle import Tree, root_of
from licet.ledger.note import Signer
from licet.ledger.record import decode_head, leaf_hash
from tests.attacks.stored import Stored


class Forger:
    """Who can write the file and knows our code. A context manager: nobody has the file open afterwards."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.con = apsw.Connection(str(stored.path))
        self.con.pragma("synchronous", "OFF")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def run(self, text: str, *values: Any) -> list[Any]:
        """A statement; all that it gives."""
        return self.con.execute(text, values).fetchall()

    def one(self, text: str, *values: Any) -> Any:
        """The first column of the first row."""
        return self.run(text, *values)[0][0]

    def logs(self) -> list[str]:
        """The logs by name."""
        return [name for (name,) in self.run("SELECT name FROM logs ORDER BY name")]

    def place(self, log: str, index: int) -> int:
        """Where a record lies."""
        return int(self.one("SELECT number << 40 FROM logs WHERE name = ?", log)) + index

    def size(self, log: str) -> int:
        """How many records there are, whatever the tree says."""
        return int(self.one("SELECT count(*) FROM records WHERE place >> 40 = ?", self.place(log, 0) >> 40))

    def first(self, log: str, kind: str, skip: int = 0) -> int:
        """The index of the first record of this kind, some of them skipped."""
        base = self.place(log, 0)
        return int(
            self.one("SELECT place FROM records WHERE place >> 40 = ? AND kind = ? ORDER BY place LIMIT 1 OFFSET ?", base >> 40, kind, skip)
            - base
        )

    def last(self, log: str, kind: str) -> int:
        """The index of the last record of this kind."""
        base = self.place(log, 0)
        return int(self.one("SELECT max(place) FROM records WHERE place >> 40 = ? AND kind = ?", base >> 40, kind) - base)

    def envelope(self, log: str, index: int) -> bytes:
        """A record's bytes."""
        return bytes(self.one("SELECT envelope FROM records WHERE place = ?", self.place(log, index)))

    def fields(self, log: str, index: int) -> dict[str, Any]:
        """An envelope's fields."""
        fields = json.loads(self.envelope(log, index))
        assert isinstance(fields, dict)
        return fields

    def put_fields(self, log: str, index: int, fields: dict[str, Any], *, leaf: bool = True) -> None:
        """The record says this, and so do the columns beside it; its leaf hash too, unless that is forgotten."""
        envelope = msgspec.json.encode(fields)
        place = self.place(log, index)
        self.run("UPDATE records SET envelope = ? WHERE place = ?", envelope, place)
        try:
            head = decode_head(envelope)
        except msgspec.DecodeError:
            pass  # not a record any more
        else:
            asked = head.approval and head.approval.request
            self.run("UPDATE records SET kind = ?, call = ?, request = ? WHERE place = ?", head.kind, head.call, asked, place)
        if leaf:
            self.run("UPDATE records SET leaf = ? WHERE place = ?", leaf_hash(envelope), place)

    def append(self, log: str, fields: dict[str, Any]) -> None:
        """One more record, without a payload; nothing is mended."""
        index = self.size(log)
        self.run("INSERT INTO records (place, kind, envelope, leaf) VALUES (?, '', x'', x'')", self.place(log, index))
        self.put_fields(log, index, fields)

    # hashes, for which no key is needed

    def leaves(self, log: str) -> list[bytes]:
        """Leaf hashes as the envelopes have them."""
        number = self.place(log, 0) >> 40
        return [leaf_hash(row[0]) for row in self.run("SELECT envelope FROM records WHERE place >> 40 = ? ORDER BY place", number)]

    def mend_trees(self) -> None:
        """Leaf hashes and stored trees are those of the records."""
        for place, envelope in self.run("SELECT place, envelope FROM records"):
            self.run("UPDATE records SET leaf = ? WHERE place = ?", leaf_hash(envelope), place)
        for log in self.logs():
            tree = Tree()
            tree.extend(self.leaves(log))
            self.run("UPDATE logs SET size = ?, compact_range = ? WHERE name = ?", tree.size, b"".join(tree.peaks), log)

    def mend_heads(self) -> None:
        """Every entry of the head log has the root that its log has now; entries that know more are gone, and the last says all."""
        sizes = {log: self.size(log) for log in self.logs()}
        leaves = {log: self.leaves(log) for log in sizes}
        entries = [decode_head_entry(entry) for (entry,) in self.run("SELECT entry FROM heads ORDER BY number")]
        kept = [entry for entry in entries if entry.size <= sizes.get(entry.log, -1)]
        kept = [msgspec.structs.replace(entry, root=root_of(leaves[entry.log][: entry.size]).hex()) for entry in kept]
        self.put_heads([(entry.log, entry.size, encode_head_entry(entry)) for entry in kept])

    def put_heads(self, entries: Sequence[tuple[str, int, bytes]]) -> None:
        """The head log has these entries, and tree, tiles and logs say so."""
        self.run("DELETE FROM heads")
        self.run("DELETE FROM head_tiles")
        for number, (log, size, entry) in enumerate(entries):
            self.run("INSERT INTO heads VALUES (?, ?, ?, ?)", number, log, size, entry)
        self.mend_head_tree()

    def mend_head_tree(self) -> None:
        """The stored tree of the head log is that of its entries."""
        tree = Tree()
        tree.extend(self.head_leaves())
        self.run("UPDATE ledger SET head_size = ?, head_range = ?", tree.size, b"".join(tree.peaks))

    def head_leaves(self) -> list[bytes]:
        """The leaf hashes of the head log."""
        return [leaf_hash(entry) for (entry,) in self.run("SELECT entry FROM heads ORDER BY number")]

    def checkpoint(self, size: int) -> Checkpoint:
        """The head log at this size."""
        return Checkpoint(self.origin(), size, root_of(self.head_leaves()[:size]))

    def origin(self) -> str:
        """The head log's name."""
        return str(self.one("SELECT origin FROM ledger"))

    def sign(self, signer_at: Callable[[int], Signer]) -> None:
        """Every checkpoint is of the head log as it is now, signed by this key; those of a larger one are gone."""
        end = int(self.one("SELECT head_size FROM ledger"))
        self.run("DELETE FROM checkpoints WHERE size > ?", end)
        for (size,) in self.run("SELECT size FROM checkpoints"):
            note = sign_checkpoint(self.checkpoint(size), [signer_at(size)])
            self.run("UPDATE checkpoints SET note = ? WHERE size = ?", note, size)

    def mend_all_hashes(self) -> None:
        """As far as one comes without a key."""
        self.mend_trees()
        self.mend_heads()
