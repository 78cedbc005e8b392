"""What a ledger in SQLite can be asked about that may go, and must not; see store/forgetting.py for what each method promises.

Long reads go in steps, each a moment of its own: no reader holds up the log's copying for longer than a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import apsw

from licet.ledger.forgotten import Hold
from licet.ledger.vault import SecretRow
from licet.model import LIVE_STATES
from licet.store.forgetting import KeyUse, Prunable, Sealed, SealedRow
from licet.store.rows import SECRET_ROW
from licet.store.sealed_rows import PRUNED_AT_ONCE, count_open, live_among, runs_of
from licet.store.sqlite_erase import MARKS, candidates, present_among, read_holds, scan_step
from licet.store.sqlite_open import INDEX_BITS
from licet.store.sqlite_rows import fetch


class ForgettingReads:
    """The reading half of store/forgetting.py."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def _moment(self) -> AbstractContextManager[apsw.Connection]:
        raise NotImplementedError

    def sealed_under(self, pseudonym: str, known: Sealed | None = None) -> Sealed:
        """Everything that this pseudonym seals; goes on from what was known."""
        rows = list(known.rows) if known is not None else []
        ends = dict(known.ends) if known is not None else {}
        more = True
        while more:
            with self._moment() as con:
                step = scan_step(con, pseudonym, ends)
            rows += step or []
            more = step is not None
        with self._moment() as con:
            return Sealed(
                pseudonym,
                tuple(rows),
                ends,
                _count_payloads(con, rows),
                _logs_of(con, rows),
                live_among(rows, _live(con)),
                count_open(rows, fetch(con, "SELECT call FROM open_calls")),
            )

    def prunable(self, log: str, before_us: int, start: int = 0) -> Prunable:
        """The next payloads that may be dropped, from this index on."""
        nothing = Prunable(log, (), 0, None)
        with self._moment() as con:
            number = con.execute("SELECT number FROM logs WHERE name = ?", (log,)).get
            holds = read_holds(con)
            if number is None or any(hold.target is None and hold.log == log for hold in holds):
                return nothing
            base, end = number << INDEX_BITS, (number + 1) << INDEX_BITS
            first = con.execute("SELECT min(place) FROM payloads WHERE place >= ? AND place < ?", (base + start, end)).get
            if first is None:
                return nothing
            held = {hold.pseudonym for hold in holds if hold.pseudonym is not None}
            runs, payloads, stop = runs_of(candidates(con, first, min(end, first + PRUNED_AT_ONCE), held), before_us)
        return Prunable(log, tuple([(a - base, b - base) for a, b in runs]), payloads, None if stop is None else stop - base)

    def holds(self) -> tuple[Hold, ...]:
        """Every hold that stands."""
        with self._moment() as con:
            return read_holds(con)

    def erasures(self) -> dict[str, tuple[str, str]]:
        """Log and target of everybody who was erased, by pseudonym."""
        return {pseudonym: (log, target) for pseudonym, log, target in self._rows("SELECT pseudonym, log, target FROM erasures")}

    def present_secrets(self, pseudonyms: Sequence[str]) -> tuple[str, ...]:
        """Those of the pseudonyms that have a secret."""
        with self._moment() as con:
            return tuple(present_among(con, pseudonyms))

    def key_uses(self) -> tuple[KeyUse, ...]:
        """Every key-encryption key under which something lies, or which was retired."""
        text = (
            "SELECT key, sum(secret), sum(seed), max(retired) FROM ("
            "SELECT key, count(*) AS secret, 0 AS seed, 0 AS retired FROM secrets GROUP BY key "
            "UNION ALL SELECT key, 0, count(*), 0 FROM signing_keys GROUP BY key UNION ALL SELECT key, 0, 0, 1 FROM retired_keys) "
            "GROUP BY key ORDER BY key"
        )
        return tuple([KeyUse(key, secrets, seeds, bool(retired)) for key, secrets, seeds, retired in self._rows(text)])

    def secrets_not_under(self, key: str, limit: int) -> tuple[SecretRow, ...]:
        """Secrets that other keys wrap."""
        return tuple([SecretRow(*row) for row in self._rows(f"{SECRET_ROW}key <> ? LIMIT ?", (key, limit))])


def _chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + MARKS] for start in range(0, len(values), MARKS)]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _count_payloads(con: apsw.Connection, rows: Sequence[SealedRow]) -> int:
    return sum(
        con.execute(f"SELECT count(*) FROM payloads WHERE place IN ({_marks(part)})", part).get  # noqa: S608  marks only
        for part in _chunks([row.place for row in rows])
    )


def _logs_of(con: apsw.Connection, rows: Sequence[SealedRow]) -> tuple[str, ...]:
    numbers = {row.place >> INDEX_BITS for row in rows}
    return tuple(sorted(name for number, name in fetch(con, "SELECT number, name FROM logs") if number in numbers))


def _live(con: apsw.Connection) -> list[Any]:
    return fetch(con, f"SELECT id, tenant FROM requests WHERE state IN ({_marks(tuple(LIVE_STATES))})", tuple(LIVE_STATES))  # noqa: S608  marks only
