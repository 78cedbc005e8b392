"""One log of a ledger, as a source of its own: what a tenant is given to hold.

Of the head log it has the entries of that log; of all others the leaf hashes alone, so that the checkpoints can be verified and nobody
learns which other logs there are. Not shown by an excerpt alone: that its log does not go on. Who hands it out can cut both; a receipt or
a newer proof shows that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from licet.ledger.record import Head, leaf_hash
from licet.ledger.source import HeadLog, Opening, Projections, Row, Source, TreeState, Withheld


class Excerpt:
    """The log `log` of a source. It has no projections: they speak of all logs."""

    projections: Projections | None = None

    def __init__(self, source: Source, log: str) -> None:
        self._source = source
        self._log = log
        self.head_log: HeadLog | None = None if source.head_log is None else _HeadExcerpt(source.head_log, log)

    def trees(self) -> Sequence[TreeState]:
        """The log's tree; none where there is no such log."""
        return [state for state in self._source.trees() if state.log == self._log]

    def rows(self, log: str, start: int = 0, stop: int | None = None, /) -> Iterator[Sequence[Row]]:
        """The log's records."""
        return self._source.rows(log, start, stop)

    def open(self, head: Head, body: Any, /) -> Opening:
        """The payload, as the source opens it."""
        return self._source.open(head, body)

    def fits(self, pseudonym: str, ref: str, /) -> bool:
        """As the source says."""
        return self._source.fits(pseudonym, ref)

    def blind(self, log: str, label: str, text: str) -> str | None:
        """As the source says."""
        return self._source.blind(log, label, text)


class _HeadExcerpt:
    def __init__(self, head_log: HeadLog, log: str) -> None:
        self._head_log = head_log
        self._log = log

    def tree(self) -> TreeState:
        return self._head_log.tree()

    def entries(self) -> Iterator[tuple[str, int, bytes | Withheld]]:
        for log, size, entry in self._head_log.entries():
            hidden = log != self._log and not isinstance(entry, Withheld)
            yield ("", 0, Withheld(leaf_hash(entry))) if hidden and isinstance(entry, bytes) else (log, size, entry)

    def entries_of(self, log: str) -> Iterator[tuple[int, int, bytes]]:
        return self._head_log.entries_of(log)

    def checkpoints(self) -> Iterable[tuple[int, bytes]]:
        return self._head_log.checkpoints()

    def signing_keys(self) -> Sequence[tuple[str, bytes | None]]:
        return self._head_log.signing_keys()


class Closed:
    """A source without its payloads: envelopes, hashes and the head log alone."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.projections: Projections | None = source.projections
        self.head_log: HeadLog | None = source.head_log

    def trees(self) -> Sequence[TreeState]:
        """As the source says."""
        return self._source.trees()

    def rows(self, log: str, start: int = 0, stop: int | None = None, /) -> Iterator[Sequence[Row]]:
        """As the source says."""
        return self._source.rows(log, start, stop)

    def open(self, head: Head, body: Any, /) -> Opening:
        """Nothing, and why: one that could be opened counts as locked."""
        closed = self._source.open(head, body)[2]
        return None, None, closed or "locked"

    def fits(self, pseudonym: str, ref: str, /) -> bool:
        """As the source says."""
        return self._source.fits(pseudonym, ref)

    def blind(self, log: str, label: str, text: str) -> str | None:
        """As the source says."""
        return self._source.blind(log, label, text)
