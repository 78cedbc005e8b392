"""A Python other than the one that runs the tests, with packages that others wrote: for software that needs a newer one.

Independent verifiers must not share code with what they verify, nor weigh on what is installed for development, so they live in virtual
environments of their own under the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`), made at first use and kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

LEAST = (3, 12)
INSTALL_S = 240
_SHOW_VERSION = "import sys; print(*sys.version_info[:2])"


def python_with(*packages: str) -> Path:
    """The interpreter, of Python 3.12 or newer, of an environment in which these packages (`name==version`) are installed.

    Skips the test, and says why, where there is no such Python or no registry to install from.
    """
    found = _python_with(packages)
    if isinstance(found, str):
        pytest.skip(f"{', '.join(packages)} not available: {found}")
    return found


@cache
def _python_with(packages: tuple[str, ...]) -> Path | str:
    """The interpreter, or why there is none: asked for once a run, for a registry that cannot be reached takes its time to say so."""
    base = next((path for path in _candidates() if _is_new_enough(path)), None)
    if base is None:
        return f"no Python of {'.'.join(map(str, LEAST))} or newer on PATH or under pyenv"
    folder = _cache_folder() / hashlib.sha256("\n".join((str(base), *sorted(packages))).encode()).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run beside each other, and one of them makes the environment
        return _environment(base, folder, packages)


def _environment(base: Path, folder: Path, packages: tuple[str, ...]) -> Path | str:
    python, complete = folder / "bin" / "python", folder / "complete"
    if complete.exists() and _is_new_enough(python):
        return python
    complete.unlink(missing_ok=True)
    for command in (
        [str(base), "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", *packages],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S, env=_clean_environment())
        except subprocess.CalledProcessError as error:
            return str(error.stderr).strip().splitlines()[-1] if str(error.stderr).strip() else f"`{command[2]}` failed"
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    complete.touch()  # a run that is killed before this line leaves an environment that the next one makes anew
    return python


def _candidates() -> Iterator[Path]:
    """Interpreters that may do: this one, those on PATH by name, then what pyenv has installed."""
    yield Path(sys.executable)
    for minor in range(LEAST[1], 20):
        if path := shutil.which(f"python3.{minor}"):
            yield Path(path)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(root.glob("versions/3.*/bin/python"))


def _is_new_enough(python: Path) -> bool:
    """Whether it runs, which a shim of pyenv need not do, and how old it is."""
    try:
        shown = subprocess.run(
            [python, "-c", _SHOW_VERSION], check=True, capture_output=True, text=True, timeout=30, env=_clean_environment()
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tuple(map(int, shown.stdout.split())) >= LEAST


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "licet-tests" / "environments"


def _clean_environment() -> dict[str, str]:
    """Ours without what would lead another interpreter to this one's packages, or measure its coverage."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    return {name: value for name, value in os.environ.items() if name not in ours}
