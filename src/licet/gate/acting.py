"""Who is calling, as the host program says it: carried by `contextvars`, so threads and tasks never see each other's caller.

A new thread starts without a caller (that is how `contextvars` work), and a call without a caller is denied.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from licet.gate.text import readable_or_none
from licet.identity.authenticated import AskedCaller, Authenticated
from licet.ledger.record import Actor, TraceEntry
from licet.model import Trace

NO_TRACE = Trace()


class Acting(Struct, frozen=True, kw_only=True):
    """The caller and the circumstances that the host program states for the calls in a `with gate.acting(...)` block.

    `wait_s` is how long a held call waits for people that does not say itself. `roles` are those that a verified credential gives the user
    beside the directory's, and `credential` is its id: only `acting_as` sets them. `is_named` says that the user is named by what proves
    who calls (a credential for this user alone, or a program's own configuration), and not chosen by a request. `actor` and `entry` are
    what a record's envelope says of them, made once for many calls.
    """

    tenant: str | None = None
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None
    reason: str | None = None
    trace: Trace = NO_TRACE
    wait_s: float = 0.0
    roles: tuple[str, ...] = ()
    credential: str | None = None
    is_named: bool = False
    actor: Actor = Actor()
    entry: TraceEntry | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "actor", Actor(agent=self.agent, service=self.service, user=self.user, session=self.session))
        trace = self.trace
        if trace != NO_TRACE:
            entry = TraceEntry(trace_id=trace.trace_id, span_id=trace.span_id, parent=trace.parent, workflow=trace.workflow)
            force_setattr(self, "entry", entry)


NOBODY = Acting()


def acting_as(who: Authenticated, asked: AskedCaller, *, reason: str | None = None, trace: Trace = NO_TRACE, wait_s: float = 0.0) -> Acting:
    """Who acts where somebody showed a credential and asks to speak as one of those that it speaks for.

    Raises `CallerRefused` for whoever is outside of its scope, or where it does not say whom of several.
    """
    caller = who.calling(asked)
    return Acting(
        tenant=caller.tenant,
        agent=caller.agent,
        service=caller.service,
        user=caller.user,
        session=readable_or_none(asked.session),
        reason=readable_or_none(reason),
        trace=trace,
        wait_s=wait_s,
        roles=caller.roles,
        credential=who.credential,
        is_named=caller.user is not None and (who.user == caller.user or who.users == (caller.user,)),
    )


_Entry: TypeAlias = tuple[object, Acting]

_current: ContextVar[tuple[_Entry, ...]] = ContextVar("licet_acting", default=())


def acting_for(gate: object) -> Acting:
    """Who acts now for the gate with this token; `NOBODY` when no block is open."""
    for owner, acting in reversed(_current.get()):
        if owner is gate:
            return acting
    return NOBODY


class ActingBlock:
    """A `with` block in which calls are made in somebody's name. Blocks nest; the innermost counts, whole (nothing is inherited).

    One block may be open in many threads and tasks at once: what it remembers of each stands in that one's own context.
    """

    def __init__(self, gate: object, acting: Acting) -> None:
        self._entry: _Entry = (gate, acting)

    @property
    def acting(self) -> Acting:
        """Who acts in this block, for whoever hands it on."""
        return self._entry[1]

    def acting_at(self, gate: object) -> Acting:
        """Who acts in this block for the gate with this token; `NOBODY` where it is a block of another."""
        return self._entry[1] if self._entry[0] is gate else NOBODY

    def __enter__(self) -> Acting:
        _current.set((*_current.get(), self._entry))
        return self._entry[1]

    def __exit__(self, *_: object) -> None:
        stack = _current.get()
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] is self._entry:
                # Whatever was opened inside and not closed ends with it.
                _current.set(stack[:place])
                return
