"""Opening and closing a ledger with everything around it: whatever goes wrong, no thread, lease or file of it stays behind."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from licet.config import Settings, loads
from licet.errors import StoreUnavailable
from licet.gate import opening
from licet.gate.opening import OpenLedger, index_path
from licet.ledger.notary import Notary
from licet.ledger.seal import Filing
from licet.ledger.writer import Writer
from licet.store.indexer import Indexer
from licet.store.sqlite import SqliteStore
from tests.store.samples import now, record
from tests.world import CONFIG, world_on


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return loads(CONFIG, file=tmp_path / "licet.toml")


def threads_of_licet() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("licet-"))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, threads_of_licet()
        time.sleep(0.005)


def leases(settings: Settings) -> list[Path]:
    return list(settings.store_path.with_name(f"{settings.store_path.name}-boots").iterdir())


@pytest.mark.parametrize("where", ["SigningKeys", "Notary", "manifest_of", "settle", "Searching", "Indexer"])
def test_a_ledger_that_cannot_be_opened_leaves_nothing_behind(settings: Settings, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threads_of_licet()
    with monkeypatch.context() as patch:
        patch.setattr(opening, where, lambda *_, **__: (_ for _ in ()).throw(RuntimeError("on command")))
        with pytest.raises(RuntimeError, match="on command"):
            OpenLedger(settings, now, indexed=True)
    until(lambda: not Counter(threads_of_licet()) - Counter(before))  # those of earlier tests may still be ending
    assert leases(settings) == []
    OpenLedger(settings, now, indexed=True).close()


@pytest.mark.parametrize("part", [Indexer, Notary, Writer])
def test_one_part_that_cannot_be_closed_does_not_keep_the_others_open(
    settings: Settings, part: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threads_of_licet()
    real = part.close

    def close(closed: Any) -> None:
        real(closed)
        raise RuntimeError("on command")

    monkeypatch.setattr(part, "close", close)
    ledger = OpenLedger(settings, now, indexed=True)
    with pytest.raises(RuntimeError, match="on command"):
        ledger.close()
    until(lambda: not Counter(threads_of_licet()) - Counter(before))  # those of earlier tests may still be ending
    assert leases(settings) == []


def test_a_search_index_that_cannot_be_opened_stops_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with world_on(tmp_path) as w:
        index_path(w.gate.settings).mkdir()
        w.adjust()
        assert w.kinds() == ["intent", "outcome"]
    assert "cannot be searched" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_closing_in_a_forked_child_waits_for_nobody_and_touches_nothing(settings: Settings) -> None:
    with OpenLedger(settings, now, indexed=True) as ledger:
        ledger.writer.submit(Filing((record(),))).wait()
        with ledger.notary._turning:  # as its thread may hold it at any moment
            child = os.fork()
            if child == 0:
                threading.Timer(10, lambda: os._exit(9)).start()
                ledger.close()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ledger.writer.submit(Filing((record(),))).wait()


def test_a_store_that_hangs_does_not_keep_the_gate_from_closing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.store.sqlite.CLOSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(Writer.close, "__defaults__", (0.2,))
    ledger = OpenLedger(settings, now)
    ledger.writer._deadline_s = 0.1
    entered, release = threading.Event(), threading.Event()
    real = SqliteStore._take_turn

    def hang(store: SqliteStore) -> Any:
        entered.set()
        release.wait(30)
        return real(store)

    monkeypatch.setattr(SqliteStore, "_take_turn", hang)
    ticket = ledger.writer.submit(Filing((record(),)))
    assert entered.wait(10)
    closing = threading.Thread(target=ledger.close)
    closing.start()
    try:
        closing.join(20)
        assert not closing.is_alive()
    finally:
        release.set()
        closing.join()
    with pytest.raises(StoreUnavailable) as raised:
        ticket.wait(1)
    assert raised.value.ambiguous
