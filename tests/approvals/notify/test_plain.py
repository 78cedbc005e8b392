"""Text from outside is one line of what people can see, no longer than said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.approvals.notify.plain import plain, target, value
from licet.names import visible


@pytest.mark.parametrize(
    ("unverified", "shown"),
    [
        ("a\r\nb\tc\x0bd", "a b c d"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("ad\u200bmin", "admin"),
        ("pay\u202eeulb\u202c", "payeulb"),
        ("a\u2066b\u2069c\ufeffd\u00ade", "abcde"),
        ("a\u2028b\u2029c\u00a0d", "a b c d"),
        ("x\u0301\u0302\u0303\u0304\u0305", "x\u0301\u0302"),
        ("e\u0301", "\u00e9"),
        ("\u3164\u115fhangul filler", "hangul filler"),
        ("\U000e0041tag", "tag"),
        ("\ud800half", "half"),
        ("  many   spaces  ", "many spaces"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_gone(unverified: str, shown: str) -> None:
    assert plain(unverified, 40) == shown


@given(st.text(), st.integers(2, 50))
def test_whatever_comes_is_one_visible_line_within_the_limit(unverified: str, limit: int) -> None:
    text = plain(unverified, limit)
    assert len(text) <= limit
    assert visible(text) == text
    assert plain(text, limit) == text


def test_a_megabyte_is_cut_and_says_so() -> None:
    assert plain("x" * 1_000_000, 10) == "xxxxxxxxx…"
    assert plain("\u200b" * 1_000_000 + "unseen", 10) == "…"


@pytest.mark.parametrize(
    ("json", "shown"), [(100, "100"), ("a\nb", '"a\\nb"'), (None, "null"), ({"a": [1]}, '{"a": [1]}'), ("\u202ex", '"x"'), (True, "true")]
)
def test_a_value_is_written_as_json(json: object, shown: str) -> None:
    assert value(json) == shown


@pytest.mark.parametrize(
    ("ref", "shown"),
    [
        ('Customer::"C-1"', "Customer C-1"),
        ('Crm::Customer::"C-1"', "Crm::Customer C-1"),
        ('Customer::"a\\"b\\\\c"', 'Customer a"b\\c'),
        ("the database", "the database"),
        ('Customer::"C-1" and more', 'Customer::"C-1" and more'),
    ],
)
def test_a_target_reads_as_people_say_it(ref: str, shown: str) -> None:
    assert target(ref) == shown
