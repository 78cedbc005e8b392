"""The conformance suites of both revisions: what each of their checks says of a server."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.gateway.peers.installed import Peers

LEGACY = "conformance-2025-11-25"
MODERN = "@modelcontextprotocol/conformance"
SUITES: dict[str, tuple[str, Sequence[str]]] = {
    "2025-11-25": (LEGACY, ("--suite", "active")),
    "2026-07-28": (MODERN, ("--requirements", "2026-07-28")),
    "2025-11-25 by the newer suite": (MODERN, ("--requirements", "2025-11-25")),
}
Verdicts = dict[str, dict[str, str]]
"""By scenario: of each of its checks, what came of it. A check that is made several times has all of them, sorted."""


def verdicts(peers: Peers, suite: str, url: str) -> Verdicts:
    """Run a suite against a server. Fails where it did not run."""
    package, options = SUITES[suite]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*peers.command(package), "server", "--url", url, *options, "--output-dir", folder],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        found: Verdicts = {}
        for file in sorted(Path(folder).glob("server-*/checks.json")):
            scenario = file.parent.name.removeprefix("server-")[: -len("-2026-11-23T04-48-41-317Z")]
            found[scenario] = told(json.loads(file.read_text()))
    assert found, done.stdout + done.stderr
    return found


def told(checks: list[dict[str, str]]) -> dict[str, str]:
    seen: dict[str, Counter[str]] = {}
    for check in checks:
        seen.setdefault(check["id"], Counter())[check["status"]] += 1
    return {name: " ".join(sorted(counted)) for name, counted in sorted(seen.items())}


def failing(found: Verdicts) -> dict[str, list[str]]:
    """The checks that failed, by scenario."""
    failed = {scenario: [name for name, verdict in checks.items() if "FAILURE" in verdict] for scenario, checks in found.items()}
    return {scenario: names for scenario, names in failed.items() if names}
