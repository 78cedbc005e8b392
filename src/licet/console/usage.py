"""How often what was used: counts for pages about agents and tools, bounded, and told as one reading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from licet.console.frame import place_of
from licet.ledger.record import microseconds
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Asked
from licet.store.index_ask import Query
from licet.store.index_terms import Field

DAYS: Final = 90
MOST: Final = 1_000
"""What is more is told as `1,000 or more`."""
KINDS: Final = ("intent", "call", "denial", "hold")
"""One record of each is one call that was proposed."""


class Used(Struct, frozen=True):
    """How many calls; `exact` unless there are more than were counted."""

    number: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.number:,}{'' if self.exact else '+'}"


def counted_logs(asked: Asked) -> tuple[str, ...]:
    """The logs of tenants that are counted: those that may be read, or that of the tenant which pages are about."""
    place = place_of(asked)
    return tuple([log for log in asked.tenants("records.read") if log != OPERATOR_LOG and place in {None, log}])


class Usage:
    """Counts over the last `DAYS` days, in logs that may be read: of calls in one environment, or in all."""

    def __init__(self, asked: Asked, logs: Sequence[str], environment: str | None = None) -> None:
        self._asked = asked
        self._environment = environment
        self._logs = tuple(logs)
        self.since: Final[datetime] = asked.gate.now() - timedelta(days=DAYS)
        self._index = asked.gate.ledger.search().index
        self._unused: dict[tuple[str, str], bool] = {}

    def count(self, *, agent: str | None = None, tool: str | None = None, verdict: str | None = None) -> Used:
        """Calls of this agent, tool and verdict. What is never used at all is asked for once."""
        if agent is not None and tool is not None and (self._is_unused("agent", agent) or self._is_unused("tool", tool)):
            return Used(0, exact=True)
        return self._count(agent, tool, verdict)

    def _is_unused(self, field: str, name: str) -> bool:
        known = self._unused.get((field, name))
        if known is None:
            known = self._unused[field, name] = (
                self._count(name, None, None) if field == "agent" else self._count(None, name, None)
            ).number == 0
        return known

    def _count(self, agent: str | None, tool: str | None, verdict: str | None) -> Used:
        found = self._index.count(self._query(agent, tool, verdict), limit=MOST)
        return Used(found.number, found.exact)

    def last(self, *, agent: str | None = None, tool: str | None = None) -> int | None:
        """When the newest was (UTC microseconds)."""
        found = self._index.moments(self._query(agent, tool, None), limit=1)
        return found.at[0] if found.at else None

    def _query(self, agent: str | None, tool: str | None, verdict: str | None) -> Query:
        filters: dict[Field, tuple[str, ...]] = {"log": self._logs, "kind": KINDS}
        for field, value in (("agent", agent), ("tool", tool), ("verdict", verdict), ("environment", self._environment)):
            if value is not None:
                filters[field] = (value,)  # type: ignore[index]  # the fields' own names
        return Query(filters=filters, since_us=microseconds(self.since))
