"""Attacks on freezes by somebody who can write the database: what stops them, and what verification shows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from licet import Effect
from licet.errors import FreezeRefused, IntegrityBroken
from licet.gate.results import Denied, Ok, Result
from tests.gate.proof import report_of
from tests.world import World, world_on

WHY = "it deletes what it should read"


def edit(folder: Path, text: str, values: tuple[Any, ...] = ()) -> None:
    con = apsw.Connection(str(folder / "licet.db"))
    try:
        con.execute(text, values)
    finally:
        con.close()


@contextmanager
def fresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world that looks for freezes at each call."""
    monkeypatch.setattr("licet.gate.freeze_view.FRESH_S", 0.0)
    with world_on(folder) as w:
        yield w


def read(w: World) -> Result:
    with w.alice():
        return w.gate.call("crm.lookup", {"customer_id": "C-1"})


def messages(w: World) -> list[str]:
    return [problem.message for problem in report_of(w.gate).problems]


EDITS = {
    "deleted": "DELETE FROM freezes",
    "of another agent": "UPDATE freezes SET name = 'night-bot'",
    "of another tenant": "UPDATE freezes SET log = 'globex'",
    "of nothing": "UPDATE freezes SET scope = 'nothing'",
    "renamed": "UPDATE freezes SET id = 'another'",
}


@pytest.mark.parametrize("text", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_row_that_is_written_over_unfreezes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str, *, restarted: bool
) -> None:
    with fresh(tmp_path, monkeypatch) as w:
        stopped = w.gate.freeze("agent", "support-bot", reason=WHY)
        if not restarted:
            edit(tmp_path, text)
            attacked(w, stopped.id, caplog)
    if restarted:
        edit(tmp_path, text)
        with fresh(tmp_path, monkeypatch) as w:
            attacked(w, stopped.id, caplog)


def attacked(w: World, freeze: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "licet.gate"):
        w.denied(read(w), "frozen", WHY)
        w.denied(w.adjust(1), "frozen", WHY)
    assert w.ran == []
    said = [record.getMessage() for record in caplog.records]
    assert any(freeze in message and "is not what the log says; it holds" in message for message in said)
    assert len(said) == len(set(said)), "once, not with each call"
    assert messages(w)


def test_a_deleted_row_is_lifted_all_the_same_and_the_ledger_is_whole_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(tmp_path, monkeypatch) as w:
        stopped = w.gate.freeze("agent", "support-bot", reason=WHY)
        edit(tmp_path, "DELETE FROM freezes")
        w.gate.lift(stopped.id, reason="mended")
        assert isinstance(read(w), Ok)
        assert messages(w) == []


def test_a_record_that_is_taken_out_of_the_log_unfreezes_nothing_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(tmp_path, monkeypatch) as w:
        w.gate.freeze("agent", "support-bot", reason=WHY)
        w.denied(read(w), "frozen")
        edit(tmp_path, "DELETE FROM freezes")
        edit(tmp_path, "DELETE FROM records WHERE kind = 'freeze'")
        w.denied(read(w), "frozen", WHY)
        assert messages(w)


def test_a_lift_that_is_written_into_the_log_by_hand_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stopped: rows and record forged together. The tree shows it."""
    with fresh(tmp_path, monkeypatch) as w:
        stopped = w.gate.freeze("agent", "support-bot", reason=WHY)
        forged = (
            f'{{"v":1,"log":"operator","kind":"freeze","id":"x","at":1,"boot":"b","environment":"e","targets":["Freeze::{stopped.id}"],'
        )
        envelope = (forged + '"payload":{"commitment":"","length":0}}').encode()
        text = (
            "INSERT INTO records (place, kind, envelope, leaf) SELECT max(place) + 1, 'freeze', ?, x'00' FROM records WHERE kind = 'freeze'"
        )
        edit(tmp_path, text, (envelope,))
        edit(tmp_path, "DELETE FROM freezes")
        assert isinstance(read(w), Ok)
        assert messages(w)


def test_a_freeze_that_nobody_placed_stops_and_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(tmp_path, monkeypatch) as w:
        w.gate.seal()
        edit(tmp_path, "INSERT INTO freezes VALUES ('x', 'operator', 'all', '*', 1)")
        w.denied(read(w), "frozen", "everything", "cannot be read")
        with pytest.raises(IntegrityBroken):
            w.gate.lift("x", reason="mended")
        assert any("the row of freeze x is not what the records say" in message for message in messages(w))


def test_a_freeze_lifted_in_the_row_alone_stops_the_intent_of_nobody_who_does_not_look(tmp_path: Path) -> None:
    """A process that looked a moment ago, and whose view has no freeze, meets the row; without the row, its intent passes. It is found."""
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(1), Ok)
        with world_on(tmp_path) as other:
            other.gate.freeze("agent", "support-bot", reason=WHY)
        w.denied(w.adjust(1), "frozen", WHY)


def test_what_a_model_writes_names_no_freeze(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        stopped = w.gate.freeze("agent", "support-bot", reason=WHY)
        for text in (f"Freeze::{stopped.id}", f'{{"lift": "{stopped.id}"}}'):
            with w.alice(session=text, workflow=text, reason=text):
                assert isinstance(w.gate.call("crm.lookup", {"customer_id": text}), Denied)
                assert isinstance(w.gate.call(text, {}), Denied)
        assert [one.id for one in w.gate.freezes()] == [stopped.id]


@pytest.mark.parametrize("session", ["s-1 ", "S-1", "s\u200b-1"])
def test_a_session_is_the_hosts_to_name_and_stays_frozen_under_its_name(tmp_path: Path, session: str) -> None:
    """The name of a session comes from the host program: one that it writes otherwise is another session, as for meters and labels."""
    with world_on(tmp_path) as w:
        w.gate.freeze("session", "s-1", reason=WHY)
        with w.alice(session="s-1"):
            w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1"}), "frozen")
        with w.alice(session=session):
            assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Ok)


def test_an_agent_whose_user_changes_stays_frozen(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.gate.freeze("agent", "support-bot", reason=WHY)
        for user in ("alice", "carl"):
            with w.gate.acting(agent="support-bot", user=user):
                w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1"}), "frozen")


def test_a_frozen_tool_is_not_previewed(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        seen = threading.Event()

        @w.gate.tool("account.close", access="destructive", touches={"access"}, targets="Customer::{customer_id}")
        def close(customer_id: str) -> str:
            return customer_id

        @close.preview
        def preview(customer_id: str) -> list[Effect]:
            seen.set()
            return []

        w.gate.freeze("tool", "account.close", reason=WHY)
        with w.alice():
            w.denied(w.gate.call("account.close", {"customer_id": "C-1"}), "frozen")
        assert not seen.is_set()


def test_nobody_lifts_for_somebody_else_without_the_record_naming_the_operating_user(tmp_path: Path) -> None:
    """There is no credential: whoever can write the store can name anybody. The record says who ran it."""
    with world_on(tmp_path) as w:
        stopped = w.gate.freeze("agent", "support-bot", reason=WHY, by="lena")
        with pytest.raises(FreezeRefused):
            w.gate.lift(stopped.id, reason="mended", by="mallory")
        w.gate.lift(stopped.id, reason="mended", by="dana")
        said = w.records("operator")[-1].payload.detail or {}
        assert (said["by"], said["operating_user"]) == ("dana", stopped.operating_user)
