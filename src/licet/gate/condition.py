"""The part of the gate for whoever keeps it running: whether it can take calls, how much it has in hand, and an orderly end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

from licet.config import Settings
from licet.errors import LicetError, StoreError
from licet.gate.authenticating import Authenticating
from licet.gate.house import OpenHouse
from licet.gate.opening import in_memory
from licet.gate.reloading import ReloadStatus
from licet.ledger.seal import Filing
from licet.model import RequestState

TRIED_WITHIN_S = 5.0
"""How long an empty commit may take before the writer counts as stuck."""
TOLD_ONLY: Final = frozenset({"reload"})
"""Conditions that keep no call from being taken."""


class Condition(Struct, frozen=True):
    """One thing that must hold for calls to be taken, and why it does not; None where it does."""

    name: str
    problem: str | None


class InHand(Struct, frozen=True, kw_only=True):
    """How much there is of what does not last: requests that wait for people, open calls, freezes, and what is still to be written."""

    open_requests: int
    open_calls: int
    freezes: int
    unknown: int
    gaps: int
    unwritten: int
    index_lag: int | None


class Conditions:
    """What a gate offers to whoever keeps it running."""

    settings: Settings
    _clock: Callable[[], datetime]

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    @property
    def reloads(self) -> ReloadStatus:
        """How reloads have gone so far."""
        raise NotImplementedError

    def conditions(self) -> tuple[Condition, ...]:
        """Everything that must hold for calls to be taken. Commits nothing, and waits for the store a few seconds at most."""
        checks: tuple[tuple[str, Callable[[], str | None]], ...] = (
            ("store", self._unreadable),
            ("writer", self._unwritable),
            ("keys", self._keyless),
            ("witness", self._unwitnessed),
            ("policies", self._lawless),
            ("reload", lambda: self.reloads.problem),
        )
        return tuple(Condition(name, _asked(check)) for name, check in checks)

    def in_hand(self) -> InHand:
        """How much there is now. Raises `StoreError`."""
        house = self._opened()
        gaps, unwritten = house.unwritten
        indexer = house.ledger.indexer
        return InHand(
            open_requests=house.store.count_requests(RequestState.OPEN),
            open_calls=len(house.store.open_calls()),
            freezes=len(house.services.freezes.look().told),
            unknown=len(house.store.unsettled_calls()),
            gaps=gaps,
            unwritten=unwritten,
            index_lag=None if indexer is None else indexer.behind(),
        )

    def observe(self, decided: Callable[[float], None], committed: Callable[[Sequence[Filing], float], None]) -> None:
        """Tell of each decision and of each group of records that is committed, with the seconds it took. Neither may raise."""
        self._opened().observe(decided, committed)

    def authenticating(self) -> Authenticating:
        """What tells who speaks to this gate over the network, by what is in force at the moment. Close it before the gate."""
        house = self._opened()
        return Authenticating(
            house.store,
            house.writer,
            settings=lambda: self._opened().scene.settings,
            directory=lambda: self._opened().scene.directory,
            now=self._clock,
        )

    def stop_waiting(self) -> None:
        """Whoever waits for people is answered with how things stand, now and from now on; calls go on being taken."""
        self._opened().waiting.close()

    @property
    def has_stopped_waiting(self) -> bool:
        """Whether `stop_waiting` was called: what would go on for ever is to end."""
        return self._opened().waiting.is_closed

    def _unreadable(self) -> str | None:
        self._opened().store.logs()
        return None

    def _unwritable(self) -> str | None:
        """An empty group goes the way of all others: past a writer that stopped, a lost lease, a disk that is full or hangs."""
        self._opened().writer.submit(Filing(())).wait(TRIED_WITHIN_S)
        return None

    def _keyless(self) -> str | None:
        scheme, _, path = self.settings.keys.partition(":")
        if scheme == "file" and not in_memory(self.settings) and not Path(path).exists():
            return "the key file is gone: this process has read it, the next one will not"
        return None

    def _unwitnessed(self) -> str | None:
        pins = self._opened().ledger.pins
        return None if pins is None else pins.find_problem()

    def _lawless(self) -> str | None:
        return None if self._opened().scene.engine.bundle.policies else "no policy is in force"


def _asked(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except StoreError as error:
        return str(error)
    except LicetError as error:
        return f"{type(error).__name__}: {error}"
