"""A process that proposes a plan and stops in a step of it, to be killed there: `python -m tests.attacks.dying_plan FOLDER STEP`.

STEP counts the steps that come to their tool in this process; that one never ends. The others do what they do, and leave a line in `effects`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.gate.mortal import stop
from tests.world import World, world_on

ROOT = Path(__file__).parents[2]
CALLS: tuple[Any, ...] = (
    ("billing.adjust", {"customer_id": "C-1", "amount_cents": 100}),
    ("account.suspend", {"customer_id": "C-1"}),
    ("billing.adjust", {"customer_id": "C-1", "amount_cents": 200}),
)


def leave_traces(w: World, folder: Path, stops_at: int = 0) -> None:
    """Every tool of the plan says in a file that it ran, whatever becomes of its process."""
    begun = 0

    def doing(name: str) -> Any:
        def do(**arguments: Any) -> str:
            nonlocal begun
            begun += 1
            if begun == stops_at:
                stop()
            with (folder / "effects").open("a") as file:
                file.write(f"{name} {arguments.get('amount_cents', '')}\n")
            return "done"

        return do

    for name in ("billing.adjust", "account.suspend"):
        w.gate.registry.tools[name].function = doing(name)


def effects(folder: Path) -> list[str]:
    """What was done, by whatever process."""
    file = folder / "effects"
    return file.read_text().splitlines() if file.exists() else []


def propose(w: World) -> Any:
    """The plan, by the support agent for alice."""
    with w.alice():
        return w.gate.plan(CALLS)


def killed_in(folder: Path, step: int) -> None:
    """A process has proposed the plan, and was killed in this step."""
    command = [sys.executable, "-m", "tests.attacks.dying_plan", str(folder), str(step)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stopped\n", "it ended by itself"
        process.kill()
        assert process.wait() == -9


if __name__ == "__main__":
    here = Path(sys.argv[1])
    with world_on(here) as world:
        leave_traces(world, here, int(sys.argv[2]))
        propose(world)
