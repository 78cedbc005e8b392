"""A thread that reloads a gate when its files have changed, or when it is asked to.

Rules:

1. A file that is being written is not read: a change counts once nothing has moved for a whole interval.
2. What did not load is not tried again until something moves; what failed for the store's sake is, at each look.
3. The thread outlives whatever one look meets.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from licet.catalog.pins import LOCK_FILE
from licet.config import Settings
from licet.errors import LicetError, StoreError
from licet.gate.gate import Gate

INTERVAL_S = 1.0
"""A look is one `stat` for each file; two of them pass between a change and its being in force."""
_log = logging.getLogger("licet.gate")

Seen: TypeAlias = tuple[tuple[str, int, int, int, int], ...]


class Watcher:
    """Reloads a gate that was made from a file. With `watch` false only when it is asked to."""

    def __init__(self, gate: Gate, *, watch: bool = True, interval_s: float = INTERVAL_S) -> None:
        self._gate = gate
        self._watch = watch
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._asked = False
        self._closed = False
        self._seen = look(gate.settings)
        self._moved = True  # whatever changed between the gate's reading its files and now is found at the first look
        self._loaded: str | None = None
        self._again = False
        self._thread = threading.Thread(target=self._run, name="licet-reload", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def ask(self) -> None:
        """Reload soon, whatever the files look like. Returns at once; may be called by a signal handler."""
        self._asked = True
        self._wake.set()

    def close(self) -> None:
        """Watch no more; a reload that is under way ends first."""
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def tick(self) -> None:
        """One look, and a reload where it is time for one."""
        if self._asked:
            self._asked = False
            self._reload()
        elif self._watch:
            seen = look(self._gate.settings)
            if seen != self._seen:
                self._seen, self._moved = seen, True
            elif self._again or (self._moved and digest_of(self._gate.settings) != self._loaded):
                self._reload()
            else:
                self._moved = False
        self._gate.catch_up()

    def _reload(self) -> None:
        self._seen = look(self._gate.settings)
        self._loaded = digest_of(self._gate.settings)  # before: what changes while it is read is a change
        self._again = self._moved = False
        try:
            self._gate.reload()
        except StoreError:
            self._again = True
        except LicetError:
            pass  # the gate has said why, and goes on as before

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._closed:
                return
            try:
                self.tick()
            except LicetError as error:
                _log.error("licet: cannot reload: %s", error)
            except Exception:  # noqa: BLE001 - a thread that died would leave everybody under old policies, in silence
                _log.exception("licet: an error while reloading; it is tried again when something changes")


def files_of(settings: Settings) -> Iterator[Path]:
    """The files that a reload reads."""
    if settings.file is not None:
        yield settings.file
    yield from sorted(settings.policies.glob("*.cedar"))
    folder = settings.file.parent if settings.file is not None else Path.cwd()
    if settings.upstreams:
        yield folder / LOCK_FILE
    for name in (
        *(tool.schema_file for tool in settings.tools.values()),
        *(resource.schema_file for resource in settings.resources.values()),
    ):
        if name is not None:
            yield folder / name


def look(settings: Settings) -> Seen:
    """What can be told of the files without reading them. The time of the inode moves with every change, whatever sets the other."""
    found = []
    for path in files_of(settings):
        try:
            stat = path.stat()
        except OSError:
            continue  # one that is missing is a change too
        found.append((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)


def digest_of(settings: Settings) -> str:
    """The SHA-256 (hex) of names and contents."""
    digest = hashlib.sha256()
    for path in files_of(settings):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        digest.update(f"{len(str(path))}:{path}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
