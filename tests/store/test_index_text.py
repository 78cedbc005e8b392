"""Text in the search index: what people type, and what is left in the file of what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.errors import StoreUnavailable
from licet.store import index_open, index_text
from licet.store.index import Index
from licet.store.index_ask import Page, Query
from licet.store.index_text import text_expression
from tests.store.index_samples import AT, lies_in, row, sealed

TEXT = '{"customer_id":"C-412","note":"Überweisung doppelt: 12.50 EUR","order":"A_77/b"} charged twice'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db-index"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    index = Index.open(path)
    yield index
    index.close()


def found(index: Index, typed: str) -> list[int]:
    return [place.index for place in index.search(Query(text=typed)).places]


@pytest.mark.parametrize(
    "typed",
    [
        "C-412",
        "c-412",
        '"C-412"',
        "customer_id",
        "customer_id C-412",
        "charged twice",
        '"charged twice"',
        '"CHARGED twice',
        "uberweisung",
        "ÜBERWEISUNG",
        "12.50",
        "char* twi*",
        "A_77/b",
        "twice charged",
        "12.5*",
        "C-412 !!!",
        "C\x00412",
    ],
)
def test_a_text_is_found_by(index: Index, typed: str) -> None:
    index.take("acme", [row(0, TEXT), row(1, "another one")])
    assert found(index, typed) == [0]


@pytest.mark.parametrize(
    "typed", ["C-41", "C-4122", '"twice charged"', "char", "C-412 refund", "*", '"', "", "   ", "!!!", '""', "-", "412 C"[::-1]]
)
def test_a_text_is_not_found_by(index: Index, typed: str) -> None:
    index.take("acme", [row(0, TEXT)])
    assert index.search(Query(text=typed)) == Page((), None)


HOSTILE = [
    "AND",
    "OR NOT",
    "charged OR another",
    "NEAR(charged twice)",
    "words:charged",
    "{words} : charged",
    "^twice",
    "charged + twice",
    "- words : x",
    "(",
    ")",
    '"; DROP TABLE docs; --',
    "' OR 1=1 --",
    '"""',
    '"a" "',
    "*a",
    "x**",
    '"a"*',
    "\0",
    "a\0b",
    "\ud800",
    "a" * 1000,
    " ".join("a" * 32),
    "text_1",
    "%s ? ?1 :x",
    "\u202e\u200b",
    "é\u0301*",
]


@pytest.mark.parametrize("typed", HOSTILE)
def test_no_text_is_an_expression_of_the_database(index: Index, typed: str) -> None:
    index.take("acme", [row(0, "charged"), row(1, "another")])
    assert index.search(Query(text=typed, filters={"kind": ("intent",)})).places == ()
    assert not index.damaged


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters() | st.sampled_from("\"*'()^+-:{}\\ \0aAND"), max_size=80))
def test_any_text_has_an_answer(typed: str) -> None:
    con = apsw.Connection("")
    con.execute("CREATE VIRTUAL TABLE t USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2')")
    expression = text_expression(typed)
    if expression:
        assert con.execute("SELECT rowid FROM t WHERE t MATCH ?", (expression,)).fetchall() == []
    con.close()


@pytest.mark.parametrize(
    ("typed", "message"), [("a" * 1001, "at most 1000 characters, not 1001"), (" ".join("a" * 33), "at most 32 words")]
)
def test_a_text_without_bounds_is_refused(index: Index, typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(Query(text=typed))


def person(number: int, word: str, *subjects: str, **fields: Any) -> Any:
    return row(number, word, at=AT + number, payload=sealed(*subjects), **fields)


ALICE, DANA, CUSTOMER = "a" * 32, "d" * 32, "c" * 32


def test_the_words_of_somebody_forgotten_lie_nowhere_and_all_others_are_found(index: Index, path: Path) -> None:
    words = ["quixotry", "zymurgy", "bezoar", "jackdaw", "vorpal"]
    rows = [
        person(0, "quixotry common", ALICE),
        person(1, "zymurgy common", DANA),
        person(2, "bezoar common", DANA, ALICE),
        person(3, "jackdaw common", CUSTOMER, targets=[f"Customer::{CUSTOMER}"]),
        person(4, "vorpal common", ALICE, actor={"user": ALICE}),
    ]
    index.take("acme", rows)
    index.take("operator", [person(0, "wampeter common", ALICE)])
    assert lies_in(path.parent, *words, "wampeter") == {*words, "wampeter"}
    index.forget("acme", [ALICE])
    assert lies_in(path.parent, *words, "wampeter") == {"zymurgy", "jackdaw", "wampeter"}
    assert {(place.log, place.index) for place in index.search(Query(text="common")).places} == {("acme", 1), ("acme", 3), ("operator", 0)}
    assert found(index, "quixotry") == []
    assert index.count(Query(filters={"subject": (ALICE,)})).number == 4, "the record itself is still found"
    index.forget("acme", [CUSTOMER, DANA])
    assert lies_in(path.parent, *words, "wampeter") == {"wampeter"}


def test_forgetting_reaches_every_shard_and_what_was_merged_before(index: Index, path: Path) -> None:
    with patch.object(index_text, "SHARD_TEXTS", 40):
        for start in range(0, 300, 10):
            index.take(
                "acme",
                [person(number, f"zebra{number}x quokka{number}y", ALICE if number % 7 else DANA) for number in range(start, start + 10)],
            )
    with index._writing() as con:
        assert len(index_text.shards(con)) > 5
    assert lies_in(path.parent, "ebra", "uokka") == {"ebra", "uokka"}
    index.forget("acme", [ALICE])
    for number in range(300):
        assert found(index, f"zebra{number}x") == ([] if number % 7 else [number])
    index.forget("acme", [DANA])
    assert index.search(Query(text="zebra*")) == Page((), None)
    assert lies_in(path.parent, "ebra", "uokka") == set()


def test_a_clock_that_was_wrong_once_does_not_keep_a_shard_open_for_ever(index: Index) -> None:
    century_us = 36_500 * 86_400_000_000
    with patch.object(index_text, "SHARD_TEXTS", 10):
        index.take("acme", [row(number, "word", at=AT + number) for number in range(5)])
        index.take("acme", [row(5, "word", at=AT + century_us // 2), row(6, "word", at=AT + century_us // 4)])
        for number in range(7, 67):
            index.take("acme", [row(number, "word", at=AT + number)])
        with index._writing() as con:
            sizes = [size for (size,) in con.execute("SELECT size FROM shards ORDER BY start")]
    assert sum(sizes) == 67
    assert max(sizes) == 10
    assert sizes[-1] == 1
    assert sorted(found(index, "word")) == list(range(67))


def test_what_was_read_before_it_was_erased_does_not_come_in_afterwards(index: Index, path: Path) -> None:
    index.forget("acme", [ALICE])
    index.take("acme", [person(0, "quixotry", ALICE), person(1, "zymurgy", DANA)])
    assert lies_in(path.parent, "quixotry", "zymurgy") == {"zymurgy"}
    assert index.count(Query()).number == 2


def test_a_subject_named_inside_another_value_is_still_forgotten(index: Index, path: Path) -> None:
    """A session or trace that repeats somebody's pseudonym must not stand in for the subject's own term."""
    index.take(
        "acme", [person(0, "quixotry", ALICE, actor={"agent": ALICE, "session": f"u_{ALICE}"}, trace={"trace_id": ALICE}, call=ALICE)]
    )
    index.forget("acme", [ALICE])
    assert lies_in(path.parent, "quixotry") == set()


def test_payloads_that_were_dropped_lie_nowhere_whichever_log_or_run_they_are_of(index: Index, path: Path) -> None:
    words = ["quixotry", "zymurgy", "bezoar", "jackdaw", "vorpal", "wampeter"]
    index.take("acme", [person(number, word, DANA) for number, word in enumerate(words[:4])])
    index.take("operator", [person(0, "foma", DANA), person(1, "granfalloon", DANA)])
    index.forget_payloads("acme", [(0, 1), (3, 4)])
    assert lies_in(path.parent, *words, "foma", "granfalloon") == {"bezoar", "foma", "granfalloon"}
    index.take("acme", [person(number, word, DANA) for number, word in enumerate(words[4:], start=4)])
    assert lies_in(path.parent, *words) == {"bezoar", "wampeter"}, "it was read before it was dropped, and came in afterwards"
    assert found(index, "vorpal") == []
    index.forget_payloads("operator", [(1, 1)])
    assert lies_in(path.parent, "foma", "granfalloon") == {"foma"}


def test_forgetting_that_could_not_end_goes_on_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_open, "BUSY_TIMEOUT_S", 0.1)
    index = Index.open(path)
    index.take("acme", [person(0, "quixotry", ALICE)])
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM docs").get == 1
    with pytest.raises(StoreUnavailable, match="is locked"):
        index.forget("acme", [ALICE])
    assert found(index, "quixotry") == []
    reader.close()
    index.close()
    again = Index.open(path)
    again.finish_forgetting()
    assert lies_in(path.parent, "quixotry") == set()
    again.close()


@pytest.mark.parametrize("step", ["merge_shard", "delete_texts"])
def test_forgetting_goes_on_where_a_process_died_over_it(index: Index, path: Path, step: str) -> None:
    index.take("acme", [person(0, "quixotry", ALICE), person(1, "zymurgy", DANA)])
    with patch.object(index_text, step, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        index.forget("acme", [ALICE])
    index.close()
    assert lies_in(path.parent, "quixotry") == {"quixotry"}
    again = Index.open(path)
    again.finish_forgetting()
    assert lies_in(path.parent, "quixotry", "zymurgy") == {"zymurgy"}
    again.close()


def test_without_text_no_word_is_ever_in_the_file(path: Path) -> None:
    index = Index.open(path, text=False)
    index.take("acme", [person(number, "quixotry", ALICE) for number in range(100)])
    assert lies_in(path.parent, "quixotry") == set()
    with pytest.raises(StoreUnavailable, match="text search is switched off"):
        index.search(Query(text="quixotry"))
    assert index.count(Query()).number == 100
    index.close()
    assert lies_in(path.parent, "quixotry") == set()


def test_text_that_is_dropped_lies_nowhere_and_no_more_comes_in(index: Index, path: Path) -> None:
    index.take("acme", [person(number, f"quixotry{number}", ALICE) for number in range(500)])
    index.drop_text()
    index.take("acme", [person(500, "zymurgy", ALICE)])
    assert lies_in(path.parent, "uixotry", "zymurgy") == set()
    with pytest.raises(StoreUnavailable, match="text search is switched off"):
        index.search(Query(text="zymurgy"))
    assert index.count(Query()).number == 501


def test_text_that_another_process_dropped_does_not_come_in_again(index: Index, path: Path) -> None:
    other = Index.open(path, text=False)
    index.take("acme", [person(0, "quixotry", ALICE)])
    assert lies_in(path.parent, "quixotry") == set()
    other.close()


def test_opening_without_text_drops_it_and_opening_with_text_begins_anew(index: Index, path: Path) -> None:
    index.take("acme", [person(0, "quixotry", ALICE)])
    index.close()
    without = Index.open(path, text=False)
    assert lies_in(path.parent, "quixotry") == set()
    assert without.cursors() == {"acme": 1}
    without.close()
    again = Index.open(path)
    assert again.cursors() == {}
    again.take("acme", [person(0, "quixotry", ALICE)])
    assert found(again, "quixotry") == [0]
    again.close()
