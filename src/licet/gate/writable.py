"""Which operating user may change a file: an agent with a shell must not be its own approver, nor write its own permissions.

Rules:

1. A file can be changed by whoever may write it, or may write a folder above it: there it can be replaced whole. In a folder with the
   sticky bit only the owners of file and folder may.
2. An owner can always give themselves the right to write.
3. The superuser may change everything.

Not seen: access control lists, mounts, capabilities and namespaces of the other user; for the user who looks, the kernel is asked too.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct


class OperatingUser(Struct, frozen=True):
    """A user of the operating system, with all groups."""

    name: str
    uid: int
    gids: frozenset[int]

    @property
    def is_me(self) -> bool:
        """Whether this is the user who looks."""
        return self.uid == os.geteuid()


def whoever_runs_this() -> OperatingUser:
    """The operating user of this process."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return OperatingUser(name, uid, frozenset({os.getegid(), *os.getgroups()}))


def why_writable(path: Path, user: OperatingUser) -> str | None:
    """How this user could change the file or folder, as the end of a sentence; None if they cannot."""
    if user.uid == 0:
        return "is the superuser"
    path = path.resolve()
    if _may_write(path, user):
        return f"may write `{path}`"
    child = path
    for folder in path.parents:
        if _may_replace(folder, child, user):
            return f"may replace what is in `{folder}`"
        child = folder
    return None


def exposed(paths: Iterable[Path], user: OperatingUser) -> str | None:
    """How this user could change one of those that exist, as the end of a sentence; None if they cannot."""
    return next((how for path in paths if path.exists() and (how := why_writable(path, user)) is not None), None)


def _may_write(path: Path, user: OperatingUser) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_uid == user.uid or found.st_mode & stat.S_IWOTH or (found.st_gid in user.gids and found.st_mode & stat.S_IWGRP):
        return True
    return user.is_me and os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _may_replace(folder: Path, child: Path, user: OperatingUser) -> bool:
    if not _may_write(folder, user):
        return False
    try:
        found, owner = folder.stat(), child.lstat().st_uid
    except OSError:
        return True
    return not found.st_mode & stat.S_ISVTX or user.uid in {found.st_uid, owner}
