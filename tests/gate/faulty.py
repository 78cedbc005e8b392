"""A store that fails on demand, beneath a real gate: everything else is what users run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from licet import Gate
from licet.errors import StoreError, StorePoisoned, StoreUnavailable
from licet.gate import clerk
from licet.ledger import writer
from licet.store import opening
from licet.store.contract import Batch, Committed, Lost
from licet.store.sqlite import SqliteStore
from tests.world import CONFIG, POLICIES, World, world, world_on

How = Literal["down", "ambiguous", "hang", "poisoned", "unreadable"]
IMPATIENT = CONFIG + "\n[limits]\nstore_timeout_s = 0.2\n"


class FaultyStore:
    """Fails the commits of groups that hold one of `kinds` (all groups without), as `how` says, until `mend`.

    `down`: nothing is persisted, `StoreUnavailable`. `ambiguous`: everything is persisted, and the same error is raised. `hang`: nobody
    answers until `mend`; then it is persisted. `poisoned`: `StorePoisoned`. `unreadable`: look-ups fail too.
    """

    def __init__(self, real: SqliteStore) -> None:
        self._real = real
        self._how: How | None = None
        self._kinds: frozenset[str] = frozenset()
        self._mended = threading.Event()
        self.met = threading.Event()
        self.failures = 0

    def fail(self, how: How, *kinds: str) -> None:
        self._mended.clear()
        self.met.clear()
        self._how, self._kinds = how, frozenset(kinds)

    def mend(self) -> None:
        self._how = None
        self._mended.set()

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        how = self._how
        kinds = {record.kind for batch in batches for record in batch.records}
        if how is None or (self._kinds and not self._kinds & kinds):
            return self._real.commit(batches)
        self.failures += 1
        self.met.set()
        if how == "ambiguous":
            self._real.commit(batches)
            raise StoreUnavailable("the disk did not answer", ambiguous=True)
        if how == "hang":
            self._mended.wait()
            return self._real.commit(batches)
        if how == "poisoned":
            raise StorePoisoned("the disk failed", ambiguous=True)
        raise StoreUnavailable("the database is locked")

    def __getattr__(self, name: str) -> Any:
        if self._how == "unreadable" and name in {
            "freezes",
            "find_key",
            "find_dossier",
            "records_of_call",
            "votes",
            "version",
            "states_of",
        }:
            return self._refuse
        return getattr(self._real, name)

    def _refuse(self, *_: object) -> Any:
        error: StoreError = StoreUnavailable("the database cannot be read")
        raise error


class _Opens:
    def __init__(self) -> None:
        self.opened: list[FaultyStore] = []

    def open(self, *args: Any, **kwargs: Any) -> FaultyStore:
        store = FaultyStore(SqliteStore.open(*args, **kwargs))
        self.opened.append(store)
        return store


@contextmanager
def faulty_world(
    monkeypatch: pytest.MonkeyPatch, folder: Path | None = None, config: str = CONFIG, policies: str = POLICIES
) -> Iterator[tuple[World, FaultyStore]]:
    """A world above a faulty store that works so far; the writer tries again at once, the clerk looks every hundredth of a second."""
    opens = _Opens()
    with monkeypatch.context() as patch:
        patch.setattr(opening, "SqliteStore", opens)
        patch.setattr(writer, "RETRY_PAUSES_S", (0.0, 0.0))
        patch.setattr(clerk, "TICK_S", 0.01)
        with world(config, policies) if folder is None else world_on(folder, config, policies) as made:
            made.gate.seal()
            yield made, opens.opened[-1]
            opens.opened[-1].mend()


def drain(gate: Gate) -> None:
    """The clerk has written everything that it kept: its thread ends then, and is waited for."""
    opened = gate._house
    assert opened is not None
    thread = opened._clerk._thread
    if thread is not None:
        thread.join(20)
        assert not thread.is_alive(), "the clerk still has something that it cannot write"
