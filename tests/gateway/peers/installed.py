"""The software of others: what package-lock.json names, installed once for every state of that file, outside of the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json")
CACHE = Path(os.environ.get("LICET_PEERS") or Path(tempfile.gettempdir()) / f"licet-peers-{os.getuid()}")


class Peers:
    """A folder with everything installed. `node` is the Node 22 of the lock: the older suite does not start on an older one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = str(folder / "node_modules" / "node" / "bin" / "node")

    def script(self, package: str, path: str = "dist/index.js") -> str:
        """A program of a package."""
        found = self.folder / "node_modules" / package / path
        assert found.is_file(), found
        return str(found)

    def command(self, package: str, *arguments: str) -> list[str]:
        """How a program of a package is started."""
        return [self.node, self.script(package), *arguments]


def installed() -> Peers:
    """Skips where there is no npm."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    state = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    folder = CACHE / state
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{state}.lock").open("w") as turn:  # several workers want it at once
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            install(folder)
    return Peers(folder)


def install(folder: Path) -> None:
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "whole").touch()
