"""What a ledger in PostgreSQL can be asked about that may go, and must not; see store/forgetting.py for what each method promises.

Long reads go in steps, each a moment of its own: no reader keeps the server from clearing away former rows for longer than a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from licet.ledger.forgotten import Hold
from licet.ledger.vault import SecretRow
from licet.model import LIVE_STATES
from licet.store.forgetting import KeyUse, Prunable, Sealed, SealedRow
from licet.store.postgres_erase import candidates, read_holds, scan_step
from licet.store.postgres_reading import Connection, Reading
from licet.store.rows import SECRET_ROW
from licet.store.sealed_rows import PRUNED_AT_ONCE, count_open, live_among, runs_of
from licet.store.sqlite_open import INDEX_BITS


class ForgettingReads(Reading):
    """The reading half of store/forgetting.py."""

    def sealed_under(self, pseudonym: str, known: Sealed | None = None) -> Sealed:
        """Everything that this pseudonym seals; goes on from what was known."""
        rows = list(known.rows) if known is not None else []
        ends = dict(known.ends) if known is not None else {}

        async def step(con: Connection) -> tuple[list[SealedRow] | None, dict[int, int]]:
            reached = dict(ends)  # its own: a read whose connection is lost is done again, from where it began
            return await scan_step(con, pseudonym, reached), reached

        async def whole(con: Connection) -> Sealed:
            return await _sealed(con, pseudonym, rows, ends)

        while True:
            found, ends = self._moment(step)
            if found is None:
                return self._moment(whole)
            rows += found

    def prunable(self, log: str, before_us: int, start: int = 0) -> Prunable:
        """The next payloads that may be dropped, from this index on."""

        async def read(con: Connection) -> Prunable:
            return await _prunable(con, log, before_us, start)

        return self._moment(read)

    def holds(self) -> tuple[Hold, ...]:
        """Every hold that stands."""
        return self._moment(read_holds)

    def erasures(self) -> dict[str, tuple[str, str]]:
        """Log and target of everybody who was erased, by pseudonym."""
        return {pseudonym: (log, target) for pseudonym, log, target in self._rows("SELECT pseudonym, log, target FROM erasures")}

    def present_secrets(self, pseudonyms: Sequence[str]) -> tuple[str, ...]:
        """Those of the pseudonyms that have a secret."""
        rows = self._rows("SELECT pseudonym FROM secrets WHERE pseudonym = ANY($1::TEXT[])", list(pseudonyms))
        return tuple([pseudonym for (pseudonym,) in rows])

    def key_uses(self) -> tuple[KeyUse, ...]:
        """Every key-encryption key under which something lies, or which was retired."""
        text = (
            "SELECT key, sum(secret)::BIGINT, sum(seed)::BIGINT, max(retired) FROM ("
            "SELECT key, count(*) AS secret, 0 AS seed, 0 AS retired FROM secrets GROUP BY key "
            "UNION ALL SELECT key, 0, count(*), 0 FROM signing_keys GROUP BY key UNION ALL SELECT key, 0, 0, 1 FROM retired_keys) AS found "
            "GROUP BY key ORDER BY key"
        )
        return tuple([KeyUse(key, secrets, seeds, bool(retired)) for key, secrets, seeds, retired in self._rows(text)])

    def secrets_not_under(self, key: str, limit: int) -> tuple[SecretRow, ...]:
        """Secrets that other keys wrap."""
        return tuple([SecretRow(*row) for row in self._rows(f"{SECRET_ROW}key <> $1 LIMIT $2", key, limit)])


async def _sealed(con: Connection, pseudonym: str, rows: Sequence[SealedRow], ends: dict[int, int]) -> Sealed:
    places = [row.place for row in rows]
    numbers = {place >> INDEX_BITS for place in places}
    live = await con.fetch("SELECT id, tenant FROM requests WHERE state = ANY($1::TEXT[])", list(LIVE_STATES))
    return Sealed(
        pseudonym,
        tuple(rows),
        ends,
        int(await con.fetchval("SELECT count(*) FROM payloads WHERE place = ANY($1::BIGINT[])", places)),
        tuple(sorted([name for number, name in await con.fetch("SELECT number, name FROM logs") if number in numbers])),
        live_among(rows, [tuple(row) for row in live]),
        count_open(rows, [tuple(row) for row in await con.fetch("SELECT call FROM open_calls")]),
    )


async def _prunable(con: Connection, log: str, before_us: int, start: int) -> Prunable:
    nothing = Prunable(log, (), 0, None)
    number = await con.fetchval("SELECT number FROM logs WHERE name = $1", log)
    holds = await read_holds(con)
    if number is None or any(hold.target is None and hold.log == log for hold in holds):
        return nothing
    base, end = number << INDEX_BITS, (number + 1) << INDEX_BITS
    first = await con.fetchval("SELECT min(place) FROM payloads WHERE place >= $1 AND place < $2", base + start, end)
    if first is None:
        return nothing
    held = {hold.pseudonym for hold in holds if hold.pseudonym is not None}
    found = await candidates(con, first, min(end, first + PRUNED_AT_ONCE), held)
    runs, payloads, stop = runs_of(found, before_us)
    return Prunable(log, tuple([(a - base, b - base) for a, b in runs]), payloads, None if stop is None else stop - base)
