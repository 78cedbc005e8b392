"""Which process this is, as often as anybody likes to know: asking the kernel each time costs a call more than what it guards.

A child of `os.fork` has a number of its own once the hooks of the fork have run.
"""

from __future__ import annotations

import os

_number = os.getpid()


def number() -> int:
    """This process's id, as `os.getpid` tells it."""
    return _number


def _count() -> None:
    global _number  # noqa: PLW0603  one process, one number
    _number = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)
