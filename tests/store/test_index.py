"""The search index finds records by field, time and text, page by page, the newest first."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.errors import NotAStore, StoreUnavailable
from licet.store.index import Index
from licet.store.index_ask import Query
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
