"""What people are told about a request, as one value that every channel renders in its own way."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from licet.store.outbox import NoticeEvent


class Ballot(Struct, frozen=True):
    """What takes votes: a request, and which step of its plan it is (0 for none)."""

    request: str
    step: int


class Message(Struct, frozen=True, kw_only=True):
    """One event of one request (or of one plan), and the request as it stands now.

    All text is plain: no control, bidirectional or invisible characters, one line each, cut to a length; and not escaped for any medium.

    `id` is the same whenever this message is sent again, so that receivers can tell repeats. `voters` are the users who may vote on it,
    whether or not they have; `decidable` says whether votes are taken. `steps` are the steps of a plan, one line each; for a plan,
    `request` is its first step. `ballots` are what takes votes: the request, or the steps that stand in `steps` and are open.
    """

    id: str
    request: str
    plan: str | None
    tenant: str
    tool: str
    event: NoticeEvent
    state: str
    at: datetime
    title: str
    sentence: str
    caller: str
    agent_says: str | None
    preview: tuple[str, ...]
    more: int
    why: tuple[str, ...]
    needs: tuple[str, ...]
    votes: tuple[str, ...]
    expires_at: datetime
    at_expiry: str
    link: str | None
    decidable: bool
    steps: tuple[str, ...] = ()
    ballots: tuple[Ballot, ...] = ()
    voters: tuple[str, ...] = ()
