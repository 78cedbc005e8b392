"""What governing an agent of each framework costs for each call of a tool, beyond `gate.acall` of a function: the adapter's own share.

Each framework is measured in its own environment, which is made where it is not there (`make frameworks` makes them too).
"""

from __future__ import annotations

import json
import os
import subprocess

from benchmarks.rows import Row
from licet.integrations.frameworks import FRAMEWORKS, Framework
from tests.integrations.environments import ROOT, is_there, make

TARGET_US = 100.0


def run() -> list[Row]:
    """A row for each framework that has an adapter."""
    return [measured(one) for one in FRAMEWORKS if is_there(one)]


def measured(framework: Framework) -> Row:
    """The adapter's share of a governed call, in microseconds."""
    python = make(framework, oldest=False)
    environ = {**os.environ, "LICET_FRAMEWORK": framework.name}
    command = [str(python), "-m", "benchmarks.integrations_measured"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{framework.name}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    share = found["share"]
    return {
        "name": f"{framework.title}: the adapter's own share of a call and its turn (base: `gate.acall` with a key)",
        "value": share,
        "unit": "us",
        "base": found["call"],
        "ratio": share / found["call"],
        "target": f"at most {TARGET_US:.0f} us",
        "ok": share <= TARGET_US,
    }
