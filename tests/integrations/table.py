"""The table of docs/integrations.md, from what the suite has seen: `python -m tests.integrations.table` writes it anew."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from licet.integrations.frameworks import FRAMEWORKS
from tests.integrations.environments import HERE, ROOT, results_of

DOCUMENT = ROOT / "docs/integrations.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def suite_rows() -> list[str]:
    """The rows, in the order of the suite."""
    text = (HERE / "conformance/test_conformance.py").read_text(encoding="utf-8")
    return list(dict.fromkeys(re.findall(r'^@row\("(.+)"\)$', text, re.MULTILINE)))


def results() -> list[dict[str, Any]]:
    """What was seen of each framework, in the order of the docs."""
    return [json.loads(results_of(one).read_text(encoding="utf-8")) for one in FRAMEWORKS if results_of(one).exists()]


def table(seen: list[dict[str, Any]]) -> str:
    """A row for each behaviour, a column for each framework; what one cannot do is said below."""
    known = {row for one in seen for row in one["rows"]}
    rows = [*[row for row in suite_rows() if row in known], *sorted(known - set(suite_rows()))]
    lines = [
        f"| | {' | '.join(one['title'] for one in seen)} |",
        f"|---|{'---|' * len(seen)}",
        f"| tested with | {' | '.join(_version(one) for one in seen)} |",
    ]
    notes: list[tuple[str, str]] = []
    for row in rows:
        cells = []
        for one in seen:
            said = one["rows"].get(row, "not tried")
            if said.startswith("no: "):
                note = (one["title"], said.removeprefix("no: "))
                if note not in notes:  # one reason may be behind several rows
                    notes.append(note)
                said = f"no ({notes.index(note) + 1})"
            cells.append(said)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    told = [f"{number}. {title}: {reason}" for number, (title, reason) in enumerate(notes, 1)]
    return "\n".join([*lines, *(["", *told] if told else [])]) + "\n"


def _version(one: dict[str, Any]) -> str:
    return f"{one['package']} {one['version']}"


def written(document: str, made: str) -> str:
    """The document with this table in its place."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{DOCUMENT.name} has no place for the table")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def main() -> int:
    """Write the table."""
    Path(DOCUMENT).write_text(written(DOCUMENT.read_text(encoding="utf-8"), table(results())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
