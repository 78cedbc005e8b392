"""Who is calling, as the host program says it: carried by `contextvars`, so threads and tasks never see each other's caller.

A new thread starts without a caller (that is how `contextvars` work), and a call without a caller is denied.
"""

from __future__ import annotations

from contextvars import ContextVar

from msgspec import Struct

from licet.model import Trace


class Acting(Struct, frozen=True, kw_only=True):
    """The caller and the circumstances that the host program states for the calls in a `with gate.acting(...)` block."""

    tenant: str | None = None
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None
    reason: str | None = None
    trace: Trace = Trace()


NOBODY = Acting()

_current: ContextVar[tuple[tuple[int, Acting], ...]] = ContextVar("licet_acting", default=())


def acting_for(gate: int) -> Acting:
    """Who acts now for the gate with this `id()`; `NOBODY` when no block is open."""
    for owner, acting in reversed(_current.get()):
        if owner == gate:
            return acting
    return NOBODY


class ActingBlock:
    """A `with` block in which calls are made in somebody's name. Blocks nest; the innermost counts, whole (nothing is inherited)."""

    def __init__(self, gate: int, acting: Acting) -> None:
        self._entry = (gate, acting)
        self._before: list[tuple[tuple[int, Acting], ...]] = []

    def __enter__(self) -> Acting:
        stack = _current.get()
        self._before.append(stack)
        _current.set((*stack, self._entry))
        return self._entry[1]

    def __exit__(self, *_: object) -> None:
        _current.set(self._before.pop())
