"""The search index finds records by field, time and text, page by page, the newest first."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.errors import NotAStore, StoreUnavailable
from licet.ledger.record import (
    FORMAT_VERSION,
    Actor,
    ApprovalEntry,
    DecisionEntry,
    Envelope,
    OutcomeEntry,
    PayloadEntry,
    ToolEntry,
    TraceEntry,
    encode_envelope,
    leaf_hash,
)
from licet.model import CallId, RequestId
from licet.store.index import Index
from licet.store.index_ask import Query
from licet.store.index_take import IndexRow
from licet.store.index_terms import Field
from tests.store.index_samples import AT, HOUR_US, row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db-index"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    index = Index.open(path)
    yield index
    index.close()


def indexes(index: Index, query: Query) -> list[int]:
    return [place.index for place in index.search(query).places]


def test_what_was_taken_is_found_the_newest_first(index: Index) -> None:
    index.take("acme", [row(0), row(1, at=AT + 1), row(2, at=AT + 2)])
    assert indexes(index, Query()) == [2, 1, 0]
    assert index.cursors() == {"acme": 3}


def test_a_cursor_goes_on_where_a_page_ended_while_records_are_added(index: Index) -> None:
    index.take("acme", [row(number, at=AT + number) for number in range(10)])
    first = index.search(Query(), limit=4)
    index.take("acme", [row(10, at=AT + 10)])
    second = index.search(Query(), limit=4, after=first.next)
    last = index.search(Query(), limit=4, after=second.next)
    assert [place.index for page in (first, second, last) for place in page.places] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert last.next is None


def test_records_taken_before_are_passed_over_and_a_gap_is_refused(index: Index) -> None:
    index.take("acme", [row(0), row(1)])
    index.take("acme", [row(0), row(1), row(2)])
    with pytest.raises(ValueError, match="do not go on from there"):
        index.take("acme", [row(4)])
    assert index.count(Query()).number == 3


def test_text_is_found_together_with_filters(index: Index) -> None:
    index.take(
        "acme",
        [
            row(0, "refund for C-412", actor={"agent": "bot"}),
            row(1, "refund for C-413", actor={"agent": "bot"}),
            row(2, "refund for C-412"),
        ],
    )
    assert indexes(index, Query(text="C-412")) == [2, 0]
    assert indexes(index, Query(text="C-412", filters={"agent": ("bot",)})) == [0]


def test_a_rollup_counts_a_denial_as_often_as_it_stands_for(index: Index) -> None:
    denied = {"verdict": "deny", "code": "no", "count": 40}
    index.take("acme", [row(0, kind="denial", decision=denied), row(1, decision={"verdict": "allow", "code": "allowed"})])
    bars = index.rollup("verdict", since_us=AT, until_us=AT + HOUR_US)
    assert [(bar.value, bar.count) for bar in bars] == [("allow", 1), ("deny", 40)]


def test_a_record_as_the_ledger_writes_it_is_found_by_every_field(index: Index) -> None:
    alice, dana, customer = "a" * 32, "d" * 32, "c" * 32
    envelope = Envelope(
        v=FORMAT_VERSION,
        log="acme",
        kind="call",
        id="id",
        at=AT,
        boot="boot",
        environment="production",
        call=CallId("call-1"),
        actor=Actor(agent="support-bot", user=alice, session="ticket 4711"),
        tool=ToolEntry("billing.adjust", "write", "f" * 64),
        targets=(f"Customer::{customer}", "Tenant::acme"),
        decision=DecisionEntry(verdict="allow", code="approved", policies=("p1",), obligations=("two",), decided_by="human"),
        approval=ApprovalEntry(RequestId("request-1"), (dana,)),
        trace=TraceEntry(trace_id="7" * 32, span_id="8" * 16, workflow="refunds"),
        outcome=OutcomeEntry(status="ok", duration_us=10, effects=1),
        payload=PayloadEntry("e" * 64, 10, (alice, customer, "b" * 32)),
    )
    stored = encode_envelope(envelope)
    index.take("acme", [IndexRow(0, stored, leaf_hash(stored), None), row(1, kind="gap", at=AT + 1)])
    filters: dict[Field, str] = {
        "kind": "call",
        "agent": "support-bot",
        "actor": "support-bot",
        "user": alice,
        "session": "ticket 4711",
        "tool": "billing.adjust",
        "access": "write",
        "target": f"Customer::{customer}",
        "target_type": "Customer",
        "verdict": "allow",
        "code": "approved",
        "policy": "p1",
        "obligation": "two",
        "decided_by": "human",
        "workflow": "refunds",
        "trace_id": "7" * 32,
        "call": "call-1",
        "request": "request-1",
        "environment": "production",
        "voter": dana,
        "outcome": "ok",
        "subject": "b" * 32,
    }
    for field, value in filters.items():
        assert indexes(index, Query(filters={field: (value,)})) == [0], field
        assert indexes(index, Query(filters={field: (f"{value}x",)})) == [], field
    assert indexes(index, Query(filters={field: (value,) for field, value in filters.items()})) == [0]
    for subject in (alice, dana, customer, "b" * 32):
        assert indexes(index, Query(filters={"subject": (subject,)})) == [0]


def test_many_search_while_records_are_taken(index: Index) -> None:
    """Each page is of one moment: without gaps, and never behind an earlier one."""
    stop, wrong = threading.Event(), []

    def search() -> None:
        seen = 0
        while not stop.is_set():
            found = [place.index for place in index.search(Query(text="word", filters={"kind": ("intent",)}), limit=1000).places]
            if found != list(range(len(found) - 1, -1, -1)) or len(found) < seen:
                wrong.append(found)
            seen = len(found)

    threads = [threading.Thread(target=search) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(0, 300, 3):
        index.take("acme", [row(at, "word", at=AT + at) for at in range(number, number + 3)])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_only_its_owner_can_read_it(index: Index, path: Path) -> None:
    index.take("acme", [row(0)])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_is_refused_and_a_missing_index_is_not_made_for_reading(path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        Index.open(path, read_only=True).search(Query())
    assert not path.exists()
    path.mkdir()
    with pytest.raises(NotAStore, match="is a folder"):
        Index.open(path)
