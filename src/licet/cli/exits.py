"""What the program ends with, for scripts: stable numbers, one meaning each."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every verb."""

    OK = 0
    ERROR = 1
    USAGE = 2  # of the command line, or of licet.toml and what it declares
    POLICY_INVALID = 3
    TESTS_FAILED = 4
    NOT_AUTHENTICATED = 5
    DENIED = 6
    HELD = 7
    INTEGRITY_BROKEN = 8
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
