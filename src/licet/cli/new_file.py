"""Files that a verb writes for people to keep: new, for their owner alone, whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from licet.cli.exits import Exit
from licet.cli.faults import Refusal


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, readable by its owner alone, on disk when this ends. If it ends by an error there is no file.

    Raises `Refusal` where there is one of this name, and where it cannot be written.
    """
    file = _create(path)
    try:
        with told(path), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # half of it could be taken for the whole
        raise


@contextmanager
def told(path: Path | str) -> Iterator[None]:
    """What goes wrong while something is written there is told as such. A reader who has seen enough is no error (cli/root.py)."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        message = f"`{path}` could not be written: {(error.strerror or type(error).__name__).lower()}"
        raise Refusal(Exit.ERROR, "not_written", message, next_step="make room, or write to another disk") from error


def refuse_existing(path: Path) -> None:
    """Raises `Refusal` where there is a file of this name: nothing is overwritten."""
    if path.exists() or path.is_symlink():
        raise _exists(path)


def _create(path: Path) -> BinaryIO:
    """What is written is as confidential as the ledger."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError as error:
        raise _exists(path) from error


def _exists(path: Path) -> Refusal:
    return Refusal(Exit.ERROR, "exists", f"`{path}` is there already, and nothing is overwritten", next_step="give another name")
