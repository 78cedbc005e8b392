"""Counts by hour are what counting all records gives, and tiles are those of the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.ledger.merkle import root_of
from licet.ledger.tiles import HashTree, TileBuilder
from licet.store.index import Index
from licet.store.index_rollups import Bar, By
from licet.store.index_take import IndexRow
from tests.store.index_samples import AT, HOUR_US, row, row_of

FIRST_HOUR = AT // HOUR_US


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index.open("sqlite::memory:")
    yield index
    index.close()


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "operator"]),
        st.integers(0, 5),
        st.sampled_from(["", "a.b", "c"]),
        st.sampled_from(["", "allow", "deny"]),
        st.sampled_from(["", "ok", "error"]),
        st.sampled_from([None, 1, 7, 0, -3]),
    ),
    max_size=40,
)
PLACES: dict[By, int] = {"tool": 2, "verdict": 3, "outcome": 4}


def envelope(tool: str, verdict: str, outcome: str, count: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if tool:
        fields["tool"] = {"name": tool}
    if verdict:
        fields["decision"] = {"verdict": verdict, "code": "x", **({} if count is None else {"count": count})}
    if outcome:
        fields["outcome"] = {"status": outcome}
    return fields


@settings(deadline=None, max_examples=100)
@given(
    RECORDS,
    st.sampled_from(["tool", "verdict", "outcome"]),
    st.sampled_from([None, "acme", "nobody"]),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_bars_are_what_counting_gives(records: list[tuple[Any, ...]], by: By, log: str | None, hours: int, at_once: int) -> None:
    index = Index.open("sqlite::memory:")
    numbers: Counter[str] = Counter()
    expected: Counter[tuple[int, str]] = Counter()
    for start in range(0, len(records), at_once):
        for record in records[start : start + at_once]:
            name, hour, tool, verdict, outcome, count = record
            index.take(name, [row(numbers[name], at=(FIRST_HOUR + hour) * HOUR_US + 17, **envelope(tool, verdict, outcome, count))])
            numbers[name] += 1
            if log in (None, name) and 1 <= hour < 4:
                stands_for = count if verdict and count is not None and count > 0 else 1
                expected[FIRST_HOUR + 1 + (hour - 1) // hours * hours, record[PLACES[by]]] += stands_for
    bars = index.rollup(by, since_us=(FIRST_HOUR + 1) * HOUR_US, until_us=(FIRST_HOUR + 4) * HOUR_US, log=log, hours=hours)
    assert list(bars) == [Bar(hour, value, count) for (hour, value), count in sorted(expected.items())]
    index.close()


def test_counts_that_an_attacker_chose_do_not_overflow(index: Index) -> None:
    huge = {"verdict": "deny", "code": "x", "count": 1 << 62}
    index.take("acme", [row(number, decision=huge) for number in range(50)])
    assert index.rollup("verdict", since_us=AT, until_us=AT + 1)[0].count == 50 << 40


def test_what_is_not_counted_by_is_refused(index: Index) -> None:
    with pytest.raises(ValueError, match="not counted by `log`"):
        index.rollup("log", since_us=0, until_us=1)  # type: ignore[arg-type]


class Leaves:
    """The leaves of a log, and the tiles that an index keeps of it."""

    def __init__(self, index: Index, rows: list[IndexRow]) -> None:
        self.index = index
        self.rows = rows
        self.read = 0

    def find_tile(self, level: int, n: int) -> bytes | None:
        return self.index.find_tile("acme", level, n)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        self.read += stop - start
        return [taken.leaf for taken in self.rows[start:stop]]


@pytest.mark.parametrize("step", [1001, 70_000])
def test_tiles_are_those_of_the_tree(index: Index, step: int) -> None:
    rows = [row_of(number, b"%d" % number) for number in range(66_000)]
    for start in range(0, len(rows), step):
        index.take("acme", rows[start : start + step])
    builder = TileBuilder()
    expected = {(tile.level, tile.n): tile.hashes for tile in builder.extend([taken.leaf for taken in rows])}
    assert index.find_tile("acme", 1, 0) == expected[1, 0]
    assert [index.find_tile("acme", level, n) for level, n in ((0, 0), (1, 1), (2, 0))] == [None, None, None]
    assert index.find_tile("operator", 1, 0) is None
    source = Leaves(index, rows)
    tree = HashTree(source, len(rows))
    assert tree.root_at(65_536) == root_of([taken.leaf for taken in rows[:65_536]])
    assert source.read == 0, "a root of full tiles was computed from leaves"


@pytest.mark.parametrize("grown", [65_536, 65_537, 66_000, 131_400])
def test_edges_are_those_of_the_tree_also_of_what_it_was(index: Index, grown: int) -> None:
    rows = [row_of(number, b"%d" % number) for number in range(grown)]
    index.take("acme", rows)
    source = Leaves(index, rows)
    for size in {1, 255, 256, 257, 65_535, 65_536, 65_537, 65_792, 66_000, grown} - set(range(grown + 1, 70_000)):
        edge = index.find_edge("acme", size)
        assert edge is not None
        assert edge[1:] == HashTree(source, size).edge()[1:]
    assert index.find_edge("acme", grown + 1) is None
    assert index.find_edge("operator", 1) is None


def test_tiles_go_on_after_a_restart(tmp_path: Any) -> None:
    path = tmp_path / "licet.db-index"
    rows = [row_of(number, b"%d" % number) for number in range(65_540)]
    for start in range(0, len(rows), 13_001):
        index = Index.open(path, text=False)
        index.take("acme", rows[start : start + 13_001])
        index.close()
    index = Index.open(path, read_only=True)
    found = index.find_tile("acme", 1, 0)
    assert found is not None
    assert found[-32:] == root_of([taken.leaf for taken in rows[65_280:65_536]])
    index.close()


def test_the_last_record_taken_tells_one_ledger_from_another(index: Index) -> None:
    rows = [row(number) for number in range(5)]
    index.take("acme", rows)
    assert index.verify_against("acme", 4, rows[4].leaf)
    assert not index.verify_against("acme", 3, rows[3].leaf)
    assert not index.verify_against("acme", 4, rows[3].leaf)
    assert not index.verify_against("operator", 4, rows[4].leaf)
