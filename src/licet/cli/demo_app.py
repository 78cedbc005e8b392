"""The demo's application in a folder of its own: a copy of `examples/support_agent` with a fresh business database.

Rules:

1. Nothing is made outside the folder, and nothing that lies in it already is used: it must be new or empty.
2. The example's modules are imported from the copy under their own names, and those names are given back at once: an installed `tools` is
   neither taken for ours nor replaced.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import licet
from licet.cli.demo_plan import PlannedCall
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.gate.gate import Gate
from licet.model import CallId
from licet.store.contract import Store

INTENT_DEADLINE_S = 60.0
"""A Python that starts takes about half a second; a laden machine gets a hundred times that."""
POLL_S = 0.01

Cells = dict[tuple[str, str, str], Any]
"""A database's cells by (table, id, column)."""


class Business(Protocol):
    """What the demo needs of the example's business."""

    def cells(self) -> Cells:
        """Every cell of the database."""
        ...

    def busy(self) -> AbstractContextManager[None]:
        """Nobody else can write meanwhile."""
        ...


def example_folder(name: str = "support_agent") -> Path:
    """Where the example lies: in the installed package, or beside the sources."""
    package = Path(licet.__file__).parent
    for folder in (package / "examples" / name, package.parents[1] / "examples" / name):
        if (folder / "licet.toml").is_file():
            return folder
    raise Refusal(Exit.ERROR, "example_missing", f"this installation lacks the example `{name}`", next_step="install Licet again")


def set_up(folder: Path) -> None:
    """The folder now holds the whole example and a fresh business database. Raises `Refusal` if something else lies there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        step = "name a folder that is new or empty"
        raise Refusal(Exit.USAGE, "folder_not_empty", f"`{folder}` is not an empty folder", next_step=step)
    _copy(example_folder(), folder)
    _imported(folder, "business").Business.create(folder / "business.db")


def set_up_wrapped(folder: Path) -> Path:
    """The folder of the second act's example, in this one."""
    found = folder / "wrapped_files"
    _copy(example_folder(found.name), found)
    return found


def _copy(example: Path, folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.db*", "licet.key")
    shutil.copytree(example, folder, ignore=ignored, dirs_exist_ok=True, copy_function=shutil.copyfile)


class Application:
    """The example, imported: its gate and its business. Another one of the same folder is the same program, started again."""

    def __init__(self, folder: Path) -> None:
        # Whoever watches the demo owns its files, of course: the warning that the gate gives at its start is for real ones.
        logging.getLogger("licet.gate").setLevel(logging.ERROR)
        tools = _imported(folder, "tools")
        self.gate: Gate = tools.gate
        self.business: Business = tools.business


def _imported(folder: Path, name: str) -> ModuleType:
    """One of the folder's modules, freshly imported with what it imports from there."""
    names = [file.stem for file in folder.glob("*.py")]
    others = {other: sys.modules.pop(other) for other in names if other in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for mine in names:
            sys.modules.pop(mine, None)
        sys.modules.update(others)


def kill_midway(folder: Path, business: Business, store: Store, call: PlannedCall) -> CallId:
    """The call has been made by a process of its own, which was killed (SIGKILL) after its intent and before its outcome.

    The business is kept busy meanwhile, so the tool has begun and waits to write. Raises `Refusal` if the call never got that far.
    """
    before = {intent.call for intent in store.open_calls()}
    command = [sys.executable, str(folder / "agent.py"), call.tool, json.dumps(call.arguments), *([call.key] if call.key else [])]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}  # the script imports its neighbours
    with (
        business.busy(),
        subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process,  # noqa: S603  this very interpreter, the example's own script
    ):
        try:
            return _wait_for_intent(process, store, before)
        finally:
            process.kill()


def _wait_for_intent(process: subprocess.Popen[str], store: Store, before: set[CallId]) -> CallId:
    deadline = time.monotonic() + INTENT_DEADLINE_S
    while time.monotonic() < deadline:
        begun = [intent.call for intent in store.open_calls() if intent.call not in before]
        if begun:
            time.sleep(POLL_S * 5)  # the intent is durable; let the tool begin
            return begun[0]
        if process.poll() is not None:
            said = process.stderr.read().strip() if process.stderr else ""
            said = "\n".join(line for line in said.splitlines() if not line.startswith("licet: "))  # what a gate says at its start
            raise Refusal(Exit.ERROR, "not_killed", f"the call ended before its process could be killed: {said or 'it said nothing'}")
        time.sleep(POLL_S)
    raise Refusal(Exit.ERROR, "not_killed", f"the call did not begin within {INTENT_DEADLINE_S:g} s")
