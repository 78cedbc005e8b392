from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.names import NAME_LIMIT, look, name_problem, quoted, visible


@pytest.mark.parametrize(
    "name", ["alice", "support-bot", "alice@example.com", "auth0|5f7c", "münchen", "李", "a", "x" * NAME_LIMIT, "C:1/2"]
)
def test_ordinary_names_are_names(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "it is empty or longer than 200 characters"),
        ("x" * (NAME_LIMIT + 1), "it is empty or longer than 200 characters"),
        ("alice ", "it has a space in it"),
        ("al ice", "it has a space in it"),
        ("alice\n", "it has characters that cannot be seen"),
        ("alice\u00a0", "it has characters that cannot be seen"),
        ("alice\u200b", "it has characters that cannot be seen"),
        ("alice\ufeff", "it has characters that cannot be seen"),
        ("alice\u202e", "it has characters that cannot be seen"),
        ("alice\ufe0f", "it has characters that cannot be seen"),
        ("alice\u115f", "it has characters that cannot be seen"),
        ("alice\u3164", "it has characters that cannot be seen"),
        ("alice\x00", "it has characters that cannot be seen"),
        ("alice\ud800", "it has characters that cannot be seen"),
        ('al"ice', "it has a quote, backtick or backslash in it"),
        ("al\\ice", "it has a quote, backtick or backslash in it"),
        ("al`ice", "it has a quote, backtick or backslash in it"),
        ("cafe\u0301", "it is not in its normal form, `caf\u00e9`"),
        ("\uff41lice", "it is not in its normal form, `alice`"),
        ("\ufb01n", "it is not in its normal form, `fin`"),
    ],
)
def test_tricks_are_not_names(name: str, problem: str) -> None:
    assert name_problem(name) == problem


@given(st.text(max_size=20))
def test_a_name_is_what_normalising_and_stripping_leaves_alone(text: str) -> None:
    if name_problem(text) is None:
        assert unicodedata.normalize("NFKC", text) == text
        assert text.split() == [text]
        assert text.isprintable()


def test_names_that_differ_in_case_look_alike() -> None:
    assert look("Alice") == look("ALICE")
    assert look("alice") != look("alicf")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alice", "`alice`"),
        ("a`b", "`a\\u{60}b`"),
        ("a\nb", "`a\\u{a}b`"),
        ("a\u202eb", "`a\\u{202e}b`"),
        ("a\\u{a}", "`a\\u{5c}u{a}`"),
        ("x" * 1_000, f"`{'x' * NAME_LIMIT}...`"),
    ],
)
def test_foreign_text_is_shown_on_one_short_line(text: str, shown: str) -> None:
    assert quoted(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a tidy `id`, \\ and all", "a tidy `id`, \\ and all"),
        ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
        ("two\nlines\r", "two\\u{a}lines\\u{d}"),
        ("a\u202eb\u200bc\u3164d\ufe0f", "a\\u{202e}b\\u{200b}c\\u{3164}d\\u{fe0f}"),
    ],
)
def test_foreign_text_cannot_command_a_terminal_or_hide_in_it(text: str, shown: str) -> None:
    assert visible(text) == shown
