"""Taking things away in SQLite, inside the transaction of a group; see store/forgetting.py for the rules.

The connection overwrites what it deletes (`secure_delete`, from the first row on: without it, a page that was split before keeps copies of
rows that have moved to another).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import apsw

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
from licet.store.sealed_rows import CANDIDATES, SCAN_ROWS, Candidate, asked_in, candidate_of, protects, sealed_row
from licet.store.sqlite_open import INDEX_BITS
from licet.store.sqlite_rows import fetch

MARKS = 500
"""Values of one statement."""
_RANDOM = "lower(hex(randomblob(16)))"
"""In place of a blind: looks like one, and leads nowhere."""


def forget(con: apsw.Connection, change: ForgettingChange) -> Lost | None:  # noqa: PLR0911  one for each kind of change
    """The change is made, or what it lost; then nothing of it may stay (the caller has a savepoint)."""
    match change:
        case DestroySecret():
            return _destroy(con, change)
        case DropPayloads():
            return _drop(con, change)
        case PlaceHold():
            return _place(con, change.hold)
        case ReleaseHold():
            con.execute("DELETE FROM holds WHERE id = ?", (change.hold,))
            return None if con.changes() else Lost("hold_gone", f"hold `{change.hold}` does not stand any more")
        case RetireKeys():
            con.executemany("INSERT OR IGNORE INTO retired_keys VALUES (?)", [(key,) for key in change.keys])
            return None
        case Rewrap():
            _rewrap(con, change)
            return None
        case BeginAnew():
            return _begin_anew(con, change)


def _destroy(con: apsw.Connection, change: DestroySecret) -> Lost | None:
    sealed = change.sealed
    found = fetch(con, "SELECT tenant, lookup FROM secrets WHERE pseudonym = ?", (sealed.pseudonym,))
    if not found or found[0][1] == log_lookup(found[0][0]):  # the secret of a log: without it nothing in the log could be read
        return Lost("secret_gone", "there is no such subject any more")
    hold = next((hold for hold in read_holds(con) if protects(hold, sealed.pseudonym, {change.log, *sealed.logs})), None)
    if hold is not None:
        return Lost("held", f"hold `{hold.id}` stands")
    ends = dict(sealed.ends)
    while (since := scan_step(con, sealed.pseudonym, ends)) is not None:
        if since:
            return Lost("sealed_since", "something was recorded about it at the same moment")
    con.execute("DELETE FROM secrets WHERE pseudonym = ?", (sealed.pseudonym,))
    con.executemany("DELETE FROM payloads WHERE place = ?", [(row.place,) for row in sealed.rows])
    _blur(con, sealed.rows)
    con.execute("INSERT OR REPLACE INTO erasures VALUES (?, ?, ?)", (sealed.pseudonym, change.log, change.target))
    con.execute("UPDATE ledger SET secrets = secrets + 1")
    return None


def _blur(con: apsw.Connection, rows: Iterable[SealedRow]) -> None:
    """No blind leads from a name back to these records: neither of who voted, nor of a request, nor of an idempotency key's use.

    The key itself stays taken: what it stood for may have run, and is not to run again. One of the erased user's own is nobody's any more.
    """
    rows = tuple(rows)
    asked = asked_in(rows)
    con.executemany(f"UPDATE requests SET key = {_RANDOM}, asker = {_RANDOM} WHERE id = ?", [(request,) for request in asked])  # noqa: S608  a constant
    con.executemany(f"UPDATE votes SET person = {_RANDOM} WHERE request = ?", [(request,) for request in asked])  # noqa: S608  as above
    for row in rows:
        if row.voted and row.request is not None and row.request not in asked:
            con.execute(
                f"UPDATE votes SET person = {_RANDOM} WHERE number = (SELECT number FROM votes WHERE request = ?1 ORDER BY number "  # noqa: S608  as above
                "LIMIT 1 OFFSET (SELECT count(*) FROM records WHERE request = ?1 AND kind = 'vote' AND place < ?2))",
                (row.request, row.place),
            )
        elif row.kind == "intent" and row.call is not None:
            scope = f", scope = {_RANDOM}" if row.acted else ""
            con.execute(f"UPDATE keys SET digest = {_RANDOM}{scope} WHERE call = ?", (row.call,))  # noqa: S608  as above


def scan_step(con: apsw.Connection, pseudonym: str, ends: dict[int, int]) -> list[SealedRow] | None:
    """Of the next records behind `ends` (a place for each log's number, moved on), those that the pseudonym seals; None at the end."""
    text = (
        "SELECT place, kind, call, request, envelope FROM records "
        "WHERE place >= ?1 AND place < ?2 AND instr(envelope, CAST(?3 AS BLOB)) ORDER BY place"
    )
    for (number,) in fetch(con, "SELECT number FROM logs ORDER BY number"):
        start = ends.get(number, number << INDEX_BITS)
        last = con.execute("SELECT max(place) FROM records WHERE place >= ? AND place < ?", (start, (number + 1) << INDEX_BITS)).get
        if last is not None:
            ends[number] = stop = min(start + SCAN_ROWS, last + 1)
            found = [sealed_row(row, pseudonym) for row in fetch(con, text, (start, stop, pseudonym))]
            return [row for row in found if row is not None]
    return None


def read_holds(con: apsw.Connection) -> tuple[Hold, ...]:
    """Every hold that stands."""
    return tuple([Hold(*row) for row in fetch(con, "SELECT id, log, target, at FROM holds ORDER BY id")])


def _place(con: apsw.Connection, hold: Hold) -> Lost | None:
    pseudonym = None if hold.target is None else pseudonym_in(hold.target)
    if hold.target is not None and con.execute("SELECT 1 FROM secrets WHERE pseudonym = ?", (pseudonym,)).get is None:
        return Lost("secret_gone", "there is no such subject any more")
    con.execute("INSERT INTO holds (id, log, target, at) VALUES (?, ?, ?, ?)", (hold.id, hold.log, hold.target, hold.at))
    return None


def _drop(con: apsw.Connection, change: DropPayloads) -> Lost | None:
    found = change.prunable
    number = con.execute("SELECT number FROM logs WHERE name = ?", (found.log,)).get
    holds = read_holds(con)
    held = {hold.pseudonym for hold in holds if hold.pseudonym is not None}
    if number is None or any(hold.target is None and hold.log == found.log for hold in holds):
        return Lost("payloads_moved", "a hold was placed at the same moment")
    base, dropped = number << INDEX_BITS, 0
    for first, last in found.runs:
        if any(kept for _, present, kept, _ in candidates(con, base + first, base + last + 1, held) if present):
            return Lost("payloads_moved", "what was to be dropped is needed again")
        con.execute("DELETE FROM payloads WHERE place BETWEEN ? AND ?", (base + first, base + last))
        dropped += con.changes()
    return None if dropped == found.payloads else Lost("payloads_moved", "payloads were dropped at the same moment")


def candidates(con: apsw.Connection, start: int, end: int, held: set[str]) -> Iterator[Candidate]:
    """For each record of these places: place, whether its payload is there, whether that must stay, and its time."""
    text = f"{CANDIDATES}records.place >= ? AND records.place < ? ORDER BY records.place"
    for row in fetch(con, text, (start, end)):
        yield candidate_of(row, held)


def _rewrap(con: apsw.Connection, change: Rewrap) -> None:
    rows = [(row.key, row.wrapped, row.name, row.former) for row in change.secrets]
    con.executemany("UPDATE secrets SET key = ?, wrapped = ? WHERE pseudonym = ? AND key = ?", rows)
    seeds = [(row.key, row.wrapped, row.name, row.former) for row in change.signing_keys]
    con.executemany("UPDATE signing_keys SET key = ?, wrapped = ? WHERE vkey = ? AND key = ?", seeds)


def _begin_anew(con: apsw.Connection, change: BeginAnew) -> Lost | None:
    con.execute("UPDATE ledger SET origin = ?, head_size = 0, head_range = x'' WHERE origin = ?", (change.origin, change.former))
    if not con.changes():
        return Lost("origin_moved", "the head log was begun anew at the same moment")
    for table in ("heads", "head_tiles", "checkpoints", "signing_keys"):
        con.execute(f"DELETE FROM {table}")  # noqa: S608  constants
    con.execute("INSERT INTO signing_keys (vkey, key, wrapped) VALUES (?, ?, ?)", (change.vkey, change.key, change.wrapped))
    return None


def refuse_retired(con: apsw.Connection, keys: Iterable[str]) -> Lost | None:
    """Nothing new is wrapped under a key that was replaced: once it is thrown away, nobody could read that."""
    for key in set(keys):
        if con.execute("SELECT 1 FROM retired_keys WHERE key = ?", (key,)).get is not None:
            return Lost("secrets_moved", f"the key-encryption key `{key}` was replaced: restart this process with the new one")
    return None


def present_among(con: apsw.Connection, pseudonyms: Sequence[str]) -> Iterator[str]:
    """Those that have a secret."""
    for start in range(0, len(pseudonyms), MARKS):
        part = pseudonyms[start : start + MARKS]
        text = f"SELECT pseudonym FROM secrets WHERE pseudonym IN ({', '.join('?' * len(part))})"  # noqa: S608  marks only
        for (pseudonym,) in con.execute(text, part):
            yield pseudonym
