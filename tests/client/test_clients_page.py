"""The page about the clients says what its program in Python does. That in TypeScript is run in `test_typescript.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.client.clients_page import FILES, check, run, served_as_on_the_page


def test_the_program_in_python_does_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "refunds.py").write_text(FILES["refunds.py"])
    with served_as_on_the_page() as door:
        check(door, run(door, sys.executable, "-W", "error", "refunds.py", folder=tmp_path))
