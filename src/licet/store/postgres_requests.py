"""Rows of requests and votes in PostgreSQL, inside the transaction of one group: each change is made, or says which condition did not hold.

Rules, beside those of store/sqlite_requests.py:

1. What rests on how many votes there are locks its request first, in a statement of its own: whoever votes, takes a vote back or uses the
   approval waits there, and counts what was committed meanwhile.
2. A change of state is one UPDATE that names the states it may come from: the server looks at the row again after it has waited for it.
3. How many requests a caller has open is counted under the tree of its tenant's log: nobody else opens one there until the commit.
4. At most one live request of a key, and one standing vote of a person: unique indexes hold that, whoever runs beside.
"""

from __future__ import annotations

from typing import assert_never

from licet.ledger.record import microseconds
from licet.model import LIVE_STATES, RequestState, asker_of
from licet.store.contract import AddVote, Lost, MoveRequest, OpenRequest, TakeBackVote
from licet.store.postgres_outbox import note
from licet.store.postgres_reading import Connection
from licet.store.postgres_rows import changed
from licet.store.request_rows import EVENTS, Blind, already_voted, moved, no_vote, not_open, over, too_many, voted_meanwhile, votes_moved
from licet.store.requests import RequestChange

_LOCKED = "SELECT state FROM requests WHERE id = $1 FOR UPDATE"


async def change_request(con: Connection, blind: Blind, change: RequestChange) -> Lost | None:
    """The change is made, or what it lost."""
    match change:
        case OpenRequest():
            return await _open_request(con, blind, change)
        case MoveRequest():
            return await _move(con, change)
        case AddVote():
            return await _add_vote(con, blind, change)
        case TakeBackVote():
            return await _take_back(con, blind, change)
    assert_never(change)


async def _open_request(con: Connection, blind: Blind, change: OpenRequest) -> Lost | None:
    request = change.request
    if request.state not in LIVE_STATES:
        raise ValueError(f"request `{request.id}` is opened as `{request.state}`")
    key, asker = blind(request.tenant, "request", request.key), blind(request.tenant, "asker", asker_of(request))
    if change.limit is not None:
        await con.execute("SELECT FROM logs WHERE name = $1 FOR UPDATE", request.tenant)  # rule 3
        if await _waiting(con, asker, microseconds(request.opened_at)) >= change.limit:
            return too_many(change.limit)
    text = (
        "INSERT INTO requests (id, key, tenant, state, expires_at, plan, asker) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
    )
    values = (request.id, key, request.tenant, request.state, microseconds(request.expires_at), request.plan, asker)
    if await changed(con, text, *values):
        await note(con, request.id, "opened", microseconds(request.opened_at))
        return None
    return Lost("request_exists", "the same call already waits for people")


async def _waiting(con: Connection, asker: str, at_us: int) -> int:
    """How many requests of a caller are open at this moment, as `_waiting` of store/sqlite_requests.py counts them."""
    # The first half as the index `requests_by_asker` has it.
    asked = "state IN ('open', 'withdrawn', 'superseded') AND (state != 'withdrawn' OR plan IS NOT NULL)"
    text = f"SELECT count(*) FROM requests WHERE asker = $1 AND expires_at > $2 AND {asked}"  # noqa: S608  a constant
    return int(await con.fetchval(text, asker, at_us))


async def _move(con: Connection, change: MoveRequest) -> Lost | None:
    if change.seen is not None:
        await con.execute(_LOCKED, change.request)  # rule 1
    text = (
        "UPDATE requests SET state = $1, call = coalesce($2, call) WHERE id = $3 AND state = ANY($4::TEXT[]) "
        "AND ($5::BIGINT IS NULL OR expires_at > $5) "
        "AND ($6::BIGINT IS NULL OR (SELECT count(*) FROM votes WHERE request = $3) = $6)"
    )
    before = microseconds(change.at) if change.target is RequestState.CONSUMED else None
    if await changed(con, text, change.target, change.call, change.request, list(change.source), before, change.seen):
        await note(con, change.request, EVENTS[change.target], microseconds(change.at))
        return None
    if change.seen is not None and await _ballots(con, change.request) != change.seen:
        return votes_moved(change.request)
    return moved(change)


async def _add_vote(con: Connection, blind: Blind, change: AddVote) -> Lost | None:
    vote = change.vote
    person = blind(change.tenant, "person", vote.person)
    if await con.fetchval(_LOCKED, vote.request) != RequestState.OPEN:  # rule 1
        return not_open(vote.request)
    text = (
        "INSERT INTO votes (request, person, live) SELECT $1::TEXT, $2::TEXT, 1 "
        "WHERE (SELECT count(*) FROM votes WHERE request = $1) = $3 ON CONFLICT DO NOTHING"
    )
    if await changed(con, text, vote.request, person, change.seen):
        await note(con, vote.request, "vote", microseconds(vote.at))
        return None
    if not await con.fetch("SELECT 1 FROM votes WHERE request = $1 AND person = $2 AND live = 1", vote.request, person):
        return voted_meanwhile(vote.request)
    return already_voted(vote)


async def _take_back(con: Connection, blind: Blind, change: TakeBackVote) -> Lost | None:
    request, person = change.request, blind(change.tenant, "person", change.person)
    if await con.fetchval(_LOCKED, request) not in LIVE_STATES:  # rule 1
        return over(request)
    if await _ballots(con, request) != change.seen:
        return votes_moved(request)
    if not await changed(con, "UPDATE votes SET live = 0 WHERE request = $1 AND person = $2 AND live = 1", request, person):
        return no_vote(change)
    await con.execute("INSERT INTO votes (request, person, live) VALUES ($1, $2, 0)", request, person)
    await note(con, request, "vote", microseconds(change.at))
    return None


async def _ballots(con: Connection, request: str) -> int:
    return int(await con.fetchval("SELECT count(*) FROM votes WHERE request = $1", request))
