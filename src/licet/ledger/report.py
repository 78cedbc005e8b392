"""What a verification found: counts, roots, and each problem with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from licet.errors import IntegrityBroken

PROBLEM_LIMIT = 1000
"""Problems that are described; all are counted. A ledger with more was not damaged in one place."""

SHOWN_LIMIT = 200
"""Characters of a value that a problem shows."""


class Problem(Struct, frozen=True):
    """One thing that is not as it was written: where, which field or hash, what should be there and what is.

    `expected` and `found` are empty where there is nothing to say.
    `index` is None where a log as a whole, or a row beside the records, is meant; `log` is None where no log is.
    """

    log: str | None
    index: int | None
    field: str
    expected: str
    found: str
    message: str

    def __str__(self) -> str:
        place = "ledger" if self.log is None else f"log `{self.log}`"
        place += "" if self.index is None else f", record {self.index}"
        facts = [f"{word} `{value}`" for word, value in (("expected", self.expected), ("found", self.found)) if value]
        return f"{place}, {self.field}: {self.message}{': ' if facts else ''}{', '.join(facts)}"


class LogReport(Struct, frozen=True):
    """A log as recomputed from its records: how many there are, their root (hex), and how many of them a signed checkpoint commits to."""

    log: str
    size: int
    root: str
    signed: int = 0


class HeadReport(Struct, frozen=True):
    """The head log as recomputed: its origin, size and root (hex), the size of the last checkpoint that fits, and the keys that signed.

    `withheld` counts entries of which only the hash is there: they are of other logs, or somebody hides that a log went on.
    """

    origin: str
    size: int
    root: str
    signed: int
    keys: tuple[str, ...]
    withheld: int = 0


class Report(Struct, frozen=True):
    """The result of a verification. `checked_projections` is False where the source has records only.

    `locked` counts payloads that could not be opened for want of a key: what they say was not checked. `erased` counts those that are gone.
    """

    logs: tuple[LogReport, ...]
    records: int
    checked_projections: bool
    problem_count: int
    problems: tuple[Problem, ...]
    locked: int = 0
    head: HeadReport | None = None
    erased: int = 0

    @property
    def ok(self) -> bool:
        """Nothing was found. What that does not show is said in ledger/verify.py."""
        return self.problem_count == 0


class Findings:
    """Gathers problems while a verification runs."""

    def __init__(self) -> None:
        self.count = 0
        self.locked = 0
        self.erased = 0
        self.problems: list[Problem] = []

    def add(self, log: str | None, index: int | None, field: str, message: str, *, expected: object = "", found: object = "") -> None:
        """One more problem."""
        self.count += 1
        if self.count <= PROBLEM_LIMIT:
            self.problems.append(Problem(log, index, field, _shown(expected), _shown(found), message))

    def take(self, count: int, problems: Sequence[Problem], locked: int) -> None:
        """What was found elsewhere."""
        self.count += count
        self.locked += locked
        self.problems += problems[: max(0, PROBLEM_LIMIT - len(self.problems))]

    @contextmanager
    def of(self, log: str | None) -> Iterator[None]:
        """What raises `IntegrityBroken` in here becomes a problem of this log, and the verification goes on behind it."""
        try:
            yield
        except IntegrityBroken as error:
            self.add(log, None, "store", str(error))


def _shown(value: object) -> str:
    return "" if value is None else (value.hex() if isinstance(value, bytes) else str(value))[:SHOWN_LIMIT]
