"""The command lines of the scripted servers, for `command` of an upstream's settings.

The tools that they offer are in `tools`, `legacy` and `modern`. Where `FAKE_JOURNAL` is set in their environment, each call of a tool adds
a line (`name`, `arguments`) to the file that it names, and a call that is cancelled another, whose name is `cancelled`.
"""

from __future__ import annotations

import sys
from pathlib import Path

_RUN = str(Path(__file__).with_name("run.py"))


def legacy(*modes: str) -> tuple[str, ...]:
    """A server of 2025-11-25."""
    return (sys.executable, "-S", _RUN, "legacy", *modes)


def modern(*modes: str) -> tuple[str, ...]:
    """A server of 2026-07-28."""
    return (sys.executable, "-S", _RUN, "modern", *modes)
