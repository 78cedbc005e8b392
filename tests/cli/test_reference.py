from __future__ import annotations

import re

from licet.cli.exits import Exit
from tests.cli.reference import GLOBAL, PAGE, page


def test_the_page_says_what_help_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.cli.reference"


def test_the_page_has_every_exit_code() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Exit codes\n")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(Exit)


def test_the_page_has_every_option_that_all_verbs_have() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Options that every verb has\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(--[\w-]+)", table, re.MULTILINE)) == GLOBAL
