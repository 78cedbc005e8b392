"""What a ledger says is frozen: who and what may not call until somebody lifts it.

Read from the envelopes of `freeze` records, so that no key is needed. A record that freezes names what it stops among its targets, and one
that lifts names the freeze, by the id of the record that placed it:

    Agent::support-bot     Service::importer     Tool::billing.adjust     Session::run-17     Tenant::acme     Everything::*
    Freeze::<id>

Rules:

1. A freeze in a tenant's log stops that tenant's calls, one in the log `operator` every tenant's.
2. A freeze stands until a record of the same log lifts it. Two freezes of one thing are lifted one by one.
3. Who froze, and why, is in the payload: a freeze stands also where nobody can read that any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from licet.ledger.record import UNREADABLE
from licet.model import OPERATOR_LOG

Scope: TypeAlias = Literal["agent", "service", "tool", "tenant", "session", "all"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERYTHING = "*"
"""The name of what a freeze of everything stops."""

_LIFT = "Freeze"
_TYPES: dict[Scope, str] = {
    "agent": "Agent",
    "service": "Service",
    "tool": "Tool",
    "tenant": "Tenant",
    "session": "Session",
    "all": "Everything",
}
_SCOPE_OF = {kind: scope for scope, kind in _TYPES.items()}


class Freeze(Struct, frozen=True, order=True):
    """Something that is stopped since `at` (UTC microseconds). `id` is that of the record that stopped it."""

    id: str
    log: str
    scope: Scope
    name: str
    at: int

    @property
    def tenant(self) -> str | None:
        """Whose calls it stops; None for every tenant's (rule 1)."""
        return None if self.log == OPERATOR_LOG else self.log

    @property
    def mark(self) -> str:
        """How its record names what it stops."""
        return f"{_TYPES[self.scope]}::{self.name}"

    @property
    def what(self) -> str:
        """What it stops, in words."""
        if self.scope == "all":
            return "everything"
        whose = f" of tenant `{self.log}`" if self.tenant is not None and self.scope != "tenant" else ""
        return f"{self.scope} `{self.name}`{whose}"


class Called(Struct, frozen=True, gc=False, kw_only=True):
    """A call as far as a freeze can speak of it."""

    tenant: str
    tool: str
    agent: str | None = None
    service: str | None = None
    session: str | None = None


class Standing:
    """Freezes that stand together, to be asked about calls. False where there is none."""

    __slots__ = ("_by_name", "freezes")

    def __init__(self, freezes: Iterable[Freeze] = ()) -> None:
        self.freezes = tuple(sorted(freezes, key=lambda freeze: (freeze.at, freeze.id)))
        self._by_name: dict[tuple[str, str | None], list[Freeze]] = {}
        for freeze in self.freezes:
            self._by_name.setdefault((freeze.scope, freeze.name), []).append(freeze)

    def __bool__(self) -> bool:
        return bool(self.freezes)

    def find(self, call: Called) -> Freeze | None:
        """The freeze that stops this call: of all that do, the widest, and of these the oldest. None where nothing stops it."""
        keys = (
            ("all", EVERYTHING),
            ("tenant", call.tenant),
            ("agent", call.agent),
            ("service", call.service),
            ("tool", call.tool),
            ("session", call.session),
        )
        for key in keys:
            for freeze in self._by_name.get(key, ()):
                if freeze.log in (OPERATOR_LOG, call.tenant):
                    return freeze
        return None


class _Envelope(Struct, frozen=True):
    log: str
    kind: str
    id: str
    at: int = 0
    targets: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Envelope).decode


class Frozen:
    """Takes the `freeze` records of all logs, those of one log in their order. Then `standing` are the freezes that stand."""

    def __init__(self) -> None:
        self._standing: dict[str, Freeze] = {}
        self.lifted: set[str] = set()

    @property
    def standing(self) -> tuple[Freeze, ...]:
        """The freezes that stand: what the rows of `freezes` must be."""
        return tuple(sorted(self._standing.values()))

    def take(self, envelope: bytes) -> str | None:
        """One more record. Says what is wrong with it, where something is; one of another kind says nothing."""
        try:
            found = _decode(envelope)
        except (*UNREADABLE, TypeError):
            return "it cannot be read"
        if found.kind != "freeze":
            return None
        if len(found.targets) != 1:
            return "it names not one thing"
        kind, _, name = found.targets[0].partition("::")
        return self._lift(found, name) if kind == _LIFT else self._freeze(found, kind, name)

    def _freeze(self, found: _Envelope, kind: str, name: str) -> str | None:
        scope = _SCOPE_OF.get(kind)
        if scope is None or not name:
            return f"it freezes nothing that there is: `{kind}`"
        self._standing[found.id] = Freeze(found.id, found.log, scope, name, found.at)
        return None

    def _lift(self, found: _Envelope, name: str) -> str | None:
        freeze = self._standing.get(name)
        if freeze is None or freeze.log != found.log:
            return "it lifts a freeze that does not stand in this log"
        del self._standing[name]
        self.lifted.add(name)
        return None


def lift_mark(freeze: str) -> str:
    """How a record names the freeze that it lifts."""
    return f"{_LIFT}::{freeze}"
