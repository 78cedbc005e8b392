"""Rows of requests and votes, inside the transaction of one group: each change is made, or says which condition did not hold.

What a request and a vote say stands in their records, which are in the same batch; the rows say which of them are live. Each change leaves
a notice in the same transaction (store/outbox.py), so that people are told of it whatever happens next.
"""

from __future__ import annotations

from typing import assert_never

import apsw

from licet.ledger.record import microseconds
from licet.model import LIVE_STATES, RequestState, asker_of
from licet.store.contract import AddVote, Lost, MoveRequest, OpenRequest, TakeBackVote
from licet.store.request_rows import EVENTS, Blind, already_voted, moved, no_vote, not_open, over, too_many, voted_meanwhile, votes_moved
from licet.store.requests import RequestChange
from licet.store.sqlite_outbox import note

REQUEST_CHANGES = (OpenRequest, MoveRequest, AddVote, TakeBackVote)

_BALLOTS = "(SELECT count(*) FROM votes WHERE request = ?)"


def change_request(con: apsw.Connection, blind: Blind, change: RequestChange) -> Lost | None:
    """The change is made, or what it lost."""
    match change:
        case OpenRequest():
            return _open_request(con, blind, change)
        case MoveRequest():
            return _move(con, change)
        case AddVote():
            return _add_vote(con, blind, change)
        case TakeBackVote():
            return _take_back(con, blind, change)
    assert_never(change)


def _open_request(con: apsw.Connection, blind: Blind, change: OpenRequest) -> Lost | None:
    request = change.request
    if request.state not in LIVE_STATES:
        raise ValueError(f"request `{request.id}` is opened as `{request.state}`")
    key, asker = blind(request.tenant, "request", request.key), blind(request.tenant, "asker", asker_of(request))
    if change.limit is not None and _waiting(con, asker, microseconds(request.opened_at)) >= change.limit:
        return too_many(change.limit)
    text = "INSERT INTO requests (id, key, tenant, state, expires_at, plan, asker) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    if _changed(con, text, (request.id, key, request.tenant, request.state, microseconds(request.expires_at), request.plan, asker)):
        note(con, request.id, "opened", microseconds(request.opened_at))
        return None
    return Lost("request_exists", "the same call already waits for people")


def _waiting(con: apsw.Connection, asker: str, at_us: int) -> int:
    """How many requests of a caller are open at this moment; one that is past its time waits for nobody, whoever has looked.

    What was held anew, and steps that their plans took back, count until then: people could otherwise be asked without end by sessions
    in turn of which each has something else asked, or by plans that stop by themselves.
    """
    # The first half as the index `requests_by_asker` has it.
    asked = "state IN ('open', 'withdrawn', 'superseded') AND (state != 'withdrawn' OR plan IS NOT NULL)"
    text = f"SELECT count(*) FROM requests WHERE asker = ? AND expires_at > ? AND {asked}"  # noqa: S608  a constant
    return int(con.execute(text, (asker, at_us)).get)


def _move(con: apsw.Connection, change: MoveRequest) -> Lost | None:
    marks = ", ".join("?" * len(change.source))
    text = f"UPDATE requests SET state = ?, call = coalesce(?, call) WHERE id = ? AND state IN ({marks})"  # noqa: S608  marks only
    values: tuple[object, ...] = (change.target, change.call, change.request, *change.source)
    if change.target is RequestState.CONSUMED:
        text += " AND expires_at > ?"
        values += (microseconds(change.at),)
    if change.seen is not None:
        text += f" AND {_BALLOTS} = ?"
        values += (change.request, change.seen)
    if _changed(con, text, values):
        note(con, change.request, EVENTS[change.target], microseconds(change.at))
        return None
    if change.seen is not None and _ballots(con, change.request) != change.seen:
        return votes_moved(change.request)
    return moved(change)


def _add_vote(con: apsw.Connection, blind: Blind, change: AddVote) -> Lost | None:
    vote = change.vote
    text = (
        "INSERT INTO votes (request, person, live) SELECT ?1, ?2, 1 "
        "WHERE EXISTS (SELECT 1 FROM requests WHERE id = ?1 AND state = 'open') "
        "AND (SELECT count(*) FROM votes WHERE request = ?1) = ?3 ON CONFLICT DO NOTHING"
    )
    person = blind(change.tenant, "person", vote.person)
    if _changed(con, text, (vote.request, person, change.seen)):
        note(con, vote.request, "vote", microseconds(vote.at))
        return None
    if con.execute("SELECT 1 FROM requests WHERE id = ? AND state = 'open'", (vote.request,)).get is None:
        return not_open(vote.request)
    if con.execute("SELECT 1 FROM votes WHERE request = ? AND person = ? AND live = 1", (vote.request, person)).get is None:
        return voted_meanwhile(vote.request)
    return already_voted(vote)


def _take_back(con: apsw.Connection, blind: Blind, change: TakeBackVote) -> Lost | None:
    request, person = change.request, blind(change.tenant, "person", change.person)
    if con.execute("SELECT 1 FROM requests WHERE id = ? AND state IN ('open', 'approved')", (request,)).get is None:
        return over(request)
    if _ballots(con, request) != change.seen:
        return votes_moved(request)
    if not _changed(con, "UPDATE votes SET live = 0 WHERE request = ? AND person = ? AND live = 1", (request, person)):
        return no_vote(change)
    con.execute("INSERT INTO votes (request, person, live) VALUES (?, ?, 0)", (request, person))
    note(con, request, "vote", microseconds(change.at))
    return None


def _changed(con: apsw.Connection, text: str, values: tuple[object, ...]) -> bool:
    con.execute(text, values)
    return con.changes() > 0


def _ballots(con: apsw.Connection, request: str) -> int:
    return int(con.execute(f"SELECT {_BALLOTS}", (request,)).get)
