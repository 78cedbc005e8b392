"""Rows of calls that somebody else executes, edited by somebody who can write the database: the intent's record is what counts."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tests.gate.remoting import permitted, remote_world_on, verified
from tests.world import World


def tamper(there: World, text: str) -> None:
    con = apsw.Connection(str(there.gate.settings.store_path))
    con.execute(text)
    con.close()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("deadline = deadline - 59000000", id="earlier"),
        pytest.param("deadline = deadline + 1", id="later"),
        pytest.param("deadline = NULL", id="none"),
        pytest.param("deadline = NULL, holder = boot", id="a_call_of_this_process"),
        pytest.param("holder = boot", id="held"),
    ],
)
def test_a_row_whose_time_was_changed_is_found(tmp_path: Path, change: str) -> None:
    with remote_world_on(tmp_path) as there:
        call = permitted(there).call
        assert verified(there).problems == ()
        tamper(there, f"UPDATE open_calls SET {change}")
        (problem,) = verified(there).problems
    assert f"the row of call {call} is not what the records say" in str(problem)


def test_nobody_says_before_the_time_in_the_intent_that_a_call_was_not_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with remote_world_on(tmp_path) as there:
        call = permitted(there).call
        tamper(there, "UPDATE open_calls SET deadline = 1")
        reporter = there.gate._opened().reporter
        assert (reporter.sweep(), reporter.sweep()) == (0, 0)
        assert there.kinds() == ["intent"]
        assert caplog.text.count(f"the row of call `{call}` is not what its intent says") == 1
        there.clock.advance(61)
        reporter.sweep()
        detail = there.records()[-1].payload.detail
    assert detail == {"report_by": 1767603660000000}, "the time of the intent, not that of the row"


def test_rows_that_nobody_recorded_end_nothing_and_stand_in_nobodys_way(tmp_path: Path) -> None:
    with remote_world_on(tmp_path) as there:
        permitted(there)
        forged = ", ".join(f"('forged{number}', 'acme', 1, 0, {number})" for number in range(300))
        tamper(there, f"INSERT INTO open_calls (call, log, boot, holder, deadline) VALUES {forged}")
        there.clock.advance(61)
        reporter = there.gate._opened().reporter
        reporter.sweep()
        assert there.kinds() == ["intent", "recovery"]
