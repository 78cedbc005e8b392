"""The indexer fills the index behind the ledger's back, in one process at a time, and begins anew when the two do not fit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import apsw
import pytest

from licet.errors import StoreUnavailable
from licet.store import indexer as indexer_module
from licet.store.index import Index
from licet.store.index_ask import Query
from licet.store.index_open import IndexDamaged
from licet.store.index_take import IndexRow
from licet.store.indexer import Indexer
from tests.store.index_samples import AT, Ledger, lies_in, row, row_of, sealed

DANA = "d" * 32
ALICE = "a" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db-index"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    index = Index.open(path)
    yield index
    index.close()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer_module, "STEP_ROWS", 10)
    monkeypatch.setattr(indexer_module, "LOG_ROWS", 4)


def rows(start: int, stop: int, *, apart: int = 1) -> list[IndexRow]:
    return [row(number, f"text {number}", at=AT + apart * number) for number in range(start, stop)]


def soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


def test_catching_up_takes_everything_and_says_how_far_it_is(index: Index, small_steps: None) -> None:
    ledger = Ledger({"acme": rows(0, 33), "operator": rows(0, 5)})
    indexer = Indexer(index, ledger)
    said: list[tuple[int, int]] = []
    assert indexer.behind() == 38
    indexer.catch_up(lambda done, whole: said.append((done, whole)))
    assert indexer.behind() == 0
    assert said[-1] == (38, 38)
    assert said == sorted(said)
    assert index.cursors() == {"acme": 33, "operator": 5}
    indexer.close()


def test_logs_are_taken_about_in_order_of_time(index: Index, small_steps: None) -> None:
    ledger = Ledger({"acme": rows(0, 60, apart=100), "busy": rows(0, 60, apart=101), "late": rows(0, 3)})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    indexer.close()
    starts = [(log, start) for log, start, _ in ledger.asked]
    assert starts.index(("busy", 20)) < starts.index(("acme", 40))


def test_the_thread_takes_what_comes_and_ends_when_it_is_closed(index: Index) -> None:
    ledger = Ledger({"acme": rows(0, 5)})
    indexer = Indexer(index, ledger, poll_s=0.01)
    indexer.start()
    indexer.start()
    assert soon(lambda: indexer.behind() == 0)
    ledger.logs["acme"] = rows(0, 9)
    ledger.logs["operator"] = rows(0, 1)
    assert soon(lambda: index.cursors() == {"acme": 9, "operator": 1})
    assert [thread.name for thread in threading.enumerate()].count("licet-indexer") == 1
    indexer.close()
    indexer.close()
    assert "licet-indexer" not in [thread.name for thread in threading.enumerate()]


def test_far_behind_it_goes_on_soon_and_caught_up_it_waits_for_the_next_poll(index: Index, small_steps: None) -> None:
    ledger = Ledger({"acme": rows(0, 42)})
    indexer = Indexer(index, ledger, poll_s=3600)
    indexer.start()
    assert soon(lambda: indexer.behind() == 0)
    ledger.logs["acme"] = rows(0, 43)
    assert not soon_for(0.2, lambda: indexer.behind() == 0)
    indexer.close()


def test_what_goes_wrong_is_said_and_tried_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer_module, "_RETRY_S", 0.01)
    ledger = Ledger({"acme": rows(0, 5)})
    ledger.failure = StoreUnavailable("the ledger sleeps")
    indexer = Indexer(index, ledger, poll_s=0.01)
    indexer.start()
    assert soon(lambda: indexer.problem == "the ledger sleeps")
    ledger.failure = OSError("odd")
    assert soon(lambda: indexer.problem == "OSError: odd")
    ledger.failure = None
    assert soon(lambda: indexer.problem is None and indexer.behind() == 0)
    indexer.close()


@pytest.mark.parametrize(
    "logs",
    [
        {"acme": rows(0, 7)},
        {"acme": rows(0, 9, apart=2)},
        {"acme": rows(0, 20, apart=2)},
        {"operator": rows(0, 2)},
        {},
        {"acme": []},
    ],
    ids=["cut", "other", "other and longer", "log gone", "empty", "emptied"],
)
def test_a_ledger_that_does_not_fit_is_indexed_anew(index: Index, logs: dict[str, list[IndexRow]]) -> None:
    first = Indexer(index, Ledger({"acme": rows(0, 9)}))
    first.catch_up()
    first.close()
    ledger = Ledger(logs)
    again = Indexer(index, ledger, poll_s=0.01)
    again.start()
    expected = {log: len(taken) for log, taken in logs.items() if taken}
    assert soon(lambda: index.cursors() == expected)
    assert index.count(Query()).number == sum(expected.values())
    again.close()


def test_a_ledger_that_fits_is_not_read_again(index: Index) -> None:
    first = Indexer(index, Ledger({"acme": rows(0, 9)}))
    first.catch_up()
    first.close()
    ledger = Ledger({"acme": rows(0, 12)})
    again = Indexer(index, ledger)
    again.catch_up()
    again.close()
    assert ledger.asked == [("acme", 8, 9), ("acme", 9, 12)]


def test_a_ledger_that_shrinks_while_it_is_indexed_is_indexed_anew(index: Index) -> None:
    ledger = Ledger({"acme": rows(0, 9)})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    ledger.logs["acme"] = rows(0, 4, apart=3)
    ledger.logs["operator"] = rows(0, 1)
    indexer.catch_up()
    assert index.cursors() == {"acme": 4, "operator": 1}
    indexer.close()


def test_an_index_that_another_process_made_anew_is_filled_anew(index: Index, path: Path) -> None:
    ledger = Ledger({"acme": rows(0, 9)})
    indexer = Indexer(index, ledger, poll_s=0.01)
    indexer.start()
    assert soon(lambda: indexer.behind() == 0)
    other = Index.open(path)
    other.rebuild()
    other.close()
    ledger.logs["acme"] = rows(0, 12)
    assert soon(lambda: index.cursors() == {"acme": 12})
    indexer.close()


def test_an_index_that_is_damaged_while_it_is_filled_is_filled_anew(index: Index, path: Path) -> None:
    ledger = Ledger({"acme": rows(0, 9)})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    con = apsw.Connection(str(path))
    con.execute("DROP TABLE docs")
    con.close()
    ledger.logs["acme"] = rows(0, 12)
    indexer.catch_up()
    assert index.count(Query()).number == 12
    assert not index.damaged
    indexer.close()


def test_one_that_is_damaged_again_and_again_is_said_to_be(index: Index) -> None:
    indexer = Indexer(index, Ledger({"acme": rows(0, 9)}))
    with patch.object(index, "take_all", side_effect=IndexDamaged("again")), pytest.raises(IndexDamaged, match="again"):
        indexer.catch_up()
    indexer.close()


def test_an_index_in_memory_is_filled_without_a_lock() -> None:
    index = Index.open("sqlite::memory:")
    ledger = Ledger({"acme": rows(0, 9)})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    indexer.catch_up()
    assert index.count(Query()).number == 9
    assert ledger.asked == [("acme", 0, 9)]
    indexer.close()
    index.close()


def test_one_fills_the_index_and_another_goes_on_when_it_has_gone(path: Path, index: Index) -> None:
    other = Index.open(path)
    ledger = Ledger({"acme": rows(0, 5)})
    first, second = Indexer(index, ledger, poll_s=0.01), Indexer(other, ledger, poll_s=0.01)
    first.start()
    assert soon(lambda: first.behind() == 0)
    asked = len(ledger.asked)
    second.start()
    ledger.logs["acme"] = rows(0, 9)
    assert soon(lambda: first.behind() == 0)
    assert len(ledger.asked) == asked + 1, "both read"
    first.close()
    ledger.logs["acme"] = rows(0, 12)
    assert soon(lambda: second.behind() == 0)
    assert index.count(Query()).number == 12
    second.close()
    other.close()


CHILD = """
import sys, time
from pathlib import Path
from unittest.mock import patch
from licet.store import indexer as indexer_module
from licet.store.index import Index
from licet.store.indexer import Indexer
from tests.store.test_indexer import rows
from tests.store.index_samples import Ledger
index = Index.open(Path(sys.argv[1]))
ledger = Ledger({"acme": rows(0, 40_000)})
indexer_module.STEP_ROWS = 200
indexer = Indexer(index, ledger)
indexer.start()
while not index.cursors():
    time.sleep(0.005)
print("filling", flush=True)
time.sleep(60)
"""


def test_a_process_that_is_killed_leaves_an_index_that_another_goes_on_with(path: Path, index: Index) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    assert child.stdout.readline() == b"filling\n"
    ledger = Ledger({"acme": rows(0, 40_000)})
    second = Indexer(index, ledger, poll_s=0.01)
    second.start()
    assert not soon_for(0.2, lambda: bool(ledger.asked)), "two processes filled one index"
    child.kill()
    child.wait()
    child.stdout.close()
    assert soon(lambda: second.behind() == 0)
    _, last, taken = ledger.asked[0]
    assert (last, taken % 200) == (taken - 1, 0), "it did not go on where the other one ended"
    assert 0 < taken < 40_000
    assert index.count(Query(text="text"), limit=50_000, patience_s=10).number == 40_000
    second.close()


def soon_for(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not holds():
        time.sleep(0.01)
    return holds()


def test_forgetting_while_records_are_taken_leaves_none_of_them(index: Index, path: Path, small_steps: None) -> None:
    """Whatever the moment: read before and taken after, or taken before."""
    ledger = Ledger({"acme": [row(number, f"quixotry {number}", at=AT + number, payload=sealed("a" * 32)) for number in range(400)]})
    indexer = Indexer(index, ledger, poll_s=0.001)
    indexer.start()
    assert soon(lambda: bool(index.cursors()))
    index.forget("acme", ["a" * 32])
    assert soon(lambda: indexer.behind() == 0)
    indexer.close()
    assert index.search(Query(text="quixotry")).places == ()
    assert not [file for file in path.parent.iterdir() if b"quixotry" in file.read_bytes()]


# what was erased elsewhere


def erasure(index: int, *targets: str) -> IndexRow:
    return row(index, None, kind="erasure", targets=targets)


def test_who_was_erased_on_another_host_is_forgotten_with_the_record_of_that(index: Index, path: Path) -> None:
    ledger = Ledger(
        {
            "acme": [row(0, "quixotry", payload=sealed(ALICE)), row(1, "zymurgy", payload=sealed(DANA))],
            "operator": [row(0, "vorpal", payload=sealed(ALICE))],
        }
    )
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    assert lies_in(path.parent, "uixotry", "ymurgy", "orpal") == {"uixotry", "ymurgy", "orpal"}
    ledger.logs["acme"].append(erasure(2, f"User::{ALICE}"))
    indexer.catch_up()
    assert lies_in(path.parent, "uixotry", "ymurgy", "orpal") == {"ymurgy"}
    assert index.count(Query()).number == 4, "the records themselves stay"
    indexer.close()


def test_what_was_read_before_it_was_erased_and_is_taken_with_the_record_of_that_is_not_kept(index: Index, path: Path) -> None:
    ledger = Ledger(
        {
            "acme": [row(0, "quixotry", payload=sealed(ALICE)), erasure(1, f"User::{ALICE}")],
            "zeta": [row(0, "vorpal", payload=sealed(ALICE))],
        }
    )
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    assert lies_in(path.parent, "uixotry", "orpal") == set()
    indexer.close()


def test_payloads_that_were_dropped_are_forgotten_with_the_record_of_that(index: Index, path: Path) -> None:
    words = ["quixotry", "zymurgy", "jackdaw", "vorpal"]
    ledger = Ledger({"acme": [row(number, word) for number, word in enumerate(words)], "operator": [row(0, "wampeter")]})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    ledger.logs["acme"].append(erasure(4, "Payloads::0-1", "Payloads::3-9"))
    ledger.logs["acme"].append(row(5, "granfalloon"))
    indexer.catch_up()
    assert lies_in(path.parent, *words, "wampeter", "granfalloon") == {"jackdaw", "wampeter", "granfalloon"}
    indexer.close()


@pytest.mark.parametrize(
    "envelope", [b'"erasure"', b'{"kind":"erasure","targets":1}', b'{"kind":"erasure"}', b'{"kind":"call","tool":"erasure"}']
)
def test_what_is_no_erasure_or_cannot_be_read_forgets_nothing(index: Index, path: Path, envelope: bytes) -> None:
    ledger = Ledger({"acme": [row(0, "quixotry", payload=sealed(ALICE)), row_of(1, envelope)]})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    assert lies_in(path.parent, "uixotry") == {"uixotry"}
    assert index.cursors() == {"acme": 2}
    indexer.close()


def test_an_index_that_cannot_forget_takes_the_record_later(index: Index, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger({"acme": [row(0, "quixotry", payload=sealed(ALICE))]})
    indexer = Indexer(index, ledger)
    indexer.catch_up()
    ledger.logs["acme"].append(erasure(1, f"User::{ALICE}"))
    with patch.object(Index, "finish_forgetting", side_effect=StoreUnavailable("is locked")), pytest.raises(StoreUnavailable):
        indexer.catch_up()
    assert index.cursors() == {"acme": 1}
    indexer.catch_up()
    assert index.cursors() == {"acme": 2}
    assert lies_in(path.parent, "uixotry") == set()
    indexer.close()
