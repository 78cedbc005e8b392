"""The password of a database: read afresh from where it is kept for each connection, so that it can be changed while processes run.

It is in no message and no log. A file that others than its owner can read is refused.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from licet.errors import StoreUnavailable

COMMAND_TIMEOUT_S = 5.0
"""A connection waits for it."""


def password_at(source: str | None) -> Callable[[], str | None]:
    """What reads the password at `env:NAME`, `file:PATH` or `command:COMMAND LINE`; None where there is no source.

    It raises `StoreUnavailable` where there is none to be had.
    """
    if source is None:
        return lambda: None
    scheme, _, rest = source.partition(":")
    read = {"env": _from_environment, "file": _from_file, "command": _from_command}[scheme]

    def ask() -> str:
        text = read(rest).strip()
        if not text:
            raise StoreUnavailable(f"the ledger's password at `{scheme}:{rest}` is empty")
        return text

    return ask


def _from_environment(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        raise StoreUnavailable(f"the environment variable `{name}`, which should hold the password of the ledger's database, is not set")
    return text


def _from_file(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read(4096)
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "unknown error").lower() if isinstance(error, OSError) else "it is no text"
        raise StoreUnavailable(f"the password of the ledger's database cannot be read from `{path}`: {reason}") from error
    if mode & 0o077:
        raise StoreUnavailable(f"the password at `{path}` can be read by others (mode {mode:o}); run `chmod 600 {shlex.quote(path)}`")
    return text


def _from_command(command: str) -> str:
    """What the command prints. It gets no shell, and its own messages are not shown: they may hold secrets."""
    what = f"the command `{command}`, which should print the password of the ledger's database,"
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)  # noqa: S603  the operator's own
        text = done.stdout[:4096].decode()
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:  # `IndexError`: there is nothing to run
        raise StoreUnavailable(f"{what} failed ({type(error).__name__})") from error
    if done.returncode:
        raise StoreUnavailable(f"{what} ended with exit code {done.returncode}")
    return text
