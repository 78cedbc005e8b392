"""Attacks on the log: the table of all is in `test_known_breaks.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from licet.config import loads
from licet.errors import IntegrityBroken
from licet.gate.opening import open_reading
from licet.gate.results import Denied, Failed, Ok, Result
from licet.ledger import notary
from licet.ledger.record import leaf_hash
from licet.ledger.verify import verify
from licet.model import Receipt
from licet.store import sqlite_open
from licet.testing import Clock
from tests.gate.faulty import faulty_world
from tests.gate.proof import assert_whole, report_of
from tests.gate.test_kill import killed
from tests.world import CONFIG, World, world, world_on


def call(w: World, arguments: Any, tool: str = "billing.adjust") -> Result:
    with w.alice():
        return w.gate.call(tool, arguments)


def edit(folder: Path, text: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """What somebody does who can write the database."""
    con = apsw.Connection(str(folder / "licet.db"))
    try:
        return list(con.execute(text, values))
    finally:
        con.close()


def test_an_edited_record_is_found(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.adjust()
    envelope = edit(tmp_path, "SELECT envelope FROM records WHERE kind = 'outcome'")[0][0]
    edit(tmp_path, "UPDATE records SET envelope = ? WHERE kind = 'outcome'", (envelope.replace(b'"status":"ok"', b'"status":"no"'),))
    with world_on(tmp_path) as w:
        report = report_of(w.gate)
        assert not report.ok
        assert any("bytes are not those that were hashed" in str(problem) for problem in report.problems)


def test_a_cut_tail_is_found_and_nobody_writes_after_it(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.adjust()
    edit(tmp_path, "DELETE FROM records WHERE place = (SELECT max(place) FROM records)")
    with world_on(tmp_path) as w:
        with pytest.raises(IntegrityBroken, match="audit verify"):
            w.adjust()
        assert w.ran == []
    store = open_reading(loads(CONFIG, file=tmp_path / "licet.toml"), Clock())
    with store.source() as source:
        assert not verify(source).ok
    store.close()


def state_of(folder: Path) -> list[Any]:
    """Where every log and the head log end."""
    (ledger,) = edit(folder, "SELECT head_size, head_range FROM ledger")
    return [ledger, *edit(folder, "SELECT number, size, compact_range FROM logs")]


def cut_back(folder: Path, state: list[Any]) -> None:
    """Every log ends where it did, and its tree says so."""
    for number, size, compact_range in state[1:]:
        for table in ("records", "payloads"):
            edit(folder, f"DELETE FROM {table} WHERE place >= ? AND place < ?", ((number << 40) + size, (number + 1) << 40))
        edit(folder, "UPDATE logs SET size = ?, compact_range = ? WHERE number = ?", (size, compact_range, number))


def cut_heads_back(folder: Path, state: list[Any]) -> None:
    """So does the head log, with its checkpoints."""
    edit(folder, "UPDATE ledger SET head_size = ?, head_range = ?", state[0])
    edit(folder, "DELETE FROM heads WHERE number >= ?", (state[0][0],))
    edit(folder, "DELETE FROM checkpoints WHERE size > ?", (state[0][0],))


def test_a_cut_tail_with_repaired_state_does_not_fit_its_head_log(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.adjust()
    state = state_of(tmp_path)
    with world_on(tmp_path) as w:
        w.adjust()
    cut_back(tmp_path, state)
    store = open_reading(loads(CONFIG, file=tmp_path / "licet.toml"), Clock())
    with store.source() as source:
        problems = [str(problem) for problem in verify(source).problems]
    store.close()
    assert any("log `acme`" in problem for problem in problems), problems


def test_a_cut_tail_with_repaired_state_does_not_fit_its_receipts(tmp_path: Path) -> None:
    """The log is whole in itself: only what somebody kept outside shows what is gone. Every caller has a receipt."""
    with world_on(tmp_path) as w:
        first = w.adjust()
    state = state_of(tmp_path)
    with world_on(tmp_path) as w:
        second = w.adjust()
        assert isinstance(first, Ok)
        assert isinstance(second, Ok)
    cut_back(tmp_path, state)
    cut_heads_back(tmp_path, state)
    with world_on(tmp_path) as w:
        w.adjust()
        assert fits(w, first.receipt)
        assert not fits(w, second.receipt)


def fits(w: World, receipt: Receipt) -> bool:
    return leaf_hash(w.gate.store.get_record(receipt.log, receipt.index).envelope).hex() == receipt.leaf


def test_a_locked_database_stops_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_open, "BUSY_TIMEOUT_S", 0.02)
    monkeypatch.setattr("licet.ledger.writer.RETRY_PAUSES_S", (0.0,))
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok)
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("BEGIN IMMEDIATE")
        w.denied(w.adjust(), "log_unavailable", "nothing was done")
        with w.alice():
            w.denied(asyncio.run(w.gate.acall("billing.refund", {"customer_id": "C-1", "amount_cents": 5})), "log_unavailable")
        assert len(w.ran) == 1
        con.execute("ROLLBACK")
        con.close()
        assert isinstance(w.adjust(), Ok)
        assert_whole(w.gate)


def test_a_full_disk_stops_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.ledger.writer.RETRY_PAUSES_S", (0.0,))
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok)
        store: Any = w.gate.store
        pages = store._writer.pragma("page_count")
        store._writer.pragma("max_page_count", pages)
        results = [w.adjust() for _ in range(60)]
        ran = len(w.ran)
        assert any(isinstance(result, Denied) and result.decision.code == "log_unavailable" for result in results)
        assert ran == 1 + sum(isinstance(result, Ok) or (isinstance(result, Failed) and result.executed) for result in results)
        store._writer.pragma("max_page_count", 1 << 30)
        assert isinstance(w.adjust(), Ok)
        w.gate.close()
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds().count("outcome") == w.kinds().count("intent"), "what could not be recorded at once was recorded later"
        assert w.gate.store.open_calls() == ()
        assert_whole(w.gate)


def test_a_tool_that_breaks_the_log_does_not_get_its_result_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch, tmp_path) as (w, store):

        @w.gate.tool("exfiltrate", access="read")
        def exfiltrate() -> str:
            store.fail("down")
            return "the secret"

        @w.gate.tool("exfiltrate.write", access="write", touches={"access"})
        async def exfiltrate_awaited() -> str:
            store.fail("down")
            return "the secret"

        for tool in ("exfiltrate", "exfiltrate.write"):
            result = call(w, {}, tool)
            assert isinstance(result, Failed)
            assert (result.code, result.executed, result.receipt) == ("outcome_not_recorded", True, None)
            assert "secret" not in repr(result)
            store.mend()
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert sorted(w.kinds()) == ["call", "intent", "outcome"]
        assert_whole(w.gate)


def test_a_killed_process_leaves_its_intent_and_the_next_one_says_that_nobody_saw_the_end(tmp_path: Path) -> None:
    killed(tmp_path, "in the tool")
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds()[-2:] == ["intent", "recovery"]
        assert_whole(w.gate)


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()])
def test_a_tool_that_ends_the_process_has_an_entry(error: BaseException) -> None:
    with world() as w:
        w.raises = error
        for tool in ("odd.now", "odd.awaited"):
            with pytest.raises(type(error)):
                call(w, {}, tool)
        codes = [record.envelope.outcome.code for record in w.records() if record.envelope.outcome is not None]
        assert codes == [type(error).__name__] * 2
        assert_whole(w.gate)


@pytest.mark.parametrize("cut", [1, 100, 5_000])
def test_a_torn_tail_stops_nobody(tmp_path: Path, cut: int) -> None:
    told = killed(tmp_path, "after everything")
    log = tmp_path / "licet.db-wal"
    whole = log.read_bytes()
    assert whole
    log.write_bytes(whole[:-cut] + b"\0" * (cut // 2))
    (tmp_path / "licet.db-shm").unlink(missing_ok=True)
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok), "nobody had to repair anything"
        assert len(w.kinds()) >= len(told)
        assert_whole(w.gate)


def test_a_call_costs_the_same_however_long_the_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps of SQLite's machine, which do not depend on how busy this one is."""
    steps = [0]
    connect = sqlite_open.connect

    def counting(*args: Any, **kwargs: Any) -> apsw.Connection:
        con = connect(*args, **kwargs)

        def count() -> bool:
            steps[0] += 1
            return False

        con.set_progress_handler(count, 10)
        return con

    monkeypatch.setattr(sqlite_open, "connect", counting)
    # Signing and indexing go by the clock, beside the calls.
    monkeypatch.setattr(notary, "EVERY_S", 3_600.0)
    monkeypatch.setattr(notary, "RECORDS", 1_000_000)

    def cost(w: World) -> int:
        before = steps[0]
        for number in range(10):
            w.adjust(100 + number, idempotency_key=f"{before}-{number}")
            with w.alice():
                w.gate.call("crm.lookup", {"customer_id": "C-1"})
            w.held(50_000 + number)
        return steps[0] - before

    with world_on(tmp_path, CONFIG + "\n[search]\nindex = false\n") as w:
        w.adjust()
        first = cost(w)
        for number in range(400):
            w.adjust(100 + number)
        assert cost(w) < 1.5 * first
        assert_whole(w.gate)
