from __future__ import annotations

import pytest

from licet.cli.output import pretty
from licet.cli.wording import clock, counted, duration, listed, moment, on_targets, size, span, who


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(1, "policy", "policies"), "1 policy"),
        (counted(0, "policy", "policies"), "0 policies"),
        (counted(12_345, "record"), "12,345 records"),
        (who("support-bot", None, "alice"), "support-bot for alice"),
        (who(None, "nightly", None), "nightly"),
        (who(None, None, "alice"), "alice"),
        (who(None, None, None), "nobody"),
        (listed([]), ""),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(list("abcdefg")), "a, b, c, d, e and 2 more"),
        (on_targets([]), ""),
        (on_targets(["A", "B"]), " on A and B"),
        (moment(1_795_346_850_504_071), "2026-11-22 11:27:30"),
        (clock(1_795_346_850_504_071), "11:27:30.504"),
        (duration(420), "0.4 ms"),
        (duration(1_500_000), "1.5 s"),
        (duration(7_200_000_000), "2 h"),
        (span(45), "45 s"),
        (span(119), "119 s"),
        (span(900), "15 min"),
        (span(3 * 86_400), "3 days"),
        (size(512), "512 B"),
        (size(1_536), "1.5 KiB"),
        (size(5 << 40), "5120.0 GiB"),
    ],
)
def test_numbers_times_and_callers_in_words(said: str, expected: str) -> None:
    assert said == expected


def test_small_json_is_one_line_and_larger_json_is_indented() -> None:
    assert pretty({"a": [1, "ü"]}) == '{"a": [1, "ü"]}'
    assert pretty({"a": "x" * 80}).splitlines() == ["{", f'  "a": "{"x" * 80}"', "}"]


def test_json_that_is_shown_has_nothing_invisible_in_it() -> None:
    assert pretty({"a": "\u202e\u200b"}) == '{"a": "\\u{202e}\\u{200b}"}'
