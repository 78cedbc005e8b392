"""Where somebody may be led to: a page of this console, whatever an address says."""

from __future__ import annotations

from typing import Final

HOME: Final = "/console"


def inside(there: str) -> str:
    """The address, or where one begins if it is not one of ours."""
    ours = there == HOME or there.startswith((f"{HOME}/", f"{HOME}?"))
    return there if ours and there.isprintable() and there.isascii() and "\\" not in there else HOME
