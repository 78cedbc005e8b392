"""Who is declared dead by a process that lives, and what becomes of calls whose end could not be written at once."""

from __future__ import annotations

from typing import cast

import pytest

from licet.errors import StoreUnavailable
from licet.gate.recorder import Recorder
from licet.gate.recovering import PATIENCE_S, Recovering
from licet.ledger.writer import Writer
from licet.model import CallId
from licet.store.contract import Boot, OpenIntent, Store
from licet.testing import START


class Shared:
    """A store and its writer, as far as this is about them: who lives, and which calls were taken."""

    def __init__(self) -> None:
        self.lives = True
        self.taken = 0
        self.written: list[int] = []
        self.fails = False

    def boots(self) -> tuple[Boot, ...]:
        return (Boot("other", START, "running", self.lives),)

    def orphaned_calls(self) -> tuple[OpenIntent, ...]:
        self.taken += 1
        return (OpenIntent(CallId("c-1"), "acme", "other"),)

    def submit(self, filing: object) -> Shared:
        self.written.append(len(filing.statements))  # type: ignore[attr-defined]
        return self

    def wait(self) -> None:
        if self.fails:
            raise StoreUnavailable("the ledger cannot be reached")


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of the steady clock, which the test owns."""
    clock = [100.0]
    monkeypatch.setattr("licet.gate.recovering.time.monotonic", lambda: clock[0])
    return clock


def looking(shared: Shared) -> Recovering:
    return Recovering(cast("Store", shared), cast("Writer", shared), Recorder("mine", "production"), lambda: 0)


def test_whoever_has_lost_its_lease_for_a_moment_is_not_declared_dead(shared: Shared, now: list[float]) -> None:
    look = looking(shared).look
    for lives in (False, True, False):
        shared.lives = lives
        look()
        now[0] += PATIENCE_S - 0.1
    look()
    assert shared.taken == 0
    now[0] += 0.1
    look()
    assert (shared.taken, shared.written) == (1, [1])


def test_calls_whose_end_could_not_be_written_are_asked_for_anew_once_the_store_answers(shared: Shared, now: list[float]) -> None:
    look = looking(shared).look
    shared.lives = False
    look()
    now[0] += PATIENCE_S
    shared.fails = True
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        look()
    assert shared.taken == 1
    shared.fails, shared.lives = False, True
    look()
    assert shared.taken == 2
    assert shared.written == [1, 0, 1], "what was submitted before has landed or never will, and only then they are taken again"
    look()
    assert shared.taken == 2
