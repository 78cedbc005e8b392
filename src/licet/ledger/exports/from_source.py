"""The rows of a ledger, with or without payloads, and how many there are: what every format is given.

A source is one moment, so rows and expected numbers agree if both come from the same one. That somebody exported is for the caller of this
to record (`access`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from licet.errors import IntegrityBroken
from licet.ledger.exports.rows import Absence, Exported, exported
from licet.ledger.exports.summary import Expected, TreeRoot
from licet.ledger.merkle import Tree
from licet.ledger.source import Source, opened_rows

_ABSENCES: Final[dict[str, Absence]] = {"erased": "erased", "locked": "locked", "damaged": "damaged", "dropped": "dropped"}


def expected_of(source: Source) -> Expected:
    """How many rows the whole ledger has, and its logs with their roots as they are stored."""
    logs = [TreeRoot(state.log, state.size, Tree(state.size, state.compact_range).root().hex()) for state in source.trees()]
    return Expected(sum(log.size for log in logs), tuple(logs))


def rows_of(source: Source, *, payloads: bool) -> Iterator[Exported]:
    """Every record, logs by name and each by index, streamed. Payloads are opened only where they are asked for.

    Raises `IntegrityBroken` at a record that is not what its leaf hash is of.
    """
    for state in source.trees():
        yield from _with_payloads(source, state.log) if payloads else _without(source, state.log)


def _without(source: Source, log: str) -> Iterator[Exported]:
    for chunk in source.rows(log):
        for row in chunk:
            yield exported(log, row[0], row[5], row[4])


def _with_payloads(source: Source, log: str) -> Iterator[Exported]:
    for row, (_, payload, closed) in opened_rows(source, log):
        yield exported(log, row[0], row[5], row[4], payload=payload, absent=_absence(log, row[0], closed) if payload is None else None)


def _absence(log: str, index: int, closed: str) -> Absence:
    try:
        return _ABSENCES[closed]
    except KeyError as error:
        raise IntegrityBroken(f"record {index} of log `{log}` has no payload, and nothing says why") from error
