"""The TypeScript client: its types are those of the document, it compiles strictly, and it works with the running server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client.clients_page import FILES, check, run, served_as_on_the_page
from tests.client.generate import ROOT
from tests.client.serving import served

pytestmark = pytest.mark.heavy
SOURCE = ROOT / "clients" / "typescript"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client with what its lock names."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder = tmp_path_factory.mktemp("npm") / "typescript"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    npm(folder, "ci", "--no-audit", "--no-fund")
    return folder


def npm(folder: Path, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_types_are_those_of_the_document(installed: Path) -> None:
    npm(installed, "run", "generate")
    assert (installed / "src" / "schema.ts").read_text() == (SOURCE / "src" / "schema.ts").read_text(), "`make clients` writes them anew"


def test_it_compiles_strictly(installed: Path) -> None:
    npm(installed, "run", "check")


def test_its_own_tests_pass_against_the_running_server(installed: Path) -> None:
    with served() as running:
        told = npm(installed, "test", LICET_TEST_SERVER=running.url)
    assert "# fail 0" in told
    assert "# skipped 0" in told


def test_the_program_of_the_page_compiles_strictly_and_does_what_the_page_says(installed: Path) -> None:
    (installed / "examples").mkdir()
    (installed / "examples" / "refunds.ts").write_text(FILES["refunds.ts"])
    npm(installed, "run", "build")
    with served_as_on_the_page() as door:
        check(door, run(door, "node", "dist/examples/refunds.js", folder=installed))
