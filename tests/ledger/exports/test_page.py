"""docs/exports.md says what the code does: columns, attributes, formats, reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from licet.ledger.exports import ocsf_event
from licet.ledger.exports.columns import COLUMNS
from licet.ledger.exports.formats import FORMATS
from licet.ledger.exports.manifest import Manifest
from licet.ledger.exports.rows import Absence
from licet.ledger.exports.spans import OPEN_LIMIT, spans_of
from licet.ledger.record import Actor, DecisionEntry, OutcomeEntry
from tests.ledger.exports.sample_rows import row
from tests.ledger.exports.test_as_ocsf import event
from tests.ledger.exports.test_spans import intent, outcome

PAGE = (Path(__file__).parents[3] / "docs/exports.md").read_text()
FAILED = OutcomeEntry(status="error", code="ValueError", duration_us=5, deviates=True)


def tables(heading: str) -> list[list[list[str]]]:
    """The tables of a section, each as rows of cells, without their heads."""
    section = re.split(rf"^## {heading}$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]
    blocks = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()[2:]] for block in blocks]


def names(rows: list[list[str]]) -> list[str]:
    """The first cells, without backticks and bars."""
    return [row[0].strip("|` ") for row in rows]


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every attribute of an event, in the words of the page."""
    if path in {"policy", "authorizations[].policy", "unmapped.licet"} or path.endswith(".data"):
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from paths(inner, f"{path}[]")
    else:
        yield path


EVENTS = [
    event(one)
    for one in (
        row(0, "call"),
        row(0, "call", outcome=FAILED),
        row(0, "vote"),
        row(0, "denial", payload=None, absent="erased"),
    )
]


def test_the_formats_are_those_of_the_code() -> None:
    (found,) = tables("Complete or not")
    assert names(found) == list(Manifest.__struct_fields__)
    listed = re.findall(r"^\| `(\w+)` \| `(\.[\w.]+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    assert [(name, suffix) for name, suffix, _ in listed] == [(one.name, one.suffix) for one in FORMATS]
    assert ["manifest" in shown for *_, shown in listed] == [one.verify is None for one in FORMATS]


def test_the_reasons_for_an_absent_payload_are_those_of_the_code() -> None:
    (found,) = tables("Payloads, people and targets")
    assert set(names(found)) == set(get_args(Absence))


def test_the_columns_are_those_of_the_code() -> None:
    (found,) = tables("Columns")
    assert [(one[0].strip("|` "), one[1]) for one in found] == [(column.name, column.type) for column in COLUMNS]


def test_the_attributes_of_events_are_those_that_are_written() -> None:
    listed = names(tables("OCSF")[2])
    assert len(listed) == len(set(listed))
    assert set(listed) == {path for one in EVENTS for path in paths(one)}


def test_what_is_unmapped_is_what_is_written() -> None:
    listed = names(tables("OCSF")[3])
    assert set(listed) == {name for one in EVENTS for name in one["unmapped"]["licet"]}


def test_the_kinds_with_events_and_their_numbers_are_those_of_the_code() -> None:
    kinds = [(kind, cells) for cells in tables("OCSF")[0] for kind in re.findall(r"\w+", names([cells])[0])]
    assert {kind for kind, _ in kinds} == ocsf_event.STATUSES.keys()
    for kind, cells in kinds:
        if cells[1] != "by outcome":
            number, said = ocsf_event.STATUSES[kind]
            assert f"{number} {said}" in cells[1]
    said = " ".join(cell for cells in [*tables("OCSF")[0], *tables("OCSF")[1]] for cell in cells)
    pairs = [
        *ocsf_event.ACTIVITIES.values(),
        *ocsf_event.OUTCOMES.values(),
        *ocsf_event.ACTIONS.values(),
        *ocsf_event.DISPOSITIONS.values(),
        *ocsf_event.DECIDED_OTHERWISE.values(),
        *ocsf_event.VOTES.values(),
    ]
    assert [pair for pair in pairs if f"{pair[0]} {pair[1]}" not in said] == []


def test_the_module_of_events_says_the_same_as_the_page() -> None:
    rows = [*tables("OCSF")[0], *tables("OCSF")[1]]
    numbered = {found for cells in rows for cell in cells for found in re.findall(r"\b\d+ [A-Z]\w+", cell)}
    assert ocsf_event.__doc__ is not None
    assert numbered == set(re.findall(r"\b\d+ [A-Z]\w+", ocsf_event.__doc__.partition("\n\n")[2]))


def test_the_attributes_of_spans_are_those_that_are_written() -> None:
    everything = Actor(agent="bot", service="cron", user="u", session="s")
    rows = [
        *(intent(actor=everything), outcome(entry=FAILED, actor=everything)),
        outcome(2, entry=FAILED, actor=everything),  # late
        outcome(5, entry=FAILED, payload=None),
        row(3, "denial", decision=DecisionEntry(verdict="deny", code="no_permit"), actor=everything),
        row(4, "call", payload=None, outcome=FAILED, id="c-4"),
    ]
    words = {"execute_tool": "execution", "licet.decision": "decision", "licet.outcome": "outcome"}
    written: dict[str, set[str]] = {}
    for span in (span for spans in spans_of(rows, content=True) for span in spans):
        for name in span.attributes:
            written.setdefault(name, set()).add(words[span.name.partition(" ")[0]])
    (found,) = tables("OpenTelemetry")
    every = set(words.values())
    listed = {one[0].strip("|` "): every if one[1] == "all" else set(one[1].split(", ")) for one in found}
    assert listed == written


@pytest.mark.parametrize("said", [f"{OPEN_LIMIT:,} intents", f"OCSF {ocsf_event.OCSF_VERSION}", f"({ocsf_event.CLASS_UID})"])
def test_numbers_on_the_page_are_those_of_the_code(said: str) -> None:
    assert said in PAGE
