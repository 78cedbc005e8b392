"""Taking things away in PostgreSQL, inside the transaction of a group; see store/forgetting.py for the rules.

Rules, beside those there:

1. Whoever takes something away has the bar alone (store/postgres_locks.py): no record is sealed, no request opened and no hold placed
   beside it, so what it looks at is what is there when it commits.
2. A row that is deleted or overwritten is gone for every query from the commit on. Its bytes are not: PostgreSQL keeps the former row in
   the table's file until a new one is written (store/postgres_rewrite.py); the file system keeps the blocks of the former file until it
   uses them again; the write-ahead log, its archive, standbys and backups keep what was ever written for as long as whoever runs
   the server lets them.
3. What those bytes are worth: a payload is ciphertext, and the secret that opens it lies in the same places, wrapped under
   a key-encryption key that is never in the database. Once every key that wrapped it is destroyed, after a change of keys, no copy opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from licet.ledger.forgotten import Hold, pseudonym_in
from licet.ledger.vault import log_lookup
from licet.store.contract import Lost
from licet.store.forgetting import (
    BeginAnew,
    DestroySecret,
    DropPayloads,
    ForgettingChange,
    PlaceHold,
    ReleaseHold,
    RetireKeys,
    Rewrap,
    SealedRow,
)
from licet.store.postgres_locks import TAKE_HEAD
from licet.store.postgres_reading import Connection
from licet.store.postgres_rows import blurs, changed
from licet.store.sealed_rows import CANDIDATES, SCAN_ROWS, Candidate, asked_in, candidate_of, protects, sealed_row
from licet.store.sqlite_open import INDEX_BITS

_SEALED = (
    "SELECT place, kind, call, request, envelope FROM records "
    "WHERE place >= $1 AND place < $2 AND position($3::BYTEA IN envelope) > 0 ORDER BY place"
)


async def forget(con: Connection, change: ForgettingChange) -> Lost | None:  # noqa: PLR0911  one for each kind of change
    """The change is made, or what it lost; then nothing of it may stay (the caller has a savepoint)."""
    match change:
        case DestroySecret():
            return await _destroy(con, change)
        case DropPayloads():
            return await _drop(con, change)
        case PlaceHold():
            return await _place(con, change.hold)
        case ReleaseHold():
            gone = await changed(con, "DELETE FROM holds WHERE id = $1", change.hold)
            return None if gone else Lost("hold_gone", f"hold `{change.hold}` does not stand any more")
        case RetireKeys():
            text = "INSERT INTO retired_keys (key) SELECT unnest($1::TEXT[]) ON CONFLICT DO NOTHING"
            await con.execute(text, list(change.keys))
            return None
        case Rewrap():
            await _rewrap(con, change)
            return None
        case BeginAnew():
            return await _begin_anew(con, change)


async def _destroy(con: Connection, change: DestroySecret) -> Lost | None:
    sealed = change.sealed
    found = await con.fetchrow("SELECT tenant, lookup FROM secrets WHERE pseudonym = $1", sealed.pseudonym)
    if found is None or found[1] == log_lookup(found[0]):  # the secret of a log: without it nothing in the log could be read
        return Lost("secret_gone", "there is no such subject any more")
    hold = next((hold for hold in await read_holds(con) if protects(hold, sealed.pseudonym, {change.log, *sealed.logs})), None)
    if hold is not None:
        return Lost("held", f"hold `{hold.id}` stands")
    ends = dict(sealed.ends)
    while (since := await scan_step(con, sealed.pseudonym, ends)) is not None:
        if since:
            return Lost("sealed_since", "something was recorded about it at the same moment")
    await con.execute("DELETE FROM secrets WHERE pseudonym = $1", sealed.pseudonym)
    await con.execute("DELETE FROM payloads WHERE place = ANY($1::BIGINT[])", [row.place for row in sealed.rows])
    await _blur(con, sealed.rows)
    text = (
        "INSERT INTO erasures (pseudonym, log, target) VALUES ($1, $2, $3) "
        "ON CONFLICT (pseudonym) DO UPDATE SET log = excluded.log, target = excluded.target"
    )
    await con.execute(text, sealed.pseudonym, change.log, change.target)
    await con.execute("UPDATE ledger SET secrets = secrets + 1")
    return None


async def _blur(con: Connection, rows: Sequence[SealedRow]) -> None:
    """No blind leads from a name back to these records: neither of who voted, nor of a request, nor of an idempotency key's use.

    The key itself stays taken: what it stood for may have run, and is not to run again. One of the erased user's own is nobody's any more.
    """
    asked = asked_in(rows)
    requests = sorted(asked)
    text = "UPDATE requests SET key = new.key, asker = new.asker FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS new (id, key, asker) "
    await con.execute(f"{text}WHERE requests.id = new.id", requests, blurs(len(requests)), blurs(len(requests)))
    votes = [number for (number,) in await con.fetch("SELECT number FROM votes WHERE request = ANY($1::TEXT[])", requests)]
    for row in rows:
        if row.voted and row.request is not None and row.request not in asked:
            votes += await _vote_of(con, row)
    text = "UPDATE votes SET person = new.person FROM unnest($1::BIGINT[], $2::TEXT[]) AS new (number, person) "
    await con.execute(f"{text}WHERE votes.number = new.number", votes, blurs(len(votes)))
    began = {row.call: row for row in rows if row.kind == "intent" and row.call is not None}
    await _blur_keys(con, [str(call) for call in began], "digest")
    await _blur_keys(con, [str(call) for call, row in began.items() if row.acted], "scope")


async def _vote_of(con: Connection, row: SealedRow) -> list[int]:
    """The number of the vote's row: votes and their records have one order."""
    text = (
        "SELECT number FROM votes WHERE request = $1 ORDER BY number "
        "LIMIT 1 OFFSET (SELECT count(*) FROM records WHERE request = $1 AND kind = 'vote' AND place < $2)"
    )
    return [number for (number,) in await con.fetch(text, row.request, row.place)]


async def _blur_keys(con: Connection, calls: Sequence[str], column: str) -> None:
    text = f"UPDATE keys SET {column} = new.blur FROM unnest($1::TEXT[], $2::TEXT[]) AS new (call, blur) WHERE keys.call = new.call"  # noqa: S608  constants
    await con.execute(text, calls, blurs(len(calls)))


async def scan_step(con: Connection, pseudonym: str, ends: dict[int, int]) -> list[SealedRow] | None:
    """Of the next records behind `ends` (a place for each log's number, moved on), those that the pseudonym seals; None at the end."""
    for (number,) in await con.fetch("SELECT number FROM logs ORDER BY number"):
        start = ends.get(number, number << INDEX_BITS)
        behind = (number + 1) << INDEX_BITS
        last = await con.fetchval("SELECT max(place) FROM records WHERE place >= $1 AND place < $2", start, behind)
        if last is not None:
            ends[number] = stop = min(start + SCAN_ROWS, last + 1)
            found = [sealed_row(row, pseudonym) for row in await con.fetch(_SEALED, start, stop, pseudonym.encode())]
            return [row for row in found if row is not None]
    return None


async def read_holds(con: Connection) -> tuple[Hold, ...]:
    """Every hold that stands."""
    return tuple([Hold(*row) for row in await con.fetch("SELECT id, log, target, at FROM holds ORDER BY id")])


async def _place(con: Connection, hold: Hold) -> Lost | None:
    pseudonym = None if hold.target is None else pseudonym_in(hold.target)
    if hold.target is not None and not await con.fetch("SELECT 1 FROM secrets WHERE pseudonym = $1", pseudonym):
        return Lost("secret_gone", "there is no such subject any more")
    await con.execute("INSERT INTO holds (id, log, target, at) VALUES ($1, $2, $3, $4)", hold.id, hold.log, hold.target, hold.at)
    return None


async def _drop(con: Connection, change: DropPayloads) -> Lost | None:
    found = change.prunable
    number = await con.fetchval("SELECT number FROM logs WHERE name = $1", found.log)
    holds = await read_holds(con)
    held = {hold.pseudonym for hold in holds if hold.pseudonym is not None}
    if number is None or any(hold.target is None and hold.log == found.log for hold in holds):
        return Lost("payloads_moved", "a hold was placed at the same moment")
    base, dropped = number << INDEX_BITS, 0
    for first, last in found.runs:
        if any(kept for _, present, kept, _ in await candidates(con, base + first, base + last + 1, held) if present):
            return Lost("payloads_moved", "what was to be dropped is needed again")
        dropped += await changed(con, "DELETE FROM payloads WHERE place BETWEEN $1 AND $2", base + first, base + last)
    return None if dropped == found.payloads else Lost("payloads_moved", "payloads were dropped at the same moment")


async def candidates(con: Connection, start: int, end: int, held: set[str]) -> list[Candidate]:
    """For each record of these places: place, whether its payload is there, whether that must stay, and its time."""
    rows = await con.fetch(f"{CANDIDATES}records.place >= $1 AND records.place < $2 ORDER BY records.place", start, end)
    return [candidate_of(row, held) for row in rows]


async def _rewrap(con: Connection, change: Rewrap) -> None:
    rows = [(row.key, row.wrapped, row.name, row.former) for row in change.secrets]
    await con.executemany("UPDATE secrets SET key = $1, wrapped = $2 WHERE pseudonym = $3 AND key = $4", rows)
    seeds = [(row.key, row.wrapped, row.name, row.former) for row in change.signing_keys]
    await con.executemany("UPDATE signing_keys SET key = $1, wrapped = $2 WHERE vkey = $3 AND key = $4", seeds)


async def _begin_anew(con: Connection, change: BeginAnew) -> Lost | None:
    await con.execute(TAKE_HEAD)
    text = "UPDATE ledger SET origin = $1, head_size = 0, head_range = '' WHERE origin = $2"
    if not await changed(con, text, change.origin, change.former):
        return Lost("origin_moved", "the head log was begun anew at the same moment")
    for table in ("heads", "head_tiles", "checkpoints", "signing_keys"):
        await con.execute(f"DELETE FROM {table}")  # noqa: S608  constants
    text = "INSERT INTO signing_keys (vkey, key, wrapped) VALUES ($1, $2, $3)"
    await con.execute(text, change.vkey, change.key, change.wrapped)
    return None


async def refuse_retired(con: Connection, keys: Iterable[str]) -> Lost | None:
    """Nothing new is wrapped under a key that was replaced: once it is thrown away, nobody could read that."""
    found = await con.fetchval("SELECT min(key) FROM retired_keys WHERE key = ANY($1::TEXT[])", list(set(keys)))
    if found is None:
        return None
    return Lost("secrets_moved", f"the key-encryption key `{found}` was replaced: restart this process with the new one")
