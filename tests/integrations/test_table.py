from __future__ import annotations

from pathlib import Path

import pytest

from licet.integrations.frameworks import FRAMEWORKS, Framework
from tests.integrations.environments import is_there, lock_of, refuse_others, results_of, rows
from tests.integrations.table import DOCUMENT, results, suite_rows, table, written

HERE = Path(__file__).parent
THERE = [one for one in FRAMEWORKS if is_there(one)]


def test_the_table_of_the_docs_is_what_the_suite_has_seen() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert written(text, table(results())) == text, "run `python -m tests.integrations.table`"


@pytest.mark.parametrize("framework", THERE, ids=lambda one: one.name)
def test_every_row_was_tried_with_every_framework_and_none_failed(framework: Framework) -> None:
    seen = rows(framework)
    assert set(seen) == set(suite_rows())
    assert {row: said for row, said in seen.items() if said != "yes" and not said.startswith("no: ")} == {}


@pytest.mark.parametrize("framework", THERE, ids=lambda one: one.name)
def test_what_an_extra_brings_is_one_framework(framework: Framework) -> None:
    refuse_others(framework, lock_of(framework).read_text())


def test_a_second_framework_is_refused() -> None:
    with pytest.raises(SystemExit, match="brings another framework: fastmcp"):
        refuse_others(FRAMEWORKS[0], "langchain==1.0\nfastmcp==4.1 \\\n    --hash=x\n")


def test_what_a_framework_cannot_do_is_said_below_the_table() -> None:
    one = {"title": "One", "package": "one", "version": "1.0", "rows": {"allow": "yes", "hold": "no: it cannot pause"}}
    two = {"title": "Two", "package": "two", "version": "2.0", "rows": {"allow": "yes", "hold": "yes"}}
    made = table([one, two])
    assert "| hold | no (1) | yes |" in made
    assert "1. One: it cannot pause" in made


def test_every_adapter_has_results_tests_and_an_example() -> None:
    missing = [
        path
        for one in THERE
        for path in (results_of(one), HERE / f"frameworks/test_{one.name}.py", HERE.parents[1] / f"examples/agents/with_{one.name}.py")
        if not path.exists()
    ]
    assert missing == []
