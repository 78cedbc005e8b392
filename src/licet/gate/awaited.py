"""A call made again by somebody who has waited for a request: what ended it is the answer, and nobody is asked a second time.

Rules:

1. An approval that somebody else has used, a time that is over, and a request that was withdrawn are denials of the call that waited. Made
   anew, by whoever still wants it, the same call asks anew.
2. A request that was superseded while it was waited for is no end: the one in its place is waited for.
3. A call whose key is another by now (its tool was defined anew) has waited for nothing that is found under it.
"""

from __future__ import annotations

from datetime import datetime

from licet.gate.draft import Refused
from licet.model import LIVE_STATES, Request, RequestState


def refuse_ended(awaited: Request, found: Request, now: datetime) -> None:
    """Raises `Refused` where what the call has waited for has ended without letting it run.

    `awaited` is the request that it waited for, `found` the latest one with its key as of now: the same, or one that came after it.
    """
    if found.key != awaited.key:
        return  # rule 3
    detail = {"request": found.id}
    if found.state is RequestState.CONSUMED:
        raise Refused("approval_used", "the approval that this call waited for was used by the same call, made elsewhere", detail=detail)
    if found.state is RequestState.WITHDRAWN:
        raise Refused("withdrawn", "the request that this call waited for was withdrawn", detail=detail)
    if found.state is RequestState.REJECTED and now >= found.expires_at:
        raise Refused("rejected", "the request that this call waited for was rejected, and its time is over", detail=detail)
    if found.state is RequestState.EXPIRED or (found.state in LIVE_STATES and now >= found.expires_at):
        until = found.expires_at.strftime("%Y-%m-%d %H:%M UTC")
        raise Refused("expired", f"the request that this call waited for expired at {until}; nobody had decided by then", detail=detail)
