"""Where a Chromium is.

    python -m tests.console.browser.finding

It ends with 1 and says what to do where there is none.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING: Final = (
    "no Chromium was found, so nothing of the console is tested in a browser: install one (on Debian: apt install chromium), "
    "or name it in LICET_BROWSER"
)


def find_browser() -> str | None:
    """The program, as `LICET_BROWSER` names it or as the path has it."""
    named = os.environ.get("LICET_BROWSER")
    return named or next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


if __name__ == "__main__" and find_browser() is None:
    sys.exit(MISSING)
